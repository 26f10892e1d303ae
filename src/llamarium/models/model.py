"""The contract between a model and everything around it.

Takes: nothing; these are the interfaces.
Gives: `Context`, what a model may know of its surroundings, and `Model`, what every family is.
Does not know: any family, any context.

Shape suffixes: B batch, T positions of this call, S positions attended to, D width of a head or of the model,
H query heads, G key/value heads, V vocabulary.
"""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from typing import Any, ClassVar, Literal, Protocol

import torch
from torch import Tensor, nn

Kind = Literal["decoder", "recurrent", "encoder", "encoder_decoder", "counts"]


class Context(Protocol):
    """What a model may know of its surroundings: where its tokens stand, and how to look at the others."""

    positions_BT: Tensor  # noqa: N815

    def attend(
        self,
        layer: int,
        q_BTHD: Tensor,
        k_BTGD: Tensor,
        v_BTGD: Tensor,
        *,
        scale: float | None = None,
        causal: bool = True,
        window: int | None = None,
        chunk: int | None = None,
        bias_HTS: Tensor | None = None,
    ) -> Tensor:
        """Attention of these T positions over all that they may see: (B, T, H, D).

        `window` w lets position t see t-w+1 … t; `chunk` c lets it see only positions of its own block of c.
        `scale` is 1/√D unless given; `bias_HTS` is added to the scores.
        """

    def state(self, layer: int) -> Tensor | None:
        """What `store` kept for this layer before these positions; None at the start of a text."""

    def store(self, layer: int, state: Tensor) -> None:
        """Keep the state of a recurrent layer after these positions."""


class Model(nn.Module, ABC):
    """A language model: ids in, logits out, on one device.

    A family is a module with `Config` (a frozen dataclass), `Model(config)` and `TINY`, a config for contract tests.
    `blocks` is all that sharding and activation checkpointing need to know of its inside.
    """

    KIND: ClassVar[Kind]
    config: Any
    blocks: nn.ModuleList

    @abstractmethod
    def forward(self, ids_BT: Tensor, context: Context) -> Tensor:
        """Logits of the next id after each position: (B, T, V)."""

    @property
    def device(self) -> torch.device:
        """Where its weights or counts are."""
        return next(itertools.chain(self.parameters(), self.buffers())).device

    def num_parameters(self) -> int:
        """Number of weights, shared ones counted once."""
        return sum(parameter.numel() for parameter in self.parameters())


class Network(Model):
    """A model that learns by gradient and has hidden states, which a caller may ask for without the logits."""

    @abstractmethod
    def initialize(self) -> None:
        """Draw fresh weights."""

    @abstractmethod
    def hidden(self, ids_BT: Tensor, context: Context) -> Tensor:
        """States after the last block and norm: (B, T, D)."""

    @abstractmethod
    def unembed(self, x_BTD: Tensor) -> Tensor:
        """Logits of hidden states: (B, T, V)."""

    def forward(self, ids_BT: Tensor, context: Context) -> Tensor:
        return self.unembed(self.hidden(ids_BT, context))
