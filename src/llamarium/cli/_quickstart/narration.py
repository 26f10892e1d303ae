"""What the quickstart says while it works, in both languages: key -> (English, Chinese)."""

from __future__ import annotations

from typing import Any

SAY = {
    "start": (
        "Llamarium quickstart: about {minutes:g} minutes on {threads} processors, without the network.",
        "羊驼馆快速上手：{threads} 个处理器上约 {minutes:g} 分钟，全程不联网。",
    ),
    "probe": ("0  Probe: {gflops:,.0f} GFLOP/s in {precision}.", "0  探测：{precision} 下每秒 {gflops:,.0f} GFLOP。"),
    "text": ("1  Text: reading {source} …", "1  文本：读取 {source} ……"),
    "text_done": (
        "   {documents_in:,} documents in, {documents_out:,} kept, {characters_out:,} characters; dropped: {dropped}; "
        "{leak:.1%} of validation leaks into training.",
        "   读入 {documents_in:,} 篇，保留 {documents_out:,} 篇，共 {characters_out:,} 字符；去除：{dropped}；验证集泄漏 {leak:.1%}。",
    ),
    "nothing_dropped": ("nothing", "无"),
    "tokenizer": ("2  Tokenizer: learning a byte-level BPE …", "2  分词器：训练字节级 BPE ……"),
    "tokenizer_done": (
        "   {vocab_size:,} tokens, {bytes_per_token:.2f} bytes per token.",
        "   {vocab_size:,} 个词元，每词元 {bytes_per_token:.2f} 字节。",
    ),
    "ladder": (
        "3  Ladder: bits per byte on {documents} validation documents ({bytes:,} bytes), less is better.",
        "3  阶梯：在 {documents} 篇验证文档（{bytes:,} 字节）上比每字节比特数，越少越好。",
    ),
    "rung": ("   {bits:6.3f}  {bar}  {name}", "   {bits:6.3f}  {bar}  {name}"),
    "own": (
        "   Your own LLaMA: {parameters:,} weights, raised from nothing for {seconds:.0f} s …",
        "   您自己的 LLaMA：{parameters:,} 个参数，从零训练 {seconds:.0f} 秒 ……",
    ),
    "own_point": ("   {bits:6.3f}  {bar}  your own LLaMA after {time}; {beats}", "   {bits:6.3f}  {bar}  您的 LLaMA，{time}后；{beats}"),
    "beats": ("better than {names}", "已超过 {names}"),
    "beats_none": ("below no other rung yet", "尚未超过任何一级"),
    "no_catalogue": (
        "   The catalogue's LLaMA is not on this machine: {why}",
        "   目录中的 LLaMA 不在本机：{why}",
    ),
    "reading": ("   {name} reads your text: LoRA for {seconds:.0f} s …", "   {name} 正在读您的文本：LoRA {seconds:.0f} 秒 ……"),
    "after": (
        "   {name}: {before:.3f} before, {after:.3f} after reading you.",
        "   {name}：读前 {before:.3f}，读您的文本后 {after:.3f}。",
    ),
    "speak": ("4  Speak: your own LLaMA continues “{prompt}”", "4  说话：您的 LLaMA 续写“{prompt}”"),
    "speak_done": (
        "   {rate:.0f} tokens a second, {repetition:.0%} of its 4-grams repeat.",
        "   每秒 {rate:.0f} 词元，4 元组重复率 {repetition:.0%}。",
    ),
    "ask": ("5  Ask: {question}", "5  提问：{question}"),
    "alone": ("   the model alone (unverified): {text}", "   仅凭模型（未核实）：{text}"),
    "quoted": ("   quoted, {document}:{start}–{end}: “{quote}”", "   原文，{document}:{start}–{end}：“{quote}”"),
    "not_found": ("   not in your documents.", "   文档里没有。"),
    "report": ("6  Report: {path}", "6  报告：{path}"),
    "time": ("   {seconds} of work.", "   共用时 {seconds}。"),
    "next": ("Next:", "接下来可以："),
    "bytes": (
        "0 bytes sent since installation: this process opened no connection (counted by Python's audit hook).",
        "安装后发送 0 字节：本进程没有打开任何连接（由 Python 审计钩子统计）。",
    ),
    "bytes_some": ("{number} connections were asked for: {first}", "出现了 {number} 次连接请求：{first}"),
}


class Narrator:
    """Says a phrase in one language."""

    def __init__(self, language: str) -> None:
        self.place = 1 if language == "zh" else 0

    def __call__(self, key: str, **values: Any) -> str:
        """The phrase `key`, filled in."""
        return SAY[key][self.place].format(**values)
