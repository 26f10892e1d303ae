"""How probable a model finds documents: the one place where log-probabilities are taken.

Takes: a model and documents as ids, each with its begin token first.
Gives: log2 p of every later token, each scored once, with a window that slides by half the context.
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
from llamarium.models.context import Dense
from llamarium.models.model import Model, Network

BATCH_TOKENS = 4096
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
    documents: Sequence[Sequence[int] | NDArray[np.integer]],
    *,
    context_length: int,
    autocast: torch.dtype | None = None,
    name: str = "scoring",
) -> list[NDArray[np.float64]]:
    """log2 p(id | the ids before it in the window), for each id but the first of each document."""
    device = model.device
    results = [np.full(max(0, len(document) - 1), np.nan) for document in documents]
    jobs = [
        w for number, ids in enumerate(documents) if len(ids) > 1 for w in windows(len(ids), context_length=context_length, document=number)
    ]
    jobs.sort(key=lambda w: w.last - w.first, reverse=True)
    context = torch.autocast(device.type, autocast) if autocast is not None else contextlib.nullcontext()
    with _evaluating(model), progress.task(name, sum(w.last - w.first for w in jobs)) as work, context:
        while jobs:
            longest = jobs[0].last - jobs[0].first
            batch, jobs = jobs[: max(1, BATCH_TOKENS // longest)], jobs[max(1, BATCH_TOKENS // longest) :]
            ids = torch.zeros(len(batch), longest, dtype=torch.long)
            for row, w in enumerate(batch):
                ids[row, : w.last - w.first] = torch.as_tensor(np.asarray(documents[w.document][w.first : w.last], dtype=np.int64))
            # Only positions whose target is new need logits. A window is filled up at its end, where nothing looks back from.
            rows = np.concatenate([np.full(w.last - w.scored + 1, row) for row, w in enumerate(batch)])
            places = np.concatenate([np.arange(w.scored - 1 - w.first, w.last - w.first) for w in batch])
            targets = np.concatenate([np.asarray(documents[w.document][w.scored : w.last + 1], dtype=np.int64) for w in batch])
            scores = _score(model, ids.to(device), torch.from_numpy(rows), torch.from_numpy(places), torch.from_numpy(targets))
            done = 0
            for w in batch:
                results[w.document][w.scored - 1 : w.last] = scores[done : done + w.last - w.scored + 1]
                done += w.last - w.scored + 1
            work.advance(sum(w.last - w.first for w in batch))
    return results


@contextlib.contextmanager
def _evaluating(model: Model) -> Iterator[None]:
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)


def _score(model: Model, ids_BT: Tensor, rows_N: Tensor, places_N: Tensor, targets_N: Tensor) -> NDArray[np.float64]:
    """log2 p of the targets at the given positions: (N,)."""
    context = Dense(ids_BT)
    network = model if isinstance(model, Network) else None
    states = (network.hidden(ids_BT, context) if network else model(ids_BT, context))[rows_N, places_N]
    scores = []
    for start in range(0, len(targets_N), UNEMBED_TOKENS):
        some = states[start : start + UNEMBED_TOKENS]
        logits = (network.unembed(some) if network else some).float()
        targets = targets_N[start : start + UNEMBED_TOKENS].to(logits.device)
        scores.append((logits.gather(1, targets[:, None])[:, 0] - logits.logsumexp(1)).double().cpu())
    result: NDArray[np.float64] = torch.cat(scores).numpy() / np.log(2)
    return result
