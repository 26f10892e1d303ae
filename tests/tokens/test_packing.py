"""Packing loses no token, repeats none, and its order is a function of seed and position."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llamarium.ground.errors import UsageError
from llamarium.tokens.order import Order, Source
from llamarium.tokens.packing import IGNORED, LAYOUTS, PackedRows, Rows
from llamarium.tokens.shards import Shard


def shard_of(lengths: list[int], first: int = 0, learns: list[int] | None = None) -> Shard:
    """A shard whose tokens are all different, so that each can be followed."""
    offsets = np.concatenate(([0], np.cumsum(lengths))).astype(np.int64)
    shard = Shard(Path("unused"), "uint32", "", offsets, np.zeros(len(lengths), np.int64))
    shard.__dict__["tokens"] = np.arange(first, first + int(offsets[-1]), dtype=np.uint32)
    if learns is not None:
        shard.__dict__["learns"] = np.array(learns, np.uint8)
    return shard


def shards_of(lengths: list[list[int]], learns: list[int] | None = None) -> list[Shard]:
    """Shards whose tokens differ, too; token number t is learnt where ``learns[t]``."""
    firsts = [sum(map(sum, lengths[:number])) for number in range(len(lengths))]
    return [
        shard_of(of_shard, first, None if learns is None else learns[first : first + sum(of_shard)])
        for of_shard, first in zip(lengths, firsts)
    ]


documents = st.lists(st.integers(2, 9), min_size=1, max_size=12)
corpora = st.lists(documents, min_size=1, max_size=3)


@pytest.mark.parametrize("how", LAYOUTS)
@given(lengths=corpora, sequence_length=st.integers(1, 11), draw=st.data())
@settings(max_examples=150, deadline=None)
def test_each_token_but_the_first_of_a_document_is_one_target(how: str, lengths: list[list[int]], sequence_length: int, draw: Any) -> None:
    num_tokens = sum(map(sum, lengths))
    learns = draw.draw(st.none() | st.lists(st.sampled_from([0, 0, 1, 255]), min_size=num_tokens, max_size=num_tokens))
    shards = shards_of(lengths, learns)
    packed = PackedRows(shards, sequence_length, how=how)
    rows = Rows.stack(packed.row(number) for number in range(packed.num_rows))
    assert rows.inputs.shape == rows.targets.shape == rows.documents.shape == (packed.num_rows, sequence_length)
    filled, learnt = rows.documents >= 0, rows.targets != IGNORED
    assert not (learnt & ~filled).any()
    assert (rows.inputs[~filled] == 0).all()
    assert (rows.targets[learnt] == rows.inputs[learnt] + 1).all()
    # What is read as context of a next token, learnt or not: every token but a document's last.
    expected_inputs, expected_targets = Counter[int](), Counter[int]()
    for shard in shards:
        for number in range(len(shard)):
            ids = shard.document(number).tolist()
            expected_inputs.update(ids[:-1])
            expected_targets.update(token for token in ids[1:] if learns is None or learns[token])
    assert Counter(rows.inputs[filled].tolist()) == expected_inputs
    assert Counter(rows.targets[learnt].tolist()) == expected_targets
    assert packed.num_targets == int(learnt.sum()) == expected_targets.total()
    # A document's number goes with its tokens, and its tokens stand in a row without a gap.
    for number in range(packed.num_rows):
        shard = shards[int(np.searchsorted(packed.row_starts, number, side="right")) - 1]
        for document in set(rows.documents[number].tolist()) - {-1}:
            places = np.flatnonzero(rows.documents[number] == document)
            assert (np.diff(places) == 1).all()
            assert (np.diff(rows.inputs[number][places]) == 1).all()
            assert np.isin(rows.inputs[number][places], shard.document(document)).all()


@given(corpora, st.integers(1, 11))
@settings(max_examples=100, deadline=None)
def test_stream_pads_only_the_last_row_of_a_shard(lengths: list[list[int]], sequence_length: int) -> None:
    packed = PackedRows(shards_of(lengths), sequence_length)
    for number in range(packed.num_rows):
        if number + 1 not in packed.row_starts:
            assert (packed.row(number)[2] >= 0).all()


@given(documents, st.integers(1, 11))
@settings(max_examples=150, deadline=None)
def test_best_fit_cuts_only_what_is_longer_than_a_row_and_packs_as_the_plain_rule_does(lengths: list[int], sequence_length: int) -> None:
    packed = PackedRows([shard_of(lengths)], sequence_length, how="best_fit")
    rows = [packed.row(number)[2] for number in range(packed.num_rows)]
    for document, length in enumerate(lengths):
        pieces = sorted(int((row == document).sum()) for row in rows if document in row)
        full, rest = divmod(length - 1, sequence_length)
        assert pieces == [rest] * (rest > 0) + [sequence_length] * full
    assert sorted(int((row >= 0).sum()) for row in rows) == plain_best_fit_decreasing(lengths, sequence_length)


def plain_best_fit_decreasing(lengths: list[int], capacity: int) -> list[int]:
    """How full the bins are: each piece, the largest first, goes into the fullest bin that can hold it."""
    pieces = [min(capacity, length - 1 - start) for length in lengths for start in range(0, length - 1, capacity)]
    bins: list[int] = []
    for piece in sorted(pieces, reverse=True):
        fitting = [fill for fill in bins if fill + piece <= capacity]
        if fitting:
            bins.remove(max(fitting))
        bins.append(max(fitting, default=0) + piece)
    return sorted(bins)


def test_best_fit_of_documents_of_all_sizes_wastes_almost_nothing() -> None:
    lengths = np.random.default_rng(0).integers(2, 700, 20_000).tolist()
    packed = PackedRows([shard_of(lengths)], 512, how="best_fit")
    assert packed.num_targets / packed.num_rows / 512 > 0.999


@pytest.mark.parametrize("how", LAYOUTS)
@pytest.mark.timeout(20)
def test_a_million_documents_are_laid_out_quickly(how: str) -> None:
    """A rule that is quadratic anywhere would take hours."""
    lengths = np.random.default_rng(0).integers(2, 3000, 1_000_000)
    layout = LAYOUTS[how](np.concatenate(([0], np.cumsum(lengths))), 2048)
    assert int(layout.length.sum()) == int((lengths - 1).sum())
    filled = np.add.reduceat(layout.length, layout.starts[:-1])
    assert filled.max() == 2048
    assert filled.mean() > 0.995 * 2048


@pytest.mark.parametrize("how", LAYOUTS)
def test_rows_keep_their_numbers_when_a_shard_is_added(how: str) -> None:
    shards = shards_of([[5, 3, 9, 2], [4, 4], [7, 7, 7]])
    fewer, more = (PackedRows(shards[:count], 4, how=how) for count in (2, 3))
    assert more.row_starts[:3].tolist() == fewer.row_starts.tolist()
    assert more.target_starts[:3].tolist() == fewer.target_starts.tolist()
    for number in range(fewer.num_rows):
        assert all(np.array_equal(one, other) for one, other in zip(fewer.row(number), more.row(number)))
    beyond = more.row(fewer.num_rows)[0]
    assert beyond[0] >= shards[2].tokens[0]


@pytest.mark.parametrize("how", LAYOUTS)
def test_a_shard_without_documents_has_no_rows(how: str) -> None:
    packed = PackedRows([shard_of([]), shard_of([3])], 4, how=how)
    assert packed.row_starts.tolist() == [0, 0, 1]
    assert packed.row(0)[0].tolist() == [0, 1, 0, 0]


def test_what_is_only_read_is_read_and_not_predicted() -> None:
    packed = PackedRows([shard_of([6], learns=[0, 0, 0, 1, 1, 1])], 6)
    inputs, targets, numbers = packed.row(0)
    assert inputs.tolist() == [0, 1, 2, 3, 4, 0]
    assert targets.tolist() == [IGNORED, IGNORED, 3, 4, 5, IGNORED]
    assert numbers.tolist() == [0, 0, 0, 0, 0, -1]
    assert packed.num_targets == 3


def test_an_unknown_packing_is_told_the_nearest() -> None:
    with pytest.raises(UsageError) as caught:
        PackedRows([], 4, how="bestfit")
    assert "best_fit" in caught.value.hint


def test_a_document_keeps_one_number_and_neighbours_differ() -> None:
    _, _, numbers = PackedRows([shard_of([4, 3, 5])], 16).row(0)
    assert numbers.tolist() == [0] * 3 + [1] * 2 + [2] * 4 + [-1] * 7


def test_order_is_a_permutation_of_each_epoch_and_epochs_differ() -> None:
    def order_of(seed: int) -> Order:
        return Order([Source(PackedRows([shard_of([50] * 10)], 7))], seed)

    order = order_of(3)
    n = order.num_rows
    first, second = ([order.sample(k)[1] for k in range(e * n, (e + 1) * n)] for e in (0, 1))
    assert sorted(first) == sorted(second) == list(range(n))
    assert first != second
    assert first == [order_of(3).sample(k)[1] for k in range(n)]
    assert first != [order_of(4).sample(k)[1] for k in range(n)]


def test_samples_cross_an_epoch_without_a_gap() -> None:
    order = Order([Source(PackedRows([shard_of([50] * 4)], 7))], 1)
    n = order.num_rows
    across = order.samples(n - 2, 4).inputs
    assert (across == np.concatenate([order.samples(n - 2, 2).inputs, order.samples(n, 2).inputs])).all()
