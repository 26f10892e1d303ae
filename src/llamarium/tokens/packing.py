"""Rows of equal length out of documents of any length.

Takes: the token shards of one corpus, a sequence length, and how documents are laid into rows.
Gives: row i as inputs, targets and document numbers. No token is lost: over all rows every token but a document's
    first is the target of exactly one position (`IGNORED` where a learning mask says that it is only read).
Does not know: in which order rows are read (`order`), batches, devices, models.

A row holds `sequence_length` pairs (token, next token); a document of n tokens has n - 1 pairs. Each shard is laid out by
itself, so rows keep their numbers when shards are added behind it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from llamarium.ground.errors import UsageError, nearest
from llamarium.tokens.shards import Shard

IGNORED = -100  # the target of a position that predicts nothing

Row = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]


@dataclass(frozen=True)
class Rows:
    """Three (rows, T) arrays: ids that are read, ids to predict (`IGNORED` where none), number of the document."""

    inputs: NDArray[np.int64]
    targets: NDArray[np.int64]
    documents: NDArray[np.int64]

    @classmethod
    def stack(cls, rows: Iterable[Row]) -> Rows:
        """Rows under each other, in the order given."""
        inputs, targets, documents = (np.stack(column) for column in zip(*rows, strict=True))
        return cls(inputs, targets, documents)


@dataclass(frozen=True)
class Layout:
    """The rows of one shard: row r is the pieces ``starts[r] … starts[r + 1]``, one after the other.

    A piece is `length` pairs of one document; the first of them is the tokens `first` and ``first + 1``.
    """

    starts: NDArray[np.int64]
    first: NDArray[np.int64]
    length: NDArray[np.int64]
    document: NDArray[np.int64]


def stream(offsets: NDArray[np.int64], sequence_length: int) -> Layout:
    """Documents follow each other; a row that ends inside one leaves the rest to the next row. Only the last row has padding."""
    borders = offsets - np.arange(len(offsets))  # of the documents, counted in pairs
    row_starts = np.arange(0, borders[-1], sequence_length)
    cuts = np.union1d(borders, row_starts)
    document = np.searchsorted(borders, cuts[:-1], side="right") - 1
    starts = np.append(np.searchsorted(cuts[:-1], row_starts), len(cuts) - 1)
    return Layout(starts, cuts[:-1] + document, np.diff(cuts), document)


def best_fit(offsets: NDArray[np.int64], sequence_length: int) -> Layout:
    """Documents stay whole where a row can hold them; longer ones are cut into rows and a rest, which is laid like a document.

    Best-fit decreasing (Ding et al. 2024, "Fewer Truncations Improve Language Modeling", arXiv:2404.10830).
    """
    pairs = np.diff(offsets) - 1
    num_pieces = -(-pairs // sequence_length)
    document = np.repeat(np.arange(len(pairs)), num_pieces)
    within = (np.arange(len(document)) - np.repeat(np.cumsum(num_pieces) - num_pieces, num_pieces)) * sequence_length
    length = np.minimum(sequence_length, pairs[document] - within)
    row = _best_fit_decreasing(length, sequence_length)
    order = np.argsort(row, kind="stable")
    starts = np.searchsorted(row[order], np.arange(row.max(initial=-1) + 2))
    return Layout(starts, (offsets[document] + within)[order], length[order], document[order])


LAYOUTS: dict[str, Callable[[NDArray[np.int64], int], Layout]] = {"stream": stream, "best_fit": best_fit}


class PackedRows:
    """The rows of one corpus, numbered shard by shard.

    `row_starts[i]` and `target_starts[i]` are how many rows, and targets that are learnt, the first i shards hold.
    """

    def __init__(self, shards: Sequence[Shard], sequence_length: int, *, how: str = "stream") -> None:
        """Lay out `shards` in rows of `sequence_length` pairs; `how` is "stream" or "best_fit"."""
        if how not in LAYOUTS:
            raise UsageError(f"There is no packing {how!r}.", hint=nearest(how, LAYOUTS))
        self.shards = list(shards)
        self.sequence_length = sequence_length
        self.how = how
        self._layouts = [LAYOUTS[how](shard.offsets, sequence_length) for shard in self.shards]
        self.row_starts = np.cumsum([0, *(len(layout.starts) - 1 for layout in self._layouts)])

    @property
    def num_rows(self) -> int:
        """Rows of all shards."""
        return int(self.row_starts[-1])

    @property
    def num_documents(self) -> int:
        """Documents of all shards."""
        return sum(map(len, self.shards))

    @property
    def num_targets(self) -> int:
        """Targets of all rows that are not `IGNORED`."""
        return int(self.target_starts[-1])

    @cached_property
    def target_starts(self) -> NDArray[np.int64]:
        """Learnt targets before each shard, and of all."""
        return np.cumsum([0, *map(_num_targets, self.shards)])

    @property
    def digests(self) -> list[str]:
        """A digest of what each shard teaches, in order: what a run must find unchanged when it goes on."""
        return [shard.digest for shard in self.shards]

    def row(self, number: int) -> Row:
        """Inputs, targets and document numbers of one row, each (T,).

        Padding reads id 0, predicts `IGNORED` and belongs to document -1; documents are numbered within their shard.
        """
        which = int(np.searchsorted(self.row_starts, number, side="right")) - 1
        shard, layout = self.shards[which], self._layouts[which]
        start, stop = layout.starts[number - self.row_starts[which] :][:2]
        first, length = layout.first[start:stop], layout.length[start:stop]
        filled = int(length.sum())
        places = np.arange(filled) + np.repeat(first - (np.cumsum(length) - length), length)
        inputs = np.zeros(self.sequence_length, np.int64)
        targets = np.full(self.sequence_length, IGNORED, np.int64)
        documents = np.full(self.sequence_length, -1, np.int64)
        inputs[:filled] = shard.tokens[places]
        targets[:filled] = shard.tokens[places + 1]
        documents[:filled] = np.repeat(layout.document[start:stop], length)
        if shard.learns is not None:
            targets[:filled][shard.learns[places + 1] == 0] = IGNORED
        return inputs, targets, documents


def _num_targets(shard: Shard) -> int:
    if shard.learns is None:
        return int(shard.offsets[-1]) - len(shard)
    return int(np.count_nonzero(shard.learns)) - int(np.count_nonzero(shard.learns[shard.offsets[:-1]]))


def _best_fit_decreasing(sizes: NDArray[np.int64], capacity: int) -> NDArray[np.int64]:
    """The bin of each item: the largest item first, each into the fullest bin that can still hold it, or else into a new one.

    Bins are kept by the room they have left. A bin that takes an item and has room for another of that size is then the
    fullest that can hold it, so it takes as many as it can at once.
    """
    by_size = np.argsort(-sizes, kind="stable")
    bins: list[int] = []
    taken: list[int] = []
    with_room: list[list[int]] = [[] for _ in range(capacity + 1)]
    rooms = 0  # bit r is set where a bin has room r
    num_bins = 0
    values, counts = np.unique(sizes, return_counts=True)
    for size, count in zip(values[::-1].tolist(), counts[::-1].tolist(), strict=True):
        while count:
            if large_enough := rooms >> size:
                room = size + (large_enough & -large_enough).bit_length() - 1
                chosen = with_room[room].pop()
                if not with_room[room]:
                    rooms ^= 1 << room
            else:
                room, chosen = capacity, num_bins
                num_bins += 1
            number = min(count, room // size)
            count -= number
            bins.append(chosen)
            taken.append(number)
            if left := room - number * size:
                with_room[left].append(chosen)
                rooms |= 1 << left
    found = np.empty(len(sizes), np.int64)
    found[by_size] = np.repeat(np.array(bins, np.int64), np.array(taken, np.int64))
    return found
