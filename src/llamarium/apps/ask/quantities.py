"""The numbers of a text as values, however they are written.

Takes: a text in English or Chinese.
Gives: where numbers stand and what they are worth: 1,200, twelve hundred, 1.2 thousand, 一千二百; halves and percents.
Does not know: what they count.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Quantity:
    """``text[start:end]`` is worth `value`; a `share` (percent, halves, 成) is given in percent.

    `spelled`: written in words or Chinese characters, where a one may be an article.
    """

    start: int
    end: int
    value: float
    share: bool = False
    spelled: bool = False


_UNITS = dict(
    zip(
        [
            "zero",
            "one",
            "two",
            "three",
            "four",
            "five",
            "six",
            "seven",
            "eight",
            "nine",
            "ten",
            "eleven",
            "twelve",
            "thirteen",
            "fourteen",
            "fifteen",
            "sixteen",
            "seventeen",
            "eighteen",
            "nineteen",
        ],
        range(20),
        strict=True,
    )
)
_TENS = dict(zip(["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"], range(20, 100, 10), strict=True))
_ORDINALS = dict(
    zip(
        [
            "first",
            "second",
            "third",
            "fourth",
            "fifth",
            "sixth",
            "seventh",
            "eighth",
            "ninth",
            "tenth",
            "eleventh",
            "twelfth",
            "thirteenth",
            "fourteenth",
            "fifteenth",
            "sixteenth",
            "seventeenth",
            "eighteenth",
            "nineteenth",
        ],
        range(1, 20),
        strict=True,
    )
) | {f"{word[:-1]}ieth": value for word, value in _TENS.items()}
_COUNTS = {"once": 1, "twice": 2, "thrice": 3, "dozen": 12, "both": 2, "couple": 2, "pair": 2, "double": 2, "triple": 3, "fortnight": 2}
_SHARES = {
    "half": 50.0,
    "halves": 50.0,
    "quarter": 25.0,
    "quarters": 25.0,
    "third": 100 / 3,
    "thirds": 100 / 3,
    "fifth": 20.0,
    "fifths": 20.0,
}
_SHARES |= {"tenth": 10.0, "tenths": 10.0, "sixth": 100 / 6, "eighth": 12.5}
_MAGNITUDES = {"hundred": 100, "thousand": 1_000, "million": 1_000_000, "billion": 1_000_000_000}
_WORDS = {**_UNITS, **_TENS}

_DIGITS = {char: value for value, char in enumerate("零一二三四五六七八九")} | {"〇": 0, "两": 2, "兩": 2, "廿": 20}
_PLACES = {"十": 10, "百": 100, "千": 1_000, "拾": 10, "佰": 100}
_MYRIADS = {"万": 10_000, "萬": 10_000, "亿": 100_000_000, "億": 100_000_000}

_CHINESE = "零〇一二两兩三四五六七八九十百千万萬亿億"
_ALL_WORDS = "|".join(sorted({*_WORDS, *_MAGNITUDES}, key=len, reverse=True))
_FORM = re.compile(
    rf"(?P<over>[{_CHINESE}0-9]+)分之(?P<under>[{_CHINESE}0-9.]+)"
    rf"|(?P<figures>[0-9]{{1,3}}(?:,[0-9]{{3}})+(?:\.[0-9]+)?|[0-9]+(?:\.[0-9]+)?)"
    rf"\s*(?P<magnitude>hundred\b|thousand\b|million\b|billion\b|[百千万萬亿億]+)?\s*(?P<percent>%|％|percent\b|per cent\b|成)?"
    rf"|(?P<tenths>[一二两兩三四五六七八九])成(?P<five>半)?(?![为為了功立交员員本语語])"
    rf"|(?P<half>一?半)(?![径徑导導岛島])"
    rf"|(?P<chinese>[{_CHINESE}]+)"
    rf"|\b(?P<parts>one|two|three|four)[ -](?P<of>{'|'.join(_SHARES)})\b"
    rf"|\b(?P<words>(?:(?:{_ALL_WORDS})\b[- ]?(?:and[ -](?=(?:{_ALL_WORDS})\b))?)+)(?P<word_percent>\s*(?:percent|per cent)\b)?"
    rf"|\b(?P<word>{'|'.join(sorted({*_ORDINALS, *_COUNTS, *_SHARES}, key=len, reverse=True))})\b",
    re.IGNORECASE,
)
# Number characters that count nothing.
_NO_NUMBER = re.compile(
    "千万别|千萬別|万一|萬一|十分(?![钟鐘之一二三四五六七八九])|四周(?!年)|一旦|一样|一樣|一起|一直|一定|一些|一律|一般|一下|一概|百姓|三角|五金|唯一|统一|統一|同一|再一|一面|一边|一路|一并|一齐|万能"
)
_BEFORE_SHARE = re.compile(r"\ban? $", re.IGNORECASE)


def quantities(text: str) -> Iterator[Quantity]:
    """The numbers of `text`, in order, without overlap.

    >>> [quantity.value for quantity in quantities("1,200 or twelve hundred, 一千二百 and 1.2 thousand")]
    [1200.0, 1200.0, 1200.0, 1200.0]
    >>> [(quantity.value, quantity.share) for quantity in quantities("三成, 百分之三, half of it, 9.5 percent")]
    [(30.0, True), (3.0, True), (50.0, True), (9.5, True)]
    """
    spared = [match.span() for match in _NO_NUMBER.finditer(text)]
    place = 0
    while match := _FORM.search(text, place):
        start, end = match.span()
        while end > start and text[end - 1] in " -":
            end -= 1
        if hidden := next((span for span in spared if span[0] <= start < span[1]), None):
            place = hidden[1]
            continue
        place = max(end, start + 1)
        yield from _quantities(text, match, start, end)


def _quantities(text: str, match: re.Match[str], start: int, end: int) -> Iterator[Quantity]:
    if match["over"]:
        over, under = _number(match["over"]), _number(match["under"])
        if over:
            yield Quantity(start, end, under if over == 100 else 100 * under / over, share=True, spelled=True)
    elif match["figures"]:
        value = float(match["figures"].replace(",", ""))
        for part in re.findall("[a-z]+|.", (match["magnitude"] or "").lower()):
            value *= _MAGNITUDES.get(part, 0) or _MYRIADS.get(part, 0) or _PLACES[part]
        percent = match["percent"]
        yield Quantity(start, end, value * (10 if percent == "成" else 1), share=bool(percent))
    elif match["tenths"]:
        yield Quantity(start, end, 10.0 * _DIGITS[match["tenths"]] + (5 if match["five"] else 0), share=True, spelled=True)
    elif match["chinese"]:
        yield Quantity(start, end, chinese_number(match["chinese"]), spelled=True)
    elif match["parts"]:
        yield Quantity(start, end, _UNITS[match["parts"].lower()] * _SHARES[match["of"].lower()], share=True, spelled=True)
    elif match["half"]:
        yield Quantity(start, end, 50.0, share=True, spelled=True)
    elif match["words"]:
        yield Quantity(start, end, _english_number(match["words"]), share=bool(match["word_percent"]), spelled=True)
    else:
        word = match["word"].lower()
        # A fifth of it, but the fifth of May.
        if word in _SHARES and (word not in _ORDINALS or _BEFORE_SHARE.search(text, 0, start)):
            yield Quantity(start, end, _SHARES[word], share=True, spelled=True)
        else:
            yield Quantity(start, end, float(_ORDINALS.get(word, 0) or _COUNTS[word]), spelled=True)


def _number(written: str) -> float:
    return float(written.rstrip(".") or 0) if written[0].isdigit() else chinese_number(written)


def chinese_number(written: str) -> float:
    """What a number in Chinese characters is worth; digits one after the other are read as such (二〇二四).

    >>> chinese_number("三千四百万"), chinese_number("二〇二四"), chinese_number("一百零五"), chinese_number("一万二")
    (34000000.0, 2024.0, 105.0, 12000.0)
    """
    if len(written) > 1 and all(char in _DIGITS for char in written):
        return float("".join(str(_DIGITS[char]) for char in written))
    total = section = digit = 0
    last = 1
    for char in written:
        if char in _DIGITS:
            digit = _DIGITS[char]
            last = 10 if char in "零〇" else last
        elif char in _PLACES:
            section += (digit or (1 if not section or char == "十" else 0)) * _PLACES[char]
            last, digit = _PLACES[char], 0
        else:
            total = (
                (total + section + digit or 1) * _MYRIADS[char]
                if _MYRIADS[char] > 10_000
                else total + (section + digit or 1) * _MYRIADS[char]
            )
            last, section, digit = _MYRIADS[char], 0, 0
    # 一万二 is twelve thousand, 一百五 a hundred and fifty.
    return float(total + section + digit * (last // 10 if last > 10 else 1))


def _english_number(written: str) -> float:
    total = section = 0
    for word in re.findall("[a-z]+", written.lower()):
        if word in _WORDS:
            section += _WORDS[word]
        elif word == "hundred":
            section = (section or 1) * 100
        elif word in _MAGNITUDES:
            total += (section or 1) * _MAGNITUDES[word]
            section = 0
    return float(total + section)
