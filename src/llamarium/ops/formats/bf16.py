"""BF16: the upper half of a float32: its range, with 7 stored bits of precision.

Takes: float32 blocks of one element, or their bytes. Gives: the other.
Does not know: tensors, files, other formats.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

GGML_TYPE = 30
BLOCK_SIZE = 1
BLOCK_BYTES = 2
ERROR = 2.0**-8


def unpack(blocks: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The values (num_blocks, 1) of blocks (num_blocks, 2)."""
    halves = np.ascontiguousarray(blocks).view("<u2").astype(np.uint32)
    return np.left_shift(halves, 16, out=halves).view(np.float32)


def pack(values: NDArray[np.float32]) -> NDArray[np.uint8]:
    """The blocks (num_blocks, 2) of values (num_blocks, 1), rounded to nearest even; NaN stays NaN, made quiet."""
    bits = np.ascontiguousarray(values, dtype=np.float32).view(np.uint32)
    # Adding just under half of the last kept bit, and one more where that bit is odd, carries exactly when rounding goes up.
    rounded = (bits.astype(np.uint64) + 0x7FFF + ((bits >> 16) & 1)) >> 16
    # Rounding could carry a NaN into infinity or zero: it keeps its upper half instead, with the bit that marks it quiet.
    return np.where(np.isnan(values), (bits >> 16) | 0x40, rounded).astype("<u2").view(np.uint8)
