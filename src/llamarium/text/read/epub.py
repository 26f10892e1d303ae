"""EPUB: the chapters of a book.

Takes: bytes of a .epub file.
Gives: a record for each chapter that has text, numbered by its place in the book's order of reading, so that a citation names the chapter.
Paragraphs and headings have blank lines between, list items and table rows a line each (cells joined by " | ").
Does not know: pictures, notes that pop up, or what a publisher has locked.
"""

from __future__ import annotations

import posixpath
import re
from collections import Counter
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote
from zipfile import ZipFile

from llamarium.ground.errors import BadFileError
from llamarium.text.decode import decode_reported
from llamarium.text.document import Piece
from llamarium.text.read import _packed, _xml
from llamarium.text.read._xml import attribute, child, children

SUFFIXES = (".epub",)
CONFINED = True
CONTAINER = "META-INF/container.xml"
LOCKS = "META-INF/encryption.xml"

_PAGES = ("application/xhtml+xml", "text/html", "text/x-oeb1-document")
_SPACES = re.compile("[ \t\r\n\f]+")
_HEADINGS = frozenset(f"h{level}" for level in range(1, 7))
_PARTS = frozenset(("address", "article", "aside", "body", "div", "figure", "footer", "form", "header", "main", "nav", "section"))
_TEXTS = frozenset(("blockquote", "caption", "center", "dd", "dl", "dt", "fieldset", "figcaption", "hr", "ol", "p", "pre", "table", "ul"))
_BLOCKS = _HEADINGS | _PARTS | _TEXTS
_LINES = frozenset(("li", "tr"))
_CELLS = frozenset(("td", "th"))
_UNSEEN = frozenset(("script", "style", "head", "template", "rt", "rp"))
# Marks that wait in the text until it is whole: a space that is kept, an item, the edge of a line, of a cell.
_KEPT_SPACE, _ITEM, _LINE, _CELL = "\x1c", "\x1d", "\x1e", "\x1f"
_BETWEEN_CELLS = " | "
_MARKS = re.compile("[\x1c-\x1f]")
_ITEM_START = re.compile(_ITEM + "[ \n]*")
_EDGES = re.compile("[ \n\x1e]*[\n\x1e][ \n\x1e]*")


def read(data: bytes, *, path: str | Path) -> Iterator[Piece]:
    """One piece a chapter. A chapter that cannot be read is a piece with a `problem`."""
    archive = _packed.open_zip(data, path=path, kind="an EPUB book")
    locked = _locked(archive, path=path)
    names = _chapters(archive, path=path)
    found = False
    left = _packed.LARGEST_TOTAL
    for number, name in enumerate(names, 1):
        try:
            chapter = None if name in locked else _packed.part(archive, name, path=path)
            if chapter is None:
                raise BadFileError(path, "is locked by its publisher." if name in locked else "is not in the book.")
            left -= len(chapter)
            if left < 0:
                raise BadFileError(path, f"comes after {_packed.LARGEST_TOTAL >> 20} MB of other chapters.")
            decoded = decode_reported(chapter, path=path)
            text = strip(decoded.text)
        except BadFileError as error:
            yield Piece("", number, member=name, problem=error.reason)
            found = True
            continue
        if text:
            yield Piece(text, number, encoding=decoded.encoding)
            found = True
    if not found:
        raise BadFileError(path, "has no chapter with text.")


def strip(page: str) -> str:
    r"""The visible text of an XHTML page.

    >>> strip("<h1>Of  llamas</h1><p>They eat<br/>grass.</p><ul><li>green</li><li>dry</li></ul>")
    'Of llamas\n\nThey eat\ngrass.\n\n- green\n- dry'
    """
    words = _Words()
    words.feed(page)
    words.close()
    return words.text()


class _Words(HTMLParser):
    """What a reader of a page sees."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.found: list[str] = []
        self.unseen: list[str] = []  # elements that are open and not shown
        self.open: Counter[str] = Counter()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:  # noqa: ARG002
        if tag in _UNSEEN:
            self.unseen.append(tag)
            return
        self.edge(tag)
        if tag == "li":
            self.found.append(_ITEM)
        self.open[tag] += 1

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in _UNSEEN:  # <script/> hides nothing
            self.handle_starttag(tag, attrs)
            self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag in _UNSEEN:
            if tag in self.unseen:
                del self.unseen[self.unseen.index(tag) :]
        elif self.open[tag]:
            self.open[tag] -= 1
            if tag not in _CELLS and tag != "br":
                self.edge(tag)

    def handle_data(self, data: str) -> None:
        if not self.unseen:
            data = _MARKS.sub("", data)
            in_pre = self.open["pre"] and not self.in_cell
            self.found.append(data.replace(" ", _KEPT_SPACE).replace("\r", "") if in_pre else _SPACES.sub(" ", data))

    @property
    def in_cell(self) -> bool:
        return bool(self.open["td"] or self.open["th"])

    def edge(self, tag: str) -> None:
        """What the beginning or the end of an element does to the lines."""
        if tag in _CELLS:
            self.found.append(_CELL)
        elif tag == "tr" or (tag in _LINES and not self.in_cell):
            self.found.append(_LINE)
        elif tag == "br":
            self.found.append(" " if self.in_cell else "\n")
        elif tag in _BLOCKS:
            self.found.append(" " if self.in_cell else "\n\n")

    def text(self) -> str:
        """All of it: one line end between items and between rows, a blank line between other blocks."""
        lines = _EDGES.sub(_line_ends, "".join(self.found)).split("\n")
        text = "\n".join(_BETWEEN_CELLS.join(cell.strip(" ") for cell in line.removeprefix(_CELL).split(_CELL)) for line in lines)
        return _ITEM_START.sub("- ", text).replace(_KEPT_SPACE, " ").strip("\n")


def _line_ends(edge: re.Match[str]) -> str:
    marks = edge[0].replace(" ", "")
    if _LINE * 2 in marks:  # an item ends and the next begins, whatever else does
        return "\n"
    return "\n\n" if "\n\n" in marks else "\n"


def _chapters(archive: ZipFile, *, path: str | Path) -> list[str]:
    """The names of the pages, in the order of reading."""
    container = _packed.part(archive, CONTAINER, path=path)
    if container is None:
        raise BadFileError(path, f"is not an EPUB book: it has no {CONTAINER}.")
    root = _xml.tree(container, path=path, name=CONTAINER)
    name = attribute(child(root, "rootfiles", "rootfile"), "full-path")
    listing = _packed.part(archive, name, path=path)
    if listing is None:
        raise BadFileError(path, f"has no table of its parts: {name[:200] or 'no name is given'}.")
    book = _xml.tree(listing, path=path, name=name[:200])
    items = {attribute(item, "id"): item for item in children(child(book, "manifest"), "item")}
    order = [items.get(attribute(reference, "idref")) for reference in children(child(book, "spine"), "itemref")]
    folder = posixpath.dirname(name)
    places = [unquote(attribute(item, "href")).partition("#")[0] for item in order if attribute(item, "media-type") in _PAGES]
    return list(dict.fromkeys(posixpath.normpath(posixpath.join(folder, place)) for place in places))  # names in the archive, not paths


def _locked(archive: ZipFile, *, path: str | Path) -> set[str]:
    """The names of the parts that are encrypted: in most books only fonts."""
    listing = _packed.part(archive, LOCKS, path=path)
    if listing is None:
        return set()
    items = children(_xml.tree(listing, path=path, name=LOCKS), "EncryptedData")
    return {unquote(attribute(child(item, "CipherData", "CipherReference"), "URI")) for item in items}
