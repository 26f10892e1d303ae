"""Q8_0: 32 signed bytes and a float16 scale: x = scale · q.

Takes: float32 blocks, or their bytes: the scale, then 32 quants. Gives: the other.
Does not know: tensors, files, other formats.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

GGML_TYPE = 8
BLOCK_SIZE = 32
BLOCK_BYTES = 2 + 32
ERROR = 0.5 / 127 + 2.0**-11  # half a step, and the scale's own rounding


def unpack(blocks: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The values (num_blocks, 32) of blocks (num_blocks, 34)."""
    scale = np.ascontiguousarray(blocks[:, :2]).view("<f2").astype(np.float32)
    values = blocks[:, 2:].view(np.int8).astype(np.float32)
    with np.errstate(over="ignore", invalid="ignore"):  # the scale of a broken file may be infinite
        return np.multiply(values, scale, out=values)


def pack(values: NDArray[np.float32]) -> NDArray[np.uint8]:
    """The blocks (num_blocks, 34) of values (num_blocks, 32): steps of 1/127 of the largest, halves away from zero."""
    with np.errstate(all="ignore"):
        scale = np.abs(values).max(axis=1, keepdims=True) / np.float32(127)
        steps = values * np.where(scale == 0, np.float32(0), np.float32(1) / scale)
        size = np.abs(steps)
        whole = np.floor(size)
        quants = np.sign(steps) * (whole + np.floor(2 * (size - whole)))
        return np.concatenate([scale.astype("<f2").view(np.uint8), quants.astype(np.int8).view(np.uint8)], axis=1)
