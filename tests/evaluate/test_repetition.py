"""Shares of n-grams, against a count that walks the text."""

from __future__ import annotations

import doctest
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llamarium.evaluate import repetition
from llamarium.evaluate.repetition import distinct_n, repetition_rate


@given(st.lists(st.integers(0, 2), max_size=30), st.integers(1, 5))
def test_counts_each_gram_that_came_before(tokens: list[int], n: int) -> None:
    grams = [tokens[start : start + n] for start in range(len(tokens) - n + 1)]
    repeated = [gram in grams[:place] for place, gram in enumerate(grams)]
    assert repetition_rate(tokens, n=n) == (sum(repeated) / len(repeated) if repeated else 0)
    assert distinct_n(tokens, n=n) == (repeated.count(False) / len(tokens) if tokens else 0)


def test_a_text_that_is_stuck_and_one_that_is_not() -> None:
    assert repetition_rate([5] * 1003) == 0.999
    assert repetition_rate(range(1003)) == 0


def test_a_sequence_that_repeats_only_once_it_comes_round() -> None:
    assert repetition_rate("abcdabcd", n=4) == 1 / 5  # abcd bcda cdab dabc abcd
    assert repetition_rate("abcdabc", n=4) == 0


@pytest.mark.parametrize("measure", [repetition_rate, distinct_n])
@pytest.mark.parametrize("n", [0, -1])
def test_a_gram_has_a_token(measure: Callable[..., float], n: int) -> None:
    tokens: Sequence[int] = [1, 2, 3]
    with pytest.raises(ValueError, match="at least one"):
        measure(tokens, n=n)


def test_doctests() -> None:
    results = doctest.testmod(repetition)
    assert results.attempted
    assert not results.failed
