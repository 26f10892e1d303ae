"""``llamarium export``: a model in a form that others read."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from llamarium.cli.generate import Dtype

FORMATS = ("hf",)


def command(
    model: Annotated[str, typer.Argument(help="A path, a catalogue name, or hf:REPO.")],
    out: Annotated[Path, typer.Option(help="The folder to write.")],
    to: Annotated[str, typer.Option(help="The format: hf (a Hugging Face folder).")] = "hf",
    dtype: Dtype = "float32",
) -> None:
    """Write a model as a Hugging Face folder."""
    from llamarium.checkpoint.huggingface import save_folder
    from llamarium.checkpoint.open import open_model
    from llamarium.ground.device import pick_dtype
    from llamarium.ground.errors import ExistsError, UsageError, nearest

    if to not in FORMATS:
        raise UsageError(f"Unknown format {to!r}.", hint=nearest(to, FORMATS))
    if out.exists():
        raise ExistsError(f"{out} exists.", hint="Name another folder with --out.")
    opened = open_model(model, dtype=pick_dtype(dtype))
    save_folder(out, opened.model, opened.tokenizer)
    print(out)
