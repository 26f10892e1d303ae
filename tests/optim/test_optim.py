"""Optimizers and schedules by name."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from llamarium import optim
from llamarium.ground.errors import RecipeError
from llamarium.models import llama


def test_matrices_decay_and_norms_and_biases_do_not() -> None:
    model = llama.Model(llama.Config(vocab_size=16, width=8, layers=2, heads=2, qkv_bias=True))
    optimizer = optim.build("adamw", model.named_parameters(), learning_rate=0.5, weight_decay=0.1, betas=(0.8, 0.9))
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    decay, plain = ([names[id(parameter)] for parameter in group["params"]] for group in optimizer.param_groups)
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.1, 0.0]
    assert all(name.endswith("weight") and "norm" not in name for name in decay)
    assert all(name.endswith("bias") or "norm" in name for name in plain)
    assert sorted(decay + plain) == sorted(names.values())
    assert {(group["lr"], group["betas"]) for group in optimizer.param_groups} == {(0.5, (0.8, 0.9))}


def test_what_does_not_learn_is_left_out() -> None:
    learning, frozen = torch.nn.Parameter(torch.ones(2, 2)), torch.nn.Parameter(torch.ones(2, 2), requires_grad=False)
    optimizer = optim.build("adamw", [("learning", learning), ("frozen", frozen)], learning_rate=0.1, weight_decay=0.1, betas=(0.9, 0.99))
    assert [group["params"] for group in optimizer.param_groups] == [[learning]]


def test_a_step_is_that_of_adamw() -> None:
    parameter = torch.nn.Parameter(torch.tensor([[2.0]]))
    optimizer = optim.build("adamw", [("weight", parameter)], learning_rate=0.1, weight_decay=0.5, betas=(0.9, 0.99))
    parameter.grad = torch.tensor([[3.0]])
    optimizer.step()
    assert parameter.item() == pytest.approx(2.0 * (1 - 0.1 * 0.5) - 0.1, abs=1e-5)  # the first step is the sign of the gradient


@pytest.mark.parametrize("schedule", optim.SCHEDULES)
def test_the_rate_at_the_start_at_the_end_of_warm_up_and_at_the_end(schedule: str) -> None:
    def rate(share: float) -> float:
        return optim.learning_rate(share, peak=2.0, schedule=schedule, warmup=0.25, final=0.1)

    assert rate(0.0) == 0.0
    assert rate(0.125) == pytest.approx(1.0)
    assert rate(0.25) == pytest.approx(2.0)
    assert rate(1.0) == pytest.approx(2.0 if schedule == "constant" else 0.2)
    assert rate(1.5) == pytest.approx(rate(1.0))


def test_each_schedule_has_its_form() -> None:
    middle = {name: optim.learning_rate(0.25, peak=1.0, schedule=name, warmup=0.0, final=0.0) for name in optim.SCHEDULES}
    assert middle == {"cosine": pytest.approx(0.5 + math.sqrt(2) / 4), "linear": pytest.approx(0.75), "constant": pytest.approx(1.0)}


@given(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1), st.floats(0, 1), st.sampled_from(sorted(optim.SCHEDULES)))
def test_the_rate_rises_and_then_falls_and_stays_in_its_bounds(
    one: float, other: float, warmup: float, final: float, schedule: str
) -> None:
    def rate(share: float) -> float:
        return optim.learning_rate(share, peak=1.0, schedule=schedule, warmup=warmup, final=final)

    first, second = sorted((one, other))
    assert -1e-9 <= rate(first) <= 1 + 1e-9
    if second < warmup:
        assert rate(first) <= rate(second) + 1e-9
    elif first >= warmup:
        assert rate(first) >= rate(second) - 1e-9
        assert rate(second) >= final - 1e-9


def test_names_that_do_not_exist_are_refused_with_the_nearest() -> None:
    with pytest.raises(RecipeError, match="adamv") as caught:
        optim.build("adamv", [], learning_rate=0.1, weight_decay=0.0, betas=(0.9, 0.99))
    assert caught.value.hint == "Did you mean 'adamw'?"
    with pytest.raises(RecipeError, match="cosin") as caught:
        optim.learning_rate(0.5, peak=1.0, schedule="cosin", warmup=0.1, final=0.1)
    assert caught.value.hint == "Did you mean 'cosine'?"
