"""The course of the learning rate."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llamarium import optim
from llamarium.ground.errors import RecipeError


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
    early = {name: optim.learning_rate(0.25, peak=1.0, schedule=name, warmup=0.0, final=0.0) for name in optim.SCHEDULES}
    late = {name: optim.learning_rate(0.9, peak=1.0, schedule=name, warmup=0.0, final=0.0) for name in optim.SCHEDULES}
    quarter = 0.5 + math.sqrt(2) / 4
    assert early == pytest.approx({"cosine": quarter, "linear": 0.75, "constant": 1.0, "wsd": 1.0})
    assert late == pytest.approx({"cosine": 0.5 + 0.5 * math.cos(0.9 * math.pi), "linear": 0.1, "constant": 1.0, "wsd": 0.5})


def test_the_last_part_is_a_share_of_the_whole_way() -> None:
    def rate(share: float, *, warmup: float = 0.4, decay: float = 0.3) -> float:
        return optim.learning_rate(share, peak=1.0, schedule="wsd", warmup=warmup, final=0.2, decay=decay)

    assert [rate(share) for share in (0.4, 0.6, 0.7, 0.85, 1.0)] == pytest.approx([1.0, 1.0, 1.0, 0.6, 0.2])
    assert [rate(share, decay=0.0) for share in (0.4, 0.99, 1.0)] == [1.0, 1.0, 1.0]
    assert [rate(share, decay=0.9) for share in (0.4, 0.7, 1.0)] == pytest.approx([1.0, 0.6, 0.2]), "no room: at once after the warm-up"
    assert [rate(share, warmup=1.0) for share in (0.5, 1.0)] == [0.5, 1.0]


def test_the_stable_part_does_not_depend_on_the_end() -> None:
    def rates(length: int) -> list[float]:
        warmup = 10 / length
        return [optim.learning_rate(n / length, peak=1.0, schedule="wsd", warmup=warmup, final=0.0, decay=0.2) for n in range(1, 81)]

    assert rates(100) == pytest.approx(rates(1000))


SHARE = st.floats(0, 1)


@given(places=st.tuples(SHARE, SHARE), warmup=SHARE, final=SHARE, decay=SHARE, schedule=st.sampled_from(sorted(optim.SCHEDULES)))
def test_the_rate_rises_and_then_falls_and_stays_in_its_bounds(
    places: tuple[float, float], warmup: float, final: float, decay: float, schedule: str
) -> None:
    def rate(share: float) -> float:
        return optim.learning_rate(share, peak=1.0, schedule=schedule, warmup=warmup, final=final, decay=decay)

    first, second = sorted(places)
    assert -1e-9 <= rate(first) <= 1 + 1e-9
    if second < warmup:
        assert rate(first) <= rate(second) + 1e-9
    elif first >= warmup:
        assert rate(first) >= rate(second) - 1e-9
        assert rate(second) >= final - 1e-9


def test_a_name_that_does_not_exist_is_refused_with_the_nearest() -> None:
    with pytest.raises(RecipeError, match="cosin") as caught:
        optim.learning_rate(0.5, peak=1.0, schedule="cosin", warmup=0.1, final=0.1)
    assert caught.value.hint == "Did you mean 'cosine'?"
