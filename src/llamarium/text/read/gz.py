"""gzip: one file, packed.

Takes: bytes of a .gz file.
Gives: what the reader for the suffix before it finds (``notes.txt.gz``: text).
Does not know: tar, whose many files have no reader here.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from pathlib import Path

from llamarium.ground.errors import BadFileError
from llamarium.text.document import Piece, read_inner
from llamarium.text.read._packed import inflated, joined, require_inner, require_opening

SUFFIXES = (".gz", ".tgz")
CONFINED = True


def read(data: bytes, *, path: str | Path) -> Iterator[Piece]:
    """The pieces of the file inside."""
    require_opening(data, (b"\x1f\x8b\x08",), path=path, kind="gzip data")
    require_inner(path)
    try:
        unpacked = joined(inflated(data), packed=len(data), path=path)
    except EOFError:
        raise BadFileError(path, "is cut off: its gzip data does not end.") from None
    except zlib.error as error:
        raise BadFileError(path, f"holds damaged gzip data ({error}).") from None
    del data
    yield from read_inner(unpacked, name=Path(path).stem, path=path)
