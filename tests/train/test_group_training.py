"""Training in a group: two and four real processes over gloo, the command line, what ends them and how they go on."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
import yaml

from llamarium.checkpoint import huggingface, store
from llamarium.checkpoint.open import open_model
from llamarium.checkpoint.safetensors_file import read_safetensors
from llamarium.ground.files import sha256
from llamarium.models import llama
from llamarium.tokens.train import bytes_tokenizer
from llamarium.train import log

Processes = Any  # the fixture of this name, tests/conftest.py
Values = dict[str, Any]
Recipes = Callable[..., Values]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model to start from."""
    folder = tmp_path_factory.mktemp("base") / "model"
    torch.manual_seed(0)
    model = llama.Model(llama.Config(vocab_size=bytes_tokenizer().vocab_size, width=16, layers=2, heads=2, context_length=32))
    model.initialize()
    huggingface.save_folder(folder, model, bytes_tokenizer())
    return folder


@pytest.fixture(scope="module")
def recipe(corpus: Path) -> Recipes:
    """Values of a recipe of a tiny model; those of `train` are given by name."""

    def values(name: str = "run", *, sections: Values | None = None, **train: Any) -> Values:
        return {
            "name": name,
            "data": {"corpus": str(corpus), "tokenizer": "bytes"},
            "model": {"layers": 2, "width": 16, "heads": 2, "hidden_width": 32},
            "train": {
                "steps": 6,
                "batch_tokens": 160,
                "sequence_length": 32,
                "save_every": 2,
                "validation_tokens": 100,
                "learning_rate": 1e-2,
                "precision": "float32",
                "compile": False,
                **train,
            },
            **(sections or {}),
        }

    return values


@pytest.fixture(scope="module")
def thin(base: Path, corpus: Path) -> Values:
    """Sections of a recipe that learns thin matrices, and drops at random."""
    return {
        "data": {"corpus": str(corpus)},
        "model": {"from": str(base)},
        "lora": {"rank": 2, "dropout": 0.2, "targets": ["q_proj", "v_proj"]},
    }


def written(folder: Path, values: Values) -> str:
    (folder / f"{values['name']}.yaml").write_text(yaml.safe_dump(values), encoding="utf-8")
    return f"{values['name']}.yaml"


def good(said: list[Any]) -> list[Any]:
    assert all(isinstance(each, dict) and "read" in each for each in said), said
    return said


def command(processes: Processes, folder: Path, *arguments: str, **options: Any) -> list[Any]:
    found = processes.run("command", folder, arguments=list(arguments), **options)
    assert isinstance(found, list)
    return found


def outcome(run: Path, step: int) -> Values:
    """All that a run leaves, but what the clock says."""
    last = run / "checkpoints" / store.folder_name(step)
    state = json.loads((last / "state.json").read_text(encoding="utf-8"))
    lines = [{key: value for key, value in line.items() if key != "seconds"} for line in log.read(run / "log.jsonl")]
    sums = {path.name: sha256(path) for path in sorted(last.glob("*.safetensors"))}
    model = sha256(run / "model" / "model.safetensors")
    return {"log": lines, "sums": sums, "model": model, "state": {key: value for key, value in state.items() if key != "seconds"}}


def is_as(run: Path, other: Path, step: int) -> None:
    one, two = outcome(run, step), outcome(other, step)
    different = [key for key in one if one[key] != two[key]]
    assert not different, different


# --- What a run in a group leaves -------------------------------------------------------------------------------------


def test_the_command_line_in_a_group(processes: Processes, recipe: Recipes, tmp_path: Path) -> None:
    name = written(tmp_path, recipe(keep_best=True, steps=16, save_every=8, learning_rate=2e-2))
    first, second = command(processes, tmp_path, "train", name)
    assert (first["code"], second["code"]) == (0, 0), first["err"]
    assert (first["out"], second["out"], second["err"]) == ("runs/run/model\n", "", ""), "the first process speaks"
    assert "step 16" in first["err"]
    run = tmp_path / "runs" / "run"
    checkpoint = run / "checkpoints" / "step-00000016"
    shards = [f"{part}-0000{rank}-of-00002.safetensors" for part in ("model", "optimizer") for rank in (0, 1)]
    assert sorted(path.name for path in checkpoint.iterdir()) == sorted(["manifest.json", "state.json", *shards])
    assert len(read_safetensors(checkpoint / shards[0])["embed.weight"]) == 130, "rows as torch.chunk cuts 259 in two"
    lines = log.read(run / "log.jsonl")
    losses = [line["loss"] for line in lines if "loss" in line]
    assert len(losses) == 16
    assert losses[-1] < losses[0] - 0.5
    assert [line["step"] for line in lines if line.get("event") == "sample"] == [8, 16]
    assert [line["step"] for line in lines if line.get("event") == "norms"] == [8, 16]
    assert (run / "report.html").is_file()
    # What is written at the end is what the checkpoint's parts make up, and it opens.
    whole = store.read(checkpoint).weights
    model = open_model(str(run)).model
    assert isinstance(model, llama.Model)
    opened = dict(model.named_parameters())
    assert whole.keys() == opened.keys()
    assert all(torch.equal(whole[each], opened[each]) for each in whole)
    for each in command(processes, tmp_path, "generate", "runs/run", "the", "--max-tokens", "3", "--json", size=1):
        assert json.loads(each["out"])["completion_tokens"] == 3, each


def test_thin_matrices_in_a_group(processes: Processes, recipe: Recipes, thin: Values, base: Path, tmp_path: Path) -> None:
    good(processes.run("train", tmp_path, recipe=recipe(sections=thin, recompute=True)))
    names = store.read(tmp_path / "runs/run/checkpoints/step-00000006").names("weights")
    assert names
    assert all(name.endswith((".A", ".B")) for name in names)
    fused, plain = (open_model(str(path)).model for path in (tmp_path / "runs/run", base))
    changed = {name for (name, one), other in zip(fused.named_parameters(), plain.parameters(), strict=True) if not torch.equal(one, other)}
    assert changed == {f"blocks.{n}.attention.{part}_proj.weight" for n in (0, 1) for part in "qv"}
    assert (tmp_path / "runs/run/adapter/adapter_model.safetensors").is_file()


def test_answers_are_learnt_in_a_group(processes: Processes, recipe: Recipes, base: Path, tmp_path: Path) -> None:
    with (tmp_path / "chat.jsonl").open("w", encoding="utf-8") as file:
        for number in range(40):
            turns = [{"role": "user", "content": f"{number}?"}, {"role": "assistant", "content": f"{number}!"}]
            file.write(json.dumps({"messages": turns}) + "\n")
    sections = {"data": {"corpus": str(tmp_path / "chat.jsonl")}, "model": {"from": str(base)}}
    good(processes.run("train", tmp_path, recipe=recipe(sections=sections, objective="sft", steps=3, precision="bfloat16")))
    lines = log.read(tmp_path / "runs/run/log.jsonl")
    assert [line["step"] for line in lines if "loss" in line] == [1, 2, 3]
    assert open_model(str(tmp_path / "runs/run")).tokenizer.chat_template


def test_bfloat16_falls(processes: Processes, recipe: Recipes, tmp_path: Path) -> None:
    good(processes.run("train", tmp_path, recipe=recipe(precision="bfloat16", steps=10, save_every=10)))
    losses = [line["loss"] for line in log.read(tmp_path / "runs/run/log.jsonl") if "loss" in line]
    assert losses[-1] < losses[0] - 0.3
    assert all(tensor.dtype == torch.float32 for tensor in store.read(tmp_path / "runs/run/checkpoints/step-00000010").weights.values())


def test_control_weights_that_stay_gathered_are_noticed(processes: Processes, recipe: Recipes, tmp_path: Path) -> None:
    with pytest.raises(AssertionError):
        good(processes.run("train", tmp_path, recipe=recipe(steps=2), patches=("gathered",)))


# --- Killed, interrupted, resumed -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def killed(processes: Processes, recipe: Recipes, thin: Values, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run that came to its end, and one of the same recipe that lost a process. Only to be copied."""
    folder = tmp_path_factory.mktemp("killed")
    good(processes.run("train", folder, recipe=recipe("whole", sections=thin)))
    left, gone = processes.run("train", folder, recipe=recipe("killed", sections=thin), failpoints={1: "before-shard:5"})
    assert gone == signal.SIGKILL
    assert "Another process of this group ended" in left["error"]
    assert (left["code"], left["elsewhere"]) == (1, False), "who is left says it"
    return folder


def goes_on_to_the_bit(processes: Processes, values: Values, killed: Path, folder: Path, patches: tuple[str, ...] = ()) -> None:
    shutil.copytree(killed / "runs", folder / "runs")
    first, _ = good(processes.run("train", folder, recipe=values, resume=True, patches=patches))
    assert first["begun"] == 4
    is_as(folder / "runs" / "killed", folder / "runs" / "whole", 6)


def test_after_one_is_killed_the_run_goes_on_to_the_bit(
    processes: Processes, recipe: Recipes, thin: Values, killed: Path, tmp_path: Path
) -> None:
    goes_on_to_the_bit(processes, recipe("killed", sections=thin), killed, tmp_path)


@pytest.mark.parametrize("lost", ["random state", "moments", "data position"])
def test_control_what_is_not_restored_is_noticed(  # noqa: PLR0917
    processes: Processes, recipe: Recipes, thin: Values, killed: Path, tmp_path: Path, lost: str
) -> None:
    with pytest.raises(AssertionError, match="log"):
        goes_on_to_the_bit(processes, recipe("killed", sections=thin), killed, tmp_path, patches=(lost,))


def test_one_signal_to_one_process_saves_in_all(processes: Processes, recipe: Recipes, tmp_path: Path) -> None:
    name = written(tmp_path, recipe(steps=100_000, save_every=100_000))
    run = tmp_path / "runs" / "run"
    said = command(processes, tmp_path, "train", name, signals={1: "SIGTERM"}, log=run / "log.jsonl", after_lines=3)
    assert [each["code"] for each in said] == [130, 130]
    assert sum("everything is saved" in each["err"] for each in said) == 1, "it is said once"
    checkpoint, rejected = store.newest(run / "checkpoints")
    assert checkpoint is not None
    assert rejected == []
    step = checkpoint.state["step"]
    first, second = command(processes, tmp_path, "train", name, "--resume", "--set", f"train.steps={step + 2}")
    assert (first["code"], second["code"]) == (0, 0), first["err"]
    assert f"at step {step}." in first["err"]


def test_stopped_in_a_validation_it_goes_on_with_it(processes: Processes, recipe: Recipes, tmp_path: Path) -> None:
    good(processes.run("train", tmp_path, recipe=recipe("whole", steps=4)))
    for each in processes.run("train", tmp_path, recipe=recipe(steps=4), patches=("abandoned validation",)):
        assert each["code"] == 130, each
    good(processes.run("train", tmp_path, recipe=recipe(steps=4), resume=True))
    is_as(tmp_path / "runs" / "run", tmp_path / "runs" / "whole", 4)


def test_clocks_that_differ_end_a_run_together(processes: Processes, recipe: Recipes, tmp_path: Path) -> None:
    values = recipe(save_every=1000)
    values["train"] |= {"minutes": 0.01}
    del values["train"]["steps"]
    first, second = good(processes.run("train", tmp_path, recipe=values, patches=("slow clock",)))
    assert first["step"] == second["step"] > 0


# --- What goes wrong is said once -------------------------------------------------------------------------------------


def test_what_goes_wrong_is_said_once(processes: Processes, recipe: Recipes, tmp_path: Path) -> None:
    good_one = recipe()
    cases = {
        "typo": (good_one | {"trian": {}}, "trian", 2),
        "corpus": (good_one | {"data": {"corpus": "nowhere", "tokenizer": "bytes"}}, "nowhere", 2),
        "shard": (recipe(shard=3), "2 processes cannot be divided into sets of 3", 2),
    }
    for name, (values, words, code) in cases.items():
        said = command(processes, tmp_path, "train", written(tmp_path, values | {"name": name}))
        assert [each["code"] for each in said] == [code, code], said
        assert [each["err"].count("error: ") for each in said] == [1, 0], said
        assert words in said[0]["err"]
    assert not (tmp_path / "runs").exists() or not list((tmp_path / "runs").glob("*/checkpoints"))


def test_a_full_disk_of_one_process_lets_all_wait(processes: Processes, recipe: Recipes, tmp_path: Path) -> None:
    values = recipe(steps=2)
    values["model"] = {"layers": 2, "width": 64, "heads": 2}
    run = tmp_path / "runs" / "run"
    said = command(
        processes,
        tmp_path,
        "train",
        written(tmp_path, values),
        patches=("full disk",),
        signals={0: "SIGTERM"},
        log=run / "log.jsonl",
        after_lines=4,  # two steps, the norms, a sample: then it saves
    )
    assert [each["code"] for each in said] == [4, 4], said
    assert "it goes on by itself when there is room" in said[0]["err"]
    assert sum("error: " in each["err"] for each in said) == 1
    assert not list((run / "checkpoints").iterdir())
    again = command(processes, tmp_path, "train", "run.yaml", "--resume")
    assert [each["code"] for each in again] == [0, 0], again


# --- torchrun itself, and what takes time -----------------------------------------------------------------------------


def torchrun(folder: Path, *arguments: str, size: int = 2) -> subprocess.Popen[str]:
    line = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(size), "-m", "llamarium", *arguments]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, *line], cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8"
    )


def wait_for(path: Path, num_lines: int) -> None:
    until = time.monotonic() + 120
    while not path.exists() or path.read_bytes().count(b"\n") < num_lines:
        assert time.monotonic() < until, f"{path} does not grow"
        time.sleep(0.05)


@pytest.mark.slow
@pytest.mark.parametrize("size", [2, 4])
def test_torchrun(recipe: Recipes, tmp_path: Path, size: int) -> None:
    name = written(tmp_path, recipe(steps=100_000, save_every=5, validate_every=100_000))
    run = tmp_path / "runs" / "run"
    interrupted = torchrun(tmp_path, "train", name, size=size)
    wait_for(run / "log.jsonl", 12)
    interrupted.terminate()
    _, said = interrupted.communicate(timeout=60)
    assert interrupted.returncode != 0
    assert said.count("everything is saved") == 1
    begun = log.read(run / "log.jsonl")[-1]["step"]

    killed = torchrun(tmp_path, "train", name, "--resume", size=size)
    wait_for(run / "log.jsonl", begun + 12)
    os.kill(psutil.Process(killed.pid).children()[-1].pid, signal.SIGKILL)
    _, said = killed.communicate(timeout=60)
    assert killed.returncode != 0
    assert f"at step {begun}." in said
    assert "Another process of this group ended or no longer answers." in said

    step = log.read(run / "log.jsonl")[-1]["step"]
    ended = torchrun(tmp_path, "train", name, "--resume", "--set", f"train.steps={step + 5}", size=size)
    out, said = ended.communicate(timeout=120)
    assert ended.returncode == 0, said
    assert out == "runs/run/model\n"
    resumed = re.search(r"Resuming \S+ at step (\d+)\.", said)
    assert resumed
    assert step - int(resumed[1]) <= 5 + 1, "at most what was not saved is lost"


@pytest.mark.slow
@pytest.mark.parametrize("recompute", [False, True])
def test_compiled_blocks_do_what_plain_ones_do(processes: Processes, recipe: Recipes, tmp_path: Path, recompute: bool) -> None:
    losses = []
    for name, compiled in (("plain", False), ("fast", True)):
        good(processes.run("train", tmp_path, recipe=recipe(name, compile=compiled, recompute=recompute), speak=True))
        losses.append([line["loss"] for line in log.read(tmp_path / "runs" / name / "log.jsonl") if "loss" in line])
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)
    assert losses[1] != losses[0], "sums in another order: it was compiled"
