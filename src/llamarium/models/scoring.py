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
        if isinstance(model, Fitted):
            _exactly(model, documents, results, work)
        elif limit is None or sources is not None:
            _in_pieces(model, documents, sources, results, work)
        else:
            _in_windows(model, documents, limit, results, work)
    return results


def _exactly(model: Fitted, documents: Sequence[Ids], results: list[NDArray[np.float64]], work: progress.Task) -> None:
    for document, result in zip(documents, results, strict=True):
        if len(result):
            result[:] = model.log2_prob(document)[1:]
            work.advance(len(result))


def _in_windows(model: Model, documents: Sequence[Ids], limit: int, results: list[NDArray[np.float64]], work: progress.Task) -> None:
    jobs = [w for number, ids in enumerate(documents) if len(ids) > 1 for w in windows(len(ids), context_length=limit, document=number)]
    jobs.sort(key=lambda w: w.last - w.first, reverse=True)
    while jobs:
        longest = jobs[0].last - jobs[0].first
        batch, jobs = jobs[: max(1, BATCH_TOKENS // longest)], jobs[max(1, BATCH_TOKENS // longest) :]
        ids = torch.zeros(len(batch), longest, dtype=torch.long)
        for row, w in enumerate(batch):
            ids[row, : w.last - w.first] = torch.as_tensor(np.asarray(documents[w.document][w.first : w.last], dtype=np.int64))
        _score(model, ids.to(model.device), Dense(ids.to(model.device)), list(enumerate(batch)), documents, results, work)


def _in_pieces(
    model: Model, documents: Sequence[Ids], sources: Sequence[Ids] | None, results: list[NDArray[np.float64]], work: progress.Task
) -> None:
    """Each document from its first token to its last, a piece at a time; what the model keeps of a piece goes on into the next."""
    order = sorted((number for number, ids in enumerate(documents) if len(ids) > 1), key=lambda number: -len(documents[number]))
    for start in range(0, len(order), ROWS):
        some = order[start : start + ROWS]
        longest = len(documents[some[0]]) - 1
        context = Cached(capacity=longest, device=model.device)
        source = None if sources is None else padded([sources[number] for number in some]).to(model.device)
        size = max(1, BATCH_TOKENS // len(some))
        for first in range(0, longest, size):
            last = min(first + size, longest)
            ids = torch.zeros(len(some), last - first, dtype=torch.long)
            jobs = []
            for row, number in enumerate(some):
                end = min(last, len(documents[number]) - 1)
                if first < end:
                    ids[row, : end - first] = torch.as_tensor(np.asarray(documents[number][first:end], dtype=np.int64))
                    jobs.append((row, Window(number, first, end, first + 1)))
            _score(model, ids.to(model.device), context.step(last - first), jobs, documents, results, work, source)


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


def _score(
    model: Model,
    ids_BT: Tensor,
    context: Context,
    jobs: Sequence[tuple[int, Window]],
    documents: Sequence[Ids],
    results: list[NDArray[np.float64]],
    work: progress.Task,
    source: Tensor | None = None,
) -> None:
    """Fill `results` in: log2 p of the new targets of each window, which stands in the given row of `ids_BT`.

    A row is filled up at its end, where nothing looks back from; only positions whose target is new need logits.
    """
    rows = torch.from_numpy(np.concatenate([np.full(w.last - w.scored + 1, row) for row, w in jobs]))
    places = torch.from_numpy(np.concatenate([np.arange(w.scored - 1 - w.first, w.last - w.first) for _, w in jobs]))
    targets_N = torch.from_numpy(
        np.concatenate([np.asarray(documents[w.document][w.scored : w.last + 1], dtype=np.int64) for _, w in jobs])
    )
    network = model if isinstance(model, Network) else None
    inputs = (ids_BT, context) if source is None else (ids_BT, context, source)
    states = (network.hidden(*inputs) if network else model(*inputs))[rows, places]
    scores = []
    for start in range(0, len(targets_N), UNEMBED_TOKENS):
        some = states[start : start + UNEMBED_TOKENS]
        logits = (network.unembed(some) if network else some).float()
        targets = targets_N[start : start + UNEMBED_TOKENS].to(logits.device)
        scores.append((logits.gather(1, targets[:, None])[:, 0] - logits.logsumexp(1)).double().cpu())
    found: NDArray[np.float64] = torch.cat(scores).numpy() / np.log(2)
    done = 0
    for _, w in jobs:
        results[w.document][w.scored - 1 : w.last] = found[done : done + w.last - w.scored + 1]
        done += w.last - w.scored + 1
    work.advance(done)
