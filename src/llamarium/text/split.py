"""Training and validation, without the second leaking from the first.

Takes: for each document its shingles, the SHA-256 of its text, and its length.
Gives: which are for validation, and which of them leak all the same, measured.
Does not know: texts, or where they came from.

A document's shingles are its runs of 5 words; a Chinese, Japanese or Korean-in-hanja character is a word, so there they
are 5 characters (Broder, "On the resemblance and containment of documents", 1997). They are compared as 64-bit hashes.

1. **Groups.** Two documents that share more than half of the shingles of the shorter one are near-copies, and a group is
   what near-copies connect. A shingle links each document with the next 16 that have it, so a licence that stands in every
   file costs 16 pairs a file instead of all; only what is shared through shingles in more than 17 documents can be counted
   too low. A document of fewer than 10 shingles connects nothing: a phrase found everywhere would join everything.
2. **Held back.** A document of which more than 40 % is found outside its group stays in training, with its whole group:
   wherever that outside falls, it cannot leak. 40, not 50, leaves room for other ways of counting words.
3. **Choice.** The other groups, ordered by the SHA-256 of their texts, join validation as long as each brings it nearer to
   its share of the characters. Nothing is random and the order of documents plays no part.
4. **Leak**, measured afterwards, on another path and on all shingles: which validation documents have more than half of
   their shingles in the training text as a whole.

Steps 1 and 2 sort all shingles. Where there are more than 4 million, they look at those alone whose hash is small enough, the same
ones in every document, so what they count is a fair sample (Broder's "modulo" sketch); what that misses, step 4 sees.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from llamarium.text.near import connect
from llamarium.text.shingles import Hashes, Shingles

CLOSE = 0.5
HOLD_BACK = 0.4
NEIGHBOURS = 16
FEWEST_SHINGLES = 10
FEWEST_SAMPLED = 4
VALID_SHARE = 0.1
LARGEST_SAMPLE = 4_000_000
MOST_PAIRS = 16_000_000  # that are counted at a time

Bools = NDArray[np.bool_]
Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Split:
    """Which documents validate, by index and ascending; the rest trains.

    `num_near_copies`: documents in groups of more than one. `num_held_back`: documents that may not validate because they
    would leak.
    """

    valid: Integers
    num_near_copies: int
    num_held_back: int


def split(sample: Shingles, digests: NDArray[np.uint8], lengths: Integers, *, one_in: int = 1, valid_share: float = VALID_SHARE) -> Split:
    """Choose about `valid_share` of the characters for validation; at least one document, where one can without leaking.

    `sample`: the shingles of each document, or one in `one_in` of them. `digests`: (n, 32) bytes, `lengths`: (n,) code points.
    """
    fewest = FEWEST_SHINGLES if one_in == 1 else max(FEWEST_SAMPLED, FEWEST_SHINGLES // one_in)
    groups = near_copies(sample, fewest=fewest)
    held_back = leaky(sample, groups)
    return Split(
        valid=choose(digests, lengths, groups, held_back, valid_share=valid_share),
        num_near_copies=int((np.bincount(groups, minlength=1)[groups] > 1).sum()),
        num_held_back=int(held_back.sum()),
    )


def near_copies(sets: Shingles, *, fewest: int = FEWEST_SHINGLES) -> Integers:
    """The group of each document, named by the smallest index in it. Documents of less than `fewest` shingles join nothing."""
    groups = np.arange(len(sets), dtype=np.int64)
    connect(groups, _close_pairs(sets, fewest))
    return groups


def leaky(sets: Shingles, groups: Integers) -> Bools:
    """For each document, whether it or one of its group has more than `HOLD_BACK` of its shingles outside the group."""
    hashes, owners = _postings(sets.hashes, _owners(sets))
    if not len(hashes):
        return np.zeros(len(sets), dtype=np.bool_)
    starts = np.flatnonzero(np.concatenate([[True], hashes[1:] != hashes[:-1]]))
    lengths = np.diff(np.append(starts, len(hashes)))
    found_in = groups[owners]
    shared = np.repeat(np.minimum.reduceat(found_in, starts) != np.maximum.reduceat(found_in, starts), lengths)
    num_shared = np.bincount(owners[shared], minlength=len(sets))
    alone = num_shared > HOLD_BACK * sets.sizes
    in_group = np.zeros(len(sets), dtype=np.bool_)
    np.logical_or.at(in_group, groups, alone)
    return in_group[groups]


def choose(
    digests: NDArray[np.uint8], lengths: Integers, groups: Integers, held_back: Bools, *, valid_share: float = VALID_SHARE
) -> Integers:
    """Indices of the validation documents: whole groups that are not held back, by hash, up to the share of characters."""
    names, where = np.unique(groups, return_inverse=True)
    if len(names) < 2:
        return np.empty(0, dtype=np.int64)
    # Eight bytes of a SHA-256 order as well as 32: two of a billion documents agree in them once in forty corpora.
    first = np.ascontiguousarray(digests[:, :8]).view(">u8").ravel().astype(np.uint64)
    keys = np.full(len(names), np.iinfo(np.uint64).max, dtype=np.uint64)
    np.minimum.at(keys, where, first)
    sizes = np.bincount(where, weights=lengths).astype(np.int64)
    is_free = np.ones(len(names), dtype=np.bool_)
    is_free[where[held_back]] = False
    free = np.flatnonzero(is_free)
    free = free[np.argsort(keys[free], kind="stable")]
    target = valid_share * int(lengths.sum())
    taken = 0
    chosen = []
    for group, size in zip(free.tolist(), sizes[free].tolist(), strict=True):
        if taken >= target:
            break
        if taken + size / 2 < target:  # nearer with it than without it
            chosen.append(group)
            taken += size
    if len(free) and not chosen:
        chosen = [free[np.lexsort((keys[free], sizes[free]))[0]]]
    is_chosen = np.zeros(len(names), dtype=np.bool_)
    is_chosen[chosen] = True
    return np.flatnonzero(is_chosen[where])


def sampled(parts: Iterable[Shingles], *, total: int, largest: int = LARGEST_SAMPLE) -> tuple[Shingles, int]:
    """All shingles of all parts, in one; or, where their `total` is more than `largest`, those whose hash is among the lowest.

    Also gives k, where one in k is there; k is a power of two.
    """
    one_in = 1
    while total > largest * one_in:
        one_in *= 2
    limit = np.uint64((1 << 64) // one_in - 1)
    return Shingles.joined(part if one_in == 1 else part.below(limit) for part in parts), one_in


def _close_pairs(sets: Shingles, fewest: int) -> Integers:
    """Pairs (2, m) of documents that share more than half of the shingles of the shorter one."""
    owners = _owners(sets)
    eligible = (sets.sizes >= fewest)[owners]
    hashes, owners = _postings(sets.hashes[eligible], owners[eligible])
    lags = [lag for lag in range(1, NEIGHBOURS + 1) if lag < len(hashes)]
    same = {lag: np.flatnonzero(hashes[lag:] == hashes[:-lag]).astype(np.uint32) for lag in lags}
    pieces = [np.empty((2, 0), dtype=np.int64)]
    # All pairs of a document are counted at once, of as many documents as memory allows.
    borders = np.linspace(0, len(sets), 1 + -(-sum(map(len, same.values())) // MOST_PAIRS), dtype=np.int64).tolist()
    for low, high in itertools.pairwise(borders):
        found = []
        for lag in lags:
            left = owners[same[lag]]
            inside = (left >= low) & (left < high)
            found.append(left[inside] * len(sets) + owners[same[lag][inside] + np.uint32(lag)])
        pairs, num_shared = _counted(np.concatenate(found))
        ends = np.stack(np.divmod(pairs, len(sets)))
        pieces.append(ends[:, num_shared > CLOSE * sets.sizes[ends].min(axis=0)])
    return np.concatenate(pieces, axis=1)


def _counted(values: Integers) -> tuple[Integers, Integers]:
    """Each value once, ascending, and how often it is there; sorted in place, which takes a third of the memory of `numpy.unique`."""
    values.sort()
    starts = np.flatnonzero(np.concatenate([np.ones(min(1, len(values)), dtype=np.bool_), values[1:] != values[:-1]]))
    return values[starts], np.diff(np.append(starts, len(values)))


def _owners(sets: Shingles) -> Integers:
    """Which document each shingle is of."""
    return np.repeat(np.arange(len(sets)), sets.sizes)


def _postings(hashes: Hashes, owners: Integers) -> tuple[Hashes, Integers]:
    """Shingles in order with the documents that have them, ascending within a shingle; of a hash what leaves room for a document's number.

    Both in one number, because sorting that is ten times quicker than sorting numbers by their hashes. Of eight million shingles of a
    million documents two share the rest by chance.
    """
    mask = np.uint64((1 << int(owners.max(initial=0)).bit_length()) - 1)
    together = (hashes & ~mask) | owners.astype(np.uint64)
    together.sort()
    return together & ~mask, (together & mask).astype(np.int64)
