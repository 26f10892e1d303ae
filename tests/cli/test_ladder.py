"""The command line's ladder: one folder, a table on standard output, a report, and one object with --json."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from llamarium.apps.ladder import climb, rungs
from llamarium.cli.main import run
from llamarium.text.prepare import prepare
from llamarium.train.validate import validate

TINY = ["--tokens", "1024", "--size", "40k", "--vocab-size", "300", "--catalogue", "none"]

WHO, DOES = ("The llama", "An alpaca", "The old shepherd", "My sheep"), ("eats green grass", "fears the snow", "follows the river")


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("workshop")
    (folder / "text").mkdir()
    draw = random.Random(1)
    for number in range(24):
        lines = [f"{draw.choice(WHO)} {draw.choice(DOES)} {draw.randrange(1000)} times." for _ in range(draw.randrange(8, 20))]
        (folder / "text" / f"{number}.txt").write_text("\n".join(lines))
    prepare([folder / "text"], folder / "corpus")
    return folder


@pytest.fixture
def place(workshop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "corpus").symlink_to(workshop / "corpus")
    monkeypatch.setattr(rungs, "BATCH", 512)
    return tmp_path


def test_a_table_and_a_report(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["ladder", "corpus", "--out", "out", *TINY]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    rows = [line for line in out.splitlines() if "█" in line]
    bits = [float(line.split()[0]) for line in rows]
    assert len(rows) == 2 + len(rungs.RUNGS)
    assert bits == sorted(bits, reverse=True)
    assert "the best network" in out
    assert "<svg" in (place / "out" / "report.html").read_text(encoding="utf-8")

    assert run(["ladder", "corpus", "--out", "out", *TINY]) == 2
    assert "--resume" in capsys.readouterr().err
    assert run(["ladder", "corpus", "--out", "out", "--resume", "--json", *TINY]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer == json.loads((place / "out" / "ladder.json").read_text(encoding="utf-8"))
    assert {entry["key"] for entry in answer["rungs"]} == {rung.key for rung in rungs.RUNGS}


def test_an_interrupted_ladder_has_a_report_so_far(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:

    def asked_to_stop(run: Any) -> float | None:
        os.kill(os.getpid(), signal.SIGTERM)
        return validate(run)

    monkeypatch.setattr(climb, "validate", asked_to_stop)
    assert run(["ladder", "corpus", "--out", "out", *TINY]) == 130
    out, err = capsys.readouterr()
    assert out == ""
    assert "everything is saved" in err
    assert "hint: Go on with --resume." in err
    assert "--resume goes on with it" in (place / "out" / "report.html").read_text(encoding="utf-8")
    monkeypatch.setattr(climb, "validate", validate)
    assert run(["ladder", "corpus", "--out", "out", "--resume", *TINY]) == 0
    assert "--resume" not in (place / "out" / "report.html").read_text(encoding="utf-8")


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
@pytest.mark.parametrize("file", ["tokenizer", "bigram/log.jsonl", "gpt/log.jsonl"])
def test_a_real_signal_to_a_real_process(workshop: Path, tmp_path: Path, number: signal.Signals, file: str) -> None:
    """Wherever it is, it ends with 130 and goes on with --resume."""
    command = [sys.executable, "-m", "llamarium", "ladder", str(workshop / "corpus"), "--out", "out"]
    options = ["--tokens", "16384", "--size", "40k", "--vocab-size", "300", "--catalogue", "none"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    child = subprocess.Popen([*command, *options], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
    while child.poll() is None and not (tmp_path / "out" / file).exists():
        time.sleep(0.005)
    child.send_signal(number)
    out, err = child.communicate()
    assert (child.returncode, out) == (130, ""), err
    assert "Traceback" not in err
    again = subprocess.run([*command, "--resume", *options], cwd=tmp_path, capture_output=True, text=True, env=environment, check=False)
    assert again.returncode == 0, again.stderr
    assert json.loads((tmp_path / "out" / "ladder.json").read_text(encoding="utf-8"))["done"]
