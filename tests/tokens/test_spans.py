"""Span corruption: nothing of a row is lost, its shapes are known beforehand, and every cut has its chance."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from llamarium.ground.errors import UsageError
from llamarium.tokens.spans import corrupt, counts

SENTINELS = range(32099, 31999, -1)  # as T5 has them
END = 1


def put_back(source: list[int], target: list[int], sentinels: list[int]) -> list[int]:
    """The row: each sentinel of the source replaced by what stands behind it in the target."""
    assert (source[-1], target[-1]) == (END, END)
    gaps: dict[int, list[int]] = {}
    for number in target[:-1]:
        if number in sentinels:
            assert number not in gaps
            gaps[number] = []
            gap = gaps[number]
        else:
            gap.append(number)
    assert all(gaps.values())
    assert [number for number in source if number in sentinels] == list(gaps) == sentinels[: len(gaps)]
    return [each for number in source[:-1] for each in gaps.get(number, [number])]


ROWS = st.integers(1, 4).flatmap(
    lambda rows: st.integers(2, 90).flatmap(
        lambda length: st.lists(st.lists(st.integers(2, 500), min_size=length, max_size=length), min_size=rows, max_size=rows)
    )
)


@given(ROWS, st.integers(1, 30), st.integers(0, 2**62), st.floats(0.01, 0.99), st.floats(1, 10))
@settings(max_examples=200, deadline=None)
def test_source_and_target_give_the_row(rows: list[list[int]], num: int, seed: int, density: float, mean: float) -> None:
    sentinels = list(SENTINELS[:num])
    ids = np.array(rows)
    source, target = corrupt(ids, sentinels, end_id=END, seed=seed, noise_density=density, mean_span=mean)
    num_noise, num_spans = counts(ids.shape[1], num, noise_density=density, mean_span=mean)
    assert source.shape == (len(rows), ids.shape[1] - num_noise + num_spans + 1)
    assert target.shape == (len(rows), num_noise + num_spans + 1)
    for row, one, other in zip(rows, source.tolist(), target.tolist(), strict=True):
        assert put_back(one, other, sentinels) == row
    # A row begins with what is kept and ends with a gap: as many gaps as sentinels, and none of them empty.
    assert (source[:, 0] == ids[:, 0]).all()
    assert (target[:, 0] == sentinels[0]).all()
    assert (target[:, -2] == ids[:, -1]).all()


@pytest.mark.parametrize(
    ("length", "expected"), [(2, (1, 1)), (3, (1, 1)), (10, (2, 1)), (64, (10, 3)), (512, (77, 26)), (4096, (614, 100))]
)
def test_how_much_is_left_out(length: int, expected: tuple[int, int]) -> None:
    """15 % in spans of 3 on average; where the sentinels do not suffice, the spans are longer."""
    assert counts(length, len(SENTINELS)) == expected
    source, target = corrupt(np.arange(length)[None], SENTINELS, end_id=END, seed=0)
    assert (source.shape[1] + target.shape[1]) == length + 2 * expected[1] + 2


@pytest.mark.parametrize("dtype", [np.uint16, np.int32, np.int64])
def test_a_seed_is_one_cut_whatever_the_ids(dtype: Any) -> None:
    ids = np.arange(200, 400, dtype=dtype).reshape(2, 100)

    def cut(seed: int, rows: NDArray[Any] = ids) -> list[list[int]]:
        source, target = corrupt(rows, SENTINELS, end_id=END, seed=seed)
        assert source.dtype == target.dtype == dtype
        return [*source.tolist(), *target.tolist()]

    assert cut(5) == cut(5)
    assert cut(5) != cut(6)
    shifted = [[number + 7 if 200 <= number < 400 else number for number in row] for row in cut(5)]
    assert cut(5, ids + dtype(7)) == shifted
    gaps = corrupt(ids, SENTINELS, end_id=END, seed=5)[0] > 1000
    assert not np.array_equal(gaps[0], gaps[1])  # rows are cut on their own


def test_every_cut_is_equally_probable() -> None:
    """Of 7 tokens 3 are left out in 2 spans: 3 ways to part the 4 that are kept, 2 for the 3 that are not."""
    rows = np.tile(np.arange(7), (6000, 1))
    assert counts(7, 2, noise_density=0.43, mean_span=1.5) == (3, 2)
    source, _ = corrupt(rows, [98, 99], end_id=END, seed=3, noise_density=0.43, mean_span=1.5)
    found = Counter(map(tuple, source.tolist()))
    assert len(found) == 6
    assert all(abs(count - 1000) < 5 * 1000**0.5 for count in found.values())


def test_what_cannot_be_cut_is_refused() -> None:
    with pytest.raises(UsageError, match="no sentinels") as caught:
        corrupt(np.arange(10)[None], [], end_id=END, seed=0)
    assert "extra_id_0" in (caught.value.hint or "")
    with pytest.raises(UsageError, match="row of 1 tokens"):
        corrupt(np.arange(1)[None], SENTINELS, end_id=END, seed=0)
