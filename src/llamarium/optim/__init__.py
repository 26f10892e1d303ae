"""Floor 2: optimizers and learning-rate schedules, by name.

Takes: parameters with their names, and settings.
Gives: a torch optimizer; the learning rate at a share of the way.
Does not know: what is learnt.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn

from llamarium.ground.errors import RecipeError, nearest
from llamarium.optim.groups import Settings
from llamarium.optim.optimizers import OPTIMIZERS
from llamarium.optim.schedules import SCHEDULES, learning_rate

__all__ = ["OPTIMIZERS", "SCHEDULES", "build", "learning_rate"]


def build(
    name: str,
    named_parameters: Iterable[tuple[str, nn.Parameter]],
    *,
    learning_rate: float,
    weight_decay: float | None,
    betas: tuple[float, float],
    momentum: float | None = None,
) -> torch.optim.Optimizer:
    """The optimizer `name` over those of `named_parameters` that learn. Norms and biases (one dimension) do not decay.

    `learning_rate`: that of every group until the caller sets ``group["lr"]``, as the schedule's rate times ``group["scale"]``.
    `betas`: how slowly the averages of gradients and of their squares forget; members without the first use the second alone.
    `weight_decay`, `momentum`: None takes what suits the member. `RecipeError` for an unknown name.

    ``optimizer.state[parameter]`` is a plain dict of tensors. Given back before the first step, it goes on as if never stopped.
    """
    if name not in OPTIMIZERS:
        raise RecipeError(f"Unknown optimizer {name!r}.", hint=nearest(name, OPTIMIZERS))
    member = OPTIMIZERS[name]
    settings = Settings(
        learning_rate=learning_rate,
        weight_decay=member.weight_decay if weight_decay is None else weight_decay,
        betas=betas,
        momentum=member.momentum if momentum is None else momentum,
    )
    return member.make([(key, parameter) for key, parameter in named_parameters if parameter.requires_grad], settings)
