"""The items of an evaluation set, as texts: what is to judge models, to be looked for in what they learn from.

Takes: a file that holds an evaluation set.
Gives: its documents, as any reader finds them; or, of JSON in which the rule for texts finds none (SQuAD's form, multiple choice), every
string in it as one item.
Does not know: what is asked, or which answer is right.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from llamarium.ground.errors import BadFileError
from llamarium.text.decode import decode
from llamarium.text.document import Document, read_documents, whole_characters
from llamarium.text.read._records import parse, records_of
from llamarium.text.spans import RECORDS


def items(path: Path, *, source: str) -> list[Document]:
    """The items of the file `path`, each named ``<source>#<record>`` where it is in a record; `BadFileError` if there are none."""
    try:
        return read_documents(path, source=source)
    except BadFileError:
        found = list(_strings(path, source)) if path.suffix.lower() in (".json", *RECORDS) else []
        if not found:
            raise
        return found


def _strings(path: Path, source: str) -> Iterator[Document]:
    for number, record in _records(path):
        for text in _strings_in(record):
            yield Document(whole_characters(text), f"{source}#{number}")


def _records(path: Path) -> Iterator[tuple[int, Any]]:
    text = decode(path.read_bytes(), path=path)
    if path.suffix.lower() not in RECORDS:
        yield from enumerate(records_of(parse(text, path=path)), 1)
        return
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            yield number, parse(line, path=path, where=f"line {number} ")


def _strings_in(value: Any) -> Iterator[str]:
    """All strings in a JSON value, in order; names of fields are none."""
    waiting = [value]
    while waiting:
        value = waiting.pop()
        if isinstance(value, str):
            yield value
        elif isinstance(value, list | dict):
            waiting += reversed(list(value.values() if isinstance(value, dict) else value))
