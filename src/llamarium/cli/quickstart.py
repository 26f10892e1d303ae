"""``llamarium quickstart``: the whole life of a LLaMA in five minutes, on the user's own text."""

from __future__ import annotations

import locale
import os
from pathlib import Path
from typing import Annotated

import typer


def command(
    text: Annotated[Path | None, typer.Option(help="A file or folder of your own text; without it, Python's documentation.")] = None,
    minutes: Annotated[float, typer.Option(help="About how long it may take.", min=0.5)] = 5.0,
    language: Annotated[str, typer.Option(help="en or zh; the locale decides where none is given.")] = "",
    out: Annotated[Path, typer.Option(help="The folder to write.")] = Path("runs/quickstart"),
) -> None:
    """From text to a LLaMA that speaks and answers, with a report. Never touches the network."""
    from llamarium.cli._quickstart.steps import Quickstart, prepare_folder
    from llamarium.ground.errors import MissingExtraError, NotFoundError, UsageError, nearest
    from llamarium.text.python_documentation import WORD

    language = language or preferred_language()
    if language not in ("en", "zh"):
        raise UsageError(f"Unknown language {language!r}.", hint=nearest(language, ["en", "zh"]))
    if text is not None and not text.exists():
        raise NotFoundError(f"{text} does not exist.", hint="Name a file or a folder of text.")
    for package, extra in (("pyarrow", "text"), ("matplotlib", "plots")):
        if not _installed(package):
            raise MissingExtraError("quickstart", extra=extra, package=package)
    prepare_folder(out)
    print(Quickstart(WORD if text is None else str(text), minutes, language, out).run())


def preferred_language() -> str:
    """zh under a Chinese locale, else en."""
    name = next((os.environ[key] for key in ("LC_ALL", "LC_MESSAGES", "LANG") if os.environ.get(key)), "")
    return "zh" if (name or locale.getlocale()[0] or "").lower().startswith(("zh", "chinese")) else "en"


def _installed(package: str) -> bool:
    from importlib.util import find_spec

    return find_spec(package) is not None
