from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llamarium.apps.ask import postings as module
from llamarium.apps.ask.postings import B, Bm25, K, Postings, Segment, best

passages = st.lists(st.lists(st.sampled_from("abcdefgh"), max_size=20).map(Counter), min_size=1, max_size=30)


def put_in(texts: list[Counter[str]], *, apart: int = 1000) -> dict[str, Postings]:
    """Postings of texts, in segments of so many."""
    blobs: dict[str, list[bytes]] = {}
    for first in range(0, len(texts), apart):
        segment = Segment()
        for number, counts in enumerate(texts[first : first + apart], first + 1):
            segment.add(number, counts)
        for term, blob in segment.blobs():
            blobs.setdefault(term, []).append(blob)
    return {term: Postings.read(found) for term, found in blobs.items()}


def by_hand(texts: dict[int, Counter[str]], weights: dict[str, float]) -> dict[int, float]:
    """BM25 as the formula has it, one passage and one term at a time."""
    mean = max(sum(counts.total() for counts in texts.values()) / max(1, len(texts)), 1.0)
    scores = {}
    for number, counts in texts.items():
        scores[number] = 0.0
        for term, weight in weights.items():
            num = sum(bool(other[term]) for other in texts.values())
            rarity = math.log(1 + (len(texts) - num + 0.5) / (num + 0.5))
            penalty = K * (1 - B + B * counts.total() / mean)
            scores[number] += weight * rarity * counts[term] * (K + 1) / (counts[term] + penalty)
    return scores


@given(
    passages,
    st.integers(1, 10),
    st.sets(st.integers(1, 30)),
    st.dictionaries(st.sampled_from("abxy"), st.floats(0.1, 3)),
    st.tuples(st.integers(1, 5), st.sampled_from([0.0, 0.4])),
)
@settings(deadline=None)
def test_scores_are_the_formula(
    texts: list[Counter[str]], apart: int, gone: set[int], weights: dict[str, float], document: tuple[int, float]
) -> None:
    """A passage's own score, and a share of that of its document, of which so many passages are one."""
    size, share = document
    found = put_in(texts, apart=apart)
    left = {number: counts for number, counts in enumerate(texts, 1) if number not in gone}
    lengths = [counts.total() for counts in left.values()]
    documents = {number: number // size for number in left}
    bm25 = Bm25(np.array(list(left), np.uint32), np.array(lengths, np.float32), np.array(list(documents.values()), np.int64), share=share)
    scores = bm25.scores([(bm25.present(found.get(term, Postings.read([]))), weight) for term, weight in weights.items()])
    whole: dict[int, Counter[str]] = {}
    for number, counts in left.items():
        whole.setdefault(documents[number], Counter()).update(counts)
    expected, of_documents = by_hand(left, weights), by_hand(whole, weights)
    for number, score in enumerate(scores.tolist()):
        own = expected.get(number, 0.0)
        # A passage that has none of the terms is not found because its document has some.
        assert score == pytest.approx(own + share * of_documents[documents[number]] if own else 0.0, rel=1e-4, abs=1e-6)


@given(passages, st.integers(1, 10))
def test_what_is_written_is_read(texts: list[Counter[str]], apart: int) -> None:
    for term, found in put_in(texts, apart=apart).items():
        expected = {number: counts[term] for number, counts in enumerate(texts, 1) if counts[term]}
        assert dict(zip(found.passages.tolist(), found.counts.tolist(), strict=True)) == expected
        assert found.passages.tolist() == sorted(expected)
        assert Postings.read([found.blob()]).blob() == found.blob()


def test_a_term_that_is_there_very_often_counts_as_255() -> None:
    assert put_in([Counter({"a": 1000})])["a"].counts.tolist() == [255]


def test_passages_out_of_order() -> None:
    with pytest.raises(ValueError, match="order"):
        Postings.read([Postings(np.array([2, 2], np.uint32), np.array([1, 1], np.uint8)).blob()])


@pytest.mark.parametrize("length", [1, 4, 6, 13])
def test_half_a_posting(length: int) -> None:
    with pytest.raises(ValueError, match="half"):
        Postings.read([bytes(length)])


def test_frequent_terms_are_looked_up_for_the_leading_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first ones are those of the full sum, with their full scores."""
    random = np.random.default_rng(1)
    texts = [Counter({"common": 1 + int(random.integers(3)), "often": 1}) for _ in range(3000)]
    for number in random.choice(3000, 400, replace=False):
        texts[number]["rare"] += 1 + int(random.integers(4))
    found = put_in(texts)
    numbers = np.arange(1, 3001, dtype=np.uint32)
    bm25 = Bm25(numbers, np.array([counts.total() for counts in texts], np.float32), numbers.astype(np.int64), share=0)
    wanted = [(found[term], 1.0) for term in ("common", "often", "rare")]
    full = bm25.scores(wanted)
    monkeypatch.setattr(module, "ENOUGH", 500)
    monkeypatch.setattr(module, "LEADING", 200)
    quick = bm25.scores(wanted)
    assert np.count_nonzero(quick) < np.count_nonzero(full)
    first = best(full, 50)
    same = np.array_equal(first, best(quick, 50))
    assert same
    assert np.allclose(quick[quick > 0], full[quick > 0])


def test_among_some_passages_scores_are_those_among_all(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [Counter({"common": 1 + number % 3, "often": 1} | ({"rare": 1} if number % 10 == 0 else {})) for number in range(1000)]
    found = put_in(texts)
    numbers = np.arange(1, 1001, dtype=np.uint32)
    bm25 = Bm25(numbers, np.array([counts.total() for counts in texts], np.float32), numbers.astype(np.int64), share=0)
    wanted = [(found[term], 1.0) for term in ("common", "often", "rare")]
    in_tens = Bm25(numbers, np.array([counts.total() for counts in texts], np.float32), np.arange(1000) // 10, share=0.4)
    whole = in_tens.marked(np.arange(101, 401, dtype=np.uint32))
    assert np.allclose(in_tens.scores(wanted, among=whole), np.where(whole, in_tens.scores(wanted), 0))
    full = bm25.scores(wanted)
    some = bm25.marked(np.arange(2, 1001, 3, dtype=np.uint32))
    assert np.array_equal(bm25.scores(wanted, among=some), np.where(some, full, 0))
    monkeypatch.setattr(module, "ENOUGH", 50)
    monkeypatch.setattr(module, "LEADING", 20)
    for chosen in (some, bm25.marked(np.array([3, 7], np.uint32)), bm25.marked(np.array([], np.uint32))):
        quick = bm25.scores(wanted, among=chosen)
        assert np.allclose(quick[quick > 0], full[quick > 0])
        assert not quick[~chosen].any()
        assert np.array_equal(best(quick, 10), best(np.where(chosen, full, 0), 10))


@given(st.lists(st.integers(0, 5), min_size=1), st.integers(1, 10))
def test_best(values: list[int], limit: int) -> None:
    found = best(np.array(values, np.float32), limit)
    bound = sorted(values, reverse=True)[min(limit, len(values)) - 1]
    expected = [number for number, value in enumerate(values) if value > 0 and value >= bound]
    assert found.tolist() == sorted(expected, key=lambda number: -values[number])
