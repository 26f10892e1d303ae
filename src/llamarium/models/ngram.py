"""The n-gram model: how often each id followed each context, smoothed. The rung that a neural network has to beat.

Takes: documents as ids, to count; token ids (B, T) and a `Context`, to predict.
Gives: logits (B, T, V) that are log-probabilities; log2 p of each id of a document.
Does not know: text, bytes, files, devices.

p(w | h) = (c(h, w) + T(h) · p(w | h')) / (c(h) + T(h)), where c(h, w) says how often w followed the context h, c(h) is
their sum, T(h) the number of different ids that followed h, and h' is h without its oldest id; below the empty context
lies 1 / V. A context that was never followed by anything leaves p(w | h'). Witten and Bell 1991, doi:10.1109/18.87000,
in the interpolated form of Chen and Goodman 1998 (TR-10-98), section 2.5.

Grams of each length are numbered in sorted order. A gram is one integer, (number of the gram without its last id) · V +
(last id), so nothing is hashed, the ids that followed a context stand side by side, and a binary search finds both.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from llamarium.models import model
from llamarium.models.model import Context

Document = Sequence[int] | NDArray[np.integer[Any]]

MAX_ORDER = 32
NEVER = -1  # the number of a gram that was not seen, or that would reach back over the start of its document


@dataclass(frozen=True)
class Config:
    """An `order` of n predicts an id from the n - 1 before it."""

    vocab_size: int
    order: int = 5
    smoothing: Literal["witten-bell"] = "witten-bell"

    def __post_init__(self) -> None:
        if not 1 <= self.order <= MAX_ORDER:
            raise ValueError(f"order must be from 1 to {MAX_ORDER}, not {self.order}")
        if not 1 <= self.vocab_size <= 2**31:  # then (number of a gram) · V fits into 64 bits
            raise ValueError(f"vocab_size must be from 1 to {2**31:,}, not {self.vocab_size}")
        if self.smoothing != "witten-bell":
            raise ValueError(f"unknown smoothing {self.smoothing!r}; known: witten-bell")

    @property
    def context_length(self) -> int:
        """Positions read at a time. Counts know no limit; the logits of so many fit into memory."""
        return 2048


class Model(model.Fitted):
    """Counts of all grams up to `order`, and the smoothed probabilities that follow from them; 1 / V before `fit`.

    For each length n there are two tensors: ``grams_n`` (G), sorted, and ``cumulative_n`` (G + 1): gram g occurred
    ``cumulative_n[g + 1] - cumulative_n[g]`` times. Sums over neighbouring grams are then one subtraction.

    >>> model = Model(Config(vocab_size=3, order=2))
    >>> model.fit([[0, 1, 0, 1, 0, 2]])
    >>> 2 ** model.log2_prob([0, 1])    # p(0) = (3 + 3/3) / (6 + 3); p(1 | 0) = (2 + 2 · p(1)) / (3 + 2)
    array([0.44444444, 0.53333333])
    """

    KIND = "counts"

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.blocks = nn.ModuleList()
        for length in self._lengths:
            self.register_buffer(f"grams_{length}", torch.empty(0, dtype=torch.int64))
            self.register_buffer(f"cumulative_{length}", torch.zeros(1, dtype=torch.int64))

    def fit(self, documents: Iterable[Document]) -> None:
        """Count `documents`, in place of whatever was counted before. No gram reaches from one document into another.

        The counts lie in main memory afterwards.
        """
        pieces = [self._ids(document) for document in documents]
        ids = torch.cat([torch.empty(0, dtype=torch.int64), *pieces])
        starts = torch.zeros(len(ids) + 1, dtype=torch.bool)
        starts[torch.tensor([0, *map(len, pieces)]).cumsum(0)] = True
        starts = starts[:-1]

        prefixes = torch.zeros_like(ids)  # for each id, the number of the gram right before it
        for length in self._lengths:
            inside = prefixes != NEVER
            grams, numbers, counts = torch.unique(
                prefixes[inside] * self.config.vocab_size + ids[inside], return_inverse=True, return_counts=True
            )
            cumulative = torch.cat([torch.zeros(1, dtype=torch.int64), counts.cumsum(0)])
            self.register_buffer(f"grams_{length}", grams)
            self.register_buffer(f"cumulative_{length}", cumulative)
            ending = torch.full_like(ids, NEVER)
            ending[inside] = numbers
            prefixes = _one_later(ending, starts)

    def forward(self, ids_BT: Tensor, context: Context) -> Tensor:
        """Natural log-probabilities of the next id after each position: float32 (B, T, V).

        Of the context it uses the positions, which say where a document starts, and the state: the last ids before these.
        """
        self._check(ids_BT)
        B, T = ids_BT.shape
        V = self.config.vocab_size
        earlier = context.state(0)
        rows = ids_BT if earlier is None else torch.cat([earlier, ids_BT], dim=1)
        starts = torch.zeros_like(rows, dtype=torch.bool)
        starts[:, -T:] = context.positions_BT == 0
        starts[:, 0] = True
        num_kept = self.config.order - 2  # with the first of the next ids they are the longest context
        context.store(0, rows[:, max(0, rows.shape[1] - num_kept) :] if num_kept > 0 else rows[:, :0])

        # All positions share the empty context; from there on each has its own.
        empty = torch.zeros(1, dtype=torch.int64, device=rows.device)
        uniform = torch.full((1, V), 1 / V, dtype=torch.float64, device=rows.device)
        p_NV = self._refine(1, empty, uniform).repeat(B * T, 1)
        for length, (_, ending) in zip(self._lengths[1:], self._walk(rows, starts), strict=False):
            p_NV = self._refine(length, ending[:, -T:].flatten(), p_NV)
        return p_NV.log_().float().view(B, T, V)

    def log2_prob(self, document: Document) -> NDArray[np.float64]:
        """log2 p of each id of a document given those before it: (T,).

        The first is given nothing. A begin token in front is context as any other; its own score is then the caller's to drop.
        """
        ids = self._ids(document).to(self._grams(1).device)[None]
        starts = torch.zeros_like(ids, dtype=torch.bool)
        starts[:, :1] = True
        p = torch.full_like(ids, 1 / self.config.vocab_size, dtype=torch.float64)
        for length, (prefixes, ending) in zip(self._lengths, self._walk(ids, starts), strict=True):
            first, last = self._followers(length, prefixes)
            share, passed_on = self._weights(length, first, last)
            p = self._count(length, ending, ending + 1) * share + passed_on * p
        result: NDArray[np.float64] = p[0].log2().cpu().numpy()
        return result

    @property
    def _lengths(self) -> range:
        return range(1, self.config.order + 1)

    def _grams(self, length: int) -> Tensor:
        return self.get_buffer(f"grams_{length}")

    def _ids(self, document: Document) -> Tensor:
        values = np.asarray(document)
        if values.ndim != 1 or (values.size and values.dtype.kind not in "iu"):
            raise ValueError(f"a document is a list of ids, not {type(document).__name__} of {values.dtype} {values.shape}")
        ids = torch.from_numpy(values.astype(np.int64))
        self._check(ids)
        return ids

    def _check(self, ids: Tensor) -> None:
        """Ids outside the vocabulary would read as another gram's."""
        if ids.numel() and not (ids.min() >= 0 and ids.max() < self.config.vocab_size):
            raise ValueError(f"ids must be from 0 to {self.config.vocab_size - 1}; these are from {ids.min()} to {ids.max()}")

    def _walk(self, ids_BT: Tensor, starts_BT: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """For each length: numbers of the grams right before each id, one shorter, and of those that end with it."""
        prefixes = torch.zeros_like(ids_BT)
        for length in self._lengths:
            ending = self._find(length, prefixes, ids_BT)
            yield prefixes, ending
            prefixes = _one_later(ending, starts_BT)

    def _find(self, length: int, prefixes: Tensor, ids: Tensor) -> Tensor:
        """Number of the gram that is the prefix and the id."""
        grams = self._grams(length)
        if not len(grams):
            return torch.full_like(ids, NEVER)
        wanted = prefixes * self.config.vocab_size + ids  # negative, and so not found, where the prefix was not
        places = torch.searchsorted(grams, wanted).clamp_(max=len(grams) - 1)
        return torch.where(grams[places] == wanted, places, NEVER)

    def _followers(self, length: int, prefixes: Tensor) -> tuple[Tensor, Tensor]:
        """Grams of this length with the given prefixes are those from the first result to before the second."""
        smallest = (prefixes * self.config.vocab_size).contiguous()
        grams = self._grams(length)
        return torch.searchsorted(grams, smallest), torch.searchsorted(grams, smallest + self.config.vocab_size)

    def _count(self, length: int, first: Tensor, last: Tensor) -> Tensor:
        """How often grams from `first` to before `last` occurred together; the gram `NEVER` counts 0."""
        cumulative = self.get_buffer(f"cumulative_{length}")
        return cumulative[last] - cumulative[first.clamp(min=0)]

    def _weights(self, length: int, first: Tensor, last: Tensor) -> tuple[Tensor, Tensor]:
        """What each count is worth, 1 / (c + T), and what share is left to the shorter context, T / (c + T)."""
        distinct = last - first
        share = 1 / (self._count(length, first, last) + distinct).clamp(min=1).double()
        return share, torch.where(distinct > 0, distinct * share, 1.0)

    def _refine(self, length: int, prefixes_N: Tensor, p_NV: Tensor) -> Tensor:
        """Mix the counts of grams of this length into `p_NV`, in place."""
        first, last = self._followers(length, prefixes_N)
        share, passed_on = self._weights(length, first, last)
        distinct = last - first
        rows = torch.arange(len(first), device=first.device).repeat_interleave(distinct)
        past = distinct.cumsum(0) - distinct  # how many of `rows` belong to the contexts before
        grams = torch.arange(len(rows), device=first.device) + (first - past)[rows]
        p_NV *= passed_on[:, None]
        p_NV[rows, self._grams(length)[grams] % self.config.vocab_size] += self._count(length, grams, grams + 1) * share[rows]
        return p_NV

    def _load_from_state_dict(self, state_dict: dict[str, Tensor], prefix: str, *others: Any) -> None:
        """Take counts of any size, and refuse those that `fit` could not have made."""
        pairs = [(f"grams_{length}", f"cumulative_{length}") for length in self._lengths]
        names = [name for pair in pairs for name in pair]
        if all(prefix + name in state_dict for name in names):  # super says what is missing
            num_prefixes = 1
            for pair in pairs:
                grams, cumulative = (state_dict[prefix + name] for name in pair)
                if wrong := _fault(grams, cumulative, num_prefixes * self.config.vocab_size):
                    error_msgs: list[str] = others[-1]
                    error_msgs.append(f"{prefix}{pair[0]} and {pair[1]} are not counts: {wrong}.")
                    return
                num_prefixes = len(grams)
            for name in names:
                self.register_buffer(name, self.get_buffer(name).new_empty(state_dict[prefix + name].shape))
        super()._load_from_state_dict(state_dict, prefix, *others)


def _one_later(grams_T: Tensor, starts_T: Tensor) -> Tensor:
    """For each place the gram that ended one place before, over (…, T); none at the start of a document."""
    return torch.where(starts_T, NEVER, grams_T.roll(1, dims=-1))


def _fault(grams: Tensor, cumulative: Tensor, limit: int) -> str:
    """What is wrong with loaded counts, or nothing."""
    if grams.dtype != torch.int64 or cumulative.dtype != torch.int64:
        return f"int64 was expected, not {grams.dtype} and {cumulative.dtype}"
    if grams.ndim != 1 or cumulative.shape != (len(grams) + 1,):
        return f"their shapes are {tuple(grams.shape)} and {tuple(cumulative.shape)}"
    if len(grams) and not (grams[0] >= 0 and grams[-1] < limit and (grams.diff() > 0).all()):
        return f"grams must rise from 0 to below {limit:,}"
    if cumulative[0] != 0 or not (cumulative.diff() > 0).all():
        return "every gram must have occurred"
    return ""


TINY = Config(vocab_size=64, order=3)
