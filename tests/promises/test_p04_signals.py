"""P4: SIGTERM and Ctrl-C save and end with 130 within 30 s, whatever is being done; a second one ends at once; nothing is harmed.

Run as a script, this file is a server that has imported torch and forks a command line for each case, so that a case costs
no start of an interpreter. Its children are the command line itself. Signals come from outside at random moments, or from
within at a moment that a case names.
"""

from __future__ import annotations

import importlib
import io
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from llamarium.checkpoint import store
from llamarium.ground.files import TEMPORARY, sha256

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform has no fork")

STEPS, SAVE_EVERY = 60, 20
LAST = f"step-{STEPS:08d}"
PATIENCE = 30.0  # seconds that are promised
ASKING = (signal.SIGINT, signal.SIGTERM)
SAVING = 4.0  # seconds that a save takes where somebody is to lose patience
SENTENCES = ("The llama eats green grass", "The old shepherd follows the river", "An alpaca fears the snow", "My sheep keeps warm")


# --- What may be changed inside a child: nothing is ever put back, it ends --------------------------------------------

patch = pytest.MonkeyPatch()


def noisy_objective() -> None:
    """An objective that draws random numbers: a step that is dropped half done must leave none of them drawn."""
    import torch

    from llamarium.tokens.packing import IGNORED
    from llamarium.train import objectives

    def noisy(model: Any, batch: objectives.Batch) -> torch.Tensor:
        left_out = torch.rand(batch.targets.shape) < 0.2
        return objectives.lm(model, objectives.Batch(batch.inputs, batch.targets.masked_fill(left_out, IGNORED), batch.documents))

    patch.setitem(objectives.OBJECTIVES, "noisy", noisy)


def without_fsync() -> None:
    """Signals take nothing from what the system has taken over: waiting for the disk only costs the test its time."""
    patch.setattr(os, "fsync", lambda descriptor: None)


def before(place: str, number: int, do: Callable[[], None]) -> None:
    """Do something when the function at `place` is called for the n-th time, before it does its work."""
    owner, name = place.rsplit(".", 1)
    try:
        target: Any = importlib.import_module(owner)
    except ModuleNotFoundError:
        module, kind = owner.rsplit(".", 1)
        target = getattr(importlib.import_module(module), kind)
    function, calls = getattr(target, name), [0]

    def called(*values: Any, **options: Any) -> Any:
        calls[0] += 1
        if calls[0] == number:
            do()
        return function(*values, **options)

    patch.setattr(target, name, called)


def signal_before(place: str, number: int, which: str) -> None:
    before(place, number, lambda: os.kill(os.getpid(), getattr(signal, which)))


def slow_save() -> None:
    """The second checkpoint takes long enough for somebody to lose patience."""
    before("llamarium.ground.files.put_in_place", 2, lambda: time.sleep(SAVING))


def nothing_compiled() -> None:
    """The compiler has to do all of its work."""
    patch.setenv("TORCHINDUCTOR_CACHE_DIR", str(Path("nothing-compiled").absolute()))


def lost_random_state() -> None:
    patch.setattr("llamarium.train.loop.restore_random_state", lambda states: None)


def terminated() -> None:
    patch.setattr("llamarium.cli.main._stop", signal.SIG_DFL)


def unsaved() -> None:
    from llamarium.train import loop

    save = loop._save
    patch.setattr(loop, "_save", lambda run, stop: "" if stop() else save(run, stop))


def one_is_as_good_as_two() -> None:
    """Who asks again is not heard."""
    patch.setattr("llamarium.train.interrupts.os._exit", lambda code: None)


CHANGES: dict[str, Callable[..., None]] = {
    each.__name__: each
    for each in (
        noisy_objective,
        without_fsync,
        signal_before,
        slow_save,
        nothing_compiled,
        lost_random_state,
        terminated,
        unsaved,
        one_is_as_good_as_two,
    )
}


# --- The server -------------------------------------------------------------------------------------------------------


def serve() -> None:
    """Read a case from each line of standard input, answer each on standard output."""
    from llamarium.cli import main

    for name in ("pyarrow.parquet", "torch._dynamo", "llamarium.train.finish", "llamarium.engine.generate", "matplotlib.pyplot"):
        importlib.import_module(name)
    main.build_app()
    for line in sys.stdin:
        case = json.loads(line)
        began = time.monotonic()
        # What is sent before the child has become the command line waits until then: a process that has just begun is not the promise.
        signal.pthread_sigmask(signal.SIG_BLOCK, ASKING)
        if not (child := os.fork()):
            _be(case)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, ASKING)
        signals, sent = list(case["signals"]), began
        while not (ended := os.waitpid(child, os.WNOHANG))[0]:
            if signals and time.monotonic() - began > signals[0][0] and _has_come_to(case):
                os.kill(child, getattr(signal, signals.pop(0)[1]))
                sent = time.monotonic()
            if time.monotonic() - began > 120:
                os.kill(child, signal.SIGKILL)
            time.sleep(0.001)
        now = time.monotonic()
        answer = {"code": os.waitstatus_to_exitcode(ended[1]), "seconds": now - began, "since": now - sent, "unsent": len(signals)}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


def _has_come_to(case: dict[str, Any]) -> bool:
    """Whether the file is there that the signals wait for."""
    return not case["wait_for"] or any(Path(case["folder"]).glob(case["wait_for"]))


def _listen() -> None:
    signal.pthread_sigmask(signal.SIG_UNBLOCK, ASKING)


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
        for name, *values in case["changes"]:
            CHANGES[name](*values)
        before("llamarium.cli.main.build_app", 1, _listen)
        sys.argv = ["llamarium", *case["arguments"]]
        main()
    except SystemExit as end:
        code = end.code or 0
    finally:
        os._exit(code)


@dataclass
class Ended:
    """What became of a command line: exit code (minus the signal's number), what it said, seconds in all and since the last signal."""

    code: int
    stderr: str
    seconds: float
    since: float
    unsent: int


# --- The runs ---------------------------------------------------------------------------------------------------------


@dataclass
class Place:
    """A folder with a corpus and recipes, and what a run that nobody disturbs leaves there."""

    folder: Path
    process: subprocess.Popen[str]
    number: int = 0

    def recipe(self, **train: Any) -> str:
        """A recipe with a name of its own."""
        self.number += 1
        name = f"run-{self.number}"
        values = {
            "steps": STEPS,
            "objective": "noisy",
            "batch_tokens": 128,
            "micro_batch_tokens": 64,
            "sequence_length": 32,
            "save_every": SAVE_EVERY,
            "validate_every": 15,
            "validation_tokens": 200,
            "precision": "float32",
            "compile": False,
        }
        recipe = {
            "name": name,
            "data": {"corpus": "corpus", "tokenizer": "bytes"},
            "model": {"layers": 1, "width": 16, "heads": 1},
            "train": values | train,
        }
        (self.folder / f"{name}.yaml").write_text(yaml.safe_dump(recipe))
        return name

    def train(
        self, name: str, *changes: tuple[Any, ...], resume: bool = False, signals: list[tuple[float, str]] | None = None, wait_for: str = ""
    ) -> Ended:
        (self.folder / "stderr").unlink(missing_ok=True)
        case = {
            "folder": str(self.folder),
            "arguments": ["train", f"{name}.yaml", *(["--resume"] if resume else [])],
            "changes": [("noisy_objective",), ("without_fsync",), *changes],
            "signals": signals or [],
            "wait_for": wait_for,
        }
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(case) + "\n")
        self.process.stdin.flush()
        answer = json.loads(self.process.stdout.readline())
        return Ended(answer.pop("code"), (self.folder / "stderr").read_text(encoding="utf-8"), **answer)

    def outcome(self, name: str) -> dict[str, Any]:
        """All that a run leaves behind and that must not depend on whether it was stopped."""
        run = self.folder / "runs" / name
        state = json.loads((run / "checkpoints" / LAST / "state.json").read_text())
        lines = [json.loads(line) for line in (run / "log.jsonl").read_bytes().splitlines()]
        return {
            "weights": sha256(run / "model" / "model.safetensors"),
            "optimizer": sha256(run / "checkpoints" / LAST / "optimizer.safetensors"),
            "state": {key: value for key, value in state.items() if key != "seconds"},
            "log": [{key: value for key, value in line.items() if key != "seconds"} for line in lines],
            "leftovers": sorted(str(path) for path in run.rglob(f"{TEMPORARY}*")),
        }


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    from llamarium.text.prepare import prepare

    folder, draw = tmp_path_factory.mktemp("stopped"), random.Random(1)
    (folder / "text").mkdir()
    for number in range(16):
        lines = [f"{draw.choice(SENTENCES)}, {draw.randrange(1000)} times." for _ in range(draw.randrange(3, 10))]
        (folder / "text" / f"{number}.txt").write_text("\n".join(lines))
    prepare([folder / "text"], folder / "corpus")
    environment = os.environ | {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    command = [sys.executable, __file__]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding="utf-8", env=environment) as process:
        yield Place(folder, process)
        assert process.stdin is not None
        process.stdin.close()


@dataclass(frozen=True)
class Undisturbed:
    outcome: dict[str, Any]
    seconds: float


@pytest.fixture(scope="module")
def undisturbed(place: Place) -> Undisturbed:
    name = place.recipe()
    ended = place.train(name)
    assert ended.code == 0, ended.stderr
    return Undisturbed(place.outcome(name), ended.seconds)


def goes_on_as_if_nothing_had_been(place: Place, name: str, expected: Undisturbed, *changes: tuple[Any, ...]) -> None:
    ended = place.train(name, *changes, resume=True)
    assert ended.code == 0, ended.stderr
    outcome = place.outcome(name)
    for key, value in expected.outcome.items():
        equal = outcome[key] == value
        assert equal, f"{key} of {name} differs"


def stops(place: Place, name: str, ended: Ended) -> None:
    """It ended as asked, in time, and with everything saved that was done."""
    assert ended.code == 130, ended.stderr
    assert ended.since < PATIENCE
    assert "Traceback" not in ended.stderr
    if stopped := re.search(r"Stopped at step (\d+); everything is saved", ended.stderr):
        newest, rejected = store.newest(place.folder / "runs" / name / "checkpoints")
        assert newest is not None
        assert (newest.state["step"], rejected) == (int(stopped[1]), [])
        assert "--resume" in ended.stderr
    else:
        assert "Interrupted." in ended.stderr


# --- At any moment ----------------------------------------------------------------------------------------------------


def stopped_at_random(place: Place, expected: Undisturbed, draw: random.Random, *, times: int) -> int:
    """Stop one run again and again, at most so often, until it has ended; returns how often it was."""
    name, stopped = place.recipe(), 0
    while stopped < times:
        which = draw.choice(["SIGINT", "SIGTERM"])
        ended = place.train(name, resume=True, signals=[(draw.uniform(0, 0.9 * expected.seconds), which)])
        if ended.code == 0:  # it came too late, or not at all
            break
        stops(place, name, ended)
        stopped += 1
    goes_on_as_if_nothing_had_been(place, name, expected)
    return stopped


def test_stopped_at_random_moments(place: Place, undisturbed: Undisturbed) -> None:
    draw, stopped = random.Random(1), 0
    while stopped < 4:
        stopped += stopped_at_random(place, undisturbed, draw, times=4 - stopped)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_stopped_at_twenty_random_moments(place: Place, undisturbed: Undisturbed) -> None:
    draw, stopped = random.Random(2), 0
    while stopped < 20:
        stopped += stopped_at_random(place, undisturbed, draw, times=20 - stopped)


MOMENTS: dict[str, tuple[str, int]] = {
    "tokenizing": ("llamarium.train.data.token_shards.write_shards", 1),
    "in the middle of tokenizing": ("llamarium.tokens.tokenizer.Tokenizer.encode_batch", 1),
    "before the first step": ("llamarium.train.run.RunLog", 1),
    "in a step": ("torch.Tensor.backward", 51),
    "in the second part of a step": ("torch.Tensor.backward", 52),
    "in the update": ("torch.optim.AdamW.step", 33),
    "while validating": ("llamarium.train.validate.log2_probabilities", 2),
    "while it speaks": ("llamarium.engine.generate.generate", 2),
    "while saving": ("llamarium.checkpoint.store.write_tensors", 3),
    "while old checkpoints go": ("llamarium.checkpoint.store.prune", 2),
    "while the last checkpoint is written": ("llamarium.checkpoint.store.write_tensors", 5),
    "while the report is written": ("llamarium.train.finish.write_report", 1),
    "while the model is written": ("llamarium.checkpoint.huggingface.files.write_folder", 1),
}
LOOP = [name for name, (_, number) in MOMENTS.items() if number > 1]


def stopped_at(
    moment: str, place: Place, expected: Undisturbed, *changes: tuple[Any, ...], which: str = "SIGTERM", resumed: tuple[Any, ...] = ()
) -> None:
    name = place.recipe()
    ended = place.train(name, *changes, ("signal_before", *MOMENTS[moment], which))
    if moment == "while the last checkpoint is written":
        assert ended.code == 0, "everything is done but the model, which is written"
    else:
        stops(place, name, ended)
        assert ("Stopped at" in ended.stderr) == (moment in LOOP), ended.stderr
    goes_on_as_if_nothing_had_been(place, name, expected, *resumed)


@pytest.mark.parametrize("moment", MOMENTS)
def test_stopped_at_a_moment(moment: str, place: Place, undisturbed: Undisturbed) -> None:
    which = "SIGINT" if len(moment) % 2 else "SIGTERM"
    stopped_at(moment, place, undisturbed, which=which)


@pytest.mark.parametrize(
    ("moment", "broken"),
    [
        ("tokenizing", "terminated"),
        ("in the second part of a step", "lost_random_state"),
        ("in a step", "unsaved"),
    ],
)
def test_control_what_does_not_stop_well_is_noticed(moment: str, broken: str, place: Place, undisturbed: Undisturbed) -> None:
    with pytest.raises(AssertionError):
        stopped_at(moment, place, undisturbed, (broken,))


def ends_at_the_second(place: Place, expected: Undisturbed, *changes: tuple[Any, ...]) -> None:
    """The first finds the run in a save that takes very long; the second does not wait for it."""
    name = place.recipe()
    unfinished = f"runs/{name}/checkpoints/{TEMPORARY}*-step-{2 * SAVE_EVERY:08d}/manifest.json"
    ended = place.train(name, ("slow_save",), *changes, signals=[(0.0, "SIGINT"), (0.3, "SIGINT")], wait_for=unfinished)
    assert (ended.code, ended.unsent) == (130, 0), ended.stderr
    assert ended.since < SAVING / 2
    assert [path.name for path in store.steps(place.folder / "runs" / name / "checkpoints")] == [f"step-{SAVE_EVERY:08d}"]
    goes_on_as_if_nothing_had_been(place, name, expected)


def test_a_second_one_ends_it_at_once_and_harms_nothing(place: Place, undisturbed: Undisturbed) -> None:
    ends_at_the_second(place, undisturbed)


def test_control_a_second_one_that_is_not_heard_is_noticed(place: Place, undisturbed: Undisturbed) -> None:
    with pytest.raises(AssertionError):
        ends_at_the_second(place, undisturbed, ("one_is_as_good_as_two",))


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("seconds", [1.0, 3.0, 6.0])
def test_stopped_while_compiling(place: Place, seconds: float) -> None:
    shutil.rmtree(place.folder / "nothing-compiled", ignore_errors=True)
    name, whole = place.recipe(compile=True, objective="lm"), place.recipe(compile=True, objective="lm")
    ended = place.train(name, ("nothing_compiled",), signals=[(seconds, "SIGTERM")], wait_for=f"runs/{name}/log.jsonl")
    stops(place, name, ended)
    assert ended.since < 5
    assert "Interrupted." in ended.stderr, "no step was taken yet"
    assert place.train(whole).code == 0
    goes_on_as_if_nothing_had_been(place, name, Undisturbed(place.outcome(whole), 0.0))


IMPORTING = """
import os, signal, sys, threading
from llamarium.cli.main import main
threading.Timer(float(sys.argv.pop()), lambda: os.kill(os.getpid(), signal.SIGTERM)).start()
main()
"""


@pytest.mark.parametrize("seconds", [0.02, 0.4])
def test_stopped_while_it_still_imports(place: Place, seconds: float) -> None:
    name = place.recipe(objective="lm")
    command = [sys.executable, "-c", IMPORTING, "train", f"{name}.yaml", str(seconds)]
    child = subprocess.run(command, cwd=place.folder, capture_output=True, text=True, check=False)
    assert (child.returncode, child.stderr) == (130, "Interrupted.\n")
    assert not (place.folder / "runs" / name).exists()


SWALLOWED = """
import os, signal, sys
from llamarium.cli.main import main
import llamarium.ground.group

def joined():
    try:
        os.kill(os.getpid(), signal.SIGTERM)
    except BaseException:
        raise AttributeError("half of a package") from None

llamarium.ground.group.joined = joined
main()
"""


def test_a_package_that_caught_it_while_it_was_imported_and_failed_later_makes_no_difference(place: Place) -> None:
    command = [sys.executable, "-c", SWALLOWED, "train", f"{place.recipe(objective='lm')}.yaml"]
    child = subprocess.run(command, cwd=place.folder, capture_output=True, text=True, check=False)
    assert (child.returncode, child.stderr) == (130, "Interrupted.\n")


if __name__ == "__main__":
    serve()
