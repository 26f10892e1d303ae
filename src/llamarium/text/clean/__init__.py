"""Cleaning: small pure functions from text to text, or to None where nothing worth keeping is there.

Takes: the text of a document, and what is wanted of it.
Gives: the cleaned text, or the reason why it is dropped; and which steps changed it.
Does not know: other documents, files; languages only as far as a rule is for some of them.

`CLEANERS` is the table: the steps in their order, each with its reason code, what it does, and where it comes from. Without a word
from the user only what is junk to anybody goes: a poem, an answer of one sentence, code and tables stay as they are. The rules for
web pages are asked of web pages.

    characters   what was decoded wrongly, cannot be seen, or has several forms
    lines        white space, page numbers, and what a web site puts around its pages
    ratios       symbols, digits, repetition
    heuristics   C4's and Gopher's rules of thumb for pages, and their Chinese counterparts
    masks, script, words     what only some want
"""

from __future__ import annotations

import functools
import importlib.util
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from llamarium.ground.errors import MissingExtraError, UsageError, nearest
from llamarium.text.clean.characters import controls, full_width, garbled, mojibake, plain, unicode_form
from llamarium.text.clean.heuristics import (
    bullets,
    curly_bracket,
    ellipsis_lines,
    few_letters,
    few_sentences,
    hashes_ellipses,
    no_stop_words,
    placeholder,
    word_count,
    word_length,
)
from llamarium.text.clean.lines import (
    advertising,
    citation_marks,
    javascript,
    navigation,
    page_marks,
    policies,
    repeated_lines,
    sentence_lines,
    sharing,
    site_footers,
    whitespace,
)
from llamarium.text.clean.masks import MASKS
from llamarium.text.clean.ratios import (
    digits,
    duplicate_lines,
    duplicate_ngrams,
    duplicate_paragraphs,
    over_and_over,
    symbols,
    top_ngrams,
)
from llamarium.text.clean.script import simplified
from llamarium.text.clean.words import segment, stop_words
from llamarium.text.language import guess_language

__all__ = [
    "CHANGES",
    "CLEANERS",
    "MASKS",
    "REASONS",
    "Cleaned",
    "Cleaner",
    "Cleaning",
    "clean",
    "controls",
    "too_short",
    "unicode_form",
    "whitespace",
]

FEWEST_LETTERS = 4
_LETTERS = re.compile(rf"(?:[\W_]*[^\W_]){{{FEWEST_LETTERS}}}")
# Written without spaces between words, and not as Chinese is: rules that count words or ends of sentences would call it all junk.
UNSPACED = ("ja", "th", "lo", "km", "my", "bo", "dz")


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
    return text if _LETTERS.match(text) else None


@dataclass(frozen=True)
class Cleaner:
    """A step: its reason code, for reports, and its function; what it `changes`, and why it `drops` a text, in words.

    `when`: always, for web pages, or the wish of `Cleaning` that asks for it. `only`, `never`: languages, all without.
    `odd`: it leaves plain text as it is (`characters.plain`), and need not be asked of it.
    """

    reason: str
    function: Callable[[str], str | None]
    changes: str = ""
    drops: str = ""
    source: str = ""
    when: Literal["always", "web", "simplified", "masks", "segment", "stop_words"] = "always"
    only: tuple[str, ...] = ()
    never: tuple[str, ...] = ()
    odd: bool = False


_C4 = "C4: Raffel et al. 2020, section 2.2"
_GOPHER = "Gopher: Rae et al. 2021, appendix A1.1"
_ITS_CHINESE = "; Chinese figures of ours"
_MOJIBAKE = Cleaner(
    "mojibake", mojibake, changes="text decoded with the wrong table read again with the right one", source="ftfy; GB18030 of ours"
)

CLEANERS = (
    # Before what cannot be seen goes: half of a misread character cannot be seen either.
    _MOJIBAKE,
    Cleaner("garbled", garbled, drops="more than a tenth control, replacement or private-use characters", odd=True),
    # Before the form: what stood between a letter and its accent is gone then.
    Cleaner("controls", controls, changes="control, zero-width or direction characters removed, line ends made plain", odd=True),
    Cleaner("full_width", full_width, changes="full-width letters and digits among Latin text made plain", odd=True),
    Cleaner("unicode_form", unicode_form, changes="composed into Unicode's form NFC", source="UAX #15", odd=True),
    _MOJIBAKE,
    Cleaner("simplified", simplified, changes="traditional Chinese characters made simplified", source="OpenCC, t2s", when="simplified"),
    Cleaner("page_marks", page_marks, changes="page numbers, and the headers and footers beside them, removed"),
    Cleaner("citation_marks", citation_marks, changes="marks such as [1] and [citation needed] removed", source=_C4, when="web"),
    Cleaner("javascript", javascript, changes="lines that ask for Javascript removed", source=_C4, when="web"),
    Cleaner("policies", policies, changes="lines of policy notices removed", source=_C4 + _ITS_CHINESE, when="web"),
    Cleaner("navigation", navigation, changes="lines that lead elsewhere removed", when="web"),
    Cleaner("sharing", sharing, changes="share and follow buttons removed", when="web"),
    Cleaner("advertising", advertising, changes="lines that advertise removed", when="web"),
    Cleaner("site_footers", site_footers, changes="copyright lines and site registrations removed", when="web"),
    Cleaner("repeated_lines", repeated_lines, changes="lines that stand three times or more kept once", when="web"),
    Cleaner(
        "sentence_lines",
        sentence_lines,
        changes="lines that do not end like a sentence, or have fewer than three words, removed",
        source=_C4 + _ITS_CHINESE,
        when="web",
        never=UNSPACED,
    ),
    Cleaner(
        "whitespace", whitespace, changes="unusual spaces made plain, spaces at line ends and repeated blank lines removed"
    ),  # after all that takes lines out
    *(
        Cleaner(reason, function, changes=f"{words} replaced by a mark", source=source, when="masks")
        for (reason, function), words, source in zip(
            MASKS.items(),
            ("e-mail addresses", "Chinese identity-card numbers", "bank-card numbers", "phone numbers"),
            ("RFC 5321", "GB 11643-1999", "ISO/IEC 7812-1", ""),
            strict=True,
        )
    ),
    Cleaner("blank", blank, drops="nothing but white space"),
    Cleaner("too_short", too_short, drops="fewer than four letters or digits"),
    Cleaner("symbols", symbols, drops="fewer than a fifth letters or digits"),
    Cleaner("over_and_over", over_and_over, drops="one thing said over and over"),
    Cleaner("placeholder", placeholder, drops="placeholder text", source=_C4 + _ITS_CHINESE, when="web"),
    Cleaner("curly_bracket", curly_bracket, drops="a curly bracket: code or a template", source=_C4, when="web"),
    Cleaner("few_sentences", few_sentences, drops="fewer than five sentences", source=_C4, when="web", never=UNSPACED),
    Cleaner(
        "word_count",
        word_count,
        drops="fewer than 50 words or more than 100,000 (Chinese: 80 and 160,000 characters)",
        source=_GOPHER + _ITS_CHINESE,
        when="web",
        never=UNSPACED,
    ),
    Cleaner(
        "word_length",
        word_length,
        drops="words of fewer than 3 or more than 10 letters in the mean (Chinese: clauses of 3 to 60 characters)",
        source=_GOPHER + _ITS_CHINESE,
        when="web",
        never=UNSPACED,
    ),
    Cleaner("digits", digits, drops="more than half digits", when="web"),
    Cleaner(
        "hashes_ellipses",
        hashes_ellipses,
        drops="more than one hash sign or ellipsis for ten words",
        source=_GOPHER + _ITS_CHINESE,
        when="web",
        never=UNSPACED,
    ),
    Cleaner("bullets", bullets, drops="more than 90 % of the lines begin with a bullet", source=_GOPHER, when="web"),
    Cleaner("ellipsis_lines", ellipsis_lines, drops="more than 30 % of the lines end in an ellipsis", source=_GOPHER, when="web"),
    Cleaner(
        "few_letters",
        few_letters,
        drops="fewer than 80 % of the words hold a letter (Chinese: half of the characters)",
        source=_GOPHER + _ITS_CHINESE,
        when="web",
        never=UNSPACED,
    ),
    Cleaner(
        "no_stop_words",
        no_stop_words,
        drops="fewer than two of the words that every English or Chinese text has",
        source=_GOPHER + _ITS_CHINESE,
        when="web",
        only=("en", "zh"),
    ),
    Cleaner("duplicate_lines", duplicate_lines, drops="too much of it in lines that repeat earlier ones", source=_GOPHER, when="web"),
    Cleaner(
        "duplicate_paragraphs",
        duplicate_paragraphs,
        drops="too much of it in paragraphs that repeat earlier ones",
        source=_GOPHER,
        when="web",
    ),
    Cleaner(
        "top_ngrams",
        top_ngrams,
        drops="too much of it in one n-gram of 2 to 4 words (Chinese: 4 to 8 characters)",
        source=_GOPHER + _ITS_CHINESE,
        when="web",
        never=UNSPACED,
    ),
    Cleaner(
        "duplicate_ngrams",
        duplicate_ngrams,
        drops="too much of it in n-grams of 5 to 10 words that occur before (Chinese: 10 to 20 characters)",
        source=_GOPHER + _ITS_CHINESE,
        when="web",
        never=UNSPACED,
    ),
    Cleaner("segment", segment, changes="spaces put between Chinese words", source="rjieba", when="segment"),
    Cleaner(
        "stop_words",
        stop_words,
        changes="stop words removed",
        drops="nothing but stop words",
        source="lists of ours",
        when="stop_words",
    ),
)

REASONS = {cleaner.reason: cleaner.drops for cleaner in CLEANERS if cleaner.drops}
"""Why documents are dropped, by reason code."""
CHANGES = {cleaner.reason: cleaner.changes for cleaner in CLEANERS if cleaner.changes}
"""What steps change, by reason code."""


@dataclass(frozen=True)
class Cleaning:
    """What is wanted. `web`: whether the rules for web pages are asked, of all or of none; None: of documents that come from the web.

    `simplified`: traditional Chinese to simplified. `masks`: names in `MASKS`. `segment`, `stop_words`: for models that count words.
    `UsageError` for an unknown mask, `MissingExtraError` where what is wanted needs a package that is not installed.
    """

    web: bool | None = None
    simplified: bool = False
    masks: tuple[str, ...] = ()
    segment: bool = False
    stop_words: bool = False

    def __post_init__(self) -> None:
        for name in self.masks:
            if name not in MASKS:
                raise UsageError(f"Unknown mask {name!r}.", hint=nearest(name, MASKS))
        for wanted, package, what in ((self.simplified, "opencc", "Simplifying Chinese"), (self.segment, "rjieba", "Segmenting Chinese")):
            if wanted and importlib.util.find_spec(package) is None:
                raise MissingExtraError(what, extra="text", package=package)

    def asks(self, cleaner: Cleaner, *, web: bool) -> bool:
        """Whether a step is for a document that does, or does not, come from the web."""
        if cleaner.when == "always":
            return True
        if cleaner.when == "web":
            return web if self.web is None else self.web
        if cleaner.when == "masks":
            return cleaner.reason in self.masks
        return bool(getattr(self, cleaner.when))


@dataclass(frozen=True)
class Cleaned:
    """What cleaning made of a text: `text` is None where it was dropped, for `reason`; `changed` lists what changed it."""

    text: str | None
    reason: str
    changed: tuple[str, ...]


def clean(text: str, *, cleaning: Cleaning = Cleaning(), web: bool = False, language: str | None = None) -> Cleaned:
    """Run the steps of `CLEANERS` that `cleaning` asks of a document over `text`, in order.

    `web`: whether it comes from a web page. `language`: its ISO 639-1 code, guessed where a rule wants to know and nobody says it.

    >>> clean("羊驼吃草。\\u200b ")
    Cleaned(text='羊驼吃草。', reason='', changed=('controls', 'whitespace'))
    >>> clean("\\n").reason
    'blank'
    >>> clean("Ask keeper@farm.example.", cleaning=Cleaning(masks=("email",))).text
    'Ask [email].'
    >>> clean("Read more\\nThe llama eats grass.", web=True).reason
    'few_sentences'
    """
    steps = _steps(cleaning, web, plain(text))
    if language is None and any(cleaner.only or cleaner.never for cleaner in steps):
        language = guess_language(text)
    changed: list[str] = []
    for cleaner in steps:
        if language in cleaner.never or (cleaner.only and language not in cleaner.only):
            continue
        after = cleaner.function(text)
        if after is None:
            return Cleaned(None, cleaner.reason, tuple(changed))
        if after != text:
            if cleaner.reason not in changed:
                changed.append(cleaner.reason)
            text = after
    return Cleaned(text, "", tuple(changed))


@functools.lru_cache(maxsize=16)
def _steps(cleaning: Cleaning, web: bool, is_plain: bool) -> tuple[Cleaner, ...]:
    return tuple(cleaner for cleaner in CLEANERS if cleaning.asks(cleaner, web=web) and not (cleaner.odd and is_plain))
