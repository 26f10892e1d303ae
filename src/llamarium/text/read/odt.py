"""OpenDocument: the text of a document.

Takes: bytes of a .odt file.
Gives: its paragraphs and headings with blank lines between, list items and table rows a line each (cells joined by " | "), and at the end
its notes, each with the number that stands in brackets where it is called.
Does not know: macros, comments, headers and footers; what was deleted with changes tracked is not there.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from xml.etree.ElementTree import Element

from llamarium.ground.errors import BadFileError
from llamarium.text.document import Piece
from llamarium.text.read import _packed, _xml
from llamarium.text.read._xml import attribute, child, children, local

SUFFIXES = (".odt",)
CONFINED = True
CONTENT, MANIFEST = "content.xml", "META-INF/manifest.xml"
BETWEEN_CELLS = " | "
MOST_REPEATS = 64  # a cell or a run of spaces says how often it is meant

_LEFT_OUT = frozenset(("tracked-changes", "annotation", "annotation-end", "sequence-decls", "note", "forms"))
_SIGNS = {"tab": "\t", "line-break": "\n"}


def read(data: bytes, *, path: str | Path) -> Iterator[Piece]:
    """The whole text as one piece."""
    archive = _packed.open_zip(data, path=path, kind="an OpenDocument text")
    manifest = _packed.part(archive, MANIFEST, path=path)
    if manifest is not None:
        entries = _xml.tree(manifest, path=path, name=MANIFEST)
        if any(child(entry, "encryption-data") is not None for entry in entries):
            raise BadFileError(path, "is encrypted.", hint="Save it without a password.")
    content = _packed.part(archive, CONTENT, path=path)
    body = None if content is None else child(_xml.tree(content, path=path, name=CONTENT), "body", "text")
    if body is None:
        raise BadFileError(path, f"is not an OpenDocument text: it has no {CONTENT} with a text in it.")
    try:
        text = _Text().whole(body)
    except RecursionError:
        raise BadFileError(path, _xml.TOO_DEEP) from None
    if not text.strip():
        raise BadFileError(path, "has no text.")
    yield Piece(text)


class _Text:
    """A document on its way to text."""

    def __init__(self) -> None:
        self.notes: list[Element] = []

    def whole(self, body: Element) -> str:
        """Body and notes."""
        blocks = list(self.blocks(body))
        for number, note in enumerate(self.notes, 1):  # it grows where a note calls another
            blocks.append(f"[{number}] " + " ".join(text.strip() for text in self.blocks(note)))
        return "\n\n".join(blocks)

    def blocks(self, element: Element) -> Iterator[str]:
        """Paragraphs, whole lists and whole tables."""
        for inside in element:
            name = local(inside)
            if name in ("p", "h"):
                text = self.words(inside).strip()
            elif name == "list":
                text = "\n".join(self.items(inside, 0))
            elif name == "table":
                text = "\n".join(row for row in self.rows(inside) if row.strip(" |"))
            else:
                if name not in _LEFT_OUT:
                    yield from self.blocks(inside)
                continue
            if text:
                yield text

    def items(self, element: Element, level: int) -> Iterator[str]:
        """A line an item; inner lists are indented."""
        for item in element:
            mark = "  " * level + "- "
            for inside in item:
                if local(inside) == "list":
                    yield from self.items(inside, level + 1)
                elif local(inside) in ("p", "h") and (text := self.words(inside).strip()):
                    yield mark + text
                    mark = "  " * level + "  "

    def rows(self, table: Element) -> Iterator[str]:
        for row in table:
            if local(row) == "table-row":
                cells = []
                for cell in children(row, "table-cell"):
                    text = " ".join(" ".join(self.blocks(cell)).split())
                    cells += [text] * (_repeats(cell, "number-columns-repeated") if text else 1)
                yield BETWEEN_CELLS.join(cells)
            elif local(row) not in _LEFT_OUT:
                yield from self.rows(row)

    def words(self, element: Element) -> str:
        """The text in a paragraph; what stands behind a child, belongs to its parent."""
        found = [element.text or ""]
        for inside in element:
            name = local(inside)
            if name == "s":
                found.append(" " * _repeats(inside, "c"))
            elif name in _SIGNS:
                found.append(_SIGNS[name])
            elif name == "note":
                self.notes.extend(children(inside, "note-body"))
                found.append(f"[{len(self.notes)}]")
            elif name not in _LEFT_OUT:
                found.append(self.words(inside))
            found.append(inside.tail or "")
        return "".join(found)


def _repeats(element: Element, name: str) -> int:
    value = attribute(element, name)
    return min(int(value), MOST_REPEATS) if value.isascii() and value.isdigit() and len(value) < 9 else 1
