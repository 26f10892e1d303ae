"""P7: NaN, infinity or a spike never poisons the weights: bad batches are passed over, bad states left, and honest steps are taken."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from llamarium.checkpoint import store
from llamarium.ground.errors import TrainingError
from llamarium.models.model import Network
from llamarium.text.prepare import prepare
from llamarium.train import guard, log, objectives, recipe
from llamarium.train.finish import train_to_the_end
from llamarium.train.guard import Guard
from llamarium.train.loop import train
from llamarium.train.objectives import Batch
from llamarium.train.recipe import Recipe
from llamarium.train.run import Run, start
from llamarium.train.validate import validate

STEPS, SAVE_EVERY, ROWS = 150, 15, 4
NAN, INFINITY = float("nan"), float("inf")


class Killed(Exception):  # noqa: N818  it is what happened, not a fault
    """What a test does to a run at a moment of its own."""


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("guarded")
    (folder / "text").mkdir()
    words = ("grass", "road", "river", "snow", "hay", "sheep", "wool", "mountain")
    for number in range(40):
        lines = "\n".join(f"The {words[(number + line) % 8]} of day {number} is {words[line * number % 8]}." for line in range(8))
        (folder / "text" / f"{number}.txt").write_text(lines)
    prepare([folder / "text"], folder / "corpus")
    return folder / "corpus"


def described(corpus: Path, **train: Any) -> Recipe:
    """Gradients are not clipped: a spike is not made harmless before it is judged."""
    values = {
        "steps": STEPS,
        "batch_tokens": 32 * ROWS,
        "sequence_length": 32,
        "save_every": SAVE_EVERY,
        "validation_tokens": 2000,
        "precision": "float32",
        "compile": False,
        "learning_rate": 1e-2,
        "gradient_clip": 1e9,
    }
    return recipe.build(
        {
            "name": "guarded",
            "data": {"corpus": str(corpus), "tokenizer": "bytes"},
            "model": {"layers": 1, "width": 16, "heads": 1, "hidden_width": 32},
            "train": values | train,
        }
    )


@dataclass
class Trained:
    """What became of a run: bits per byte at its end, and the first samples of the batches that it read, in order."""

    run: Run
    bits: float = math.nan
    read: list[int] = field(default_factory=list)
    error: BaseException | None = None

    @property
    def events(self) -> list[dict[str, Any]]:
        return [line for line in log.read(self.run.folder / "log.jsonl") if line.get("event") in ("skip", "roll-back")]

    @property
    def roll_backs(self) -> list[dict[str, Any]]:
        return [event for event in self.events if event["event"] == "roll-back"]


Change = Callable[[Run], None]


def trained(
    described: Recipe, folder: Path, *, worth: dict[int, float] | None = None, after: dict[int, Change] | None = None, resume: bool = False
) -> Trained:
    """Train; the loss of the batch that begins with sample s is `worth[s]` times what it is; `after` a step something is done, once."""
    run = start(described, folder, resume=resume)
    result = Trained(run)
    left = dict(after or {})

    def spoilt(model: Network, batch: Batch) -> Tensor:
        result.read.append(run.samples_consumed)
        return objectives.lm(model, batch) * (worth or {}).get(run.samples_consumed, 1.0)

    def watch(run: Run, line: dict[str, Any]) -> None:
        if change := left.pop(run.step, None):
            change(run)

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(objectives.OBJECTIVES, "lm", spoilt)
        try:
            train(run, after_step=watch)
            result.bits = validate(run) or math.nan
        except (TrainingError, Killed) as error:
            result.error = error
        finally:
            run.log.close()
    return result


@pytest.fixture(scope="module")
def clean(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    result = trained(described(corpus), tmp_path_factory.mktemp("clean") / "run")
    assert result.events == []
    assert result.bits < 0.75 * 8, "something has been learnt"
    return result


def lines_without_time(run: Path) -> list[dict[str, Any]]:
    return [{key: value for key, value in line.items() if key != "seconds"} for line in log.read(run / "log.jsonl")]


def sample(step: int) -> int:
    """The first sample of the batch that is read in this step, where none was skipped before."""
    return (step - 1) * ROWS


# --- One bad batch, one bad weight ------------------------------------------------------------------------------------


def spoil_a_weight(run: Run) -> None:
    with torch.no_grad():
        run.model.get_parameter("blocks.0.mlp.up_proj.weight")[3, 5] = NAN


BAD: dict[str, dict[str, Any]] = {
    "NaN batch": {"worth": {sample(110): NAN}},
    "infinite batch": {"worth": {sample(110): INFINITY}},
    "10,000-fold batch": {"worth": {sample(110): 1e4}},
    "NaN weight": {"after": {110: spoil_a_weight}},
}


def ends_as_the_clean_run(bad: str, clean: Trained, corpus: Path, folder: Path, **train: Any) -> Trained:
    result = trained(described(corpus, **train), folder, **BAD[bad])
    assert result.error is None, result.error
    assert result.run.step == STEPS
    assert result.bits == pytest.approx(clean.bits, rel=0.02)
    return result


@pytest.mark.parametrize("bad", BAD)
def test_the_loss_at_the_end_is_that_of_a_clean_run(bad: str, clean: Trained, corpus: Path, tmp_path: Path) -> None:
    result = ends_as_the_clean_run(bad, clean, corpus, tmp_path / "run")
    if bad == "NaN weight":
        (event,) = result.roll_backs
        assert (event["step"], event["detail"]["samples"]) == (105, [sample(111), sample(112), sample(113)])
        assert "nan" in event["detail"]["reason"]
    else:
        (event,) = result.events
        assert (event["step"], event["event"]) == (110, "skip")
        assert event["detail"]["samples"] == [sample(110), sample(111)]


@pytest.mark.parametrize("bad", BAD)
def test_control_without_the_guard_it_is_not(bad: str, clean: Trained, corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(AssertionError):
        ends_as_the_clean_run(bad, clean, corpus, tmp_path / "run", guard=False)


# --- Three bad batches ------------------------------------------------------------------------------------------------

THREE = {sample(step): NAN for step in (63, 67, 79)}


def goes_back_and_passes_over(clean: Trained, corpus: Path, folder: Path) -> Trained:
    result = trained(described(corpus), folder, worth=THREE)
    assert [(event["step"], event["detail"]["samples"]) for event in result.roll_backs] == [(75, sorted(THREE))]
    assert [result.read.count(first) for first in THREE] == [1, 1, 1]
    # Step 76 read the batch after the two that had been skipped; after the roll-back it is the same one.
    assert result.read.count(sample(78)) == 2
    assert result.read.count(sample(77)) == 1
    assert result.bits == pytest.approx(clean.bits, rel=0.02)
    held = store.read(store.steps(result.run.checkpoints)[0])
    assert held.state["guard"]["passed_over"] == sorted(THREE)
    return result


def test_three_bad_batches_among_twenty_steps_are_passed_over_from_the_last_checkpoint_on(
    clean: Trained, corpus: Path, tmp_path: Path
) -> None:
    goes_back_and_passes_over(clean, corpus, tmp_path / "run")


def test_three_that_lie_farther_apart_are_only_skipped(corpus: Path, tmp_path: Path) -> None:
    result = trained(described(corpus), tmp_path / "run", worth={sample(step): NAN for step in (63, 67, 83)})
    assert (len(result.events), result.roll_backs) == (3, [])


def never_patient(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(guard, "SKIPS", 10**6)


def forget_what_is_passed_over(patch: pytest.MonkeyPatch) -> None:
    roll_back = Guard.roll_back

    def forgetful(self: Guard, step: int, reason: str) -> None:
        roll_back(self, step, reason)
        self.passed_over = []

    patch.setattr(Guard, "roll_back", forgetful)


def not_really(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Run, "restore", lambda self, checkpoint, *, guard=True: None)


@pytest.mark.parametrize("broken", [never_patient, forget_what_is_passed_over, not_really])
def test_control_a_roll_back_that_does_not_do_all_of_it_is_noticed(
    broken: Callable[[pytest.MonkeyPatch], None], clean: Trained, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken(monkeypatch)
    with pytest.raises(AssertionError):
        goes_back_and_passes_over(clean, corpus, tmp_path / "run")


# --- It survives a resume ---------------------------------------------------------------------------------------------


def kill_before(moment: str) -> Callable[[pytest.MonkeyPatch], None]:
    """Let a run end where its roll-back has just begun to be written, or has been and is not yet in the log, or is all done."""

    def apply(patch: pytest.MonkeyPatch) -> None:
        save, event = Run.save, log.RunLog.event

        def saving(run: Run) -> Path:
            if moment == "its checkpoint" and run.guard.roll_backs:
                raise Killed
            return save(run)

        def logging(self: log.RunLog, step: int, event_: str = "", detail: Any = None, **values: Any) -> None:
            name = event_ or values["event"]
            if moment == "its line" and name == "roll-back":
                raise Killed
            event(self, step, name, detail)
            if moment == "the next step" and name == "roll-back":
                raise Killed

        patch.setattr(Run, "save", saving)
        patch.setattr(log.RunLog, "event", logging)

    return apply


def survives(moment: str, undisturbed: Trained, corpus: Path, folder: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        kill_before(moment)(patch)
        killed = trained(described(corpus), folder, worth=THREE)
    assert isinstance(killed.error, Killed)
    resumed = trained(described(corpus), folder, worth=THREE, resume=True)
    if moment != "its checkpoint":  # before that, all must be found out again
        assert not any(first in resumed.read for first in THREE)
    assert resumed.error is None
    assert lines_without_time(folder) == lines_without_time(undisturbed.run.folder)
    ends = [dict(result.run.model.named_parameters()) for result in (resumed, undisturbed)]
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in ends[1])


@pytest.fixture(scope="module")
def undisturbed(clean: Trained, corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return goes_back_and_passes_over(clean, corpus, tmp_path_factory.mktemp("undisturbed") / "run")


@pytest.mark.parametrize("moment", ["its checkpoint", "its line", "the next step"])
def test_killed_during_a_roll_back_it_ends_as_if_it_had_not_been(moment: str, undisturbed: Trained, corpus: Path, tmp_path: Path) -> None:
    survives(moment, undisturbed, corpus, tmp_path / "run")


def restore_without_guard(patch: pytest.MonkeyPatch) -> None:
    restore = Run.restore
    patch.setattr(Run, "restore", lambda self, checkpoint, *, guard=True: restore(self, checkpoint, guard=False))


def test_control_a_resume_that_forgets_the_guard_is_noticed(
    undisturbed: Trained, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    restore_without_guard(monkeypatch)
    with pytest.raises(AssertionError):
        survives("the next step", undisturbed, corpus, tmp_path / "run")


# --- Where nothing helps ----------------------------------------------------------------------------------------------


def stops_after_three_roll_backs(corpus: Path, folder: Path) -> None:
    run = start(described(corpus), folder)

    def from_step_20_on(model: Network, batch: Batch) -> Tensor:
        return objectives.lm(model, batch) * (NAN if run.step >= 20 else 1.0)

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(objectives.OBJECTIVES, "lm", from_step_20_on)
        with pytest.raises(TrainingError, match="gone back 3 times") as caught:
            train_to_the_end(run)
    assert caught.value.exit_code == 1
    assert "the loss is nan" in caught.value.message
    lines = log.read(folder / "log.jsonl")
    assert [line["step"] for line in lines if line.get("event") == "roll-back"] == [15, 15, 15]
    passed = [first for line in lines if line.get("event") == "roll-back" for first in line["detail"]["samples"]]
    assert len(passed) == len(set(passed)) == 9, "each time others"
    assert "roll-back" in (folder / "report.html").read_text(encoding="utf-8")
    assert not (folder / "model").exists()
    held = store.read(folder / "checkpoints" / "step-00000015")
    assert all(bool(tensor.isfinite().all()) for tensor in held.weights.values())


def test_after_three_roll_backs_it_stops_with_words_and_a_report(corpus: Path, tmp_path: Path) -> None:
    stops_after_three_roll_backs(corpus, tmp_path / "run")


def test_control_a_run_that_goes_back_more_often_is_noticed(corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llamarium.train.run.ROLL_BACKS", 4)
    with pytest.raises(AssertionError):
        stops_after_three_roll_backs(corpus, tmp_path / "run")


def test_a_loss_that_is_nan_from_the_first_step_ends_in_one_sentence(corpus: Path, tmp_path: Path, said: list[str]) -> None:
    result = trained(described(corpus), tmp_path / "run", worth={sample(step): NAN for step in range(1, 10)})
    assert isinstance(result.error, TrainingError)
    assert result.error.exit_code == 1
    assert result.error.message == "Nothing could be learnt from the first step on: the loss is nan."
    assert "learning_rate" in result.error.hint
    assert len(result.read) == 3, "it does not try for long"
    assert [line for line in said if "skipped" in line] == ["Step 1 is skipped: the loss is nan."] * 3


def test_the_last_batch_may_be_bad(corpus: Path, tmp_path: Path) -> None:
    """It is passed over, nothing is left to read, and what was learnt is saved all the same."""
    described_once = described(corpus, steps=10**6, save_every=10**6)
    once = described_once.model_copy(
        update={
            "data": described_once.data.model_copy(update={"corpus": (described_once.data.corpus[0].model_copy(update={"max_epochs": 1}),)})
        }
    )
    run = start(once, tmp_path / "probe")
    run.log.close()
    assert run.order.end is not None
    last = run.order.end // ROWS
    result = trained(once, tmp_path / "run", worth={sample(last): NAN})
    assert result.error is None
    assert [path.name for path in store.steps(result.run.checkpoints)] == [f"step-{last - 1:08d}"]
    assert trained(once, tmp_path / "run", resume=True).read == []


# --- What is honest is taken ------------------------------------------------------------------------------------------


def takes_every_step(corpus: Path, folder: Path, *, seed: int, **train: Any) -> None:
    base = described(corpus, batch_tokens=32, save_every=10**6, validate_every=10**6, gradient_clip=1.0, **train)
    result = trained(base.model_copy(update={"seed": seed}), folder)
    assert result.events == []
    assert len(result.read) == result.run.step == train["steps"]


def test_a_noisy_run_of_one_row_a_batch_has_no_false_skips(corpus: Path, tmp_path: Path) -> None:
    takes_every_step(corpus, tmp_path / "run", seed=1, steps=400, learning_rate=3e-2)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("learning_rate", [1e-3, 1e-2, 3e-2, 0.1])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_noisy_runs_of_two_thousand_steps_have_no_false_skips(corpus: Path, tmp_path: Path, seed: int, learning_rate: float) -> None:
    takes_every_step(corpus, tmp_path / "run", seed=seed, steps=2000, learning_rate=learning_rate)


def test_control_a_guard_that_is_touchy_is_noticed(corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "SIGMAS", 2.0)
    monkeypatch.setattr(guard, "TIMES", 0.5)
    with pytest.raises(AssertionError):
        takes_every_step(corpus, tmp_path / "run", seed=1, steps=400, learning_rate=3e-2)


def test_the_state_of_the_guard_is_json(corpus: Path, undisturbed: Trained) -> None:
    state = undisturbed.run.guard.state()
    assert json.loads(json.dumps(state)) == state
