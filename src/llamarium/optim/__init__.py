"""Floor 2: optimizers and learning-rate schedules, by name.

Takes: parameters and settings.
Gives: a torch optimizer; the learning rate at a share of the way.
Does not know: what is learnt. The full set of optimizers joins here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import torch
from torch import nn

from llamarium.ground.errors import RecipeError, nearest

OPTIMIZERS = {"adamw": torch.optim.AdamW}


def build(
    name: str,
    named_parameters: Iterable[tuple[str, nn.Parameter]],
    *,
    learning_rate: float,
    weight_decay: float,
    betas: tuple[float, float],
) -> torch.optim.Optimizer:
    """The optimizer `name`. Norms and biases (one dimension) do not decay.

    Each group carries ``scale``: its rate is the schedule's times this.
    """
    if name not in OPTIMIZERS:
        raise RecipeError(f"Unknown optimizer {name!r}.", hint=nearest(name, OPTIMIZERS))
    learning = [parameter for _, parameter in named_parameters if parameter.requires_grad]
    groups = [
        {"params": [parameter for parameter in learning if parameter.ndim >= 2], "weight_decay": weight_decay, "scale": 1.0},
        {"params": [parameter for parameter in learning if parameter.ndim < 2], "weight_decay": 0.0, "scale": 1.0},
    ]
    return OPTIMIZERS[name]([group for group in groups if group["params"]], lr=learning_rate, betas=betas, fused=True)


def cosine(share: float) -> float:
    """Half a cosine from 1 to 0. Loshchilov and Hutter 2017, arXiv:1608.03983."""
    return 0.5 * (1 + math.cos(math.pi * share))


SCHEDULES: dict[str, Callable[[float], float]] = {"cosine": cosine, "linear": lambda share: 1 - share, "constant": lambda _: 1.0}


def learning_rate(share: float, *, peak: float, schedule: str, warmup: float, final: float) -> float:
    """Learning rate at `share` (0 … 1) of the way: linear to `peak` within `warmup` of it, then down to ``final · peak``.

    >>> [round(learning_rate(s, peak=1.0, schedule="cosine", warmup=0.1, final=0.1), 3) for s in (0.05, 0.1, 0.55, 1.0)]
    [0.5, 1.0, 0.55, 0.1]
    """
    if schedule not in SCHEDULES:
        raise RecipeError(f"Unknown schedule {schedule!r}.", hint=nearest(schedule, SCHEDULES))
    if share < warmup:
        return peak * share / warmup
    rest = min(1.0, (share - warmup) / (1 - warmup)) if warmup < 1 else 0.0
    return peak * (final + (1 - final) * SCHEDULES[schedule](rest))
