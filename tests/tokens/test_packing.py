"""Packing loses no token, repeats none, and its order is a function of seed and position."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from llamarium.tokens.packing import IGNORED, PackedOrder
from llamarium.tokens.shards import Shard


def shard_of(lengths: list[int], first: int = 0) -> Shard:
    """A shard whose tokens are all different, so that each can be followed."""
    offsets = np.concatenate(([0], np.cumsum(lengths))).astype(np.int64)
    shard = Shard(Path("unused"), "uint32", "", offsets, np.zeros(len(lengths), np.int64))
    shard.__dict__["tokens"] = np.arange(first, first + int(offsets[-1]), dtype=np.uint32)
    return shard


documents = st.lists(st.integers(2, 9), min_size=1, max_size=12)


@given(st.lists(documents, min_size=1, max_size=3), st.integers(1, 11), st.integers(0, 5))
@settings(max_examples=150, deadline=None)
def test_each_token_but_the_first_of_a_document_is_one_target(lengths: list[list[int]], sequence_length: int, seed: int) -> None:
    shards, first = [], 0
    for shard_lengths in lengths:
        shards.append(shard_of(shard_lengths, first))
        first += sum(shard_lengths)
    order = PackedOrder(shards, sequence_length, seed)
    rows = order.samples(0, order.num_rows)
    seen = Counter(rows.targets[rows.targets != IGNORED].tolist())
    expected: Counter[int] = Counter()
    for shard in shards:
        for number in range(len(shard)):
            expected.update(shard.document(number)[1:].tolist())
    assert seen == expected
    real = rows.targets != IGNORED
    assert (rows.targets[real] == rows.inputs[real] + 1).all()
    assert (rows.documents[real] >= 0).all()
    assert (rows.documents[~real] == -1).all()


def test_a_document_keeps_one_number_and_neighbours_differ() -> None:
    order = PackedOrder([shard_of([4, 3, 5])], 16, seed=0)
    _, _, numbers = order.row(0)
    assert numbers.tolist() == [0] * 3 + [1] * 2 + [2] * 4 + [-1] * 7


def test_order_is_a_permutation_of_each_epoch_and_epochs_differ() -> None:
    order = PackedOrder([shard_of([50] * 10)], 7, seed=3)
    n = order.num_rows
    first, second = ([order.order(k) for k in range(e * n, (e + 1) * n)] for e in (0, 1))
    assert sorted(first) == sorted(second) == list(range(n))
    assert first != second
    assert first == [PackedOrder([shard_of([50] * 10)], 7, seed=3).order(k) for k in range(n)]
    assert first != [PackedOrder([shard_of([50] * 10)], 7, seed=4).order(k) for k in range(n)]


def test_samples_cross_an_epoch_without_a_gap() -> None:
    order = PackedOrder([shard_of([50] * 4)], 7, seed=1)
    n = order.num_rows
    across = order.samples(n - 2, 4).inputs
    assert (across == np.concatenate([order.samples(n - 2, 2).inputs, order.samples(n, 2).inputs])).all()
