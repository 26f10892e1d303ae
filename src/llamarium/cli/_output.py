"""What a verb prints: data to standard output, talk to standard error."""

from __future__ import annotations

import json
import sys
from typing import Annotated, Any

import typer

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


def print_json(value: dict[str, Any]) -> None:
    """Print one JSON object to standard output."""
    json.dump(value, sys.stdout, ensure_ascii=False, allow_nan=False)
    sys.stdout.write("\n")


def print_text(text: str, *, end: str = "\n") -> None:
    """Print text to standard output at once; a terminal that cannot show a character gets a replacement."""
    sys.stdout.write(text + end)
    sys.stdout.flush()
