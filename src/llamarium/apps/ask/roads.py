"""The same questions by three roads: rules, statistics, learning.

Takes: an open index, questions whose document is known; what there is of a FAQ, patterns, vectors, a model that judges.
Gives: for each road how often it finds the right document, how often it says nothing, and how long it takes.
Does not know: files, tables, models.

    rules        FAQ            a question that was answered before
                 patterns       rules of the user's own
    statistics   BM25           words by how rare they are (Robertson and Zaragoza 2009)
                 BM25, wider    with synonyms: a rule's knowledge inside a statistic
    learning     vectors        the nearest meaning, by a sentence encoder or the states of a LLaMA
                 likelihood     BM25's first ten by log p(question | passage) of a LLaMA (Ponte and Croft 1998)
    together     all            BM25, wider, and vectors, the first ten judged by the model

A rule is an answer or nothing, so it ranks one document at most; where it speaks, it should be right.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from llamarium.apps.ask.answer import LONGEST_QUESTION, Answer
from llamarium.apps.ask.evaluation import NUM_RANKED, Measures, Way, check, rank_documents, unseen
from llamarium.apps.ask.index import Index
from llamarium.apps.ask.question_sets import Posed
from llamarium.apps.ask.retrieve import RERANKED, Judges, SearchesVectors
from llamarium.apps.ask.words import question_words
from llamarium.evaluate.ask_metrics import Share, hit_at, mean_reciprocal_rank, quantile
from llamarium.ground import progress

Ranks = Callable[[str], list[str]]


@dataclass(frozen=True)
class Road:
    """A way from a question to documents, the likeliest first; empty where it has nothing to say."""

    kind: str
    name: str
    ranks: Ranks


@dataclass(frozen=True)
class Travelled:
    """What a road found. `ranks`: of the right documents; `spoke`: how many questions it ranked any document for; seconds of each."""

    road: Road
    ranks: tuple[int | None, ...]
    spoke: int
    seconds: tuple[float, ...]

    @property
    def measures(self) -> Measures:
        """`right_when_it_speaks`: of the questions it said anything to, those with the right document first. `ms`: the median."""
        first = sum(rank == 1 for rank in self.ranks)
        return {
            "spoke": Share(self.spoke, len(self.ranks)).value,
            "right_when_it_speaks": Share(first, self.spoke).value,
            "hit_at_1": hit_at(self.ranks, 1),
            "hit_at_5": hit_at(self.ranks, 5),
            "mrr": mean_reciprocal_rank(self.ranks),
            "ms": quantile([1000 * each for each in self.seconds], 0.5),
        }


def roads(
    index: Index,
    *,
    faq: Callable[[str], Answer | None] | None = None,
    patterns: Callable[[str], Answer | None] | None = None,
    way: Way | None = None,
) -> list[Road]:
    """The roads that are there. `way` brings synonyms, vectors and a judge."""
    way = way or Way("")
    found = [Road("rules", name, _said(answers)) for name, answers in (("FAQ", faq), ("patterns", patterns)) if answers]
    found += [
        Road("statistics", "BM25", lambda question: _by_statistics(index, question)),
        Road("statistics", "BM25, wider", lambda question: rank_documents(index, question, Way("", synonyms=way.synonyms))),
    ]
    if way.vectors is not None:
        found.append(Road("learning", "vectors", _nearest(way.vectors)))
    if way.judge is not None:
        found.append(Road("learning", "likelihood", _judged(index, way.judge)))
    if way.vectors is not None or way.judge is not None:
        found.append(Road("together", "all", lambda question: rank_documents(index, question, way)))
    return found


def travel(index: Index, questions: Sequence[Posed], found: Sequence[Road]) -> list[Travelled]:
    """Ask the questions that have a document and stand by themselves, by every road. `UsageError` where a document is not in the index."""
    check(index, questions)
    asked = [posed for posed in questions if posed.document and not posed.after]
    return [_travel(road, asked) for road in found]


def _travel(road: Road, asked: Sequence[Posed]) -> Travelled:
    ranks: list[int | None] = []
    seconds: list[float] = []
    spoke = 0
    for posed in progress.track(asked, f"{road.kind}: {road.name}", len(asked)):
        begin = time.perf_counter()
        documents = unseen(functools.partial(road.ranks, posed.question))
        seconds.append(time.perf_counter() - begin)
        spoke += bool(documents)
        ranks.append(documents.index(posed.document) + 1 if posed.document in documents else None)
    return Travelled(road, tuple(ranks), spoke, tuple(seconds))


def _said(answers: Callable[[str], Answer | None]) -> Ranks:
    def ranks(question: str) -> list[str]:
        answer = answers(question)
        return [] if answer is None else list(dict.fromkeys(citation.document for citation in answer.citations))

    return ranks


def _by_statistics(index: Index, question: str) -> list[str]:
    found = index.search(question_words(question[:LONGEST_QUESTION]), limit=NUM_RANKED)
    return list(dict.fromkeys(passage.path for passage in found))


def _nearest(vectors: SearchesVectors) -> Ranks:
    return lambda question: list(dict.fromkeys(passage.path for passage in vectors.nearest(question, limit=NUM_RANKED)))


def _judged(index: Index, judge: Judges) -> Ranks:
    def ranks(question: str) -> list[str]:
        found = index.search(question_words(question[:LONGEST_QUESTION]), limit=RERANKED)
        scores = judge.judge(question, [index.text(passage.document)[passage.start : passage.end] for passage in found])
        order = sorted(zip(scores, found, strict=True), key=lambda pair: -pair[0])
        return list(dict.fromkeys(passage.path for _, passage in order))

    return ranks
