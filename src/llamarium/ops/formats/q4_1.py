"""Q4_1: 32 four-bit quants, a float16 scale and a float16 minimum: x = scale · q + minimum.

Takes: float32 blocks, or their bytes: scale, minimum, then 16 bytes with quants 0 to 15 in the low halves and 16 to 31 in the high ones.
Gives: the other.
Does not know: tensors, files, other formats.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

GGML_TYPE = 3
BLOCK_SIZE = 32
BLOCK_BYTES = 2 + 2 + 16
# Half of one of 15 steps, which together span at most twice the largest value; and the rounding of scale and minimum.
ERROR = 1 / 15 + 3 * 2.0**-11


def unpack(blocks: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The values (num_blocks, 32) of blocks (num_blocks, 20)."""
    pair = np.ascontiguousarray(blocks[:, :4]).view("<f2").astype(np.float32)
    values = np.empty((len(blocks), BLOCK_SIZE), np.float32)
    values[:, :16] = blocks[:, 4:] & 0x0F
    values[:, 16:] = blocks[:, 4:] >> 4
    with np.errstate(over="ignore", invalid="ignore"):  # the scale of a broken file may be infinite
        np.multiply(values, pair[:, :1], out=values)
        return np.add(values, pair[:, 1:], out=values)


def pack(values: NDArray[np.float32]) -> NDArray[np.uint8]:
    """The blocks (num_blocks, 20) of values (num_blocks, 32): 15 equal steps from the smallest to the largest."""
    with np.errstate(all="ignore"):
        low, high = values.min(axis=1, keepdims=True), values.max(axis=1, keepdims=True)
        scale = (high - low) / np.float32(15)
        steps = (values - low) * np.where(scale == 0, np.float32(0), np.float32(1) / scale)
        quants = np.trunc(steps + np.float32(0.5)).astype(np.uint8).clip(0, 15)
        pair = np.concatenate([scale, low], axis=1).astype("<f2").view(np.uint8)
        return np.concatenate([pair, quants[:, :16] | quants[:, 16:] << 4], axis=1)
