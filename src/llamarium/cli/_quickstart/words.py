"""Every phrase of the quickstart's page, in English and Chinese, and how each language writes its numbers.

Takes: a language, the key of a phrase, values.
Gives: the phrase, and numbers, times and shares as people of that language write them.
Does not know: where a phrase stands on the page.
"""

from __future__ import annotations

from dataclasses import dataclass

from llamarium.ground.progress import duration

WORDS: dict[str, dict[str, str]] = {
    "en": {
        "title": "Your text, your machine, your LLaMA",
        "claim": "In {time} this machine cleaned {size} of text, grew a small LLaMA on it from nothing, let a real LLaMA read it, "
        "and answered questions with quotes that are checked.",
        "claim_without_catalogue": "In {time} this machine cleaned {size} of text, grew a small LLaMA on it from nothing, "
        "and answered questions with quotes that are checked.",
        "quickstart": "Llamarium quickstart",
        "none": "none",
        # tiles at the top
        "top_text": "documents kept",
        "of": "of {number}",
        "top_own": "your own LLaMA",
        "top_catalogue": "a real LLaMA, after reading you",
        "top_catalogue_note": "{before} before",
        "bits_per_byte": "bits per byte",
        "top_quotes": "quotes checked",
        "top_quotes_note": "word for word",
        "top_sent": "bytes sent",
        "top_sent_note": "measured",
        "not_measured": "not measured",
        # 1 text
        "text": "Text",
        "text_lead": "{source}: {kept} of {read} documents are worth learning from. {valid} of them are held back: "
        "what is measured below is measured on text that was kept out of all learning here.",
        "source_python:docs": "The documentation that every Python carries",
        "documents": "documents",
        "characters": "characters",
        "to_train": "to learn from",
        "to_validate": "held back",
        "leak": "Leak: {share} of the held-back documents have more than half of their 5-grams in the learning part.",
        "leak_none": "Leak: no held-back document has more than half of its 5-grams in the learning part.",
        "leak_unknown": "Nothing could be held back, so a leak could not be measured.",
        "dropped": "What was left out, and why",
        "dropped_none": "Nothing was left out.",
        "reason": "reason",
        "examples": "Examples: {reason}",
        "languages": "Languages, guessed from the script: {list}.",
        "and": ", ",
        "bad_files": "Files that could not be read: {number}",
        "reason_blank": "nothing but white space",
        "reason_too_short": "too short to learn from",
        "reason_duplicate_exact": "the same as an earlier document",
        "reason_duplicate_near": "almost the same as an earlier document",
        "language_en": "English",
        "language_zh": "Chinese",
        "language_und": "no letters",
        # 2 tokenizer
        "tokenizer": "Tokenizer",
        "tokenizer_lead": "A model reads pieces, not letters. This alphabet of {pieces} pieces was learned from your text; "
        "one piece holds {bytes} bytes on average.",
        "tokenizer_pieces": "This is how it cuts a sentence:",
        # 3 ladder
        "ladder": "Ladder",
        "ladder_lead": "How many bits does each of them need for one byte of the held-back text? Stored as it is, a byte takes 8. "
        "Fewer is better: to predict is to need less. One scale for a packer, a table of counts and a neural network.",
        "chart_title": "Bits per byte of held-back text",
        "chart_x": "minutes of training",
        "chart_y": "less is better",
        "who_before": "{name}, as it came",
        "who_after": "{name}, after reading you",
        "chart_after": "the same, after reading you",
        "no_picture": "There is no picture here, only the table.",
        "before_after": "Before and after reading you",
        "before": "as it came",
        "after": "after {time} with your text",
        "gained": "{name} has {parameters} weights and had read much of the world before it came. Since it read your text it needs "
        "{share} fewer bits for the held-back documents, which were not among what it read.",
        "gained_nothing": "{name} has {parameters} weights. In this run, reading your text did not help it on the held-back documents.",
        "scored": "Scored on {tokens} tokens of the held-back text. Nobody here knows all that it had read before; "
        "a text that is public may have been among it.",
        "catalogue_missing": "A real LLaMA belongs here.",
        "who": "who",
        "time": "time",
        "who_own": "your own LLaMA",
        "note_gzip": "a packer; it can look back at the last 32 KiB of the learning part",
        "note_xz": "a packer; it can point back at all of the learning part",
        "note_bigram": "counts: what followed each piece of text",
        "note_5-gram": "counts: what followed each four pieces of text",
        "note_lstm": "a memory, learnt by gradient",
        "note_gpt": "attention instead of a memory",
        "note_gpt-rms": "GPT with a norm without mean and bias",
        "note_gpt-rotary": "and positions by rotation: how far, instead of where",
        "note_gpt-swiglu": "and an MLP with a gate",
        "note_llama": "and query heads that share keys and values",
        "own_note": "{parameters} weights, from nothing, {tokens} tokens read",
        "before_note": "{parameters} weights, trained elsewhere",
        "after_note": "the same weights, and LoRA trained on your text",
        "overtakes": "When your own LLaMA went past",
        "overtook": "ahead at minute {minute}",
        "overtook_not": "did not overtake it in this run",
        "why_counts": "Why not the counts? On {size} they are hard to beat: they know a phrase once they have seen it, while a network "
        "that starts from nothing had {time} here. Counts stop getting better soon; a network goes on. "
        "With more text and more time it usually turns.",
        "why_packers": "Why not a packer? It may copy any phrase of the learning part that it meets again, from the first second on. "
        "A network that starts from nothing had {time} here.",
        # 4 speak
        "speak": "Speak",
        "speak_lead": "Your own LLaMA goes on writing. It has trained for {time}: it has learned something of how your text looks, "
        "and nothing of what it means. Enjoy it, do not believe it.",
        "speed": "tokens a second",
        "repetition": "repetition",
        "repetition_note": "of its 4-grams had come before",
        # 5 ask
        "ask": "Ask",
        "ask_lead": "The same question twice: to a model alone, and to your documents. Only what stands in a document counts as an answer.",
        "question_unanswerable": "Your documents do not know this one; the right answer is to say so.",
        "alone": "the model alone",
        "alone_badge": "unverified, may be invented",
        "alone_none": "No model was asked: there is none here yet.",
        "with_documents": "with your documents",
        "quoted_badge": "quotes checked",
        "checked": "checked: stands there word for word",
        "not_found": "Not in your documents",
        "not_found_lead": "No passage supports an answer, so none is given.",
        "found_unexpected": "It was expected to find nothing. The quotes are real; judge for yourself whether they answer.",
        "not_found_unexpected": "The answer is in the documents, and was not found in this run.",
        # footer
        "phases": "Where the time went",
        "phase_probe": "try out the processor",
        "phase_text": "text",
        "phase_tokenizer": "tokenizer",
        "phase_load": "open the real LLaMA",
        "phase_references": "packers and counts",
        "phase_alone": "ask the model alone",
        "phase_own": "grow your own LLaMA",
        "phase_reading": "let the real LLaMA read",
        "phase_speak": "speak",
        "phase_ask": "ask the documents",
        "phase_sum": "together",
        "machine": "Machine",
        "machine_line": "{processor}, {threads} threads, torch {torch}, {precision}",
        "version_line": "Llamarium {version}, {date}, asked to take {minutes} minutes",
        "network": "Network",
        "network_line": "{bytes} bytes sent.",
        "network_unknown": "The bytes sent were not measured.",
        "next": "What to do next",
    },
    "zh": {
        "title": "您的文本，您的电脑，您的 LLaMA",
        "claim": "在 {time}里，这台电脑清洗了 {size} 文本，从零养出一只小 LLaMA，让一个真正的 LLaMA 读了它，并用核对过的原文回答了问题。",
        "claim_without_catalogue": "在 {time}里，这台电脑清洗了 {size} 文本，从零养出一只小 LLaMA，并用核对过的原文回答了问题。",
        "quickstart": "羊驼馆 · 快速上手",
        "none": "无",
        "top_text": "保留的文档",
        "of": "共 {number}",
        "top_own": "您自己的 LLaMA",
        "top_catalogue": "真正的 LLaMA，读过您之后",
        "top_catalogue_note": "之前 {before}",
        "bits_per_byte": "比特每字节",
        "top_quotes": "核对过的引文",
        "top_quotes_note": "逐字相符",
        "top_sent": "发出的字节",
        "top_sent_note": "实测",
        "not_measured": "没有测量",
        "text": "文本",
        "text_lead": "{source}：{read} 篇文档里有 {kept} 篇值得学习。其中 {valid} 留作检验："
        "下面的测量，都在没有参与这里任何学习的文本上进行。",
        "source_python:docs": "每个 Python 自带的文档",
        "documents": "文档",
        "characters": "字符",
        "to_train": "用来学习",
        "to_validate": "留作检验",
        "leak": "泄漏：留作检验的文档中，{share} 有一半以上的五元片段出现在学习部分。",
        "leak_none": "泄漏：没有一篇留作检验的文档，有一半以上的五元片段出现在学习部分。",
        "leak_unknown": "没有可以留作检验的文档，所以无法测量泄漏。",
        "dropped": "去除了什么，为什么",
        "dropped_none": "没有去除任何文档。",
        "reason": "原因",
        "examples": "例子：{reason}",
        "languages": "语言（按文字推测）：{list}。",
        "and": "，",
        "bad_files": "无法读取的文件：{number}",
        "reason_blank": "只有空白",
        "reason_too_short": "太短，学不到什么",
        "reason_duplicate_exact": "与前面的文档相同",
        "reason_duplicate_near": "与前面的文档几乎相同",
        "language_en": "英文",
        "language_zh": "中文",
        "language_und": "没有文字",
        "tokenizer": "分词器",
        "tokenizer_lead": "模型读的不是字母，而是小块。这套 {pieces} 块的字母表是从您的文本里学来的；平均一块有 {bytes} 个字节。",
        "tokenizer_pieces": "它这样切开一句话：",
        "ladder": "阶梯",
        "ladder_lead": "对留作检验的文本，每个字节各需要多少比特？原样存放要 8 比特。越少越好：能预测，就省得下来。"
        "压缩程序、计数表和神经网络，用的是同一把尺子。",
        "chart_title": "留作检验的文本：每字节的比特数",
        "chart_x": "训练分钟数",
        "chart_y": "越少越好",
        "who_before": "{name}，原样",
        "who_after": "{name}，读过您之后",
        "chart_after": "同一模型，读过您之后",
        "no_picture": "这里没有图，只有表格。",
        "before_after": "读您之前，读您之后",
        "before": "原样",
        "after": "读了您的文本 {time}之后",
        "gained": "{name} 有 {parameters}个参数，来到这里之前已读过大半个世界。读了您的文本之后，"
        "面对没有给它读的、留作检验的文档，它需要的比特少了 {share}。",
        "gained_nothing": "{name} 有 {parameters}个参数。这一次，读您的文本没有让它在留作检验的文档上变得更好。",
        "scored": "在留作检验的文本的 {tokens} 个词元上测得。它从前读过什么，这里无从得知；公开的文本也许就在其中。",
        "catalogue_missing": "这里本该有一个真正的 LLaMA。",
        "who": "谁",
        "time": "用时",
        "who_own": "您自己的 LLaMA",
        "note_gzip": "压缩程序；只能回看学习部分的最后 32 KiB",
        "note_xz": "压缩程序；可以回指整个学习部分",
        "note_bigram": "计数：每个词元后面跟过什么",
        "note_5-gram": "计数：每四个词元后面跟过什么",
        "note_lstm": "靠梯度学会的记忆",
        "note_gpt": "用注意力代替记忆",
        "note_gpt-rms": "GPT，归一化不减均值、没有偏置",
        "note_gpt-rotary": "再用旋转表示位置：相距多远，而不是在哪里",
        "note_gpt-swiglu": "再加带门的前馈层",
        "note_llama": "再让多个查询头共用键和值",
        "own_note": "{parameters}个参数，从零开始，读了 {tokens}个词元",
        "before_note": "{parameters}个参数，在别处训练",
        "after_note": "同样的参数，加上在您的文本上训练的 LoRA",
        "overtakes": "您自己的 LLaMA 何时超过它们",
        "overtook": "第 {minute} 分钟时已领先",
        "overtook_not": "这一次没有超过",
        "why_counts": "为什么没有超过计数表？在 {size} 文本上，计数很难战胜：一个短语它见过一次就记住了，"
        "而从零开始的网络在这里只有 {time}。计数很快就不再进步，网络会继续进步。文本更多、时间更长，通常就会反过来。",
        "why_packers": "为什么没有超过压缩程序？学习部分里的任何短语，只要再次出现，它从第一秒起就能照抄；"
        "而从零开始的网络在这里只有 {time}。",
        "speak": "说话",
        "speak_lead": "您自己的 LLaMA 接着往下写。它只训练了 {time}：学到了一点您的文本的样子，完全不懂其中的意思。可以欣赏，不要相信。",
        "speed": "词元每秒",
        "repetition": "重复率",
        "repetition_note": "四元片段的重复比例",
        "ask": "提问",
        "ask_lead": "同一个问题问两次：一次只问模型，一次问您的文档。只有写在文档里的，才算回答。",
        "question_unanswerable": "这个问题，您的文档并不知道；正确的回答就是说不知道。",
        "alone": "只问模型",
        "alone_badge": "未经核对，可能是编的",
        "alone_none": "没有问模型：这里还没有模型。",
        "with_documents": "问您的文档",
        "quoted_badge": "引文已核对",
        "checked": "已核对：原文逐字如此",
        "not_found": "您的文档里没有",
        "not_found_lead": "没有一段原文支持任何回答，所以不作回答。",
        "found_unexpected": "本来预期什么也找不到。引文是真的；它们是否回答了问题，请您自己判断。",
        "not_found_unexpected": "答案就在文档里，这一次没有找到。",
        "phases": "时间用在哪里",
        "phase_probe": "试一试处理器",
        "phase_text": "文本",
        "phase_tokenizer": "分词器",
        "phase_load": "打开真正的 LLaMA",
        "phase_references": "压缩程序与计数表",
        "phase_alone": "只问模型",
        "phase_own": "养您自己的 LLaMA",
        "phase_reading": "让真正的 LLaMA 来读",
        "phase_speak": "说话",
        "phase_ask": "问文档",
        "phase_sum": "合计",
        "machine": "机器",
        "machine_line": "{processor}，{threads} 线程，torch {torch}，{precision}",
        "version_line": "Llamarium {version}，{date}，预定 {minutes} 分钟",
        "network": "网络",
        "network_line": "发出 {bytes} 字节。",
        "network_unknown": "没有测量发出的字节。",
        "next": "接下来可以做",
    },
}


@dataclass(frozen=True)
class Voice:
    """One language. An unknown one speaks English."""

    language: str

    def __call__(self, key: str, /, **values: object) -> str:
        """The phrase `key` with its values."""
        return WORDS.get(self.language, WORDS["en"])[key].format(**values)

    def known(self, group: str, name: str) -> str:
        """The phrase ``group_name`` where there is one, else `name` as it is (`name` may come from anywhere)."""
        words = WORDS.get(self.language, WORDS["en"])
        return words[key] if (key := f"{group}_{name}") in words else name

    def time(self, seconds: float | None) -> str:
        """A duration; a dash where it is not known.

        >>> Voice("en").time(75), Voice("zh").time(75)
        ('1 min 15 s', '1 分 15 秒')
        """
        if seconds is None:
            return "–"
        if 0 < seconds < 9.95:
            text = f"{seconds:.1f} s"
        else:
            text = duration(seconds)
        if self.language == "zh":
            text = text.replace("min", "分").replace("h", "小时").replace("s", "秒")
        return text

    def short(self, number: float | None) -> str:
        """A large number in few digits.

        >>> Voice("en").short(134_515_008), Voice("zh").short(134_515_008)
        ('135 M', '1.35 亿')
        """
        if number is None:
            return "–"
        units = ((1e8, " 亿"), (1e4, " 万")) if self.language == "zh" else ((1e9, " G"), (1e6, " M"), (1e4, " k"))
        for unit, name in units:
            if number >= unit:
                value = number / (1e3 if name == " k" else unit)
                return f"{value:.0f}{name}" if value >= 99.95 else f"{value:.3g}{name}"
        return f"{number:,.0f}"


def number(value: float | None, *, digits: int = 0) -> str:
    """A number with its thousands apart; a dash where there is none."""
    return "–" if value is None else f"{value:,.{digits}f}"


def share(value: float | None) -> str:
    """A share of 1 in per cent."""
    return "–" if value is None else f"{100 * value:.1f} %"
