"""F32: IEEE 754 single precision, little endian.

Takes: float32 blocks of one element, or their bytes. Gives: the other.
Does not know: tensors, files, other formats.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

GGML_TYPE = 0
BLOCK_SIZE = 1
BLOCK_BYTES = 4
ERROR = 0.0


def unpack(blocks: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The values (num_blocks, 1) of blocks (num_blocks, 4); always a copy."""
    return np.array(np.ascontiguousarray(blocks).view("<f4"), dtype=np.float32)


def pack(values: NDArray[np.float32]) -> NDArray[np.uint8]:
    """The blocks (num_blocks, 4) of values (num_blocks, 1)."""
    return np.array(values, dtype="<f4", order="C").view(np.uint8)
