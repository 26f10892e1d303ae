"""LoRA: a frozen linear layer learns through two thin matrices beside it. Hu et al. 2021, arXiv:2106.09685.

Takes: a model, a rank, a scale, names of layers.
Gives: the model with only the thin matrices left to learn; `fuse` folds them into plain linear layers.
Does not know: training, files.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from llamarium.adapt import surgery


class LoRALinear(nn.Module):
    """y = base(x) + alpha / rank · B A x, with A (rank, in) drawn and B (out, rank) zero: at first nothing changes."""

    def __init__(self, base: nn.Linear, *, rank: int, alpha: float) -> None:
        super().__init__()
        self.base = base.requires_grad_(False)
        self.scale = alpha / rank
        self.A = nn.Parameter(torch.empty(rank, base.in_features, device=base.weight.device))
        self.B = nn.Parameter(torch.zeros(base.out_features, rank, device=base.weight.device))
        nn.init.kaiming_uniform_(self.A, a=math.sqrt(5))

    def forward(self, x: Tensor) -> Tensor:
        return self.base(x) + self.scale * F.linear(F.linear(x, self.A), self.B)  # type: ignore[no-any-return]

    def fuse(self) -> nn.Linear:
        """The plain linear layer that does the same."""
        with torch.no_grad():
            self.base.weight += (self.scale * self.B @ self.A).to(self.base.weight.dtype)
        return self.base


def add(model: nn.Module, *, rank: int, alpha: float, targets: Iterable[str]) -> list[str]:
    """Freeze `model` and give the layers that match `targets` something to learn with; returns their names."""
    names = surgery.linears(model, targets)
    model.requires_grad_(False)

    def make(module: nn.Module) -> nn.Module:
        assert isinstance(module, nn.Linear)
        return LoRALinear(module, rank=rank, alpha=alpha)

    surgery.replace(model, names, make)
    return names


def fuse(model: nn.Module) -> None:
    """Fold every LoRA layer of `model` into a plain one, in place."""
    names = [name for name, module in model.named_modules() if isinstance(module, LoRALinear)]

    def plain(module: nn.Module) -> nn.Module:
        assert isinstance(module, LoRALinear)
        return module.fuse()

    surgery.replace(model, names, plain)
