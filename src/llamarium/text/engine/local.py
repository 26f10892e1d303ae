"""The engine of one machine: worker processes, each a Python of its own, that are told numbers of partitions.

Takes: a folder with a plan, the partitions that are still to be done.
Gives: the number of each when it is done.
Does not know: what a partition is. A worker that dies is followed by another, and its partition is done anew; one that kills
its worker three times ends the work.

Workers are started as commands and talk in lines (no pickle, and nothing of the calling program is run again in them). Their number is
what the cores and the memory allow: a worker needs about `NEEDS` bytes for each byte of its partition.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import subprocess
import sys
import threading
import traceback
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from llamarium.ground.device import num_threads
from llamarium.ground.errors import LlamariumError, ResourceError, UsageError
from llamarium.text import partition
from llamarium.text.engine import Options

NEEDS = 30  # measured on the slowest kind, short Chinese documents: shingles are 8 bytes a character, and there are several copies
BASE = 150 << 20  # a Python with what it imports
ALONE = 6 << 20  # bytes of input: for less, starting processes takes longer than the work
MOST_DEATHS = 3


def run(folder: Path, numbers: Sequence[int], *, sizes: Sequence[int], options: Options) -> Iterator[int]:
    """Do `numbers`, in this process where no two workers fit in the memory, or where starting some would take longer than the work."""
    todo = sum(sizes[number] for number in numbers)
    largest = max((sizes[number] for number in numbers), default=0)
    fitting = max(1, options.memory // (BASE + NEEDS * largest))
    workers = min(options.workers or num_threads(), fitting, len(numbers))
    if workers < 2 or (todo <= ALONE and not options.workers):
        for number in numbers:
            partition.run(folder, number)
            yield number
        return
    yield from _Pool(folder, numbers, workers).run()


class _Pool:
    """Some workers and what each is doing."""

    def __init__(self, folder: Path, numbers: Sequence[int], workers: int) -> None:
        self.folder, self.waiting, self.size = folder, deque(numbers), workers
        self.deaths: Counter[int] = Counter()
        self.busy: dict[subprocess.Popen[bytes], int] = {}
        self.lines: queue.SimpleQueue[tuple[subprocess.Popen[bytes], bytes]] = queue.SimpleQueue()

    def run(self) -> Iterator[int]:
        try:
            while self.waiting or self.busy:
                while self.waiting and len(self.busy) < self.size:
                    self.give(self.start())
                with contextlib.suppress(queue.Empty):  # a wait without an end is deaf to Ctrl-C on Windows
                    yield from self.hear(*self.lines.get(timeout=1.0))
        finally:
            self.end()

    def start(self) -> subprocess.Popen[bytes]:
        # -P: the folder where one stands may hold a json.py, and must not be looked into for modules.
        command = [sys.executable, "-P", "-m", "llamarium.text.engine.local", str(self.folder)]
        # A thread a worker: they share the cores among themselves.
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "POLARS_MAX_THREADS": "1"}
        worker = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment)
        threading.Thread(target=self.listen, args=(worker,), daemon=True).start()
        return worker

    def listen(self, worker: subprocess.Popen[bytes]) -> None:
        """A thread a worker, because not every system can wait for several pipes: each line that it says, and an empty one at its end."""
        assert worker.stdout is not None
        with worker.stdout as lines:
            for line in lines:
                self.lines.put((worker, line))
        self.lines.put((worker, b""))

    def give(self, worker: subprocess.Popen[bytes]) -> None:
        """The next partition, or leave to go."""
        assert worker.stdin is not None
        if not self.waiting:
            self.release(worker)
            return
        number = self.waiting.popleft()
        self.busy[worker] = number
        with contextlib.suppress(OSError):  # it died; `hear` will be told
            worker.stdin.write(f"{number}\n".encode())
            worker.stdin.flush()

    def hear(self, worker: subprocess.Popen[bytes], line: bytes) -> Iterator[int]:
        if worker not in self.busy:  # it was given leave, and says no more than that it has gone
            return
        number = self.busy.pop(worker)
        if not line.endswith(b"\n"):
            self.died(worker, number)
            return
        answer = json.loads(line)
        if "fault" in answer:
            self.release(worker)
            raise RuntimeError(f"A worker failed:\n{answer['fault']}")
        if "error" in answer:
            self.release(worker)
            raise _error(answer["error"])
        self.give(worker)  # before the number is told: whoever hears it may stop listening
        yield number

    def died(self, worker: subprocess.Popen[bytes], number: int) -> None:
        self.release(worker)
        self.deaths[number] += 1
        if self.deaths[number] >= MOST_DEATHS:
            raise ResourceError(
                f"A worker was killed {MOST_DEATHS} times over the same part of the work (status {worker.returncode}).",
                hint="Memory may be short: try --workers 1, or smaller files. What is done is kept; the same command goes on.",
            )
        self.waiting.appendleft(number)

    def release(self, worker: subprocess.Popen[bytes]) -> None:
        with contextlib.suppress(OSError):
            worker.stdin.close()  # type: ignore[union-attr]
        worker.wait()

    def end(self) -> None:
        """Nobody is left behind, whatever ended the work."""
        for worker in list(self.busy):
            worker.terminate()
            self.release(worker)
        self.busy.clear()


def work(folder: Path, numbers: Iterator[str], answers: Any) -> None:
    """A worker's life: a number a line, an answer a line."""
    for line in numbers:
        try:
            partition.run(folder, int(line))
            answer: dict[str, Any] = {"done": int(line)}
        except LlamariumError as error:
            answer = {"error": {"message": error.message, "hint": error.hint, "exit_code": error.exit_code}}
        except Exception:  # a fault of ours: who started the work shall see it, and not take it for a worker that was killed
            answer = {"fault": traceback.format_exc()}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def _error(told: dict[str, Any]) -> LlamariumError:
    kinds = {kind.exit_code: kind for kind in (UsageError, ResourceError)}
    return kinds.get(told["exit_code"], LlamariumError)(told["message"], hint=told["hint"])


if __name__ == "__main__":
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes of a terminal; the first decides
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever a library prints must not be taken for an answer
    work(Path(sys.argv[1]), iter(sys.stdin.readline, ""), out)
