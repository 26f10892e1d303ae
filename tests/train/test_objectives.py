"""What is learnt, and what is not: each objective on tiny models, alone and in whole runs."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from llamarium.checkpoint import huggingface
from llamarium.ground.errors import RecipeError
from llamarium.models import bert, gpt, llama, lstm, t5
from llamarium.models.context import Dense, Packed
from llamarium.models.model import Network
from llamarium.tokens import spans as span_corruption
from llamarium.tokens.marks import Marks, with_marks
from llamarium.tokens.packing import IGNORED
from llamarium.tokens.shards import write_shards
from llamarium.tokens.train import bytes_tokenizer
from llamarium.train import recipe as recipes
from llamarium.train.log import read
from llamarium.train.loop import train
from llamarium.train.objectives import OBJECTIVES, Batch, misfit
from llamarium.train.recipe import Recipe
from llamarium.train.run import Run, start

Described = Callable[..., Recipe]
VOCAB, MASK, END = 64, 63, 62
MARKS = Marks(MASK, tuple(range(50, 60)), END)
CASES = {
    "lm llama": ("lm", llama),
    "lm gpt": ("lm", gpt),
    "lm lstm": ("lm", lstm),
    "sft llama": ("sft", llama),
    "sft t5": ("sft", t5),
    "mlm bert": ("mlm", bert),
    "spans t5": ("spans", t5),
}


def network(family: Any, seed: int = 0) -> Network:
    torch.manual_seed(seed)
    model: Network = family.Model(replace(family.TINY, vocab_size=VOCAB))
    model.initialize()
    return model


def batch(rows: int = 4, length: int = 24, *, filled: int = 0, learnt: bool | None = None) -> Batch:
    """Rows in which each id follows from the one before it. `filled` places at the end of each are filled up.

    `learnt` None: all of it is; True: every second stretch of four; False: nothing.
    """
    start_B1 = torch.arange(rows)[:, None] * 5
    ids = (start_B1 + 3 * torch.arange(length + 1)) % 48
    inputs, targets = ids[:, :-1].clone(), ids[:, 1:].clone()
    if learnt is not None:
        targets[:, ((torch.arange(length) // 4) % 2 == 0) if learnt else slice(None)] = IGNORED
    if filled:
        inputs[:, -filled:], targets[:, -filled:] = 0, IGNORED
    return Batch(inputs, targets, None, MARKS)


def of(case: str, **options: Any) -> tuple[Network, Callable[[Network, Batch], Tensor], Batch]:
    name, family = CASES[case]
    return network(family), OBJECTIVES[name], batch(**{"learnt": True if name == "sft" else None, **options})


def states_of(model: Network, monkeypatch: pytest.MonkeyPatch) -> list[tuple[Tensor, Tensor]]:
    """The ids and the states of each call of `hidden`; the states keep their gradients."""
    seen: list[tuple[Tensor, Tensor]] = []
    hidden = model.hidden

    def watched(ids: Tensor, *others: Any) -> Tensor:
        states: Tensor = hidden(ids, *others)
        states.retain_grad()
        seen.append((ids, states))
        return states

    monkeypatch.setattr(model, "hidden", watched)
    return seen


def gradients(model: Network) -> list[Tensor]:
    return [torch.zeros_like(each) if each.grad is None else each.grad.clone() for each in model.parameters()]


# --- Every objective --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", CASES)
def test_the_loss_falls(case: str) -> None:
    model, objective, data = of(case)
    num_targets = int((data.targets != IGNORED).sum())
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    losses = []
    for _ in range(60):
        optimizer.zero_grad()
        loss = objective(model, data) / num_targets
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        losses.append(loss.item())
    assert sum(losses[-5:]) / 5 < 0.6 * losses[0]


@pytest.mark.parametrize("case", CASES)
def test_a_seed_decides_everything(case: str) -> None:
    model, objective, data = of(case, length=48)  # a shorter row has one gap, and that at its end
    losses = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        losses.append(objective(model, data).item())
    assert losses[0] == losses[1]
    assert (losses[0] != losses[2]) == case.startswith(("mlm", "spans")), "only what is left out is drawn"


@pytest.mark.parametrize("case", CASES)
def test_where_nothing_is_learnt_there_is_no_loss_and_no_gradient(case: str) -> None:
    model, objective, data = of(case, learnt=False)
    loss = objective(model, data)
    assert loss.item() == 0
    loss.backward()  # type: ignore[no-untyped-call]  # a graph is there: in a group others wait for its gradients
    assert not any(gradient.any() for gradient in gradients(model))


@pytest.mark.parametrize("case", ["lm llama", "sft llama", "sft t5"])
def test_rows_that_are_filled_up_teach_nothing(case: str) -> None:
    model, objective, data = of(case)
    nothing = batch(rows=3, learnt=False)
    both = Batch(torch.cat([data.inputs, nothing.inputs]), torch.cat([data.targets, nothing.targets]), None, MARKS)
    found = []
    for each in (data, both):
        model.zero_grad()
        loss = objective(model, each)
        loss.backward()  # type: ignore[no-untyped-call]
        found.append((loss.item(), gradients(model)))
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-5)
    for one, other in zip(found[0][1], found[1][1], strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("case", ["lm llama", "lm gpt", "lm lstm", "sft llama"])
def test_the_loss_is_the_sum_over_the_targets_and_nothing_else_has_a_gradient(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model, objective, data = of(case)
    expected = torch.log_softmax(model(data.inputs, Dense(data.inputs)), -1)
    there = data.targets != IGNORED
    by_hand = -expected.gather(2, data.targets.clamp(min=0)[:, :, None])[:, :, 0][there].sum()
    seen = states_of(model, monkeypatch)
    loss = objective(model, data)
    loss.backward()  # type: ignore[no-untyped-call]
    assert loss.item() == pytest.approx(by_hand.item(), rel=1e-5)
    ((_, states),) = seen
    assert states.grad is not None
    assert torch.equal(states.grad.abs().sum(-1) > 0, there)


# --- Questions and answers --------------------------------------------------------------------------------------------


def by_hand(model: Network, source: list[int], answer: list[int]) -> float:
    """−ln p(answer | source), the answer begun with the start id."""
    ids = torch.tensor([[model.config.start_id, *answer[:-1]]])
    logits = model(ids, Dense(ids), torch.tensor([source]))
    return -torch.log_softmax(logits[0], -1)[range(len(answer)), answer].sum().item()


def test_an_encoder_reads_the_question_and_a_decoder_writes_the_answer() -> None:
    """Two conversations in a row, one of two turns: three answers, each after all that stands before it and nothing else."""
    model = network(t5)
    ids = [[1, 2, 3, 4, 5, 6, 7, 8, 9], [10, 11, 12, 13, 14]]
    targets = [[-1, 3, 4, -1, -1, 7, 8, 9, -1], [-1, -1, 13, 14, -1]]
    inputs_BT = torch.tensor([[*ids[0], *ids[1], 0, 0]])
    targets_BT = torch.tensor([[IGNORED if number == -1 else number for row in targets for number in row] + [IGNORED] * 2])
    documents_BT = torch.tensor([[0] * 9 + [1] * 5 + [-1] * 2])
    loss = OBJECTIVES["sft"](model, Batch(inputs_BT, targets_BT, documents_BT, MARKS))
    pairs = [([1, 2], [3, 4]), ([1, 2, 3, 4, 5, 6], [7, 8, 9]), ([10, 11, 12], [13, 14])]
    assert loss.item() == pytest.approx(sum(by_hand(model, *pair) for pair in pairs), rel=1e-5)


def test_what_an_encoder_decoder_is_not_to_write_has_no_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    model, objective, data = of("sft t5")
    seen = states_of(model, monkeypatch)
    objective(model, data).backward()  # type: ignore[no-untyped-call]
    ((_, states),) = seen
    assert states.grad is not None
    learnt = int((states.grad.abs().sum(-1) > 0).sum())
    assert learnt == int((data.targets != IGNORED).sum())
    assert states.shape[:2].numel() > learnt, "some of it fills up"


def test_shapes_are_few_however_long_the_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a shape of its own in each step, a run took ever more memory: freed pieces fitted no later tensor."""
    model = network(t5)
    seen = states_of(model, monkeypatch)
    for length in range(9, 40):
        OBJECTIVES["sft"](model, batch(rows=3, length=length, learnt=True))
    assert len({tuple(states.shape) for _, states in seen}) <= 4


# --- Gaps -------------------------------------------------------------------------------------------------------------


def test_a_masked_model_guesses_15_percent_and_sees_80_10_10(monkeypatch: pytest.MonkeyPatch) -> None:
    model = network(bert)
    data = batch(rows=400, length=40, filled=3)
    seen = states_of(model, monkeypatch)
    OBJECTIVES["mlm"](model, data).backward()  # type: ignore[no-untyped-call]
    ((ids, states),) = seen
    assert states.grad is not None
    guessed = states.grad.abs().sum(-1) > 0
    assert not guessed[data.targets == IGNORED].any()
    assert guessed.sum(1).tolist() == [6] * 400  # 15 % of 40
    num = int(guessed.sum())
    masked = (ids[guessed] == MASK).sum() / num
    kept = (ids[guessed] == data.inputs[guessed]).sum() / num
    assert float(masked) == pytest.approx(0.8 + 0.1 / VOCAB, abs=0.03)
    assert float(kept) == pytest.approx(0.1 + 0.1 / VOCAB, abs=0.03)
    there = data.targets != IGNORED
    assert torch.equal(ids[there & ~guessed], data.inputs[there & ~guessed]), "what is not guessed is seen as it is"


@pytest.mark.parametrize("filled", [0, 7])
def test_gaps_count_like_all_targets_together(filled: int) -> None:
    """A fresh encoder finds all tokens alike: each guess costs ln V, and their mean stands for every target of the batch."""
    model, data = network(bert), batch(rows=8, filled=filled)
    loss = OBJECTIVES["mlm"](model, data).item()
    assert loss == pytest.approx(8 * (24 - filled) * math.log(VOCAB), rel=0.05)


def test_spans_are_read_with_gaps_and_written_by_the_decoder() -> None:
    model, data = network(t5), batch(rows=3, filled=4)
    torch.manual_seed(5)
    loss = OBJECTIVES["spans"](model, data).item()
    torch.manual_seed(5)
    total, written = 0.0, 0
    for row in data.inputs[:, :-4].numpy():
        source, target = span_corruption.corrupt(row[None], MARKS.sentinels, end_id=END, seed=int(torch.randint(1 << 62, ())))
        total += by_hand(model, source[0].tolist(), target[0].tolist())
        written += len(target[0])
    assert loss == pytest.approx(total / written * 60, rel=1e-5)


@pytest.mark.parametrize("length", [1, 2])
def test_a_row_too_short_for_a_gap_is_left_out(length: int) -> None:
    ids = torch.arange(length)[None]
    loss = OBJECTIVES["spans"](network(t5), Batch(ids, ids + 1, None, MARKS)).item()
    assert (loss > 0) == (length > 1)


# --- Runs -------------------------------------------------------------------------------------------------------------

SHAPES: dict[str, dict[str, Any]] = {
    "bert": {"family": "bert", "layers": 1, "width": 16, "heads": 1},
    "t5": {"family": "t5", "encoder_layers": 1, "width": 16, "heads": 1},
    "llama": {"layers": 1, "width": 16, "heads": 1},
}


@pytest.fixture
def conversations(tmp_path: Path) -> Path:
    """An instruction file."""
    records = [{"instruction": f"Count to {number}.", "output": " ".join(map(str, range(1, number + 1)))} for number in range(1, 21)]
    path = tmp_path / "instructions.json"
    path.write_text(json.dumps(records))
    return path


def recipe_of(described: Described, family: str, objective: str, **sections: Mapping[str, Any]) -> Recipe:
    values = described(train={"objective": objective}).model_dump(by_alias=True, exclude_none=True, mode="json")
    values |= {"model": SHAPES[family]}
    return recipes.build({**values, **{name: {**values[name], **section} for name, section in sections.items()}})


class Stopped(Exception):  # noqa: N818  it is what happened, not a fault
    """A run was stopped by a test."""


def begin(recipe: Recipe, folder: Path, *, stop: int | None = None, resume: bool = False) -> Run:
    run = start(recipe, folder, resume=resume)

    def watch(run: Run, line: dict[str, Any]) -> None:
        if run.step == stop:
            raise Stopped

    try:
        train(run, after_step=watch)
    except Stopped:
        pass
    finally:
        run.log.close()
    return run


@pytest.mark.parametrize(("family", "objective"), [("bert", "mlm"), ("t5", "spans"), ("t5", "sft")])
def test_a_resumed_run_ends_like_one_that_nobody_stopped(
    described: Described, conversations: Path, tmp_path: Path, family: str, objective: str
) -> None:
    data = {"data": {"corpus": str(conversations)}} if objective == "sft" else {}
    recipe = recipe_of(described, family, objective, **data, train={"sequence_length": 64, "batch_tokens": 256})
    whole = begin(recipe, tmp_path / "whole")
    begin(recipe, tmp_path / "run", stop=3)
    torch.rand(3)
    resumed = begin(recipe, tmp_path / "run", resume=True)
    assert all(torch.equal(resumed.model.get_parameter(name), parameter) for name, parameter in whole.model.named_parameters())

    def untimed(folder: Path) -> list[dict[str, Any]]:
        return [{key: value for key, value in line.items() if key != "seconds"} for line in read(folder / "log.jsonl")]

    assert (untimed(tmp_path / "run") == untimed(tmp_path / "whole")) is True
    scores = [key for line in read(tmp_path / "run" / "log.jsonl") for key in line if key in ("bits_per_byte", "validation_loss")]
    assert scores == ["bits_per_byte" if objective == "sft" else "validation_loss"] * 3


@pytest.mark.parametrize("compiled", [False, True])
def test_an_encoder_does_not_see_what_fills_a_row_up(described: Described, tmp_path: Path, compiled: bool) -> None:
    """A decoder cannot look ahead; an encoder would, and would learn what rows are filled up with."""
    tokenizer = with_marks(bytes_tokenizer(), mask=True)
    tokenizer.save(tmp_path / "tok")
    write_shards(tmp_path / "shards", {"train": ["a llama eats the green grass"] * (1 if compiled else 8)}, tokenizer)
    data = {"corpus": str(tmp_path / "shards"), "tokenizer": str(tmp_path / "tok"), "packing": "best_fit"}
    recipe = recipe_of(described, "bert", "mlm", data=data, train={"sequence_length": 40, "batch_tokens": 160})
    run = start(recipe, tmp_path / "run")
    run.log.close()
    if compiled:  # all batches then have one form, and here no row holds two documents
        run.recipe = run.recipe.model_copy(update={"train": run.recipe.train.model_copy(update={"compile": True})})
    parts, _ = run.batches()
    filled = [(part.targets == IGNORED) & (part.targets.flip(1).cummax(1).values.flip(1) == IGNORED) for part in parts]
    assert any(bool(each.any()) for each in filled)
    for part, fill in zip(parts, filled, strict=True):
        rows = part.inputs.clone()
        rows[fill] = 77
        found = []
        for inputs in (part.inputs, rows):
            states = run.model.hidden(inputs, Dense(inputs) if part.documents is None else Packed(part.documents))
            found.append(states[~fill])
        torch.testing.assert_close(found[0], found[1], rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("family", "objective"),
    [("llama", "mlm"), ("llama", "spans"), ("bert", "lm"), ("bert", "sft"), ("bert", "spans"), ("t5", "mlm"), ("t5", "lm")],
)
def test_a_misfit_of_objective_and_family_is_refused_in_one_sentence(
    described: Described, tmp_path: Path, family: str, objective: str
) -> None:
    with pytest.raises(RecipeError) as caught:
        start(recipe_of(described, family, objective), tmp_path / "run")
    assert caught.value.message.startswith(f"train.objective: the objective '{objective}' ")
    assert caught.value.message.count(".") == 2  # that of the key, and the end
    assert caught.value.hint
    assert not (tmp_path / "run").exists()


def test_what_fits() -> None:
    kinds = ("decoder", "recurrent", "encoder", "encoder_decoder")
    fits = {(name, kind) for name in OBJECTIVES for kind in kinds if not misfit(name, kind)}
    assert fits == {
        *(("lm", kind) for kind in ("decoder", "recurrent")),
        *(("sft", kind) for kind in ("decoder", "recurrent", "encoder_decoder")),
        ("mlm", "encoder"),
        ("spans", "encoder_decoder"),
    }


@pytest.mark.parametrize(("family", "objective"), [(bert, "mlm"), (t5, "spans")])
def test_a_model_whose_tokenizer_has_no_marks_is_refused(described: Described, tmp_path: Path, family: Any, objective: str) -> None:
    tokenizer = bytes_tokenizer()
    torch.manual_seed(0)
    model = family.Model(replace(family.TINY, vocab_size=tokenizer.vocab_size))
    model.initialize()
    huggingface.save_folder(tmp_path / "base", model, tokenizer)
    recipe = described(model={"from": str(tmp_path / "base")}, data={"tokenizer": None}, train={"objective": objective})
    with pytest.raises(RecipeError, match="no token that stands for what"):
        start(recipe, tmp_path / "run")
