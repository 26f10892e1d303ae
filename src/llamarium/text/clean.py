"""Cleaning: small pure functions from text to text, or to None where nothing worth keeping is there.

Takes: the text of a document.
Gives: the cleaned text, or the reason why it is dropped; and which steps changed it.
Does not know: other documents, files, languages.

`CLEANERS` is the table: the steps in their order, each with its reason code.
"""

from __future__ import annotations

import functools
import itertools
import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass

FEWEST_LETTERS = 4
MOST_MARKS = 30  # combining marks on one character: the limit of Unicode's Stream-Safe Text Format (UAX #15)

_LINE_ENDS = re.compile("\r\n?|[\x0b\x0c\x1c-\x1e\x85\u2028\u2029]")
_EMOJI = "\U0001f000-\U0001faff\u2190-\u21ff\u2300-\u27bf\u2b00-\u2bff\ufe0f\u20e3"
_JOINING_SCRIPTS = "\u0600-\u0dff\u1000-\u109f\u1780-\u17ff\u1800-\u18af"  # Arabic, Indic, Burmese, Khmer, Mongolian
# What the first group finds stays: joiners inside emoji, joiners that shape letters, the tags of a flag.
_INVISIBLE = re.compile(
    f"((?<=[{_EMOJI}])\u200d(?=[{_EMOJI}])|(?<=[{_JOINING_SCRIPTS}])[\u200c\u200d]|\U0001f3f4[\U000e0020-\U000e007f]+)"
    "|[\x00-\x08\x0e-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff\ufff9-\ufffc\U000e0000-\U000e007f]"
)
_SPACES = re.compile("[\u00a0\u1680\u2000-\u200a\u202f\u205f]")
_LINE_SPACE = re.compile("(?<![ \t\u3000])[ \t\u3000]+$", re.MULTILINE)  # starts once a run, so a long run costs its length
_BLANK_LINES = re.compile("\n{3,}")


def controls(text: str) -> str | None:
    r"""Take away control, zero-width and direction characters; keep line ends, tabs and the joiners that emoji need.

    >>> controls("a\x00b\u200bc\ufeff\td\r\ne")
    'abc\td\ne'
    >>> controls("羊\u200b驼\u00ad")
    '羊驼'
    >>> controls("👩\u200d🌾 and\u200d") == "👩\u200d🌾 and"
    True
    """
    return _INVISIBLE.sub(r"\1", _LINE_ENDS.sub("\n", text))


def unicode_form(text: str) -> str | None:
    r"""Canonical composition (NFC), and at most 30 combining marks in a row.

    >>> unicode_form("cafe\u0301") == "caf\u00e9"
    True
    >>> unicode_form("羊驼，（llama）")  # full-width forms differ in meaning and stay
    '羊驼，（llama）'
    """
    if text.isascii():
        return text
    # The cap comes first: putting marks into canonical order takes the square of a run's length.
    return unicodedata.normalize("NFC", _long_marks().sub(r"\1", text))


def whitespace(text: str) -> str | None:
    r"""Plain spaces; no space at the end of lines; at most one blank line; indentation stays.

    >>> whitespace("one\u00a0two  \n\n\n\n  three\n")
    'one two\n\n  three'
    >>> whitespace("　　羊驼吃草。　\n")
    '　　羊驼吃草。'
    """
    text = _LINE_SPACE.sub("", _SPACES.sub(" ", text))
    return _BLANK_LINES.sub("\n\n", text).strip("\n")


def blank(text: str) -> str | None:
    r"""None where nothing is left.

    >>> blank(" \t"), blank("羊"), blank("a")
    (None, '羊', 'a')
    """
    return None if not text or text.isspace() else text


def too_short(text: str) -> str | None:
    """None where there are fewer than four letters or digits.

    >>> too_short("— 12 —"), too_short("無正文。"), too_short("OK.")
    (None, None, None)
    >>> too_short("春眠不觉晓"), too_short("Hello")
    ('春眠不觉晓', 'Hello')
    """
    letters = filter(str.isalnum, text)
    return text if sum(1 for _ in itertools.islice(letters, FEWEST_LETTERS)) == FEWEST_LETTERS else None


@dataclass(frozen=True)
class Cleaner:
    """A step: its reason code, for reports, and its function."""

    reason: str
    function: Callable[[str], str | None]


CLEANERS = (
    Cleaner("controls", controls),  # before the form: what stood between a letter and its accent is gone then
    Cleaner("unicode_form", unicode_form),
    Cleaner("whitespace", whitespace),
    Cleaner("blank", blank),
    Cleaner("too_short", too_short),
)


@dataclass(frozen=True)
class Cleaned:
    """What cleaning made of a text: `text` is None where it was dropped, for `reason`; `changed` lists what changed it."""

    text: str | None
    reason: str
    changed: tuple[str, ...]


def clean(text: str) -> Cleaned:
    """Run every step of `CLEANERS` over `text`, in order.

    >>> clean("羊驼吃草。\u200b ")
    Cleaned(text='羊驼吃草。', reason='', changed=('controls', 'whitespace'))
    >>> clean("\\n").reason
    'blank'
    """
    changed: list[str] = []
    for cleaner in CLEANERS:
        after = cleaner.function(text)
        if after is None:
            return Cleaned(None, cleaner.reason, tuple(changed))
        if after != text:
            changed.append(cleaner.reason)
        text = after
    return Cleaned(text, "", tuple(changed))


@functools.cache
def _long_marks() -> re.Pattern[str]:
    marks = "".join(map(chr, filter(lambda code: unicodedata.combining(chr(code)), range(0x300, 0x1F000))))
    return re.compile(f"([{marks}]{{{MOST_MARKS}}})[{marks}]+")
