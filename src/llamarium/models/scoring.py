"""How probable a model finds documents: the one place where log-probabilities are taken.

Takes: a model and documents as ids, each with its begin token first; for an encoder-decoder perhaps a source for each.
Gives: log2 p of every later token, each scored once: exact where the model knows no limit, else in a window that slides by half
the context.
Does not know: text, bytes, files.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from llamarium.ground import progress
from llamarium.ground.errors import UsageError
from llamarium.models.context import Cached, Dense
from llamarium.models.model import PADDING, Context, Fitted, Model, Network

Ids = Sequence[int] | NDArray[np.integer]

BATCH_TOKENS = 4096
ROWS = 16  # documents that are read side by side where each is read whole
UNEMBED_TOKENS = 512  # logits of so many positions exist at a time: 100 MB at a vocabulary of 50,000


@dataclass(frozen=True)
class Window:
    """Inputs ``first … last - 1`` of a document; the targets from `scored` on are new."""

    document: int
    first: int
    last: int
    scored: int


def windows(length: int, *, context_length: int, document: int = 0) -> list[Window]:
    """Windows over a document of `length` ids, so that each id but the first is a target of exactly one.

    >>> [(w.first, w.last, w.scored) for w in windows(11, context_length=4)]
    [(0, 4, 1), (2, 6, 5), (4, 8, 7), (6, 10, 9)]
    """
    found = [Window(document, 0, min(context_length, length - 1), 1)]
    stride = max(1, context_length // 2)
    while found[-1].last < length - 1:
        first = found[-1].first + stride
        found.append(Window(document, first, min(first + context_length, length - 1), found[-1].last + 1))
    return found


@torch.inference_mode()
def log2_probabilities(
    model: Model,
    documents: Sequence[Ids],
    *,
    sources: Sequence[Ids] | None = None,
    context_length: int | None = None,
    autocast: torch.dtype | None = None,
    name: str = "scoring",
) -> list[NDArray[np.float64]]:
    """log2 p(id | the ids before it), for each id but the first of each document.

    `context_length` None takes the model's own. A model without one is given each document whole, as is one that is asked about
    answers to `sources`. `UsageError` where the model gives text no probability.
    """
    if model.KIND == "encoder":
        raise UsageError(
            f"A model that reads both sides of a place ({type(model).__module__.rpartition('.')[2]}) gives no probability of a text.",
            hint="Score a decoder, or compare such models by what they predict.",
        )
    results = [np.full(max(0, len(document) - 1), np.nan) for document in documents]
    arithmetic = torch.autocast(model.device.type, autocast) if autocast is not None else contextlib.nullcontext()
    limit = context_length or model.config.context_length
    with _evaluating(model), progress.task(name, sum(map(len, results))) as work, arithmetic:
        scoring = _Scoring(model, documents, results, work)
        if isinstance(model, Fitted):
            scoring.exactly(model)
        elif limit is None or sources is not None:
            scoring.in_pieces(sources)
        else:
            scoring.in_windows(limit)
    return results


@dataclass(frozen=True)
class _Scoring:
    """Documents under way to their scores, by one of three ways."""

    model: Model
    documents: Sequence[Ids]
    results: list[NDArray[np.float64]]
    work: progress.Task

    def exactly(self, model: Fitted) -> None:
        for document, result in zip(self.documents, self.results, strict=True):
            if len(result):
                result[:] = model.log2_prob(document)[1:]
                self.work.advance(len(result))

    def in_windows(self, limit: int) -> None:
        jobs = [
            w for number, ids in enumerate(self.documents) if len(ids) > 1 for w in windows(len(ids), context_length=limit, document=number)
        ]
        jobs.sort(key=lambda w: w.last - w.first, reverse=True)
        while jobs:
            longest = jobs[0].last - jobs[0].first
            batch, jobs = jobs[: max(1, BATCH_TOKENS // longest)], jobs[max(1, BATCH_TOKENS // longest) :]
            ids_BT = self._inputs(batch, longest)
            self._score(batch, self._states(ids_BT, Dense(ids_BT), None))

    def in_pieces(self, sources: Sequence[Ids] | None) -> None:
        """Each document from its first id to its last, a piece at a time; what the model keeps of a piece goes on into the next."""
        order = sorted(
            (number for number, ids in enumerate(self.documents) if len(ids) > 1), key=lambda number: -len(self.documents[number])
        )
        for start in range(0, len(order), ROWS):
            some = order[start : start + ROWS]
            longest = len(self.documents[some[0]]) - 1
            context = Cached(capacity=longest, device=self.model.device)
            source = None if sources is None else padded([sources[number] for number in some]).to(self.model.device)
            size = max(1, BATCH_TOKENS // len(some))
            for first in range(0, longest, size):
                lasts = [min(first + size, len(self.documents[number]) - 1) for number in some]
                pieces = [Window(number, first, max(first, last), first + 1) for number, last in zip(some, lasts, strict=True)]
                length = min(size, longest - first)
                self._score(pieces, self._states(self._inputs(pieces, length), context.step(length), source))
                source = None  # what was read of it is in the context

    def _inputs(self, batch: Sequence[Window], length: int) -> Tensor:
        """One row a window, filled up at its end, where nothing looks back from: (B, T)."""
        ids_BT = torch.zeros(len(batch), length, dtype=torch.long)
        for row, w in enumerate(batch):
            ids_BT[row, : w.last - w.first] = torch.as_tensor(np.asarray(self.documents[w.document][w.first : w.last], dtype=np.int64))
        return ids_BT.to(self.model.device)

    def _states(self, ids_BT: Tensor, context: Context, source: Tensor | None) -> Tensor:
        """Hidden states, or the logits of a model that has none."""
        inputs = (ids_BT, context) if source is None else (ids_BT, context, source)
        states: Tensor = self.model.hidden(*inputs) if isinstance(self.model, Network) else self.model(*inputs)
        return states

    def _score(self, batch: Sequence[Window], states: Tensor) -> None:
        """Fill in log2 p of the new targets of each window; only their positions need logits."""
        rows = np.concatenate([np.full(w.last - w.scored + 1, row) for row, w in enumerate(batch)])
        places = np.concatenate([np.arange(w.scored - 1 - w.first, w.last - w.first) for w in batch])
        targets = torch.from_numpy(
            np.concatenate([np.asarray(self.documents[w.document][w.scored : w.last + 1], dtype=np.int64) for w in batch])
        )
        states = states[torch.from_numpy(rows), torch.from_numpy(places)]
        scores = []
        for start in range(0, len(targets), UNEMBED_TOKENS):
            some = states[start : start + UNEMBED_TOKENS]
            logits = (self.model.unembed(some) if isinstance(self.model, Network) else some).float()
            wanted = targets[start : start + UNEMBED_TOKENS, None].to(logits.device)
            scores.append((logits.gather(1, wanted)[:, 0] - logits.logsumexp(1)).double().cpu())
        found: NDArray[np.float64] = torch.cat(scores).numpy() / np.log(2)
        done = 0
        for w in batch:
            self.results[w.document][w.scored - 1 : w.last] = found[done : done + w.last - w.scored + 1]
            done += w.last - w.scored + 1
        self.work.advance(done)


def padded(rows: Sequence[Ids]) -> Tensor:
    """Sources of an encoder-decoder as one tensor (B, S), the shorter ones filled up with `PADDING`."""
    ids = torch.full((len(rows), max(map(len, rows))), PADDING, dtype=torch.long)
    for number, row in enumerate(rows):
        ids[number, : len(row)] = torch.as_tensor(np.asarray(row, dtype=np.int64))
    return ids


@contextlib.contextmanager
def _evaluating(model: Model) -> Iterator[None]:
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)
