"""P2: a checkpoint is complete and verified, or invisible: what is damaged is never loaded, and the log says why."""

from __future__ import annotations

import json
import random
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from llamarium.checkpoint import store
from llamarium.checkpoint.open import open_model
from llamarium.checkpoint.store import Checkpoint
from llamarium.ground import files
from llamarium.ground.errors import LlamariumError
from llamarium.models.context import Dense
from llamarium.text.prepare import prepare
from llamarium.train import recipe
from llamarium.train.loop import train
from llamarium.train.recipe import Recipe
from llamarium.train.run import Run, start

NEWEST, MIDDLE, OLDEST = (f"step-{step:08d}" for step in (6, 4, 2))
CONTENT = (store.WEIGHTS, store.OPTIMIZER, store.STATE)


def truncate(path: Path, draw: random.Random) -> str:
    length = draw.randrange(path.stat().st_size)
    path.write_bytes(path.read_bytes()[:length])
    return f"cut after {length} bytes"


def flip(path: Path, draw: random.Random) -> str:
    data = bytearray(path.read_bytes())
    place = draw.randrange(8 * len(data))
    data[place // 8] ^= 1 << place % 8
    path.write_bytes(data)
    return f"bit {place} flipped"


def delete(path: Path, draw: random.Random) -> str:
    path.unlink()
    return "deleted"


def zero(path: Path, draw: random.Random) -> str:
    length = path.stat().st_size
    start = draw.choice([0, draw.randrange(length)])  # all of it, or from somewhere on, as some file systems leave a crash
    path.write_bytes(path.read_bytes()[:start] + bytes(length - start))
    return f"zeros from {start} on"


DAMAGES: tuple[Callable[[Path, random.Random], str], ...] = (truncate, flip, delete, zero)


class Stopped(Exception):  # noqa: N818  it is what happened, not a fault
    """A run was stopped by a test."""


def stop_at(step: int) -> Callable[[Run, Any], None]:
    def stop(run: Run, _line: Any) -> None:
        torch.rand(3)  # as an objective might: else every checkpoint would hold the same random state
        if run.step == step:
            raise Stopped

    return stop


@dataclass(frozen=True)
class Place:
    """A stopped run with three checkpoints, and what they hold."""

    recipe: Recipe
    run: Path
    held: dict[str, Checkpoint]

    def copy(self, folder: Path) -> Path:
        """A copy of the run to be damaged."""
        shutil.copytree(self.run, folder)
        return folder


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    folder = tmp_path_factory.mktemp("damaged")
    (folder / "text").mkdir()
    for number in range(12):
        lines = "\n".join(f"The {word} of day {number} is long." for word in ("grass", "road", "river", "snow", "hay"))
        (folder / "text" / f"{number}.txt").write_text(lines)
    prepare([folder / "text"], folder / "corpus")
    described = recipe.build(
        {
            "name": "whole",
            "data": {"corpus": str(folder / "corpus"), "tokenizer": "bytes"},
            "model": {"layers": 1, "width": 16, "heads": 1, "hidden_width": 16},
            "train": {
                "steps": 8,
                "batch_tokens": 64,
                "sequence_length": 32,
                "save_every": 2,
                "keep": 3,
                "validation_tokens": 50,
                "precision": "float32",
            },
        }
    )

    run = start(described, folder / "run")
    with pytest.raises(Stopped):
        train(run, after_step=stop_at(6))
    run.log.close()
    held = {path.name: store.read(path) for path in store.steps(run.checkpoints)}
    assert list(held) == [NEWEST, MIDDLE, OLDEST]
    return Place(described, folder / "run", held)


def equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def damage(run: Path, draw: random.Random) -> tuple[dict[str, list[str]], str]:
    """Damage some files of the newest checkpoint, now and then of the one before it, too: the names of the files that changed, and how."""
    changed: dict[str, list[str]] = {}
    said = []
    for name in draw.choice([[NEWEST], [NEWEST], [NEWEST], [NEWEST, MIDDLE]]):
        folder = run / "checkpoints" / name
        for file in draw.sample([*CONTENT, files.MANIFEST], draw.choice([1, 1, 1, 2])):
            before = (folder / file).read_bytes()
            said.append(f"{name}/{file} {draw.choice(DAMAGES)(folder / file, draw)}")
            if not (folder / file).is_file() or (folder / file).read_bytes() != before:
                changed.setdefault(name, []).append(file)
    return changed, ", ".join(said)


def may_be_read(changed: list[str]) -> bool:
    """Whether a checkpoint with these files changed may be taken for valid: a manifest may lose its last line end and say the same."""
    return set(changed) <= {files.MANIFEST}


def may_be_used(changed: dict[str, list[str]]) -> list[str]:
    """The checkpoints that may be used; at the end the newest one that nothing was done to."""
    allowed = []
    for name in (NEWEST, MIDDLE, OLDEST):
        if may_be_read(changed.get(name, [])):
            allowed.append(name)
        if name not in changed:
            return allowed
    raise AssertionError


def resume(place: Place, run: Path) -> str:
    """Resume the run and return the checkpoint that was used, after comparing everything with what it held."""
    resumed = start(place.recipe, run, resume=True)
    resumed.log.close()
    name = f"step-{resumed.step:08d}"
    held = place.held[name]
    weights = {name: parameter.detach() for name, parameter in resumed.learning().items()}
    moments = {
        f"{name}.{key}": value
        for name, parameter in resumed.learning().items()
        for key, value in resumed.optimizer.state[parameter].items()
    }
    assert equal(weights, held.weights), "other weights"
    assert equal(moments, {key: value for key, value in held.optimizer.items() if not key.startswith("random.")}), "other moments"
    assert torch.equal(torch.get_rng_state(), held.optimizer["random.cpu"]), "another random state"
    assert (resumed.samples_consumed, resumed.tokens) == (held.state["samples_consumed"], held.state["tokens"]), "another place"
    return name


def check_resume(place: Place, run: Path, changed: dict[str, list[str]]) -> None:
    """Resume a damaged run: the newest valid checkpoint is used, and the log says which newer ones were not and why."""
    used = resume(place, run)
    assert used in may_be_used(changed)
    lines = [json.loads(line) for line in (run / "log.jsonl").read_bytes().splitlines()]
    rejected = [line for line in lines if line.get("event") == "checkpoint rejected"]
    newer = [name for name in (NEWEST, MIDDLE, OLDEST) if name > used]
    assert [re.findall(r"step-\d{8}", line["detail"]) for line in rejected] == [[name] for name in newer]
    for line, name in zip(rejected, newer, strict=True):
        assert line["step"] == int(used.removeprefix("step-"))
        # The reason names a file that was changed; a manifest that says something else may blame any.
        assert files.MANIFEST in changed[name] or any(file in line["detail"] for file in changed[name])
        assert len(line["detail"].split(": ", 1)[1]) > 10
    assert all(line["step"] <= int(used.removeprefix("step-")) for line in lines)


def check_open(place: Place, run: Path, changed: dict[str, list[str]]) -> None:
    """Open the damaged run as a MODEL: it is one of its checkpoints, bit for bit."""
    opened = open_model(run)
    weights = {name: parameter.detach() for name, parameter in opened.model.named_parameters()}
    used = [name for name in place.held if equal(weights, place.held[name].weights)]
    assert used
    assert used[0] in may_be_used(changed)
    with torch.inference_mode():
        assert opened.model(torch.tensor([[1, 2, 3]]), Dense(torch.tensor([[1, 2, 3]]))).isfinite().all()


def check_read(place: Place, run: Path, changed: dict[str, list[str]]) -> None:
    """Read each checkpoint by itself: it is what it was, or it cannot be read."""
    for path in store.steps(run / "checkpoints"):
        held = place.held[path.name]
        if path.name in changed:
            try:
                found = store.read(path)
            except LlamariumError:
                continue
        else:
            found = store.read(path)
        assert may_be_read(changed.get(path.name, []))
        assert equal(found.weights, held.weights)
        assert equal(found.optimizer, held.optimizer)
        assert found.state == held.state


CHECKS = {"read": check_read, "open": check_open, "resume": check_resume}


def mutate(place: Place, folder: Path, seed: int) -> None:
    """Damage a copy of the run and look at it in every way; resuming is the last, for it writes."""
    run = place.copy(folder)
    changed, said = damage(run, random.Random(seed))
    for name, check in CHECKS.items():
        try:
            check(place, run, changed)
        except AssertionError as error:
            raise AssertionError(f"{name}, after {said}: {error}") from error
    shutil.rmtree(run)


def test_nothing_damaged_is_loaded(place: Place, tmp_path: Path) -> None:
    for seed in range(100):
        mutate(place, tmp_path / "run", seed)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_nothing_damaged_is_loaded_in_five_hundred(place: Place, tmp_path: Path) -> None:
    for seed in range(1000, 1500):
        mutate(place, tmp_path / "run", seed)


def test_where_no_checkpoint_is_whole_the_run_begins_again_and_says_so(place: Place, tmp_path: Path, said: list[str]) -> None:
    run = place.copy(tmp_path / "run")
    for name in place.held:
        (run / "checkpoints" / name / files.MANIFEST).unlink()
    with pytest.raises(LlamariumError, match="none of its 3 checkpoints is valid"):
        open_model(run)
    said.clear()
    often = place.recipe.model_copy(update={"train": place.recipe.train.model_copy(update={"save_every": 1})})
    resumed = start(often, run, resume=True)
    assert resumed.step == 0
    assert ["passed over" in line for line in said] == [True, True, True, False]
    assert "starts again from its beginning" in said[-1]
    with pytest.raises(Stopped):
        train(resumed, after_step=stop_at(3))
    resumed.log.close()
    found = [store.read(path) for path in store.steps(run / "checkpoints")]
    assert [checkpoint.state["step"] for checkpoint in found] == [3, 2, 1], "what was rejected does not count among those to keep"
    assert equal(found[1].weights, place.held[OLDEST].weights)


# --- Each mechanism switched off must be noticed ----------------------------------------------------------------------


def believe_everything(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(files, "verify_manifest", lambda folder: {})
    patch.setattr("llamarium.checkpoint.resolve.verify_manifest", lambda folder: {})


def take_the_oldest(patch: pytest.MonkeyPatch) -> None:
    steps = store.steps
    patch.setattr(store, "steps", lambda folder: steps(folder)[::-1])


def log_nothing(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("llamarium.train.log.RunLog.event", lambda *_: None)


@pytest.mark.parametrize(
    ("off", "name"),
    [*((believe_everything, name) for name in CHECKS), *((take_the_oldest, name) for name in ("open", "resume")), (log_nothing, "resume")],
)
def test_control(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, off: Callable[[pytest.MonkeyPatch], None], name: str
) -> None:
    changed = {NEWEST: [store.WEIGHTS]}
    for place_of_run, patch in ((tmp_path / "on", None), (tmp_path / "off", off)):
        run = place.copy(place_of_run)
        path = run / "checkpoints" / NEWEST / store.WEIGHTS
        path.write_bytes(path.read_bytes()[:-1] + b"\x40")
        if patch is None:
            CHECKS[name](place, run, changed)
            continue
        patch(monkeypatch)
        with pytest.raises(AssertionError):
            CHECKS[name](place, run, changed)
