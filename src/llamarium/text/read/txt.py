"""Plain text.

Takes: bytes of a .txt file.
Gives: its text, as it is.
Does not know: paragraphs or chapters.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from llamarium.text.decode import decode_reported
from llamarium.text.document import Piece

SUFFIXES = (".txt", ".text")


def read(data: bytes, *, path: str | Path) -> Iterator[Piece]:
    """The whole text as one piece."""
    decoded = decode_reported(data, path=path)
    yield Piece(decoded.text, encoding=decoded.encoding)
