"""Characters: what cannot be seen, what was decoded wrongly, and one form for what has several.

Takes: a text.
Gives: the text with those characters repaired, folded or gone; None where too many of them are no characters at all.
Does not know: lines, words, languages.
"""

from __future__ import annotations

import functools
import re
import unicodedata
from collections.abc import Callable

MOST_MARKS = 30  # combining marks on one character: the limit of Unicode's Stream-Safe Text Format (UAX #15)
FEWEST_BROKEN = 20
MOST_BROKEN = 0.1
MOST_MISREADINGS = 8  # each read again; more than two have not been seen

_MISREAD_CHINESE = ("锛", "紝", "銆")  # what "，" and "。" in UTF-8 show when read as GB18030; hardly ever written on purpose
_REPLACED = "锟斤拷"  # two replacement characters in UTF-8, read as GB18030

# Characters that no rule here would touch, whatever stands beside them. Most documents have no others, so one look settles all rules.
_PLAIN = (
    "\t\n -~"
    "\u00b7\u2013\u2014\u2018\u2019\u201c\u201d\u2022\u2026\u25a1\u25cb\u25cf"  # dots, dashes, quotation marks, ellipsis, blanks
    "\u3000-\u3003\u3005-\u3011\u3014-\u3017\u301d-\u301f\uff01\uff08\uff09\uff0c\uff1a\uff1b\uff1f"  # Chinese punctuation
    "\u4e00-\u7d1c\u7d1e-\u9285\u9287-\u951a\u951c-\u951e\u9520-\u9fff"  # all but the four characters above
    "\u3400-\u4dbf\U00020000-\U0002ebe0\U00030000-\U000323af"
    "\u3041-\u3096\u30a1-\u30fa\u30fc\uac00-\ud7a3\u0410-\u044f"  # kana, Hangul, Russian
)
_ODD = re.compile(f"[^{_PLAIN}]")

_LINE_ENDS = re.compile("\r\n?|[\x0b\x0c\x1c-\x1e\x85\u2028\u2029]")
_EMOJI = "\U0001f000-\U0001faff\u2190-\u21ff\u2300-\u27bf\u2b00-\u2bff\ufe0f\u20e3"
_JOINING_SCRIPTS = "\u0600-\u0dff\u1000-\u109f\u1780-\u17ff\u1800-\u18af"  # Arabic, Indic, Burmese, Khmer, Mongolian
_UNSEEN = "\x00-\x08\x0e-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff\ufff9-\ufffc\U000e0000-\U000e007f"
_ANY_CONTROL = re.compile(f"[\x0b-\r\x85\u2028\u2029{_UNSEEN}]")
# What the first group finds stays: joiners inside emoji, joiners that shape letters, the tags of a flag.
_INVISIBLE = re.compile(
    f"((?<=[{_EMOJI}])\u200d(?=[{_EMOJI}])|(?<=[{_JOINING_SCRIPTS}])[\u200c\u200d]|\U0001f3f4[\U000e0020-\U000e007f]+)|[{_UNSEEN}]"
)

_FULL = "\uff10-\uff19\uff21-\uff3a\uff41-\uff5a"
_ANY_FULL = re.compile(f"[{_FULL}]")
_FULL_RUN = re.compile(f"[{_FULL}](?:[\uff0e\uff0d\uff3f\uff20\uff0f\u3000]?[{_FULL}])+|(?<=[0-9A-Za-z])[{_FULL}]|[{_FULL}](?=[0-9A-Za-z])")
_TO_ASCII = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)} | {0x3000: 0x20}

# The first byte of a UTF-8 sequence and one that follows, both seen as Latin-1 or Windows-1252.
_MISREAD = re.compile(
    "[\u00c2-\u00f4][\u0080-\u00bf\u20ac\u201a\u0192\u201e\u2026\u2020\u2021\u02c6\u2030\u0160\u2039\u0152\u017d"
    "\u2018\u2019\u201c\u201d\u2022\u2013\u2014\u02dc\u2122\u0161\u203a\u0153\u017e\u0178]"
)
_MISREAD_QUOTE = re.compile("[\x91-\x97]")  # of Windows-1252, seen as Latin-1
# Ranges with no combining mark in them, so that most texts are not looked at mark by mark.
_MAY_BE_MARKS = re.compile(
    f"[^\0-\u02ff\u0370-\u0482\u2000-\u20cf\u2100-\u2cee\u2e00-\u3029\u3030-\u3098\u309b-\ua66e\uac00-\ufb1d]{{{MOST_MARKS + 1}}}"
)
_BROKEN = re.compile("[\x00-\x08\x0e-\x1f\x7f\ufffd\ue000-\uf8ff]+")


@functools.lru_cache(maxsize=2)
def plain(text: str) -> bool:
    """Whether no rule of this module would touch the text, by one look at its characters.

    >>> plain("The llama eats grass."), plain("羊驼，住在“山”上。"), plain("caf\\u00e9"), plain("羊\\u200b驼")
    (True, True, False, False)
    """
    return _ODD.search(text) is None


def mojibake(text: str) -> str:
    """Repair text that was decoded with the wrong table: UTF-8 read as Latin-1 or Windows-1252 (by ftfy), or as GB18030.

    Only lines that look so are touched. Without ftfy the first kind stays as it is.

    >>> mojibake("Itâ€™s schÃ¶n")
    'It’s schön'
    >>> mojibake("缇婇┘鍦ㄥ北涓婏紝鍚冭崏"), mojibake("ç¾\\x8aé©¼å\\x90\\x83è\\x8d\\x89")
    ('羊驼在山上，吃草', '羊驼吃草')
    >>> mojibake("voilà… «café»")
    'voilà… «café»'
    """
    if plain(text) or _decodes_well(text):
        return text
    return "\n".join(line if _decodes_well(line) else _read_again(line) for line in text.split("\n"))


def _decodes_well(text: str) -> bool:
    return not (any(sign in text for sign in _MISREAD_CHINESE) or _MISREAD.search(text) or _MISREAD_QUOTE.search(text))


def _read_again(line: str) -> str:
    for _ in range(MOST_MISREADINGS):
        again = _decoded(line)
        if again == line:
            break
        line = unicode_form(full_width(controls(again)))
    return line


def _decoded(line: str) -> str:
    if any(sign in line for sign in _MISREAD_CHINESE):
        try:
            return line.encode("gb18030").decode("utf-8")
        except UnicodeError:
            pass
    return line if _decodes_well(line) else _fix_encoding()(line)


@functools.cache
def _fix_encoding() -> Callable[[str], str]:
    try:
        import ftfy
    except ImportError:
        return str
    return lambda line: str(ftfy.fix_encoding(line))


def garbled(text: str) -> str | None:
    """None where at least 20 characters, and more than one in ten, are control, replacement or private-use characters.

    >>> garbled("PK" + "\\x03\\x04\\x14\\x00" * 20)
    >>> garbled("锟斤拷" * 20 + "，你好")
    >>> garbled("one broken \\ufffd letter"), garbled("一个坏字\\ufffd")
    ('one broken \\ufffd letter', '一个坏字\\ufffd')
    """
    if plain(text):
        return text
    num_broken = sum(map(len, _BROKEN.findall(text))) + len(_REPLACED) * text.count(_REPLACED)
    return None if num_broken >= FEWEST_BROKEN and num_broken > MOST_BROKEN * len(text) else text


def controls(text: str) -> str:
    r"""Take away control, zero-width and direction characters; keep line ends, tabs and the joiners that emoji need.

    >>> controls("a\x00b\u200bc\ufeff\td\r\ne")
    'abc\td\ne'
    >>> controls("羊\u200b驼\u00ad")
    '羊驼'
    >>> controls("👩\u200d🌾 and\u200d") == "👩\u200d🌾 and"
    True
    """
    if plain(text) or not _ANY_CONTROL.search(text):
        return text
    return _INVISIBLE.sub(r"\1", _LINE_ENDS.sub("\n", text))


def full_width(text: str) -> str:
    """Full-width letters and digits become plain ones where they stand among their like or among Latin text.

    One that stands alone among Chinese characters, and all punctuation, stays: there the wide form is the right one.

    >>> full_width("ＬＬａＭＡ　２０２３年，ｖ２"), full_width("the ｌlama")
    ('LLaMA 2023年，v2', 'the llama')
    >>> full_width("Ａ股，（羊驼）")
    'Ａ股，（羊驼）'
    """
    if plain(text) or not _ANY_FULL.search(text):
        return text
    return _FULL_RUN.sub(lambda found: found[0].translate(_TO_ASCII), text)


def unicode_form(text: str) -> str:
    r"""Canonical composition (NFC), and at most 30 combining marks in a row.

    >>> unicode_form("cafe\u0301") == "caf\u00e9"
    True
    >>> unicode_form("羊驼，（llama）")  # full-width forms differ in meaning and stay
    '羊驼，（llama）'
    """
    if plain(text):
        return text
    # The cap comes first: putting marks into canonical order takes the square of a run's length.
    if _MAY_BE_MARKS.search(text):
        text = _long_marks().sub(r"\1", text)
    return text if unicodedata.is_normalized("NFC", text) else unicodedata.normalize("NFC", text)


@functools.cache
def _long_marks() -> re.Pattern[str]:
    marks = "".join(map(chr, filter(lambda code: unicodedata.combining(chr(code)), range(0x300, 0x1F000))))
    return re.compile(f"([{marks}]{{{MOST_MARKS}}})[{marks}]+")
