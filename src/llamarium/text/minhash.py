"""MinHash: a few keys for each text, of which texts that are alike share one.

Takes: the shingles of texts.
Gives: 32 keys a text; two texts have each of them in common with probability J^4, where J is their Jaccard resemblance.
Does not know: which texts share a key, or what becomes of them.

The smallest of a set's hashes under a random function is the same for two sets with probability J (Broder, "On the resemblance and
containment of documents", 1997); a key holds four of them, so one of 32 keys is shared with probability 1 - (1 - J^4)^32 ("banding": Indyk
and Motwani, "Approximate nearest neighbors", 1998): 0.9999999 at J = 0.8, 0.988 at 0.6, 0.22 at 0.3. A function is one multiplication of
the shingle's hash, which is random already, by an odd number mod 2^32 (Dietzfelbinger and others, 1997); what that costs in independence
is measured in the tests.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from llamarium.text.shingles import Hashes, Integers, Shingles, mixed

BANDS = 32
ROWS = 4

_BLOCK = 1 << 16  # shingles: one block's hashes and their products stay in a core's cache
_JOIN = np.uint64(0xAEF17502108EF2D9)


def band_keys(shingles: Shingles) -> Hashes:
    """The keys of each text (n, 32), each band's in one piece of memory.

    Those of a text without shingles mean nothing: it is like no other, and whoever compares leaves it out.
    """
    keys = np.zeros((BANDS, len(shingles)), dtype=np.uint64)
    some = np.flatnonzero(shingles.sizes)
    starts = shingles.offsets[some]
    dense = keys if len(some) == len(shingles) else np.empty((BANDS, len(some)), dtype=np.uint64)
    factors = _factors()
    for first, last in _blocks(np.append(starts, len(shingles.hashes))):
        its_starts = starts[first:last] - starts[first]
        end = starts[last] if last < len(starts) else len(shingles.hashes)
        hashes = (shingles.hashes[starts[first] : end] >> np.uint64(32)).astype(np.uint32)
        products = np.empty_like(hashes)
        lowest = np.empty((ROWS, last - first), dtype=np.uint32)
        for band in range(BANDS):
            for row in range(ROWS):
                np.multiply(hashes, factors[band, row], out=products)
                np.minimum.reduceat(products, its_starts, out=lowest[row])
            dense[band, first:last] = _joined(lowest)
    if dense is not keys:
        keys[:, some] = dense
    return keys.T


def _joined(lowest: NDArray[np.uint32]) -> Hashes:
    """One key of the minima (4, n) of each text."""
    wide = lowest.astype(np.uint64)
    high, low = wide[0::2] << np.uint64(32) | wide[1::2]
    return mixed(mixed(high) * _JOIN + low)


def _blocks(offsets: Integers) -> Iterator[tuple[int, int]]:
    """Neighbouring texts of about `_BLOCK` shingles together: the first, and the one after the last."""
    first, count = 0, len(offsets) - 1
    while first < count:
        last = int(np.searchsorted(offsets, offsets[first] + _BLOCK, side="right")) - 1
        last = min(max(last, first + 1), count)
        yield first, last
        first = last


@functools.cache
def _factors() -> NDArray[np.uint32]:
    """One odd number for each hash function (32, 4)."""
    numbers = mixed(np.arange(1, BANDS * ROWS + 1, dtype=np.uint64)).astype(np.uint32) | np.uint32(1)
    return numbers.reshape(BANDS, ROWS)
