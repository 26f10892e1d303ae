"""Heuristics: what tells a page that says something from one that does not, as two corpora that many models grew from had it.

Takes: the text of a web page.
Gives: the text, or None where a rule of thumb speaks against it.
Does not know: documents that are no web pages: a poem or an answer in one sentence is too short for nearly all of these rules.

"C4" is Raffel et al. 2020, "Exploring the Limits of Transfer Learning with a Unified Text-to-Text Transformer", section 2.2;
"Gopher" is Rae et al. 2021, "Scaling Language Models: Methods, Analysis & Insights from Training Gopher", appendix A1.1. Figures for
languages with spaces are theirs. Text whose letters are mostly Chinese characters is counted in characters, and those figures are ours.
"""

from __future__ import annotations

import re

from llamarium.text.clean.ratios import census

FEWEST_SENTENCES = 5
FEWEST_WORDS, MOST_WORDS = 50, 100_000
FEWEST_HAN, MOST_HAN = 80, 160_000  # at 1.6 characters a word
SHORTEST_WORD, LONGEST_WORD = 3, 10  # mean letters
SHORTEST_CLAUSE, LONGEST_CLAUSE = 3, 60  # mean Chinese characters between punctuation
MOST_SIGNS = 0.1
MOST_BULLETS, MOST_ELLIPSES = 0.9, 0.3
FEWEST_WITH_LETTERS = 0.8
FEWEST_HAN_OF_SEEN = 0.5
FEWEST_STOP_WORDS = 2
STOP_WORDS = frozenset(("the", "be", "to", "of", "and", "that", "have", "with"))
STOP_CHARACTERS = frozenset("的是不在了和有这之其也而者以")

_HAN_RUN = re.compile("[\u3400-\u4dbf\u4e00-\u9fff]+")
_SENTENCE_ENDS = re.compile("[.!?]+[\"'”’)]*(?=\\s|\\Z)|[。！？…]+[”’」』）]*")
_SIGNS = re.compile(r"#|\.\.\.|…+")
_BULLET = re.compile("\\s*(?:[-*+•·●○■□◆◇▪‣–—]|[0-9]{1,2}[.、)])\\s*\\S")


def _is_chinese(text: str) -> bool:
    kinds = census(text)
    return 2 * kinds.han > kinds.letters


def placeholder(text: str) -> str | None:
    """None where a page holds "lorem ipsum" (C4), or 此处填写 and 这里是内容, its Chinese kin.

    >>> placeholder("Our llamas. Lorem ipsum dolor sit amet."), placeholder("牧场简介：此处填写公司简介")
    (None, None)
    >>> placeholder("Our llamas."), placeholder("我们的羊驼。")
    ('Our llamas.', '我们的羊驼。')
    """
    return None if "lorem ipsum" in text.lower() or "此处填写" in text or "这里是内容" in text else text


def curly_bracket(text: str) -> str | None:
    """None where a page holds a curly bracket: it is code, or a template that nobody filled in (C4).

    >>> curly_bracket("function f() { return 1 }"), curly_bracket("欢迎，{{用户名}}")
    (None, None)
    >>> curly_bracket("The llama."), curly_bracket("羊驼。")
    ('The llama.', '羊驼。')
    """
    return None if "{" in text else text


def few_sentences(text: str) -> str | None:
    """None where a page has fewer than five sentences (C4); Chinese ones end in 。！？ or …

    >>> few_sentences("It eats. It drinks. It sleeps."), few_sentences("羊驼吃草。羊驼喝水。")
    (None, None)
    >>> few_sentences("A. B. C! D? E."), few_sentences("吃。喝！睡？走。跑。")
    ('A. B. C! D? E.', '吃。喝！睡？走。跑。')
    """
    ends = _SENTENCE_ENDS.finditer(text)
    return text if sum(1 for _, _ in zip(range(FEWEST_SENTENCES), ends, strict=False)) == FEWEST_SENTENCES else None


def word_count(text: str) -> str | None:
    """None where a page has fewer than 50 words or more than 100,000 (Gopher); 80 and 160,000 Chinese characters.

    >>> word_count("The llama eats grass."), word_count("羊驼吃草。")
    (None, None)
    >>> word_count("grass " * 50) == "grass " * 50, word_count("羊驼吃草" * 20) == "羊驼吃草" * 20
    (True, True)
    """
    if _is_chinese(text):
        return text if FEWEST_HAN <= census(text).han <= MOST_HAN else None
    return text if FEWEST_WORDS <= len(text.split()) <= MOST_WORDS else None


def word_length(text: str) -> str | None:
    """None where words have fewer than 3 or more than 10 characters in the mean (Gopher).

    Of Chinese: where fewer than 3 or more than 60 characters stand together in the mean, between punctuation, spaces and line ends.

    >>> word_length("a b c d e f"), word_length("羊 驼 吃 草")
    (None, None)
    >>> word_length("The llama eats grass."), word_length("春眠不觉晓，处处闻啼鸟。")
    ('The llama eats grass.', '春眠不觉晓，处处闻啼鸟。')
    """
    if _is_chinese(text):
        runs = _HAN_RUN.findall(text)
        return text if SHORTEST_CLAUSE * len(runs) <= sum(map(len, runs)) <= LONGEST_CLAUSE * len(runs) else None
    words = text.split()
    return text if SHORTEST_WORD * len(words) <= sum(map(len, words)) <= LONGEST_WORD * len(words) else None


def hashes_ellipses(text: str) -> str | None:
    """None where there is more than one hash sign, or more than one ellipsis, for ten words (Gopher); for sixteen Chinese characters.

    >>> hashes_ellipses("#llama #grass #farm"), hashes_ellipses("羊驼…吃草…喝水…")
    (None, None)
    >>> hashes_ellipses("The llama eats grass."), hashes_ellipses("羊驼吃草。")
    ('The llama eats grass.', '羊驼吃草。')
    """
    if "#" not in text and "..." not in text and "…" not in text:
        return text
    signs = _SIGNS.findall(text)
    num_hashes = signs.count("#")
    num_words = census(text).han / 1.6 if _is_chinese(text) else len(text.split())
    return None if max(num_hashes, len(signs) - num_hashes) > MOST_SIGNS * num_words else text


def bullets(text: str) -> str | None:
    r"""None where more than 90 % of the lines begin with a bullet or a number (Gopher).

    >>> bullets("- llama\n- alpaca\n* guanaco"), bullets("1、羊驼\n2、骆马\n3、原驼")
    (None, None)
    >>> bullets("We keep:\n- llamas\n- alpacas"), bullets("我们养：\n- 羊驼")
    ('We keep:\n- llamas\n- alpacas', '我们养：\n- 羊驼')
    """
    lines = [line for line in text.split("\n") if line.strip()]
    return None if sum(1 for line in lines if _BULLET.match(line)) > MOST_BULLETS * len(lines) else text


def ellipsis_lines(text: str) -> str | None:
    r"""None where more than 30 % of the lines end in an ellipsis (Gopher): they are teasers.

    >>> ellipsis_lines("A llama...\nA farm..."), ellipsis_lines("羊驼跑了…\n牧场…")
    (None, None)
    >>> ellipsis_lines("A llama.\nA farm."), ellipsis_lines("羊驼。")
    ('A llama.\nA farm.', '羊驼。')
    """
    if "..." not in text and "…" not in text:
        return text
    lines = [line for line in text.split("\n") if line.strip()]
    return None if sum(1 for line in lines if line.rstrip().endswith(("...", "…"))) > MOST_ELLIPSES * len(lines) else text


def few_letters(text: str) -> str | None:
    """None where fewer than 80 % of the words hold a letter (Gopher); where letters are less than half of what is seen, of Chinese.

    >>> few_letters("12 34 56 llama"), few_letters("羊驼 1234567")
    (None, None)
    >>> few_letters("The llama eats 3 kg"), few_letters("羊驼吃草。")
    ('The llama eats 3 kg', '羊驼吃草。')
    """
    kinds = census(text)
    if _is_chinese(text):
        return text if kinds.letters >= FEWEST_HAN_OF_SEEN * kinds.seen else None
    words = text.split()
    return text if sum(1 for word in words if _holds_letter(word)) >= FEWEST_WITH_LETTERS * len(words) else None


def _holds_letter(word: str) -> bool:
    return word.isalpha() or any(map(str.isalpha, word))


def no_stop_words(text: str) -> str | None:
    """None where an English page has fewer than two of: the, be, to, of, and, that, have, with (Gopher).

    A Chinese one: of 的是不在了和有这, or 之其也而者以 in the classical language.

    >>> no_stop_words("cheap llama wool farm shop"), no_stop_words("羊驼毛衣围巾特价包邮")
    (None, None)
    >>> no_stop_words("the llama of our farm"), no_stop_words("我们的羊驼是最好的")
    ('the llama of our farm', '我们的羊驼是最好的')
    """
    if _is_chinese(text):
        return text if len(STOP_CHARACTERS.intersection(text)) >= FEWEST_STOP_WORDS else None
    return text if len(STOP_WORDS.intersection(text.lower().split())) >= FEWEST_STOP_WORDS else None
