"""Questions that were answered before: a file of questions and answers, asked directly.

Takes: a file that a reader knows, and a question.
Gives: the answer that stands in the file, at its place, where the question is one of those in it, in the same or nearly the same words.
Does not know: indexes, models; what the documents say beside it.

A pair is a record with a question and an answer (.jsonl, .json, .csv: columns `question` and `answer`, or 问题 and 答案), lines that
begin with ``Q:`` and ``A:`` (问：答：), or a line that ends in a question mark, as a heading does, with what stands below it.
"""

from __future__ import annotations

import bisect
import math
import re
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path

from llamarium.apps.ask.answer import Answer, Citation
from llamarium.apps.ask.cues import asked_for
from llamarium.apps.ask.passages import Span
from llamarium.apps.ask.synonyms import Synonyms, built_in
from llamarium.apps.ask.words import Question, Wanted, folded_characters, question_words, terms_of, words
from llamarium.ground.errors import BadFileError
from llamarium.text.document import BETWEEN_RECORDS, join, read_pieces

THRESHOLD = 0.8  # of the likeness: the lowest where no other question was taken for one of the file; tests/apps/ask/test_faq.py prints why
SYNONYM = 0.9  # what another word for the same counts
UNKNOWN = 1.5  # a word that no question of the file has weighs so much more than the rarest that one has: it is about something else
WHO = 0.8  # what the likeness keeps where one question asks who and the other does not
LONGEST_QUESTION = 300  # characters of a line that may be a question
MOST_ENTRIES = 100_000

_LABEL = r"^[ \t]*(?:\*\*)?(?:{})[ \t]?[0-9]{{0,4}}[ \t]?[:：][ \t]*(?:\*\*)?"
_QUESTION = re.compile(_LABEL.format("q|question|问题|問題|问|問"), re.IGNORECASE | re.MULTILINE)
_ANSWER = re.compile(_LABEL.format("a|answer|答案|回答|答"), re.IGNORECASE | re.MULTILINE)
_ASKING_LINE = re.compile(r"(?:\A|^[ \t]*\n)([^\n]*[?？])[ \t]*$", re.MULTILINE)
_MARKS = re.compile(r"[^\w]+")


@dataclass(frozen=True)
class Entry:
    """A question, and where its answer stands in the text of the file."""

    question: str
    start: int
    end: int


@dataclass(frozen=True)
class Hit:
    """The entry that was asked for. `likeness`: 1 where the words are the same, else from `THRESHOLD` up."""

    entry: Entry
    likeness: float


class Faq:
    """Questions and answers of one file. `name`: what citations call it; `text`: what ``llamarium read`` prints of it."""

    def __init__(self, name: str, text: str, entries: Sequence[Entry], *, synonyms: Synonyms | None = None) -> None:
        self.name = name
        self.text = text
        self.entries = tuple(entries)
        self._synonyms = synonyms or built_in()
        self._same = {_key(entry.question): entry for entry in reversed(self.entries)}
        self._asked = [self._words(entry.question) for entry in self.entries]
        self._who = ["person" in asked_for(entry.question) for entry in self.entries]
        self._terms = [terms_of(entry.question) for entry in self.entries]
        frequencies: dict[str, int] = {}
        for terms in self._terms:
            for term in terms:
                frequencies[term] = frequencies.get(term, 0) + 1
        self._frequencies: Mapping[str, int] = frequencies

    def find(self, question: str, *, threshold: float = THRESHOLD) -> Hit | None:
        """The entry that `question` asks for; None where it is likely to ask for something else."""
        same = self._same.get(_key(question))
        if same is not None:
            return Hit(same, 1.0)
        hit = self.nearest(question)
        return hit if hit is not None and hit.likeness >= threshold else None

    def nearest(self, question: str) -> Hit | None:
        """The entry that is most like `question`, however little it is; None of none."""
        asked, terms = self._words(question), terms_of(question)
        who = "person" in asked_for(question)
        likeness = [
            self._likeness(asked, terms, number) * (1.0 if who == self._who[number] else WHO) for number in range(len(self.entries))
        ]
        best = max(range(len(likeness)), key=likeness.__getitem__, default=None)
        return None if best is None else Hit(self.entries[best], likeness[best])

    def cite(self, hit: Hit) -> Citation:
        """The answer of an entry as a quote."""
        return Citation(self.name, hit.entry.start, hit.entry.end, self.text[hit.entry.start : hit.entry.end], round(hit.likeness, 4))

    def answer(self, question: str, *, seconds: float = 0.0) -> Answer | None:
        """The answer to `question` as `ask` gives one; None where the file has none."""
        hit = self.find(question)
        if hit is None:
            return None
        citation = self.cite(hit)
        return Answer(True, citation.quote, (citation,), seconds, passages=(citation,), confidence=hit.likeness)

    def _words(self, question: str) -> Question:
        return self._synonyms.expand(question_words(question), question)

    def _likeness(self, asked: Question, terms: Set[str], number: int) -> float:
        """What both ask about, of all that either asks about, each as heavy as it is rare; 0 where a number is not the same."""
        other, others_terms = self._asked[number], self._terms[number]
        if _numbers(asked) != _numbers(other):
            return 0.0
        shared = total = 0.0
        for wanted, held in [(w, others_terms) for w in asked.wanted] + [(w, terms) for w in other.wanted]:
            weight = self._weight(wanted)
            total += weight
            shared += weight * _credit(wanted, held)
        return shared / total if total else 0.0

    def _weight(self, wanted: Wanted) -> float:
        num = max(self._frequencies.get(term, 0) for term in wanted.terms)
        rarity = math.log(1 + len(self.entries) / max(num, 1))
        return rarity * (1.0 if num else UNKNOWN) * (0.5 if wanted.character else 1.0)


def _credit(wanted: Wanted, terms: Set[str]) -> float:
    if not terms.isdisjoint(wanted.terms):
        return 1.0
    return SYNONYM if any(terms >= set(key) for key in wanted.others) else 0.0


def _numbers(asked: Question) -> set[str]:
    return {term for wanted in asked.wanted for term in wanted.terms if any(letter.isdigit() for letter in term)}


def _key(question: str) -> str:
    """A question without marks, spaces, case, and forms of characters."""
    return _MARKS.sub("", folded_characters(question).casefold())


def read_faq(path: Path, *, synonyms: Synonyms | None = None) -> Faq:
    """The questions and answers of a file. `NotFoundError` if it is not there, `BadFileError` if there are none in it."""
    pieces = read_pieces(path)
    document = join(pieces, path=path)
    entries: list[Entry] = []
    place = 0
    for piece in pieces:
        if piece.problem:
            continue
        of_piece = _record(piece.text) if piece.record is not None else _sections(piece.text)
        entries += [Entry(entry.question, place + entry.start, place + entry.end) for entry in of_piece]
        place += len(piece.text) + len(BETWEEN_RECORDS)
    if not entries:
        hint = "A heading that ends in ? with its answer below, lines of Q: and A:, or columns named question and answer."
        raise BadFileError(path, "holds no questions with answers.", hint=hint)
    if len(entries) > MOST_ENTRIES:
        raise BadFileError(path, f"holds {len(entries):,} questions; up to {MOST_ENTRIES:,} are taken.", hint="Split the file.")
    return Faq(document.source, document.text, entries, synonyms=synonyms)


def _record(text: str) -> Iterator[Entry]:
    """The first line of a record is the question, the rest the answer; labels of columns are passed over."""
    line, _, rest = text.partition("\n")
    label = _QUESTION.match(line)
    question = line[label.end() :] if label else line
    start = len(text) - len(rest)
    after = _ANSWER.match(text, start) if label and rest else None
    yield from _entry(text, question, (after.end() if after else start, len(text)))


def _sections(text: str) -> Iterator[Entry]:
    """By labels where there are any, else by the lines that end in a question mark and stand alone."""
    answers = [match.span() for match in _ANSWER.finditer(text)]
    asking = [match.span() for match in _QUESTION.finditer(text)] if answers else []
    labelled = bool(asking)
    if not labelled:
        asking = [match.span(1) for match in _ASKING_LINE.finditer(text) if _is_question(match[1])]
    stops = [start for start, _ in asking[1:]] + [len(text)]
    for (start, end), stop in zip(asking, stops):
        if not labelled:
            yield from _entry(text, text[start:end], (end, stop))
            continue
        place = bisect.bisect(answers, (end, 0))
        if place < len(answers) and answers[place][0] < stop:
            yield from _entry(text, text[end : answers[place][0]], (answers[place][1], stop))


def _is_question(line: str) -> bool:
    return len(line) <= LONGEST_QUESTION and any(True for _ in words(line))


def _entry(text: str, question: str, span: Span) -> Iterator[Entry]:
    start, end = span
    while start < end and text[start].isspace():
        start += 1
    while end > start and text[end - 1].isspace():
        end -= 1
    question = question.strip().strip("*").strip()
    if question and start < end:
        yield Entry(question, start, end)
