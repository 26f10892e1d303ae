"""P1: `kill -9` at any moment loses at most `save_every` steps, and what is resumed ends to the bit like what was never killed.

Run as a script, this file is a server that has imported torch and forks a command line for each case, so that a case costs
no start of an interpreter. Its children are the command line itself; they are killed with SIGKILL.
"""

from __future__ import annotations

import importlib
import io
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

import llamarium
from llamarium.ground.failpoints import VARIABLE
from llamarium.ground.files import TEMPORARY, sha256

if TYPE_CHECKING:
    from llamarium.train.run import Run

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform has no fork")

STEPS, SAVE_EVERY, KEEP = 60, 5, 2
LAST = f"step-{STEPS:08d}"

# How often each moment comes in an uninterrupted run: once or more for each of the 12 checkpoints and once more for the
# model at the end. The first time is before there is any checkpoint, the last one after training has ended.
WRITES, SHARDS, FILES, PRUNED = (1, 2, 7, 12, 13), (1, 2, 3, 14, 24), (1, 3, 20, 36, 38), (1, 2, 5, 9, 10)
TIMES: dict[str, tuple[int, ...]] = {
    "before-temporary": WRITES,
    "after-temporary": WRITES,
    "before-shard": SHARDS,
    "after-shard": SHARDS,
    "before-fsync": FILES,
    "after-fsync": FILES,
    "before-manifest": WRITES,
    "after-manifest": WRITES,
    "before-rename": WRITES,
    "after-rename": WRITES,
    "before-prune": PRUNED,
    "after-prune": PRUNED,
    "between-renames": (),  # only where a folder is replaced and the system cannot exchange two names: has a test of its own
}
QUICK = ("before-shard:14", "after-fsync:20", "before-manifest:1", "before-rename:7", "after-rename:13", "before-prune:5")

RECIPES: dict[str, dict[str, Any]] = {
    "plain": {},  # the corpus is so small that the run crosses an epoch's end
    "accumulated": {"train": {"micro_batch_tokens": 32}},
    "lora": {"model": {"from": "base"}, "data": {"corpus": "corpus"}, "lora": {"rank": 2, "targets": ["q_proj", "v_proj", "down_proj"]}},
    "random": {"train": {"objective": "noisy"}},
}
TRAIN: dict[str, Any] = {
    "steps": STEPS,
    "batch_tokens": 128,
    "sequence_length": 32,
    "save_every": SAVE_EVERY,
    "keep": KEEP,
    "validate_every": 15,
    "validation_tokens": 200,
    "precision": "float32",
}


# --- What may be changed inside a child -------------------------------------------------------------------------------

Patch = Callable[[pytest.MonkeyPatch], None]  # nothing is ever put back: the child ends


def noisy_objective(patch: pytest.MonkeyPatch) -> None:
    """An objective that draws random numbers: without one, nothing in training would notice a lost random state."""
    import torch

    from llamarium.tokens.packing import IGNORED
    from llamarium.train import objectives

    def noisy(model: Any, batch: objectives.Batch) -> torch.Tensor:
        left_out = torch.rand(batch.targets.shape) < 0.2
        return objectives.lm(model, objectives.Batch(batch.inputs, batch.targets.masked_fill(left_out, IGNORED), batch.documents))

    patch.setitem(objectives.OBJECTIVES, "noisy", noisy)


def without_fsync(patch: pytest.MonkeyPatch) -> None:
    """SIGKILL takes nothing from what the system has taken over: waiting for the disk only costs the test its time."""
    patch.setattr(os, "fsync", lambda descriptor: None)


def without_exchange(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("llamarium.ground.files._exchange", lambda one, other: False)


def after_restoring(change: Callable[[Run], object]) -> Patch:
    def apply(patch: pytest.MonkeyPatch) -> None:
        from llamarium.train.run import Run

        restore = Run.restore

        def restore_and_change(run: Run, checkpoint: Any) -> None:
            restore(run, checkpoint)
            change(run)

        patch.setattr(Run, "restore", restore_and_change)

    return apply


def forget_weights(run: Run) -> None:
    run.model.initialize()


def lose_random_state(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("llamarium.train.run.restore_random_state", lambda states: None)


def keep_log(patch: pytest.MonkeyPatch) -> None:
    from llamarium.train.log import RunLog

    patch.setattr("llamarium.train.run.RunLog", lambda path, after_step: RunLog(path, after_step=10**9))


PATCHES: dict[str, Patch] = {
    "noisy objective": noisy_objective,
    "without fsync": without_fsync,
    "without exchange": without_exchange,
    "random state": lose_random_state,
    "weights": after_restoring(forget_weights),
    "moments": after_restoring(lambda run: run.optimizer.state.clear()),
    "data position": after_restoring(lambda run: setattr(run, "samples_consumed", 0)),
    "step": after_restoring(lambda run: setattr(run, "step", run.step - 1)),
    "log": keep_log,
}


# --- The server -------------------------------------------------------------------------------------------------------


def serve() -> None:
    """Read a case from each line of standard input, answer each on standard output."""
    from llamarium.cli import main

    # Everything that the command line would import later; an optimizer imports the second of them.
    for name in ("pyarrow.parquet", "torch._dynamo", "llamarium.train.finish", "llamarium.engine.generate", "matplotlib.pyplot"):
        importlib.import_module(name)
    main.build_app()
    for line in sys.stdin:
        case = json.loads(line)
        began = time.monotonic()
        if not (child := os.fork()):
            _be(case)
        while not (ended := os.waitpid(child, os.WNOHANG))[0]:
            if case["kill_after"] is not None and time.monotonic() - began > case["kill_after"]:
                os.kill(child, signal.SIGKILL)
            time.sleep(0.001)
        sys.stdout.write(json.dumps({"code": os.waitstatus_to_exitcode(ended[1]), "seconds": time.monotonic() - began}) + "\n")
        sys.stdout.flush()


def _be(case: dict[str, Any]) -> None:
    """Become the command line `case`, and never return."""
    from llamarium.cli.main import main

    code: Any = 99
    try:
        os.chdir(case["folder"])
        for number, name in ((0, os.devnull), (1, "stdout"), (2, "stderr")):
            os.dup2(os.open(name, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600), number)
        sys.stdin, sys.stdout, sys.stderr = (
            io.TextIOWrapper(io.FileIO(number, mode), write_through=True) for number, mode in enumerate("rww")
        )
        os.environ.update(case["environment"])
        for patch in case["patches"]:
            PATCHES[patch](pytest.MonkeyPatch())
        sys.argv = ["llamarium", *case["arguments"]]
        main()
    except SystemExit as end:
        code = end.code or 0
    finally:
        os._exit(code)


@dataclass
class Ended:
    """What became of a command line: its exit code (minus the signal's number), what it said, how long it took."""

    code: int
    stderr: str
    seconds: float

    @property
    def was_killed(self) -> bool:
        return self.code == -signal.SIGKILL


@dataclass
class Server:
    process: subprocess.Popen[str]

    def run(
        self, folder: Path, *arguments: str, failpoint: str = "", kill_after: float | None = None, patches: tuple[str, ...] = ()
    ) -> Ended:
        (folder / "stderr").unlink(missing_ok=True)  # a child may be killed before it says anything
        case = {"folder": str(folder), "arguments": arguments, "kill_after": kill_after, "patches": patches}
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(case | {"environment": {VARIABLE: failpoint}}) + "\n")
        self.process.stdin.flush()
        answer = json.loads(self.process.stdout.readline())
        said = (folder / "stderr").read_text(encoding="utf-8") if (folder / "stderr").exists() else ""
        return Ended(answer["code"], said, answer["seconds"])


# --- The runs ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Outcome:
    """All that a run leaves behind and that must not depend on whether it was killed."""

    weights: str
    optimizer: str
    state: dict[str, Any]
    log: list[dict[str, Any]]
    checkpoints: list[str]
    leftovers: list[str]


def outcome(run: Path) -> Outcome:
    def untimed(values: dict[str, Any]) -> dict[str, Any]:
        return {key: value for key, value in values.items() if key != "seconds"}

    last = run / "checkpoints" / LAST
    return Outcome(
        sha256(run / "model" / "model.safetensors"),
        sha256(last / "optimizer.safetensors"),
        untimed(json.loads((last / "state.json").read_text())),
        [untimed(json.loads(line)) for line in (run / "log.jsonl").read_bytes().splitlines()],
        sorted(path.name for path in (run / "checkpoints").iterdir()),
        sorted(str(path) for path in run.rglob(f"{TEMPORARY}*")),
    )


@dataclass
class Place:
    """A folder with a corpus, a base model and recipes, and the uninterrupted outcome of each recipe."""

    folder: Path
    server: Server
    references: dict[str, tuple[Outcome, float]] = field(default_factory=dict)
    _number: int = 0

    def recipe(self, kind: str, suffix: str = "") -> str:
        """A recipe with a name of its own."""
        self._number += 1
        name = f"{kind}-{suffix or self._number}"
        values: dict[str, Any] = {
            "name": name,
            "data": {"corpus": "corpus", "tokenizer": "bytes"},
            "model": {"layers": 2, "width": 32, "heads": 2},
            **RECIPES[kind],
        }
        values["train"] = TRAIN | RECIPES[kind].get("train", {})
        (self.folder / f"{name}.yaml").write_text(yaml.safe_dump(values))
        return name

    def train(self, name: str, *, resume: bool = False, **options: Any) -> Ended:
        patches = ("noisy objective", "without fsync", *options.pop("patches", ()))
        return self.server.run(self.folder, "train", f"{name}.yaml", *(["--resume"] if resume else []), patches=patches, **options)

    def reference(self, kind: str) -> tuple[Outcome, float]:
        """The outcome of an uninterrupted run, and how many seconds it took."""
        if kind not in self.references:
            name = self.recipe(kind, "reference")
            ended = self.train(name)
            assert ended.code == 0, ended.stderr
            self.references[kind] = outcome(self.folder / "runs" / name), ended.seconds
        return self.references[kind]

    def last_step(self, name: str) -> int:
        """The last step that the log knows of; 0 before the first."""
        path = self.folder / "runs" / name / "log.jsonl"
        found = re.findall(r'^\{"step": (\d+), .*\}$', path.read_text(encoding="utf-8") if path.exists() else "", re.MULTILINE)
        return int(found[-1]) if found else 0

    def resume(self, name: str, **options: Any) -> Ended:
        """Resume, and check that at most `SAVE_EVERY` steps were lost."""
        reached = self.last_step(name)
        ended = self.train(name, resume=True, **options)
        assert ended.was_killed or ended.code == 0, ended.stderr
        restored = re.search(r"Resuming \S+ at step (\d+)\.", ended.stderr)
        if not ended.was_killed or restored:
            lost = reached - (int(restored[1]) if restored else 0)
            assert 0 <= lost <= SAVE_EVERY, f"{lost} steps of {name} were lost: {ended.stderr}"
        return ended

    def is_as_if_nothing_had_happened(self, kind: str, name: str) -> None:
        result, expected = outcome(self.folder / "runs" / name), self.reference(kind)[0]
        for part in fields(Outcome):
            assert getattr(result, part.name) == getattr(expected, part.name), f"{name}: {part.name} differs"

    def killed_at(self, kind: str, failpoint: str, *, patches: tuple[str, ...] = ()) -> None:
        """Kill a run at `failpoint`, resume it with `patches`, and compare it with one that was never killed."""
        name = self.recipe(kind)
        assert self.train(name, failpoint=failpoint).was_killed
        self.resume(name, patches=patches)
        self.is_as_if_nothing_had_happened(kind, name)


SENTENCES = ("the llama eats green grass", "the old shepherd follows the river", "an alpaca fears the snow", "my sheep keeps warm")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """Everything that the runs need, made once."""
    import torch

    from llamarium.checkpoint import huggingface
    from llamarium.models import llama
    from llamarium.text.prepare import prepare
    from llamarium.tokens.train import bytes_tokenizer

    folder = tmp_path_factory.mktemp("killed")
    (folder / "text").mkdir()
    draw = random.Random(1)
    for number in range(16):
        lines = [f"{draw.choice(SENTENCES).capitalize()}, {draw.randrange(1000)} times." for _ in range(draw.randrange(3, 10))]
        (folder / "text" / f"{number:02}.txt").write_text("\n".join(lines))
    prepare([folder / "text"], folder / "corpus")

    tokenizer = bytes_tokenizer()
    torch.manual_seed(0)
    base = llama.Model(llama.Config(vocab_size=tokenizer.vocab_size, width=32, layers=2, heads=2, context_length=32))
    base.initialize()
    huggingface.save_folder(folder / "base", base, tokenizer)

    environment = os.environ | {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    server = subprocess.Popen([sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding="utf-8", env=environment)
    with server:
        yield Place(folder, Server(server))
        assert server.stdin is not None
        server.stdin.close()


# --- The promise ------------------------------------------------------------------------------------------------------


def test_every_failpoint_is_killed_at() -> None:
    """A name that stands in the source and not in the table here, or here and no longer there, is noticed."""
    source = Path(llamarium.__file__).parent
    # Preparation (P9) and indexing (P23) have their own, and are killed in tests of their own.
    files = [path for path in source.rglob("*.py") if path.relative_to(source).parts[0] not in ("apps", "text")]
    called = {name for path in files for name in re.findall(r'\breached\("([^"]*)"\)', path.read_text(encoding="utf-8"))}
    others = {path.name for path in source.rglob("*.py") if re.search(r'\breached\((?!")', path.read_text(encoding="utf-8"))}
    assert others == {"failpoints.py"}, "a failpoint whose name is not written out cannot be found"
    assert called == set(TIMES)
    promised = {f"{when}-{what}" for when in ("before", "after") for what in ("temporary", "shard", "fsync", "manifest", "rename", "prune")}
    assert promised <= called
    assert {point.partition(":")[0] for point in QUICK} <= called


@pytest.mark.parametrize("kind", RECIPES)
def test_the_uninterrupted_run_covers_what_it_is_meant_to(place: Place, kind: str) -> None:
    result = place.reference(kind)[0]
    assert [line["step"] for line in result.log if "loss" in line] == list(range(1, STEPS + 1))
    assert result.checkpoints == [f"step-{STEPS - SAVE_EVERY:08d}", LAST]
    assert result.leftovers == []
    index = json.loads((place.folder / "runs" / f"{kind}-reference" / "tokens" / "index.json").read_text())
    pairs = sum(shard["offsets"][-1] - len(shard["bytes"]) for shard in index["shards"] if shard["split"] == "train")
    assert result.state["samples_consumed"] > 1.5 * pairs / TRAIN["sequence_length"], "the run is to cross an epoch's end"


@pytest.mark.parametrize("failpoint", QUICK)
def test_killed_at_a_failpoint(place: Place, failpoint: str) -> None:
    place.killed_at("plain", failpoint)


@pytest.mark.parametrize("kind", ["accumulated", "lora", "random"])
def test_killed_in_other_kinds_of_runs(place: Place, kind: str) -> None:
    place.killed_at(kind, "before-rename:8")


def test_killed_while_a_folder_is_replaced_without_exchange(place: Place) -> None:
    """A damaged checkpoint is passed over and later replaced; where two names cannot be exchanged, it is for a moment not there."""
    name = place.recipe("plain")
    assert place.train(name, failpoint="before-temporary:5").was_killed
    (place.folder / "runs" / name / "checkpoints" / "step-00000020" / "model.safetensors").write_bytes(b"")
    ended = place.train(name, resume=True, failpoint="between-renames", patches=("without exchange",))
    assert ended.was_killed
    assert "at step 15" in ended.stderr
    place.resume(name)
    result, expected = outcome(place.folder / "runs" / name), place.reference("plain")[0]
    events = [line for line in result.log if line.get("event") == "checkpoint rejected"]
    assert events
    assert [line for line in result.log if line not in events] == expected.log
    assert (result.weights, result.optimizer, result.checkpoints) == (expected.weights, expected.optimizer, expected.checkpoints)
    assert result.leftovers == []


def test_killed_while_the_model_is_replaced_without_exchange(place: Place) -> None:
    name = place.recipe("plain")
    assert place.train(name).code == 0
    assert place.train(name, resume=True, failpoint="between-renames", patches=("without exchange",)).was_killed
    place.resume(name)
    place.is_as_if_nothing_had_happened("plain", name)


def killed_at_random(place: Place, kind: str, draw: random.Random, *, kills: int) -> int:
    """Kill one run again and again, at most `kills` times, until it has ended; returns how often it was."""
    name, (_, seconds) = place.recipe(kind), place.reference(kind)
    ended = place.train(name, kill_after=draw.uniform(0, seconds))
    killed = 0
    while ended.was_killed:
        killed += 1
        ended = place.resume(name, kill_after=draw.uniform(0, seconds) if killed < kills else None)
    place.is_as_if_nothing_had_happened(kind, name)
    return killed


def test_killed_at_random_times(place: Place) -> None:
    draw, killed = random.Random(1), 0
    while killed < 4:
        killed += killed_at_random(place, "plain", draw, kills=4 - killed)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("failpoint", [f"{name}:{number}" for name, numbers in TIMES.items() for number in numbers])
def test_killed_at_every_failpoint_five_times(place: Place, failpoint: str) -> None:
    place.killed_at("plain", failpoint)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize(("kind", "wanted"), [("plain", 150), ("accumulated", 50), ("lora", 50), ("random", 50)])
def test_killed_three_hundred_times_at_random(place: Place, kind: str, wanted: int) -> None:
    draw, killed = random.Random(kind), 0
    while killed < wanted:
        killed += killed_at_random(place, kind, draw, kills=wanted - killed)


@pytest.mark.parametrize("lost", ["random state", "weights", "moments", "data position", "step", "log"])
def test_control_what_is_not_restored_is_noticed(place: Place, lost: str) -> None:
    with pytest.raises(AssertionError):
        place.killed_at("random", "before-rename:8", patches=(lost,))


if __name__ == "__main__":
    serve()
