"""Tables as text: .csv and .tsv.

Takes: bytes of a table; cells are parted by commas, semicolons, tabs or bars (whichever gives rows of one width), .tsv by tabs.
Gives: the text of each row, numbered as a spreadsheet numbers rows; empty rows are passed over.
Does not know: which columns are the text (`_columns` does).

The first row holds the names of the columns if it can: no cell of it is a number, long, or there twice. Without names, a row
is a line, its cells joined by " | ". A table of one column has no names unless the first row is one that means text. Between
tabs, quotes are words if one of them never ends; elsewhere such a file is broken.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from pathlib import Path

from llamarium.ground.errors import BadFileError
from llamarium.text.decode import lines
from llamarium.text.document import Piece
from llamarium.text.read._columns import text_columns, text_maker
from llamarium.text.read._records import FIELDS

SUFFIXES = (".csv", ".tsv")
TABLE = True

_DELIMITERS = ",;\t|"
_STATED = re.compile(r'"?sep=(.)"?\s*')  # what Excel reads and writes in a first line
_SAMPLE_LINES, _SAMPLE_LINE = 50, 4096
_LONGEST_NAME = 80
_NUMBER = re.compile(r"[-+]?[\d.,]+%?")


def read(data: bytes, *, path: str | Path, column: str = "") -> Iterator[Piece]:
    """One piece a row. `column`: the name of the column that is the text, instead of those that the rule finds."""
    encoding, each = lines(data, path=path)
    if csv.field_size_limit() < len(data):  # of the whole process, so it only grows
        csv.field_size_limit(len(data))
    head = list(islice(each, _SAMPLE_LINES))
    stated = _STATED.fullmatch(head[0])
    if stated:
        head[0] = "\n"
    delimiter = stated[1] if stated else "\t" if Path(path).suffix.lower() == ".tsv" else _delimiter(head)
    has_quotes = delimiter != "\t" or _quotes_end(data, path=path)
    found = False
    rows = _rows(chain(head, each), delimiter=delimiter, has_quotes=has_quotes, path=path)
    for number, text in _texts(rows, column=column, path=path):
        found = True
        yield Piece(text, number, encoding=encoding)
    if not found:
        raise BadFileError(path, "holds no records.")


def _texts(rows: Iterator[tuple[int, list[str]]], *, column: str, path: str | Path) -> Iterator[tuple[int, str]]:
    number, first = next(rows, (0, []))
    if not first:
        return
    if _are_names(first):
        make = text_maker(first, column=column, path=path)
    else:
        if column:
            reason = f"has no column {column!r}: its first row does not name any."
            raise BadFileError(path, reason, hint="Put the names into its first row.")
        make = " | ".join
        yield number, make(first)
    for number, row in rows:
        yield number, make(row)


def _are_names(row: Sequence[str]) -> bool:
    names = [name.strip() for name in row if name.strip()]
    if len(row) == 1:
        return names[:1] != [] and names[0].lower() in {field for fields in FIELDS for field in fields if len(fields) == 1}
    if any(len(name) > _LONGEST_NAME or _NUMBER.fullmatch(name) for name in names):
        return False
    return len(set(names)) == len(names) > 0 or text_columns(row) is not None


def _delimiter(head: list[str]) -> str:
    """What parts most rows of a sample into one number of cells, the more the better."""
    best, most = ",", (0, 0)
    for delimiter in _DELIMITERS:
        sample = _one_line_end(line[:_SAMPLE_LINE] for line in head)
        widths = [len(row) for row in csv.reader(sample, delimiter=delimiter) if row]
        usual = max(widths, key=widths.count, default=0)
        if usual > 1 and (widths.count(usual), usual) > most:
            best, most = delimiter, (widths.count(usual), usual)
    return best


def _quotes_end(data: bytes, *, path: str | Path) -> bool:
    """Whether tabs and quotes make rows of all of a file; many files with tabs take quotes for words."""
    try:
        return all(True for _ in _rows(lines(data, path=path)[1], delimiter="\t", path=path))
    except BadFileError:
        return False


def _rows(each: Iterable[str], *, delimiter: str, has_quotes: bool = True, path: str | Path) -> Iterator[tuple[int, list[str]]]:
    """The rows that are not empty, with their numbers; `BadFileError` where a quote never ends."""
    has_ended = False

    def until_the_end() -> Iterator[str]:
        nonlocal has_ended
        yield from _one_line_end(each)
        has_ended = True

    reader = csv.reader(until_the_end(), delimiter=delimiter, quoting=csv.QUOTE_MINIMAL if has_quotes else csv.QUOTE_NONE)
    number = first_line = 0
    try:
        for number, row in enumerate(reader, 1):
            if has_ended:  # a row that is whole is given before the reader asks for more
                reason = f"line {first_line + 1} opens a quoted field that never ends."
                raise BadFileError(path, reason, hint="Close it, or double a quote that is part of a cell.")
            first_line = reader.line_num
            if any(row):
                yield number, row
    except csv.Error as error:
        raise BadFileError(path, f"row {number + 1} is not a row of a table ({error}).") from None


def _one_line_end(each: Iterable[str]) -> Iterator[str]:
    """Lines that CR ends are lines, too: csv refuses them inside what it takes for one."""
    for line in each:
        if "\r" in line:
            yield from re.split("(?<=\r)(?!\n)", line)
        else:
            yield line
