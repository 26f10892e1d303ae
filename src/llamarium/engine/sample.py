"""From logits to the next id.

Takes: logits of one position, settings, the ids so far, a generator.
Gives: an id.
Does not know: models, text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from llamarium.ground.errors import UsageError


@dataclass(frozen=True)
class Sampling:
    """How to choose. `temperature` 0 takes the most probable id; a filter at its neutral value (0, 1) does nothing."""

    temperature: float = 0.7
    top_k: int = 0
    top_p: float = 0.95  # nucleus: Holtzman et al. 2020, arXiv:1904.09751
    min_p: float = 0.0  # Nguyen et al. 2024, arXiv:2407.01082
    repetition_penalty: float = 1.0  # Keskar et al. 2019, arXiv:1909.05858
    seed: int | None = None

    def __post_init__(self) -> None:
        for name, low, high in (
            ("temperature", 0, 100),
            ("top_k", 0, 1 << 31),
            ("top_p", 0, 1),
            ("min_p", 0, 1),
            ("repetition_penalty", 1e-3, 100),
            ("seed", 0, (1 << 63) - 1),
        ):
            if getattr(self, name) is not None and not low <= getattr(self, name) <= high:
                raise UsageError(f"{name} must be between {low} and {high}, not {getattr(self, name)}.")
        if self.top_p == 0:
            raise UsageError("top_p must be above 0.", hint="Use --temperature 0 for the most probable token.")


def penalise(logits_V: Tensor, seen: Sequence[int], penalty: float) -> Tensor:
    """Make ids that were seen less probable: positive logits are divided, negative ones multiplied."""
    if penalty == 1.0 or not seen:
        return logits_V
    ids = torch.tensor(sorted(set(seen)), device=logits_V.device)
    some = logits_V[ids]
    return logits_V.index_put((ids,), torch.where(some > 0, some / penalty, some * penalty))


def probabilities(logits_V: Tensor, sampling: Sampling) -> Tensor:
    """Probabilities after temperature, top-k, top-p and min-p, in this order: (V,) in float32.

    >>> probabilities(torch.tensor([2.0, 1.0, 0.0]), Sampling(temperature=1.0, top_k=1, top_p=1.0)).tolist()
    [1.0, 0.0, 0.0]
    """
    logits_V = logits_V.float()
    # With the largest at 0 no temperature makes them infinite; one that float32 cannot hold would divide 0 by 0.
    p_V = torch.softmax((logits_V - logits_V.max()) / max(sampling.temperature, 1e-6), dim=-1)
    if 0 < sampling.top_k < len(p_V):
        p_V = torch.where(p_V >= p_V.topk(sampling.top_k).values[-1], p_V, 0)
        p_V = p_V / p_V.sum()
    if sampling.top_p < 1:
        sorted_V, order = p_V.sort(descending=True, stable=True)
        # The first id that crosses the line stays in: what came before it is not yet enough.
        kept = sorted_V.cumsum(0) - sorted_V < sampling.top_p
        p_V = torch.zeros_like(p_V).scatter(0, order[kept], sorted_V[kept])
    if sampling.min_p > 0:
        p_V = torch.where(p_V >= sampling.min_p * p_V.max(), p_V, 0)
    return p_V / p_V.sum()


def choose(logits_V: Tensor, sampling: Sampling, *, seen: Sequence[int], generator: torch.Generator) -> int:
    """The next id."""
    logits_V = penalise(logits_V.float(), seen, sampling.repetition_penalty)
    if sampling.temperature == 0:
        return int(logits_V.argmax())
    return int(torch.multinomial(probabilities(logits_V, sampling).cpu(), 1, generator=generator))
