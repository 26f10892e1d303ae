"""Spans: a file that is too long for one worker, cut between its lines.

Takes: a file.
Gives: spans of it that can be read apart and together are the file; a file that cannot be cut is one span.
Does not know: what the lines mean; only formats in which a line end is never inside a document's markup are cut.

An encoding is told for the file, not for a span: a span with three Chinese characters in it could be taken for another. What is UTF-8
is read as that; spans that are not, are read as the first such span is, where that can be told and a line end is a byte in it.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from llamarium.ground.errors import BadFileError
from llamarium.text.decode import Encoding, detect
from llamarium.text.sources import SourceFile

RECORDS = (".jsonl", ".ndjson")
LINES = (*RECORDS, ".txt", ".text")
_WIDE = (b"\xff\xfe", b"\xfe\xff", b"\x00\x00\xfe\xff")  # marks of encodings in which the byte of a line end may be half a character
_PIECE = 1 << 20


@dataclass(frozen=True)
class Span:
    """Bytes `start` to `end` of a file. `number`: 0 if that is all of it, else which span it is, from 1. `lines`: how many come before.

    `modified` (nanoseconds since 1970) is what the file was like when the plan was made, 0 if nobody could look. Of a file that was cut
    and is not all UTF-8, `encoding` is the name, and `codec` Python's name of what this span has to be read as, empty for UTF-8.
    """

    path: str
    source: str
    start: int
    end: int
    number: int
    lines: int
    modified: int
    encoding: str = ""
    codec: str = ""

    @property
    def size(self) -> int:
        """How many bytes it has."""
        return self.end - self.start

    @property
    def is_first(self) -> bool:
        """Whether the file begins here."""
        return self.start == 0


@dataclass(frozen=True)
class _Stretch:
    """What lies between two borders: how many line ends are in it, whether it is UTF-8, and whether there are NULs in it."""

    start: int
    end: int
    num_lines: int
    is_utf8: bool
    has_nul: bool


def spans_of(file: SourceFile, *, longest: int) -> Iterator[Span]:
    """The spans of a file, of about `longest` bytes, each ending behind a line end. A file that cannot be looked at is one span
    of no bytes: whoever reads it will say why."""
    try:
        state = file.path.stat()
        has_lines = state.st_size > longest and file.path.suffix.lower() in LINES and not _is_wide(file.path)
        stretches = list(_stretches(file.path, state.st_size, longest)) if has_lines else []
        encoding = _encoding(file.path, next((one for one in stretches if not one.is_utf8), None))
    except OSError:
        yield Span(str(file.path), file.source, 0, 0, 0, 0, 0)
        return
    if not stretches or any(one.has_nul for one in stretches):  # a NUL is half a character of UTF-16, and so a line end may be
        yield Span(str(file.path), file.source, 0, state.st_size, 0, 0, state.st_mtime_ns)
        return
    name, codec = (encoding.name, encoding.codec) if encoding is not None else ("", "")
    lines = 0
    for number, one in enumerate(stretches, 1):
        its_codec = "" if one.is_utf8 else codec
        yield Span(str(file.path), file.source, one.start, one.end, number, lines, state.st_mtime_ns, name, its_codec)
        lines += one.num_lines


def _is_wide(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4).startswith(_WIDE)


def _stretches(path: Path, size: int, longest: int) -> Iterator[_Stretch]:
    """The first `size` bytes of a file, each stretch ending behind the first line end from `longest` bytes on."""
    start = 0
    with path.open("rb") as file:
        while start < size:
            file.seek(min(start + longest, size) - 1)
            while (piece := file.readline(_PIECE)) and not piece.endswith(b"\n"):
                pass
            end = file.tell()
            if end <= start:  # it has become shorter since
                return
            file.seek(start)
            decoder = codecs.getincrementaldecoder("utf-8")()
            num_lines, is_utf8, has_nul = 0, True, False
            while piece := file.read(min(_PIECE, end - file.tell())):
                num_lines += piece.count(b"\n")
                is_utf8 = is_utf8 and _goes_on(decoder, piece, is_last=file.tell() == end)
                has_nul = has_nul or b"\x00" in piece
            yield _Stretch(start, end, num_lines, is_utf8, has_nul)
            start = end


def _goes_on(decoder: codecs.IncrementalDecoder, piece: bytes, *, is_last: bool) -> bool:
    """Whether the bytes are UTF-8 after what the decoder has seen."""
    try:
        decoder.decode(piece, is_last)
    except UnicodeDecodeError:
        return False
    return True


def _encoding(path: Path, strange: _Stretch | None) -> Encoding | None:
    """What a file is in of which `strange` is the first stretch that is no UTF-8; None where it is all UTF-8, or nothing that is read."""
    if strange is None:
        return None
    with path.open("rb") as file:
        file.seek(strange.start)
        data = file.read(strange.end - strange.start)
    try:
        return detect(data, path=path)
    except BadFileError:
        return None
