"""The contract between a model and everything around it.

Takes: nothing; these are the interfaces.
Gives: `Context`, what a model may know of its surroundings, and `Model`, what every family is.
Does not know: any family, any context.

Shape suffixes: B batch, T positions of this call, S positions attended to or of a source, D width of a head or of the model,
H query heads, G key/value heads, V vocabulary.
"""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar, Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

# decoder, recurrent and encoder_decoder learn by gradient and write; an encoder learns and reads both sides of a place;
# counts and grammars are fitted to documents (`Fitted`) and know each probability exactly.
Kind = Literal["decoder", "recurrent", "encoder", "encoder_decoder", "counts", "grammar"]

PADDING = -1  # fills up the shorter rows of an encoder-decoder's source; no id of any vocabulary
Document = Sequence[int] | NDArray[np.integer[Any]]


class Context(Protocol):
    """What a model may know of its surroundings: where its tokens stand, and how to look at the others."""

    positions_BT: Tensor  # noqa: N815

    @property
    def num_keys(self) -> int:
        """S: over how many positions `attend` of this call looks, these T being the last of them."""

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
        `scale` is 1/√D unless given; `bias_HTS` is added to the scores, S being `num_keys`.
        """

    def state(self, layer: int) -> Tensor | None:
        """What `store` kept for this layer before these positions; None at the start of a text."""

    def store(self, layer: int, state: Tensor) -> None:
        """Keep the state of a recurrent layer after these positions."""


class Model(nn.Module, ABC):
    """A language model: ids in, logits out, on one device.

    A family is a module with `Config` (a frozen dataclass), `Model(config)` and `TINY`, a config for contract tests.
    `blocks` is all that sharding and activation checkpointing need to know of its inside. A config says its `vocab_size`
    and `context_length`: the positions that a text may have, or None where there is no limit.
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
    """A model that learns by gradient and has hidden states, which a caller may ask for without the logits.

    An encoder-decoder's `hidden` and `forward` take `source_BS` besides: what the encoder reads, short rows filled up with
    `PADDING`. Without one it is a decoder that has nothing to look at; what it has read stays in the context for later calls.
    """

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


class Fitted(Model):
    """A model that is fitted to documents at once, without gradients, and knows the probability of each id exactly."""

    @abstractmethod
    def fit(self, documents: Iterable[Document]) -> None:
        """Learn from `documents`, in place of whatever was learnt before."""

    @abstractmethod
    def log2_prob(self, document: Document) -> NDArray[np.float64]:
        """log2 p of each id of a document given those before it: (T,)."""
