"""Safetensors files, whose header is checked before the library sees it.

Takes: a path.
Gives: the header, or the tensors by name.
Does not know: models, shards, what the names mean.

Source of the layout: https://github.com/huggingface/safetensors (length of the header, header in JSON, data without gaps).
"""

from __future__ import annotations

import json
import stat
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llamarium.ground.errors import BadFileError, NotFoundError

if TYPE_CHECKING:
    from torch import Tensor

METADATA = "__metadata__"
MAX_HEADER = 100_000_000  # bytes; the library's own limit
# A tensor's entry has about eight of these; JSON of nothing but signs would take twenty times its size in memory.
MAX_SIGNS = 4_000_000
MAX_DIMENSIONS = 64

_BYTES = {
    **dict.fromkeys(("BOOL", "U8", "I8", "F8_E4M3", "F8_E4M3FNUZ", "F8_E5M2", "F8_E5M2FNUZ", "F8_E8M0"), 1),
    **dict.fromkeys(("U16", "I16", "F16", "BF16"), 2),
    **dict.fromkeys(("U32", "I32", "F32"), 4),
    **dict.fromkeys(("U64", "I64", "F64", "C64"), 8),
}
_CUT_SHORT = "If it was downloaded, the download may have stopped early."


def read_safetensors(path: str | Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file, on the CPU. `NotFoundError` if there is no such file, `BadFileError` if it is not whole."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    path = Path(path)
    read_header(path)
    try:
        return load_file(path)
    except (SafetensorError, OSError, RuntimeError, ValueError, TypeError, KeyError) as error:
        raise BadFileError(path, f"cannot be read ({error}).") from error


def read_header(path: str | Path) -> dict[str, Any]:
    """The header of a safetensors file: tensor name -> ``{dtype, shape, data_offsets}``, and perhaps ``__metadata__``.

    Every claim in it was held against the file's size. Raises like `read_safetensors`; needs no torch.
    """
    path = Path(path)
    header, size = _read(path)
    try:
        values = json.loads(header.decode("utf-8"), object_pairs_hook=_without_repeats)
    except (ValueError, RecursionError) as error:
        raise BadFileError(path, f"has a header that is not valid JSON ({error}).", offset=8 + getattr(error, "pos", 0)) from None
    if not isinstance(values, dict):
        raise BadFileError(path, "has a header that is not a JSON object.", offset=8)
    tensors = {name: entry for name, entry in values.items() if name != METADATA}
    _check_metadata(path, values.get(METADATA, {}))
    for name, entry in tensors.items():
        _check_entry(path, header, name, entry)
    # Data without gaps and overlaps: every byte belongs to one tensor, so that no file can claim more than it has.
    end = 0
    for name, entry in sorted(tensors.items(), key=lambda item: item[1]["data_offsets"]):
        start, after = entry["data_offsets"]
        if start != end:
            reason = f"has the tensor {name!r:.80} begin at {start:,} of the data, where {end:,} was expected."
            raise BadFileError(path, reason, offset=_place(header, name))
        end = after
    if end != size - 8 - len(header):
        reason = f"has {size - 8 - len(header):,} bytes of data; its header accounts for {end:,}."
        raise BadFileError(path, reason, offset=8 + len(header), hint=_CUT_SHORT)
    return values


def _read(path: Path) -> tuple[bytes, int]:
    """The header, and the size of the file."""
    try:
        status = path.stat()
        # A pipe or a device has no size to hold claims against, and opening one may never end.
        if not stat.S_ISREG(status.st_mode) or status.st_size < 8:
            raise BadFileError(path, "is not a safetensors file.", offset=0)
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if length > status.st_size - 8:
                reason = f"claims a header of {length:,} bytes, and only {status.st_size - 8:,} are left."
                raise BadFileError(path, reason, offset=0, hint=_CUT_SHORT)
            if length > MAX_HEADER:
                raise BadFileError(path, f"claims a header of {length:,} bytes; more than {MAX_HEADER:,} are refused.", offset=0)
            header = file.read(length)
    except (FileNotFoundError, NotADirectoryError):
        raise NotFoundError(f"{path} does not exist.") from None
    except (OSError, ValueError) as error:  # no permission, a path with a NUL
        raise BadFileError(path, f"cannot be opened ({error}).") from None
    if sum(header.count(sign) for sign in (b",", b"[", b"{")) > MAX_SIGNS:
        raise BadFileError(path, "has a header with more entries than any model.", offset=8)
    return header, status.st_size


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        raise ValueError("the same name twice")
    return values


def _place(header: bytes, name: str) -> int:
    """The byte of the file where the entry of `name` stands."""
    return 8 + max(0, header.find(json.dumps(name, ensure_ascii=False).encode("utf-8", "replace")))


def _check_metadata(path: Path, metadata: Any) -> None:
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise BadFileError(path, f"has {METADATA} that are not texts.", offset=8)


def _check_entry(path: Path, header: bytes, name: str, entry: Any) -> None:
    def fail(reason: str) -> BadFileError:
        return BadFileError(path, f"has the tensor {name!r:.80} {reason}", offset=_place(header, name))

    if not isinstance(entry, dict) or not {"dtype", "shape", "data_offsets"} <= entry.keys():
        raise fail("without dtype, shape and data_offsets.")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in _BYTES:
        raise fail(f"of the type {dtype!r:.40}, which cannot be read.")
    if not _are_sizes(shape) or len(shape) > MAX_DIMENSIONS:
        raise fail(f"with the shape {shape!r:.80}.")
    if not _are_sizes(offsets) or len(offsets) != 2:
        raise fail(f"at {offsets!r:.80}.")
    needed = prod(shape) * _BYTES[dtype]
    if offsets[1] - offsets[0] != needed:
        raise fail(f"in {offsets[1] - offsets[0]:,} bytes; its shape and type need {needed:,}.")


def _are_sizes(values: Any) -> bool:
    """Whether `values` is a list of whole numbers that fit 63 bits."""
    return isinstance(values, list) and all(type(value) is int and 0 <= value < 1 << 63 for value in values)
