from __future__ import annotations

import numpy as np
import pytest

from llamarium.text import minhash
from llamarium.text.minhash import BANDS, ROWS, band_keys
from llamarium.text.shingles import Shingles, offsets_of

RANDOM = np.random.default_rng(0)


def some(*sets: np.ndarray) -> Shingles:
    return Shingles(
        np.concatenate([np.sort(found) for found in sets]).astype(np.uint64), offsets_of(np.array([len(found) for found in sets]))
    )


def pairs(count: int, *, size: int, resemblance: float) -> tuple[Shingles, float]:
    """`count` pairs of sets of `size` random hashes, one after the other, and the exact resemblance of each pair."""
    num_shared = round(2 * size * resemblance / (1 + resemblance))
    sets = []
    for _ in range(count):
        hashes = RANDOM.integers(0, 2**64, 2 * size - num_shared, dtype=np.uint64)
        sets += [hashes[:size], hashes[size - num_shared :]]
    return some(*sets), num_shared / (2 * size - num_shared)


@pytest.mark.parametrize("size", [10, 70, 400])
@pytest.mark.parametrize("resemblance", [0.3, 0.6, 0.8])
def test_keys_are_shared_as_often_as_theory_says(size: int, resemblance: float) -> None:
    sets, exact = pairs(2000, size=size, resemblance=resemblance)
    keys = band_keys(sets)
    shared = keys[0::2] == keys[1::2]
    wanted = exact**ROWS
    # Sets are drawn 2,000 times, keys 32 times of each; the functions are not quite independent, hence ten times a deviation of 64,000.
    assert abs(shared.mean() - wanted) < 10 * np.sqrt(wanted * (1 - wanted) / shared.size)
    anywhere = 1 - (1 - wanted) ** BANDS
    assert abs(shared.any(axis=1).mean() - anywhere) < 5 * np.sqrt(max(anywhere * (1 - anywhere), 1e-4) / 2000) + 0.02


def test_keys_are_those_of_a_plain_loop() -> None:
    sets = some(*(RANDOM.integers(0, 2**64, size, dtype=np.uint64) for size in (1, 5, 0, 300, 2, 0)))
    found = band_keys(sets)
    factors = minhash._factors()
    for number, hashes in enumerate(sets):
        for band in range(BANDS):
            if len(hashes):
                lowest = [min((int(value) >> 32) * int(factor) % 2**32 for value in hashes) for factor in factors[band]]
                wanted = minhash._joined(np.array(lowest, dtype=np.uint32)[:, None])
                assert found[number, band] == wanted[0]


def test_neither_neighbours_nor_borders_of_blocks_change_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [RANDOM.integers(0, 2**64, size, dtype=np.uint64) for size in (0, 3, 80, 0, 1, 500, 20, 0)]
    whole = band_keys(some(*found))
    assert whole.shape == (len(found), BANDS)
    assert whole.flags.f_contiguous
    for block in (1, 60, 500):
        monkeypatch.setattr(minhash, "_BLOCK", block)
        assert band_keys(some(*found)).tobytes() == whole.tobytes()
    for number, hashes in enumerate(found):
        if len(hashes):
            assert band_keys(some(hashes))[0].tolist() == whole[number].tolist()


def test_no_texts_and_texts_of_nothing() -> None:
    assert band_keys(Shingles(np.empty(0, dtype=np.uint64), np.zeros(1, dtype=np.int64))).shape == (0, BANDS)
    assert band_keys(Shingles(np.empty(0, dtype=np.uint64), np.zeros(4, dtype=np.int64))).shape == (3, BANDS)


def test_functions_are_all_different() -> None:
    assert len(set(minhash._factors().ravel().tolist())) == BANDS * ROWS
    assert bool((minhash._factors() % 2 == 1).all())
