from __future__ import annotations

import json
import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llamarium.train.guard import FEWEST, STEPS, TIMES, Guard

FINITE = st.floats(-1e6, 1e6)
NORMS = st.floats(1e-6, 1e6)


def used_to(losses: list[float], norms: list[float] | None = None) -> Guard:
    guard = Guard()
    for loss, norm in zip(losses, norms or [1.0] * len(losses), strict=True):
        assert guard.judge(loss, norm) == ""
    return guard


@pytest.mark.parametrize("steps", [0, 1, 200])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_is_never_taken(steps: int, value: float) -> None:
    guard = used_to([2.0] * steps)
    assert guard.judge(value, 1.0) == f"the loss is {value}"
    assert guard.judge(2.0, value) == f"the gradient norm is {value}"
    assert len(guard.losses) == len(guard.norms) == min(steps, STEPS), "it is not what is usual"
    assert guard.judge(2.0, 1.0) == ""


def test_a_spike_is_named_with_what_is_usual() -> None:
    draw = random.Random(1)
    guard = used_to([draw.gauss(2.5, 0.03) for _ in range(200)])
    assert guard.judge(3.0, 1.0) == "", "far, but no spike: σ has a floor"
    reason = guard.judge(8.0, 1.0)
    assert reason.startswith("the loss is 8, ")
    assert reason.endswith(" of the 128 steps before")
    assert "σ above the 2.5" in reason
    assert guard.judge(8.0, 1.0) == reason, "a spike does not become usual"
    assert "gradient norm" in guard.judge(2.5, 1e5)
    assert guard.judge(0.1, 1e-9) == "", "less is never too much"


def test_too_few_steps_say_nothing_about_what_is_usual() -> None:
    guard = used_to([2.0] * (FEWEST - 1))
    assert guard.judge(1e4, 1e4) == ""
    assert used_to([2.0] * FEWEST).judge(1e4, 1.0) != ""


@given(st.lists(st.tuples(FINITE, NORMS), min_size=FEWEST, max_size=2 * STEPS), st.integers(0, STEPS - 1))
def test_what_was_seen_before_is_never_a_spike(steps: list[tuple[float, float]], which: int) -> None:
    guard = Guard()
    for loss, norm in steps:
        guard.judge(loss, norm)
    loss, norm = list(guard.losses)[which % len(guard.losses)], math.exp(list(guard.norms)[which % len(guard.norms)])
    assert guard.judge(loss, norm * (1 - 1e-9)) == ""


@given(st.lists(FINITE, min_size=FEWEST, max_size=2 * STEPS))
def test_ten_thousandfold_of_all_that_was_is_a_spike(losses: list[float]) -> None:
    guard = Guard()
    for loss in losses:
        guard.judge(loss, 1.0)
    largest = max(1.0, *map(abs, guard.losses))
    assert guard.judge(1e4 * largest, 1.0) != ""


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("tail", ["lognormal", "student", "short rows"])
def test_honest_tails_are_no_spikes(tail: str, seed: int) -> None:
    """Losses and norms as rows of very unequal worth give them."""
    draw = random.Random(seed)

    def loss() -> float:
        if tail == "lognormal":
            return math.exp(draw.gauss(0, 0.8))
        if tail == "student":
            return 3 + 0.3 * draw.gauss(0, 1) / math.sqrt(draw.gammavariate(2.5, 0.4))
        return draw.gauss(0.5, 0.1) if draw.random() > 0.1 else draw.uniform(1, 5)

    guard = Guard()
    reasons = [guard.judge(loss(), math.exp(draw.gauss(0, 1))) for _ in range(3000)]
    assert [reason for reason in reasons if reason] == []


@pytest.mark.parametrize("seed", range(4))
def test_a_row_of_one_target_now_and_then_may_be_skipped_and_never_makes_a_run_go_back(seed: int) -> None:
    draw, guard = random.Random(seed), Guard()
    for step in range(3000):
        if guard.judge(draw.gauss(0.5, 0.1) if draw.random() > 0.01 else draw.uniform(1, 5), 1.0):
            assert not guard.skip(step)


@pytest.mark.parametrize(("steps", "back"), [((5, 9, 24), True), ((5, 9, 25), False), ((5, 6), False), ((1, 18, 30, 37), True)])
def test_three_skips_among_twenty_steps_are_too_many(steps: tuple[int, ...], back: bool) -> None:
    guard = Guard()
    said = []
    for step in range(1, 60):
        reason = guard.judge(math.nan if step in steps else 2.0, 1.0)
        if reason:
            said.append(guard.skip(4 * step))
    assert said == [False] * (len(steps) - 1) + [back]


def test_a_roll_back_passes_over_all_that_was_skipped_and_counts_anew() -> None:
    guard = used_to([2.0] * 40)
    for first in (8, 4, 16):
        guard.judge(math.nan, 1.0)
        guard.skip(first)
    guard.roll_back(30, "the loss is nan")
    assert guard.passed_over == [4, 8, 16]
    assert guard.roll_backs == [{"step": 30, "detail": {"samples": [4, 8, 16], "reason": "the loss is nan"}}]
    assert guard.skipped == []
    assert len(guard.losses) == 40, "what was usual still is"
    guard.judge(math.nan, 1.0)
    assert not guard.skip(20)
    guard.roll_back(30, "again")
    assert guard.passed_over == [4, 8, 16, 20]
    assert len(guard.roll_backs) == 2


@given(st.lists(st.tuples(FINITE, NORMS), max_size=200), st.lists(st.integers(0, 10**9), max_size=5), st.booleans())
def test_what_is_remembered_survives_json(steps: list[tuple[float, float]], skipped: list[int], rolled_back: bool) -> None:
    guard, other = Guard(), Guard()
    for loss, norm in steps:
        guard.judge(loss, norm)
    for first in skipped:
        guard.skip(first)
    if rolled_back:
        guard.roll_back(7, "a reason")
        guard.skip(3)
    other.restore(json.loads(json.dumps(guard.state())))
    assert other.state() == guard.state()
    assert [other.judge(loss, 1.0) for loss in (1.0, 1e9)] == [guard.judge(loss, 1.0) for loss in (1.0, 1e9)]
    assert other.skip(99) == guard.skip(99)


def test_the_docstring_of_the_constants_holds() -> None:
    """Ten times as far as the farthest: not before, and then."""
    losses = [1.0, 3.0] * 20
    assert used_to(losses).judge(2.0 + TIMES * 1.0 - 1e-6, 1.0) == ""
    assert used_to(losses).judge(2.0 + TIMES * 1.0 + 1e-6, 1.0) != ""
