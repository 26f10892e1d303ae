"""Which field of a JSON record is its text: one rule for .json and .jsonl.

Takes: a JSON value.
Gives: the text in it, or an error that names the fields it has.
Does not know: files.

The first row whose fields are all there gives the text, joined by line ends; a field in brackets may be missing:

    text
    content
    instruction, [input], output
    prompt, completion
    prompt, response
    question, answer
    [title], body
    [title], abstract

A record that is a string is its own text. null counts as an empty text. Titles beside `text` or `content` are
metadata and left out, so that the text of a record is what its author called the text.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from llamarium.ground.errors import BadFileError, nearest

FIELDS = (
    ("text",),
    ("content",),
    ("instruction", "[input]", "output"),
    ("prompt", "completion"),
    ("prompt", "response"),
    ("question", "answer"),
    ("[title]", "body"),
    ("[title]", "abstract"),
)


def parse(text: str, *, path: str | Path, where: str = "") -> Any:
    """The JSON value in `text`; NaN and Infinity pass. `where` ends in a space and leads the sentence of an error."""
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        place = where or f"line {error.lineno} "
        hint = ""
        if error.msg == "Extra data" and not where:
            hint = "If it holds one record a line, rename it to .jsonl."
        raise BadFileError(path, f"{place}is not valid JSON ({error.msg}, column {error.colno}).", hint=hint) from None
    except RecursionError:
        raise BadFileError(path, f"{where}is nested too deeply.", hint="A record is an object with a text in it.") from None
    except ValueError:  # Python's limit, against the square of a number's length
        raise BadFileError(path, f"{where}has a number of more than {sys.get_int_max_str_digits():,} digits.") from None


def text_of(record: Any) -> str | None:
    """The text of a record, or None where no rule finds one.

    >>> text_of({"instruction": "Add 1 and 1.", "input": "", "output": "2"})
    'Add 1 and 1.\\n2'
    >>> text_of({"title": "静夜思", "text": "床前明月光"})
    '床前明月光'
    """
    if isinstance(record, str):
        return record
    if not isinstance(record, dict):
        return None
    if type(text := record.get("text")) is str:  # the first rule, and by far the most frequent
        return text
    for fields in FIELDS:
        names = [field.strip("[]") for field in fields]
        needed = [field for field in fields if not field.startswith("[")]
        values = ["" if record.get(name) is None else record[name] for name in names]
        if all(field in record for field in needed) and all(isinstance(value, str) for value in values):
            return "\n".join(value for value in values if value)
    return None


def require_text(record: Any, *, path: str | Path, where: str, field: str = "") -> str:
    """The text of a record: its `field`, or where none is named, what the rule finds; `BadFileError` says which fields it has instead."""
    if field:
        text = record.get(field) if isinstance(record, dict) else None
        if isinstance(text, str):
            return text
        names = [name for name, value in record.items() if isinstance(value, str)] if isinstance(record, dict) else []
        raise BadFileError(path, f"{where} has no text in a field {field!r}.", hint=nearest(field, names) if names else "")
    text = text_of(record)
    if text is None:
        has = f"has only {', '.join(map(repr, list(record)[:8])) or 'nothing'}" if isinstance(record, dict) else f"is {_kind(record)}"
        known = "; ".join(", ".join(fields) for fields in FIELDS)
        raise BadFileError(path, f"{where} has no text field: it {has}.", hint=f"Fields that are looked for: {known}.")
    return text


def records_of(value: Any) -> Iterator[Any]:
    """The records in the value of a whole .json file: an array's items; the items of the one array in an object; else
    the object's values, where each is a string or an object; an object with a text of its own is the only record.
    """
    if isinstance(value, list):
        yield from value
    elif not isinstance(value, dict) or text_of(value) is not None:
        yield value
    else:
        arrays = [item for item in value.values() if isinstance(item, list)]
        if len(arrays) == 1:
            yield from arrays[0]
        elif value and all(isinstance(item, str | dict) for item in value.values()):
            yield from value.values()
        else:
            yield value


def _kind(value: Any) -> str:
    kinds = {list: "an array", bool: "true or false", int: "a number", float: "a number", type(None): "null"}
    return kinds[type(value)]
