"""Writes docs/reference/command-line.md from the commands' own help, so that it cannot drift from them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer

from llamarium.cli.main import build_app

OUT = Path(__file__).parent / "reference" / "command-line.md"


def sections(command: Any, name: str, parent: Any = None) -> list[str]:
    context = typer.Context(command, info_name=name.rsplit(maxsplit=1)[-1], parent=parent, max_content_width=100, terminal_width=100)
    found = [f"## `{name}`\n\n```\n{command.get_help(context)}\n```\n"]
    for child in getattr(command, "commands", {}):
        found += sections(command.commands[child], f"{name} {child}", context)
    return found


def reference() -> str:
    head = "# The command line\n\nMade by `make docs` from the commands' own help.\n\n"
    return head + "\n".join(sections(typer.main.get_command(build_app()), "llamarium"))


def main() -> None:
    OUT.parent.mkdir(exist_ok=True)
    OUT.write_text(reference(), encoding="utf-8")
    print(OUT)


if __name__ == "__main__":
    main()
