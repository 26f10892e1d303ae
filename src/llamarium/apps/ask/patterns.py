"""Rules of one's own: what is asked in these words is told there.

Takes: a small YAML file of patterns with slots; a question and an open index.
Gives: the sentence of the document that the rule names which has the words of the slots, at its place.
Does not know: ranks, models, regular expressions.

    patterns:
      - pattern: what does code {code} mean
        document: manual.md
      - pattern: ["how much is {thing}", "what does {thing} cost", "{thing}多少钱"]
        document: prices.md
        find: "{thing} price"

A pattern is the whole question but for case, forms of characters and the marks at its end; a slot stands for one character or
more. `find` is what the sentence and the headings above it must have; without it, what stands in the slots, and without slots the
whole question. Matching takes time in proportion to the question: each piece of a pattern is looked for once, from the left.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import Field, field_validator

from llamarium.apps.ask.answer import Answer, Citation
from llamarium.apps.ask.index import Index
from llamarium.apps.ask.passages import passages, sentences
from llamarium.apps.ask.words import folded_characters, held_in, question_words, terms_of
from llamarium.ground.config import Section, read_yaml, validate
from llamarium.ground.errors import BadFileError, NotFoundError, RecipeError, nearest

MOST_RULES = 1_000
LONGEST_PATTERN = 200  # characters
MOST_SLOTS = 8
LONGEST_QUESTION = 500
LARGEST_FILE = 1_000_000  # bytes
EXAMPLE = "patterns: [{pattern: what does code {code} mean, document: manual.md}]"

_SLOT = re.compile(r"\{([^{}\s]{1,30})\}")
_END_MARKS = " \t?？!！.。"


@dataclass(frozen=True)
class Pattern:
    """Pieces with slots between: `pieces` is one longer than `slots`, and only its first and last may be empty."""

    pieces: tuple[str, ...]
    slots: tuple[str, ...]

    @classmethod
    def parse(cls, text: str) -> Pattern:
        """`ValueError` says what is wrong with a pattern."""
        text = text.strip().rstrip(_END_MARKS)
        if not text or len(text) > LONGEST_PATTERN:
            raise ValueError(f"a pattern has 1 to {LONGEST_PATTERN} characters")
        parts = _SLOT.split(text)
        pieces, slots = parts[::2], parts[1::2]
        if "{" in "".join(pieces) or "}" in "".join(pieces):
            raise ValueError("a slot is a word in braces, such as {thing}")
        if len(slots) > MOST_SLOTS or len(set(slots)) < len(slots):
            raise ValueError(f"a pattern has up to {MOST_SLOTS} slots, each of its own name")
        if not all(pieces[1:-1]) or not "".join(pieces).strip():
            raise ValueError("there must be words between two slots")
        return cls(tuple(map(_normal, pieces)), tuple(slots))

    def match(self, question: str) -> dict[str, str] | None:
        """What stands in each slot, if the question is of this pattern.

        >>> Pattern.parse("What does {thing} cost?").match("what does the red kettle cost")
        {'thing': 'the red kettle'}
        """
        text = _normal(question.strip().rstrip(_END_MARKS)) if len(question) <= LONGEST_QUESTION else ""
        first, last = self.pieces[0], self.pieces[-1]
        if not self.slots:
            return {} if text == first else None
        if not text.startswith(first) or not text.endswith(last) or len(text) < len(first) + len(last) + 1:
            return None
        place, stop = len(first), len(text) - len(last)
        found: dict[str, str] = {}
        for slot, piece in zip(self.slots, self.pieces[1:-1], strict=False):
            following = text.find(piece, place + 1, stop)
            if following < 0:
                return None
            found[slot] = text[place:following].strip()
            place = following + len(piece)
        found[self.slots[-1]] = text[place:stop].strip()
        return found if all(found.values()) else None


def _normal(text: str) -> str:
    return re.sub(r"\s+", " ", folded_characters(text).casefold())


class _Rule(Section):
    pattern: tuple[str, ...] = Field(min_length=1, max_length=50)
    document: str = Field(min_length=1)
    find: str = Field(default="", max_length=LONGEST_PATTERN)

    @field_validator("pattern", mode="before")
    @classmethod
    def _one_or_more(cls, value: object) -> object:
        return [value] if isinstance(value, str) else value

    @field_validator("pattern")
    @classmethod
    def _parses(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for text in value:
            Pattern.parse(text)
        return value


class _File(Section):
    patterns: tuple[_Rule, ...] = Field(min_length=1, max_length=MOST_RULES)


@dataclass(frozen=True)
class Rule:
    """Where it is told what is asked by one of these patterns."""

    patterns: tuple[Pattern, ...]
    document: str
    find: str


@dataclass(frozen=True)
class Patterns:
    """The rules of a file, for one index; the first that fits answers."""

    rules: Sequence[Rule]
    index: Index

    def answer(self, question: str) -> Answer | None:
        """The sentence that a rule leads to; None where no rule fits, or its document does not have the words."""
        for rule in self.rules:
            slots = next((slots for pattern in rule.patterns if (slots := pattern.match(question)) is not None), None)
            citation = None if slots is None else self._cite(rule, slots, question)
            if citation is not None:
                return Answer(True, citation.quote, (citation,), 0.0, passages=(citation,), confidence=1.0)
        return None

    def _cite(self, rule: Rule, slots: Mapping[str, str], question: str) -> Citation | None:
        wanted = question_words(_filled(rule.find, slots) or " ".join(slots.values()) or question).wanted
        number = {held.path: held.number for held in self.index.documents()}[rule.document]
        text = self.index.text(number)
        for passage in passages(text):
            above = terms_of(passage.heading)
            for start, end in sentences(text, passage.body, passage.end):
                if wanted and len(held_in(wanted, terms_of(text[start:end]) | above)) == len(wanted):
                    return Citation(rule.document, start, end, text[start:end], 1.0)
        return None


def _filled(find: str, slots: Mapping[str, str]) -> str:
    return _SLOT.sub(lambda slot: slots.get(slot[1], ""), find).strip()


def read_patterns(path: Path, index: Index) -> Patterns:
    """The rules of a file. `NotFoundError` if it is not there, `BadFileError` where it is none, or names what is not in `index`."""
    if path.is_file() and path.stat().st_size > LARGEST_FILE:
        raise BadFileError(path, f"has more than {LARGEST_FILE:,} bytes.", hint=EXAMPLE)
    try:
        rules = validate(_File, read_yaml(path), name=str(path)).patterns
    except NotFoundError as error:
        raise NotFoundError(error.message, hint=EXAMPLE) from None
    except RecipeError as error:
        raise BadFileError(path, error.message.removeprefix(str(path)).lstrip(":, "), hint=EXAMPLE) from None
    known = {held.path for held in index.documents()}
    for rule in rules:
        if rule.document not in known:
            hint = nearest(rule.document, known) if len(known) <= 1000 else ""
            raise BadFileError(path, f"names {rule.document}, which is not among the documents.", hint=hint)
    return Patterns([Rule(tuple(map(Pattern.parse, rule.pattern)), rule.document, rule.find) for rule in rules], index)
