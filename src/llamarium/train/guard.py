"""What keeps a bad batch from the weights: is this step like the ones before it?

Takes: loss and gradient norm of each step before it is taken.
Gives: a reason to pass over the step, and word that passing over is no longer enough.
Does not know: models, files. What it remembers is plain numbers, so that a checkpoint can hold them.

A step is passed over where its loss or its gradient norm is not finite, or lies more than 6 σ above the mean of the last 128 steps
taken and ten times as far above it as any of those. The second condition is for honest long tails: in 63,000 steps of sound runs,
many with one short row a batch, 33 losses lay beyond 6 σ, up to 19 σ, and none beyond seven times the farthest before it. Norms are
compared by their logarithms: a clipped step of ten times the usual norm does no harm. Three such steps among twenty mean that
something else is wrong than a batch.
"""

from __future__ import annotations

import math
import statistics
from collections import deque
from collections.abc import Sequence
from typing import Any

STEPS = 128  # that the mean and σ are taken over
FEWEST = 32  # before so many there is no judging what is usual
SIGMAS = 6.0
TIMES = 10.0  # as far above the mean as the farthest of the steps before
FLOOR = 0.05  # nats, or its share of a mean above 1: σ and the farthest are taken as at least that, lest steady runs become touchy
SKIPS, WITHIN = 3, 20  # so many of so many steps: go back
ROLL_BACKS = 3


class Guard:
    """Judges steps in order.

    >>> guard = Guard()
    >>> guard.judge(2.0, 1.0), guard.judge(float("nan"), 1.0)
    ('', 'the loss is nan')
    """

    def __init__(self) -> None:
        self.losses: deque[float] = deque(maxlen=STEPS)
        self.norms: deque[float] = deque(maxlen=STEPS)  # natural logarithms
        self.seen = 0  # steps judged
        self.skipped: list[tuple[int, int]] = []  # (when among those seen, first sample), since the last roll-back
        self.roll_backs: list[dict[str, Any]] = []  # what the log says of each
        self.passed_over: list[int] = []  # first samples of batches that are never read again

    def judge(self, loss: float, norm: float) -> str:
        """Why this step must not be taken; nothing where it may. What may be taken becomes part of what is usual."""
        self.seen += 1
        for name, value in (("loss", loss), ("gradient norm", norm)):
            if not math.isfinite(value):
                return f"the {name} is {value}"
        size = math.log(max(norm, 1e-30))
        reason = _far(loss, self.losses, "loss") or _far(size, self.norms, "logarithm of the gradient norm")
        if not reason:
            self.losses.append(loss)
            self.norms.append(size)
        return reason

    def skip(self, first_sample: int) -> bool:
        """Note that the batch which begins with this sample was passed over; True where it is time to go back."""
        self.skipped.append((self.seen, first_sample))
        return len([when for when, _ in self.skipped if self.seen - when < WITHIN]) >= SKIPS

    def roll_back(self, step: int, reason: str) -> None:
        """Pass over for ever what was skipped since the last time, and remember why the run went back to `step`.

        What was usual is kept, for the steps that follow are those that were taken before.
        """
        batches = sorted({sample for _, sample in self.skipped})
        self.passed_over = sorted({*self.passed_over, *batches})
        self.skipped = []
        self.roll_backs.append({"step": step, "detail": {"samples": batches, "reason": reason}})

    def state(self) -> dict[str, Any]:
        """All that it remembers, as JSON can hold it."""
        return {
            "losses": list(self.losses),
            "norms": list(self.norms),
            "seen": self.seen,
            "skipped": [list(each) for each in self.skipped],
            "roll_backs": self.roll_backs,
            "passed_over": self.passed_over,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Remember what `state` returned."""
        self.losses = deque(state["losses"], maxlen=STEPS)
        self.norms = deque(state["norms"], maxlen=STEPS)
        self.seen, self.roll_backs = state["seen"], list(state["roll_backs"])
        self.skipped = [(when, sample) for when, sample in state["skipped"]]
        self.passed_over = list(state["passed_over"])


def _far(value: float, usual: Sequence[float], name: str) -> str:
    """Whether `value` is no longer usual, in words; nothing where it is, or where too little is known."""
    if len(usual) < FEWEST:
        return ""
    mean = statistics.fmean(usual)
    least = FLOOR * max(1.0, abs(mean))
    sigma, farthest = max(statistics.pstdev(usual, mean), least), max(max(usual) - mean, least)
    if value - mean <= max(SIGMAS * sigma, TIMES * farthest):
        return ""
    return f"the {name} is {value:.4g}, {(value - mean) / sigma:.0f} σ above the {mean:.4g} of the {len(usual)} steps before"
