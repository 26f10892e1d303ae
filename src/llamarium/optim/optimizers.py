"""The optimizers by name: each a function with its formula, and an entry in the table at the end.

Takes: parameters with their names, and settings.
Gives: torch's optimizers, set up.
Does not know: what is learnt, or the course of the rate.

θ is a parameter, g its gradient at step t = 1, 2, …, η the learning rate, λ the weight decay; all but Muon work on each number alone.
Except in AdamW and Muon, λ is the classical penalty: g stands for g + λθ.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from llamarium.optim.groups import Named, Settings, fused, groups
from llamarium.optim.muon import muon


def sgd(named: Named, settings: Settings) -> torch.optim.Optimizer:
    """Stochastic gradient descent: θ ← θ − ηg. Robbins and Monro 1951."""
    return torch.optim.SGD(groups(named, settings), lr=settings.learning_rate, fused=fused(named, shards=False))


def momentum(named: Named, settings: Settings) -> torch.optim.Optimizer:
    """Heavy ball: m ← μm + g;  θ ← θ − ηm. Polyak 1964."""
    return _with_momentum(named, settings, nesterov=False)


def nesterov(named: Named, settings: Settings) -> torch.optim.Optimizer:
    """Momentum that looks ahead: m ← μm + g;  θ ← θ − η(g + μm).

    Nesterov 1983, in the form of Sutskever et al. 2013 with the look-ahead folded into θ.
    """
    return _with_momentum(named, settings, nesterov=True)


def _with_momentum(named: Named, settings: Settings, *, nesterov: bool) -> torch.optim.Optimizer:
    optimizer = torch.optim.SGD(
        groups(named, settings),
        lr=settings.learning_rate,
        momentum=settings.momentum,
        nesterov=nesterov,
        fused=fused(named, shards=False),
    )
    for _, parameter in named:  # torch begins with None, which no file holds; zero gives the same first step
        optimizer.state[parameter] = {"momentum_buffer": torch.zeros_like(parameter)}
    return optimizer


def rmsprop(named: Named, settings: Settings) -> torch.optim.Optimizer:
    """v ← β₂v + (1 − β₂)g²;  θ ← θ − ηg / (√v + ε). Hinton 2012, Neural Networks for Machine Learning, lecture 6e."""
    return torch.optim.RMSprop(groups(named, settings), lr=settings.learning_rate, alpha=settings.betas[1])


def adadelta(named: Named, settings: Settings) -> torch.optim.Optimizer:
    """v ← ρv + (1 − ρ)g²;  Δ = √(u + ε) / √(v + ε) · g;  u ← ρu + (1 − ρ)Δ²;  θ ← θ − ηΔ, with ρ = β₂.

    Zeiler 2012, arXiv:1212.5701, where η is 1.
    """
    return torch.optim.Adadelta(groups(named, settings), lr=settings.learning_rate, rho=settings.betas[1])


def adagrad(named: Named, settings: Settings) -> torch.optim.Optimizer:
    """s ← s + g²;  θ ← θ − ηg / (√s + ε). Duchi, Hazan and Singer 2011, JMLR 12."""
    return torch.optim.Adagrad(
        groups(named, settings), lr=settings.learning_rate, fused=fused(named, devices=("cpu", "cuda"), shards=False)
    )


def adam(named: Named, settings: Settings) -> torch.optim.Optimizer:
    """m ← β₁m + (1 − β₁)g;  v ← β₂v + (1 − β₂)g²;  θ ← θ − η · m/(1 − β₁ᵗ) / (√(v/(1 − β₂ᵗ)) + ε).

    Both averages begin at 0 and are corrected for it. Kingma and Ba 2015, arXiv:1412.6980.
    """
    return torch.optim.Adam(groups(named, settings), lr=settings.learning_rate, betas=settings.betas, fused=fused(named))


def adamw(named: Named, settings: Settings) -> torch.optim.Optimizer:
    """Adam, with the decay beside the gradient instead of in it: θ ← (1 − ηλ)θ, then Adam's step with λ = 0.

    Loshchilov and Hutter 2019, arXiv:1711.05101.
    """
    return torch.optim.AdamW(groups(named, settings), lr=settings.learning_rate, betas=settings.betas, fused=fused(named))


@dataclass(frozen=True)
class Member:
    """An optimizer, and what it takes where the recipe is silent.

    The penalty in the gradient does not forgive AdamW's 0.1: Adam's denominator makes a decay of nearly a step of it.
    """

    make: Callable[[Named, Settings], torch.optim.Optimizer]
    weight_decay: float = 0.0
    momentum: float = 0.0


OPTIMIZERS = {
    "sgd": Member(sgd),
    "momentum": Member(momentum, momentum=0.9),
    "nesterov": Member(nesterov, momentum=0.9),
    "rmsprop": Member(rmsprop),
    "adadelta": Member(adadelta),
    "adagrad": Member(adagrad),
    "adam": Member(adam),
    "adamw": Member(adamw, weight_decay=0.1),
    "muon": Member(muon, weight_decay=0.1, momentum=0.95),
}
