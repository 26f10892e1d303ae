"""PDF: the text of each page.

Takes: bytes of a .pdf file.
Gives: the text of its pages in the order of their content, joined by blank lines, and where each page starts. A page without text starts
where the next one does; a page that cannot be read is a piece with a `problem`, and the others are read all the same.
Does not know: pictures, so not what a scanner made; columns and tables beyond the order in which the file has them.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

from llamarium.ground.errors import BadFileError, MissingExtraError
from llamarium.text.document import Piece
from llamarium.text.read._packed import require_opening

if TYPE_CHECKING:
    from pypdf import PdfReader

SUFFIXES = (".pdf",)
CONFINED = True
BETWEEN_PAGES = "\n\n"
MOST_PAGES = 20_000
_LINE_ENDS = re.compile("\r\n?|[\v\f\x85\u2028\u2029]")
_SPACES_AT_END = re.compile("[ \t\u00a0]+$", re.MULTILINE)


def read(data: bytes, *, path: str | Path) -> Iterator[Piece]:
    """One piece with all pages, then one with a problem for each page that could not be read."""
    start = data.find(b"%PDF-", 0, 1024)  # some mail programs put lines before it
    require_opening(data[max(start, 0) :], (b"%PDF-",), path=path, kind="a PDF document")
    try:
        import pypdf  # noqa: F401
    except ImportError:
        raise MissingExtraError("Reading a PDF document", extra="text", package="pypdf") from None
    logging.getLogger("pypdf").setLevel(logging.CRITICAL)  # it tells of every oddity that it puts up with
    texts, problems = _pages(_open(data, path=path), path=path)
    if not any(texts):
        if problems:
            raise BadFileError(path, problems[0])
        count = f"{len(texts):,} pages" if len(texts) != 1 else "1 page"
        hint = "Recognise its text first, for example: ocrmypdf IN.pdf OUT.pdf"
        raise BadFileError(path, f"has {count} and no text: scanned, probably.", hint=hint)
    yield _joined(texts)
    yield from (Piece("", problem=problem) for problem in problems)


def _open(data: bytes, *, path: str | Path) -> PdfReader:
    from pypdf import PdfReader, errors

    locked = BadFileError(path, "is encrypted, and needs a password.", hint="Save a copy of it without the password.")
    try:
        reader = PdfReader(BytesIO(data))
        if reader.is_encrypted and not reader.decrypt(""):  # many forbid only printing, and open without a password
            raise locked
        num_pages = len(reader.pages)
    except errors.DependencyError:
        hint = "Save a copy of it without encryption, or: pip install cryptography"
        raise BadFileError(path, "is encrypted in a way that needs the package cryptography.", hint=hint) from None
    except errors.LimitReachedError as error:
        raise BadFileError(path, f"goes beyond what is reasonable ({_words(error)}).") from None
    except (BadFileError, MemoryError):
        raise
    except Exception as error:  # what a damaged file does to a parser has no class of its own
        raise BadFileError(path, f"is damaged: its pages cannot be found ({_words(error)}).") from None
    if num_pages > MOST_PAGES:
        raise BadFileError(path, f"has {num_pages:,} pages; {MOST_PAGES:,} are read at most.", hint="Split it.")
    if not num_pages:
        raise BadFileError(path, "has no pages.")
    return reader


def _pages(reader: PdfReader, *, path: str | Path) -> tuple[list[str], list[str]]:
    """The text of each page, and what is wrong with some."""
    from pypdf import errors

    texts: list[str] = []
    problems: list[str] = []
    for number in range(len(reader.pages)):
        text = ""
        try:
            text = reader.pages[number].extract_text()
        except errors.LimitReachedError as error:
            raise BadFileError(path, f"page {number + 1} goes beyond what is reasonable ({_words(error)}).") from None
        except MemoryError:
            raise
        except Exception as error:
            problems.append(f"page {number + 1} cannot be read ({_words(error)}).")
        texts.append(_plain(text))
    return texts, problems


def _plain(text: str) -> str:
    """LF for every kind of line end, and nothing invisible at the ends of lines and of the page."""
    text = _LINE_ENDS.sub("\n", text.replace("\0", ""))
    return _SPACES_AT_END.sub("", text).strip("\n")


def _joined(texts: list[str]) -> Piece:
    starts: list[int] = []
    position = 0
    for text in texts:
        starts.append(position)
        position += len(text) + len(BETWEEN_PAGES) if text else 0
    whole = BETWEEN_PAGES.join(text for text in texts if text)
    return Piece(whole, pages=tuple(min(start, len(whole)) for start in starts))


def _words(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error)[:100]}" if str(error) else type(error).__name__
