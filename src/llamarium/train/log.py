"""``log.jsonl``: what happened, one JSON object a line.

Takes: values of a step, events.
Gives: lines on disk; on resume, a log that ends where the checkpoint stands. A full disk delays lines and loses none.
Does not know: what the values mean.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from llamarium.ground import files
from llamarium.ground.errors import ResourceError

Line = dict[str, Any]


class RunLog:
    """Appends lines to a run's log; each is on its way to the disk when `write` returns, or waits for room there.

    With `to_disk` False nothing is written: the log of all processes but the first. `also` is told of every line.
    """

    def __init__(
        self, path: Path, *, after_step: int | None = None, to_disk: bool = True, also: Callable[[Line], None] | None = None
    ) -> None:
        """Start a new log, or with `after_step` continue one: lines of later steps, and a torn last line, are removed."""
        self.path, self._to_disk, self._also = path, to_disk, also
        self._waiting = b""
        self._file = -1
        if to_disk:
            self._open([] if after_step is None else [line for line in read(path) if line["step"] <= after_step])

    def _open(self, kept: list[Line]) -> None:
        files.write_text(self.path, "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in kept))
        self._file = os.open(self.path, os.O_WRONLY | os.O_APPEND)

    def write(self, **values: Any) -> None:
        """Append one line."""
        if self._also is not None:
            self._also(values)
        if not self._to_disk:
            return
        self._waiting += (json.dumps(values, ensure_ascii=False) + "\n").encode("utf-8", "surrogatepass")
        try:
            self._drain()
        except OSError as error:
            if error.errno not in files.NO_ROOM:
                raise  # else it waits; `flush`, before the next checkpoint, insists

    def _drain(self) -> None:
        while self._waiting:
            self._waiting = self._waiting[os.write(self._file, self._waiting) :]

    def flush(self) -> None:
        """Write what waits and ask the disk to keep it. `ResourceError` where there is still no room."""
        if self._to_disk:
            with files.disk_errors(self.path):
                self._drain()
                os.fsync(self._file)

    def event(self, step: int, event: str, detail: Any = None) -> None:
        """Append an event."""
        self.write(step=step, event=event, detail=detail)

    def cut(self, after_step: int) -> None:
        """Remove the lines of later steps, which are the last ones: this takes no room on a disk that may be full."""
        if self._to_disk:
            size = 0
            for text in self.path.read_bytes().splitlines(keepends=True):
                line = _line(text)
                if line is None or line["step"] > after_step:
                    break
                size += len(text)
            os.truncate(self.path, size)
            self._waiting = b""

    def close(self) -> None:
        """Close the file. Where the disk is full, lines that wait are lost: no checkpoint stands behind them."""
        if self._file >= 0:
            with contextlib.suppress(ResourceError):
                self.flush()
            os.close(self._file)
            self._file = -1


def read(path: Path) -> list[Line]:
    """The lines of a log; a last line that a crash tore is left out."""
    lines = []
    # Bytes and their line ends alone: a tear may go through a character, and a sample may hold others' line ends (U+2028).
    for text in path.read_bytes().split(b"\n") if path.is_file() else ():
        if (line := _line(text)) is not None:
            lines.append(line)
    return lines


def _line(text: bytes) -> Line | None:
    try:
        line = json.loads(text)
    except ValueError:
        return None
    return line if isinstance(line, dict) and isinstance(line.get("step"), int) else None
