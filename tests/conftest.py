"""For all tests: one thread each, in this process and in those it starts; and groups of processes that cost no start of Python.

The models are tiny, so a second thread gains nothing; beside any other busy process it makes every parallel region wait.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from llamarium.ground import progress

os.environ.setdefault("OMP_NUM_THREADS", "1")


@dataclass
class Processes:
    """Groups of processes, forked by `group_server.py`, which knows what they can be asked to do."""

    server: subprocess.Popen[str]
    answers: Path

    def run(
        self,
        job: str,
        folder: Path,
        *,
        size: int = 2,
        patches: tuple[str, ...] = (),
        failpoints: dict[int, str] | None = None,
        signals: dict[int, str] | None = None,
        log: Path | None = None,
        after_lines: int = 0,
        patience: float = 60,
        **options: Any,
    ) -> list[Any]:
        """What each process of a group of `size` returned, or the signal that ended it.

        `signals` are sent by rank when `log` has `after_lines` lines; `failpoints` are by rank, too. After `patience` seconds
        all are killed: a group that waits for ever must not take the tests with it.
        """
        shutil.rmtree(self.answers, ignore_errors=True)
        self.answers.mkdir()
        case = {
            "job": job,
            "folder": str(folder),
            "size": size,
            "patches": patches,
            "failpoints": failpoints or {},
            "signals": signals or {},
            "log": str(log),
            "after_lines": after_lines,
            "patience": patience,
            "options": options,
            "answers": str(self.answers),
        }
        assert self.server.stdin is not None
        assert self.server.stdout is not None
        self.server.stdin.write(json.dumps(case) + "\n")
        self.server.stdin.flush()
        codes = json.loads(self.server.stdout.readline())
        return [
            -code if code < 0 else json.loads(path.read_text()) if (path := self.answers / str(rank)).exists() else "it failed"
            for rank, code in enumerate(codes)
        ]


@pytest.fixture(scope="session")
def processes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Processes]:
    """Groups of processes."""
    if not hasattr(os, "fork"):
        pytest.skip("this platform has no fork")
    script = Path(__file__).parent / "group_server.py"
    environment = os.environ | {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    server = subprocess.Popen([sys.executable, script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding="utf-8", env=environment)
    with server:
        yield Processes(server, tmp_path_factory.mktemp("processes") / "answers")
        assert server.stdin is not None
        server.stdin.close()


@pytest.fixture
def said() -> Iterator[list[str]]:
    """What the program says meanwhile."""
    lines: list[str] = []

    class Listener(progress.Silent):
        def say(self, line: str) -> None:
            lines.append(line)

    progress.use(Listener())
    yield lines
    progress.use(progress.Silent())
