"""One line about a run under way: step, loss, bits per byte, tokens a second, ETA, memory, last checkpoint.

Takes: a `Run`, and the line that the log got.
Gives: progress, to whoever watches.
Does not know: how a step is done.
"""

from __future__ import annotations

from typing import Any

from llamarium.ground import progress
from llamarium.ground.device import memory
from llamarium.train.run import Run
from llamarium.train.validate import scale


class Status:
    """Shown while the context lasts."""

    def __init__(self, run: Run) -> None:
        self.run, self.saved = run, "none yet"
        self.score: float | None = None
        self._share = run.share()
        self._start, self._tokens = run.seconds, run.tokens
        self._task = progress.task("training", 1.0)

    def __enter__(self) -> Status:
        self._work = self._task.__enter__()
        self._work.advance(self._share)
        return self

    def __exit__(self, *error: Any) -> None:
        self._task.__exit__(*error)

    def show(self, line: dict[str, Any]) -> None:
        """Say how it stands after a step."""
        self.score = line.get(scale(self.run), self.score)
        score = "" if self.score is None else f"  {self.score:.3f} {scale(self.run).replace('_', ' ')}"
        speed = (self.run.tokens - self._tokens) / max(1e-9, self.run.seconds - self._start)
        where = f"step {self.run.step}  loss {line['loss']:.3f}{score}"
        note = f"{where}  {speed:,.0f} tokens/s  {progress.size(memory()[0])}  saved: {self.saved}"
        share = self.run.share()
        self._work.advance(share - self._share, note=note)
        self._share = share
