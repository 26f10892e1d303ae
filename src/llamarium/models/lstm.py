"""Recurrent networks: the LSTM, and by configuration the GRU and the plain RNN. They read a text with a memory of fixed size.

Takes: token ids (B, T) and a `Context`, of which it uses the positions, which say where a text starts, and the states.
Gives: logits (B, T, V).
Does not know: files, caches, documents, devices.

x is what a layer reads at a step (the embedding, or h of the layer below), h and c what it remembers, ⊙ the product of each
two numbers, σ the logistic function. Each letter on the left has its own matrices W, U and biases a, b:

    lstm    i, f, o = σ(Wx + a + Uh + b)    g = tanh(Wx + a + Uh + b)           c ← f ⊙ c + i ⊙ g        h ← o ⊙ tanh(c)
    gru     r, z    = σ(Wx + a + Uh + b)    n = tanh(Wx + a + r ⊙ (Uh + b))     h ← (1 - z) ⊙ n + z ⊙ h
    rnn                                                                         h ← tanh(Wx + a + Uh + b)

Hochreiter and Schmidhuber 1997 (doi:10.1162/neco.1997.9.8.1735), with the forget gate f of Gers et al. 2000
(doi:10.1162/089976600300015015); Cho et al. 2014 (arXiv:1406.1078), with r after the product, as GPU libraries have it; Elman 1990
(doi:10.1207/s15516709cog1402_1). The output shares the embedding's weights: Press and Wolf 2017 (arXiv:1608.05859).
"""

from __future__ import annotations

import contextlib
import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from llamarium.models import model
from llamarium.models.model import Context
from llamarium.models.sizing import nearest

CELLS: dict[str, type[nn.LSTM] | type[nn.GRU] | type[nn.RNN]] = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}
WIDTHS = range(32, 8192 + 1, 32)  # there are no heads to fit in, and two layers of the right width are faster than three narrow ones
SPREAD = 0.5  # standard deviation of fresh embeddings; with a tenth of it a model learns little in its first hundreds of steps


@dataclass(frozen=True)
class Config:
    """Shape of one model.

    `dropout` is the share of each layer's output that the next one does not see while the model learns (Zaremba et al. 2014,
    arXiv:1409.2329); `embed_width` are the numbers of an embedding where they are not `width`.
    """

    vocab_size: int
    width: int = 384
    layers: int = 2
    cell: Literal["lstm", "gru", "rnn"] = "lstm"
    dropout: float = 0.0
    tied: bool = True
    embed_width: int | None = None

    def __post_init__(self) -> None:
        if self.cell not in CELLS:
            raise ValueError(f"unknown cell {self.cell!r}; known: {', '.join(CELLS)}")
        for name in ("vocab_size", "width", "layers", "embed_width"):
            if (value := getattr(self, name)) is not None and value <= 0:
                raise ValueError(f"{name} must be positive, not {value}")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must be from 0 to below 1, not {self.dropout}")
        if self.tied and self.embed_width not in (None, self.width):
            raise ValueError(f"embeddings of {self.embed_width} numbers cannot be tied to states of {self.width}; set tied to false")

    @property
    def context_length(self) -> None:
        """A text may have any length: what is remembered of it does not grow."""

    @classmethod
    def sized(cls, num_parameters: float, *, vocab_size: int, context_length: int | None = None) -> Config:  # noqa: ARG003
        """The shape nearest to `num_parameters` (embeddings counted): two layers, up to a width of 1024."""

        def shape(width: int, layers: int) -> Config:
            return cls(vocab_size=vocab_size, width=width, layers=layers)

        return nearest(shape, num_parameters, widths_a_layer=512, widths=WIDTHS)

    def num_parameters(self) -> int:
        """Number of weights of a model of this shape."""
        with torch.device("meta"):
            return Model(self).num_parameters()


@dataclass(frozen=True)
class Texts:
    """How N texts that lie in B rows are read side by side, in few calls of the kernel and without filling any up.

    Of many lengths, each is a sum of powers of two: one of 37 is read as 32, 4 and 1, together with all that have that power in
    them. Of few, all run on together until the shortest is at its end.
    """

    order_P: Tensor  # noqa: N815  # the positions of the flattened rows, stretch after stretch
    places_P: Tensor  # noqa: N815  # the other way round: where in that order each position stands
    stretches: list[tuple[Tensor, int]]  # which texts, and how many steps
    row_N: Tensor  # noqa: N815
    fresh_N: Tensor  # noqa: N815  # whether a text starts where its part of the row does, or goes on from an earlier call
    last_B: Tensor  # noqa: N815  # the last text of each row, whose state is left


def texts(starts_BT: Tensor) -> Texts | None:
    """The texts in rows, which start at `starts_BT` and where a row does; None where each row is one.

    >>> found = texts(torch.tensor([[True, False, False, True], [False, False, False, False]]))
    >>> [(which.tolist(), steps) for which, steps in found.stretches], found.order_P.tolist()
    ([([0, 1, 2], 1), ([0, 2], 2), ([2], 1)], [0, 3, 4, 1, 2, 5, 6, 7])
    >>> found.row_N.tolist(), found.fresh_N.tolist(), found.last_B.tolist()
    ([0, 0, 1], [True, True, False], [1, 2])
    """
    if starts_BT.shape[1] == 1:
        return None
    try:
        starts = starts_BT.numpy(force=True)
        if not starts[:, 1:].any():
            return None
    except RuntimeError:  # tensors without memory have no values; whole rows take as much memory
        return None
    first = np.flatnonzero(starts | (np.arange(starts.shape[1]) == 0))
    length = np.diff(first, append=starts.size)
    row = first // starts.shape[1]
    stretches, order, left = [], [], length.copy()
    while len(lengths := np.unique(left[left > 0])):
        powers = int(np.bitwise_or.reduce(left))
        steps = int(lengths[0]) if len(lengths) <= powers.bit_count() else 1 << (powers.bit_length() - 1)
        which = np.flatnonzero(left >= steps)
        stretches.append((which, steps))
        order.append(((first + length - left)[which, None] + np.arange(steps)).ravel())
        left[which] -= steps
    order_P = np.concatenate(order)

    def there(values: NDArray[Any]) -> Tensor:
        return torch.from_numpy(values).to(starts_BT.device)

    return Texts(
        there(order_P),
        there(np.argsort(order_P)),
        [(there(which), steps) for which, steps in stretches],
        there(row),
        there(starts.ravel()[first]),
        there(np.append(np.flatnonzero(np.diff(row)), len(row) - 1)),
    )


class Layer(nn.Module):
    """One layer of cells over time: what it puts out at each step, and its state after the last.

    A state is (B, S, D): h, and with it c where the cell has one.
    """

    def __init__(self, config: Config, layer: int) -> None:
        super().__init__()
        self.config = config
        self.cells = CELLS[config.cell](
            (config.embed_width or config.width) if layer == 0 else config.width, config.width, batch_first=True
        )
        self.dropout = config.dropout if layer < config.layers - 1 else 0.0

    def forward(self, x_BTD: Tensor, state_BSD: Tensor | None, starts_B: Tensor, found: Texts | None) -> tuple[Tensor, Tensor]:
        """Whole rows (B, T, D), or with `found` positions in its order (P, D); `starts_B`: whether each row starts with a text."""
        if state_BSD is None:
            state_BSD = x_BTD.new_zeros(len(starts_B), 2 if self.config.cell == "lstm" else 1, self.config.width)
        state_BSD = state_BSD.to(x_BTD.dtype)
        if found is None:
            y_BTD, state_BSD = self._run(x_BTD, state_BSD.masked_fill(starts_B[:, None, None], 0))
        else:
            y_BTD, state_BSD = self._run_apart(x_BTD, state_BSD, found)
        return F.dropout(y_BTD, self.dropout, self.training), state_BSD

    def _run_apart(self, x_PD: Tensor, state_BSD: Tensor, found: Texts) -> tuple[Tensor, Tensor]:
        """Stretch after stretch, each from the states that its texts were left in."""
        state_NSD = state_BSD[found.row_N].masked_fill(found.fresh_N[:, None, None], 0)
        written = []
        parts = torch.split(x_PD, [len(which) * steps for which, steps in found.stretches])
        for part_PD, (which, steps) in zip(parts, found.stretches, strict=True):
            y_NTD, left_NSD = self._run(part_PD.view(len(which), steps, -1), state_NSD[which])
            state_NSD = state_NSD.index_copy(0, which, left_NSD.to(state_NSD.dtype))
            written.append(y_NTD.flatten(0, 1))
        return torch.cat(written), state_NSD[found.last_B]

    def _run(self, x_BTD: Tensor, state_BSD: Tensor) -> tuple[Tensor, Tensor]:
        """The fused kernel over a stretch, from a state to a state."""
        state = state_BSD.transpose(0, 1)[:, None].contiguous()  # (S, 1, B, D)
        with _arithmetic(state.device):
            y_BTD, last = self.cells(x_BTD, (state[0], state[1]) if self.config.cell == "lstm" else state[0])
        # Contiguous, however the rows are read: what is compiled behind it has one form.
        return y_BTD.contiguous(), torch.stack([kept[0] for kept in (last if self.config.cell == "lstm" else (last,))], dim=1)


def _arithmetic(device: torch.device) -> contextlib.AbstractContextManager[Any]:
    """Autocast as it is, but float32 for float16 on a CPU: PyTorch 2.13 has no LSTM in that type there."""
    half = device.type == "cpu" and torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu") == torch.float16
    return torch.autocast("cpu", enabled=False) if half else contextlib.nullcontext()


class Model(model.Network):
    """Embed, layers, unembed."""

    KIND = "recurrent"

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.embed = nn.Embedding(config.vocab_size, config.embed_width or config.width)
        self.blocks = nn.ModuleList(Layer(config, layer) for layer in range(config.layers))
        self.head = None if config.tied else nn.Linear(config.width, config.vocab_size, bias=False)

    def initialize(self) -> None:
        """Draw fresh weights: uniform within ±1/√width, and biases of 0.

        That of the forget gate is 1, so that at first everything is kept: Jozefowicz et al. 2015 (proceedings.mlr.press/v37/jozefowicz15).
        Embeddings and the head are normal with `SPREAD`: no norm brings inputs to the size at which gates open and close, and
        states, which are below 1, to the size that logits need.
        """
        width = self.config.width
        for name, parameter in self.named_parameters():
            if not name.startswith("blocks"):
                nn.init.normal_(parameter, std=SPREAD)
            elif parameter.ndim == 2:
                nn.init.uniform_(parameter, -1 / math.sqrt(width), 1 / math.sqrt(width))
            else:
                nn.init.zeros_(parameter)
                if self.config.cell == "lstm" and "bias_ih" in name:
                    nn.init.ones_(parameter[width : 2 * width])  # gates lie as input, forget, cell, output

    def hidden(self, ids_BT: Tensor, context: Context) -> Tensor:
        starts_BT = (context.positions_BT == 0).expand(ids_BT.shape)
        found = texts(starts_BT)
        x_BTD: Tensor = self.embed(ids_BT if found is None else ids_BT.flatten()[found.order_P])
        for layer, block in enumerate(self.blocks):
            # The state goes in and out by value: a block that is run again in the backward pass must find what it found.
            x_BTD, state_BSD = block(x_BTD, context.state(layer), starts_BT[:, 0], found)
            context.store(layer, state_BSD)
        return x_BTD if found is None else x_BTD.index_select(0, found.places_P).view(*ids_BT.shape, -1)

    def unembed(self, x_BTD: Tensor) -> Tensor:
        return F.linear(x_BTD, self.embed.weight if self.head is None else self.head.weight)


TINY = Config(vocab_size=64, width=32, layers=2)
