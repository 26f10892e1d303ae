"""How fast the training loop is with a model on this machine.

Takes: the name of a MODEL, sizes of batch and row.
Gives: tokens a second, and the share they are of what a large matrix product reaches here.
Does not know: what is learnt: the ids are random.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from llamarium.checkpoint.open import open_model
from llamarium.ground.device import matmul_rate
from llamarium.ground.errors import UsageError
from llamarium.models.model import Network
from llamarium.tokens.shards import Example, write_examples
from llamarium.train import recipe
from llamarium.train.loop import Line, train
from llamarium.train.run import Run, start

FIRST = 2  # steps that are not counted


def measure(name: str, *, seconds: float, batch_tokens: int, sequence_length: int, compiled: bool = False) -> dict[str, Any]:
    """Train the MODEL `name` on random ids for about `seconds`; nothing of it is kept.

    Keys: `model`, `threads`, `precision`, `tokens_per_second`, `flop_per_token`, `fraction_of_limit` (of a 2048³ product in that type).
    """
    opened = open_model(name)
    if not isinstance(opened.model, Network):
        raise UsageError(f"{name} does not learn by gradient.", hint="Name a model such as a LLaMA.")
    flop = flop_per_token(opened.model, sequence_length)
    draw = np.random.Generator(np.random.PCG64(1))
    ids = draw.integers(0, opened.model.config.vocab_size, 64 * batch_tokens + 1)
    seen: list[tuple[int, float]] = []

    def note(run: Run, line: Line) -> None:  # noqa: ARG001
        seen.append((run.tokens, run.seconds))

    with tempfile.TemporaryDirectory() as folder:
        write_examples(Path(folder) / "tokens", {"train": [Example(ids, None, len(ids))]}, opened.tokenizer)
        described = recipe.build(
            {
                "name": "bench",
                "data": {"corpus": str(Path(folder) / "tokens")},
                "model": {"from": name},
                "train": {
                    "minutes": seconds / 60,
                    "batch_tokens": batch_tokens,
                    "micro_batch_tokens": batch_tokens,
                    "sequence_length": sequence_length,
                    "learning_rate": 1e-6,
                    "save_every": 1 << 40,
                    "compile": compiled,
                    "guard": False,
                },
            }
        )
        run = start(described, Path(folder) / "run")
        train(run, after_step=note)
        run.log.close()
    if len(seen) <= FIRST:
        raise UsageError(f"{len(seen)} steps in {seconds:g} s are too few to measure.", hint="Give more --seconds or fewer --batch-tokens.")
    (first_tokens, first_seconds), (tokens, took) = seen[FIRST - 1], seen[-1]
    rate = (tokens - first_tokens) / (took - first_seconds)
    return {
        "model": name,
        "threads": torch.get_num_threads(),
        "precision": str(run.precision).removeprefix("torch."),
        "tokens_per_second": rate,
        "flop_per_token": flop,
        "fraction_of_limit": rate * flop / matmul_rate(run.precision, run.device, size=2048, seconds=1.0),
    }


def flop_per_token(model: Network, sequence_length: int) -> float:
    """Arithmetic of one token, forward and backward: 6 for each weight of a matrix that multiplies, and causal attention.

    Kaplan et al. 2020, arXiv:2001.08361, table 1; 6 · layers · T · heads · head width is its attention term, of which half is masked.
    """
    config = model.config
    weights = sum(parameter.numel() for parameter in model.parameters() if parameter.ndim >= 2)
    if not getattr(config, "tied", True):
        weights -= config.vocab_size * config.width  # looked up, not multiplied
    attention = 6 * getattr(config, "layers", 0) * sequence_length * getattr(config, "heads", 0) * getattr(config, "head_width", 0)
    return float(6 * weights + attention)
