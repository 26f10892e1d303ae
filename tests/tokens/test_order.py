"""The order of samples is a function of settings and one number; it keeps its weights, limits and segments."""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from llamarium.ground.errors import UsageError
from llamarium.tokens import order as module
from llamarium.tokens.order import BLOCK, Order, Segment, Source
from llamarium.tokens.packing import IGNORED, PackedRows, Row, Rows
from llamarium.tokens.shards import Shard


def shard_of(lengths: list[int], first: int = 0) -> Shard:
    offsets = np.concatenate(([0], np.cumsum(lengths))).astype(np.int64)
    shard = Shard(Path("unused"), "uint32", f"{first}", offsets, np.zeros(len(lengths), np.int64))
    shard.__dict__["tokens"] = np.arange(first, first + int(offsets[-1]), dtype=np.uint32)
    return shard


def rows_of(counts: list[int], *, first: int = 0) -> PackedRows:
    """Rows of two pairs: for each shard so many."""
    return PackedRows([shard_of([2 * count + 1], first + 1000 * number) for number, count in enumerate(counts)], 2)


@dataclass
class Numbers:
    """Row numbers without rows, for long orders."""

    rows_of_shards: tuple[int, ...]
    targets_of_row: int = 10

    @property
    def row_starts(self) -> NDArray[np.int64]:
        return np.cumsum([0, *self.rows_of_shards])

    @property
    def target_starts(self) -> NDArray[np.int64]:
        return self.row_starts * self.targets_of_row

    @property
    def digests(self) -> list[str]:
        return []

    @property
    def num_documents(self) -> int:
        return 1

    def row(self, number: int) -> Row:
        raise AssertionError("these rows have no content")


# --- One source -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [0, 1, 2**32 + 5, 2**100])
@pytest.mark.parametrize("counts", [[1], [7, 5], [300]])
def test_one_corpus_is_read_as_it_always_was(counts: list[int], seed: int) -> None:
    rows = rows_of(counts)
    order = Order([Source(rows)], seed)
    n = rows.num_rows
    for epoch in (0, 1, 2, 70_000):
        expected = np.random.Generator(np.random.PCG64([seed, epoch])).permutation(n).tolist()
        found = [order.sample(epoch * n + place) for place in range(n)]
        assert found == [(0, row) for row in expected]
    assert order.end is None
    assert order.num_rows == n
    epochs = [np.random.Generator(np.random.PCG64([seed, epoch])).permutation(n) for epoch in (0, 1, 2, 3)]
    expected_rows = np.concatenate(epochs)[n - 1 : 2 * n + 1]
    a, b = order.samples(n - 1, n + 2), Rows.stack(rows.row(int(row)) for row in expected_rows)
    for one, other in ((a.inputs, b.inputs), (a.targets, b.targets), (a.documents, b.documents)):
        assert np.array_equal(one, other)
    part = order.take(range(n - 1, 2 * n + 1, 2))
    assert np.array_equal(part.inputs, a.inputs[::2])


def test_order_is_not_changed_by_what_was_asked_before() -> None:
    def build() -> Order:
        sources = [Source(rows_of([9, 4]), 0.6), Source(rows_of([5, 6], first=5000), 0.4, max_epochs=3)]
        return Order(sources, 3, [Segment(0, [1, 1]), Segment(11, [2, 2])])

    order = build()
    assert order.end is None
    straight = [order.sample(number) for number in range(120)]
    places = np.random.default_rng(0).permutation(120).tolist()
    assert [order.sample(number) for number in places] == [straight[number] for number in places]
    assert [build().sample(number) for number in (100, 3, 37)] == [straight[number] for number in (100, 3, 37)]


# --- Mixing -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("weights", [(0.7, 0.2, 0.1), (1000, 1), (1, 1), (3.0,), (1, 10, 100, 1000)], ids=str)
def test_shares_of_a_run_and_of_any_stretch_of_it(weights: tuple[float, ...]) -> None:
    order = Order([Source(Numbers((10**6,)), weight) for weight in weights], seed=1)
    expected = np.array(weights) / sum(weights)
    over = 5 * BLOCK
    assert np.abs(np.array(order.reads(over)) / over / expected - 1).max() < 0.01
    chosen = np.array([order.sample(number)[0] for number in range(3000)])
    counts = np.array([np.cumsum(chosen == number) for number in range(len(weights))])
    lengths = np.arange(1, 3001)
    assert np.abs(counts - expected[:, None] * lengths).max() < 2


def test_weights_are_shares_of_targets_not_of_rows() -> None:
    generator = np.random.default_rng(0)
    long = PackedRows([shard_of(generator.integers(40, 60, 40).tolist())], 64, how="best_fit")
    short = PackedRows([shard_of(generator.integers(3, 20, 400).tolist(), 10**5)], 64, how="best_fit")
    fill = [rows.num_targets / rows.num_rows / 64 for rows in (long, short)]
    assert fill[0] < 0.8
    assert fill[1] > 0.95
    order = Order([Source(long, 0.5), Source(short, 0.5)], seed=0)
    taken = order.samples(0, long.num_rows * short.num_rows)
    real = taken.targets[taken.targets != IGNORED]
    assert abs((real >= 10**5).mean() - 0.5) < 0.005
    rows = (taken.inputs[:, 0] >= 10**5).mean()
    assert abs(rows - fill[0] / (fill[0] + fill[1])) < 0.005


def test_a_source_of_hardly_any_weight_is_read_all_the_same() -> None:
    order = Order([Source(Numbers((10,)), 1e9), Source(Numbers((10,)), 1), Source(Numbers((10,)), 2)], seed=0)
    assert order.reads(BLOCK) == [BLOCK - 2, 1, 1]
    assert {order.sample(number)[0] for number in range(BLOCK)} == {0, 1, 2}


def test_sources_are_shuffled_differently() -> None:
    order = Order([Source(Numbers((50,))), Source(Numbers((50,)))], seed=0)
    both: dict[int, list[int]] = {0: [], 1: []}
    for number in range(100):
        source, row = order.sample(number)
        both[source].append(row)
    assert sorted(both[0]) == sorted(both[1]) == list(range(50))
    assert both[0] != both[1]


# --- Limits -----------------------------------------------------------------------------------------------------------


def test_a_source_that_met_its_limit_leaves_its_place_to_the_others() -> None:
    sources = [Source(Numbers((10,)), 0.5, 2), Source(Numbers((1000,)), 0.3), Source(Numbers((1000,)), 0.2)]
    order = Order(sources, seed=0)
    chosen = [order.sample(number)[0] for number in range(20_000)]
    last = max(number for number, source in enumerate(chosen) if source == 0)
    assert chosen.count(0) == 20
    assert 35 <= last <= 45
    after = Counter(chosen[last + 1 :])
    assert abs(after[1] / after.total() - 0.6) < 0.005
    assert order.end is None
    assert order.epochs(20_000)[0] == 2.0


@pytest.mark.parametrize(("max_epochs", "end"), [(1, 10), (2.5, 25), (0.25, 2), (0.1, 1), (0.04, 0)])
def test_an_order_ends_when_all_has_been_read_often_enough(max_epochs: float, end: int) -> None:
    order = Order([Source(Numbers((10,)), max_epochs=max_epochs)], seed=0)
    assert order.end == end
    assert order.reads(end) == [end]
    for number in (end, end + 1, -1):
        with pytest.raises(IndexError, match="no sample"):
            order.sample(number)


def test_the_end_of_several_sources_is_that_of_the_last() -> None:
    order = Order([Source(Numbers((10,)), 1, 3), Source(Numbers((7,)), 5, 2), Source(Numbers((4,)), 0.1, 1)], seed=0)
    assert order.end == 30 + 14 + 4
    seen = Counter(order.sample(number) for number in range(order.end))
    assert seen == Counter({(s, r): t for s, (n, t) in enumerate([(10, 3), (7, 2), (4, 1)]) for r in range(n)})
    assert order.epochs(order.end) == [3, 2, 1]


# --- Segments ---------------------------------------------------------------------------------------------------------


@given(st.lists(st.integers(1, 6), min_size=1, max_size=5), st.lists(st.integers(0, 25), max_size=5), st.integers(0, 9))
@settings(max_examples=100, deadline=None)
def test_growth_repeats_nothing_and_loses_nothing(shards: list[int], gaps: list[int], seed: int) -> None:
    """Within every epoch, grown or not, each row is read exactly once."""
    starts = [0, *itertools.accumulate(gaps)][: len(shards)]
    shards = shards[: len(starts)]
    rows = Numbers(tuple(shards))
    order = Order([Source(rows)], seed, [Segment(start, [number + 1]) for number, start in enumerate(starts)])
    unread: set[int] = set()
    for sample in range(starts[-1] + 3 * sum(shards)):
        for number, start in enumerate(starts):
            if start == sample:
                fresh = set(range(int(rows.row_starts[number]), int(rows.row_starts[number + 1])))
                unread = unread | fresh if sample else set(range(int(rows.row_starts[number + 1])))
        unread = unread or set(range(int(rows.row_starts[sum(start <= sample for start in starts)])))
        source, row = order.sample(sample)
        assert source == 0
        assert row in unread
        unread.remove(row)


def test_a_segment_changes_nothing_before_it_and_mixes_new_rows_into_the_rest() -> None:
    rows = Numbers((50, 50))
    plain, grown = Order([Source(Numbers((50,)))], 4), Order([Source(rows)], 4, [Segment(0, [1]), Segment(120, [2])])
    assert [plain.sample(k) for k in range(120)] == [grown.sample(k) for k in range(120)]
    after = [grown.sample(k)[1] for k in range(120, 120 + 80)]
    assert sorted(after) == sorted([plain.sample(k)[1] for k in range(120, 150)] + list(range(50, 100)))
    assert 15 <= sum(row >= 50 for row in after[:40]) <= 35  # not the new ones after the old ones
    assert grown.epochs(200) == [3.0]
    assert sorted(grown.sample(k)[1] for k in range(200, 300)) == list(range(100))
    other = Order([Source(rows)], 5, [Segment(0, [1]), Segment(120, [2])])
    assert after != [other.sample(k)[1] for k in range(120, 200)]


def test_what_was_read_often_enough_goes_on_with_its_new_rows_only() -> None:
    order = Order([Source(Numbers((10, 5)), max_epochs=1)], 0, [Segment(0, [1]), Segment(10, [2])])
    assert order.end == 15
    assert sorted(order.sample(k)[1] for k in range(10, 15)) == list(range(10, 15))


def test_rows_that_come_before_any_was_read_were_there_from_the_beginning() -> None:
    grown = Order([Source(Numbers((5, 5)))], 2, [Segment(0, [1]), Segment(0, [2])])
    whole = Order([Source(Numbers((10,)))], 2)
    assert [grown.sample(k) for k in range(30)] == [whole.sample(k) for k in range(30)]


def test_a_source_may_come_later() -> None:
    order = Order([Source(Numbers((10,))), Source(Numbers((10,)))], 0, [Segment(0, [1, 0]), Segment(25, [1, 1])])
    alone = Order([Source(Numbers((10,)))], 0)
    assert [order.sample(k) for k in range(25)] == [alone.sample(k) for k in range(25)]
    assert order.reads(45) == [35, 10]
    assert [order.sample(k)[1] for k in range(25, 45) if order.sample(k)[0] == 0] == [alone.sample(k)[1] for k in range(25, 35)]


# --- Everything at once, against a plain simulation --------------------------------------------------------------------


class Simulation:
    """One sample after the other, with sets of unread rows: which source is next, and which of its rows may come."""

    def __init__(self, sources: list[Source], segments: list[Segment], block: int) -> None:
        self.sources, self.segments, self.block = sources, segments, block
        self.rows = [0] * len(sources)  # that are there
        self.epochs = [0] * len(sources)  # finished
        self.unread: list[set[int]] = [set() for _ in sources]  # of the epoch that a source is in
        self.number = self.place = 0
        self.open: list[int] | None = None

    def _grow(self) -> None:
        for segment in self.segments:
            if segment.start != self.number:
                continue
            self.open = None  # a new mixture, even of the same sources
            for i, shards in enumerate(segment.shards):
                rows = int(self.sources[i].rows.row_starts[shards])
                fresh = set(range(self.rows[i], rows))
                started = self.epochs[i] > 0 or len(self.unread[i]) < self.rows[i]
                if fresh and started and not self.unread[i]:
                    self.epochs[i] -= 1  # the new rows join the epoch that has just passed
                self.unread[i] |= fresh
                self.rows[i] = rows
            self.current = segment

    def _left(self, i: int) -> int:
        limit = self.sources[i].max_epochs
        if not self.rows[i]:
            return 0
        if limit is None:
            return 1
        read = self.rows[i] - len(self.unread[i]) if self.unread[i] else 0
        return round((Fraction(limit) - self.epochs[i]) * self.rows[i]) - read

    def step(self, row_of: int | None = None) -> int | None:
        """Source of the next sample; None where there is none."""
        self._grow()
        now_open = [i for i in range(len(self.sources)) if self._left(i) > 0]
        if not now_open:
            return None
        if now_open != self.open:
            self.open, self.place = now_open, 0
        counts = self._counts()
        if self.place % self.block == 0:
            self.given = dict.fromkeys(counts, 0)
        self.place += 1
        self.number += 1
        # The seat goes to the party with the most votes for each half seat that it would then have.
        chosen = max(counts, key=lambda i: (Fraction(counts[i], 2 * self.given[i] + 1), -i))
        self.given[chosen] += 1
        return chosen

    def _counts(self) -> dict[int, int]:
        assert self.open is not None
        weights = {}
        for i in self.open:
            shards = self.current.shards[i]
            rows = self.sources[i].rows
            weights[i] = Fraction(self.sources[i].weight) * int(rows.row_starts[shards]) / int(rows.target_starts[shards])
        exact = {i: weights[i] / sum(weights.values()) * self.block for i in self.open}
        counts = {i: max(1, int(exact[i])) for i in self.open}
        assert sum(counts.values()) <= self.block, "weights so unequal are tested above"
        by_remainder = sorted(self.open, key=lambda i: (counts[i] - exact[i], i))
        for i in by_remainder[: self.block - sum(counts.values())]:
            counts[i] += 1
        return counts

    def read(self, i: int, row: int) -> None:
        if not self.unread[i]:
            self.unread[i] = set(range(self.rows[i]))
        assert row in self.unread[i]
        self.unread[i].remove(row)
        if not self.unread[i]:
            self.epochs[i] += 1


@st.composite
def mixtures(draw: st.DrawFn) -> tuple[list[Source], list[Segment]]:
    num_segments = draw(st.integers(1, 4))
    sources = []
    for _ in range(draw(st.integers(1, 4))):
        shards = tuple(draw(st.lists(st.integers(1, 9), min_size=num_segments, max_size=num_segments)))
        limit = draw(st.none() | st.sampled_from([0.5, 1.0, 1.75, 2.0, 3.0]))
        sources.append(Source(Numbers(shards, draw(st.integers(1, 3))), draw(st.integers(1, 4)), limit))
    starts = [0, *itertools.accumulate(draw(st.lists(st.integers(0, 30), min_size=num_segments - 1, max_size=num_segments - 1)))]
    shards_of_sources = [
        sorted(draw(st.lists(st.integers(0, num_segments), min_size=num_segments, max_size=num_segments))) for _ in sources
    ]
    return sources, [Segment(start, [of_source[number] for of_source in shards_of_sources]) for number, start in enumerate(starts)]


@given(mixtures(), st.integers(0, 3))
@settings(max_examples=300, deadline=None)
def test_mixtures_limits_and_segments_at_once(mixture: tuple[list[Source], list[Segment]], seed: int) -> None:
    sources, segments = mixture
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "BLOCK", 32)
        try:
            order = Order(sources, seed, segments)
        except ValueError:
            order = None
        simulation = Simulation(sources, segments, 32)
        reads = [0] * len(sources)
        for number in range(segments[-1].start + 150):
            expected = simulation.step()
            if expected is None:
                if number < segments[-1].start:
                    assert order is None  # a later segment would start behind the end
                else:
                    assert order is not None
                    assert order.end == number
                return
            if order is None:
                simulation.read(expected, _any_row(simulation, expected))
                continue
            assert order.end is None or number < order.end
            source, row = order.sample(number)
            assert source == expected
            simulation.read(source, row)
            reads[source] += 1
            assert order.reads(number + 1) == reads
        assert order is not None


def _any_row(simulation: Simulation, source: int) -> int:
    return min(simulation.unread[source] or range(simulation.rows[source]))


# --- Wrong use --------------------------------------------------------------------------------------------------------


def test_sources_that_cannot_be_mixed() -> None:
    good = Numbers((5,))
    for sources, word in (
        ([], "0 corpora"),
        ([Source(good), Source(good, 0, name="poems")], "poems has the weight 0"),
        ([Source(good, float("nan"))], "corpus 0 has the weight nan"),
        ([Source(good, max_epochs=0)], "0 times"),
        ([Source(Numbers((5,), targets_of_row=0))], "nothing to learn"),
    ):
        with pytest.raises(UsageError, match=word):
            Order(sources, 0)


@pytest.mark.parametrize(
    "segments",
    [
        [Segment(1, [1])],
        [Segment(0, [2]), Segment(5, [1])],
        [Segment(0, [1]), Segment(5, [2]), Segment(4, [2])],
        [Segment(0, [1]), Segment(50, [2])],  # behind the end
    ],
)
def test_segments_that_cannot_be(segments: list[Segment]) -> None:
    with pytest.raises(ValueError, match=r"segment|shards"):
        Order([Source(Numbers((5, 5)), max_epochs=2)], 0, segments)


def test_digests_of_each_source_are_there_in_the_order_of_its_shards() -> None:
    one, two = rows_of([3, 4]), rows_of([5], first=9000)
    assert Order([Source(one), Source(two)], 0).digests == [[shard.digest for shard in rows.shards] for rows in (one, two)]
    assert len({*one.digests, *two.digests}) == 3
