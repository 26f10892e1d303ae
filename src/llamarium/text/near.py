"""Near-duplicates: documents that share four fifths of what either has.

Takes: sketches of documents (shingles and keys), a partition at a time, and how long each document is.
Gives: for each document the one that stands for it and its near-duplicates: itself, where there are none.
Does not know: texts, or what is done with those that are not kept.

1. **Candidates.** Two documents are compared if they share one of 32 keys (`minhash`): all but one in ten million pairs at J = 0.8 do.
   The documents that share a key are a run. In a run of up to 8 all are compared. In a longer one, as boilerplate makes them,
   each is compared with the next 4, in the order of the keys of the three following bands: near-duplicates share those too, more
   often than others do, and so come to stand together in one band or another. A pair is missed where that never happens, and
   where nothing else connects it.
2. **Verified.** A pair counts if the exact Jaccard resemblance of its sets of shingles is at least the threshold. Sets are compared by
   the highest 54 bits of their hashes.
3. **Groups** are what such pairs connect. The longest document of a group stands for it, of those the first.

Nothing depends on how documents are dealt out to partitions. One band's keys are in memory at a time, and of shingles those
of some candidates.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from llamarium.ground import progress
from llamarium.text.minhash import BANDS, band_keys
from llamarium.text.shingles import Hashes, Integers, Shingles, offsets_of, shingles

THRESHOLD = 0.8
SHORT_RUN = 8
NEIGHBOURS = 4
FOLLOWING = 3

_MOST_PAIRS = 1 << 20  # candidates that wait to be compared
_MOST_HASHES = 1 << 23  # shingles in memory: 64 MB
_PAIR_BITS = 10
_BATCH = 1 << _PAIR_BITS

Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Sketch:
    """What is known of n documents: `hashes` and `offsets` (n + 1,) as in `Shingles`, and `keys` (n, 32), each band's in one piece."""

    hashes: Hashes
    offsets: Integers
    keys: Hashes

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def shingles(self) -> Shingles:
        """The shingles of each document."""
        return Shingles(self.hashes, self.offsets)

    def save(self, folder: Path) -> None:
        """Write three ``.npy`` files into `folder`, which is made if need be."""
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("hashes", "offsets", "keys"):
            np.save(folder / f"{name}.npy", getattr(self, name), allow_pickle=False)

    @classmethod
    def open(cls, folder: Path) -> Sketch:
        """The sketch in `folder`, left on the disk until it is looked at."""
        return cls(*(np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False) for name in ("hashes", "offsets", "keys")))


def sketch(texts: Sequence[str]) -> Sketch:
    """What `near_duplicates` has to know of `texts`.

    >>> found = sketch(["A llama eats the grass of the high plains.", "!"])
    >>> found.shingles.sizes.tolist(), found.keys.shape
    ([5, 0], (2, 32))
    """
    found = shingles(texts)
    return Sketch(found.hashes, found.offsets, band_keys(found))


def near_duplicates(sketches: Sequence[Sketch], lengths: Sequence[int] | Integers, *, threshold: float = THRESHOLD) -> Integers:
    """For each document, in the order of `sketches`, the index of the one that stands for its group (n,); itself where it is alone.

    `lengths`: of each document, in any unit. `threshold`: the least Jaccard resemblance of near-duplicates, above 0 and at most 1.
    A document without shingles is alone.
    """
    assert 0 < threshold <= 1
    documents = _Documents(sketches)
    assert len(lengths) == len(documents.sizes)
    waiting: list[Integers] = []
    num_waiting = 0
    with progress.task("Comparing near-duplicates", BANDS) as work:
        for band in range(BANDS):
            for pairs in _candidates(documents, band, threshold):
                waiting.append(pairs)
                num_waiting += pairs.shape[1]
                if num_waiting >= _MOST_PAIRS:
                    _connect(documents, waiting, threshold)
                    waiting, num_waiting = [], 0
            work.advance()
        if waiting:
            _connect(documents, waiting, threshold)
    return _representatives(documents.groups, np.asarray(lengths, dtype=np.int64))


class _Documents:
    """The documents of all sketches, as one row, and the group of each as far as it is known: the smallest index in it."""

    def __init__(self, sketches: Sequence[Sketch]) -> None:
        self.sketches = sketches
        self.firsts = offsets_of(np.array([len(one) for one in sketches], dtype=np.int64))
        self.sizes = np.concatenate([np.empty(0, dtype=np.int64), *(one.shingles.sizes for one in sketches)])
        self.some = np.flatnonzero(self.sizes)
        self.groups: Integers = np.arange(len(self.sizes))

    def keys(self, band: int) -> Hashes:
        """The key of each document in one band (n,)."""
        return np.concatenate([np.empty(0, dtype=np.uint64), *(_column(one.keys, band) for one in self.sketches)])

    def shingles(self, numbers: Integers) -> Shingles:
        """Those of the documents `numbers`, which ascend; read from the sketches they are in."""
        sizes = self.sizes[numbers]
        hashes = np.empty(int(sizes.sum()), dtype=np.uint64)
        offsets = offsets_of(sizes)
        borders = np.searchsorted(numbers, self.firsts).tolist()
        for one, first, (start, end) in zip(self.sketches, self.firsts[:-1], itertools.pairwise(borders), strict=True):
            if start < end:
                places = _ranges(one.offsets[numbers[start:end] - first], sizes[start:end])
                hashes[offsets[start] : offsets[end]] = one.hashes[places]
        return Shingles(hashes, offsets)


def _column(keys: Hashes, band: int) -> Hashes:
    """One band's keys. Of keys on the disk they are read, not mapped: what was looked at in a map counts as memory of the process."""
    if not isinstance(keys, np.memmap) or keys.filename is None or not keys.flags.f_contiguous:
        return keys[:, band]
    column: Hashes = np.fromfile(keys.filename, dtype=np.uint64, count=len(keys), offset=keys.offset + band * len(keys) * keys.itemsize)
    return column


def _candidates(documents: _Documents, band: int, threshold: float) -> Iterator[Integers]:
    """Pairs of documents that share the key of `band`, some at a time: the first (lower) and the second of each (2, m)."""
    count = len(documents.sizes)
    # Key and number in one: sorting it sorts both, several times faster than sorting numbers by their keys. The number takes the key's
    # lowest bits, so that a few pairs (6 of five million documents) share the rest by chance; they are compared and found different.
    bits = np.uint64(max(1, (count - 1).bit_length()))
    mask = (np.uint64(1) << bits) - np.uint64(1)
    packed = (documents.keys(band)[documents.some] & ~mask) | documents.some.astype(np.uint64)
    packed.sort()
    same = (packed[1:] ^ packed[:-1]) <= mask
    in_run = np.zeros(len(packed), dtype=np.bool_)
    in_run[1:] |= same
    in_run[:-1] |= same
    packed = packed[in_run]
    numbers = (packed & mask).astype(np.int64)
    is_first = np.ones(len(packed), dtype=np.bool_)
    is_first[1:] = (packed[1:] ^ packed[:-1]) > mask
    del packed, same, in_run
    starts = np.flatnonzero(is_first)
    lengths = np.diff(np.append(starts, len(numbers)))
    runs = np.repeat(np.arange(len(starts)), lengths)
    is_long = (lengths > SHORT_RUN)[runs]
    if is_long.any():
        # Sorted by (run, following keys); short runs stay as they are, because all pairs of them are taken anyway.
        places = np.flatnonzero(is_long)
        following = [documents.keys((band + step) % BANDS)[numbers[places]] for step in range(FOLLOWING, 0, -1)]
        numbers[places] = numbers[places][np.lexsort((*following, runs[places]))]
    for lag in range(1, SHORT_RUN):
        linked = runs[lag:] == runs[:-lag]
        if lag > NEIGHBOURS:
            linked &= ~is_long[lag:]
        yield _pairs(documents, numbers[:-lag][linked], numbers[lag:][linked], threshold)


def _pairs(documents: _Documents, first: Integers, second: Integers, threshold: float) -> Integers:
    """Those pairs (2, m) that are of no group yet, and whose sizes alone allow the threshold: the smaller set holds all that both share."""
    apart = documents.groups[first] != documents.groups[second]
    first, second = first[apart], second[apart]
    left, right = documents.sizes[first], documents.sizes[second]
    possible = np.minimum(left, right) / np.maximum(left, right) >= threshold
    first, second = first[possible], second[possible]
    return np.stack([np.minimum(first, second), np.maximum(first, second)])


def _connect(documents: _Documents, waiting: Sequence[Integers], threshold: float) -> None:
    """Compare the pairs that wait, and join the groups of those that are near-duplicates."""
    pairs = np.concatenate(waiting, axis=1)
    count = len(documents.sizes)
    pairs = np.stack(np.divmod(np.unique(pairs[0] * count + pairs[1]), count))
    for start, end in _chunks(documents.sizes[pairs].sum(axis=0), _MOST_HASHES):
        some = pairs[:, start:end]
        numbers, places = np.unique(some, return_inverse=True)
        near = resemblance(documents.shingles(numbers), places.reshape(some.shape)) >= threshold
        connect(documents.groups, some[:, near])


def resemblance(sets: Shingles, pairs: Integers) -> NDArray[np.float64]:
    """The Jaccard resemblance of each pair (2, m) of `sets`: the shingles that both have over those that either has; 0 if none."""
    shared = np.zeros(pairs.shape[1], dtype=np.int64)
    sizes = sets.sizes[pairs]
    for start in range(0, pairs.shape[1], _BATCH):
        # Hash and number of the pair in one: what both sets have stands twice, side by side, when that is sorted.
        numbers = np.tile(np.arange(min(_BATCH, pairs.shape[1] - start), dtype=np.uint64) << np.uint64(64 - _PAIR_BITS), 2)
        here, of_each = pairs[:, start : start + _BATCH].ravel(), sizes[:, start : start + _BATCH].ravel()
        hashes = sets.hashes[_ranges(sets.offsets[here], of_each)] >> np.uint64(_PAIR_BITS)
        hashes |= np.repeat(numbers, of_each)
        hashes.sort()
        found = hashes[1:][hashes[1:] == hashes[:-1]] >> np.uint64(64 - _PAIR_BITS)
        shared[start : start + _BATCH] = np.bincount(found.astype(np.int64), minlength=len(numbers) // 2)
    return np.asarray(shared / np.maximum(1, sizes.sum(axis=0) - shared))


def connect(groups: Integers, pairs: Integers) -> None:
    """Give all that `pairs` (2, m) connect one group in `groups` (n,), named by the smallest index in it: each name is lowered to its
    neighbours' least until none can be (Shiloach and Vishkin, 1982)."""
    while True:
        left, right = groups[pairs]
        apart = left != right
        if not apart.any():
            return
        pairs, left, right = pairs[:, apart], left[apart], right[apart]
        np.minimum.at(groups, np.maximum(left, right), np.minimum(left, right))
        while not np.array_equal(above := groups[groups], groups):
            groups[:] = above


def _representatives(groups: Integers, lengths: Integers) -> Integers:
    """The longest document of each group, of those the first (n,)."""
    order = np.lexsort((-lengths, groups))  # stable: in order of the index where both are the same
    is_first = np.ones(len(order), dtype=np.bool_)
    is_first[1:] = np.diff(groups[order]) != 0
    chosen = np.empty(len(groups), dtype=np.int64)
    chosen[order] = order[is_first][np.cumsum(is_first) - 1]
    return chosen


def _chunks(sizes: Integers, most: int) -> Iterator[tuple[int, int]]:
    """Neighbours of up to `most` together, or a single one: the first, and the one after the last."""
    offsets = offsets_of(sizes)
    start = 0
    while start < len(sizes):
        end = max(start + 1, int(np.searchsorted(offsets, offsets[start] + most, side="right")) - 1)
        yield start, end
        start = end


def _ranges(starts: Integers, lengths: Integers) -> Integers:
    """start, start + 1, ... for each of `starts`, as many as `lengths` says.

    >>> _ranges(np.array([5, 9]), np.array([3, 2])).tolist()
    [5, 6, 7, 9, 10]
    """
    offsets = offsets_of(lengths)
    places = np.repeat(starts - offsets[:-1], lengths)
    places += np.arange(len(places))
    return places
