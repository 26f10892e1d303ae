"""LoRA: a frozen linear layer learns through two thin matrices beside it. Hu et al. 2021, arXiv:2106.09685.

Takes: a model, a rank, a scale, a dropout, names of layers.
Gives: the model with only the thin matrices left to learn; `fuse` folds them into plain linear layers, `unfuse` undoes that.
Does not know: training, files.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from llamarium.adapt import surgery
from llamarium.ground.errors import UsageError


class LoRALinear(nn.Module):
    """y = base(x) + alpha / rank · B A dropout(x), with A (rank, in) drawn and B (out, rank) zero: at first nothing changes.

    Only in training mode is anything dropped, by torch's own random state: where that is restored, so is what is dropped.
    """

    def __init__(self, base: nn.Linear, *, rank: int, alpha: float, dropout: float = 0.0) -> None:
        super().__init__()
        self.base = base.requires_grad_(False)
        self.scale = alpha / rank
        self.dropout = dropout
        self.A = nn.Parameter(torch.empty(rank, base.in_features, device=base.weight.device))
        self.B = nn.Parameter(torch.zeros(base.out_features, rank, device=base.weight.device))
        nn.init.kaiming_uniform_(self.A, a=math.sqrt(5))

    def forward(self, x: Tensor) -> Tensor:
        y = self.base(x)
        if self.dropout and self.training:
            x = F.dropout(x, self.dropout)
        # The thin matrices are float32 whatever the base is: steps as small as theirs are lost in bfloat16.
        thin = F.linear(F.linear(x.to(self.A.dtype), self.A), self.B)
        return y + self.scale * thin.to(y.dtype)  # type: ignore[no-any-return]

    def fuse(self, *, keep: bool = False) -> nn.Linear:
        """The plain linear layer that does the same; with `keep` one that remembers this layer.

        Without `keep` the base's own weight is added to, and no memory is taken. What was added cannot be subtracted to
        the bit (the sum was rounded), so with `keep` the fused weight is a second one and the base's stays as it was.
        """
        with torch.no_grad():
            learnt = (self.scale * self.B @ self.A).to(self.base.weight.dtype)
            if not keep:
                self.base.weight += learnt
                return self.base
            return FusedLinear(self, self.base.weight + learnt)


class FusedLinear(nn.Linear):
    """A plain linear layer, in names and weights too, that remembers the LoRA layer which it was made of."""

    def __init__(self, thin: LoRALinear, weight: Tensor) -> None:
        super().__init__(thin.base.in_features, thin.base.out_features, bias=False, device="meta")
        self.weight = nn.Parameter(weight, requires_grad=False)
        self.bias = thin.base.bias
        self._thin = (thin,)  # in a tuple no module sees it, so it is not among the weights

    def unfuse(self) -> LoRALinear:
        """The layer it was made of, on the device where this one is."""
        return self._thin[0].to(self.weight.device)


def add(model: nn.Module, *, rank: int, alpha: float, targets: Iterable[str], dropout: float = 0.0) -> list[str]:
    """Freeze `model` and give the layers that match `targets` something to learn with; returns their names.

    `targets` are patterns of names (`surgery.linears`): ``*_proj`` is every projection of a LLaMA, ``*`` its head, too.
    """
    if rank < 1 or not math.isfinite(alpha):
        raise UsageError(f"LoRA needs a rank of at least 1 and a finite alpha, not {rank} and {alpha}.", hint="Try rank 8, alpha 16.")
    if not 0 <= dropout < 1:
        raise UsageError(f"LoRA cannot drop a share of {dropout}.", hint="Set a dropout of at least 0 and below 1.")
    if any(isinstance(module, LoRALinear | FusedLinear) for module in model.modules()):
        raise UsageError("The model has LoRA layers already.", hint="Train those on, or fuse them first.")
    names = surgery.linears(model, targets)
    model.requires_grad_(False)

    def make(module: nn.Module) -> nn.Module:
        assert isinstance(module, nn.Linear)
        return LoRALinear(module, rank=rank, alpha=alpha, dropout=dropout).train(module.training)

    surgery.replace(model, names, make)
    return names


def layers(model: nn.Module) -> dict[str, LoRALinear]:
    """The LoRA layers of `model` by name."""
    return {name: module for name, module in model.named_modules() if isinstance(module, LoRALinear)}


def tensors(model: nn.Module) -> dict[str, nn.Parameter]:
    """The thin matrices of `model` by their names in it, such as ``blocks.0.attention.q_proj.A``."""
    return {f"{name}.{part}": getattr(layer, part) for name, layer in layers(model).items() for part in "AB"}


def fuse(model: nn.Module, *, keep: bool = False) -> None:
    """Fold every LoRA layer of `model` into a plain one, in place.

    With `keep` each remembers its LoRA layer for `unfuse`, which takes the memory of the changed weights once more.
    """

    def plain(module: nn.Module) -> nn.Module:
        assert isinstance(module, LoRALinear)
        return module.fuse(keep=keep).train(module.training)

    surgery.replace(model, layers(model), plain)


def unfuse(model: nn.Module) -> None:
    """Take apart what `fuse` with `keep` has folded: the same layers, matrices and base weights to the bit."""
    fused = [name for name, module in model.named_modules() if isinstance(module, FusedLinear)]
    if not fused:
        raise UsageError("No layer of the model remembers what it was before it was fused.", hint="Fuse it with keep=True.")

    def thin(module: nn.Module) -> nn.Module:
        assert isinstance(module, FusedLinear)
        return module.unfuse().train(module.training)

    surgery.replace(model, fused, thin)
