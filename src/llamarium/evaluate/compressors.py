"""What gzip and xz need for a text: two figures on the scale of bits per byte that anybody can recompute.

Takes: the bytes that a model learned from, and those it is judged by.
Gives: bits per byte.
Does not know: models, tokens, documents.
"""

from __future__ import annotations

import gzip
import lzma
from typing import Literal

# liblzma's own bounds of a dictionary: 4 KiB, and 1.5 GiB when compressing.
XZ_DICTIONARY = (1 << 12, 3 << 29)


def compressed_bits_per_byte(train: bytes, valid: bytes, *, method: Literal["gzip", "xz"]) -> float:
    """Bits that each byte of `valid` adds to a compressed file that already holds `train`.

    8 · (|C(train + valid)| - |C(train)|) / |valid|: an upper bound of what the compressor, having read `train`, needs for
    `valid`. An empty `train` gives the figure of `valid` alone, less the few bytes that an empty file takes.

    xz (level 9, extreme) gets a dictionary as large as both texts and so can point back to any of `train`; it takes about
    eleven times that in memory. gzip (level 9) cannot: its window is 32 KiB, so of `train` it sees the last 32 KiB and no more.

    A model's bits per byte count the bytes of documents only. To compare with it, join documents without anything between.
    `ValueError` if `valid` is empty.

    >>> poem = b"The woods are lovely, dark and deep, but I have promises to keep, "
    >>> compressed_bits_per_byte(b"", poem, method="gzip") > compressed_bits_per_byte(poem, poem, method="gzip")
    True
    """
    if not valid:
        raise ValueError("no bytes to compress")
    smallest, largest = XZ_DICTIONARY
    dictionary = min(max(smallest, len(train) + len(valid)), largest)

    def size(data: bytes) -> int:
        if method == "gzip":
            return len(gzip.compress(data, compresslevel=9))
        filters = [{"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME, "dict_size": dictionary}]
        return len(lzma.compress(data, filters=filters))

    if method not in ("gzip", "xz"):
        raise ValueError(f"unknown method {method!r}; known: gzip, xz")
    return 8 * (size(train + valid) - size(train)) / len(valid)
