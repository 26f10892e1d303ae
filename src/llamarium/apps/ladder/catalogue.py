"""The top of the ladder: a real LLaMA from the catalogue, as it is and after reading the user's text with LoRA.

Takes: a corpus, a time, a folder.
Gives: a run that is ready to read; bits per byte before and after.
Does not know: the other rungs.
"""

from __future__ import annotations

from pathlib import Path

import torch

from llamarium.adapt import lora
from llamarium.checkpoint.catalogue import find, is_source
from llamarium.checkpoint.open import Opened
from llamarium.checkpoint.resolve import resolve
from llamarium.evaluate.bits_per_byte import bits_per_byte
from llamarium.ground.errors import NotFoundError
from llamarium.train import finish, loop, recipe
from llamarium.train.run import Run, start


def missing(name: str) -> str:
    """Why the MODEL `name` cannot be had now and how to get it, or nothing where it is here.

    A name that nobody could fetch is a mistake: `NotFoundError`. A path that holds no model: `BadFileError`.
    """
    try:
        resolve(name)
    except NotFoundError as error:
        if find(name) is None and not is_source(name):
            raise
        return f"{error.message} To have it at the top of the ladder: {error.hint}"
    return ""


def reader(name: str, *, corpus: Path, minutes: float, precision: str, out: Path) -> Run:
    """A run in `out`, new or to be gone on with, that will fit LoRA layers beside the MODEL `name` for `minutes`.

    Errors are those of opening the model, and `RecipeError` where it has no layers that LoRA could stand beside.
    """
    described = recipe.build(
        {
            "name": out.name,
            "data": {"corpus": str(corpus)},
            "model": {"from": name},
            "train": {
                "minutes": minutes,
                "batch_tokens": 1024,
                "sequence_length": 256,
                "learning_rate": 2e-3,
                "save_every": 1_000_000,
                "precision": precision,
            },
            "optimizer": {"weight_decay": 0.0, "warmup": 0.05},
            "lora": {"rank": 8, "alpha": 16, "targets": ["*_proj"]},
        }
    )
    return start(described, out, resume=True)


def opened(run: Run) -> Opened:
    """The run's model as it stands, ready to write."""
    return Opened(run.folder.name, run.model.eval(), run.tokenizer, run.tokenizer.stop_ids)


def score(run: Run, texts: list[str], *, name: str = "evaluating") -> float:
    """Bits per byte of the run's model as it stands, in the run's arithmetic."""
    autocast = None if run.precision == torch.float32 else run.precision
    return bits_per_byte(run.model.eval(), run.tokenizer, texts, autocast=autocast, name=name).bits_per_byte


def read(run: Run) -> None:
    """Let the run's model read to its end; its LoRA layers are written as an adapter and then fused."""
    run.validation = []
    try:
        loop.train(run)
    finally:
        run.log.close()
    finish.write_adapter(run)
    lora.fuse(run.model)
