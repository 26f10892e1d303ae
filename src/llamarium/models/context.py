"""What surrounds a model: how its positions see each other while it trains, reads packed documents, or generates.

Takes: token positions, document numbers, or a cache.
Gives: the `Context` of `model.py`: `Dense` trains, `Packed` masks documents from each other, `Cached` generates.
Does not know: any family; a model calls `attend` and cannot tell which of these it got.
"""

from __future__ import annotations

import torch
from torch import Tensor

from llamarium.ops.reference import attention, visible


class _Stateful:
    """Keeps the states of recurrent layers by layer number."""

    def __init__(self) -> None:
        self._states: dict[int, Tensor] = {}

    def state(self, layer: int) -> Tensor | None:
        return self._states.get(layer)

    def store(self, layer: int, state: Tensor) -> None:
        self._states[layer] = state


class Dense(_Stateful):
    """Every row is one text from its start: position t sees 0 … t.

    >>> Dense(torch.zeros(2, 3, dtype=torch.long)).positions_BT
    tensor([[0, 1, 2]])
    """

    def __init__(self, ids_BT: Tensor) -> None:
        super().__init__()
        self.positions_BT = torch.arange(ids_BT.shape[1], device=ids_BT.device)[None]
        self._masks: dict[tuple[bool, int | None, int | None], Tensor] = {}

    @property
    def num_keys(self) -> int:
        return self.positions_BT.shape[1]

    def _mask(self, causal: bool, window: int | None, chunk: int | None) -> Tensor | None:
        """Bool (1 or B, 1, T, T), or None where the plain causal or full form says it all. Shared by the layers."""
        T = self.positions_BT.shape[1]
        window = None if window is not None and window >= T else window
        chunk = None if chunk is not None and chunk >= T else chunk
        if window is None and chunk is None and not self._always_masked:
            return None
        key = (causal, window, chunk)
        if key not in self._masks:
            self._masks[key] = self._visible(causal, window, chunk)
        return self._masks[key]

    _always_masked = False

    def _visible(self, causal: bool, window: int | None, chunk: int | None) -> Tensor:
        return visible(self.positions_BT, self.positions_BT, causal=causal, window=window, chunk=chunk)

    def attend(
        self,
        layer: int,  # noqa: ARG002
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
        if bias_HTS is not None:
            seen = self._visible(causal, window, chunk)
            return attention(q_BTHD, k_BTGD, v_BTGD, scale=scale, mask=bias_HTS.masked_fill(~seen, float("-inf")))
        mask = self._mask(causal, window, chunk)
        return attention(q_BTHD, k_BTGD, v_BTGD, scale=scale, mask=mask, causal=causal and mask is None)


class Packed(Dense):
    """Rows hold several documents, masked from each other; positions start anew with each.

    `documents_BT` numbers the document of each token; equal numbers stand side by side.

    >>> Packed(torch.tensor([[0, 0, 1, 1, 1]])).positions_BT
    tensor([[0, 1, 0, 1, 2]])
    """

    _always_masked = True

    def __init__(self, documents_BT: Tensor) -> None:
        super().__init__(documents_BT)
        self.documents_BT = documents_BT
        place = torch.arange(documents_BT.shape[1], device=documents_BT.device).expand_as(documents_BT)
        first = torch.ones_like(documents_BT, dtype=torch.bool)
        first[:, 1:] = documents_BT[:, 1:] != documents_BT[:, :-1]
        self.positions_BT = place - torch.where(first, place, 0).cummax(dim=1).values
        # Made here and not by the first layer: a compiled block that is run again in the backward pass must find what it found.
        for causal in (True, False):
            self._masks[causal, None, None] = self._visible(causal, None, None)

    def _visible(self, causal: bool, window: int | None, chunk: int | None) -> Tensor:
        same = self.documents_BT[:, :, None] == self.documents_BT[:, None, :]
        return super()._visible(causal, window, chunk) & same[:, None]


class Cached(_Stateful):
    """A text that grows: keys and values of what was read are kept, so that each call brings only its new tokens.

    `capacity` positions are set aside the first time a layer is met. Call `step(T)` before each forward of T tokens.

    >>> cache = Cached(capacity=8, device=torch.device("cpu"))
    >>> cache.step(3).positions_BT, cache.step(1).positions_BT
    (tensor([[0, 1, 2]]), tensor([[3]]))
    """

    def __init__(self, *, capacity: int, device: torch.device) -> None:
        super().__init__()
        self.capacity, self.device = capacity, device
        self.length = 0
        self.positions_BT = torch.empty(1, 0, dtype=torch.long, device=device)
        self._kept: dict[int, tuple[Tensor, Tensor]] = {}

    @property
    def num_keys(self) -> int:
        return self.length

    def step(self, num_tokens: int) -> Cached:
        """Make room for the next `num_tokens` positions of the text."""
        assert self.length + num_tokens <= self.capacity, "the engine checks the length of a text before it reads it"
        self.positions_BT = torch.arange(self.length, self.length + num_tokens, device=self.device)[None]
        self.length += num_tokens
        return self

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
        B, T, G, D = k_BTGD.shape
        if layer not in self._kept:
            # Heads outside positions: one head's keys then lie side by side, as attention reads them.
            self._kept[layer] = (
                k_BTGD.new_empty(B, G, self.capacity, D),
                v_BTGD.new_empty(B, G, self.capacity, v_BTGD.shape[-1]),
            )
        keys, values = self._kept[layer]
        start, end = self.length - T, self.length
        keys[:, :, start:end] = k_BTGD.transpose(1, 2)
        values[:, :, start:end] = v_BTGD.transpose(1, 2)

        # Nothing before `first` is in anybody's sight.
        first = 0 if window is None else max(0, start - window + 1)
        if chunk is not None:
            first = max(first, start // chunk * chunk)
        k_BSGD, v_BSGD = (kept[:, :, first:end].transpose(1, 2) for kept in (keys, values))
        if T == 1 and bias_HTS is None:
            return attention(q_BTHD, k_BSGD, v_BSGD, scale=scale)
        if start == 0 and bias_HTS is None and (window is None or window >= T) and (chunk is None or chunk >= T):
            return attention(q_BTHD, k_BSGD, v_BSGD, scale=scale, causal=causal)
        places = torch.arange(first, end, device=self.device)[None]
        mask = visible(self.positions_BT, places, causal=causal, window=window, chunk=chunk)
        if bias_HTS is not None:
            mask = bias_HTS[..., first:end].masked_fill(~mask, float("-inf"))
        return attention(q_BTHD, k_BSGD, v_BSGD, scale=scale, mask=mask)
