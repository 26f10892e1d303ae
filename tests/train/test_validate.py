from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from llamarium.models.context import Dense
from llamarium.train import validate as validating
from llamarium.train.data import Scored
from llamarium.train.recipe import Recipe
from llamarium.train.recipe import build as build_recipe
from llamarium.train.run import Run, start
from llamarium.train.validate import Abandoned, first_question, scale, validate

Described = Callable[..., Recipe]


@pytest.fixture
def run(described: Described, tmp_path: Path) -> Run:
    run = start(described(train={"validation_tokens": 10**6}), tmp_path / "run")
    run.log.close()
    return run


def bits(run: Run, ids: list[int]) -> list[float]:
    """−log₂ p of each id but the first, one at a time, each with all that are before it."""
    costs = []
    with torch.no_grad():
        for place in range(1, len(ids)):
            inputs = torch.tensor([ids[:place]])
            costs.append(-float(torch.log_softmax(run.model(inputs, Dense(inputs))[0, -1].double(), -1)[ids[place]]) / math.log(2))
    return costs


def test_bits_of_short_documents_are_counted_one_token_at_a_time(run: Run) -> None:
    documents = [[256, *range(n, n + 20), 257] for n in (40, 60, 80)]
    run.validation = [Scored(np.array(ids), 20) for ids in documents]
    expected = sum(sum(bits(run, ids)) for ids in documents) / 60
    assert validate(run) == pytest.approx(expected, rel=1e-5)


def test_what_is_only_read_costs_nothing(run: Run) -> None:
    ids, learns = [256, *range(40, 60), 257], np.array([0] * 12 + [1] * 10, dtype=np.uint8)
    run.validation = [Scored(np.array(ids), 9, learns)]
    assert validate(run) == pytest.approx(sum(bits(run, ids)[11:]) / 9, rel=1e-5)


def test_without_documents_there_is_no_number(run: Run) -> None:
    run.validation = []
    assert validate(run) is None


def test_nothing_is_left_behind(run: Run) -> None:
    before = {name: parameter.detach().clone() for name, parameter in run.model.named_parameters()}
    state = torch.get_rng_state()
    run.model.train()
    once, again = validate(run), validate(run)
    assert once == again
    assert run.model.training
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(parameter, before[name]) and parameter.grad is None for name, parameter in run.model.named_parameters())


def test_it_is_abandoned_between_two_parts(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(validating, "AT_ONCE", 64)
    asked = []

    def stop() -> bool:
        asked.append(True)
        return len(asked) == 3

    run.validation = run.validation * 4
    with pytest.raises(Abandoned):
        validate(run, stop=stop)
    assert len(asked) == 3


def test_the_parts_do_not_decide_the_number(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    run.validation = run.validation * 3
    whole = validate(run)
    monkeypatch.setattr(validating, "AT_ONCE", 1)
    assert validate(run) == pytest.approx(whole, rel=1e-6)


# --- Models that fill gaps, and those that answer ---------------------------------------------------------------------

SHAPES: dict[str, dict[str, Any]] = {
    "mlm": {"family": "bert", "layers": 1, "width": 16, "heads": 1},
    "spans": {"family": "t5", "encoder_layers": 1, "width": 16, "heads": 1},
    "sft": {"family": "t5", "encoder_layers": 1, "width": 16, "heads": 1},
    "lm": {"layers": 1, "width": 16, "heads": 1},
}


@pytest.fixture
def of(described: Described, tmp_path: Path) -> Callable[[str], Run]:
    """A run of an objective that stands before its first step."""

    def make(objective: str) -> Run:
        values = described().model_dump(by_alias=True, exclude_none=True, mode="json") | {"model": SHAPES[objective]}
        values["train"]["objective"] = objective
        if objective == "sft":
            records = [{"instruction": f"Say {number}.", "output": f"{number}, I say."} for number in range(40)]
            (tmp_path / "asked.json").write_text(json.dumps(records))
            values["data"]["corpus"] = str(tmp_path / "asked.json")
            values["train"]["sequence_length"] = 120
        run = start(build_recipe(values), tmp_path / objective)
        run.log.close()
        return run

    return make


@pytest.mark.parametrize("objective", SHAPES)
def test_the_scale_says_what_the_number_is(of: Callable[[str], Run], objective: str) -> None:
    assert scale(of(objective)) == {"lm": "bits_per_byte", "sft": "bits_per_byte"}.get(objective, "validation_loss")


@pytest.mark.parametrize("objective", ["mlm", "spans"])
def test_gaps_are_the_same_ones_each_time_and_nothing_is_left_behind(of: Callable[[str], Run], objective: str) -> None:
    run = of(objective)
    state = torch.get_rng_state()
    run.model.train()
    first = validate(run)
    torch.rand(5)
    assert validate(run) == first
    assert run.model.training
    torch.set_rng_state(state)
    validate(run)
    assert torch.equal(torch.get_rng_state(), state)


def test_nats_are_for_each_token_left_out_however_long_the_documents(of: Callable[[str], Run]) -> None:
    """A fresh encoder finds all tokens alike, so each guess costs ln V; bits per byte would not know of that."""
    run = of("mlm")
    assert validate(run) == pytest.approx(np.log(run.model.config.vocab_size), rel=0.02)
    run.validation = [Scored(np.arange(40, 40 + length), length) for length in (2, 3, 33, 34, 90)]
    assert validate(run) == pytest.approx(np.log(run.model.config.vocab_size), rel=0.02)


def test_a_validation_of_gaps_is_abandoned_too(of: Callable[[str], Run]) -> None:
    run = of("spans")
    run.model.train()
    with pytest.raises(Abandoned):
        validate(run, stop=lambda: True)
    assert run.model.training


def test_answers_cost_what_their_tokens_do_after_the_question(of: Callable[[str], Run]) -> None:
    run = of("sft")
    bits, num_bytes = 0.0, 0
    for document in run.validation:
        assert document.learns is not None
        ids = torch.as_tensor(np.asarray(document.ids, dtype=np.int64))
        first = int(np.flatnonzero(document.learns)[0])
        answer = ids[first : int(np.flatnonzero(document.learns)[-1]) + 1]
        inputs = torch.cat([torch.tensor([run.model.config.start_id]), answer[:-1]])[None]
        with torch.no_grad():
            logits = run.model(inputs, Dense(inputs), ids[None, :first])
        bits -= torch.log_softmax(logits[0].double(), -1).gather(1, answer[:, None]).sum().item() / math.log(2)
        num_bytes += document.num_bytes
    assert validate(run) == pytest.approx(bits / num_bytes, rel=1e-5)


def test_the_first_question_is_what_stands_before_the_first_answer(of: Callable[[str], Run]) -> None:
    run = of("sft")
    asked = first_question(run)
    assert asked is not None
    text = run.tokenizer.decode(asked, skip_special=False)
    assert "Say " in text
    assert "I say" not in text
    assert text.endswith("<|im_start|>assistant\n")
    spans = of("spans")
    read = first_question(spans)
    assert read is not None
    assert spans.marks.sentinels[0] in read
    run.validation = []
    assert first_question(run) is None
