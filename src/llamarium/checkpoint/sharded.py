"""Tensors that lie spread over several files, each with some of their rows.

Takes: tensors by name, whole or as `Rows` of a larger one; paths of safetensors files.
Gives: files written in one pass, with their sums; any rows of what lies in them, read from the files that hold them.
Does not know: checkpoints, groups, what the names mean.

The ``__metadata__`` of a file say for each tensor that is not whole which rows it holds: ``"2:4 of 5x3"`` are the rows
[2, 4) of a tensor of shape (5, 3). The shape of what the file holds stands, as ever, in the tensor's own entry.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from llamarium.checkpoint.safetensors_file import MAX_DIMENSIONS, METADATA, read_header
from llamarium.ground.errors import BadFileError
from llamarium.ground.failpoints import reached

DTYPES = {
    "BOOL": torch.bool,
    "U8": torch.uint8,
    "I8": torch.int8,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E4M3FNUZ": torch.float8_e4m3fnuz,
    "F8_E5M2": torch.float8_e5m2,
    "F8_E5M2FNUZ": torch.float8_e5m2fnuz,
    "F8_E8M0": torch.float8_e8m0fnu,
    "U16": torch.uint16,
    "I16": torch.int16,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "U32": torch.uint32,
    "I32": torch.int32,
    "F32": torch.float32,
    "U64": torch.uint64,
    "I64": torch.int64,
    "F64": torch.float64,
    "C64": torch.complex64,
}
NAMES = {dtype: name for name, dtype in DTYPES.items()}

RANGE = re.compile(r"([0-9]{1,19}):([0-9]{1,19}) of ([0-9]{1,19}(?:x[0-9]{1,19})*)")
MAX_NUMBERS = 1 << 60  # an empty tensor takes no byte of a file, and torch still counts with its dimensions


@dataclass(frozen=True)
class Rows:
    """Rows [start, start + len(tensor)) of a tensor of `shape`; other processes hold the others. No rows at all are rows, too."""

    tensor: Tensor
    shape: tuple[int, ...]
    start: int

    def __post_init__(self) -> None:
        assert self.shape, "a scalar has no rows"
        assert tuple(self.tensor.shape[1:]) == self.shape[1:]
        assert 0 <= self.start <= self.stop <= self.shape[0]

    @property
    def stop(self) -> int:
        """The row after the last one."""
        return self.start + len(self.tensor)


@dataclass(frozen=True)
class Piece:
    """Rows [start, stop) of a tensor, and the byte of a file where they begin."""

    path: Path
    start: int
    stop: int
    offset: int


@dataclass(frozen=True)
class Stored:
    """A tensor on disk: its pieces hold each of its rows once, in order. A scalar is taken for one row."""

    dtype: torch.dtype
    shape: tuple[int, ...]
    pieces: tuple[Piece, ...]

    def rows(self, start: int, stop: int) -> Tensor:
        """Rows [start, stop) as a new tensor of shape (stop - start, ...). Of the files, only the bytes of these rows are read."""
        height, *rest = self.shape or (1,)
        assert 0 <= start <= stop <= height
        found = torch.empty((stop - start, *rest), dtype=self.dtype)
        row_bytes = prod(rest) * self.dtype.itemsize
        for piece in self.pieces:
            first, last = max(start, piece.start), min(stop, piece.stop)
            if first < last and row_bytes:
                _read_into(found[first - start : last - start], piece.path, piece.offset + (first - piece.start) * row_bytes)
        return found

    def whole(self) -> Tensor:
        """All of it."""
        return self.rows(0, (self.shape or (1,))[0]).reshape(self.shape)


# --- Writing ----------------------------------------------------------------------------------------------------------


def write_file(path: Path, pieces: Iterable[bytes | memoryview]) -> dict[str, Any]:
    """Write a new file piece by piece and fsync it; returns its size and SHA-256, summed on the way, as a manifest lists them."""
    digest, size = hashlib.sha256(), 0
    with path.open("xb") as file:
        for piece in pieces:
            file.write(piece)
            digest.update(piece)
            size += len(piece)
            del piece  # it may be the copy of a tensor, which goes before the next one is made
        file.flush()
        reached("before-fsync")
        os.fsync(file.fileno())
        reached("after-fsync")
    return {"size": size, "sha256": digest.hexdigest()}


def write_tensors(path: Path, tensors: Mapping[str, Tensor | Rows]) -> dict[str, Any]:
    """Write a safetensors file like `write_file`. Of what is not on the CPU or lies in strides, one tensor is copied at a time."""
    held = {name: values.tensor if isinstance(values, Rows) else values for name, values in tensors.items()}
    order = sorted(held, key=lambda name: (-held[name].itemsize, name))  # so that each begins at a multiple of its own size
    ranges = {
        name: f"{values.start}:{values.stop} of {'x'.join(map(str, values.shape))}"
        for name, values in sorted(tensors.items())
        if isinstance(values, Rows)
    }
    header: dict[str, Any] = {METADATA: ranges} if ranges else {}
    end = 0
    for name in order:
        start, end = end, end + held[name].nbytes
        header[name] = {"dtype": NAMES[held[name].dtype], "shape": list(held[name].shape), "data_offsets": [start, end]}
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)

    def pieces() -> Iterator[bytes | memoryview]:
        yield len(text).to_bytes(8, "little") + text
        for name in order:
            yield _bytes(held[name].detach().cpu().contiguous())

    return write_file(path, pieces())


def _bytes(tensor: Tensor) -> memoryview:
    """The memory of a tensor without strides."""
    return tensor.reshape(-1).view(torch.uint8).numpy().data


# --- Reading ----------------------------------------------------------------------------------------------------------


def open_tensors(path: Path) -> dict[str, Stored]:
    """What a file of whole tensors holds, by name. Raises like `safetensors_file.read_header`."""
    return _open(path)[0]


def open_spread(paths: Sequence[Path], *, own: str | None = None) -> tuple[dict[str, Stored], list[dict[str, Stored]]]:
    """What the files of several processes hold together, and for each of them what is its own: the names that begin with `own`.

    Whole tensors lie in the first file. `BadFileError` names the file whose header does not fit the others: rows that are
    missing, held twice or beyond the shape, another shape or type. Nothing but headers is read.
    """
    whole: dict[str, Stored] = {}
    spread: dict[str, Stored] = {}
    owned: list[dict[str, Stored]] = []
    for path in paths:
        tensors, ranges = _open(path)
        owned.append({})
        if strangers := ranges.keys() - tensors.keys():
            raise BadFileError(path, f"names rows of {min(strangers)!r:.80}, and has no such tensor.")
        for name, stored in tensors.items():
            if name in ranges:
                part = _part(path, name, stored, ranges[name])
                before = spread.get(name, Stored(part.dtype, part.shape, ()))
                if (before.shape, before.dtype) != (part.shape, part.dtype):
                    raise BadFileError(path, f"has {name!r:.80} with another shape or type than the files before it.")
                spread[name] = Stored(part.dtype, part.shape, before.pieces + part.pieces)
            elif own is not None and name.startswith(own):
                owned[-1][name] = stored
            elif path == paths[0]:
                whole[name] = stored
            else:
                raise BadFileError(path, f"does not say which rows of {name!r:.80} it holds.")
    if both := whole.keys() & spread.keys():
        raise BadFileError(paths[0], f"has the whole of {min(both)!r:.80}, of which other files have rows.")
    return whole | {name: _joined(paths, name, stored) for name, stored in spread.items()}, owned


def _open(path: Path) -> tuple[dict[str, Stored], dict[str, str]]:
    """The tensors that a file holds, and its metadata."""
    header = read_header(path)
    metadata = header.pop(METADATA, {})
    # The data end where the file does; `read_header` has seen to that.
    begin = path.stat().st_size - max((entry["data_offsets"][1] for entry in header.values()), default=0)
    tensors = {}
    for name, entry in header.items():
        shape = tuple(entry["shape"])
        _check_size(path, name, shape)
        tensors[name] = Stored(DTYPES[entry["dtype"]], shape, (Piece(path, 0, (shape or (1,))[0], begin + entry["data_offsets"][0]),))
    return tensors, metadata


def _part(path: Path, name: str, held: Stored, said: str) -> Stored:
    """The tensor of which `path` has the rows that it says, with this one piece; refused where they do not fit what it holds."""
    match = RANGE.fullmatch(said)
    if match is None or match[3].count("x") >= MAX_DIMENSIONS:
        raise BadFileError(path, f"says {said!r:.80} of {name!r:.80}, which are no rows.")
    start, stop, shape = int(match[1]), int(match[2]), tuple(int(each) for each in match[3].split("x"))
    if not start <= stop <= shape[0] or held.shape != (stop - start, *shape[1:]):
        raise BadFileError(path, f"says {said!r:.80} of {name!r:.80}, which it holds with the shape {list(held.shape)!r:.80}.")
    _check_size(path, name, shape)
    return Stored(held.dtype, shape, (Piece(path, start, stop, held.pieces[0].offset),))


def _check_size(path: Path, name: str, shape: tuple[int, ...]) -> None:
    if prod(max(each, 1) for each in shape) > MAX_NUMBERS:
        raise BadFileError(path, f"has the tensor {name!r:.80} with the shape {list(shape)!r:.80}.")


def _joined(paths: Sequence[Path], name: str, stored: Stored) -> Stored:
    """`stored` with its pieces in order, after seeing that they are all of it."""
    pieces = sorted((piece for piece in stored.pieces if piece.start < piece.stop), key=lambda piece: piece.start)
    end = 0
    for piece in pieces:
        if piece.start != end:
            raise BadFileError(piece.path, f"has {name!r:.80} from row {piece.start:,} on, where row {end:,} was expected.")
        end = piece.stop
    if end != stored.shape[0]:
        last = pieces[-1].path if pieces else paths[-1]
        raise BadFileError(last, f"has {name!r:.80} up to row {end:,} of {stored.shape[0]:,}, and no other file has the rest.")
    return Stored(stored.dtype, stored.shape, tuple(pieces))


def _read_into(tensor: Tensor, path: Path, offset: int) -> None:
    """Fill `tensor`, which has no strides, with the bytes of `path` from `offset` on."""
    memory = _bytes(tensor)
    try:
        with path.open("rb") as file:
            file.seek(offset)
            found = file.readinto(memory)
    except OSError as error:
        raise BadFileError(path, f"cannot be read ({error}).") from error
    if found != len(memory):
        raise BadFileError(path, "became shorter while it was read.")
