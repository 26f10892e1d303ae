from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

import llamarium
from llamarium.checkpoint import store
from llamarium.cli import train as verb
from llamarium.cli.main import run
from llamarium.ground import progress
from llamarium.text.prepare import prepare
from llamarium.train import recipe
from llamarium.train.run import start

RECIPE: dict[str, Any] = {
    "name": "tiny",
    "data": {"corpus": "corpus", "tokenizer": "bytes"},
    "model": {"layers": 1, "width": 16, "heads": 1},
    "train": {"steps": 4, "batch_tokens": 64, "sequence_length": 32, "save_every": 2, "precision": "float32", "validation_tokens": 100},
}


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder: a corpus and a recipe."""
    (tmp_path / "text").mkdir()
    for number in range(8):
        (tmp_path / "text" / f"{number}.txt").write_text(f"The llama number {number} eats grass and sleeps for {number} hours in the hay.")
    prepare([tmp_path / "text"], tmp_path / "corpus")
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(RECIPE))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def logged(folder: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_bytes().splitlines()]
    return [{key: value for key, value in line.items() if key != "seconds"} for line in lines]


def test_the_path_of_the_model_is_the_only_output(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["train", "recipe.yaml"]) == 0
    out, err = capsys.readouterr()
    assert out == "runs/tiny/model\n"
    assert err == ""
    assert llamarium.load(out.strip()).generate("The", max_tokens=3, temperature=0).completion_tokens == 3


def test_what_it_says_meanwhile(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    progress.use(progress.Plain(sys.stderr, interval=0))
    try:
        assert run(["train", "recipe.yaml"]) == 0
    finally:
        progress.use(progress.Silent())
    out, err = capsys.readouterr()
    assert out == "runs/tiny/model\n"
    assert "tiny: llama, " in err
    assert "4 steps, 256 tokens; 64 tokens a step in sequences of 32" in err
    assert "training: 100%" in err
    assert err.count(" says: ") == 2


def test_a_dry_run_writes_nothing(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        run(
            ["train", "recipe.yaml", "--dry-run", "--set", "model={size: 300k}", "--set", "train.tokens=10000", "--set", "train.steps=null"]
        )
        == 0
    )
    out, _ = capsys.readouterr()
    names = ["300k|weights", "157 steps", "tokens to learn from", "of memory", "tokens/s", "would learn most"]
    assert [bool(re.search(name, line)) for name, line in zip(names, out.splitlines(), strict=True)] == [True] * 6
    assert not (place / "runs").exists()


def test_settings_win(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["train", "recipe.yaml", "--set", "name=other", "--set", "train.steps=2", "--set", "train.learning_rate=3e-4"]) == 0
    assert capsys.readouterr().out == "runs/other/model\n"
    resolved = yaml.safe_load((place / "runs" / "other" / "recipe.yaml").read_text())
    assert (resolved["train"]["steps"], resolved["train"]["learning_rate"]) == (2, 3e-4)


def test_a_run_that_exists_is_only_resumed(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["train", "recipe.yaml", "--set", "train.steps=2"]) == 0
    assert run(["train", "recipe.yaml"]) == 2
    assert "--resume" in capsys.readouterr().err
    assert run(["train", "recipe.yaml", "--resume"]) == 0
    assert [line["step"] for line in logged(place / "runs" / "tiny") if "loss" in line] == [1, 2, 3, 4]


def test_the_folder_of_a_run_is_a_recipe_to_go_on_with(place: Path) -> None:
    assert run(["train", "recipe.yaml"]) == 0
    assert run(["train", "runs/tiny/recipe.yaml", "--resume", "--set", "train.steps=6"]) == 0
    assert store.steps(place / "runs" / "tiny" / "checkpoints")[0].name == "step-00000006"


def test_a_sample_is_the_same_each_time_and_changes_nothing(place: Path) -> None:
    (place / "elsewhere").mkdir()
    begun = start(recipe.read(place / "recipe.yaml"), place / "elsewhere" / "run")
    begun.log.close()
    begun.model.train()
    random = torch.get_rng_state()
    first = verb.speak(begun)
    assert verb.speak(begun) == first != ""
    assert begun.model.training
    assert torch.equal(torch.get_rng_state(), random)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_a_real_signal_to_a_real_process(place: Path, number: signal.Signals) -> None:
    """It ends with 130, says how to go on, and what is resumed ends like a run that nobody stopped."""
    settings = ["--set", "train.steps=400", "--set", "train.save_every=200"]
    command = [sys.executable, "-m", "llamarium", "train", "recipe.yaml"]
    child = subprocess.Popen(
        [*command, *settings], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"}
    )
    log = place / "runs" / "tiny" / "log.jsonl"
    while child.poll() is None and (not log.exists() or log.read_bytes().count(b"\n") < 3):
        time.sleep(0.005)
    child.send_signal(number)
    out, err = child.communicate()
    assert (child.returncode, out) == (130, ""), err
    assert "everything is saved in runs/tiny" in err
    assert "hint: Go on with --resume." in err
    assert "Traceback" not in err
    stopped = int(store.steps(place / "runs" / "tiny" / "checkpoints")[0].name[-8:])
    assert 3 <= stopped < 400
    assert (place / "runs" / "tiny" / "report.html").is_file()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        assert run(["train", "recipe.yaml", *settings, "--resume"]) == 0
        assert run(["train", "recipe.yaml", *settings, "--set", "name=whole"]) == 0
    finally:
        torch.set_num_threads(threads)
    assert logged(place / "runs" / "tiny") == logged(place / "runs" / "whole")
    models = [(place / "runs" / name / "model" / "model.safetensors").read_bytes() for name in ("tiny", "whole")]
    assert models[0] == models[1]
