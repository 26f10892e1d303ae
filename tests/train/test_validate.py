from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from llamarium.models.context import Dense
from llamarium.train import validate as validating
from llamarium.train.data import Scored
from llamarium.train.recipe import Recipe
from llamarium.train.run import Run, start
from llamarium.train.validate import Abandoned, validate

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
