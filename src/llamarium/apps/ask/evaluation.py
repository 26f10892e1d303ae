"""A set of questions, asked one by one, and what came of them in figures.

Takes: an open index, questions with what should come of them, and ways to ask.
Gives: for each question what was found and how long that took; the measures of all of them.
Does not know: files, pages, models.

What counts: a document is *hit* where any of its passages is; a *citation* is right where it is from the right document and, if an answer
is expected, has it; a *refusal* is right where no document has an answer. Right documents are those of the set: another document
that answers as well counts as wrong.
"""

from __future__ import annotations

import contextvars
import functools
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

from llamarium.apps.ask.answer import LONGEST_QUESTION, Answer, Citation, ask
from llamarium.apps.ask.conversation import Conversation
from llamarium.apps.ask.index import Index
from llamarium.apps.ask.question_sets import Posed
from llamarium.apps.ask.retrieve import Judges, SearchesVectors, retrieve
from llamarium.apps.ask.synonyms import Synonyms, built_in
from llamarium.apps.ask.words import question_words
from llamarium.evaluate.ask_metrics import Share, auroc, exact_match, f1, hit_at, holds, mean_reciprocal_rank, quantile, risk_coverage
from llamarium.ground import progress
from llamarium.ground.errors import UsageError, nearest

NUM_RANKED = 30  # passages in which a document's rank is looked for
MOST_REMEMBERED = 64  # judgements

Measures = dict[str, float | None]
T = TypeVar("T")


@dataclass(frozen=True)
class Outcome:
    """What came of a question. `rank`: of its document, from 1, None where it was not found; `meant`: see `conversation`.

    `in_place`: of the citations, how many stand where they say. `seconds`: by stage; `answer` holds `retrieve`.
    """

    posed: Posed
    meant: str
    rank: int | None
    answer: Answer
    in_place: Share
    seconds: Mapping[str, float] = field(default_factory=dict)

    @property
    def right_citations(self) -> int:
        """How many of the citations are right."""
        return sum(map(self._is_right, self.answer.citations))

    @property
    def starts_right(self) -> bool:
        """Whether the first citation is right, or, where the question was refused, what came nearest."""
        first = (self.answer.citations or self.answer.nearest)[:1]
        return any(map(self._is_right, first))

    def _is_right(self, citation: Citation) -> bool:
        return citation.document == self.posed.document and (not self.posed.answers or holds(citation.quote, self.posed.answers))


@dataclass(frozen=True)
class Way:
    """A way to ask: with what is beside the words of a question. `phrase` puts a found answer into a model's words."""

    name: str
    synonyms: Synonyms | None = None
    vectors: SearchesVectors | None = None
    judge: Judges | None = None
    phrase: Callable[[str, Answer], str] | None = None


def run(index: Index, questions: Sequence[Posed], way: Way) -> list[Outcome]:
    """Ask `questions` in this `way`, each with the one before it where it follows one.

    `UsageError` where a question's document is not in the index, or has no words: then the set is not about these documents.
    """
    check(index, questions)
    paths = {held.path: held.number for held in index.documents()}
    judge = _Remembering(way.judge) if way.judge is not None else None
    way = replace(way, judge=judge)
    tracked = progress.track(questions, f"asking: {way.name}", len(questions))
    return [unseen(functools.partial(_ask, index, posed, way, paths, judge)) for posed in tracked]


class _Remembering:
    """A judge whose last judgements are remembered: a model reads the same passages once, and what that took is counted each time."""

    def __init__(self, judge: Judges) -> None:
        self.saved = 0.0  # seconds
        self._judge = judge
        self._known: dict[tuple[str, ...], tuple[Sequence[float], float]] = {}

    def judge(self, question: str, passages: Sequence[str]) -> Sequence[float]:
        key = (question, *passages)
        if key in self._known:
            scores, seconds = self._known[key]
            self.saved += seconds
            return scores
        if len(self._known) >= MOST_REMEMBERED:
            self._known.clear()
        begin = time.perf_counter()
        scores = self._judge.judge(question, passages)
        self._known[key] = scores, time.perf_counter() - begin
        return scores


def unseen(work: Callable[[], T]) -> T:
    """The result of `work`, whose own bar would be drawn into that of all questions."""

    def silently() -> T:
        progress.use(progress.Silent())
        return work()

    return contextvars.copy_context().run(silently)


def check(index: Index, questions: Iterable[Posed]) -> None:
    """`UsageError` where a question's document is not in the index."""
    known = {held.path for held in index.documents()}
    for posed in questions:
        if posed.document and posed.document not in known:
            message = f"There is no document {posed.document} in {index.name}, which “{posed.question[:60]}” is about."
            raise UsageError(message, hint=nearest(posed.document, known) if len(known) <= 1000 else "Give its path below the folder.")


def _ask(index: Index, posed: Posed, way: Way, paths: Mapping[str, int], judge: _Remembering | None) -> Outcome:
    def clock() -> float:
        return time.perf_counter() + (judge.saved if judge is not None else 0.0)

    def answers(question: str) -> Answer:
        return ask(index, question, synonyms=way.synonyms, vectors=way.vectors, judge=way.judge)

    talk = Conversation(answers)
    if posed.after:
        talk.ask(posed.after)
    begin = clock()
    turn = talk.ask(posed.question)
    seconds = {"answer": clock() - begin}
    begin = clock()
    ranked = rank_documents(index, turn.meant, way)
    seconds["retrieve"] = clock() - begin
    answer = turn.answer
    if way.phrase is not None and answer.found:
        begin = time.perf_counter()
        answer = replace(answer, answer=way.phrase(turn.meant, answer))
        seconds["phrase"] = time.perf_counter() - begin
    in_place = sum(index.text(paths[each.document])[each.start : each.end] == each.quote for each in answer.citations)
    rank = ranked.index(posed.document) + 1 if posed.document in ranked else None
    return Outcome(posed, turn.meant, rank, answer, Share(in_place, len(answer.citations)), seconds)


def rank_documents(index: Index, question: str, way: Way) -> list[str]:
    """The documents of the passages that are found, likeliest first."""
    question = question[:LONGEST_QUESTION]
    asked = (way.synonyms or built_in()).expand(question_words(question), question)
    found = retrieve(index, asked, question, vectors=way.vectors, judge=way.judge, limit=NUM_RANKED)
    return list(dict.fromkeys(passage.path for passage in found))


def measure(outcomes: Sequence[Outcome]) -> Measures:
    """All measures by name, from 0 to 1; None where nothing was measured. Times are milliseconds at the median and at the 90th percentile.

    Ranks, answers and citation recall are over the questions that have an answer, and a refusal is no answer; `citation_precision` is
    over all citations that were given. `answer_holds`: an expected answer stands in the answer, as it is printed.
    """
    answerable = [outcome for outcome in outcomes if outcome.posed.document]
    unanswerable = [outcome for outcome in outcomes if not outcome.posed.document]
    expected = [outcome for outcome in answerable if outcome.posed.answers]
    ranks = [outcome.rank for outcome in answerable]
    refused = [outcome for outcome in outcomes if not outcome.answer.found]
    right_refusals = sum(not outcome.posed.document for outcome in refused)
    citations = sum(len(outcome.answer.citations) for outcome in outcomes)
    values: Measures = {
        "questions": len(outcomes),
        "unanswerable": len(unanswerable),
        "hit_at_1": hit_at(ranks, 1),
        "hit_at_5": hit_at(ranks, 5),
        "hit_at_10": hit_at(ranks, 10),
        "mrr": mean_reciprocal_rank(ranks),
        "exact_match": _mean(exact_match(outcome.answer.answer, outcome.posed.answers) for outcome in expected),
        "f1": _mean(f1(outcome.answer.answer, outcome.posed.answers) for outcome in expected),
        "answer_holds": _mean(float(holds(outcome.answer.answer, outcome.posed.answers)) for outcome in expected),
        "citation_precision": Share(sum(outcome.right_citations for outcome in outcomes), citations).value,
        "first_citation_precision": _mean(float(outcome.starts_right) for outcome in outcomes if outcome.answer.found),
        "citation_recall": _mean(float(outcome.right_citations > 0) for outcome in answerable),
        "quotes_in_place": Share(sum(outcome.in_place.part for outcome in outcomes), citations).value,
        "answered": _mean(float(outcome.answer.found) for outcome in answerable),
        "refusal_precision": Share(right_refusals, len(refused)).value,
        "refusal_recall": Share(right_refusals, len(unanswerable)).value,
        "auroc": auroc([each.answer.confidence for each in answerable], [each.answer.confidence for each in unanswerable]),
    }
    for stage in dict.fromkeys(stage for outcome in outcomes for stage in outcome.seconds):
        times = [1000 * outcome.seconds[stage] for outcome in outcomes if stage in outcome.seconds]
        values |= {f"{stage}_ms": quantile(times, 0.5), f"{stage}_ms_90": quantile(times, 0.9)}
    return values


def curve(outcomes: Sequence[Outcome]) -> list[tuple[float, float]]:
    """Risk over coverage: of the questions answered from some confidence up, the share whose first citation is not right.

    Beyond the threshold what came nearest stands for the answer. See `ask_metrics.risk_coverage`.
    """
    return risk_coverage([outcome.answer.confidence for outcome in outcomes], [outcome.starts_right for outcome in outcomes])


def _mean(values: Iterable[float]) -> float | None:
    kept = list(values)
    return sum(kept) / len(kept) if kept else None
