"""What verbs are given: options that several have, and what a text of one means."""

from __future__ import annotations

import re
from typing import Annotated

import typer

from llamarium.ground.errors import UsageError

Embeddings = Annotated[
    str | None, typer.Option("--embeddings", metavar="URL", help="Where the vectors of this index are from, if from an address.")
]
Store = Annotated[
    str | None, typer.Option("--store", metavar="ADDRESS", help="The Qdrant server that has the vectors of this index, if one has.")
]


def parse_bytes(text: str, *, least: int = 1) -> int:
    """A size such as 200MB, in bytes. `UsageError` for what is none, or less than `least`.

    >>> parse_bytes("200MB"), parse_bytes("1.5 GiB"), parse_bytes("7")
    (200000000, 1500000000, 7)
    """
    found = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?) *([kmgt]?)i?b?", text.strip().lower())
    size = int(float(found[1]) * 1000 ** " kmgt".index(found[2] or " ")) if found else -1
    if size < least:
        raise UsageError(f"{text!r} is not a size.", hint="Write it like 200MB or 2GB.")
    return size
