"""GGUF files, as strangers send them: no number in one is believed before it is held against the file's size.

Takes: a path.
Gives: `GGUF`: the metadata, what tensors there are, and each of them as float32.
Does not know: families, tokenizers, torch.

Source of the layout: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md (versions 2 and 3, little endian).
"""

from __future__ import annotations

import mmap
import stat
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from struct import Struct
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from llamarium.ground.errors import BadFileError, NotFoundError
from llamarium.ops import formats

MAGIC = b"GGUF"
ALIGNMENT = "general.alignment"

# Far above what any model has, and low enough that a file made for it costs neither much time nor much memory.
MAX_NAME = 65_535  # bytes of a key; the specification's own limit
MAX_TEXT = 1 << 26  # bytes of all strings together
MAX_ITEMS = {"metadata keys": 1 << 16, "arrays": 1 << 16, "tensors": 1 << 16, "strings": 1 << 21}  # of the whole file
MAX_DEPTH = 3  # arrays within arrays
MAX_DIMENSIONS = 4
MAX_ALIGNMENT = 1 << 20

CUT_SHORT = "If it was downloaded, the download may have stopped early."

# Kinds of metadata values: numbers as numpy calls them, and two others.
_NUMBERS = {0: "<u1", 1: "<i1", 2: "<u2", 3: "<i2", 4: "<u4", 5: "<i4", 6: "<f4", 7: "?", 10: "<u8", 11: "<i8", 12: "<f8"}
_STRING, _ARRAY = 8, 9
_LENGTH = Struct("<Q")

# Formats that `ops/formats` does not read, so that their tensors can be listed: number -> name, elements and bytes of a block.
_LISTED = {
    6: ("Q5_0", 32, 22),
    7: ("Q5_1", 32, 24),
    9: ("Q8_1", 32, 40),
    10: ("Q2_K", 256, 84),
    11: ("Q3_K", 256, 110),
    12: ("Q4_K", 256, 144),
    13: ("Q5_K", 256, 176),
    14: ("Q6_K", 256, 210),
    15: ("Q8_K", 256, 292),
    16: ("IQ2_XXS", 256, 66),
    17: ("IQ2_XS", 256, 74),
    18: ("IQ3_XXS", 256, 98),
    19: ("IQ1_S", 256, 50),
    20: ("IQ4_NL", 32, 18),
    21: ("IQ3_S", 256, 110),
    22: ("IQ2_S", 256, 82),
    23: ("IQ4_XS", 256, 136),
    24: ("I8", 1, 1),
    25: ("I16", 1, 2),
    26: ("I32", 1, 4),
    27: ("I64", 1, 8),
    28: ("F64", 1, 8),
    29: ("IQ1_M", 256, 56),
    34: ("TQ1_0", 256, 54),
    35: ("TQ2_0", 256, 66),
    39: ("MXFP4", 32, 17),
    40: ("NVFP4", 64, 36),
    41: ("Q1_0", 128, 18),
}


@dataclass(frozen=True)
class TensorInfo:
    """Where a tensor lies. `shape` is numpy's: the first dimension varies slowest. `offset` is from the file's first byte."""

    name: str
    shape: tuple[int, ...]
    ggml_type: int
    offset: int
    num_bytes: int


@dataclass(frozen=True, eq=False)
class GGUF:
    """An opened GGUF file. Arrays of numbers in `metadata` are numpy arrays that lie in the file; other arrays are lists."""

    path: Path
    version: int
    metadata: dict[str, Any]
    tensors: dict[str, TensorInfo]
    _data: NDArray[np.uint8] = field(repr=False)

    def raw(self, name: str) -> NDArray[np.uint8]:
        """The bytes of a tensor, mapped from the file: read-only, not copied."""
        info = self._info(name)
        return self._data[info.offset : info.offset + info.num_bytes]

    def tensor(self, name: str) -> NDArray[np.float32]:
        """The values of a tensor in its shape: a new array. `BadFileError` for a format that is not in `ops/formats`."""
        info = self._info(name)
        try:
            module = formats.by_type(info.ggml_type)
        except NotFoundError as error:
            reason = f"has {name!r} in the format {_LISTED[info.ggml_type][0]}, which cannot be read."
            raise BadFileError(self.path, reason, offset=info.offset, hint=error.hint) from None
        values: NDArray[np.float32] = module.unpack(self.raw(name).reshape(-1, module.BLOCK_BYTES))
        return values.reshape(info.shape)

    def _info(self, name: str) -> TensorInfo:
        if name not in self.tensors:
            raise BadFileError(self.path, f"has no tensor {name!r}.")
        return self.tensors[name]


def read_gguf(path: str | Path) -> GGUF:
    """Open a GGUF file. What it claims is checked here; the tensors' data are not read yet.

    `NotFoundError` if there is no such file; `BadFileError`, with the byte, for anything that is not a whole GGUF file.
    """
    path = Path(path)
    cursor = _Cursor(path, _map(path))
    if cursor.take(4) != MAGIC:
        cursor.fail("is not a GGUF file.", 0)
    version = _version(cursor)
    num_tensors = cursor.count("tensors", 24)  # the least: the length of a name, dimensions, format, offset
    num_keys = cursor.count("metadata keys", 13)  # the least: the length of a key, the kind of value, one byte
    metadata: dict[str, Any] = {}
    alignment = 32
    for _ in range(num_keys):
        start = cursor.position
        key = cursor.text(MAX_NAME)
        if key in metadata:
            cursor.fail(f"has the metadata key {key!r:.80} twice.", start)
        metadata[key] = value = _value(cursor, cursor.number("<u4"))
        if key == ALIGNMENT:
            if type(value) is not int or not 0 < value <= MAX_ALIGNMENT or value & (value - 1):
                cursor.fail(f"has an alignment that is not a power of two up to {MAX_ALIGNMENT:,}.", start)
            alignment = value
    tensors = _tensors(cursor, num_tensors, alignment)
    return GGUF(path, version, metadata, tensors, np.frombuffer(cursor.data, np.uint8))


def _map(path: Path) -> mmap.mmap:
    try:
        status = path.stat()
        # A pipe or a device has no size to hold claims against, and opening one may never end.
        if not stat.S_ISREG(status.st_mode) or status.st_size == 0:
            raise BadFileError(path, "is not a GGUF file.", offset=0)
        with path.open("rb") as file:
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except (FileNotFoundError, NotADirectoryError):
        raise NotFoundError(f"{path} does not exist.") from None
    except (OSError, ValueError) as error:  # no permission, a path with a NUL, a file that was emptied just now
        raise BadFileError(path, f"cannot be opened ({error}).") from None


class _Cursor:
    """A place in the file that only goes forward, by steps that were held against the bytes that are left."""

    def __init__(self, path: Path, data: mmap.mmap) -> None:
        self.path, self.data, self.position, self.size = path, data, 0, len(data)
        self.items_left, self.text_left = dict(MAX_ITEMS), MAX_TEXT

    def fail(self, reason: str, offset: int | None = None, *, hint: str = "") -> NoReturn:
        raise BadFileError(self.path, reason, offset=self.position if offset is None else offset, hint=hint)

    def claim(self, count: int, item_bytes: int, what: str, offset: int | None = None) -> None:
        """Refuse more items than the rest of the file can hold; `offset` is where their number stands."""
        left = self.size - self.position
        if count * item_bytes > left:
            self.fail(f"claims {count:,} {what}, and only {left:,} bytes are left.", offset, hint=CUT_SHORT)

    def take(self, num_bytes: int) -> bytes:
        self.claim(num_bytes, 1, "bytes")
        self.position += num_bytes
        return self.data[self.position - num_bytes : self.position]

    def array(self, dtype: str, count: int, offset: int | None = None) -> NDArray[Any]:
        """`count` numbers, where they lie in the file."""
        self.claim(count, np.dtype(dtype).itemsize, "numbers", offset)
        if dtype == "?" and count and (values := np.frombuffer(self.data, np.uint8, count, self.position)).max() > 1:
            self.fail("has a truth value that is neither 0 nor 1.", self.position + int((values > 1).argmax()))
        found = np.frombuffer(self.data, dtype, count, self.position)
        self.position += found.nbytes
        return found

    def number(self, dtype: str) -> Any:
        return self.array(dtype, 1)[0].item()

    def count(self, what: str, item_bytes: int) -> int:
        """How many items of at least `item_bytes` follow: no more than there is room for, or than a Python loop should go through."""
        start = self.position
        found: int = self.number("<u8")
        self.claim(found, item_bytes, what, start)
        if found > self.items_left[what]:
            self.fail(f"claims {found:,} {what}; more than {MAX_ITEMS[what]:,} are refused.", start)
        self.items_left[what] -= found
        return found

    def text(self, limit: int = MAX_TEXT) -> str:
        return self.texts(1, limit)[0]

    def texts(self, count: int, limit: int = MAX_TEXT) -> list[str]:
        """`count` strings of at most `limit` bytes. One loop without calls, because vocabularies have hundreds of thousands."""
        found = []
        position, size, data, unpack = self.position, self.size, self.data, _LENGTH.unpack_from
        last = self.position + self.text_left
        for _ in range(count):
            start = position + 8
            if start > size:
                self.fail("ends where a string should begin.", position, hint=CUT_SHORT)
            (length,) = unpack(data, position)
            if length > size - start:
                self.fail(f"claims a string of {length:,} bytes, and only {size - start:,} are left.", position, hint=CUT_SHORT)
            if length > limit or start + length > last:
                self.fail(f"has too long a string here ({length:,} bytes).", position)
            position = start + length
            try:
                found.append(str(data[start:position], "utf-8"))
            except UnicodeDecodeError as error:
                self.fail("has a string that is not UTF-8.", start + error.start)
        self.text_left = last - position
        self.position = position
        return found


def _version(cursor: _Cursor) -> int:
    version: int = cursor.number("<u4")
    if version and version & 0xFFFF == 0:
        cursor.fail("is a big-endian GGUF file, which is not supported.", 4)
    if version not in (2, 3):
        cursor.fail(f"has the GGUF version {version}; versions 2 and 3 can be read.", 4)
    return version


def _value(cursor: _Cursor, kind: int) -> Any:
    if kind in _NUMBERS:
        return cursor.number(_NUMBERS[kind])
    if kind == _STRING:
        return cursor.text()
    if kind == _ARRAY:
        return _array(cursor, 1)
    return cursor.fail(f"has a metadata value of the unknown kind {kind}.", cursor.position - 4)


def _array(cursor: _Cursor, depth: int) -> Any:
    start = cursor.position
    if depth > MAX_DEPTH:
        cursor.fail(f"has arrays within arrays, more than {MAX_DEPTH} deep.")
    kind = cursor.number("<u4")
    if kind in _NUMBERS:
        return cursor.array(_NUMBERS[kind], cursor.number("<u8"), start + 4)
    if kind == _STRING:
        return cursor.texts(cursor.count("strings", 8))
    if kind == _ARRAY:
        return [_array(cursor, depth + 1) for _ in range(cursor.count("arrays", 12))]
    return cursor.fail(f"has an array of the unknown kind {kind}.", start)


def _tensors(cursor: _Cursor, count: int, alignment: int) -> dict[str, TensorInfo]:
    """The list of tensors; their offsets count from the data section, which begins after it."""
    entries = []
    for _ in range(count):
        start = cursor.position
        name = cursor.text(MAX_NAME)
        num_dimensions = cursor.number("<u4")
        if num_dimensions > MAX_DIMENSIONS:
            cursor.fail(f"has the tensor {name!r:.80} with {num_dimensions:,} dimensions.", start)
        shape = tuple(reversed(cursor.array("<u8", num_dimensions).tolist()))
        ggml_type, offset = cursor.number("<u4"), cursor.number("<u8")
        entries.append((start, TensorInfo(name, shape, ggml_type, offset, _num_bytes(cursor, start, name, shape, ggml_type))))
    begin = -(-cursor.position // alignment) * alignment
    found: dict[str, TensorInfo] = {}
    end, before = begin, ""
    for start, info in sorted(entries, key=lambda entry: entry[1].offset):
        offset = begin + info.offset
        if info.name in found:
            cursor.fail(f"has the tensor {info.name!r:.80} twice.", start)
        if info.offset % alignment:
            cursor.fail(f"has the tensor {info.name!r:.80} at an offset that is no multiple of {alignment}.", start)
        if offset + info.num_bytes > cursor.size:
            reason = f"has the tensor {info.name!r:.80} end at byte {offset + info.num_bytes:,}; the file has {cursor.size:,}."
            cursor.fail(reason, start, hint=CUT_SHORT)
        # Tensors that share bytes would let a small file claim any amount of memory.
        if offset < end:
            cursor.fail(f"has the tensor {info.name!r:.80} overlap {before!r:.80}.", start)
        end, before = offset + info.num_bytes, info.name
        found[info.name] = TensorInfo(info.name, info.shape, info.ggml_type, offset, info.num_bytes)
    return {info.name: found[info.name] for _, info in entries}


def _num_bytes(cursor: _Cursor, start: int, name: str, shape: tuple[int, ...], ggml_type: int) -> int:
    block_size: int
    block_bytes: int
    try:
        module = formats.by_type(ggml_type)
        block_size, block_bytes = module.BLOCK_SIZE, module.BLOCK_BYTES
    except NotFoundError:
        if ggml_type not in _LISTED:
            cursor.fail(f"has the tensor {name!r:.80} in a format that does not exist ({ggml_type}).", start)
        _, block_size, block_bytes = _LISTED[ggml_type]
    if (shape or (1,))[-1] % block_size or 0 in shape:
        cursor.fail(f"has the tensor {name!r:.80} with rows that are not whole blocks of {block_size}: {shape}.", start)
    return prod(shape) // block_size * block_bytes
