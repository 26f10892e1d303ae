"""Every block format that is in its folder: same bytes and same values as the `gguf` package, and a bounded error."""

from __future__ import annotations

from types import ModuleType

import gguf
import numpy as np
import pytest
from numpy.typing import NDArray

from llamarium.ground import registry

FOLDER = "llamarium.ops.formats"
NUM_BLOCKS = 384
FORMATS = [registry.find(FOLDER, name) for name in registry.names(FOLDER)]
every_format = pytest.mark.parametrize("module", FORMATS, ids=lambda module: module.__name__.rsplit(".", 1)[-1])


def peer(module: ModuleType) -> gguf.GGMLQuantizationType:
    return gguf.GGMLQuantizationType(module.GGML_TYPE)


def values(module: ModuleType, kind: str) -> NDArray[np.float32]:
    """Blocks of one kind: float32 (NUM_BLOCKS, BLOCK_SIZE)."""
    random = np.random.default_rng(7)
    shape = (NUM_BLOCKS, module.BLOCK_SIZE)
    normal = random.standard_normal(shape)
    made = {
        "normal": normal,
        "many scales": normal * 10.0 ** random.uniform(-4, 4, (NUM_BLOCKS, 1)),
        "zeros": np.where(random.random(shape) < 0.5, 0.0, -0.0),
        "one left": np.where(np.arange(module.BLOCK_SIZE) == random.integers(0, module.BLOCK_SIZE, (NUM_BLOCKS, 1)), normal, 0.0),
        "whole numbers": random.integers(-9, 10, shape),  # several of the same size
        "ties": ties(module),
        "all equal": np.broadcast_to(normal[:, :1], shape),
        "huge": np.clip(normal, -3, 3) * 3e37,  # the scale does not fit float16
        "small": normal * 1e-30,  # the scale is zero in float16
        "edge of float16": np.sign(normal) * 65_504 * random.choice([0.9999, 1.0, 1.0003], shape),
    }
    return np.ascontiguousarray(made[kind], dtype=np.float32)


KINDS = ["normal", "many scales", "zeros", "one left", "whole numbers", "ties", "all equal", "huge", "small", "edge of float16"]


def ties(module: ModuleType) -> NDArray[np.float64]:
    """Values that lie just between two that the format has, so that the rule of rounding shows."""
    if module.BLOCK_SIZE == 1:
        return 1 + np.arange(NUM_BLOCKS)[:, None] / 2048
    largest = np.resize([7.5, -8, 127], (NUM_BLOCKS, 1))  # steps of a half, or of one
    halves = np.random.default_rng(6).integers(-15, 16, (NUM_BLOCKS, module.BLOCK_SIZE)) / 2
    return np.where(np.arange(module.BLOCK_SIZE) == 0, largest, halves)


@every_format
def test_says_what_it_is(module: ModuleType) -> None:
    assert gguf.GGML_QUANT_SIZES[peer(module)] == (module.BLOCK_SIZE, module.BLOCK_BYTES)
    assert peer(module).name.lower() == module.__name__.rsplit(".", 1)[-1]


@every_format
@pytest.mark.parametrize("kind", KINDS)
def test_packs_the_same_bytes_as_gguf(module: ModuleType, kind: str) -> None:
    blocks = values(module, kind)
    with np.errstate(all="ignore"):
        expected = gguf.quantize(blocks, peer(module)).view(np.uint8)
    packed = module.pack(blocks)
    assert packed.dtype == np.uint8
    assert packed.shape == (NUM_BLOCKS, module.BLOCK_BYTES)
    np.testing.assert_array_equal(packed, expected)


@every_format
@pytest.mark.parametrize("kind", [*KINDS, "any bytes"])
def test_unpacks_to_the_same_values_as_gguf(module: ModuleType, kind: str) -> None:
    if kind == "any bytes":
        packed = np.random.default_rng(8).integers(0, 256, (NUM_BLOCKS, module.BLOCK_BYTES), dtype=np.uint8)
    else:
        packed = module.pack(values(module, kind))
    with np.errstate(all="ignore"):
        expected = gguf.dequantize(packed, peer(module))
    unpacked = module.unpack(packed)
    assert unpacked.dtype == np.float32
    assert unpacked.shape == (NUM_BLOCKS, module.BLOCK_SIZE)
    assert unpacked.flags.writeable
    assert not np.shares_memory(unpacked, packed)
    # The payload of a NaN is nobody's promise; every other bit is.
    number = ~np.isnan(expected)
    np.testing.assert_array_equal(np.isnan(unpacked), ~number)
    np.testing.assert_array_equal(unpacked[number].view(np.uint32), expected[number].view(np.uint32))


@every_format
@pytest.mark.parametrize("scale", [0.5, 1.0, 300.0])
def test_error_is_bounded_and_the_bound_is_close(module: ModuleType, scale: float) -> None:
    shape = (20_000, module.BLOCK_SIZE)
    random = np.random.default_rng(9)
    blocks = (random.choice([-1, 1], shape) * random.uniform(0.02, 1, shape) * scale).astype(np.float32)
    error = np.abs(module.unpack(module.pack(blocks)).astype(np.float64) - blocks).max(axis=1) / np.abs(blocks).max(axis=1)
    assert error.max() <= module.ERROR
    assert error.max() >= 0.8 * module.ERROR


@every_format
def test_sizes_below_what_a_reciprocal_holds_become_nothing(module: ModuleType) -> None:
    """1 / 1e-44 is no float32; a kernel that multiplies by it must not make NaN of nearly nothing."""
    blocks = np.where(np.arange(module.BLOCK_SIZE) % 2, 1e-44, 0.0).astype(np.float32)[None].repeat(5, axis=0)
    assert np.abs(module.unpack(module.pack(blocks))).max() <= 1.1e-44
