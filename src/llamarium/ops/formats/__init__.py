"""Block formats of weights, one file a format: the folder is the registry.

A format is a module that knows numpy only and has `GGML_TYPE` (its number in a GGUF file), `BLOCK_SIZE` (elements a
block), `BLOCK_BYTES`, `pack`: float32 (num_blocks, BLOCK_SIZE) -> uint8 (num_blocks, BLOCK_BYTES), its inverse `unpack`,
and `ERROR`: the largest ``|x - unpack(pack(x))|``, as a share of the largest ``|x|`` of the block, for values whose scale
float16 holds without loss of digits. A block whose scale float16 cannot hold at all becomes infinite, as it does in ggml.
"""

from __future__ import annotations

from functools import cache
from types import ModuleType

from llamarium.ground import registry
from llamarium.ground.errors import NotFoundError


@cache
def _by_number() -> dict[int, ModuleType]:
    modules = [registry.find(__name__, name) for name in registry.names(__name__)]
    return {module.GGML_TYPE: module for module in modules}


def by_type(ggml_type: int) -> ModuleType:
    """The format with the number `ggml_type`; `NotFoundError` lists those there are.

    >>> by_type(3).BLOCK_SIZE
    32
    """
    if ggml_type not in _by_number():
        raise NotFoundError(f"There is no block format number {ggml_type}.", hint=f"Known: {', '.join(registry.names(__name__))}.")
    return _by_number()[ggml_type]
