"""Q4_0: 32 four-bit quants and a float16 scale: x = scale · (q - 8).

Takes: float32 blocks, or their bytes: the scale, then 16 bytes with quants 0 to 15 in the low halves and 16 to 31 in the high ones.
Gives: the other.
Does not know: tensors, files, other formats.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

GGML_TYPE = 2
BLOCK_SIZE = 32
BLOCK_BYTES = 2 + 16
# The largest value is -8 steps, so one of the same size and the other sign is cut from 8 to 7: a whole step.
ERROR = 1 / 8 + 2.0**-11


def unpack(blocks: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The values (num_blocks, 32) of blocks (num_blocks, 18)."""
    scale = np.ascontiguousarray(blocks[:, :2]).view("<f2").astype(np.float32)
    values = np.empty((len(blocks), BLOCK_SIZE), np.float32)
    values[:, :16] = blocks[:, 2:] & 0x0F
    values[:, 16:] = blocks[:, 2:] >> 4
    values -= 8
    with np.errstate(over="ignore", invalid="ignore"):  # the scale of a broken file may be infinite
        return np.multiply(values, scale, out=values)


def pack(values: NDArray[np.float32]) -> NDArray[np.uint8]:
    """The blocks (num_blocks, 18) of values (num_blocks, 32): the value of largest size becomes -8 steps."""
    with np.errstate(all="ignore"):
        place = np.abs(values).argmax(axis=1, keepdims=True)
        scale = np.take_along_axis(values, place, axis=1) / np.float32(-8)
        steps = values * np.where(scale == 0, np.float32(0), np.float32(1) / scale)
        quants = np.trunc(steps + np.float32(8.5)).astype(np.uint8).clip(0, 15)
        return np.concatenate([scale.astype("<f2").view(np.uint8), quants[:, :16] | quants[:, 16:] << 4], axis=1)
