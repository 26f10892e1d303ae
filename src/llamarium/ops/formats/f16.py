"""F16: IEEE 754 half precision, little endian.

Takes: float32 blocks of one element, or their bytes. Gives: the other.
Does not know: tensors, files, other formats.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

GGML_TYPE = 1
BLOCK_SIZE = 1
BLOCK_BYTES = 2
ERROR = 2.0**-11  # 10 stored bits


def unpack(blocks: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The values (num_blocks, 1) of blocks (num_blocks, 2)."""
    return np.ascontiguousarray(blocks).view("<f2").astype(np.float32)


def pack(values: NDArray[np.float32]) -> NDArray[np.uint8]:
    """The blocks (num_blocks, 2) of values (num_blocks, 1), rounded to nearest even; beyond ±65,504 they become infinite."""
    with np.errstate(over="ignore"):
        return np.ascontiguousarray(values).astype("<f2").view(np.uint8)
