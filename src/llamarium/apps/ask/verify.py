"""Whether a passage bears a sentence.

Takes: a passage and a sentence, in English or Chinese.
Gives: yes, or no with reasons: a number, a name, a negation, a thing that the passage does not have, or has elsewhere.
Does not know: where either comes from; what is true.

Both become tokens: English words by their stems, Chinese by known words and else by characters, numbers by their value. A
token of the sentence is laid beside those of the passage. Facts (numbers, names, words of a kind such as colours and months)
must be there and stand beside what they stand beside in the passage; what takes the place of another word between the same
neighbours must mean the same; clauses must say yes and no alike; and enough of the words must be there at all. That is a
check of words: a sentence that puts a passage's own words together anew, in a way that these rules do not see, passes.
"""

from __future__ import annotations

import difflib
import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from llamarium.apps.ask import kinds
from llamarium.apps.ask.compared import Token, amounts, persons_of, tokens_of
from llamarium.apps.ask.strangers import new_names
from llamarium.apps.ask.words import folded_characters

Reason = Literal["empty", "number", "name", "negation", "thing", "words"]

LONGEST = 4_000  # characters of either that are looked at
FEWEST_SHARED = 0.34  # of the sentence's words: a paraphrase has few of them, an invention fewer
WINDOW = 7  # tokens on each side that tell what a fact is about
DECAY = 0.85  # how much less a token counts for every step away
LIKELY = 0.7  # of the best fit: so well another place fits that it may be the one that is meant
MARGIN = 0.15  # by how much more must speak for a turn than against it
ACROSS = 0.5  # how much less what stands in another clause
AGREES = 0.15  # what a word counts that is far from any negation
IN_PLACE = 1.0  # so well must the surroundings of a contrary fit: a neighbour that both have, or several near by
BOUND = 9  # tokens that a common end counts as
CLEARLY = 1.25  # how much better another fact must fit before it is taken for the one that belongs here


@dataclass(frozen=True)
class Verdict:
    """Whether a passage bears a sentence; if not, why: (what is wrong, the words it is about)."""

    accepted: bool
    reasons: tuple[tuple[Reason, str], ...] = ()


def verify(passage: str, sentence: str, *, context: str = "", fewest_shared: float = FEWEST_SHARED) -> Verdict:
    """Whether `passage` bears `sentence`. `context`: what stands above it (title, headings), which may lend names, not facts.
    `fewest_shared`: the part of the sentence's words that the passage must have.

    >>> verify("The oven is heated to 230 degrees.", "Heat the oven to 230 degrees.").accepted
    True
    >>> verify("The oven is heated to 230 degrees.", "Heat the oven to 250 degrees.").reasons
    (('number', '250'),)
    >>> verify("豆浆要煮到九十八度。", "豆浆煮到 98 度。").accepted, verify("老豆腐用盐卤点浆。", "老豆腐不用盐卤点浆。").accepted
    (True, False)
    """
    sentence, passage, context = (folded_characters(text[:LONGEST]) for text in (sentence, passage, context))
    persons = persons_of(sentence, passage + "\n" + context)
    said = tokens_of(sentence, persons)
    if all(token.weak for token in said):
        return Verdict(False, (("empty", sentence.strip()),))
    pair = _Pair(said, tokens_of(passage, persons), tokens_of(context, persons))
    strangers: list[tuple[Reason, str]] = [("name", name) for name in new_names(sentence, f"{passage}\n{context}")]
    reasons = [*pair.wrong_facts(), *strangers, *pair.contraries(), *pair.edits(), *pair.turned_round(), *pair.other_words(fewest_shared)]
    return Verdict(not reasons, tuple(dict.fromkeys(reasons)))


class _Pair:
    """The tokens of a sentence (`said`) beside those of a passage (`told`). `matches`: for each said one, where it is told."""

    def __init__(self, said: Sequence[Token], told: Sequence[Token], above: Sequence[Token]) -> None:
        self.said, self.told, self.above = said, told, above
        self.matches = [[place for place, other in enumerate(told) if token.means(other)] for token in said]
        self.said_clauses, self.told_clauses = _group(said, "clause"), _group(told, "clause")
        self.told_sentences = _group(told, "sentence")

    def other_words(self, fewest: float) -> Iterator[tuple[Reason, str]]:
        """Whether too few of the sentence's words are told at all."""
        content = [found for token, found in zip(self.said, self.matches, strict=True) if not token.weak]
        shared = sum(map(bool, content))
        if shared < fewest * len(content):
            yield "words", f"{shared} of {len(content)}"

    # --- facts ---

    def wrong_facts(self) -> Iterator[tuple[Reason, str]]:
        """Numbers, names and words of a kind that the passage does not have, or has beside something else."""
        for place, token in enumerate(self.said):
            if token.sort in ("number", "name"):
                reason: Reason = "number" if token.sort == "number" else "name"
                if token.weak or (reason == "name" and not self.matches[place] and any(token.means(other) for other in self.above)):
                    continue
                if not self.matches[place] and reason == "number" and place in self._converted:
                    continue
                if reason == "number" and sum(other.key == token.key for other in self.said) > max(1, len(self.matches[place])):
                    yield reason, token.written  # twice in the sentence, and once in the passage: one of them is of something else
                if not self.matches[place] or any(self._belongs(place, rival) for rival in self._rivals(place)):
                    yield reason, token.written
            elif token.kinds and not self.matches[place] and any(not token.kinds.isdisjoint(other.kinds) for other in self._unsaid):
                yield "thing", token.written

    @functools.cached_property
    def _converted(self) -> set[int]:
        """Places of amounts that the passage has, perhaps in another unit: two days, 48 hours."""
        told = {(amount.of, amount.value) for amount in amounts(self.told)}
        return {place for amount in amounts(self.said) if (amount.of, amount.value) in told for place in range(amount.first, amount.last)}

    @functools.cached_property
    def _unsaid(self) -> list[Token]:
        """What is told and not said."""
        return [other for other in self.told if not any(other.means(token) for token in self.said)]

    def _rivals(self, place: int) -> list[int]:
        """Other facts of the same sort; numbers only where they count the same."""
        token = self.said[place]
        rivals = [i for i, other in enumerate(self.told) if other.sort == token.sort and not token.means(other) and not other.weak]
        return rivals if token.sort == "name" else [i for i in rivals if self._counts_the_same(place, i)]

    def _belongs(self, place: int, rival: int) -> bool:
        """Whether what stands around a fact in the sentence stands around another one in the passage."""
        own = max(self._fit(place, i) for i in self.matches[place])
        # Two names that the sentence has both may have changed places: then both fit better where the other stands.
        named = self.said[place].sort == "name"
        both = [i for i, token in enumerate(self.said) if named and token.means(self.told[rival])]
        straight = own + max((self._fit(i, rival) for i in both), default=0.0)
        crossed = self._fit(place, rival) + max((self._fit(i, j) for i in both for j in self.matches[place]), default=0.0)
        return crossed > CLEARLY * straight + 0.5

    def _fit(self, place: int, other: int) -> float:
        """How much of what stands around ``said[place]`` stands around ``told[other]``."""
        total = 0.0
        for i in range(max(0, place - WINDOW), min(len(self.said), place + WINDOW + 1)):
            if i == place or self.said[place].sort == self.said[i].sort == "name":
                continue
            best = 0.0
            for j in self.matches[i]:
                if j == other or abs(j - other) > WINDOW or self.told[j].sentence != self.told[other].sentence:
                    continue
                ordered = 1.0 if (i < place) == (j < other) else 0.6
                ordered *= 1.0 if self.told[j].clause == self.told[other].clause else ACROSS
                best = max(best, ordered * DECAY ** (max(abs(i - place), abs(j - other)) - 1))
            best *= 1.0 if self.said[i].clause == self.said[place].clause else ACROSS
            total += best * (0.25 if self.said[i].weak else 1.0)
        return total

    def _counts_the_same(self, place: int, other: int) -> bool:
        """Whether two numbers stand before, or behind, the same word."""
        said, told = self.said, self.told
        after = place + 1 < len(said) and other + 1 < len(told) and said[place + 1].means(told[other + 1])
        before = place > 0 and other > 0 and not said[place - 1].weak and said[place - 1].means(told[other - 1])
        return after or before

    # --- what takes another's place ---

    def contraries(self) -> Iterator[tuple[Reason, str]]:
        """Words in whose place the passage has their contrary: contains less, for contains more."""
        keys = {token.key for token in self.said}
        for place, token in enumerate(self.said):
            if not token.contraries or token.negates:
                continue
            own = max((self._fit(place, i) for i, other in enumerate(self.told) if other.key == token.key), default=0.0)
            least = max(IN_PLACE, CLEARLY * own + 0.5)
            ours = sum(self.said[j].negates for j in self.said_clauses[token.clause])
            for i, other in enumerate(self.told):
                if token.excludes(other) and not other.negates and other.key not in keys and self._fit(place, i) >= least:
                    theirs = sum(self.told[j].negates for j in self.told_clauses[other.clause])
                    if (ours + theirs) % 2 == 0:
                        yield "negation", token.written
                        break

    def edits(self) -> Iterator[tuple[Reason, str]]:
        """Words that stand where the passage has others, or a negation where it has none, with the same words on both sides."""
        said, told = self.said, self.told
        there = {token.key for token in told}
        keys = [t.key if t.key in there or t.weak or not found else told[found[0]].key for t, found in zip(said, self.matches, strict=True)]
        codes = difflib.SequenceMatcher(None, keys, [token.key for token in told], autojunk=False).get_opcodes()
        equal = [0, *(b - a if code == "equal" else 0 for code, a, b, _, _ in codes), 0]  # how many tokens, one place further on
        for number, (code, a, b, c, d) in enumerate(codes):
            left, right = equal[number], equal[number + 2]
            if code == "equal":
                continue
            if left >= 2 and right >= 2 and b - a <= 2 and d - c <= 2 and self._negated(a, b, c, d):
                yield "negation", _written([*said[a:b], *told[c:d]])
            elif code == "replace" and (new := self._substituted(a, b, c, d, beside=(left, right))):
                yield "thing", _written(new)
            elif code == "replace" and (changed := self._renumbered(a, b, c, d, beside=(left, right))):
                yield "number", changed

    def _renumbered(self, a: int, b: int, c: int, d: int, *, beside: tuple[int, int]) -> str:
        """A number that stands in the very place of another one, whatever else of the passage it may be."""
        if b - a != 1 or d - c != 1 or self.said[a].sort != "number" or self.told[c].sort != "number":
            return ""
        left, right = beside
        said, told = self.said[a], self.told[c]
        exact = left >= 3 and right >= 1 and not said.means(told) and not said.weak and not told.weak
        return said.written if exact else ""

    def _firm(self, a: int, b: int, c: int, d: int, *, beside: tuple[int, int]) -> int:
        """How many equal tokens are on the weaker side of an edit; an end that sentence and clause have in common is as good as many."""
        left, right = beside
        told = self.told
        begins = left == a and (c == left or told[c - left - 1].clause != told[c - left].clause)
        ends = right == len(self.said) - b and (d + right == len(told) or told[d + right].clause != told[d + right - 1].clause)
        return min(BOUND if begins and right >= 4 else left, BOUND if ends and left >= 4 else right)

    def _negated(self, a: int, b: int, c: int, d: int) -> bool:
        """Whether one of ``said[a:b]`` and ``told[c:d]`` negates, and their clauses are not alike in spite of it."""
        turns = [token for token in (*self.said[a:b], *self.told[c:d]) if token.negates]
        ours, theirs = self.said_clauses[self.said[b].clause], self.told_clauses[self.told[d].clause]
        if any(token.clause not in (self.said[b].clause, self.told[d].clause) for token in turns):
            return False  # it is about what stands before
        # What changed itself excuses nothing: only with, without.
        said = [replace(self.said[i], excuses=False) if a <= i < b else self.said[i] for i in ours]
        told = [replace(self.told[i], excuses=False) if c <= i < d else self.told[i] for i in theirs]
        return len(turns) % 2 == 1 and _alike(said, told) is False

    def _substituted(self, a: int, b: int, c: int, d: int, *, beside: tuple[int, int]) -> list[Token]:
        """What of ``said[a:b]`` is another thing than ``told[c:d]``; `beside`: how many tokens left and right of it are equal."""
        said, told, (left, right) = self.said, self.told, beside
        # At an end of the sentence only what stands next to the words that both have is in its place.
        if b == len(said):
            d = next((i for i in range(c, d) if told[i].clause != told[c].clause), d)
        elif a == 0:
            c = next((i + 1 for i in range(d - 1, c - 1, -1) if told[i].clause != told[d - 1].clause), c)
        if b - a > 4 or d - c > 6 or left + right < 3 or (not left and a > 0) or (not right and b < len(said)):
            return []
        # A word of the lists that is of no kind (to use, to begin) is as often another word for the same, unless all around it is.
        exact = b - a == d - c == 1 and (min(left, right) >= 3 or (b == len(said) and left >= 4))
        new = [
            said[i]
            for i in range(a, b)
            if not (said[i].weak or self.matches[i] or (said[i].same and not said[i].kinds and not exact) or i in self._converted)
        ]
        new = [token for token in new if token.sort != "number"]  # numbers have rules of their own
        firm = self._firm(a, b, c, d, beside=beside)
        if len(new) == 1 == len(new[0].key) and firm < 2 and not new[0].kinds and new[0].key not in kinds.SURNAMES:
            return []  # one character is mostly a verb
        if new and any(not token.weak and token in self._unsaid for token in told[c:d]):
            return new
        both = [*said[a:b], *told[c:d]]
        moved = b - a == d - c <= 2 <= min(left, right) and not any(token.weak or token.same for token in both)
        return list(said[a:b]) if moved and not any(x.means(y) for x in said[a:b] for y in told[c:d]) else []

    # --- yes and no ---

    def turned_round(self) -> Iterator[tuple[Reason, str]]:
        """Clauses that say no where the passage says yes."""
        for clause in self.said_clauses.values():
            agree = disagree = 0.0
            explained, negated = False, any(self.said[place].negates for place in clause)
            for place in clause:
                if self.said[place].weak or self.said[place].negates or not self.matches[place]:
                    continue
                fits = {i: self._fit(place, i) + (self.told[i].key == self.said[place].key) for i in self.matches[place]}
                likely = [i for i, fit in fits.items() if fit >= LIKELY * max(fits.values())]
                votes = [self._vote(clause, place, i) for i in likely]
                # Where it stands in several places, one that agrees will do.
                agree += max((AGREES + weight for alike, weight in votes if alike), default=0.0)
                if not any(alike for alike, _ in votes) and self._surely(place) and self.said[place].sort not in ("name", "number"):
                    disagree += max(weight for _, weight in votes)
                explained = explained or (negated and any(alike and self._negates(i) for (alike, _), i in zip(votes, likely, strict=True)))
            # Where the passage says no of one of its words, that is what the clause says no of.
            if disagree > agree + MARGIN and not explained:
                yield "negation", _written([self.said[i] for i in clause])

    def _negates(self, place: int) -> bool:
        """Whether the clause of a word of the passage holds a negation."""
        return any(self.told[i].negates for i in self.told_clauses[self.told[place].clause])

    def _surely(self, place: int) -> bool:
        """Whether a word is told itself, and not only by one of the short Chinese words that may mean the same."""
        token = self.said[place]
        there = [self.told[i] for i in self.matches[place]]
        return token.sort != "dense" or any(
            token.key in other.key or other.key in token.key or len(other.key) > 1 < len(token.key) for other in there
        )

    def _vote(self, clause: Sequence[int], place: int, other: int) -> tuple[bool, float]:
        """Whether a word of the sentence and of the passage stand in clauses that say yes and no alike, and how much that tells."""
        near = self.told_clauses[self.told[other].clause]
        said, told = [self.said[i] for i in clause], [self.told[i] for i in near]
        ours = _scopes(said, self.said)
        theirs = _scopes(told, [self.told[i] for i in self.told_sentences[self.told[other].sentence]])
        labels = _opposed(said, told)
        beside_ours = _beside_turn(said, place - clause[0], labels, before=0.3)
        beside_theirs = _beside_turn(told, other - near[0], labels, before=0.9)
        return any(_alike(own, there) is not False for own in ours for there in theirs), max(beside_ours, beside_theirs)


def _scopes(clause: Sequence[Token], sentence: Sequence[Token]) -> list[Sequence[Token]]:
    """The clause; and the sentence, where one negation outside an English clause may reach into it, as in a list."""
    num = sum(token.negates for token in clause)
    if not any(token.sort == "dense" for token in clause) and not num and sum(token.negates for token in sentence) == 1:
        return [clause, sentence]
    return [clause]


def _beside_turn(clause: Sequence[Token], place: int, labels: set[int], *, before: float) -> float:
    """How near a token stands to a negation of its clause, or to an opposite: 1.5 right behind it, `before` right before it."""
    nearest = 0.0
    for i, token in enumerate(clause):
        if token.negates or not labels.isdisjoint(token.sides):
            reach = 0.3 if token.key in ("无", "免", "非") else 0.75  # these bind to one word
            nearest = max(nearest, (before if i > place else 1.5) * reach ** max(0, abs(i - place) - 1))
    return nearest


def _opposed(said: Sequence[Token], told: Sequence[Token]) -> set[int]:
    """The opposites of which one side stands in the one, and only the other side in the other."""
    found = set()
    for label in {label for token in said for label in token.sides}:
        ours = {token.sides[label] for token in said if label in token.sides and not token.negates}
        theirs = {token.sides[label] for token in told if label in token.sides and not token.negates}
        if ours and theirs and ours.isdisjoint(theirs):
            found.add(label)
    return found


def _alike(said: Sequence[Token], told: Sequence[Token]) -> bool | None:
    """Whether both say yes or both say no; None where that cannot be told."""
    ours, theirs = sum(token.negates for token in said), sum(token.negates for token in told)
    turns = ours + theirs + bool(_opposed(said, told))
    if turns % 2 == 0:
        return True
    if not ours and not theirs:
        return False
    excuses = {token.key for token in said if token.excuses} ^ {token.key for token in told if token.excuses}
    return None if excuses else False


def _group(tokens: Sequence[Token], by: Literal["clause", "sentence"]) -> dict[int, list[int]]:
    """Places of the tokens of each clause, or sentence."""
    found: dict[int, list[int]] = {}
    for place, token in enumerate(tokens):
        found.setdefault(token.clause if by == "clause" else token.sentence, []).append(place)
    return found


def _written(tokens: Sequence[Token]) -> str:
    return "".join(token.written if token.sort == "dense" else f" {token.written}" for token in tokens).strip()
