from __future__ import annotations

import io
import itertools
import random
import resource
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llamarium.ground import progress
from llamarium.text import near
from llamarium.text.minhash import band_keys
from llamarium.text.near import Sketch, near_duplicates, resemblance, sketch
from llamarium.text.shingles import Shingles, offsets_of, shingles

WORDS = [f"word{number}" for number in range(3000)]
CHARACTERS = [chr(0x4E00 + number) for number in range(3000)]


def document(source: random.Random, *, length: int, chinese: bool) -> list[str]:
    return source.choices(CHARACTERS if chinese else WORDS, k=length)


def edited(words: Sequence[str], source: random.Random, *, share: float) -> list[str]:
    """Words at random places are others."""
    return [source.choice(CHARACTERS + WORDS) if source.random() < share else word for word in words]


def replaced(words: Sequence[str], source: random.Random, *, share: float) -> list[str]:
    """One span is others."""
    length = max(1, round(share * len(words)))
    start = source.randrange(len(words) - length + 1)
    return [*words[:start], *source.choices(CHARACTERS + WORDS, k=length), *words[start + length :]]


def planted(seed: int, *, chinese: bool) -> list[str]:
    """Documents, some with one or two copies that were changed in one of the ways there are, shuffled."""
    source = random.Random(seed)
    made = []
    for _ in range(120):
        words = document(source, length=source.randint(20, 250), chinese=chinese)
        made.append(words)
        if source.random() < 0.6:
            made.append(edited(words, source, share=source.choice([0.01, 0.02, 0.05])))
            made.append(replaced(words, source, share=source.choice([0.05, 0.1, 0.2])))
    source.shuffle(made)
    return [("" if chinese else " ").join(words) for words in made]


def slow(texts: Sequence[str], *, threshold: float = 0.8) -> list[int]:
    """Compares every text with every other."""
    sets = [set(found.tolist()) for found in shingles(texts)]
    groups = list(range(len(texts)))
    for second in range(len(texts)):
        for first in range(second):
            union = len(sets[first] | sets[second])
            if union and len(sets[first] & sets[second]) / union >= threshold and groups[first] != groups[second]:
                old, new = max(groups[first], groups[second]), min(groups[first], groups[second])
                groups = [new if group == old else group for group in groups]
    members = {group: [number for number, its in enumerate(groups) if its == group] for group in groups}
    best = {group: max(found, key=lambda number: (len(texts[number]), -number)) for group, found in members.items()}
    return [best[group] for group in groups]


@pytest.mark.parametrize("chinese", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_the_same_is_found_as_by_comparing_each_with_each(seed: int, chinese: bool) -> None:
    texts = planted(seed, chinese=chinese)
    wanted = slow(texts)
    assert 20 < sum(number != chosen for number, chosen in enumerate(wanted)) < 140
    assert near_duplicates([sketch(texts)], [len(text) for text in texts]).tolist() == wanted


@pytest.mark.parametrize("threshold", [0.5, 0.7, 0.95, 1.0])
def test_the_threshold_is_met_exactly(threshold: float) -> None:
    source = random.Random(1)
    words = document(source, length=23, chinese=False)  # 19 shingles: sets of 10 to 19 of them resemble by tenths of 19
    texts = [" ".join(words[:length]) for length in range(5, 24)]
    found = near_duplicates([sketch(texts)], [len(text) for text in texts], threshold=threshold).tolist()
    assert found == slow(texts, threshold=threshold)


@given(st.data())
@settings(deadline=None, max_examples=30)
def test_partitions_play_no_part(data: st.DataObject) -> None:
    texts = [*planted(data.draw(st.integers(0, 3)), chinese=data.draw(st.booleans()))[:60], "", "!", "", "羊", "羊"]
    random.Random(data.draw(st.integers(0, 9))).shuffle(texts)
    lengths = [len(text) for text in texts]
    whole = near_duplicates([sketch(texts)], lengths).tolist()
    borders = [0, *sorted(data.draw(st.lists(st.integers(0, len(texts)), max_size=6))), len(texts)]
    parts = [sketch(texts[start:end]) for start, end in itertools.pairwise(borders)]
    assert near_duplicates(parts, lengths).tolist() == whole


@pytest.mark.parametrize("most", [1, 7, 100])
def test_little_memory_changes_nothing(most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = planted(5, chinese=True)
    lengths = [len(text) for text in texts]
    whole = near_duplicates([sketch(texts)], lengths).tolist()
    monkeypatch.setattr(near, "_MOST_PAIRS", most)
    monkeypatch.setattr(near, "_MOST_HASHES", most)
    assert near_duplicates([sketch(texts[:50]), sketch(texts[50:])], lengths).tolist() == whole


def test_a_sketch_on_the_disk_is_the_same_and_its_keys_are_not_mapped(tmp_path: Path) -> None:
    texts = [*planted(2, chinese=False), ""]
    lengths = [len(text) for text in texts]
    parts = [sketch(texts[:40]), sketch([]), sketch([""]), sketch(texts[40:41]), sketch(texts[41:])]
    lengths.insert(40, 0)
    opened = []
    for number, part in enumerate(parts):
        part.save(tmp_path / str(number))
        opened.append(Sketch.open(tmp_path / str(number)))
        assert all(isinstance(getattr(opened[-1], name), np.memmap) for name in ("hashes", "offsets", "keys"))
        for band in (0, 31):
            assert near._column(opened[-1].keys, band).tolist() == part.keys[:, band].tolist()
            assert not isinstance(near._column(opened[-1].keys, band).base, np.memmap)
    assert near_duplicates(opened, lengths).tolist() == near_duplicates(parts, lengths).tolist()
    assert sorted(path.name for path in (tmp_path / "0").iterdir()) == ["hashes.npy", "keys.npy", "offsets.npy"]


def test_the_longest_stays_and_of_those_the_first() -> None:
    words = document(random.Random(3), length=80, chinese=False)
    text = " ".join(words)
    texts = ["something else that is here", text, text + " more", text.upper(), text + " MORE", text + "!"]
    assert near_duplicates([sketch(texts)], [len(text) for text in texts]).tolist() == [0, 2, 2, 2, 2, 2]
    assert near_duplicates([sketch(texts)], [1] * 6).tolist() == [0, 1, 1, 1, 1, 1]


def test_a_chain_is_one_group() -> None:
    words = document(random.Random(4), length=140, chinese=True)
    texts = ["".join(words[start : start + 100]) for start in range(0, 40, 5)]
    assert near_duplicates([sketch(texts)], [100] * len(texts)).tolist() == [0] * len(texts)
    assert near_duplicates([sketch([texts[0], texts[-1]])], [100, 100]).tolist() == [0, 1]


def test_signs_alone_are_like_nothing() -> None:
    texts = ["", "!!!", "?", "", "羊", "羊"]
    assert near_duplicates([sketch(texts)], [9, 9, 9, 9, 1, 1]).tolist() == [0, 1, 2, 3, 4, 4]
    assert near_duplicates([], []).tolist() == []


def sketch_of(sets: Sequence[np.ndarray]) -> Sketch:
    found = Shingles(np.concatenate([np.unique(one) for one in sets]), offsets_of(np.array([len(np.unique(one)) for one in sets])))
    return Sketch(found.hashes, found.offsets, band_keys(found))


def boilerplate(count: int) -> tuple[Sketch, list[tuple[int, int]]]:
    """Documents of 160 of the same 200 shingles (J = 0.66, hardly a key that is not in a long run), and pairs that share all but 10."""
    source = np.random.default_rng(6)
    common = source.integers(0, 2**64, 200, dtype=np.uint64)
    sets = [source.choice(common, 160, replace=False) for _ in range(count)]
    pairs = []
    for number in range(0, count, 20):
        copy = sets[number].copy()
        copy[source.choice(len(copy), 10, replace=False)] = source.choice(common, 10)
        pairs.append((number, len(sets)))
        sets.append(copy)
    return sketch_of(sets), pairs


def test_long_runs_cost_little_and_what_is_far_apart_in_them_is_found() -> None:
    found, pairs = boilerplate(1000)
    longest = [int(np.unique(found.keys[:, band], return_counts=True)[1].max()) for band in range(32)]
    assert min(longest) > 100
    num_compared = 0
    compare = near.resemblance

    def counted(sets: Shingles, pairs: np.ndarray) -> np.ndarray:
        nonlocal num_compared
        num_compared += pairs.shape[1]
        return compare(sets, pairs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(near, "resemblance", counted)
        chosen = near_duplicates([found], found.shingles.sizes)
    num_found = sum(chosen[first] == chosen[second] for first, second in pairs)
    assert num_found == len(pairs) == 50
    assert len(set(chosen.tolist())) == 1000
    assert num_compared < 110 * len(found)  # each with each would be 525 times as many as there are documents


def test_control_verifying_is_what_keeps_boilerplate_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(near, "resemblance", lambda sets, pairs: np.ones(pairs.shape[1]))
    found, _ = boilerplate(300)
    assert len(set(near_duplicates([found], found.shingles.sizes).tolist())) < 10


def test_many_copies_of_one_text_are_one_group_in_bounded_memory() -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    one = np.arange(20, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    found = Shingles(np.tile(np.sort(one), 100_000), np.arange(100_001) * 20)
    keys = np.repeat(band_keys(Shingles(np.sort(one), np.array([0, 20]))), 100_000, axis=0)
    assert set(near_duplicates([Sketch(found.hashes, found.offsets, keys)], np.ones(100_000, dtype=np.int64)).tolist()) == {0}
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 400_000  # kB


@given(st.lists(st.lists(st.integers(0, 12), max_size=9), min_size=1, max_size=6), st.integers(1, 3))
@settings(deadline=None)
def test_resemblance_is_jaccards(values: list[list[int]], batch_bits: int) -> None:
    sets = [np.unique(np.array(one, dtype=np.uint64)) << np.uint64(40) for one in values]
    found = Shingles(np.concatenate(sets), offsets_of(np.array([len(one) for one in sets])))
    pairs = np.array([(first, second) for first in range(len(sets)) for second in range(len(sets))]).T
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(near, "_BATCH", 1 << batch_bits)
        result = resemblance(found, pairs)
    for first, second, value in zip(*pairs.tolist(), result.tolist(), strict=True):
        left, right = set(values[first]), set(values[second])
        assert value == (len(left & right) / len(left | right) if left | right else 0)


def test_progress_is_shown() -> None:
    stream = io.StringIO()
    progress.use(progress.Plain(stream, interval=0))
    try:
        near_duplicates([sketch(["one two three", "one two three"])], [1, 1])
    finally:
        progress.use(progress.Silent())
    assert "Comparing near-duplicates: 100%" in stream.getvalue()
