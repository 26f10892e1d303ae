"""Spans: a file that is too long for one worker, cut between its lines.

Takes: a file.
Gives: spans of it that can be read apart and together are the file; a file that cannot be cut is one span.
Does not know: what the lines mean; only formats in which a line end is never inside a document's markup are cut.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from llamarium.text.sources import SourceFile

LINES = (".jsonl", ".ndjson", ".txt", ".text")
_WIDE = (b"\xff\xfe", b"\xfe\xff", b"\x00\x00\xfe\xff")  # marks of encodings in which the byte of a line end may be half a character
_PIECE = 1 << 20


@dataclass(frozen=True)
class Span:
    """Bytes `start` to `end` of a file. `number`: 0 if that is all of it, else which span it is, from 1. `lines`: how many come before.

    `size` and `modified` (nanoseconds since 1970) are what the file was like when the plan was made.
    """

    path: str
    source: str
    start: int
    end: int
    number: int
    lines: int
    modified: int

    @property
    def size(self) -> int:
        """How many bytes it has."""
        return self.end - self.start

    @property
    def is_first(self) -> bool:
        """Whether the file begins here."""
        return self.start == 0


def spans_of(file: SourceFile, *, longest: int) -> Iterator[Span]:
    """The spans of a file, of about `longest` bytes, each ending behind a line end. A file that cannot be looked at is one span
    of no bytes: whoever reads it will say why."""
    try:
        state = file.path.stat()
    except OSError:
        yield Span(str(file.path), file.source, 0, 0, 0, 0, 0)
        return
    if state.st_size <= longest or file.path.suffix.lower() not in LINES or _is_wide(file.path):
        yield Span(str(file.path), file.source, 0, state.st_size, 0, 0, state.st_mtime_ns)
        return
    start = lines = 0
    for number, (end, num_lines) in enumerate(_borders(file.path, state.st_size, longest), 1):
        yield Span(str(file.path), file.source, start, end, number, lines, state.st_mtime_ns)
        start, lines = end, lines + num_lines


def _is_wide(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(4).startswith(_WIDE)
    except OSError:
        return True


def _borders(path: Path, size: int, longest: int) -> Iterator[tuple[int, int]]:
    """Where each span ends, behind the first line end from `longest` bytes on, and how many line ends are in it."""
    start = 0
    with path.open("rb") as file:
        while start < size:
            file.seek(min(start + longest, size) - 1)
            while (piece := file.readline(_PIECE)) and not piece.endswith(b"\n"):
                pass
            end = file.tell()
            file.seek(start)
            lines = 0
            while (left := end - file.tell()) > 0:
                lines += file.read(min(_PIECE, left)).count(b"\n")
            yield end, lines
            start = end
