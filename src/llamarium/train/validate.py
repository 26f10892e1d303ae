"""Bits per byte of a run's validation documents.

Takes: a `Run` between two steps.
Gives: one number, the same in every process of its group.
Does not know: when it is asked for.
"""

from __future__ import annotations

from collections.abc import Callable

from llamarium.models.scoring import log2_probabilities
from llamarium.train.compute import short_type
from llamarium.train.data import Scored
from llamarium.train.run import Run

AT_ONCE = 1 << 14  # tokens between two questions whether to go on


class Abandoned(Exception):  # noqa: N818  it is what happened, not a fault
    """It was asked to stop."""


def validate(run: Run, *, stop: Callable[[], bool] = lambda: False) -> float | None:
    """Bits per byte in windows of the training's length, None without validation documents; `Abandoned` where `stop` says so."""
    if not run.validation:
        return None
    bits, num_bytes = 0.0, 0
    for part in _parts(run.validation):
        if stop():
            raise Abandoned
        scores = run.compute(_scores, run, part)
        bits -= sum(scores)
        num_bytes += sum(document.num_bytes for document in part)
    return run.group.tell(bits / max(1, num_bytes))  # what is decided by it must be the same everywhere, machines that differ included


def _parts(documents: list[Scored]) -> list[list[Scored]]:
    parts: list[list[Scored]] = [[]]
    for document in documents:
        if parts[-1] and sum(len(each.ids) for each in parts[-1]) + len(document.ids) > AT_ONCE:
            parts.append([])
        parts[-1].append(document)
    return parts


def _scores(run: Run, documents: list[Scored]) -> list[float]:
    """log2 p of what is scored of each document."""
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
