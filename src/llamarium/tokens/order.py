"""The order in which training reads rows: several corpora, which may grow, as one sequence of numbered samples.

Takes: rows of each corpus with its weight and limit, a seed, and from which sample on there are how many shards.
Gives: sample k, out of these settings and k alone: a run's place in its data is one integer.
Does not know: steps, batches, ranks, models.

Two questions are answered apart. *Which source?* Each block of 65,536 samples has a fixed number of places for each source; they
are given out as Sainte-Laguë (1910) gives out seats, so that any stretch of samples has nearly the weights of the whole.
*Which of its rows?* A source is read in epochs, each a permutation of its rows drawn from the seed. Rows that are added
join the epoch that the source is in: what was read of it stays, what was not is shuffled anew together with the new rows.
"""

from __future__ import annotations

import itertools
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from llamarium.ground.errors import UsageError
from llamarium.tokens.packing import Row, Rows

BLOCK = 1 << 16


class NumberedRows(Protocol):
    """What an order asks of a corpus; `PackedRows` has it. Counts have one entry more than shards, the first is 0."""

    @property
    def row_starts(self) -> NDArray[np.int64]:
        """Rows before each shard, and of all."""

    @property
    def target_starts(self) -> NDArray[np.int64]:
        """Learnt targets before each shard, and of all."""

    @property
    def digests(self) -> list[str]:
        """A digest of each shard."""

    @property
    def num_documents(self) -> int:
        """Documents of all shards."""

    def row(self, number: int) -> Row:
        """Inputs, targets and document numbers of one row, each (T,)."""


@dataclass(frozen=True)
class Source:
    """A corpus in a mixture. `weight` is its share of the targets that are learnt, relative to the others'.

    After `max_epochs` (2.5: two and a half) it is read no more, and the others share its place. None: without end.
    """

    rows: NumberedRows
    weight: float = 1.0
    max_epochs: float | None = None
    name: str = ""

    def rows_wanted(self, shards: int) -> Fraction:
        """`weight` as a share of rows, which are unequally full: divided by the mean targets of a row of the first `shards`."""
        return Fraction(self.weight) * int(self.rows.row_starts[shards]) / int(self.rows.target_starts[shards])


@dataclass(frozen=True)
class Segment:
    """From sample `start` on, source i has its first ``shards[i]`` shards (0: it is not there yet)."""

    start: int
    shards: Sequence[int]


class Order:
    """The sequence of samples that training sees.

    With one source that does not grow, sample k is row ``permutation(seed, epoch)[k mod rows]``.
    `end` is the first sample that does not exist because every source has met its `max_epochs`; None: there is no last one.
    """

    def __init__(self, sources: Sequence[Source], seed: int, segments: Sequence[Segment] = ()) -> None:
        """Order `sources`, whose shards are there from the first sample on, or else since the `segments` say.

        A segment changes nothing before its start. `UsageError` for sources that cannot be mixed; `ValueError` for segments
        that do not rise, or start where there is nothing left to read.
        """
        self.sources = list(sources)
        self.seed = seed
        self.segments = list(segments) or [Segment(0, [len(source.rows.row_starts) - 1 for source in sources])]
        self.end: int | None = None
        _check(self.sources, self.segments)
        self._readings = [_Reading(seed, number) for number in range(len(self.sources))]
        self._phases: list[_Phase] = []
        reads = [0] * len(self.sources)
        for number, segment in enumerate(self.segments):
            stop = self.segments[number + 1].start if number + 1 < len(self.segments) else None
            for reading, source, shards, done in zip(self._readings, self.sources, segment.shards, reads, strict=True):
                reading.grow(int(source.rows.row_starts[shards]), reads=done, segment=number)
            reads = self._plan(segment, reads, stop)
        self._starts = [phase.start for phase in self._phases]

    def _plan(self, segment: Segment, reads: list[int], stop: int | None) -> list[int]:
        """Add the phases of a segment: one until a source meets its limit, then one without it. What has been read at `stop`."""
        start = segment.start
        while stop is None or start < stop:
            left = [reading.left(done, source.max_epochs) for reading, source, done in zip(self._readings, self.sources, reads)]
            weights = [
                source.rows_wanted(shards) if more else Fraction() for source, shards, more in zip(self.sources, segment.shards, left)
            ]
            if not any(weights):
                if stop is not None:
                    raise ValueError(f"a segment starts at sample {stop}, but there is nothing to read after sample {start}")
                self.end = start
                break
            phase = _Phase(start, reads, _mixture(_shares(weights, BLOCK)))
            self._phases.append(phase)
            # The phase ends after the last read that is left to one of its sources.
            lengths = [phase.mixture.length(number, more) for number, more in enumerate(left) if more]
            ends = [start + length for length in lengths if length is not None]
            if stop is None and not ends:
                break
            start = min([*ends, *([] if stop is None else [stop])])
            reads = phase.reads_before(start)
        return reads

    def sample(self, number: int) -> tuple[int, int]:
        """Source, and row within it, of the sample with this number. `IndexError` from `end` on."""
        phase = self._phase(number)
        source, read = phase.read(number)
        return source, self._readings[source].row(read)

    def samples(self, first: int, count: int) -> Rows:
        """Samples `first` … `first + count - 1`."""
        return self.take(range(first, first + count))

    def take(self, numbers: Iterable[int]) -> Rows:
        """The samples with these numbers, in the order given: what one of several readers has to read."""
        places = [self.sample(number) for number in numbers]
        return Rows.stack(self.sources[source].rows.row(row) for source, row in places)

    def reads(self, samples_consumed: int) -> list[int]:
        """How many rows of each source are among the first samples."""
        if samples_consumed == 0:
            return [0] * len(self.sources)
        return self._phase(samples_consumed - 1).reads_before(samples_consumed)

    def epochs(self, samples_consumed: int) -> list[float]:
        """How often each source has been read after the first samples; 1.5 is once and a half."""
        return [reading.epochs(done) for reading, done in zip(self._readings, self.reads(samples_consumed))]

    @property
    def num_rows(self) -> int:
        """Rows of all sources with all their shards: with one source, those of one epoch."""
        return sum(int(source.rows.row_starts[shards]) for source, shards in zip(self.sources, self.segments[-1].shards))

    @property
    def digests(self) -> list[list[str]]:
        """For each source the digests of its shards: what must be unchanged for sample k to be what it was."""
        return [source.rows.digests for source in self.sources]

    def _phase(self, number: int) -> _Phase:
        if number < 0 or (self.end is not None and number >= self.end):
            raise IndexError(f"there is no sample {number}: they end before {self.end}")
        return self._phases[bisect_right(self._starts, number) - 1]


@dataclass(frozen=True)
class _Growth:
    """From its read `since` on, a source has `rows` rows, and is in an epoch `epoch` that began with its read `begun`."""

    since: int
    rows: int
    epoch: int
    begun: int
    segment: int


class _Reading:
    """One source as the sequence of its reads: epoch after epoch, each a permutation of the rows that are there."""

    def __init__(self, seed: int, source: int) -> None:
        self.seed, self.source = seed, source
        self.growths: list[_Growth] = []
        self._current: tuple[tuple[int, int], NDArray[Any]] | None = None

    def grow(self, rows: int, *, reads: int, segment: int) -> None:
        """Let there be `rows` rows from the read `reads` on."""
        if rows == (self.growths[-1].rows if self.growths else 0):
            return
        if reads == 0:
            self.growths = [_Growth(0, rows, 0, 0, segment)]
            return
        last = self.growths[-1]
        passed, place = divmod(reads - last.begun, last.rows)
        if place == 0:  # between two epochs, rows join the one that has passed: what is new is read before all is read again
            passed -= 1
        self.growths.append(_Growth(reads, rows, last.epoch + passed, last.begun + passed * last.rows, segment))

    def row(self, read: int) -> int:
        """Row of this read."""
        which = bisect_right(self.growths, read, key=lambda growth: growth.since) - 1
        growth = self.growths[which]
        passed, place = divmod(read - growth.begun, growth.rows)
        key = which, growth.epoch + passed
        if self._current is None or self._current[0] != key:
            self._current = None  # one epoch in memory at a time
            self._current = key, self._order(*key)
        return int(self._current[1][place])

    def epochs(self, reads: int) -> float:
        """How many epochs these reads are."""
        which = bisect_right(self.growths, reads - 1, key=lambda growth: growth.since) - 1
        return 0.0 if which < 0 else self.growths[which].epoch + (reads - self.growths[which].begun) / self.growths[which].rows

    def left(self, reads: int, max_epochs: float | None) -> float:
        """How many more rows may be read after `reads`, with the rows that are there now; infinity without a limit."""
        if not self.growths:
            return 0
        if max_epochs is None:
            return float("inf")
        last = self.growths[-1]
        return max(0, last.begun + round((Fraction(max_epochs) - last.epoch) * last.rows) - reads)

    def _order(self, which: int, epoch: int) -> NDArray[Any]:
        """Rows of an epoch in the order that the growth `which` leaves them in."""
        first = which  # the growth with whose rows the epoch began; what came later joined it
        while first > 0 and self.growths[first].epoch == epoch:
            first -= 1
        num_rows = self.growths[first].rows
        kind = np.uint32 if self.growths[which].rows <= 1 << 32 else np.int64  # half the memory, the same numbers
        order: NDArray[Any] = self._generator(epoch).permutation(np.arange(num_rows, dtype=kind))
        for growth in self.growths[first + 1 : which + 1]:
            read = growth.since - growth.begun
            rest = np.concatenate([order[read:], np.arange(len(order), growth.rows, dtype=kind)])
            order = np.concatenate([order[:read], self._generator(epoch, growth.segment).permutation(rest)])
        return order

    def _generator(self, epoch: int, segment: int = 0) -> np.random.Generator:
        others = [self.source, segment] if self.source or segment else []
        return np.random.Generator(np.random.PCG64([self.seed, epoch, *others]))


@dataclass(frozen=True)
class _Mixture:
    """A block of places, `counts[i]` of them for source i."""

    counts: tuple[int, ...]
    sources: NDArray[np.int64]  # of each place
    ranks: NDArray[np.int64]  # of each place among those of its source
    places: tuple[NDArray[np.int64], ...]  # of each source

    def length(self, source: int, reads: float) -> int | None:
        """How many places pass until the source has had `reads` of them."""
        if reads == float("inf"):
            return None
        blocks, rank = divmod(int(reads) - 1, self.counts[source])
        return blocks * len(self.sources) + int(self.places[source][rank]) + 1


@lru_cache(maxsize=64)
def _mixture(counts: tuple[int, ...]) -> _Mixture:
    """Spread the places of each source evenly: its place r of n is due after the share (r + 1/2) / n of the block; the earliest is next.

    The number of places that a source has had never differs from its share by as much as half the number of sources and a half.
    """
    sources = np.repeat(np.arange(len(counts)), counts)
    ranks = np.concatenate([np.arange(count) for count in counts])
    due = (ranks + 0.5) / np.repeat(counts, counts)
    order = np.argsort(due, kind="stable")
    places = tuple(np.flatnonzero(sources[order] == number) for number in range(len(counts)))
    return _Mixture(counts, sources[order], ranks[order], places)


def _shares(weights: Sequence[Fraction], size: int) -> tuple[int, ...]:
    """`size` places by weight: the largest remainders round up, no weight above 0 goes without.

    >>> _shares([Fraction(7), Fraction(2), Fraction(1)], 8)
    (6, 1, 1)
    """
    total = sum(weights)
    exact = [weight / total * size for weight in weights]
    counts = [max(int(share), 1) if share else 0 for share in exact]
    while (missing := size - sum(counts)) != 0:
        if missing > 0:
            counts[max(range(len(counts)), key=lambda number: exact[number] - counts[number])] += 1
        else:
            counts[max(range(len(counts)), key=lambda number: counts[number] - exact[number] if counts[number] > 1 else -size)] -= 1
    return tuple(counts)


@dataclass(frozen=True)
class _Phase:
    """Samples from `start` on, mixed in one way. Before them, `reads[i]` rows of source i were read."""

    start: int
    reads: list[int]
    mixture: _Mixture

    def read(self, sample: int) -> tuple[int, int]:
        """Source of a sample, and the number of the read within it."""
        block, place = divmod(sample - self.start, len(self.mixture.sources))
        source = int(self.mixture.sources[place])
        return source, self.reads[source] + block * self.mixture.counts[source] + int(self.mixture.ranks[place])

    def reads_before(self, sample: int) -> list[int]:
        """How many rows of each source were read before a sample."""
        blocks, place = divmod(sample - self.start, len(self.mixture.sources))
        begun = [int(np.searchsorted(places, place)) for places in self.mixture.places]
        return [done + blocks * count + more for done, count, more in zip(self.reads, self.mixture.counts, begun)]


def _check(sources: Sequence[Source], segments: Sequence[Segment]) -> None:
    if not 0 < len(sources) <= BLOCK:
        raise UsageError(f"{len(sources)} corpora cannot be mixed.", hint=f"Name one to {BLOCK:,}.")
    for number, source in enumerate(sources):
        name = f"The corpus {source.name or number}"
        if not 0 < source.weight < float("inf"):
            raise UsageError(f"{name} has the weight {source.weight}.", hint="Give it a number above 0, or leave it out.")
        if source.max_epochs is not None and not 0 < source.max_epochs < float("inf"):
            raise UsageError(f"{name} is to be read {source.max_epochs} times.", hint="Give a number above 0, or none for no limit.")
        for segment in segments:
            if source.rows.row_starts[segment.shards[number]] and not source.rows.target_starts[segment.shards[number]]:
                raise UsageError(f"{name} has nothing to learn from.", hint="Prepare it from text that is not only read.")
    if segments[0].start != 0:
        raise ValueError("the first segment starts at sample 0")
    for before, after in itertools.pairwise(segments):
        if after.start < before.start or any(more < fewer for fewer, more in zip(before.shards, after.shards, strict=True)):
            raise ValueError("segments rise, and no shards are taken away")
