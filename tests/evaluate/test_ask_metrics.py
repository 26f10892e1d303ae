from __future__ import annotations

import doctest
import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llamarium.evaluate import ask_metrics
from llamarium.evaluate.ask_metrics import (
    Share,
    auroc,
    exact_match,
    f1,
    hit_at,
    holds,
    longest_run,
    mean_reciprocal_rank,
    quantile,
    risk_coverage,
    units,
)

RANKS = st.lists(st.none() | st.integers(1, 30), max_size=20)
SHORT = st.text("ab四米 ,", max_size=8)
SCORES = st.lists(st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0]), min_size=1, max_size=8)


def test_examples() -> None:
    result = doctest.testmod(ask_metrics)
    assert result.attempted >= 10
    assert result.failed == 0


@given(RANKS, st.integers(1, 10))
def test_ranks_against_counting(ranks: list[int | None], k: int) -> None:
    hits = [rank for rank in ranks if rank in range(1, k + 1)]
    assert hit_at(ranks, k) == (len(hits) / len(ranks) if ranks else None)
    total = sum(1 / rank for rank in ranks if rank)
    mean = mean_reciprocal_rank(ranks)
    assert mean is None if not ranks else math.isclose(mean or 0.0, total / len(ranks))


@pytest.mark.parametrize(
    ("answer", "expected", "exact", "score"),
    [
        ("Four hours", ["four hours"], 1.0, 1.0),
        ("the four hours.", ["four hours"], 1.0, 1.0),
        ("an hour", ["hours"], 0.0, 0.0),
        ("about four hours or five", ["four hours"], 0.0, 2 * 2 / (5 + 2)),
        ("hours four", ["four hours"], 0.0, 1.0),  # a bag of words, as SQuAD has it
        ("two", ["one", "two"], 1.0, 1.0),
        ("49 元", ["49元"], 1.0, 1.0),  # a number parts from a character by itself
        ("四十九元。", ["四十九元"], 1.0, 1.0),
        ("价格是四十九元", ["四十九元"], 0.0, 2 * 4 / (7 + 4)),
        ("元九十四", ["四十九元"], 0.0, 2 / 8),  # Chinese counts a run, not a bag
        ("", ["x"], 0.0, 0.0),
        ("", [""], 1.0, 1.0),
        ("x", [], 0.0, 0.0),
    ],
)
def test_answers_by_hand(answer: str, expected: list[str], exact: float, score: float) -> None:
    assert exact_match(answer, expected) == exact
    assert math.isclose(f1(answer, expected), score)


@given(SHORT, SHORT)
def test_runs_against_trying_them_all(one: str, other: str) -> None:
    runs = [one[i:j] for i, j in itertools.combinations_with_replacement(range(len(one) + 1), 2)]
    assert longest_run(one, other) == max(len(run) for run in runs if run in other)


@given(SHORT, SHORT)
def test_f1_is_1_exactly_for_equals_in_chinese(answer: str, expected: str) -> None:
    score = f1(answer, [expected])
    assert 0 <= score <= 1
    if exact_match(answer, [expected]):
        assert score == 1
    if "四" in expected or "米" in expected:
        assert (score == 1) == (units(answer) == units(expected))


@pytest.mark.parametrize(
    ("text", "expected", "there"),
    [
        ("The fee is 1.5 euros a day.", ["1.5 euros"], True),
        ("It opens at 10, and closes at 14.", ["closes at 14"], True),
        ("It opens at 10, and closes at 14.", ["closes at 1"], False),
        ("每年四十九元，学生减半。", ["四十九元 学生"], True),
        ("anything", [""], False),
        ("anything", [], False),
    ],
)
def test_an_answer_stands_in_a_text(text: str, expected: list[str], there: bool) -> None:
    assert holds(text, expected) == there


@given(SCORES, SCORES)
def test_auroc_against_all_pairs(answerable: list[float], unanswerable: list[float]) -> None:
    wins = [(a > b) + (a == b) / 2 for a in answerable for b in unanswerable]
    assert math.isclose(auroc(answerable, unanswerable) or 0.0, sum(wins) / len(wins), abs_tol=1e-12)


def test_auroc_of_one_kind_alone_is_nothing() -> None:
    assert auroc([], [0.1]) is None
    assert auroc([0.1], []) is None


@given(SCORES, st.data())
def test_risk_and_coverage_against_every_threshold(confidences: list[float], data: st.DataObject) -> None:
    right = data.draw(st.lists(st.booleans(), min_size=len(confidences), max_size=len(confidences)))
    expected = []
    for threshold in sorted(set(confidences), reverse=True):
        answered = [is_right for confidence, is_right in zip(confidences, right, strict=True) if confidence >= threshold]
        expected.append((len(answered) / len(right), answered.count(False) / len(answered)))
    assert risk_coverage(confidences, right) == expected


def test_nothing_has_no_middle_and_no_share() -> None:
    assert quantile([], 0.5) is None
    assert Share(0, 0).value is None
    assert Share(1, 4).value == 0.25


@given(st.lists(st.floats(-10, 10), min_size=1, max_size=9), st.floats(0, 1))
def test_a_quantile_lies_among_its_values(values: list[float], share: float) -> None:
    found = quantile(values, share)
    assert found is not None
    assert min(values) - 1e-9 <= found <= max(values) + 1e-9
    assert sum(value <= found + 1e-9 for value in values) >= share * (len(values) - 1)
