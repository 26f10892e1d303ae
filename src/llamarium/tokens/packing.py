"""Rows of equal length out of documents of any length, in an order that is one number.

Takes: token shards, a sequence length, a seed.
Gives: sample k of an endless shuffled sequence, as inputs, targets and document numbers. No token is lost:
    in each epoch every token but a document's first is the target of exactly one position.
Does not know: batches, devices, models.

Documents follow each other within a shard; a row that ends inside a document leaves the rest to the next row.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from llamarium.tokens.shards import Shard

IGNORED = -100  # the target of a position that predicts nothing


@dataclass(frozen=True)
class Rows:
    """Three (rows, T) arrays: ids that are read, ids to predict (`IGNORED` where none), number of the document."""

    inputs: NDArray[np.int64]
    targets: NDArray[np.int64]
    documents: NDArray[np.int64]


@dataclass
class PackedOrder:
    """The sequence of samples that training sees: sample k is row ``permutation(seed, epoch)[k mod rows]``.

    A row holds `sequence_length` pairs (token, next token). A document of n tokens has n-1 pairs.
    """

    shards: list[Shard]
    sequence_length: int
    seed: int
    _epoch: tuple[int, NDArray[np.int64]] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        # First pair of each document of a shard, and the number of pairs at the end.
        self._firsts = [shard.offsets - np.arange(len(shard.offsets)) for shard in self.shards]
        rows = [-(-int(firsts[-1]) // self.sequence_length) for firsts in self._firsts]
        self._row_starts = np.concatenate(([0], np.cumsum(rows)))

    @property
    def num_rows(self) -> int:
        """Rows of one epoch."""
        return int(self._row_starts[-1])

    def order(self, sample: int) -> int:
        """Row of the sample with this number."""
        epoch, place = divmod(sample, self.num_rows)
        if self._epoch is None or self._epoch[0] != epoch:
            self._epoch = epoch, np.random.Generator(np.random.PCG64([self.seed, epoch])).permutation(self.num_rows)
        return int(self._epoch[1][place])

    def samples(self, first: int, count: int) -> Rows:
        """Samples `first` … `first + count - 1`."""
        return self._stack([self.row(self.order(sample)) for sample in range(first, first + count)])

    def row(self, number: int) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Inputs, targets and document numbers of one row, each (T,); the last row of a shard is filled up with `IGNORED` targets."""
        which = int(np.searchsorted(self._row_starts, number, side="right")) - 1
        shard, firsts = self.shards[which], self._firsts[which]
        start = (number - int(self._row_starts[which])) * self.sequence_length
        pairs = np.arange(start, min(start + self.sequence_length, int(firsts[-1])))
        documents = np.searchsorted(firsts, pairs, side="right") - 1
        places = pairs + documents
        fill = (0, self.sequence_length - len(pairs))
        inputs = np.pad(shard.tokens[places].astype(np.int64), fill)
        targets = np.pad(shard.tokens[places + 1].astype(np.int64), fill, constant_values=IGNORED)
        return inputs, targets, np.pad(documents, fill, constant_values=-1)

    @staticmethod
    def _stack(rows: list[tuple[NDArray[np.int64], ...]]) -> Rows:
        inputs, targets, documents = (np.stack(column) for column in zip(*rows, strict=True))
        return Rows(inputs, targets, documents)
