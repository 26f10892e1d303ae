"""Other words for what is asked.

Takes: groups of words that mean much the same, one a line; a question taken apart.
Gives: the question with what else its words may be called.
Does not know: documents; how a text is searched.

The list that comes along (synonyms.txt) holds everyday words in English and Chinese; a file of one's own adds to it, in the same
form: ``cost, price, how much -> fee, 费用``. Words before the arrow, or all where there is none, stand for each other; those
after it are looked for, but say too many other things to be asked by.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from llamarium.apps.ask.words import Question, Wanted, folded_characters, is_dense, without_question_words, words
from llamarium.ground.errors import BadFileError, NotFoundError

BUILT_IN = Path(__file__).with_name("synonyms.txt")
MOST_OTHERS = 48  # for one word of a question
LARGEST_FILE = 10_000_000  # bytes

Key = tuple[str, ...]


@dataclass(frozen=True)
class Synonyms:
    """What each word or phrase may be called otherwise, as terms that a text must have together."""

    others: Mapping[Key, tuple[Key, ...]]
    longest: int  # terms of the longest phrase

    def __or__(self, more: Synonyms) -> Synonyms:
        """These and more; what both know has the others of both, the later ones first: a user's list is more to the point."""
        others = dict(self.others)
        for key, found in more.others.items():
            others[key] = tuple(dict.fromkeys(found + others.get(key, ())))
        return Synonyms(others, max(self.longest, more.longest))

    def expand(self, asked: Question, question: str) -> Question:
        """`asked`, taken from `question`, with the others of its words; those of phrases that ask for nothing become hints.

        >>> from llamarium.apps.ask.words import question_words
        >>> [wanted.others for wanted in parse("cost, price").expand(question_words("The price?"), "The price?").wanted]
        [(('cost',),)]
        """
        found: dict[int, list[Key]] = {}
        hints: list[Key] = []
        places = {place for wanted in asked.wanted for place in wanted.places}
        for start, end, others in self._matches(question):
            covered = [place for place in range(start, end) if place in places]
            for place in covered:
                found.setdefault(place, []).extend(others)
            if not covered:
                hints.extend(others)
        return replace(asked, wanted=tuple(_with_others(wanted, found) for wanted in asked.wanted), hints=tuple(dict.fromkeys(hints)))

    def _matches(self, question: str) -> Iterator[tuple[int, int, tuple[Key, ...]]]:
        """Start, end and others of the phrases in a question, the longest at each place, none within another."""
        folded = folded_characters(question)
        matches: list[tuple[int, int, tuple[Key, ...]]] = []
        # Once as it is, for phrases such as 多少钱; once without what asks, where a single 修 of 怎么修 stands by itself.
        for text in (folded, without_question_words(folded)):
            found = [(word.start, word.end, word.terms[0]) for word in words(text)]
            for first, (start, _, _) in enumerate(found):
                for last in range(min(first + self.longest, len(found)), first, -1):
                    others = self.others.get(tuple(term for _, _, term in found[first:last]))
                    if others is not None:
                        matches.append((start, found[last - 1][1], others))
                        break
        matches.sort(key=lambda match: (match[0], -match[1]))
        furthest = -1
        for match in matches:
            if match[1] > furthest:
                furthest = match[1]
                yield match


def _with_others(wanted: Wanted, found: Mapping[int, list[Key]]) -> Wanted:
    own = {(term,) for term in (*wanted.terms, wanted.character)}
    others = dict.fromkeys(key for place in wanted.places for key in found.get(place, ()) if key not in own)
    return replace(wanted, others=tuple(others)[:MOST_OTHERS])


def parse(text: str) -> Synonyms:
    """The groups of a list: one a line, commas between; ``#`` begins a remark.

    >>> parse("cost, price -> fee  # money").others[("price",)]
    (('cost',), ('fee',))
    """
    others: dict[Key, dict[Key, None]] = {}
    for line in text.splitlines():
        asked, _, looked_for = line.partition("#")[0].partition("->")
        keys, more = _keys(asked), _keys(looked_for)
        for key in keys:
            others.setdefault(key, {}).update(dict.fromkeys(other for other in (*keys, *more) if other != key))
    return Synonyms({key: tuple(found) for key, found in others.items()}, max(map(len, others), default=0))


def _keys(members: str) -> list[Key]:
    separated = members.replace("，", ",").replace("、", ",").split(",")
    return list(dict.fromkeys(key for member in separated if (key := _key(member))))


def _key(member: str) -> Key:
    """The terms of a phrase in order: stems, and the pairs of a Chinese word, or its one character."""
    found = list(words(member.strip()))
    return tuple(
        word.terms[0]
        for number, word in enumerate(found)
        if len(word.terms[0]) > 1 or not is_dense(word.terms[0]) or not (number and found[number - 1].end == word.end)
    )


@functools.cache
def built_in() -> Synonyms:
    """The list that comes along."""
    return parse(BUILT_IN.read_text(encoding="utf-8"))


def read_synonyms(path: Path) -> Synonyms:
    """A list of one's own together with the one that comes along. `NotFoundError`, `BadFileError`."""
    if not path.exists():
        raise NotFoundError(f"{path} does not exist.", hint="A list of synonyms has one group a line: cost, price, fee")
    try:
        if path.stat().st_size > LARGEST_FILE:
            raise BadFileError(path, f"is no list of synonyms: it has more than {LARGEST_FILE:,} bytes.")
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise BadFileError(path, f"cannot be read as UTF-8 text ({error}).") from error
    own = parse(text)
    if not own.others:
        raise BadFileError(path, "holds no synonyms.", hint="One group a line, commas between: cost, price, fee")
    return built_in() | own
