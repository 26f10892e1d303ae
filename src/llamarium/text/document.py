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
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from llamarium.ground import registry
from llamarium.ground.errors import BadFileError, NotFoundError
from llamarium.text.cut import cut

LARGEST_FILE = 1 << 30
BETWEEN_RECORDS = "\n\n"
_HALF_CHARACTER = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True)
class Piece:
    """What a reader finds in a file: a text, and the number of its record (from 1) where the file is a container.

    `pages`: where pages start, in code points. `encoding`: what the bytes were ("utf-8", "gb18030", ...), empty where
    it is no question. `member`: the name inside an archive. `problem`: a sentence, where this member could not be
    read; its text is then empty. `web`: whether it came from a web page.
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
    `encoding`: what the bytes were, where the reader says so. `web`: whether it came from a web page.
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
    path = Path(path)
    pages: list[int] = []
    texts: list[str] = []
    offset = 0
    for piece in read_pieces(path):
        pages.extend(offset + page for page in piece.pages)
        texts.append(piece.text)
        offset += len(piece.text) + len(BETWEEN_RECORDS)
    return Document(BETWEEN_RECORDS.join(texts), whole_characters(path.name), pages=tuple(pages))


def read_documents(path: Path, *, source: str) -> list[Document]:
    """The documents of one file: its records, or the whole text, cut at blank lines where it is long (`cut`)."""
    documents = []
    for piece in read_pieces(path):
        if piece.record is not None:
            documents.append(Document(piece.text, f"{source}#{piece.record}", pages=piece.pages))
            continue
        parts = cut(piece.text)
        names = [source] if len(parts) == 1 else [f"{source}#{number}" for number in range(1, len(parts) + 1)]
        documents.extend(Document(part, name) for part, name in zip(parts, names, strict=True))
    return documents


def read_pieces(path: Path) -> list[Piece]:
    """What the reader for this suffix finds. All of it or an error: a file that breaks half-way gives nothing."""
    data = _bytes(path)  # first, so that a missing file is said to be missing whatever its suffix
    reader = readers().get(path.suffix.lower())
    if reader is None:
        raise BadFileError(path, no_reader(path), hint=f"Files that can be read: {', '.join(sorted(readers()))}.")
    return [replace(piece, text=whole_characters(piece.text.replace("\r\n", "\n"))) for piece in reader(data, path=path)]


@functools.cache
def readers() -> dict[str, Reader]:
    """The reader of each suffix (lower case, with its dot), from the modules in ``llamarium.text.read``."""
    found: dict[str, Reader] = {}
    for name in registry.names("llamarium.text.read"):
        module = registry.find("llamarium.text.read", name)
        for suffix in module.SUFFIXES:
            assert suffix not in found, f"two readers for {suffix}"
            found[suffix] = module.read
    return found


def no_reader(path: Path) -> str:
    """Why a file is left aside: its suffix."""
    return f"no reader for {path.suffix.lower()}" if path.suffix else "no reader for a file without a suffix"


def whole_characters(text: str) -> str:
    r"""Replace halves of surrogate pairs, which JSON escapes and file names can smuggle in and no UTF-8 can hold.

    >>> whole_characters("a\ud800b") == "a\ufffdb"
    True
    """
    return _HALF_CHARACTER.sub("\ufffd", text)


def _bytes(path: Path) -> bytes:
    try:
        if path.is_dir():
            raise NotFoundError(f"{path} is a folder, not a file.", hint="Name one file in it; `llamarium prepare` takes folders.")
        if path.exists() and not path.is_file():  # a pipe or a device may never end
            raise BadFileError(path, "is not a regular file.")
        size = path.stat().st_size
        if size > LARGEST_FILE:
            raise BadFileError(path, f"has {size:,} bytes; files up to {LARGEST_FILE:,} are read.", hint="Split it into smaller files.")
        return path.read_bytes()
    except FileNotFoundError:
        raise NotFoundError(f"{path} does not exist.") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise BadFileError(path, f"cannot be opened ({getattr(error, 'strerror', None) or error}).") from error
