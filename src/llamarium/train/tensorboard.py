"""The lines of a log in TensorBoard, for those who watch many runs there.

Takes: a run's folder, and lines as they are written.
Gives: event files under ``tensorboard/``; needs the extra ``tensorboard``.
Does not know: runs. ``log.jsonl`` remains what counts.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from llamarium.ground.errors import MissingExtraError

FOLDER = "tensorboard"

Line = dict[str, Any]


def listener(folder: Path, *, after_step: int | None = None) -> Callable[[Line], None]:
    """What is to be told of every line of the log of the run in `folder`; `MissingExtraError` without TensorBoard.

    With `after_step`, what an earlier process showed of later steps is no longer shown, as it is no longer in the log.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise MissingExtraError("train.tensorboard", extra="tensorboard", package="tensorboard") from None

    writer: Any = None
    after = after_step

    def show(line: Line) -> None:
        nonlocal writer, after
        step, event = line["step"], line.get("event")
        if event == "roll-back" and writer is not None:
            writer.close()
            writer, after = None, step
        if writer is None:  # not earlier: a run that is refused leaves nothing behind
            writer = SummaryWriter(folder / FOLDER, purge_step=None if after is None else after + 1)
        for name, value in _scalars(line).items():
            writer.add_scalar(name, value, step)
        if event is not None and event != "norms":
            writer.add_text(event, str(line["detail"]), step)
        writer.flush()  # who watches wants to see it now, and a process may be killed

    return show


def _scalars(line: Line) -> dict[str, float]:
    """The numbers in a line, by the names that TensorBoard sorts them under."""
    if line.get("event") == "norms":
        sides = ("weight_norm", "gradient_norm")
        return {f"{side}/{layer}": norm for layer, norms in line["detail"].items() for side, norm in zip(sides, norms, strict=True)}
    return {f"train/{key}": value for key, value in line.items() if key != "step" and isinstance(value, int | float)}
