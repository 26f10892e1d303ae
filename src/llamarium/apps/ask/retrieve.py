"""Passages that may hold the answer, the likeliest first.

Takes: what finds passages by words, perhaps what finds them by vectors, perhaps a model that judges; a question taken apart.
Gives: one ranking.
Does not know: SQL, files, sentences, what an answer is.

Words find what is said as it is asked. What it may be called otherwise is looked for once more, and counts only where a passage
lacks the word of the question. What vectors find is added by how near it is, the more the
less the words found; a judge's ranking is fused by reciprocal ranks (Cormack, Clarke and Büttcher 2009), which needs no common scale.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from typing import Protocol, TypeVar

from llamarium.apps.ask.index import Found
from llamarium.apps.ask.postings import idf
from llamarium.apps.ask.words import Question, Wanted, is_dense, terms_of

RRF_CONSTANT = 60
NUM_BY_WORDS = 30
NUM_BY_OTHERS = 20
MOST_OTHERS = 60
EMPHASIS = 0.5  # what is rare counts that much more than BM25 has it: its inverse document frequency to this power
NUM_SURE = 3  # passages, in one of which an answer in the words of the question is expected
OTHERS_SHARE = 4.0  # of what a word itself would count, were it as rare as all it may be called together
HINT_SHARE = 0.3  # of that
CHARACTER_SHARE = 0.4  # of what another word counts, where all that is found is one Chinese character
TOO_COMMON = 0.2  # of all passages: a synonym in so many tells nothing
FEWEST_PASSAGES = 50  # a handful does not tell what is rare: where there are fewer, words are weighed as if there were so many
NEVER_NAMED = 2.0  # what no document names weighs double: what they say of the rest does not answer that
MOST_WANTED = 64
VECTORS_WEIGHT = 1.6  # where words find nothing; chosen by the odd numbers of tests/apps/ask/data, both sets
HELD_IS_ENOUGH = 0.7  # of a question in its best passage: then vectors could only spoil the ranking; below, they count the more
SHARPER = 2.0  # the power that brings the second of them as far behind the first as words do
ROUNDING = 1e-3  # of a cosine: vectors are kept as float16
RERANKED = 10
FALLS = 0.7  # from each fused rank to the next

Key = TypeVar("Key", bound=Hashable)


class Searches(Protocol):
    """What finds passages by words, as `Index` does."""

    @property
    def num_passages(self) -> int:
        """How many there are."""

    def rank(self, weights: Mapping[str, float], *, limit: int, documents: Collection[int] | None = None) -> list[Found]:
        """The passages with the best BM25 rank, each term counting by its weight, best first; of `documents` alone, if given."""

    def num_passages_with(self, term: str) -> int:
        """How many have `term`."""

    def num_passages_with_any(self, keys: Sequence[tuple[str, ...]]) -> int:
        """How many have all the terms of any of `keys`."""

    def text(self, document: int) -> str:
        """A document."""


class SearchesVectors(Protocol):
    """What finds passages by the meaning of a question as a whole."""

    def nearest(self, question: str, *, limit: int, documents: Collection[int] | None = None) -> list[Found]:
        """The passages whose vectors are nearest, nearest first; `rank` is the cosine."""


class Judges(Protocol):
    """What tells how likely a question is, given each of some passages."""

    def judge(self, question: str, passages: Sequence[str]) -> Sequence[float]:
        """log2 p(question | passage), each; more is better."""


@dataclass(frozen=True)
class Weights:
    """How much each thing that is asked about counts.

    `rarity`: its inverse document frequency; `others`: that of what it may be called otherwise. `terms`: what passages are searched by,
    and the weight of each; `gains`: what a passage gains by another word for one; `hint`: by what an answer is likely to say.
    """

    rarity: Mapping[Wanted, float]
    others: Mapping[tuple[str, ...], float]
    terms: Mapping[str, float] = field(default_factory=dict)
    gains: Mapping[Wanted, float] = field(default_factory=dict)
    hint: float = 0.0

    @property
    def total(self) -> float:
        """Of all that is asked about."""
        return sum(self.rarity.values()) or 1.0

    def credit(self, wanted: Wanted, terms: Set[str]) -> float:
        """How much of `wanted` a text has that has `terms`, 0 to 1: all, if it has the word itself; a part, if another word for it.

        One character of a Chinese word is less: 伤 of 摔伤 stands in 受伤, and in 悲伤.
        """
        if not terms.isdisjoint(wanted.terms):
            return 1.0
        best = CHARACTER_SHARE * 0.75 if wanted.character and wanted.character in terms else 0.0
        for key in wanted.others:
            if key in self.others and terms >= set(key):
                best = max(best, CHARACTER_SHARE if _is_character(key) else 0.7)
        return best


def weigh(index: Searches, asked: Question) -> Weights:
    """Weigh what is asked about by how rare it is (inverse document frequency), and twice that where no document has it."""
    num_passages = max(index.num_passages, FEWEST_PASSAGES)
    known: dict[str, int] = {}

    def frequency(term: str) -> int:
        if term not in known:
            known[term] = index.num_passages_with(term)
        return known[term]

    def rarity(num: int) -> float:
        return idf(num, num_passages)

    others: dict[tuple[str, ...], float] = {}
    for key in {key for wanted in asked.wanted for key in wanted.others} | set(asked.hints):
        num = min(map(frequency, key))
        if 0 < num <= max(TOO_COMMON * index.num_passages, 3):
            others[key] = rarity(num)
    weights: dict[Wanted, float] = {}
    for wanted in asked.wanted:
        num = max(map(frequency, wanted.terms))
        if wanted.character and not num:
            # 做 in 做豆腐: its pair is no word, and the characters around it belong to words that are known. Then it is one by itself.
            neighbours = [other for other in asked.wanted if other != wanted and not set(other.terms).isdisjoint(wanted.terms)]
            if all(max(map(frequency, other.terms)) for other in neighbours):
                wanted = replace(wanted, terms=(wanted.character,))
                num = frequency(wanted.character)
        otherwise = min((others[key] for key in wanted.others if key in others), default=None)
        weight = rarity(num) if num else NEVER_NAMED * rarity(0) if otherwise is None else otherwise
        # A Chinese word has two characters, and each of them is asked for.
        weights[wanted] = weight * (0.5 if wanted.character else 1.0)
    rarest = sorted(weights, key=lambda wanted: -weights[wanted])[:MOST_WANTED]
    # Rarity counts twice, once in BM25: of two passages that have as much, the one with the rarer words is the likelier.
    terms = {term: (rarity(frequency(term)) / rarity(0)) ** EMPHASIS for term in asked.terms}

    def gain(keys: Iterable[tuple[str, ...]]) -> float:
        # All that a word may be called is one thing (Pirkola 1998): of thirty names a rare one is found by chance.
        num = index.num_passages_with_any(list(keys))
        return OTHERS_SHARE * rarity(num) ** 2 / rarity(0)

    gains = {
        wanted: gain([*((term,) for term in wanted.terms), *known_as])
        for wanted in rarest
        if (known_as := _known_as(wanted.others, others))
    }
    hints = _known_as(asked.hints, others)
    hint = HINT_SHARE * gain(hints) if hints else 0.0
    return Weights({wanted: weights[wanted] for wanted in rarest}, others, terms, gains, hint)


def _known_as(keys: Iterable[tuple[str, ...]], others: Mapping[tuple[str, ...], float]) -> list[tuple[str, ...]]:
    return [key for key in keys if key in others]


def by_words(
    index: Searches, asked: Question, weights: Weights, *, limit: int = NUM_BY_WORDS, documents: Collection[int] | None = None
) -> list[Found]:
    """Passages by BM25, where a passage that lacks a word and has another for it is given a share of what the word would count."""
    found = index.rank(weights.terms, limit=max(limit, NUM_BY_WORDS), documents=documents)
    if not weights.others:
        return found[:limit]
    wider = dict(weights.terms)
    for key in sorted(weights.others, key=lambda key: -weights.others[key])[:MOST_OTHERS]:
        wider.update((term, OTHERS_SHARE) for term in key if term not in wider)
    known = {_place(passage) for passage in found}
    lowest = found[-1].rank if len(found) == max(limit, NUM_BY_WORDS) else 0.0
    wider_found = index.rank(wider, limit=NUM_BY_OTHERS, documents=documents)
    more = [replace(passage, rank=lowest) for passage in wider_found if _place(passage) not in known]
    held = [_terms(index, passage) for passage in found + more]
    # The less of a question the documents have in its own words, the more other words are worth.
    own = max((_own_share(weights, terms) for terms in held[:NUM_SURE]), default=0.0)
    paraphrased = 1 - own
    weighed = [
        replace(passage, rank=passage.rank + paraphrased * _gain(asked, weights, terms))
        for passage, terms in zip(found + more, held, strict=True)
    ]
    weighed.sort(key=lambda passage: -passage.rank)
    return weighed[:limit]


def _terms(index: Searches, passage: Found) -> set[str]:
    return terms_of(f"{passage.title}\n{passage.heading}\n{index.text(passage.document)[passage.body : passage.end]}")


def _own_share(weights: Weights, terms: Set[str]) -> float:
    """The share of a question that a text has in its very words."""
    return sum(weight for wanted, weight in weights.rarity.items() if not terms.isdisjoint(wanted.terms)) / weights.total


def _gain(asked: Question, weights: Weights, held: Set[str]) -> float:
    """What a passage gains by other words for those that it lacks."""

    def best(keys: Iterable[tuple[str, ...]]) -> float:
        found = [key for key in _known_as(keys, weights.others) if held >= set(key)]
        return 0.0 if not found else CHARACTER_SHARE if all(map(_is_character, found)) else 1.0

    lacking = ((wanted, gain) for wanted, gain in weights.gains.items() if held.isdisjoint(wanted.terms))
    gain = sum(gain * best(wanted.others) * (0.5 if wanted.character else 1.0) for wanted, gain in lacking)
    return gain + weights.hint * best(asked.hints)


def _is_character(key: tuple[str, ...]) -> bool:
    return len(key) == 1 and len(key[0]) == 1 and is_dense(key[0])


def retrieve(
    index: Searches,
    asked: Question,
    question: str,
    *,
    weights: Weights | None = None,
    vectors: SearchesVectors | None = None,
    judge: Judges | None = None,
    limit: int = NUM_BY_WORDS,
    documents: Collection[int] | None = None,
) -> list[Found]:
    """The passages for `question`, likeliest first; `rank` is BM25's where words alone rank, else a sum of shares.

    `documents`: the numbers of the only ones that are searched; how rare a word is, all of them tell.
    """
    weights = weights or weigh(index, asked)
    found = by_words(index, asked, weights, limit=limit, documents=documents)
    if vectors is not None:
        held = _share_held(index, weights, found[0]) if found else 0.0
        if held < HELD_IS_ENOUGH and (by_meaning := vectors.nearest(question, limit=limit, documents=documents)):
            found = _with_meaning(found, by_meaning, weight=VECTORS_WEIGHT * (1 - held / HELD_IS_ENOUGH))[:limit]
    if judge is not None and found:
        head = found[:RERANKED]
        scores = judge.judge(question, [index.text(passage.document)[passage.start : passage.end] for passage in head])
        judged = [passage for _, passage in sorted(zip(scores, head, strict=True), key=lambda pair: -pair[0])]
        found = _fused([(head, 1.0), (judged, 1.0)]) + [replace(passage, rank=0.0) for passage in found[RERANKED:]]
    return found


def _share_held(index: Searches, weights: Weights, passage: Found) -> float:
    held = _terms(index, passage)
    return sum(weight * weights.credit(wanted, held) for wanted, weight in weights.rarity.items()) / weights.total


def _with_meaning(worded: Sequence[Found], near: Sequence[Found], *, weight: float) -> list[Found]:
    """Each passage by its share of the best BM25 rank, and how far it is on the way from the farthest of the nearest to the nearest."""
    best = max((passage.rank for passage in worded), default=0.0) or 1.0  # 0: only a part of a phrase that might mean the same
    nearest, farthest = near[0].rank, near[-1].rank
    spread = nearest - farthest if nearest - farthest > ROUNDING else 1.0  # else nothing that was found is nearer than the rest
    scores = {_place(passage): max(passage.rank, 0.0) / best for passage in worded}
    for passage in near:
        scores[_place(passage)] = scores.get(_place(passage), 0.0) + weight * (passage.rank - farthest) / spread
    known = {_place(passage): passage for passage in (*near, *worded)}
    highest = max(scores.values()) or 1.0
    # Such sums are more alike than BM25 ranks, by which what follows is weighed.
    ranked = (replace(known[place], rank=highest * (score / highest) ** SHARPER) for place, score in scores.items())
    return sorted(ranked, key=lambda passage: -passage.rank)


def _fused(rankings: Sequence[tuple[Sequence[Found], float]]) -> list[Found]:
    known = {_place(passage): passage for ranking, _ in reversed(rankings) for passage in ranking}
    scores = fuse([([_place(passage) for passage in ranking], weight) for ranking, weight in rankings])
    # Reciprocal ranks are all much alike; what looks at ranks afterwards would take the tenth passage for as good as the first.
    return [replace(known[place], rank=FALLS**number) for number, place in enumerate(scores)]


def _place(passage: Found) -> tuple[int, int]:
    return passage.document, passage.start


def fuse(rankings: Iterable[tuple[Sequence[Key], float]]) -> dict[Key, float]:
    """Reciprocal-rank fusion: the sum of ``weight / (60 + rank)`` over the rankings a thing is in, the highest first.

    >>> list(fuse([(["a", "b", "c"], 1.0), (["b", "c", "a"], 1.0)]))
    ['b', 'a', 'c']
    """
    scores: dict[Key, float] = {}
    for ranking, weight in rankings:
        for rank, key in enumerate(dict.fromkeys(ranking), 1):
            scores[key] = scores.get(key, 0.0) + weight / (RRF_CONSTANT + rank)
    return dict(sorted(scores.items(), key=lambda item: -item[1]))


def diverse(scores: Sequence[float], alike: Callable[[int, int], float], *, k: int, balance: float = 0.9) -> list[int]:
    """Numbers of up to `k` things, each the best by its score and its distance from those taken before.

    Maximal marginal relevance (Carbonell and Goldstein 1998): ``balance * score - (1 - balance) * alike`` to the one most alike;
    scores and likenesses from 0 to 1.

    >>> diverse([1.0, 0.9, 0.5], lambda i, j: float({i, j} == {0, 1}), k=2, balance=0.5)
    [0, 2]
    """
    taken: list[int] = []
    left = list(range(len(scores)))
    while left and len(taken) < k:
        best = max(left, key=lambda i: balance * scores[i] - (1 - balance) * max((alike(i, j) for j in taken), default=0.0))
        taken.append(best)
        left.remove(best)
    return taken
