"""``machine.jsonl``: on which machine a run was started and resumed, and what memory it took there.

Takes: a `Run` that begins or has been validated.
Gives: lines as the log's events are. They lie beside ``log.jsonl``, which must be the same however often a run was interrupted (P1).
Does not know: what they are read for. Nothing depends on them: where the disk is full they are lost, and the run goes on.
"""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from typing import Any

import torch

from llamarium.ground import device, files
from llamarium.train.run import Run

MACHINE = "machine.jsonl"


def begins(run: Run) -> None:
    """Note that a process goes on with `run`: where, and with what of all that a run must share to be repeated to the bit."""
    if not run.done:
        _note(
            run,
            "resumed" if run.step else "started",
            {
                "time": f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC",
                "device": torch.cuda.get_device_name(run.device) if run.device.type == "cuda" else run.device.type,
                "processes": run.group.size,
                "threads": torch.get_num_threads(),
                "precision": str(run.precision).removeprefix("torch."),
                "torch": torch.__version__,
            },
        )


def memory(run: Run) -> None:
    """Note the bytes that the first process has now and has had at most: main memory, and a GPU's where it computes there."""
    now, peak = device.memory()[0], _peak()
    found = {"now": now, "peak": None if peak is None else max(now, peak)}  # the system counts a little behind
    if run.device.type == "cuda":
        found |= {"gpu now": torch.cuda.memory_allocated(run.device), "gpu peak": torch.cuda.max_memory_allocated(run.device)}
    _note(run, "memory", found)


def _peak() -> int | None:
    """The most main memory that this process has had, in bytes; None where the system does not tell."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _note(run: Run, event: str, detail: dict[str, Any]) -> None:
    if not run.group.is_first:
        return
    try:
        with (run.folder / MACHINE).open("a", encoding="utf-8") as file:
            file.write(json.dumps({"step": run.step, "event": event, "detail": detail}, ensure_ascii=False) + "\n")
    except OSError as error:
        if error.errno not in files.NO_ROOM:
            raise
