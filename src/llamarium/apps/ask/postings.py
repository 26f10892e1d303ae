"""Which passages hold a term, and how well a passage fits a question: BM25 over lists of numbers.

Takes: the terms of passages, counted; later those lists again, and a question's terms with their weights.
Gives: one blob for each term; the scores of all passages at once.
Does not know: SQL, texts, what a term means.

A term's postings are the numbers of its passages (uint32, ascending), then how often it is in each (uint8), little-endian. Robertson
and Zaragoza 2009, "The Probabilistic Relevance Framework": a term that is f times in a passage of length l adds

    log(1 + (N - n + 0.5) / (n + 0.5)) · f · (k + 1) / (f + k · (1 - b + b · l / mean))

where n of all N passages have it. A document is scored likewise, as one long passage, and a share of that goes to each of its
passages that have any of the terms: what a text is about is often said once, and not where the answer stands. What is asked by rare
terms is nearly decided by them: once enough postings were added up, terms that are more frequent are looked up only for those passages
that lead.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

K, B = 1.2, 0.75
ENOUGH = 100_000  # postings; about a millisecond
LEADING = 2_000  # passages
DOCUMENT_SHARE = 0.4  # of a document's score; chosen by the odd numbers of four sets of paraphrased questions

Numbers = NDArray[np.uint32]


@dataclass(frozen=True)
class Postings:
    """Where a term is: `passages` uint32 (N,), ascending; `counts` uint8 (N,)."""

    passages: Numbers
    counts: NDArray[np.uint8]

    @classmethod
    def read(cls, blobs: Iterable[bytes]) -> Postings:
        """The postings of one term, put together from its blobs, the oldest first. `ValueError` where they cannot be."""
        passages, counts = [], []
        for blob in blobs:
            num, rest = divmod(len(blob), 5)
            if rest:
                raise ValueError("half a posting")
            passages.append(np.frombuffer(blob, "<u4", num))
            counts.append(np.frombuffer(blob, np.uint8, num, offset=4 * num))
        numbers = passages[0] if len(passages) == 1 else np.concatenate([np.empty(0, np.uint32), *passages])
        if not (numbers[1:] > numbers[:-1]).all():
            raise ValueError("passages out of order")
        return cls(numbers, counts[0] if len(counts) == 1 else np.concatenate([np.empty(0, np.uint8), *counts]))

    def blob(self) -> bytes:
        """What `read` takes."""
        return self.passages.astype("<u4").tobytes() + self.counts.tobytes()

    def of(self, chosen: NDArray[np.bool_]) -> Postings:
        """Those in passages that are `chosen`, by number: bool (P,)."""
        inside = self.passages < len(chosen)
        inside[inside] = chosen[self.passages[inside]]
        return self if inside.all() else Postings(self.passages[inside], self.counts[inside])


class Segment:
    """The terms of passages that are indexed together."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}
        self._terms, self._passages, self._counts = array("I"), array("I"), array("B")

    def __len__(self) -> int:
        return len(self._terms)

    def add(self, passage: int, counts: Mapping[str, int]) -> None:
        """Take in a passage, whose number is above those before it."""
        numbers = self._numbers
        self._terms.extend([numbers.setdefault(term, len(numbers)) for term in counts])
        self._passages.extend([passage] * len(counts))
        self._counts.extend([min(count, 255) for count in counts.values()])

    def blobs(self) -> Iterator[tuple[str, bytes]]:
        """Each term and its postings, in the order of terms, which is how a file is written quickest."""
        terms = np.frombuffer(self._terms, np.uint32) if self._terms else np.empty(0, np.uint32)
        order = np.argsort(terms, kind="stable")
        passages = np.frombuffer(self._passages, np.uint32)[order] if len(order) else np.empty(0, np.uint32)
        counts = np.frombuffer(self._counts, np.uint8)[order] if len(order) else np.empty(0, np.uint8)
        ends = np.cumsum(np.bincount(terms, minlength=len(self._numbers))).tolist()
        for term, number in sorted(self._numbers.items()):
            part = slice(ends[number - 1] if number else 0, ends[number])
            yield term, Postings(passages[part], counts[part]).blob()


class Bm25:
    """The lengths of all passages and documents, by which they are compared."""

    def __init__(
        self, numbers: Numbers, lengths: NDArray[np.float32], documents: NDArray[np.int64], *, share: float = DOCUMENT_SHARE
    ) -> None:
        """`numbers`: of the passages there are; of each, its length in terms and the number of its document.

        `share`: how much of a document's score goes to each of its passages.
        """
        self._share = share
        self.num_passages = len(numbers)
        self.numbers = numbers
        size = int(numbers.max()) + 1 if len(numbers) else 0
        mean = float(lengths.mean()) if len(lengths) else 1.0
        # A passage that is gone is infinitely long: its postings, which still are in the lists, add nothing.
        self._penalty = np.full(size, np.inf, dtype=np.float32)
        self._penalty[numbers] = K * (1 - B + B * lengths / max(mean, 1.0))
        self._present = np.isfinite(self._penalty)
        of_documents, places = np.unique(documents, return_inverse=True)
        self._document = np.zeros(size, dtype=np.int32)
        self._document[numbers] = places
        whole = np.bincount(places, weights=lengths, minlength=len(of_documents)).astype(np.float32)
        self._document_penalty = K * (1 - B + B * whole / max(float(whole.mean()) if len(whole) else 1.0, 1.0))

    def present(self, postings: Postings) -> Postings:
        """The postings in passages that are there."""
        return postings.of(self._present)

    def marked(self, numbers: Numbers) -> NDArray[np.bool_]:
        """Which passage numbers are in `numbers`: bool (P,)."""
        found = np.zeros(len(self._penalty), dtype=bool)
        found[numbers] = True
        return found

    def scores(self, wanted: Iterable[tuple[Postings, float]], *, among: NDArray[np.bool_] | None = None) -> NDArray[np.float32]:
        """The score of every passage number for terms with weights: float32 (P,). Of each, `present` postings.

        `among`: the only passages that are looked at, bool (P,); how rare a term is, all of them tell.
        """
        scores = np.zeros(len(self._penalty), dtype=np.float32)
        of_documents = np.zeros(len(self._document_penalty), dtype=np.float32)
        leading: Numbers | None = None
        added = 0
        for postings, weight in sorted(wanted, key=lambda pair: len(pair[0].passages)):  # stable: equal ones as they were given
            num = len(postings.passages)
            rarity = weight * idf(num, self.num_passages)
            every = postings
            if among is not None:
                postings = postings.of(among)
                num = len(postings.passages)
            if leading is None and added + num > ENOUGH and np.count_nonzero(scores) >= LEADING:
                leading = _largest(scores, LEADING)
            if leading is None:
                scores[postings.passages] += self._worth(postings, rarity)
                self._add_documents(of_documents, postings, weight, every)
                added += num
            elif num:
                places = np.minimum(np.searchsorted(postings.passages, leading), num - 1)
                places = places[postings.passages[places] == leading]
                found = Postings(postings.passages[places], postings.counts[places])
                scores[found.passages] += self._worth(found, rarity)
        if leading is not None:
            others = np.ones(len(scores), dtype=bool)
            others[leading] = False
            scores[others] = 0  # they were not given all they have
        some = np.flatnonzero(scores)
        scores[some] += self._share * of_documents[self._document[some]]
        return scores

    def _add_documents(self, scores: NDArray[np.float32], postings: Postings, weight: float, every: Postings) -> None:
        """Add what a term is worth to the documents that have it in `postings`; how rare it is, `every` one of its postings tells."""
        if not len(postings.passages):
            return
        documents, starts = self._documents(postings)
        num = len(starts) if postings is every else len(self._documents(every)[1])
        rarity = weight * idf(num, len(scores))
        counts = np.add.reduceat(postings.counts.astype(np.float32), starts)
        found = documents[starts]
        scores[found] += np.float32(rarity * (K + 1)) * counts / (counts + self._document_penalty[found])

    def _documents(self, postings: Postings) -> tuple[NDArray[np.int32], NDArray[np.intp]]:
        """The document of each posting, and where another one begins: the passages of one have numbers next to each other."""
        documents = self._document[postings.passages]
        return documents, np.flatnonzero(np.diff(documents, prepend=-1))

    def _worth(self, postings: Postings, rarity: float) -> NDArray[np.float32]:
        counts = postings.counts.astype(np.float32)
        return np.float32(rarity * (K + 1)) * counts / (counts + self._penalty[postings.passages])


def idf(num: int, of: int) -> float:
    """How much it tells that something is found, where `num` of so many have it."""
    return math.log(1 + (of - num + 0.5) / (num + 0.5))


def best(scores: NDArray[np.float32], limit: int) -> Numbers:
    """The numbers of the `limit` highest scores above 0 and of all that equal the last of them, the best first."""
    numbers = _largest(scores, limit)
    return numbers[np.argsort(-scores[numbers], kind="stable")]


def _largest(scores: NDArray[np.float32], limit: int) -> Numbers:
    """As `best`, ascending."""
    if limit >= len(scores):
        return np.flatnonzero(scores > 0).astype(np.uint32)
    bound = np.partition(scores, len(scores) - limit)[len(scores) - limit]
    return np.flatnonzero((scores >= bound) & (scores > 0)).astype(np.uint32)
