"""JSON: an array or an object of records.

Takes: bytes of a .json file.
Gives: the text of each record, numbered from 1.
Does not know: which field is the text (`_records` does).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from llamarium.ground.errors import BadFileError
from llamarium.text.decode import decode_reported
from llamarium.text.document import Piece
from llamarium.text.read._records import parse, records_of, require_text

SUFFIXES = (".json",)
TABLE = True


def read(data: bytes, *, path: str | Path, column: str = "") -> Iterator[Piece]:
    """One piece a record. `column`: the field that is the text, instead of those that the rule finds."""
    number = 0
    decoded = decode_reported(data, path=path)
    for number, record in enumerate(records_of(parse(decoded.text, path=path)), 1):
        yield Piece(require_text(record, path=path, where=f"record {number}", field=column), number, encoding=decoded.encoding)
    if not number:
        raise BadFileError(path, "holds no records.")
