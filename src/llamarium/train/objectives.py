"""What is learnt: one function an objective.

Takes: a model and a batch on its device.
Gives: the sum of the losses in nats, to be divided by the number of targets of the whole step.
Does not know: optimizers, accumulation, where targets come from: `sft` differs from `lm` in its data alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from llamarium.models.context import Dense, Packed
from llamarium.models.model import Network
from llamarium.tokens.packing import IGNORED

LOGITS = 1 << 25  # so many logits exist at a time: 128 MiB in float32


@dataclass(frozen=True)
class Batch:
    """Rows of packed documents, each (B, T); `documents` is None where no row holds more than one."""

    inputs: Tensor
    targets: Tensor
    documents: Tensor | None


def lm(model: Network, batch: Batch) -> Tensor:
    """Sum of −ln p(next token), over the targets that are not ignored.

    Where the logits of a batch would be large, they are made, used and dropped a chunk at a time, and made again in the
    backward pass: a third of the head's arithmetic more, and memory that does not grow with batch × vocabulary.
    """
    context = Dense(batch.inputs) if batch.documents is None else Packed(batch.documents)
    states_ND = model.hidden(batch.inputs, context).flatten(0, 1)
    targets_N = batch.targets.flatten()
    size = max(1, LOGITS // model.config.vocab_size)
    if len(targets_N) <= size:
        return _cross_entropy(model, states_ND, targets_N)
    total = states_ND.new_zeros((), dtype=torch.promote_types(states_ND.dtype, torch.float32))
    for states, targets in zip(torch.split(states_ND, size), torch.split(targets_N, size), strict=True):
        part = checkpoint(_cross_entropy, model, states, targets, use_reentrant=False)
        assert isinstance(part, Tensor)
        total = total + part
    return total


def _cross_entropy(model: Network, states_ND: Tensor, targets_N: Tensor) -> Tensor:
    logits_NV = model.unembed(states_ND)
    if logits_NV.dtype != torch.float64:
        logits_NV = logits_NV.float()
    return F.cross_entropy(logits_NV, targets_N, ignore_index=IGNORED, reduction="sum")


Objective = Callable[[Network, Batch], Tensor]
OBJECTIVES: dict[str, Objective] = {"lm": lm, "sft": lm}
