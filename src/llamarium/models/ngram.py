"""The n-gram model: how often each id followed each context, smoothed. The rung that a neural network has to beat.

Takes: documents as ids, to count; token ids (B, T) and a `Context`, to predict.
Gives: logits (B, T, V) that are log-probabilities; log2 p of each id of a document.
Does not know: text, bytes, files, devices.

Interpolated modified Kneser–Ney, Chen and Goodman 1998 (TR-10-98), section 3, equations 24 to 26:

    p(w | h) = (c(h, w) − D(c(h, w))) / c(h) + γ(h) · p(w | h'),    γ(h) = Σ_w D(c(h, w)) / c(h)

h' is h without its oldest id; below the empty context lies 1 / V. c(h, w) says how often w followed h where h is a context
of full length, and how many different ids stood before h w where it is shorter: "Francisco" is frequent, but after one
word only. c(h) is their sum over w. D takes one of three values, for 1, 2, and 3 or more, from how many grams of this
length have the counts 1 to 4. A context that was never followed by anything leaves p(w | h').

Before each document stands a mark that is no id and is never predicted. Nothing can stand before it, so grams that begin
with it are counted as they occurred (Heafield et al. 2013, ACL P13-2121, and its lmplz).

Grams of each length are numbered in sorted order, the mark behind all ids. A gram is one integer, (number of the gram
without its last id) · V + (last id), so nothing is hashed, and the ids that followed a context stand side by side.
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
from llamarium.models.model import Context, Document

MAX_ORDER = 32
MAX_IDS = 2**31 - 1  # counts and numbers of grams fit into 32 bits
NEVER = -1  # the number of a gram that was not seen, or that would reach back over the start of its document
FALLBACK = (0.5, 1.0, 1.5)  # discounts where a text is too small to tell them: those of lmplz --discount_fallback
CHUNK = 2**22  # grams or probabilities that are worked on at a time where all of them would need memory of their own


@dataclass(frozen=True)
class Config:
    """An `order` of n predicts an id from the n - 1 before it. `k` is what "add-k" adds to every count; 1 is Laplace's."""

    vocab_size: int
    order: int = 5
    smoothing: Literal["kneser-ney", "add-k"] = "kneser-ney"
    k: float = 1.0

    def __post_init__(self) -> None:
        if not 1 <= self.order <= MAX_ORDER:
            raise ValueError(f"order must be from 1 to {MAX_ORDER}, not {self.order}")
        if not 1 <= self.vocab_size <= 2**31:  # then (number of a gram) · V fits into 64 bits
            raise ValueError(f"vocab_size must be from 1 to {2**31:,}, not {self.vocab_size}")
        if self.smoothing not in ("kneser-ney", "add-k"):
            raise ValueError(f"unknown smoothing {self.smoothing!r}; known: kneser-ney, add-k")
        if not 1e-9 <= self.k <= 1e6:
            raise ValueError(f"k must be from 1e-9 to 1,000,000, not {self.k}")

    @property
    def context_length(self) -> None:
        """Counts know no limit."""
        return None


class Model(model.Fitted):
    """Counts of all grams up to `order`, and the smoothed probabilities that follow from them; 1 / V before `fit`.

    For each length n there are two tensors: ``grams_n`` (G), sorted, and ``counts_n`` (G), the c of the formula. Two more
    are computed from them, for each context of n - 1 symbols: ``sums_n``, its c(h), and ``shares_n``, its γ(h).

    "add-k" is the same with other numbers: (c(h, w) + k) / (c(h) + k · V) for the longest context that there is, which is
    c(h, w) / (c(h) + A) + A / (c(h) + A) · 1 / V with A = k · V. Lidstone 1920; Chen and Goodman 1998, section 2.1.

    >>> model = Model(Config(vocab_size=3, order=2))
    >>> model.fit([[0, 1, 0, 1, 0, 2]])
    >>> 2 ** model.log2_prob([0, 1])    # 0.5 / 1 + 0.5 / 1 · p(0), and (2 - 1) / 3 + 1.5 / 3 · p(1)
    array([0.70833333, 0.47916667])
    """

    KIND = "counts"

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.blocks = nn.ModuleList()
        self._added = config.k * config.vocab_size if config.smoothing == "add-k" else 0.0
        for length in self._lengths:
            self.register_buffer(f"grams_{length}", torch.empty(0, dtype=torch.int64))
            self.register_buffer(f"counts_{length}", torch.empty(0, dtype=torch.int32))
            self.register_buffer(f"sums_{length}", torch.zeros(1, dtype=torch.int32), persistent=False)
            self.register_buffer(f"shares_{length}", torch.ones(1, dtype=torch.float64), persistent=False)
            self.register_buffer(f"discounts_{length}", torch.zeros(4, dtype=torch.float64), persistent=False)

    def fit(self, documents: Iterable[Document]) -> None:
        """Count `documents`, in place of whatever was counted before. No gram reaches from one document into another.

        The counts lie in main memory afterwards. For M ids 30 · M to 40 · M bytes are needed beside what stays.
        """
        pieces = [self._ids(document).int().numpy() for document in documents]
        lengths = np.array([len(piece) for piece in pieces if len(piece)], dtype=np.int64)
        if lengths.sum() > MAX_IDS:
            raise ValueError(f"at most {MAX_IDS:,} ids can be counted, not {lengths.sum():,}")
        ids = np.concatenate([np.empty(0, dtype=np.int32), *pieces])
        starts = lengths.cumsum() - lengths
        del pieces

        V = self.config.vocab_size
        ending = counts = np.empty(0, dtype=np.int32)  # for each id, the number of the gram one shorter that ends with it
        num_unmarked = 1  # of those grams, how many do not begin with the mark
        for length in self._lengths:
            keys = np.zeros(len(ids), dtype=np.int64)
            if length > 1:
                keys[1:] = ending[:-1]
                keys[starts] = len(counts) if length == 2 else NEVER
            keys *= V
            keys += ids
            order = np.argsort(keys)
            keys = keys[order]
            num_outside = np.searchsorted(keys, 0)
            keys, order = keys[num_outside:], order[num_outside:]
            is_new = np.ones(len(keys), dtype=np.bool_)
            np.not_equal(keys[1:], keys[:-1], out=is_new[1:])
            grams = keys[is_new]
            del keys
            firsts = np.flatnonzero(is_new).astype(np.int32)
            if length > 1:
                # Each gram says once more that something else stood before the gram it ends with, which begins with no mark.
                counts[:num_unmarked] = 0
                for some in np.array_split(firsts, len(firsts) // CHUNK + 1):
                    np.add.at(counts, ending[order[some]], np.int32(1))
            num_unmarked = int(np.searchsorted(grams, num_unmarked * V))
            counts = np.diff(firsts, append=np.int32(len(order)))
            if length < self.config.order:
                numbers = np.cumsum(is_new, dtype=np.int32)
                numbers -= 1
                ending = np.full(len(ids), NEVER, dtype=np.int32)
                ending[order] = numbers
                del numbers
            del order, is_new, firsts
            self.register_buffer(f"grams_{length}", torch.from_numpy(grams))
            self.register_buffer(f"counts_{length}", torch.from_numpy(counts))  # the next length still changes them
        del ids, ending
        self._weigh()

    def num_grams(self) -> int:
        """Number of different grams of all lengths: the size of a model that has no weights."""
        return sum(len(self._grams(length)) for length in self._lengths)

    def forward(self, ids_BT: Tensor, context: Context) -> Tensor:
        """Natural log-probabilities of the next id after each position: float32 (B, T, V).

        Of the context it uses the positions, which say where a document starts, and the state: the last ids before these.
        """
        self._check(ids_BT)
        B, T = ids_BT.shape
        V = self.config.vocab_size
        earlier = context.state(0)
        rows = ids_BT if earlier is None else torch.cat([earlier, ids_BT], dim=1)
        num_kept = self.config.order - 2  # with the first of the next ids they are the longest context
        context.store(0, rows[:, max(0, rows.shape[1] - num_kept) :] if num_kept > 0 else rows[:, :0])
        back = torch.arange(T - rows.shape[1], 0, device=rows.device)
        positions = torch.cat([context.positions_BT[:, :1] + back, context.positions_BT], dim=1).expand_as(rows)

        next_N = positions[:, -T:].flatten() + 1
        prefixes_N = [ending[:, -T:].flatten() for _, (_, ending) in zip(self._lengths[1:], self._walk(rows, positions), strict=False)]
        # All positions share the empty context; from there on each has its own.
        empty = torch.zeros(1, dtype=torch.int64, device=rows.device)
        p_1V = self._refine(1, empty, empty, torch.full((1, V), 1 / V, dtype=torch.float64, device=rows.device))
        logits_NV = torch.empty(B * T, V, device=rows.device)
        step = max(1, CHUNK // V)
        for start in range(0, B * T, step):
            some = slice(start, start + step)
            p_NV = p_1V.repeat(len(next_N[some]), 1)
            for length, prefixes in zip(self._lengths[1:], prefixes_N, strict=True):
                p_NV = self._refine(length, prefixes[some], next_N[some], p_NV)
            logits_NV[some] = p_NV.log_()
        return logits_NV.view(B, T, V)

    def log2_prob(self, document: Document) -> NDArray[np.float64]:
        """log2 p of each id of a document given those before it: (T,).

        The first is given that a document begins. A begin token in front is context as any other; its own score is then the
        caller's to drop.
        """
        ids = self._ids(document).to(self._grams(1).device)[None]
        positions = torch.arange(ids.shape[1], device=ids.device)[None]
        p = torch.full_like(ids, 1 / self.config.vocab_size, dtype=torch.float64)
        for length, (prefixes, ending) in zip(self._lengths, self._walk(ids, positions), strict=True):
            worth, passed_on = self._weights(length, prefixes)
            p = self._discounted(length, ending) * worth + passed_on * self._below(length, positions, p)
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

    def _weigh(self) -> None:
        """What follows from the counts: discounts, and for each context c(h) and γ(h)."""
        num_prefixes = 1
        for length in self._lengths:
            grams, counts = self._grams(length), self.get_buffer(f"counts_{length}")
            discounts = torch.tensor((0.0, 0.0, 0.0, 0.0) if self._added else (0.0, *_discounts(counts)), dtype=torch.float64)
            discounts = discounts.to(counts.device)
            sums = torch.zeros(num_prefixes, dtype=torch.int32, device=counts.device)
            shares = torch.zeros(num_prefixes, dtype=torch.float64, device=counts.device)
            for some, often in zip(torch.split(grams, CHUNK), torch.split(counts, CHUNK), strict=True):
                prefixes = some // self.config.vocab_size
                sums.index_add_(0, prefixes, often)
                shares.index_add_(0, prefixes, discounts[often.clamp(max=3)])
            for share, total in zip(torch.split(shares, CHUNK), torch.split(sums, CHUNK), strict=True):
                share.add_(self._added).div_(total.double().add_(self._added)).masked_fill_(total == 0, 1)
            self.register_buffer(f"discounts_{length}", discounts, persistent=False)
            self.register_buffer(f"sums_{length}", sums, persistent=False)
            self.register_buffer(f"shares_{length}", shares, persistent=False)
            num_prefixes = max(1, len(grams) + (length == 1))  # the mark is a context, too; an empty table has none to find

    def _walk(self, ids_BT: Tensor, positions_BT: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """For each length: numbers of the grams right before each id, one shorter, and of those that end with it."""
        prefixes = torch.zeros_like(ids_BT)
        for length in self._lengths:
            ending = self._find(length, prefixes, ids_BT)
            yield prefixes, ending
            prefixes = ending.roll(1, dims=-1)
            prefixes[:, :1] = NEVER
            prefixes[positions_BT == 0] = len(self._grams(1)) if length == 1 else NEVER

    def _find(self, length: int, prefixes: Tensor, ids: Tensor) -> Tensor:
        """Number of the gram that is the prefix and the id."""
        grams = self._grams(length)
        if not len(grams):
            return torch.full_like(ids, NEVER)
        wanted = prefixes * self.config.vocab_size + ids  # negative, and so not found, where the prefix was not
        places = torch.searchsorted(grams, wanted).clamp_(max=len(grams) - 1)
        return torch.where(grams[places] == wanted, places, NEVER)

    def _discounted(self, length: int, grams: Tensor) -> Tensor:
        """c − D(c) of each gram: float64; 0 for `NEVER`."""
        if not len(self._grams(length)):
            return torch.zeros_like(grams, dtype=torch.float64)
        counts = self.get_buffer(f"counts_{length}")[grams.clamp(min=0)].masked_fill_(grams == NEVER, 0)
        return counts - self.get_buffer(f"discounts_{length}")[counts.clamp(max=3)]

    def _weights(self, length: int, prefixes: Tensor) -> tuple[Tensor, Tensor]:
        """What a count after each prefix is worth, 1 / (c(h) + A), and what share is left to the shorter context, γ(h)."""
        known, places = prefixes != NEVER, prefixes.clamp(min=0)
        sums = torch.where(known, self.get_buffer(f"sums_{length}")[places], 0).double() + self._added
        shares = torch.where(known, self.get_buffer(f"shares_{length}")[places], 1.0)
        return torch.where(sums > 0, 1 / sums, 0.0), shares

    def _below(self, length: int, positions: Tensor, p: Tensor) -> Tensor:
        """What contexts of this length are mixed with: the next shorter one; for "add-k" 1 / V, wherever so long a context is."""
        return torch.where(positions + 2 >= length, 1 / self.config.vocab_size, p) if self._added else p

    def _refine(self, length: int, prefixes_N: Tensor, positions_N: Tensor, p_NV: Tensor) -> Tensor:
        """Mix the counts of grams of this length into `p_NV`, which may be changed; the ids to come stand at `positions_N`."""
        worth, passed_on = self._weights(length, prefixes_N)
        smallest = (prefixes_N * self.config.vocab_size).contiguous()
        first, last = (torch.searchsorted(self._grams(length), limit) for limit in (smallest, smallest + self.config.vocab_size))
        distinct = last - first
        rows = torch.arange(len(first), device=first.device).repeat_interleave(distinct)
        past = distinct.cumsum(0) - distinct  # how many of `rows` belong to the contexts before
        grams = torch.arange(len(rows), device=first.device) + (first - past)[rows]
        p_NV = self._below(length, positions_N[:, None], p_NV).mul_(passed_on[:, None])
        p_NV[rows, self._grams(length)[grams] % self.config.vocab_size] += self._discounted(length, grams) * worth[rows]
        return p_NV

    def _load_from_state_dict(self, state_dict: dict[str, Tensor], prefix: str, *others: Any) -> None:
        """Take counts of any size, and refuse those that `fit` could not have made."""
        pairs = [(f"grams_{length}", f"counts_{length}") for length in self._lengths]
        names = [name for pair in pairs for name in pair]
        whole = all(prefix + name in state_dict for name in names)  # super says what is missing
        if whole:
            found = [(state_dict[prefix + grams], state_dict[prefix + counts]) for grams, counts in pairs]
            if wrong := _fault(found, self.config.vocab_size):
                error_msgs: list[str] = others[-1]
                error_msgs.append(f"{prefix}{wrong}")
                return
            for name in names:
                self.register_buffer(name, self.get_buffer(name).new_empty(state_dict[prefix + name].shape))
        super()._load_from_state_dict(state_dict, prefix, *others)
        if whole:
            self._weigh()


def _discounts(counts: Tensor) -> tuple[float, float, float]:
    """D for counts of 1, of 2, and of 3 or more: each counts what it should have been in another text of this size.

    Y = n1 / (n1 + 2 · n2), D_i = i − (i + 1) · Y · n_{i+1} / n_i, where n_i grams have the count i (Chen and Goodman, equation 26).
    Where one of n1 to n4 is 0, or one of the discounts would not be above 0, the text is too small to tell: `FALLBACK`.

    >>> _discounts(torch.tensor([1] * 8 + [2] * 4 + [3] * 2 + [4]))
    (0.5, 1.25, 2.0)
    """
    n1, n2, n3, n4 = (int((counts == value).sum()) for value in (1, 2, 3, 4))
    if not (n1 and n2 and n3 and n4):
        return FALLBACK
    Y = n1 / (n1 + 2 * n2)
    found = (1 - 2 * Y * n2 / n1, 2 - 3 * Y * n3 / n2, 3 - 4 * Y * n4 / n3)
    return found if min(found) > 0 else FALLBACK


def _fault(pairs: Sequence[tuple[Tensor, Tensor]], vocab_size: int) -> str:
    """What is wrong with loaded grams and counts of the lengths 1, 2, …, or nothing."""
    num_prefixes, num_unmarked = 1, 1
    for length, (grams, counts) in enumerate(pairs, 1):
        name = f"grams_{length} and counts_{length} are not counts:"
        if grams.dtype != torch.int64 or counts.dtype != torch.int32:
            return f"{name} int64 and int32 were expected, not {grams.dtype} and {counts.dtype}."
        if grams.ndim != 1 or counts.shape != grams.shape:
            return f"{name} their shapes are {tuple(grams.shape)} and {tuple(counts.shape)}."
    for length, (grams, counts) in enumerate(pairs, 1):
        name = f"grams_{length} and counts_{length} are not counts:"
        limit = num_prefixes * vocab_size
        if len(grams) and not (grams[0] >= 0 and grams[-1] < limit and (grams[1:] > grams[:-1]).all()):
            return f"{name} grams must rise from 0 to below {limit:,}."
        if not (counts > 0).all():
            return f"{name} every gram must have occurred."
        if counts.sum(dtype=torch.int64) > MAX_IDS:
            return f"{name} they are more than {MAX_IDS:,}."
        num_unmarked = int(torch.searchsorted(grams, num_unmarked * vocab_size))
        if length < len(pairs) and counts[:num_unmarked].sum(dtype=torch.int64) != len(pairs[length][0]):
            return f"{name} each gram of length {length + 1} must be counted once (grams_{length + 1})."
        num_prefixes = len(grams) + (length == 1)
    return ""


TINY = Config(vocab_size=64, order=3)
