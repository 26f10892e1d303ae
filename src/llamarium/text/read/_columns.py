"""Which columns of a table are its text: one rule for .csv, .tsv and .parquet.

Takes: the names of the columns, and the column that was asked for, if any.
Gives: how the text of a row is made.
Does not know: files.

Where the names fit a row of `_records.FIELDS` (upper and lower case are one), those columns are the text, joined by line
ends, as in a JSON record. A table of one column is its column. Any other row is written out, a line a column that is not
empty: ``name: value``, so that a price list can be asked as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from llamarium.ground.errors import BadFileError, nearest
from llamarium.text.read._records import FIELDS

MakeText = Callable[[Sequence[str]], str]


def text_maker(names: Sequence[str], *, column: str = "", path: str | Path) -> MakeText:
    """What makes the text of a row from its values, which stand in the order of `names`.

    >>> text_maker(["id", "Question", "Answer"], path="a.csv")(["7", "Why?", "So."])
    'Why?\\nSo.'
    >>> text_maker(["name", "price", "note"], path="a.csv")(["hay", "9", ""])
    'name: hay\\nprice: 9'
    >>> text_maker(["name", "price"], column="name", path="a.csv")(["hay", "9"])
    'hay'
    """
    chosen = [require_column(column, names, path=path)] if column else text_columns(names)
    if chosen is None:
        return lambda values: "\n".join(f"{_name(names, i)}: {value}" for i, value in enumerate(values) if value.strip())
    return lambda values: "\n".join(values[i] for i in chosen if i < len(values) and values[i])


def text_columns(names: Sequence[str]) -> list[int] | None:
    """The places of the columns that are the text by their names, or None where no rule finds them."""
    if len(names) == 1:
        return [0]
    places = {name.strip().lower(): place for place, name in reversed(list(enumerate(names)))}
    for fields in FIELDS:
        if all(field in places for field in fields if not field.startswith("[")):
            return [places[name] for name in (field.strip("[]") for field in fields) if name in places]
    return None


def require_column(column: str, names: Sequence[str], *, path: str | Path) -> int:
    """The place of a column; `BadFileError` names those that there are."""
    if column not in names:
        has = ", ".join(repr(name[:40]) for name in names[:8])
        raise BadFileError(path, f"has no column {column!r}: it has only {has}.", hint=nearest(column, names))
    return list(names).index(column)


def _name(names: Sequence[str], place: int) -> str:
    return (names[place].strip() if place < len(names) else "") or f"column {place + 1}"
