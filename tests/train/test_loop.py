from __future__ import annotations

import copy
import io
import json
import math
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import llamarium
from llamarium import optim
from llamarium.checkpoint import store
from llamarium.checkpoint.open import open_model
from llamarium.cli.train import speak
from llamarium.evaluate.bits_per_byte import bits_per_byte
from llamarium.ground import progress
from llamarium.ground.errors import Interrupted, TrainingError
from llamarium.models import llama
from llamarium.models.context import Dense, Packed
from llamarium.text.corpus import open_corpus
from llamarium.tokens.packing import IGNORED
from llamarium.train import log, objectives
from llamarium.train.finish import train_to_the_end
from llamarium.train.loop import Line, train
from llamarium.train.recipe import Recipe
from llamarium.train.run import Run, start
from llamarium.train.validate import validate

Described = Callable[..., Recipe]


def trained(recipe: Recipe, folder: Path, *, resume: bool = False, **options: Any) -> Run:
    run = start(recipe, folder, resume=resume)
    try:
        train(run, **options)
    finally:
        run.log.close()
    return run


def logged(folder: Path) -> list[Line]:
    """The lines of the log without what the clock says, and without the norms of each block."""
    lines = [line for line in log.read(folder / "log.jsonl") if line.get("event") != "norms"]
    return [{key: value for key, value in line.items() if key != "seconds"} for line in lines]


def weights(run: Run) -> dict[str, Tensor]:
    return {name: parameter.detach().clone() for name, parameter in run.model.named_parameters()}


def assert_same(one: Run, other: Run) -> None:
    assert logged(one.folder) == logged(other.folder)
    for name, tensor in weights(one).items():
        assert torch.equal(tensor, weights(other)[name]), name


# --- What is learnt ---------------------------------------------------------------------------------------------------


def test_the_loss_falls(described: Described, tmp_path: Path) -> None:
    trained(described(train={"steps": 60, "save_every": 30}), tmp_path / "run")
    lines = logged(tmp_path / "run")
    losses = [line["loss"] for line in lines]
    assert losses[0] == pytest.approx(np.log(259), abs=0.1), "at first every byte is as likely as any other"
    assert losses[-1] < 0.6 * losses[0]
    bits = [line["bits_per_byte"] for line in lines if "bits_per_byte" in line]
    assert bits[1] < bits[0] < 8.1


def test_the_loss_is_the_mean_of_what_each_token_costs_within_its_document(described: Described, tmp_path: Path) -> None:
    run = start(described(train={"steps": 1, "batch_tokens": 256, "micro_batch_tokens": 64}), tmp_path / "run")
    rows = run.order.samples(0, 8)
    costs: list[float] = []
    with torch.no_grad():
        for inputs, targets, documents in zip(rows.inputs, rows.targets, rows.documents, strict=True):
            for document in np.unique(documents):  # each document of a row by itself, so that nothing can see another
                chosen = (documents == document) & (targets != IGNORED)
                if chosen.any():
                    ids = torch.from_numpy(inputs[chosen])[None]
                    logits = run.model(ids, Dense(ids))[0]
                    costs += F.cross_entropy(logits, torch.from_numpy(targets[chosen]), reduction="none").tolist()
    train(run)
    run.log.close()
    (line,) = logged(tmp_path / "run")
    assert line["loss"] == pytest.approx(float(np.mean(costs)), rel=1e-5)
    assert line["tokens"] == len(costs) == int((rows.targets != IGNORED).sum())


def test_three_steps_are_those_of_a_plain_loop(described: Described, tmp_path: Path) -> None:
    """Loss, gradient and update against the same thing written as plainly as it goes."""
    run = start(described(train={"steps": 3, "micro_batch_tokens": 64}, optimizer={"warmup": 0, "schedule": "constant"}), tmp_path / "run")
    model = copy.deepcopy(run.model)
    optimizer = torch.optim.AdamW(
        [{"params": [parameter], "weight_decay": 0.1 * (parameter.ndim > 1)} for parameter in model.parameters()],
        lr=1e-2,
        betas=(0.9, 0.95),
    )
    expected = []
    for step in range(3):
        rows = run.order.samples(4 * step, 4)
        logits = model(torch.from_numpy(rows.inputs), Packed(torch.from_numpy(rows.documents)))
        loss = F.cross_entropy(logits.flatten(0, 1), torch.from_numpy(rows.targets).flatten(), ignore_index=IGNORED)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        expected.append((loss.item(), torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0).item()))
        optimizer.step()
    train(run)
    run.log.close()
    for line, (loss_, norm) in zip(logged(tmp_path / "run"), expected, strict=True):
        assert line["loss"] == pytest.approx(loss_, rel=1e-4)
        assert line["gradient_norm"] == pytest.approx(norm, rel=1e-3)
    for (name, ours), theirs in zip(run.model.named_parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4, msg=name)


def test_accumulated_gradients_are_those_of_one_large_batch(described: Described, tmp_path: Path) -> None:
    """Rows have different numbers of targets: each part counts by its own."""
    # The moments' epsilon makes steps of near-zero gradients depend on their last bits; the first steps are compared.
    runs = [
        trained(described(train={"steps": 3, "batch_tokens": 256, "micro_batch_tokens": size}), tmp_path / f"{size}")
        for size in (256, 96, 64, 32, 1)
    ]
    whole = logged(runs[0].folder)
    for run in runs[1:]:
        for line, expected in zip(logged(run.folder), whole, strict=True):
            assert line == pytest.approx(expected, rel=1e-4)
        for name, tensor in weights(run).items():
            torch.testing.assert_close(tensor, weights(runs[0])[name], rtol=1e-3, atol=1e-4, msg=name)


def test_gradients_are_clipped_and_their_norm_is_logged_as_it_was(
    described: Described, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    norms: list[float] = []
    run = start(described(train={"steps": 4, "gradient_clip": 0.01}), tmp_path / "run")
    step = run.optimizer.step

    def watch() -> Any:
        norms.append(float(torch.nn.utils.get_total_norm([p.grad for p in run.model.parameters() if p.grad is not None])))
        return step()

    monkeypatch.setattr(run.optimizer, "step", watch)
    train(run)
    run.log.close()
    assert norms == pytest.approx([0.01] * 4, rel=1e-3)
    assert all(line["gradient_norm"] > 0.1 for line in logged(tmp_path / "run"))


def test_the_learning_rate_follows_its_schedule(described: Described, tmp_path: Path) -> None:
    recipe = described(train={"steps": 10}, optimizer={"schedule": "linear", "warmup": 0.2, "final": 0.5})
    used: list[float] = []
    trained(recipe, tmp_path / "run", after_step=lambda run, line: used.append(run.optimizer.param_groups[0]["lr"]))
    expected = [optim.learning_rate(step / 10, peak=1e-2, schedule="linear", warmup=0.2, final=0.5) for step in range(1, 11)]
    assert used == expected
    assert [line["learning_rate"] for line in logged(tmp_path / "run")] == expected
    assert (used[0], used[1], used[-1]) == (0.5e-2, 1e-2, 0.5e-2)


def test_norms_do_not_decay(described: Described, tmp_path: Path) -> None:
    run = start(described(), tmp_path / "run")
    run.log.close()
    decay = {id(parameter): group["weight_decay"] for group in run.optimizer.param_groups for parameter in group["params"]}
    for name, parameter in run.learning().items():
        assert decay[id(parameter)] == (0.0 if "norm" in name else 0.1), name


def test_bfloat16_computes_in_it_and_learns_in_float32(described: Described, tmp_path: Path) -> None:
    run = trained(described(train={"steps": 20, "precision": "bfloat16"}), tmp_path / "run")
    lines = logged(tmp_path / "run")
    assert lines[-1]["loss"] < 0.9 * lines[0]["loss"]
    assert {parameter.dtype for parameter in run.model.parameters()} == {torch.float32}
    assert {value.dtype for state in run.optimizer.state.values() for value in state.values()} == {torch.float32}
    assert lines[0]["loss"] != logged(trained(described(train={"steps": 1}), tmp_path / "other").folder)[0]["loss"]


def test_samples_are_those_of_the_order_one_after_the_other(described: Described, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    run = start(described(train={"steps": 3}), tmp_path / "run")
    take = run.order.take

    def watch(numbers: range) -> Any:
        seen.extend(numbers)
        return take(numbers)

    monkeypatch.setattr(run.order, "take", watch)
    train(run)
    run.log.close()
    assert seen == list(range(12))
    assert run.samples_consumed == 12


# --- What is measured and kept ----------------------------------------------------------------------------------------


def test_the_log_has_the_promised_keys(described: Described, tmp_path: Path) -> None:
    trained(described(train={"steps": 5}), tmp_path / "run", speak=lambda run: f"at {run.step}")
    lines = log.read(tmp_path / "run" / "log.jsonl")
    keys = ["step", "tokens", "loss", "learning_rate", "gradient_norm", "seconds"]
    steps = [line for line in lines if "event" not in line]
    assert [line["step"] for line in steps] == [1, 2, 3, 4, 5]
    for line in steps:
        validated = ["bits_per_byte"] if line["step"] in (2, 4, 5) else []
        assert sorted(line) == sorted([*keys, *validated])
    events = [line for line in lines if "event" in line and line["event"] != "norms"]
    assert events == [{"step": step, "event": "sample", "detail": f"at {step}"} for step in (2, 4, 5)]
    norms = [line for line in lines if line.get("event") == "norms"]
    assert [line["step"] for line in norms] == [2, 4]
    assert all(sorted(line["detail"]) == ["blocks.0", "embed", "norm"] for line in norms)
    assert [line["seconds"] for line in steps] == sorted(line["seconds"] for line in steps)


@pytest.mark.parametrize(("every", "validated"), [(1, [1, 2, 3, 4, 5]), (3, [3, 5]), (99, [5])])
def test_validation_comes_as_often_as_asked_and_at_the_end(described: Described, tmp_path: Path, every: int, validated: list[int]) -> None:
    trained(described(train={"steps": 5, "validate_every": every}), tmp_path / "run")
    assert [line["step"] for line in logged(tmp_path / "run") if "bits_per_byte" in line] == validated


def test_validation_is_bits_per_byte_of_the_validation_part(described: Described, corpus: Path, tmp_path: Path) -> None:
    """With room for every document, and documents no longer than a window, it is what `llamarium evaluate` measures."""
    run = start(described(train={"steps": 2, "validation_tokens": 10**6, "sequence_length": 512, "batch_tokens": 1024}), tmp_path / "run")
    texts = [document.text for document in open_corpus(corpus).documents("valid")]
    assert len(run.validation) == len(texts)
    assert validate(run) == pytest.approx(bits_per_byte(run.model, run.tokenizer, texts).bits_per_byte, rel=1e-6)
    run.log.close()


def test_without_validation_text_there_is_none(described: Described, tmp_path: Path) -> None:
    run = start(described(train={"steps": 2}), tmp_path / "run")
    run.validation = []
    train(run)
    run.log.close()
    assert logged(tmp_path / "run")[-1]["bits_per_byte"] is None


def test_it_saves_as_often_as_asked_and_at_the_end(described: Described, tmp_path: Path) -> None:
    saved: list[list[int]] = []

    def watch(run: Run, line: Line) -> None:
        saved.append([int(path.name[-8:]) for path in store.steps(run.checkpoints)])

    trained(described(train={"steps": 7, "save_every": 3, "keep": 2}), tmp_path / "run", after_step=watch)
    assert saved == [[], [], [3], [3], [3], [6, 3], [7, 6]]


def test_a_run_by_tokens_and_one_by_the_clock(described: Described, tmp_path: Path) -> None:
    assert trained(described(train={"steps": None, "tokens": 500}), tmp_path / "a").step == 4
    run = trained(described(train={"steps": None, "minutes": 0.01, "save_every": 10**6}), tmp_path / "b")
    assert run.share() == 1.0
    assert run.seconds >= 0.6
    assert [path.name for path in store.steps(run.checkpoints)] == [f"step-{run.step:08d}"]
    assert logged(run.folder)[-1]["learning_rate"] < 5e-3, "the schedule follows the clock, too"


def test_what_is_shown_meanwhile(described: Described, tmp_path: Path) -> None:
    stream = io.StringIO()
    progress.use(progress.Plain(stream, interval=0))
    try:
        trained(described(train={"steps": 4}), tmp_path / "run")
    finally:
        progress.use(progress.Silent())
    shown = [line for line in stream.getvalue().splitlines() if line.startswith("training: ")]
    assert sum("tokens/s" in line for line in shown) == 4
    for part in ("training: 100%", "step 4", "loss ", "bits per byte", "tokens/s", "saved: step-00000004"):
        assert part in shown[-1]


# --- Where it stops ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e38])
def test_what_is_no_number_stops_the_run_and_harms_nothing(described: Described, tmp_path: Path, value: float) -> None:
    def spoil(run: Run, line: Line) -> None:
        if run.step == 3:
            with torch.no_grad():
                run.model.get_parameter("blocks.0.mlp.up_proj.weight").fill_(value)

    with pytest.raises(TrainingError, match="gone back 3 times") as caught:
        trained(described(), tmp_path / "run", after_step=spoil)
    assert (caught.value.exit_code, "learning_rate" in caught.value.hint) == (1, True)
    lines = logged(tmp_path / "run")
    assert [line["step"] for line in lines if "loss" in line] == [1, 2, 3]
    assert [line["step"] for line in lines if line.get("event") == "roll-back"] == [2, 2, 2]
    assert [path.name for path in store.steps(tmp_path / "run" / "checkpoints")] == ["step-00000002"]
    held = store.read(tmp_path / "run" / "checkpoints" / "step-00000002")
    assert all(tensor.isfinite().all() for tensor in held.weights.values())
    assert trained(described(), tmp_path / "run", resume=True).step == 6


def signalled(number: int, *, at: int) -> Callable[[Run, Line], None]:
    def send(run: Run, line: Line) -> None:
        if run.step == at:
            os.kill(os.getpid(), number)

    return send


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
@pytest.mark.parametrize("step", [1, 3, 4])
def test_a_signal_saves_and_what_is_resumed_ends_like_others(
    described: Described, tmp_path: Path, number: signal.Signals, step: int
) -> None:
    recipe = described()
    handlers = [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)]
    with pytest.raises(Interrupted) as caught:
        trained(recipe, tmp_path / "run", after_step=signalled(number, at=step))
    assert caught.value.exit_code == 130
    assert f"step {step}" in caught.value.message
    assert "--resume" in caught.value.hint
    assert store.steps(tmp_path / "run" / "checkpoints")[0].name == f"step-{step:08d}"
    assert [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)] == handlers
    assert_same(trained(recipe, tmp_path / "run", resume=True), trained(recipe, tmp_path / "whole"))


def test_a_signal_during_the_last_step_comes_too_late(described: Described, tmp_path: Path) -> None:
    assert trained(described(), tmp_path / "run", after_step=signalled(signal.SIGINT, at=6)).step == 6


TWICE = """
import os, signal, sys
from pathlib import Path
from llamarium.train import recipe
from llamarium.train.loop import Line, train
from llamarium.train.run import start

def twice(run, line):
    if run.step == 3:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        print("still here")

train(start(recipe.read(Path(sys.argv[1])), Path(sys.argv[2])), after_step=twice)
"""


def test_a_second_signal_ends_it_at_once_and_harms_nothing(described: Described, tmp_path: Path) -> None:
    recipe = described()
    (tmp_path / "recipe.yaml").write_text(recipe.dump(), encoding="utf-8")
    command = [sys.executable, "-c", TWICE, str(tmp_path / "recipe.yaml"), str(tmp_path / "run")]
    child = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (child.returncode, child.stdout) == (130, ""), child.stderr
    assert [path.name for path in store.steps(tmp_path / "run" / "checkpoints")] == ["step-00000002"]
    assert_same(trained(recipe, tmp_path / "run", resume=True), trained(recipe, tmp_path / "whole"))


def test_in_another_thread_it_trains_and_leaves_signals_alone(described: Described, tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGINT)
    steps: list[int] = []
    thread = threading.Thread(target=lambda: steps.append(trained(described(), tmp_path / "run").step))
    thread.start()
    thread.join()
    assert steps == [6]
    assert signal.getsignal(signal.SIGINT) == before


def test_a_run_that_has_ended_is_not_trained_again(described: Described, tmp_path: Path) -> None:
    whole = trained(described(), tmp_path / "run")
    before = json.dumps(logged(tmp_path / "run"))
    again = trained(described(), tmp_path / "run", resume=True)
    assert json.dumps(logged(tmp_path / "run")) == before
    assert_same(again, whole)


# --- Roads to the same numbers ----------------------------------------------------------------------------------------


def losses(run: Run) -> list[float]:
    return [line["loss"] for line in logged(run.folder) if "loss" in line]


def test_what_is_recomputed_is_what_was_kept(described: Described, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    kept = trained(described(model={"layers": 2}), tmp_path / "kept")
    forward = llama.Block.forward

    def counted(block: llama.Block, *values: Any) -> Any:
        calls.append(1)
        return forward(block, *values)

    monkeypatch.setattr(llama.Block, "forward", counted)
    again = trained(described(model={"layers": 2}, train={"recompute": True, "validate_every": 100}), tmp_path / "again")
    assert losses(again) == pytest.approx(losses(kept), rel=1e-6)
    validation = 2 * sum(1 for line in logged(again.folder) if "bits_per_byte" in line) * len(again.validation)
    assert len(calls) >= 2 * 2 * 6, "each block runs twice a step"
    assert len(calls) - validation <= 2 * 2 * 6


@pytest.mark.parametrize("logits", [259, 259 * 7, 259 * 1000])
def test_cross_entropy_in_chunks_is_cross_entropy(
    described: Described, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, logits: int
) -> None:
    """1, 7 and all of the positions at a time: the same losses, norms and weights."""
    plain = trained(described(train={"steps": 3}), tmp_path / "plain")
    sizes: list[int] = []
    cross_entropy = objectives._cross_entropy

    def counted(model: Any, states_ND: Tensor, targets_N: Tensor) -> Tensor:
        sizes.append(len(targets_N))
        return cross_entropy(model, states_ND, targets_N)

    monkeypatch.setattr(objectives, "LOGITS", logits)
    monkeypatch.setattr(objectives, "_cross_entropy", counted)
    chunked = trained(described(train={"steps": 3}), tmp_path / "chunked")
    assert max(sizes) == min(128, logits // 259)
    for line, expected in zip(logged(chunked.folder), logged(plain.folder), strict=True):
        assert line == pytest.approx(expected, rel=1e-5)
    for name, tensor in weights(chunked).items():
        torch.testing.assert_close(tensor, weights(plain)[name], rtol=1e-3, atol=1e-4, msg=name)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.torch.jit.script_method. is deprecated:DeprecationWarning")
def test_compiled_losses_are_those_of_eager_ones(described: Described, tmp_path: Path) -> None:
    eager = trained(described(train={"steps": 20}), tmp_path / "eager")
    compiled = trained(described(train={"steps": 20, "compile": True}), tmp_path / "compiled")
    assert losses(compiled) == pytest.approx(losses(eager), abs=1e-4)
    assert losses(compiled) != losses(eager), "it is compiled"


def test_one_file_goes_backward() -> None:
    source = Path(llamarium.__file__).parent
    called = [
        path.relative_to(source).as_posix() for path in source.rglob("*.py") if re.search(r"\.backward\(\)\s*(#|$)", path.read_text(), re.M)
    ]
    assert called == ["train/loop.py"]
    assert (source / "train" / "loop.py").read_text().count(".backward()  #") == 1


def test_float16_finds_a_scale_and_loses_no_batch(described: Described, tmp_path: Path) -> None:
    run = start(described(train={"precision": "float16", "steps": 20}), tmp_path / "run")
    run.loss_scale = 2.0**40
    train(run)
    run.log.close()
    assert 1 < run.loss_scale < 2.0**30
    assert run.samples_consumed == 4 * 20, "what overflowed was tried again"
    assert not any(line.get("event") == "skip" for line in log.read(run.folder / "log.jsonl"))
    plain = trained(described(train={"steps": 20}), tmp_path / "plain")
    assert losses(run) == pytest.approx(losses(plain), rel=0.02)
    norms = [[line["gradient_norm"] for line in logged(each.folder) if "loss" in line] for each in (run, plain)]
    assert norms[0] == pytest.approx(norms[1], rel=0.1), "norms are those of gradients that are not scaled"


def test_the_scale_of_float16_survives_a_resume(described: Described, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llamarium.train.loop.GROW_SCALE", 5)
    recipe = described(train={"precision": "float16", "steps": 12})
    whole = trained(recipe, tmp_path / "whole")
    assert whole.loss_scale == 2.0**18
    with pytest.raises(Interrupted):
        trained(recipe, tmp_path / "run", after_step=signalled(signal.SIGINT, at=7))
    resumed = trained(recipe, tmp_path / "run", resume=True)
    assert resumed.loss_scale == 2.0**18
    assert_same(resumed, whole)


def test_what_is_no_number_is_not_a_matter_of_scale(described: Described, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = start(described(train={"precision": "float16", "steps": 4}), tmp_path / "run")
    monkeypatch.setitem(
        objectives.OBJECTIVES, "lm", lambda model, batch: objectives.lm(model, batch) * (math.nan if run.samples_consumed == 4 else 1)
    )
    train(run)
    run.log.close()
    assert run.loss_scale == 2.0**16
    assert [line["detail"]["samples"] for line in log.read(run.folder / "log.jsonl") if line.get("event") == "skip"] == [[4, 8]]


def test_without_the_guard_nothing_is_judged(described: Described, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = start(described(train={"guard": False}), tmp_path / "run")
    factor = {4: math.nan}
    monkeypatch.setitem(objectives.OBJECTIVES, "lm", lambda model, batch: objectives.lm(model, batch) * factor.get(run.samples_consumed, 1))
    train(run)
    run.log.close()
    lines = log.read(run.folder / "log.jsonl")
    assert [line["step"] for line in lines if "loss" in line] == [1, 2, 3, 4, 5, 6]
    assert not any(line.get("event") in ("skip", "roll-back") for line in lines)
    assert all(math.isnan(line["loss"]) for line in lines if "loss" in line and line["step"] >= 2)


# --- The best, and enough ---------------------------------------------------------------------------------------------


def bits_of(monkeypatch: pytest.MonkeyPatch, values: list[float]) -> None:
    """Let validations give these numbers, one after the other."""
    left = iter(values)
    monkeypatch.setattr("llamarium.train.loop.validate", lambda run, stop: next(left))


def test_patience_ends_a_run_that_no_longer_gets_better(described: Described, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bits_of(monkeypatch, [5.0, 4.0, 4.5, 4.0, 3.0])
    recipe = described(train={"steps": 50, "save_every": 20, "validate_every": 3, "patience": 2})
    run = trained(recipe, tmp_path / "run")
    assert (run.step, run.best, run.without_better) == (12, (4.0, 6), 2)
    assert [path.name for path in store.steps(run.checkpoints)] == ["step-00000012"]
    assert trained(recipe, tmp_path / "run", resume=True).step == 12, "it has ended"


def test_patience_survives_a_resume(described: Described, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = described(train={"steps": 50, "save_every": 20, "validate_every": 3, "patience": 2})
    bits_of(monkeypatch, [5.0, 4.0, 4.5, 4.0])
    with pytest.raises(Interrupted):
        trained(recipe, tmp_path / "run", after_step=signalled(signal.SIGTERM, at=10))
    assert trained(recipe, tmp_path / "run", resume=True).step == 12


def test_the_best_is_kept_and_is_the_model(described: Described, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: list[str]) -> None:
    bits_of(monkeypatch, [5.0, 4.0, 4.5, 4.2, 4.1, 4.3])
    recipe = described(train={"steps": 12, "save_every": 2, "keep": 2, "keep_best": True})
    at: dict[int, dict[str, Tensor]] = {}
    run = start(recipe, tmp_path / "run")
    model = open_model(str(train_to_the_end(run, after_step=lambda run, line: at.update({run.step: weights(run)})))).model
    assert [path.name for path in store.steps(run.checkpoints)] == ["step-00000012", "step-00000010", "step-00000004"]
    written = dict(model.named_parameters())
    assert all(torch.equal(tensor, written[name]) for name, tensor in at[4].items())
    assert any("The model is that of step 4, the best with 4.0000 bits per byte" in line for line in said)


def test_a_better_one_that_is_not_due_is_saved_at_once(described: Described, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bits_of(monkeypatch, [5.0, 6.0, 4.0, 4.5])
    recipe = described(train={"steps": 12, "save_every": 12, "validate_every": 3, "keep": 1, "keep_best": True})
    saved: list[list[str]] = []
    run = trained(
        recipe, tmp_path / "run", after_step=lambda run, line: saved.append([path.name[-2:] for path in store.steps(run.checkpoints)])
    )
    assert [saved[step - 1] for step in (2, 3, 8, 9, 12)] == [[], ["03"], ["03"], ["09", "03"], ["12", "09"]], "one beside the best"
    assert run.best == (4.0, 9)


def test_a_line_that_waits_for_its_validation_comes_once(described: Described, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Interrupted in a validation, killed before the next one was done, resumed: the step is in the log once, with its number."""
    recipe = described()
    real = validate

    def interrupted(run: Run, stop: Callable[[], bool]) -> float | None:
        if run.step == 4:
            os.kill(os.getpid(), signal.SIGINT)
        return real(run, stop=stop)

    monkeypatch.setattr("llamarium.train.loop.validate", interrupted)
    with pytest.raises(Interrupted, match="step 4"):
        trained(recipe, tmp_path / "run")
    held = store.read(store.steps(tmp_path / "run" / "checkpoints")[0])
    assert held.state["line"]["step"] == 4
    assert [line["step"] for line in logged(tmp_path / "run") if "loss" in line] == [1, 2, 3]
    with pytest.raises(Interrupted):
        trained(recipe, tmp_path / "run", resume=True)
    monkeypatch.setattr("llamarium.train.loop.validate", real)
    assert_same(trained(recipe, tmp_path / "run", resume=True), trained(recipe, tmp_path / "whole"))


def test_samples_are_asked_for_at_each_validation_and_change_nothing(described: Described, tmp_path: Path) -> None:
    spoken = trained(described(), tmp_path / "spoken", speak=speak)
    silent = trained(described(), tmp_path / "silent")
    samples = [line for line in logged(spoken.folder) if line.get("event") == "sample"]
    assert [line["step"] for line in samples] == [2, 4, 6]
    assert all(isinstance(line["detail"], str) for line in samples)
    assert len({line["detail"] for line in samples}) > 1, "it learns to speak"
    assert [line for line in logged(spoken.folder) if line not in samples] == logged(silent.folder)
    assert_same(trained(described(), tmp_path / "again", speak=speak), spoken)


def test_the_time_of_a_watcher_is_not_the_runs(described: Described, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0

    def clock() -> float:
        nonlocal now
        now += 0.001
        return now

    def watch(run: Run, line: Line) -> None:
        nonlocal now
        now += 100.0

    monkeypatch.setattr("llamarium.train.loop.time", SimpleNamespace(perf_counter=clock))
    run = start(described(train={"minutes": 1 / 60, "steps": None, "save_every": 1000}), tmp_path / "run")
    train(run, after_step=watch)
    assert run.step > 100
    assert run.seconds < 1.1
