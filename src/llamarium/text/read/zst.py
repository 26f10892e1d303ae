"""Zstandard: one file, packed.

Takes: bytes of a .zst file.
Gives: what the reader for the suffix before it finds (``data.jsonl.zst``: records).
Does not know: tar, whose many files have no reader here.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from llamarium.ground.errors import BadFileError, MissingExtraError
from llamarium.text.document import Piece, read_inner
from llamarium.text.read._packed import joined, require_inner, require_opening

if TYPE_CHECKING:
    from zstandard import ZstdDecompressor

SUFFIXES = (".zst",)
CONFINED = True
_STEP = 1 << 10  # bytes: a block of 4 may stand for 128 KB, so this for 32 MB


def read(data: bytes, *, path: str | Path) -> Iterator[Piece]:
    """The pieces of the file inside."""
    require_opening(data, (b"\x28\xb5\x2f\xfd",), path=path, kind="zstd-compressed data")
    require_inner(path)
    try:
        import zstandard
    except ImportError:
        raise MissingExtraError("Reading a .zst file", extra="text", package="zstandard") from None
    try:
        unpacked = joined(_frames(data, zstandard.ZstdDecompressor()), packed=len(data), path=path)
    except EOFError:
        raise BadFileError(path, "is cut off: its zstd data does not end.") from None
    except zstandard.ZstdError as error:
        raise BadFileError(path, f"holds damaged zstd data ({error}).") from None
    del data
    yield from read_inner(unpacked, name=Path(path).stem, path=path)


def _frames(data: bytes, machine: ZstdDecompressor) -> Iterator[bytes]:
    """The chunks of all frames; `EOFError` where the last one does not end, which the library's own streams pass over in silence.

    The library itself refuses a window of more than 128 MB.
    """
    position = 0
    while position < len(data):
        frame = machine.decompressobj()
        while not frame.eof:
            if position >= len(data):
                raise EOFError
            chunk = frame.decompress(data[position : position + _STEP])
            position = min(position + _STEP, len(data))
            if chunk:
                yield chunk
        position -= len(frame.unused_data)
