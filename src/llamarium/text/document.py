"""A document, and the extracted text that every citation counts into.

Takes: the path of a file that a reader in ``llamarium.text.read`` knows.
Gives: its extracted text: decoded, byte-order mark removed, CRLF turned to LF, markup stripped by the reader,
nothing else changed; whole for citations, or as the documents that a corpus is made of.
Does not know: what cleaning will do to a document, or where it will be stored.
"""

from __future__ import annotations

import functools
import hashlib
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePath
from types import ModuleType

from llamarium.ground import registry
from llamarium.ground.errors import BadFileError, NotFoundError
from llamarium.text import confined
from llamarium.text.cut import cut
from llamarium.text.decode import Encoding

LARGEST_FILE = 1 << 30
BETWEEN_RECORDS = "\n\n"
_HALF_CHARACTER = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True)
class Piece:
    """What a reader finds in a file: a text, and the number of its record (from 1) where the file is a container.

    `pages`: where pages start, in code points. `encoding`: what the bytes were ("utf-8", "gb18030", ...), empty where
    it is no question. `member`: the name inside an archive. `problem`: a sentence, where this member could not be
    read; its text is then empty. `web`: whether it was gathered from the web
    (a page that somebody keeps in a folder was chosen).
    """

    text: str
    record: int | None = None
    pages: tuple[int, ...] = ()
    encoding: str = ""
    member: str = ""
    problem: str = ""
    web: bool = False


@dataclass(frozen=True)
class Document:
    """A text and where it comes from.

    `source`: path relative to the folder that was given, '/' between, and ``#<number>`` for a record or a part.
    `language`: a code such as "en" or "zh", empty where nobody has looked. `pages`: where pages start, in code points.
    `encoding`: what the bytes were, where the reader says so. `web`: whether it was gathered from the web
    (a page that somebody keeps in a folder was chosen).
    """

    text: str
    source: str
    language: str = ""
    pages: tuple[int, ...] = ()
    encoding: str = ""
    web: bool = False

    @property
    def id(self) -> str:
        """First 16 hex digits of the SHA-256 of source and text."""
        return hashlib.sha256((self.source + self.text).encode("utf-8")).hexdigest()[:16]


Reader = Callable[..., Iterator[Piece]]


def read(path: str | Path) -> Document:
    """The extracted text of one file; the records of a container are joined by a blank line.

    `NotFoundError` if there is no such file, `BadFileError` if it holds no text that a reader can take.
    """
    return join(read_pieces(Path(path)), path=Path(path))


def join(pieces: Sequence[Piece], *, path: Path) -> Document:
    """The text of all `pieces` of the file `path`: what the offsets of citations count into.

    Members that could not be read are left out; `BadFileError` if that leaves nothing.
    """
    good = [piece for piece in pieces if not piece.problem]
    if pieces and not good:
        where = path / pieces[0].member if pieces[0].member else path
        raise BadFileError(where, pieces[0].problem, hint=f"Nothing else is in {path.name}." if len(pieces) == 1 else "Nor can the rest.")
    pages: list[int] = []
    offset = 0
    for piece in good:
        pages.extend(offset + page for page in piece.pages)
        offset += len(piece.text) + len(BETWEEN_RECORDS)
    return Document(
        BETWEEN_RECORDS.join(piece.text for piece in good),
        whole_characters(path.name),
        pages=tuple(pages),
        encoding=next((piece.encoding for piece in good if piece.encoding), ""),
        web=any(piece.web for piece in good),
    )


def read_documents(path: Path, *, source: str) -> list[Document]:
    """The documents of one file: its records, or the whole text, cut at blank lines where it is long (`cut`).

    A member of an archive is named ``<source>/<member>``; members that could not be read are left out.
    """
    return [document for piece in read_pieces(path) if not piece.problem for document in documents_of(piece, source=source)]


def documents_of(piece: Piece, *, source: str, span: int = 0) -> Iterator[Document]:
    """The documents that a piece of the file `source` becomes. `span`: which span of a file that was cut it is in; its parts are
    then numbered ``#<span>.<part>``."""
    source = f"{source}/{piece.member}" if piece.member else source
    parts = [piece.text] if piece.record is not None else cut(piece.text)
    start = 0
    for number, part in enumerate(parts, 1):
        end = start + len(part)
        place = f"#{piece.record}" if piece.record is not None else f"#{span}.{number}" if span else f"#{number}" if len(parts) > 1 else ""
        pages = tuple(page - start for page in piece.pages if start <= page < end)
        yield Document(part, source + place, pages=pages, encoding=piece.encoding, web=piece.web)
        start = end


def read_pieces(path: Path, *, limits: confined.Limits | None = None, column: str = "") -> list[Piece]:
    """What the reader for this suffix finds. All of it or an error: a file that breaks half-way gives nothing.

    Readers that say `CONFINED` run in a child process within `limits` (by default `confined.Limits.for_size`). `column`: the
    column, or field of a record, that is the text, for readers that say `TABLE`.
    """
    size = _size(path)  # first, so that a missing file is said to be missing whatever its suffix
    reader = reader_of(path)
    name = _confined().get(path.suffix.lower())
    if name is None:
        return [_normal(piece) for piece in reader(_bytes(path), path=path, **_options(path, column))]
    found = confined.read(path, reader=name, limits=limits or confined.Limits.for_size(size), options=_options(path, column))
    return [_normal(Piece(piece.text, **{**piece.fields, "pages": tuple(piece.fields["pages"])})) for piece in found]


def read_span(path: Path, *, start: int, end: int, lines: int, encoding: Encoding | None = None, column: str = "") -> list[Piece]:
    """As `read_pieces`, for the bytes `start` to `end` of a file of lines, before which there are `lines` of them.

    `encoding`: what the file is in, where its spans cannot be left to tell by themselves.
    """
    with path.open("rb") as file:
        file.seek(start)
        data = file.read(end - start)
    if encoding is not None:
        try:
            data = data.decode(encoding.codec).encode("utf-8")
        except UnicodeDecodeError:
            raise BadFileError(path, f"looks like {encoding.name.upper()}, but has bytes in it that are not.") from None
    pieces = map(_normal, reader_of(path)(data, path=path, **_options(path, column)))
    return [piece if piece.record is None else replace(piece, record=piece.record + lines) for piece in pieces]


def read_inner(data: bytes, *, name: str, path: str | Path) -> list[Piece]:
    """For readers of files that hold files: what the reader for the suffix of `name` finds in `data`; errors speak of `path`."""
    reader = readers().get(PurePath(name).suffix.lower())
    if reader is None:
        raise BadFileError(path, no_reader(PurePath(name)))
    return list(reader(data, path=path))


def reader_of(path: Path) -> Reader:
    """The reader for the suffix of `path`, or `BadFileError`."""
    reader = readers().get(path.suffix.lower())
    if reader is None:
        raise BadFileError(path, no_reader(path), hint=f"Files that can be read: {', '.join(sorted(readers()))}.")
    return reader


@functools.cache
def readers() -> dict[str, Reader]:
    """The reader of each suffix (lower case, with its dot), from the modules in ``llamarium.text.read``."""
    found: dict[str, Reader] = {}
    for module in _modules():
        for suffix in module.SUFFIXES:
            assert suffix not in found, f"two readers for {suffix}"
            found[suffix] = module.read
    return found


@functools.cache
def _confined() -> dict[str, str]:
    """The modules of the readers that run in a child process, by suffix."""
    return {suffix: module.__name__ for module in _modules() if getattr(module, "CONFINED", False) for suffix in module.SUFFIXES}


@functools.cache
def _modules() -> tuple[ModuleType, ...]:
    return tuple(registry.find("llamarium.text.read", name) for name in registry.names("llamarium.text.read"))


@functools.cache
def _tables() -> frozenset[str]:
    """The suffixes of the readers that can be told which column is the text."""
    return frozenset(suffix for module in _modules() if getattr(module, "TABLE", False) for suffix in module.SUFFIXES)


def _options(path: Path, column: str) -> dict[str, str]:
    return {"column": column} if column and path.suffix.lower() in _tables() else {}


def _normal(piece: Piece) -> Piece:
    """With LF for CRLF (a reader whose pieces have pages sees to that itself: offsets would move) and whole characters."""
    text = whole_characters(piece.text if piece.pages else piece.text.replace("\r\n", "\n"))
    member = whole_characters(piece.member)
    return piece if text is piece.text and member is piece.member else replace(piece, text=text, member=member)


def no_reader(path: PurePath) -> str:
    """Why a file is left aside: its suffix."""
    return f"no reader for {path.suffix.lower()}" if path.suffix else "no reader for a file without a suffix"


def whole_characters(text: str) -> str:
    r"""Replace halves of surrogate pairs, which JSON escapes and file names can smuggle in and no UTF-8 can hold.

    >>> whole_characters("a\ud800b") == "a\ufffdb"
    True
    """
    return text if text.isascii() else _HALF_CHARACTER.sub("\ufffd", text)


def _size(path: Path) -> int:
    """Bytes of a file that may be read."""
    try:
        if path.is_dir():
            raise NotFoundError(f"{path} is a folder, not a file.", hint="Name one file in it; `llamarium prepare` takes folders.")
        if path.exists() and not path.is_file():  # a pipe or a device may never end
            raise BadFileError(path, "is not a regular file.")
        size = path.stat().st_size
    except FileNotFoundError:
        raise NotFoundError(f"{path} does not exist.") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise _cannot_be_opened(path, error) from error
    if size > LARGEST_FILE:
        raise BadFileError(path, f"has {size:,} bytes; files up to {LARGEST_FILE:,} are read.", hint="Split it into smaller files.")
    return size


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise _cannot_be_opened(path, error) from error


def _cannot_be_opened(path: Path, error: OSError | ValueError) -> BadFileError:
    return BadFileError(path, f"cannot be opened ({getattr(error, 'strerror', None) or error}).")
