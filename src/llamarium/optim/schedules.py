"""The course of the learning rate: a warm-up, then one of several forms.

Takes: how much of the way is done, as a share from 0 to 1.
Gives: the learning rate there.
Does not know: steps, clocks, optimizers.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from llamarium.ground.errors import RecipeError, nearest


def cosine(share: float, decay: float) -> float:  # noqa: ARG001
    """Half a cosine from 1 to 0: ½ · (1 + cos(π · share)). Loshchilov and Hutter 2017, arXiv:1608.03983."""
    return 0.5 * (1 + math.cos(math.pi * share))


def linear(share: float, decay: float) -> float:  # noqa: ARG001
    """A straight line from 1 to 0."""
    return 1 - share


def constant(share: float, decay: float) -> float:  # noqa: ARG001
    """1 all the way."""
    return 1.0


def wsd(share: float, decay: float) -> float:
    """Warm-up, stable, decay: 1, then a straight line to 0 over the last `decay`. Hu et al. 2024 (MiniCPM), arXiv:2404.06395.

    A run can be lengthened from any checkpoint of its stable part: there nothing depends on where it will end.
    """
    return min(1.0, (1 - share) / decay) if decay > 0 else 1.0


# Each takes the share of the way after the warm-up, and the share of that which `decay` stands for; it gives 0 … 1.
SCHEDULES: dict[str, Callable[[float, float], float]] = {"cosine": cosine, "linear": linear, "constant": constant, "wsd": wsd}


def learning_rate(share: float, *, peak: float, schedule: str, warmup: float, final: float, decay: float = 0.2) -> float:
    """Learning rate at `share` (0 … 1) of the way: linear to `peak` within `warmup` of it, then down to ``final · peak``.

    `warmup` and `decay` are shares of the whole way; only the schedule ``wsd`` has a use for `decay`, its last part, which
    begins at once after the warm-up where there is no room for more. `RecipeError` for an unknown schedule.

    >>> [round(learning_rate(s, peak=1.0, schedule="cosine", warmup=0.1, final=0.1), 3) for s in (0.05, 0.1, 0.55, 1.0)]
    [0.5, 1.0, 0.55, 0.1]
    >>> [round(learning_rate(s, peak=1.0, schedule="wsd", warmup=0.1, final=0.0, decay=0.2), 3) for s in (0.05, 0.1, 0.8, 0.9, 1.0)]
    [0.5, 1.0, 1.0, 0.5, 0.0]
    """
    if schedule not in SCHEDULES:
        raise RecipeError(f"Unknown schedule {schedule!r}.", hint=nearest(schedule, SCHEDULES))
    if share < warmup:
        return peak * share / warmup
    way = 1 - warmup
    if way <= 0:
        return peak
    form = SCHEDULES[schedule](min(1.0, (share - warmup) / way), min(1.0, decay / way))
    return peak * (final + (1 - final) * form)
