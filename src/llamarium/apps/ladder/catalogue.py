"""The top of the ladder: a real LLaMA from the catalogue, as it is and after reading the user's text with LoRA.

Takes: a corpus, a time, a folder.
Gives: a run that is ready to read; bits per byte before and after.
Does not know: the other rungs.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from llamarium.adapt import lora
from llamarium.evaluate.bits_per_byte import Score, bits_per_byte
from llamarium.train import finish, loop, recipe
from llamarium.train.run import Run, start


@dataclass(frozen=True)
class Reading:
    """What reading did to the model."""

    before: Score
    after: Score
    seconds: float
    tokens: int


def reader(name: str, *, corpus: Path, minutes: float, precision: str, out: Path, resume: bool = False) -> Run:
    """A run in `out` that will fit LoRA layers beside the MODEL `name` for `minutes`; errors are those of opening it."""
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
    return start(described, out, resume=resume)


def score(run: Run, texts: list[str]) -> Score:
    """Bits per byte of the run's model as it stands, in the run's arithmetic."""
    return bits_per_byte(run.model, run.tokenizer, texts, autocast=None if run.precision == torch.float32 else run.precision)


def read(run: Run, *, minutes: float) -> None:
    """Let the run's model read for `minutes` in all; its LoRA layers are written as an adapter and then fused."""
    run.recipe = run.recipe.model_copy(update={"train": run.recipe.train.model_copy(update={"minutes": minutes})})
    run.validation = []
    loop.train(run)
    run.log.close()
    finish.write_adapter(run)
    lora.fuse(run.model)
    run.model.eval()
