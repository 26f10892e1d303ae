"""``log.jsonl``: what happened, one JSON object a line.

Takes: values of a step, events.
Gives: lines on disk; on resume, a log that ends where the checkpoint stands.
Does not know: what the values mean.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from llamarium.ground import files


class RunLog:
    """Appends lines to a run's log; each is on its way to the disk when `write` returns."""

    def __init__(self, path: Path, *, after_step: int | None = None) -> None:
        """Start a new log, or with `after_step` continue one: lines of later steps, and a torn last line, are removed."""
        self.path = path
        kept = [] if after_step is None else [line for line in read(path) if line["step"] <= after_step]
        files.write_text(path, "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in kept))
        self._file = path.open("a", encoding="utf-8")

    def write(self, **values: Any) -> None:
        """Append one line."""
        self._file.write(json.dumps(values, ensure_ascii=False) + "\n")
        self._file.flush()

    def event(self, step: int, event: str, detail: Any = None) -> None:
        """Append an event."""
        self.write(step=step, event=event, detail=detail)

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def read(path: Path) -> list[dict[str, Any]]:
    """The lines of a log; a last line that a crash tore is left out."""
    lines = []
    # Bytes and their line ends alone: a tear may go through a character, and a sample may hold others' line ends (U+2028).
    for text in path.read_bytes().split(b"\n") if path.is_file() else ():
        try:
            line = json.loads(text)
        except ValueError:
            continue
        if isinstance(line, dict) and isinstance(line.get("step"), int):
            lines.append(line)
    return lines
