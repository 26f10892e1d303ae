"""JSON lines: one record a line.

Takes: bytes of a .jsonl file.
Gives: the text of each record, numbered by its line; blank lines are passed over.
Does not know: which field is the text (`_records` does).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from llamarium.ground.errors import BadFileError
from llamarium.text.decode import lines
from llamarium.text.document import Piece
from llamarium.text.read._records import parse, require_text

SUFFIXES = (".jsonl", ".ndjson")
TABLE = True


def read(data: bytes, *, path: str | Path, column: str = "") -> Iterator[Piece]:
    """One piece a line that is not blank. Only LF ends a line: JSON strings may hold U+2028 and its kin.

    `column`: the field that is the text, instead of those that the rule finds.
    """
    found = False
    encoding, each = lines(data, path=path)
    for number, line in enumerate(each, 1):
        if not line.isspace():
            found = True
            record = parse(line, path=path, where=f"line {number} ")
            yield Piece(require_text(record, path=path, where=f"line {number}", field=column), number, encoding=encoding)
    if not found:
        raise BadFileError(path, "holds no records.")
