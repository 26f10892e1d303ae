"""What all optimizers share: their settings, which weights decay, and where torch has a fused step.

Takes: parameters with their names.
Gives: parameter groups as torch's optimizers take them.
Does not know: any optimizer.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

Named = Sequence[tuple[str, nn.Parameter]]
Group = dict[str, Any]


@dataclass(frozen=True)
class Settings:
    """What a recipe says of an optimizer. A member uses those that its formula has."""

    learning_rate: float
    weight_decay: float
    betas: tuple[float, float]
    momentum: float


def groups(named: Named, settings: Settings) -> list[Group]:
    """Matrices, which decay, and norms and biases (one dimension), which do not.

    Each group has ``scale``: its rate is the schedule's times this.
    """
    halves: list[Group] = [
        {"params": [parameter for _, parameter in named if parameter.ndim >= 2], "weight_decay": settings.weight_decay, "scale": 1.0},
        {"params": [parameter for _, parameter in named if parameter.ndim < 2], "weight_decay": 0.0, "scale": 1.0},
    ]
    return [group for group in halves if group["params"]]


def sharded(tensor: Tensor) -> bool:
    """Whether this process holds only a part of it (a DTensor, asked without the import of torch.distributed)."""
    return hasattr(tensor, "full_tensor")


def fused(named: Named, *, devices: Collection[str] = ("cpu", "cuda", "mps"), shards: bool = True) -> bool | None:
    """True where torch has the whole step as one kernel: on `devices`, for sharded parameters only with `shards`.

    Else None: torch chooses.
    """
    there = all(parameter.device.type in devices and (shards or not sharded(parameter)) for _, parameter in named)
    return there or None
