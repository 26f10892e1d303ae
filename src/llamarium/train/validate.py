"""How well a run's model does on its validation documents.

Takes: a `Run` between two steps.
Gives: one number, the same in every process of its group: bits per byte of a model that writes; what its objective leaves of a
model that fills gaps, in nats for each token that was left out.
Does not know: when it is asked for.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from llamarium.ground.device import random_state, restore_random_state, seed_all
from llamarium.models.scoring import log2_probabilities
from llamarium.tokens import spans
from llamarium.tokens.examples import questions_and_answers
from llamarium.tokens.packing import IGNORED
from llamarium.train.compute import autocast, short_type
from llamarium.train.data import Scored
from llamarium.train.objectives import NEEDS, OBJECTIVES, Batch
from llamarium.train.run import Run

AT_ONCE = 1 << 14  # tokens between two questions whether to go on


class Abandoned(Exception):  # noqa: N818  it is what happened, not a fault
    """It was asked to stop."""


def scale(run: Run) -> str:
    """What the log calls the number: gaps that are filled give a text no probability."""
    return "validation_loss" if run.recipe.train.objective in NEEDS else "bits_per_byte"


def validate(run: Run, *, stop: Callable[[], bool] = lambda: False) -> float | None:
    """In windows of the training's length; None without validation documents; `Abandoned` where `stop` says so."""
    if not run.validation:
        return None
    if scale(run) != "bits_per_byte":
        return run.group.tell(_gaps(run, stop))
    bits, num_bytes = 0.0, 0
    for part in _parts(run.validation):
        if stop():
            raise Abandoned
        scores = run.compute(_scores, run, part)
        bits -= sum(scores)
        num_bytes += sum(document.num_bytes for document in part)
    return run.group.tell(bits / max(1, num_bytes))  # what is decided by it must be the same everywhere, machines that differ included


def first_question(run: Run) -> list[int] | None:
    """Ids of what the first validation document asks, or of its first tokens with spans left out; None where there is nothing to read."""
    if not run.validation:
        return None
    ids = np.asarray(run.validation[0].ids, dtype=np.int64)
    if run.recipe.train.objective == "spans" and len(ids) > 1:
        row = ids[: run.recipe.train.sequence_length]
        source, _ = spans.corrupt(row[None], run.marks.sentinels, end_id=run.marks.end, seed=run.recipe.seed)
        return [int(number) for number in source[0]]
    pairs = _pairs(run.validation[0])
    return [int(number) for number in pairs[0][0]] if pairs else None


def _parts(documents: list[Scored]) -> list[list[Scored]]:
    parts: list[list[Scored]] = [[]]
    for document in documents:
        if parts[-1] and sum(len(each.ids) for each in parts[-1]) + len(document.ids) > AT_ONCE:
            parts.append([])
        parts[-1].append(document)
    return parts


def _gaps(run: Run, stop: Callable[[], bool]) -> float:
    """Nats for each token left out of the validation documents, always the same ones."""
    length = run.recipe.train.sequence_length
    state, training = random_state(), run.model.training
    seed_all(run.recipe.seed)
    run.model.eval()
    nats, count = 0.0, 0
    try:
        for document in run.validation:
            for start in range(0, len(document.ids) - 1, length):
                if stop():
                    raise Abandoned
                ids = torch.from_numpy(np.asarray(document.ids[start : start + length + 1], dtype=np.int64)).to(run.device)[None]
                batch = Batch(ids[:, :-1], ids[:, 1:], None, run.marks)
                if batch.inputs.numel():
                    with torch.no_grad(), autocast(run.precision, run.device):
                        nats += float(run.compute(OBJECTIVES[run.recipe.train.objective], run.model, batch))
                    count += batch.inputs.numel()
    finally:
        run.model.train(training)
        restore_random_state(state)
    return nats / max(1, count)


def _scores(run: Run, documents: list[Scored]) -> list[float]:
    """log2 p of what is scored of each document; of an encoder-decoder's conversations, of answers to what stands before them."""
    if run.model.KIND == "encoder_decoder" and run.recipe.train.objective == "sft":
        return [_answers(run, document) for document in documents]
    found = log2_probabilities(
        run.model,
        [document.ids for document in documents],
        context_length=run.recipe.train.sequence_length if run.model.config.context_length is not None else None,
        autocast=short_type(run.precision),
        name="validating",
    )
    return [
        float((score if document.learns is None else score[document.learns[1:] != 0]).sum())
        for score, document in zip(found, documents, strict=True)
    ]


def _pairs(document: Scored) -> list[tuple[NDArray[Any], NDArray[Any]]]:
    """Questions and answers of a conversation."""
    ids = np.asarray(document.ids, dtype=np.int64)
    learns = np.ones_like(ids) if document.learns is None else document.learns
    return questions_and_answers(ids[:-1], np.where(learns[1:] != 0, ids[1:], IGNORED))


def _answers(run: Run, document: Scored) -> float:
    pairs = _pairs(document)
    scores = log2_probabilities(
        run.model,
        [np.concatenate(([run.model.config.start_id], answer)) for _, answer in pairs],
        sources=[source for source, _ in pairs],
        autocast=short_type(run.precision),
        name="validating",
    )
    return sum(float(score.sum()) for score in scores)
