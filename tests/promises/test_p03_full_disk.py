"""P3: a full disk never harms the last good checkpoint; the run waits, says so, and goes on when there is room as if nothing had been."""

from __future__ import annotations

import errno
import io
import os
import random
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from llamarium.checkpoint import store
from llamarium.ground import files
from llamarium.ground.errors import ResourceError
from llamarium.models.model import Network
from llamarium.text.prepare import prepare
from llamarium.train import finish, log, loop, objectives, recipe
from llamarium.train.loop import train
from llamarium.train.objectives import Batch
from llamarium.train.recipe import Recipe
from llamarium.train.run import Run, start

pytestmark = pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="this platform does not say what a descriptor is open for")

SENTENCES = ("The llama eats green grass", "The old shepherd follows the river", "An alpaca fears the snow", "My sheep keeps warm")
STEPS = 40  # more than there are operations between two saves: each of them meets a full disk once
SLEEPS = 2  # how often a run looks for room before there is some


@dataclass
class Disk:
    """All operations of this process that take room below `folder`; while the disk is full, each of them fails.

    `full_at` is asked before each, with the number of operations since the last checkpoint, of writes to a file the first two.
    """

    folder: Path
    patch: pytest.MonkeyPatch
    full_at: Callable[[int], bool] = lambda number: False
    when_waiting: Callable[[], None] = lambda: None
    full: bool = False
    number: int = 0
    met: list[str] = field(default_factory=list)  # the operation that each time was the first to fail
    _sleeps: int = 0
    _kinds: Iterator[int] = field(default_factory=lambda: iter([*files.NO_ROOM] * 100))
    _kind: int = errno.ENOSPC

    def __post_init__(self) -> None:
        open_, os_open, write, fsync, exchange = io.open, os.open, os.write, os.fsync, files._exchange

        def opened(file: Any, mode: str = "r", *rest: Any, **options: Any) -> Any:
            if isinstance(file, int) or not any(letter in mode for letter in "wax"):
                return open_(file, mode, *rest, **options)
            self.use("open", file)
            return Narrow(open_(file, mode, *rest, **options), self, file)

        def os_opened(file: Any, flags: int, *rest: Any, **options: Any) -> int:
            if flags & (os.O_WRONLY | os.O_RDWR):
                self.use("os.open", file)
            return os_open(file, flags, *rest, **options)

        def written(descriptor: int, data: bytes) -> int:
            path = Path(f"/proc/self/fd/{descriptor}").readlink()
            try:
                self.use("os.write", path)
            except OSError:
                if len(data) > 20:  # some of it found room
                    return write(descriptor, data[:7]) if self.number % 2 else self.refuse(path)
                raise
            return write(descriptor, data)

        def synced(descriptor: int) -> None:
            self.use("fsync", Path(f"/proc/self/fd/{descriptor}").readlink())
            fsync(descriptor)

        def exchanged(one: Path, other: Path) -> bool:
            self.use("exchange", other)
            return exchange(one, other)

        self.patch.setattr(io, "open", opened)
        self.patch.setattr(os, "open", os_opened)
        self.patch.setattr(os, "write", written)
        self.patch.setattr(os, "fsync", synced)
        self.patch.setattr(files, "_exchange", exchanged)
        for name in ("mkdir", "rename", "replace"):
            self.patch.setattr(os, name, self._counted(name, getattr(os, name)))
        self.patch.setattr("time.sleep", self.sleep)

    def _counted(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def counted(path: Any, *rest: Any, **options: Any) -> Any:
            self.use(name, path)
            return function(path, *rest, **options)

        return counted

    def use(self, what: str, path: Any) -> None:
        if not Path(os.fsdecode(path)).is_relative_to(self.folder):
            return
        self.number += 1
        if not self.full and self.full_at(self.number):
            self.full, self._sleeps, self._kind = True, 0, next(self._kinds)
            self.met.append(what)
        if self.full:
            self.refuse(path)

    def refuse(self, path: Any) -> int:
        raise OSError(self._kind, os.strerror(self._kind), os.fsdecode(path))

    def sleep(self, seconds: float) -> None:
        assert seconds == loop.PAUSE
        assert self.full, "the run waits, though there is room"
        self.when_waiting()
        self._sleeps += 1
        self.full = self._sleeps < SLEEPS


class Narrow:
    """A file on such a disk."""

    def __init__(self, file: Any, disk: Disk, path: Any) -> None:
        self._file, self._disk, self._path, self._writes = file, disk, path, 0

    def write(self, data: Any) -> int:
        self._writes += 1
        if self._writes <= 2 or self._disk.full:
            self._disk.use("write", self._path)
        return int(self._file.write(data))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def __enter__(self) -> Narrow:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()


# --- The runs ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def described(tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    folder, draw = tmp_path_factory.mktemp("full"), random.Random(1)
    (folder / "text").mkdir()
    for number in range(16):
        lines = [f"{draw.choice(SENTENCES)}, {draw.randrange(1000)} times." for _ in range(draw.randrange(3, 10))]
        (folder / "text" / f"{number}.txt").write_text("\n".join(lines))
    prepare([folder / "text"], folder / "corpus")
    return recipe.build(
        {
            "name": "full",
            "data": {"corpus": str(folder / "corpus"), "tokenizer": "bytes"},
            "model": {"layers": 1, "width": 16, "heads": 1, "hidden_width": 16},
            "train": {
                "steps": STEPS,
                "batch_tokens": 64,
                "sequence_length": 32,
                "save_every": 1,
                "validate_every": 10,
                "validation_tokens": 50,
                "precision": "float32",
                "compile": False,
            },
        }
    )


@dataclass(frozen=True)
class Undisturbed:
    """What a run ends with where there always is room."""

    weights: dict[str, Tensor]
    log: list[dict[str, Any]]
    held: dict[int, dict[str, Tensor]]  # by the checkpoint of each step


def lines_of(run: Run) -> list[dict[str, Any]]:
    lines = [line for line in log.read(run.folder / "log.jsonl") if line.get("event") != "waited for disk"]
    return [{key: value for key, value in line.items() if key != "seconds"} for line in lines]


def weights(run: Run) -> dict[str, Tensor]:
    return {name: parameter.detach().clone() for name, parameter in run.model.named_parameters()}


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.fixture(scope="module")
def undisturbed(described: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    held: dict[int, dict[str, Tensor]] = {}
    run = start(described, tmp_path_factory.mktemp("room") / "run")
    train(run, speak=lambda run: "a sample", after_step=lambda run, line: held.update({run.step: weights(run)}))
    run.log.close()
    return Undisturbed(weights(run), lines_of(run), held)


def last_good_checkpoint_is_whole(run: Run, expected: Undisturbed, *, step: int) -> None:
    found, rejected = store.newest(run.checkpoints)
    assert rejected == []
    if step == 0:
        assert found is None
        return
    assert found is not None
    assert found.state["step"] in (step, step + 1), "or the new one, where only the folder around it could not be synced"
    assert same(found.weights, expected.held[found.state["step"]])


def waits_and_goes_on(described: Recipe, folder: Path, expected: Undisturbed, said: list[str]) -> Disk:
    """The k-th operation between saves meets a full disk in the k-th save's turn, so that in one run each of them does."""
    run = start(described, folder)
    error: Exception | None = None
    waited: list[int] = []
    with pytest.MonkeyPatch.context() as patch:
        disk = Disk(folder, patch)
        save = Run.save

        def saving(self: Run) -> Path:
            path = save(self)
            disk.number = 0
            return path

        def waiting() -> None:
            waited.append(run.step)
            last_good_checkpoint_is_whole(run, expected, step=run.step - 1)

        patch.setattr(Run, "save", saving)
        disk.full_at, disk.when_waiting = lambda number: number == run.step - 1, waiting
        try:
            train(run, speak=lambda run: "a sample")
        except (ResourceError, OSError) as caught:
            error = caught
        finally:
            run.log.close()
    assert error is None, error
    assert same(weights(run), expected.weights)
    logged = lines_of(run) == expected.log
    assert logged
    events = [line["step"] for line in log.read(folder / "log.jsonl") if line.get("event") == "waited for disk"]
    assert events == sorted(set(waited))
    assert len(waited) == SLEEPS * len(events), "it looks again and again, and goes on"
    assert sum("The run waits" in line for line in said) == sum("room again" in line for line in said) == len(events)
    last_good_checkpoint_is_whole(run, expected, step=STEPS)
    assert not list(folder.rglob(f"{files.TEMPORARY}*"))
    return disk


def test_each_operation_meets_a_full_disk_and_the_run_ends_like_others(
    described: Recipe, undisturbed: Undisturbed, tmp_path: Path, said: list[str]
) -> None:
    disk = waits_and_goes_on(described, tmp_path / "run", undisturbed, said)
    assert {"os.write", "open", "write", "fsync", "rename", "replace", "mkdir"} <= set(disk.met)
    assert len(disk.met) < STEPS - 2, "all operations have had their turn"


def impatient(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(loop, "patiently", lambda write, stop: (write(), False))


def lines_are_lost(patch: pytest.MonkeyPatch) -> None:
    drain = log.RunLog._drain

    def draining(self: log.RunLog) -> None:
        try:
            drain(self)
        except OSError:
            self._waiting = b""

    patch.setattr(log.RunLog, "_drain", draining)


def old_ones_make_room(patch: pytest.MonkeyPatch) -> None:
    write = store.write

    def writing(folder: Path, step: int, **values: Any) -> Path:
        store.prune(folder, step=step, keep=0)
        return write(folder, step, **values)

    patch.setattr(store, "write", writing)


@pytest.mark.parametrize("broken", [impatient, lines_are_lost, old_ones_make_room])
def test_control_what_does_not_keep_is_noticed(  # noqa: PLR0917
    broken: Callable[[pytest.MonkeyPatch], None],
    described: Recipe,
    undisturbed: Undisturbed,
    tmp_path: Path,
    said: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    broken(monkeypatch)
    with pytest.raises(AssertionError):
        waits_and_goes_on(described, tmp_path / "run", undisturbed, said)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
@pytest.mark.parametrize("operation", [1, 6, 12])
def test_interrupted_while_it_waits_it_ends_with_words_and_nothing_is_harmed(  # noqa: PLR0917
    described: Recipe, undisturbed: Undisturbed, tmp_path: Path, said: list[str], number: signal.Signals, operation: int
) -> None:
    run = start(described, tmp_path / "run")
    with pytest.MonkeyPatch.context() as patch:
        disk = Disk(tmp_path / "run", patch)
        save = Run.save

        def saving(self: Run) -> Path:
            path = save(self)
            disk.number = 0
            return path

        patch.setattr(Run, "save", saving)
        disk.full_at = lambda at: run.step == 5 and at == operation
        disk.when_waiting = lambda: os.kill(os.getpid(), number)
        with pytest.raises(ResourceError) as caught:
            train(run, speak=lambda run: "a sample")
        disk.full = True
        run.log.close()  # there still is no room
    assert caught.value.exit_code == 4
    assert "could not be written" in caught.value.message
    assert any("The run waits" in line for line in said)
    last_good_checkpoint_is_whole(run, undisturbed, step=4)
    resumed = start(described, tmp_path / "run", resume=True)
    assert resumed.step == 4
    train(resumed, speak=lambda run: "a sample")
    resumed.log.close()
    assert same(weights(resumed), undisturbed.weights)
    logged = lines_of(resumed) == undisturbed.log
    assert logged


def test_a_roll_back_waits_for_room_too(described: Recipe, tmp_path: Path, said: list[str]) -> None:
    def trained(folder: Path, *, narrow: bool) -> Run:
        run = start(described, folder)
        bad = {2 * step for step in (20, 21, 22)}

        def spoilt(model: Network, batch: Batch) -> Tensor:
            return objectives.lm(model, batch) * (float("nan") if run.samples_consumed in bad else 1.0)

        with pytest.MonkeyPatch.context() as patch:
            patch.setitem(objectives.OBJECTIVES, "lm", spoilt)
            if narrow:
                disk = Disk(folder, patch)
                disk.full_at = lambda number: bool(run.guard.roll_backs) and not disk.met
            train(run)
            assert not narrow or len(disk.met) == 1
        run.log.close()
        return run

    one, other = trained(tmp_path / "room", narrow=False), trained(tmp_path / "run", narrow=True)
    assert "The run waits" in "".join(said)
    assert same(weights(one), weights(other))
    assert any(line.get("event") == "roll-back" for line in lines_of(one))
    logged = lines_of(one) == lines_of(other)
    assert logged


def test_the_model_at_the_end_waits_for_room_too(described: Recipe, tmp_path: Path, said: list[str]) -> None:
    short = described.model_copy(update={"train": described.train.model_copy(update={"steps": 1})})
    run = start(short, tmp_path / "run")
    model = finish.train_to_the_end(run)
    expected = {path.name: path.read_bytes() for path in model.iterdir()}
    turns = 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(finish, "write_report", lambda folder: files.write_text(folder / "report.html", "as it was"))
        disk = Disk(tmp_path / "run", patch)
        disk.full_at = lambda number: number == turns
        while len(disk.met) == turns:  # the n-th operation meets a full disk, until there are no more
            turns, disk.number = turns + 1, 0
            finish.write_model(run)
            held = {path.name: path.read_bytes() for path in model.iterdir()} == expected
            assert held
    assert turns > 15
    assert sum("The run waits" in line for line in said) == len(disk.met) == turns - 1
    start(short, tmp_path / "run", resume=True).log.close()
    assert not list(run.folder.rglob(f"{files.TEMPORARY}*"))
