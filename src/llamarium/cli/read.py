"""``llamarium read``: exactly the text that the offsets of citations refer to."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from llamarium.cli._output import Json, print_json, print_text


def command(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The file to read.")],
    *,
    json: Json = False,
) -> None:
    """Print the text of a file, as citations count it: nothing added, no line end at the end but its own."""
    from llamarium.ground import progress
    from llamarium.text.document import join, read_pieces

    pieces = read_pieces(file)
    document = join(pieces, path=file)
    for piece in pieces:
        if piece.problem:
            progress.say(f"left out: {piece.member or file.name}: {piece.problem}")
    if json:
        print_json({"text": document.text, "document": document.source, "pages": list(document.pages)})
    else:
        print_text(document.text, end="")
