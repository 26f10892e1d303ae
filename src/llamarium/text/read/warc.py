"""WARC: the pages that a crawler met.

Takes: bytes of a .warc file, packed with gzip or not (``pages.warc.gz`` comes here through gz).
Gives: the text of each page, numbered by its record in the file. A page is what a server answered with "200" and calls HTML or
plain text, or what a crawler kept as such (WET files). A record that cannot be read is a piece with a `problem`.
Does not know: addresses, pictures, or what was asked for.

The format is read here and not by warcio, which writes to stderr, and passes over what it cannot unpack.
Source: The WARC Format 1.1, IIPC; RFC 9112, section 7.1, for chunks.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator
from pathlib import Path

from llamarium.ground.errors import BadFileError
from llamarium.text.decode import Decoded, decode_reported
from llamarium.text.document import Piece
from llamarium.text.read import html
from llamarium.text.read._packed import inflated, joined, require_opening

SUFFIXES = (".warc",)
CONFINED = True

LARGEST_PAGE = 16 << 20  # bytes, unpacked
MOST_PROBLEMS = 100  # then the file is broken, not its records

_KINDS = ("response", "resource", "conversion")
_HTML = ("text/html", "application/xhtml+xml")
_TEXT = "text/plain"
_LONGEST_HEAD = 1 << 16
_HEAD_END = re.compile(rb"\r?\n\r?\n")
_BETWEEN = re.compile(rb"[\r\n]*")
_NEXT = b"\nWARC/1."
_CHUNK_HEAD = re.compile(rb"([0-9a-fA-F]{1,8})[^\r\n]{0,1000}\r\n")
_CHARSET = re.compile(r"""charset\s*=\s*["']?([\w-]{1,40})""", re.IGNORECASE)


class _Broken(Exception):  # noqa: N818  it never leaves this module
    """Why a record cannot be read, as the end of a sentence."""


def read(data: bytes, *, path: str | Path) -> Iterator[Piece]:
    """One piece a page that has text, or a problem."""
    require_opening(data, (b"WARC/", b"\x1f\x8b\x08"), path=path, kind="a WARC file")
    if not data.startswith(b"WARC/"):
        try:
            data = joined(inflated(data), packed=len(data), path=path)
        except (EOFError, zlib.error):
            raise BadFileError(path, "holds damaged gzip data.") from None
    num_pages = num_problems = 0
    for number, record in enumerate(_records(data), 1):
        try:
            if isinstance(record, _Broken):
                raise record
            page = _page(*record, path=path)
        except (_Broken, BadFileError) as error:
            num_problems += 1
            problem = f"record {number} {error.reason if isinstance(error, BadFileError) else error}"
            if num_problems > MOST_PROBLEMS:
                raise BadFileError(path, f"is damaged: more than {MOST_PROBLEMS} records cannot be read; {problem}") from None
            yield Piece("", number, problem=problem, web=True)
            continue
        if page and page.text.strip():
            num_pages += 1
            yield Piece(page.text, number, encoding=page.encoding, web=True)
    if not num_pages and not num_problems:
        raise BadFileError(path, "holds no pages with text.")


def _records(data: bytes) -> Iterator[tuple[dict[str, str], memoryview] | _Broken]:
    """The head and the content of each record. After a broken one, the next is looked for."""
    position = 0
    while position < len(data):
        end = _HEAD_END.search(data, position, position + _LONGEST_HEAD)
        head = _head(data[position : end.start()]) if end else {}
        length = head.get("content-length", "")
        stop = end.end() + int(length) if end and length.isdecimal() and len(length) < 16 else 0
        after = _after_blank_lines(data, stop) if stop else 0
        if end and 0 < stop <= len(data) and (after == len(data) or data.startswith(b"WARC/", after)):
            yield head, memoryview(data)[end.end() : stop]
            position = after
        else:
            what = "is cut off." if stop > len(data) else "does not say how long it is." if not stop else "is not as long as it says."
            yield _Broken(what)
            position = data.find(_NEXT, position) + 1 or len(data)


def _after_blank_lines(data: bytes, position: int) -> int:
    found = _BETWEEN.match(data, position)
    return found.end() if found else position


def _head(lines: bytes) -> dict[str, str]:
    """Names, in small letters, and values; the first line has no name, and of two equal names the first counts."""
    head: dict[str, str] = {}
    for line in lines.decode("latin-1").split("\n")[1:]:
        name, colon, value = line.partition(":")
        if colon:
            head.setdefault(name.strip().lower(), value.strip())
    return head


def _page(head: dict[str, str], content: memoryview, *, path: str | Path) -> Decoded | None:
    """The text of a record, if it is a page; `_Broken` or `BadFileError` if it cannot be read."""
    if head.get("warc-type", "").lower() not in _KINDS:
        return None
    kind, data = head.get("content-type", ""), content
    if kind.lower().startswith("application/http"):
        end = _HEAD_END.search(content, 0, _LONGEST_HEAD)
        if not end:
            raise _Broken("holds no answer of a server.")
        status = bytes(content[:20]).split(b" ")
        if not status[0].startswith(b"HTTP/") or status[1:2] != [b"200"]:
            return None
        answer = _head(bytes(content[: end.start()]))
        kind, data = answer.get("content-type", ""), content[end.end() :]
    else:
        answer = {}
    name = kind.partition(";")[0].strip().lower()
    if name not in {*_HTML, _TEXT} or not data:
        return None
    page = _unpacked(data, answer)
    if not page:
        return None
    charset = _CHARSET.search(kind)
    declared = charset[1] if charset else ""
    return html.read_page(page, path=path, declared=declared) if name in _HTML else decode_reported(page, path=path, declared=declared)


def _unpacked(content: memoryview, answer: dict[str, str]) -> bytes:
    """The content of an answer without the packing that it was sent in."""
    data = _without_chunks(bytes(content)) if "chunked" in answer.get("transfer-encoding", "").lower() else bytes(content)
    encoding = answer.get("content-encoding", "").lower()
    if encoding in {"gzip", "x-gzip", "deflate"}:
        try:
            data = _inflated(data)
        except zlib.error as error:
            raise _Broken(f"holds damaged {encoding} data ({error}).") from None
    elif encoding not in {"", "identity"}:
        raise _Broken(f"is packed with {encoding[:20]!r}, which is not read.")
    if len(data) > LARGEST_PAGE:
        raise _Broken(f"has more than {LARGEST_PAGE >> 20} MB of text.")
    return data


def _inflated(data: bytes) -> bytes:
    """gzip, zlib or bare deflate, up to one byte more than a page may have; some archives keep what was sent already unpacked."""
    if data[:2] == b"\x1f\x8b":
        return zlib.decompressobj(31).decompress(data, LARGEST_PAGE + 1)
    if data[:1] == b"\x78":
        return zlib.decompressobj(15).decompress(data, LARGEST_PAGE + 1)
    try:
        return zlib.decompressobj(-15).decompress(data, LARGEST_PAGE + 1)
    except zlib.error:
        if data.lstrip()[:1] == b"<":
            return data
        raise


def _without_chunks(data: bytes) -> bytes:
    """The content of chunks; as it is where no chunk begins it, as some archives keep it."""
    parts: list[bytes] = []
    position = 0
    while chunk := _CHUNK_HEAD.match(data, position):
        size = int(chunk[1], 16)
        if not size:
            break
        if chunk.end() + size > len(data):
            raise _Broken("holds an answer that is cut off.")
        parts.append(data[chunk.end() : chunk.end() + size])
        position = chunk.end() + size + 2
    return b"".join(parts) if parts else data
