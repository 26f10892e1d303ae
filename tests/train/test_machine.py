"""What is told of the machine lies beside the log, survives resumes, and is never worth a run."""

from __future__ import annotations

import errno
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from llamarium.train import log, machine
from llamarium.train.loop import train
from llamarium.train.recipe import Recipe
from llamarium.train.run import Run, start

Described = Callable[..., Recipe]


class Stop(Exception):  # noqa: N818
    pass


def stop_after(step: int) -> Callable[[Run, dict[str, Any]], None]:
    def stop(run: Run, line: dict[str, Any]) -> None:
        if line["step"] == step:
            raise Stop

    return stop


@pytest.fixture
def resumed(described: Described, tmp_path: Path) -> Path:
    """A run of 6 steps that saves and validates every 2, came to step 5, and was resumed."""
    run = start(described(), tmp_path / "run")
    with pytest.raises(Stop):
        train(run, after_step=stop_after(5))
    run.log.close()
    run = start(described(), tmp_path / "run", resume=True)
    train(run)
    run.log.close()
    return tmp_path / "run"


def test_starts_resumes_and_memory_are_noted(resumed: Path) -> None:
    lines = log.read(resumed / machine.MACHINE)
    assert [(line["step"], line["event"]) for line in lines] == [
        *((0, "started"), (2, "memory"), (4, "memory")),
        *((4, "resumed"), (6, "memory")),
    ]
    assert lines[0]["detail"] | {"time": ""} == {
        "time": "",
        "device": "cpu",
        "processes": 1,
        "threads": torch.get_num_threads(),
        "precision": "float32",
        "torch": torch.__version__,
    }
    for line in lines:
        if line["event"] == "memory":
            assert 50e6 < line["detail"]["now"] <= line["detail"]["peak"] < 50e9


def test_the_log_knows_nothing_of_it(resumed: Path, described: Described, tmp_path: Path) -> None:
    """P1: but for the seconds, it is that of a run that was never stopped."""
    run = start(described(), tmp_path / "other")
    train(run)
    run.log.close()
    one, other = (
        [{key: value for key, value in line.items() if key != "seconds"} for line in log.read(folder / "log.jsonl")]
        for folder in (resumed, tmp_path / "other")
    )
    assert one == other


def test_a_run_that_is_done_is_not_resumed(resumed: Path, described: Described) -> None:
    before = (resumed / machine.MACHINE).read_bytes()
    run = start(described(), resumed, resume=True)
    train(run)
    run.log.close()
    assert (resumed / machine.MACHINE).read_bytes() == before


def test_a_full_disk_takes_notes_and_no_run(described: Described, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opens = Path.open

    def full(path: Path, *arguments: Any, **options: Any) -> Any:
        if path.name == machine.MACHINE:
            raise OSError(errno.ENOSPC, "No space left on device")
        return opens(path, *arguments, **options)

    monkeypatch.setattr(Path, "open", full)
    run = start(described(), tmp_path / "run")
    train(run)
    run.log.close()
    assert run.step == 6
    assert not (tmp_path / "run" / machine.MACHINE).exists()


def test_on_a_system_that_does_not_tell_the_peak(described: Described, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "resource", None)
    run = start(described(), tmp_path / "run")
    machine.memory(run)
    run.log.close()
    (line,) = log.read(tmp_path / "run" / machine.MACHINE)
    assert line["detail"]["peak"] is None
