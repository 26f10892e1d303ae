"""What is learnt: one function an objective.

Takes: a model and a batch on its device.
Gives: the sum of the losses in nats, to be divided by the number of targets of the whole step.
Does not know: optimizers, accumulation.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from llamarium.models.context import Packed
from llamarium.models.model import Network
from llamarium.tokens.packing import IGNORED


@dataclass(frozen=True)
class Batch:
    """Rows of packed documents, each (B, T)."""

    inputs: Tensor
    targets: Tensor
    documents: Tensor


def lm(model: Network, batch: Batch) -> Tensor:
    """Sum of −ln p(next token), over the targets that are not ignored."""
    logits_BTV = model(batch.inputs, Packed(batch.documents))
    return F.cross_entropy(logits_BTV.flatten(0, 1).float(), batch.targets.flatten(), ignore_index=IGNORED, reduction="sum")


OBJECTIVES = {"lm": lm}
