"""Leaks: what is to judge a model, found in what it is trained on.

Takes: shingles of the texts that judge (validation documents, or an evaluation set's items), and of training documents.
Gives: which texts are found in training, and which training documents hold one.
Does not know: how texts were split, or what is done about a leak.

A text leaks where more than half of its shingles stand in training: in all of it together for validation (nobody may have seen the text
in pieces either), in one document for an evaluation set (so that this document can be taken out).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from llamarium.text.shingles import Hashes, Shingles

SHARE = 0.5
FEWEST_SHINGLES = 4  # an item of fewer is a phrase that stands everywhere: "What is the capital of France?" has 2

Bools = NDArray[np.bool_]
Integers = NDArray[np.int64]


def leaking(judges: Shingles, training: Iterable[Hashes]) -> Bools:
    """For each text of `judges`, whether more than half of its shingles are found in `training`, taken together.

    `training` is read once, an array of hashes at a time.
    """
    wanted = _Wanted(judges.hashes)
    found = np.zeros(len(wanted.hashes), dtype=np.bool_)
    for hashes in training:
        found[wanted.held(hashes)] = True
    marks = np.empty(len(judges.hashes), dtype=np.bool_)
    order = np.argsort(judges.hashes, kind="stable")
    marks[order] = found[np.searchsorted(wanted.hashes, judges.hashes[order])]
    return _sums(marks, judges.offsets) > SHARE * judges.sizes


def holding(partitions: Iterable[Shingles], judges: Shingles) -> Iterator[tuple[Integers, Integers]]:
    """For each partition pairs (document of it, text of `judges`) where the document has more than half of the text's shingles; ascending.

    Texts of fewer than `FEWEST_SHINGLES` shingles are not looked for.
    """
    order = np.argsort(judges.hashes, kind="stable")
    hashes, texts = judges.hashes[order], np.repeat(np.arange(len(judges)), judges.sizes)[order]
    wanted = _Wanted(hashes)
    # One shingle may be in many texts: its run in `texts` is repeated for each document that has it.
    starts = np.searchsorted(hashes, wanted.hashes)
    runs = np.diff(np.append(starts, len(hashes)))
    for documents in partitions:
        positions, places = wanted.places(documents.hashes)
        owners = np.searchsorted(documents.offsets, positions, side="right") - 1
        lengths = runs[places]
        inside = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        pairs = np.repeat(owners, lengths) * len(judges) + texts[np.repeat(starts[places], lengths) + inside]
        pairs, counts = np.unique(pairs, return_counts=True)
        document, text = np.divmod(pairs, max(1, len(judges)))
        leaks = (counts > SHARE * judges.sizes[text]) & (judges.sizes[text] >= FEWEST_SHINGLES)
        yield document[leaks], text[leaks]


class _Wanted:
    """Finds the few hashes that are looked for among very many: a table of bits answers for nearly all that are not."""

    def __init__(self, hashes: Hashes) -> None:
        ascending = np.sort(hashes)
        self.hashes = ascending[np.concatenate([np.ones(min(1, len(hashes)), dtype=np.bool_), ascending[1:] != ascending[:-1]])]
        bits = max(16, min(27, int(np.ceil(np.log2(max(1, len(self.hashes))))) + 4))
        self._shift = np.uint64(64 - bits)
        self._table = np.zeros(1 << bits, dtype=np.bool_)
        self._table[self.hashes >> self._shift] = True

    def places(self, hashes: Hashes) -> tuple[Integers, Integers]:
        """Positions in `hashes` of those that are wanted, and where each is in `self.hashes`."""
        if not len(self.hashes):
            return np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64)
        likely = np.flatnonzero(self._table[hashes >> self._shift])
        places = np.minimum(np.searchsorted(self.hashes, hashes[likely]), len(self.hashes) - 1)
        right = self.hashes[places] == hashes[likely]
        return likely[right], places[right]

    def held(self, hashes: Hashes) -> Integers:
        """Where in `self.hashes` those are that occur in `hashes`. In order: a search that jumps about waits for memory each time."""
        likely = np.sort(hashes[self._table[hashes >> self._shift]])
        places = np.minimum(np.searchsorted(self.hashes, likely), len(self.hashes) - 1)
        return np.asarray(places[self.hashes[places] == likely]) if len(self.hashes) else places[:0]


def _sums(marks: Bools, offsets: Integers) -> Integers:
    """How many marks each text has."""
    total = np.concatenate([[0], np.cumsum(marks)])
    return np.asarray(total[offsets[1:]] - total[offsets[:-1]])
