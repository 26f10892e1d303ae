"""Ratios: how much of a text is letters, and how much of it says again what it has said.

Takes: a text.
Gives: the text, or None where a ratio is past its limit.
Does not know: which of these rules `clean` asks of every text and which only of web pages.

"Gopher" is Rae et al. 2021, "Scaling Language Models: Methods, Analysis & Insights from Training Gopher", appendix A1.1, table A1.
Chinese has no spaces between words: two characters stand for a word of its n-grams here.
"""

from __future__ import annotations

import functools
import re
import unicodedata
import zlib
from collections import Counter
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FEWEST_CHARACTERS = 100  # less says nothing about ratios
FEWEST_LETTERS = 0.2
MOST_DIGITS = 0.5
LEAST_LEFT = 0.04
FEWEST_REPEATS = 20
PROBE = 16
MOST_COMPRESSED = 1 << 20

LINES, LINE_CHARACTERS = 0.30, 0.20
PARAGRAPHS, PARAGRAPH_CHARACTERS = 0.30, 0.20
TOP_NGRAMS = {2: 0.20, 3: 0.18, 4: 0.16}
REPEATED_NGRAMS = {5: 0.15, 6: 0.14, 7: 0.13, 8: 0.12, 9: 0.11, 10: 0.10}

_LETTER, _HAN, _DIGIT, _SPACE, _OTHER, _NOTHING = range(6)


@dataclass(frozen=True)
class Census:
    """Characters of a text by kind. `letters` counts Chinese characters too; `others` are punctuation and symbols."""

    letters: int
    han: int
    digits: int
    others: int

    @property
    def seen(self) -> int:
        """All but white space."""
        return self.letters + self.digits + self.others


@functools.lru_cache(maxsize=2)
def census(text: str) -> Census:
    """Count the characters of `text` by kind.

    >>> census("羊驼 v2!")
    Census(letters=3, han=2, digits=1, others=1)
    """
    units = np.frombuffer(text.encode("utf-16-le", "surrogatepass"), dtype=np.uint16)
    counts = np.bincount(_kinds()[units], minlength=6).tolist()
    return Census(letters=counts[_LETTER] + counts[_HAN], han=counts[_HAN], digits=counts[_DIGIT], others=counts[_OTHER])


@functools.cache
def _kinds() -> NDArray[np.uint8]:
    """The kind of each UTF-16 unit (65536,). The first half of a pair tells Chinese from emoji, the second counts for nothing."""
    kinds = {"L": _LETTER, "M": _LETTER, "N": _DIGIT, "Z": _SPACE}
    table = np.array([kinds.get(unicodedata.category(chr(code))[0], _OTHER) for code in range(1 << 16)], dtype=np.uint8)
    table[[9, 10, 11, 12, 13, 0x85]] = _SPACE
    for first, end in ((0x3400, 0x4DC0), (0x4E00, 0xA000), (0xF900, 0xFB00), (0xD840, 0xD8C0)):
        table[first:end] = _HAN
    table[0xD800:0xD83C], table[0xD83C:0xD840], table[0xDC00:0xE000] = _LETTER, _OTHER, _NOTHING
    return table


def symbols(text: str) -> str | None:
    """None where, of at least 100 characters that can be seen, fewer than a fifth are letters or digits.

    >>> symbols("#$%^&*()_+ab" * 20), symbols("★☆◆◇羊●○" * 20)
    (None, None)
    >>> symbols("if (a[i] != b[j]) { c++; }"), symbols("羊驼！！！")
    ('if (a[i] != b[j]) { c++; }', '羊驼！！！')
    """
    if len(text) < FEWEST_CHARACTERS:
        return text
    kinds = census(text)
    few = kinds.letters + kinds.digits < FEWEST_LETTERS * kinds.seen
    return None if few and kinds.seen >= FEWEST_CHARACTERS else text


def digits(text: str) -> str | None:
    """None where, of at least 100 characters that can be seen, more than half are digits (figure of ours).

    >>> digits("Call 0123456789 0123456789 now " * 10), digits("电话 13800138000 " * 10)
    (None, None)
    >>> digits("1, 2, 3, go"), digits("公元 618 年至 907 年")
    ('1, 2, 3, go', '公元 618 年至 907 年')
    """
    if len(text) < FEWEST_CHARACTERS:
        return text
    kinds = census(text)
    return None if kinds.digits > MOST_DIGITS * kinds.seen and kinds.seen >= FEWEST_CHARACTERS else text


def over_and_over(text: str) -> str | None:
    r"""None where a text says one thing over and over, so that zlib leaves 4 % of it or less (figure of ours).

    Two probes of 16 characters, at a third and at two thirds, are counted first; only where one is found 20 times, or fills half of the
    text, is anything compressed.

    >>> over_and_over("All work and no play.\n" * 100), over_and_over("点击领取红包！" * 100)
    (None, None)
    >>> chorus = "Row, row, row your boat\n" * 4
    >>> over_and_over(chorus) == chorus
    True
    """
    size = len(text)
    if size < FEWEST_CHARACTERS:
        return text
    probes = (text[size // 3 :][:PROBE], text[2 * size // 3 :][:PROBE])
    if all(text.count(probe) < min(FEWEST_REPEATS, size // (2 * PROBE)) for probe in probes):
        return text
    data = text[:MOST_COMPRESSED].encode("utf-8", "surrogatepass")
    return None if len(zlib.compress(data, 1)) - 12 <= LEAST_LEFT * len(data) else text


def duplicate_lines(text: str) -> str | None:
    r"""None where more than 30 % of the lines, or lines with more than 20 % of the characters, repeat an earlier one (Gopher).

    >>> duplicate_lines("Our llamas are the best\n" * 4 + "Buy one."), duplicate_lines("我们的羊驼最好\n" * 4 + "欢迎选购。")
    (None, None)
    >>> duplicate_lines("One.\nTwo.\nThree.")
    'One.\nTwo.\nThree.'
    """
    return _unless_repeated(text, text.split("\n"), most=LINES, most_characters=LINE_CHARACTERS)


def duplicate_paragraphs(text: str) -> str | None:
    r"""None where more than 30 % of the paragraphs, or such with more than 20 % of the characters, repeat an earlier one (Gopher).

    >>> duplicate_paragraphs("Our llamas\n\nOur llamas\n\nBuy one."), duplicate_paragraphs("羊驼最好\n\n羊驼最好\n\n欢迎选购。")
    (None, None)
    >>> duplicate_paragraphs("一\n\n二\n\n三")
    '一\n\n二\n\n三'
    """
    return _unless_repeated(text, text.split("\n\n"), most=PARAGRAPHS, most_characters=PARAGRAPH_CHARACTERS)


def _unless_repeated(text: str, parts: list[str], *, most: float, most_characters: float) -> str | None:
    parts = [part for part in parts if part.strip()]
    counts = Counter(parts)
    num_repeated = len(parts) - len(counts)
    if not num_repeated:
        return text
    num_characters = sum((count - 1) * len(part) for part, count in counts.items())
    return None if num_repeated > most * len(parts) or num_characters > most_characters * sum(map(len, parts)) else text


_WORDS = re.compile(r"\w+")


@dataclass(frozen=True)
class _Units:
    """What n-grams are made of: `ids` int64 (n,), `sizes` int64 (n,) characters of each, and how many of them stand for a word."""

    ids: NDArray[np.int64]
    sizes: NDArray[np.int64]
    a_word: int


@functools.lru_cache(maxsize=2)
def _units(text: str) -> _Units:
    kinds = census(text)
    if 2 * kinds.han > kinds.letters:
        characters = np.frombuffer("".join(_WORDS.findall(text)).encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
        return _Units(characters.astype(np.int64), np.ones(len(characters), dtype=np.int64), a_word=2)
    words = text.lower().split()
    numbers: dict[str, int] = {}
    ids = np.fromiter((numbers.setdefault(word, len(numbers)) for word in words), dtype=np.int64, count=len(words))
    return _Units(ids, np.fromiter(map(len, words), dtype=np.int64, count=len(words)), a_word=1)


def _ngrams(units: _Units, length: int) -> NDArray[np.uint64]:
    """What tells the n-gram of `length` units that begins at each unit from others: a polynomial in an odd number, modulo 2 ** 64."""
    num = len(units.ids) - length + 1
    hashes = np.zeros(num, dtype=np.uint64)
    for start in range(length):
        hashes = hashes * np.uint64(0x9E3779B97F4A7C15) + units.ids[start : start + num].astype(np.uint64) + np.uint64(1)
    return hashes


def top_ngrams(text: str) -> str | None:
    """None where the most frequent 2-gram of words holds more than 20 % of the characters, 3-gram 18 %, 4-gram 16 % (Gopher).

    Of Chinese: n-grams of 4, 6 and 8 characters with the same shares. Texts of fewer than 20 words (40 characters) are not judged.

    >>> top_ngrams("cheap llamas for sale " * 10), top_ngrams("特价羊驼，快来买，特价羊驼，" * 10)
    (None, None)
    >>> top_ngrams("The llama eats grass and then it drinks water."), top_ngrams("羊驼吃草，然后喝水。")
    ('The llama eats grass and then it drinks water.', '羊驼吃草，然后喝水。')
    """
    units = _units(text)
    if len(units.ids) < 20 * units.a_word:
        return text
    total = int(units.sizes.sum())
    for words, most in TOP_NGRAMS.items():
        length = words * units.a_word
        hashes = _ngrams(units, length)
        values = np.sort(hashes)
        starts = np.flatnonzero(np.concatenate([[True], values[1:] != values[:-1]]))
        counts = np.diff(np.append(starts, len(values)))
        count = int(counts.max())
        if count == 1:
            return text
        first = int(np.flatnonzero(hashes == values[starts[int(counts.argmax())]])[0])
        # What overlaps itself is counted twice, so no more than all.
        if min(count * int(units.sizes[first : first + length].sum()), total) > most * total:
            return None
    return text


def duplicate_ngrams(text: str) -> str | None:
    """None where 5-grams of words that occur before hold more than 15 % of the characters, and so on to 10-grams and 10 % (Gopher).

    Characters in several of them are counted once. Of Chinese: n-grams of 10, 12, ... 20 characters with the same shares.

    >>> duplicate_ngrams("We sell the very best llamas. " * 3 + "Come and see."), duplicate_ngrams("我们牧场卖最好的羊驼。" * 3)
    (None, None)
    >>> duplicate_ngrams("The llama eats grass and then it drinks water."), duplicate_ngrams("羊驼吃草，然后喝水。")
    ('The llama eats grass and then it drinks water.', '羊驼吃草，然后喝水。')
    """
    units = _units(text)
    total = int(units.sizes.sum())
    for words, most in REPEATED_NGRAMS.items():
        length = words * units.a_word
        if len(units.ids) <= length:
            return text
        hashes = _ngrams(units, length)
        order = np.argsort(hashes, kind="stable")
        values = hashes[order]
        again = order[1:][values[1:] == values[:-1]]  # stable: the first of its like is not among them
        marks = np.zeros(len(units.ids) + 1, dtype=np.int64)
        marks[again] += 1
        marks[again + length] -= 1
        share = int(units.sizes[np.cumsum(marks[:-1]) > 0].sum()) / total
        if share > most:
            return None
        if share <= min(REPEATED_NGRAMS.values()):  # longer ones lie within these
            return text
    return text
