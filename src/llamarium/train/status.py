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


class Status:
    """Shown while the context lasts."""

    def __init__(self, run: Run) -> None:
        self.run, self.saved = run, "none yet"
        self.bits: float | None = None
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
        self.bits = line.get("bits_per_byte", self.bits)
        bits = "" if self.bits is None else f"  {self.bits:.3f} bits per byte"
        speed = (self.run.tokens - self._tokens) / max(1e-9, self.run.seconds - self._start)
        note = (
            f"step {self.run.step}  loss {line['loss']:.3f}{bits}  {speed:,.0f} tokens/s  {progress.size(memory()[0])}  saved: {self.saved}"
        )
        share = self.run.share()
        self._work.advance(share - self._share, note=note)
        self._share = share
