"""Word: the text of a document.

Takes: bytes of a .docx file.
Gives: its paragraphs and headings with blank lines between, list items and table rows a line each (cells joined by " | "), and at the end
its footnotes, each with the number that stands in brackets where it is called.
Does not know: macros, comments, headers and footers; what was deleted with changes tracked, or is hidden, is not there.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree.ElementTree import Element
from zipfile import ZipFile

from llamarium.ground.errors import BadFileError
from llamarium.text.document import Piece
from llamarium.text.read import _packed, _xml
from llamarium.text.read._xml import attribute, child, children, local

SUFFIXES = (".docx",)
CONFINED = True
DOCUMENT = "word/document.xml"
BETWEEN_CELLS = " | "
DEEPEST = 8  # level of a list, from 0

_LEFT_OUT = frozenset(("del", "moveFrom", "Fallback", "instrText", "delText", "rPr", "pPr", "sdtPr"))
_NOTES = {"footnoteReference": "footnotes", "endnoteReference": "endnotes"}
_SIGNS = {"tab": "\t", "br": "\n", "cr": "\n", "noBreakHyphen": "-", "softHyphen": "\u00ad"}
_LOCKED = b"\xd0\xcf\x11\xe0"


def read(data: bytes, *, path: str | Path) -> Iterator[Piece]:
    """The whole text as one piece."""
    if data.startswith(_LOCKED):
        raise BadFileError(path, "is encrypted, or an old Word document.", hint="Save it as .docx without a password.")
    archive = _packed.open_zip(data, path=path, kind="a Word document")
    parts = {name: _part(archive, f"word/{name}.xml", path=path) for name in ("document", "styles", "numbering", "footnotes", "endnotes")}
    body = child(parts["document"], "body")
    if body is None:
        raise BadFileError(path, f"is not a Word document: it has no {DOCUMENT}.")
    try:
        text = _Text(parts).whole(body)
    except RecursionError:
        raise BadFileError(path, _xml.TOO_DEEP) from None
    if not text.strip():
        raise BadFileError(path, "has no text.")
    yield Piece(text)


def _part(archive: ZipFile, name: str, *, path: str | Path) -> Element | None:
    data = _packed.part(archive, name, path=path)
    return None if data is None else _xml.tree(data, path=path, name=name)


@dataclass(frozen=True)
class _List:
    """Which list a paragraph is an item of, and how deep."""

    number: str
    level: int


@dataclass
class _Text:
    """A document on its way to text."""

    parts: dict[str, Element | None]
    counts: Counter[tuple[str, int]] = field(default_factory=Counter)
    called: dict[Element, int] = field(default_factory=dict)  # the notes and their numbers, in the order of their calls

    def __post_init__(self) -> None:
        self.notes = {
            call: {attribute(note, "id"): note for note in children(self.parts[name], name[:-1]) if not attribute(note, "type")}
            for call, name in _NOTES.items()
        }
        styles = children(self.parts["styles"], "style")
        self.style_lists = {attribute(style, "styleId"): _list_of(child(style, "pPr")) for style in styles}
        kinds = {attribute(kind, "abstractNumId"): kind for kind in children(self.parts["numbering"], "abstractNum")}
        self.bullets: dict[str, set[int]] = {}  # of each list, the levels that have signs for numbers
        for number in children(self.parts["numbering"], "num"):
            kind = kinds.get(attribute(child(number, "abstractNumId"), "val"))
            signs = {_int(attribute(level, "ilvl")) for level in children(kind, "lvl") if _form(level) in ("bullet", "none")}
            self.bullets[attribute(number, "numId")] = signs

    def whole(self, body: Element) -> str:
        """Body and notes."""
        blocks = list(self.blocks(body))
        done = 0
        while done < len(self.called):  # a note may call another
            for note, number in list(self.called.items())[done:]:
                blocks.append((f"[{number}] " + " ".join(text for text, _ in self.blocks(note)), False))
                done += 1
        found = []
        was_item = False
        for block, is_item in blocks:
            found += ["\n" if was_item and is_item else "\n\n", block]
            was_item = is_item
        return "".join(found[1:])

    def blocks(self, element: Element) -> Iterator[tuple[str, bool]]:
        """The paragraphs and tables in `element`, and whether each is an item of a list."""
        for inside in element:
            name = local(inside)
            if name == "p":
                text = self.words(inside).strip()
                if text:
                    mark = self.mark(child(inside, "pPr"))
                    yield mark + text, bool(mark)
            elif name == "tbl":
                rows = "\n".join(row for row in self.rows(inside) if row.strip(" |"))
                if rows:
                    yield rows, False
            elif name not in _LEFT_OUT:
                yield from self.blocks(inside)

    def rows(self, table: Element) -> Iterator[str]:
        for row in table:
            if local(row) == "tr":
                cells = [cell for cell in row if local(cell) in ("tc", "sdt")]
                yield BETWEEN_CELLS.join(" ".join(" ".join(text for text, _ in self.blocks(cell)).split()) for cell in cells)
            elif local(row) not in _LEFT_OUT:  # controls and tracked changes stand between a table and its rows
                yield from self.rows(row)

    def words(self, element: Element) -> str:
        """The text in a paragraph or a run."""
        found: list[str] = []
        for inside in element:
            name = local(inside)
            if name == "t":
                found.append(inside.text or "")
            elif name in _SIGNS:
                found.append(_SIGNS[name])
            elif name in _NOTES:
                note = self.notes[name].get(attribute(inside, "id"))
                if note is not None:
                    found.append(self.call(note))
            elif name == "txbxContent":  # a box of text, anchored here
                found.append("".join(f"\n{text}" for text, _ in self.blocks(inside)))
            elif name == "r" and _is_hidden(inside):
                continue
            elif name not in _LEFT_OUT:
                found.append(self.words(inside))
        return "".join(found)

    def call(self, note: Element) -> str:
        return f"[{self.called.setdefault(note, len(self.called) + 1)}]"

    def mark(self, properties: Element | None) -> str:
        """What stands before an item of a list, or nothing."""
        style = attribute(child(properties, "pStyle"), "val")
        item = _list_of(properties) or self.style_lists.get(style)
        if item is None or item.number == "0":
            return ""
        indent = "  " * item.level
        if item.level in self.bullets.get(item.number, {item.level}):
            return f"{indent}- "
        self.counts[item.number, item.level] += 1
        for deeper in range(item.level + 1, DEEPEST + 1):
            del self.counts[item.number, deeper]
        return f"{indent}{self.counts[item.number, item.level]}. "


def _list_of(properties: Element | None) -> _List | None:
    numbering = child(properties, "numPr")
    number = attribute(child(numbering, "numId"), "val")
    if not number:
        return None
    return _List(number, min(_int(attribute(child(numbering, "ilvl"), "val")), DEEPEST))


def _form(level: Element) -> str:
    return attribute(child(level, "numFmt"), "val")


def _is_hidden(run: Element) -> bool:
    vanish = child(run, "rPr", "vanish")
    return vanish is not None and attribute(vanish, "val") not in ("0", "false")


def _int(value: str) -> int:
    return int(value) if value.isascii() and value.isdigit() and len(value) < 9 else 0
