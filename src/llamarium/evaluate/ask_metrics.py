"""How good answers from documents are: found, right, borne out, and kept back where there is nothing to say.

Takes: ranks, answers beside the expected ones, counts, confidences.
Gives: shares from 0 to 1, and what can be drawn from them.
Does not know: indexes, models, files; who answered.
"""

from __future__ import annotations

import bisect
import itertools
import math
import re
import string
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean

_ARTICLES = frozenset(("a", "an", "the"))
_ASCII_MARKS = frozenset(string.punctuation)
_DENSE = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_IS_DENSE = re.compile(f"[{_DENSE}]")
_UNIT = re.compile(rf"[{_DENSE}]|[^\s{_DENSE}]+")


@dataclass(frozen=True)
class Share:
    """So many of so many."""

    part: int
    whole: int

    @property
    def value(self) -> float | None:
        """0 to 1; None of nothing, which is no zero."""
        return self.part / self.whole if self.whole else None


def hit_at(ranks: Sequence[int | None], k: int) -> float | None:
    """Share of the questions whose right document is among the first `k`; ranks count from 1, None is not found.

    >>> hit_at([1, 3, None, 2], 2)
    0.5
    """
    return fmean(rank is not None and rank <= k for rank in ranks) if ranks else None


def mean_reciprocal_rank(ranks: Sequence[int | None]) -> float | None:
    """Mean of 1 / rank, 0 where it was not found. Voorhees 1999, TREC-8 question answering track.

    >>> mean_reciprocal_rank([1, 2, None, 4])
    0.4375
    """
    return fmean(0.0 if rank is None else 1 / rank for rank in ranks) if ranks else None


def units(text: str) -> list[str]:
    """What answers are compared by: words without case, punctuation marks and English articles; Chinese by the character.

    >>> units("The Oven: 230 degrees!"), units("约 230 度。")
    (['oven', '230', 'degrees'], ['约', '230', '度'])
    """
    kept = "".join(letter for letter in text.lower() if not _is_mark(letter))
    return [unit for unit in _UNIT.findall(kept) if unit not in _ARTICLES]


def _is_mark(letter: str) -> bool:
    return letter in _ASCII_MARKS or (not letter.isascii() and unicodedata.category(letter).startswith("P"))


def exact_match(answer: str, expected: Sequence[str]) -> float:
    """1 where the answer has the units of one that was expected and nothing else, else 0. Rajpurkar et al. 2016, arXiv:1606.05250.

    >>> exact_match("The 4 hours.", ["4 hours"]), exact_match("for 4 hours", ["4 hours"])
    (1.0, 0.0)
    """
    found = units(answer)
    return float(any(found == units(each) for each in expected))


def f1(answer: str, expected: Sequence[str]) -> float:
    """Harmonic mean of precision and recall over units, of the expected answer that gives the most.

    What is shared is counted in English as a bag of words (SQuAD, arXiv:1606.05250), in Chinese as the longest run of characters
    that both have (CMRC 2018, arXiv:1810.07366). The expected answer says which it is. Two empty answers are the same.

    >>> f1("stand for 4 hours", ["4 hours"])
    0.6666666666666666
    >>> f1("高四米", ["四米高"])    # 四米
    0.6666666666666666
    """
    found = units(answer)
    return max((_f1(found, units(each), run=bool(_IS_DENSE.search(each))) for each in expected), default=0.0)


def _f1(found: Sequence[str], wanted: Sequence[str], *, run: bool) -> float:
    if not found or not wanted:
        return float(not found and not wanted)
    shared = longest_run(found, wanted) if run else (Counter(found) & Counter(wanted)).total()
    return 2 * shared / (len(found) + len(wanted))


def longest_run(one: Sequence[str], other: Sequence[str]) -> int:
    """Length of the longest run of neighbours that both have.

    >>> longest_run("abcd", "xbcy")
    2
    """
    longest = 0
    above = [0] * (len(other) + 1)
    for unit in one:
        row = [0] * (len(other) + 1)
        for place, also in enumerate(other, 1):
            if unit == also:
                row[place] = above[place - 1] + 1
        longest = max(longest, *row)
        above = row
    return longest


def holds(text: str, expected: Sequence[str]) -> bool:
    """Whether one of the expected answers stands in `text`, marks and case aside.

    >>> holds("It should stand upright for 4 hours.", ["4 hours"]), holds("for 14 hours", ["4 hours"])
    (True, False)
    """
    found = units(text)
    return any(wanted and longest_run(wanted, found) == len(wanted) for wanted in map(units, expected))


def auroc(answerable: Sequence[float], unanswerable: Sequence[float]) -> float | None:
    """How likely a question that has an answer is met with more confidence than one that has none; a tie is a half.

    The area under the ROC curve as Mann and Whitney's U (Hanley and McNeil 1982, doi:10.1148/radiology.143.1.7063747).

    >>> auroc([0.9, 0.5], [0.5, 0.1])
    0.875
    """
    if not answerable or not unanswerable:
        return None
    below = sorted(unanswerable)
    wins = sum(bisect.bisect_left(below, each) + bisect.bisect_right(below, each) for each in answerable)
    return wins / 2 / len(answerable) / len(unanswerable)


def risk_coverage(confidences: Sequence[float], right: Sequence[bool]) -> list[tuple[float, float]]:
    """(share of the questions answered, share of those answers that are wrong) for each threshold, the strictest first.

    El-Yaniv and Wiener 2010, JMLR 11. Questions of one confidence are answered or refused together.

    >>> risk_coverage([0.9, 0.8, 0.2, 0.2], [True, False, True, False])
    [(0.25, 0.0), (0.5, 0.5), (1.0, 0.5)]
    """
    pairs = sorted(zip(confidences, right, strict=True), key=lambda pair: -pair[0])
    curve: list[tuple[float, float]] = []
    answered = wrong = 0
    for _, same in itertools.groupby(pairs, key=lambda pair: pair[0]):
        for _, is_right in same:
            answered += 1
            wrong += not is_right
        curve.append((answered / len(pairs), wrong / answered))
    return curve


def quantile(values: Iterable[float], share: float) -> float | None:
    """The value below which `share` of them lie, between neighbours by their distance; None of nothing.

    >>> quantile([1.0, 2.0, 3.0], 0.5), quantile([1.0, 2.0], 0.75)
    (2.0, 1.75)
    """
    ordered = sorted(values)
    if not ordered:
        return None
    place = share * (len(ordered) - 1)
    low, high = math.floor(place), math.ceil(place)
    return ordered[low] + (place - low) * (ordered[high] - ordered[low])
