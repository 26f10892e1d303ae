from __future__ import annotations

import hashlib
import random
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llamarium.text import split as splitting
from llamarium.text.leaks import leaking
from llamarium.text.shingles import Shingles, offsets_of, shingles
from llamarium.text.split import Split, choose, leaky, near_copies, sampled, split

WORDS = [f"word{number}" for number in range(3000)]
CHARACTERS = [chr(0x4E00 + number) for number in range(3000)]


def document(seed: int, *, length: int = 120, chinese: bool = False) -> list[str]:
    return random.Random(seed).choices(CHARACTERS if chinese else WORDS, k=length)


def near_copy(words: list[str], seed: int) -> list[str]:
    """One word in twenty is another: three quarters of the 5-grams stay."""
    source = random.Random(seed)
    pool = WORDS if words[0] in WORDS else CHARACTERS
    return [source.choice(pool) if source.random() < 0.05 else word for word in words]


def planted(*, chinese: bool = False) -> tuple[list[str], list[int]]:
    """90 documents of which 40 come with two near-copies each, shuffled; and the original of each."""
    join = "".join if chinese else " ".join
    made = []
    for number in range(90):
        words = document(number, chinese=chinese)
        made.append((join(words), number))
        if number < 40:
            made += [(join(near_copy(words, 1000 * number + copy)), number) for copy in (1, 2)]
    random.Random(0).shuffle(made)
    return [text for text, _ in made], [number for _, number in made]


def chosen(texts: Sequence[str], **options: float) -> Split:
    return split(shingles(texts), digests(texts), lengths(texts), **options)  # type: ignore[arg-type]


def digests(texts: Sequence[str]) -> np.ndarray[tuple[int, int], np.dtype[np.uint8]]:
    return np.array([list(hashlib.sha256(text.encode()).digest()) for text in texts], dtype=np.uint8).reshape(len(texts), 32)


def lengths(texts: Sequence[str]) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return np.array(list(map(len, texts)), dtype=np.int64)


def leak(sets: Shingles, valid: Any) -> float:
    """Share of the validation documents that leak from all others."""
    rest = np.setdiff1d(np.arange(len(sets)), valid)
    return float(leaking(sets.of(np.array(valid, dtype=np.int64)), iter(sets.of(rest))).mean()) if len(valid) else 0.0


def sets_of(*arrays: np.ndarray[tuple[int], np.dtype[np.uint64]]) -> Shingles:
    return Shingles(np.concatenate(arrays), offsets_of(np.array([len(array) for array in arrays])))


def sides(found: Split, originals: Sequence[int]) -> dict[int, set[bool]]:
    valid = set(found.valid.tolist())
    result: dict[int, set[bool]] = {}
    for index, original in enumerate(originals):
        result.setdefault(original, set()).add(index in valid)
    return result


@pytest.mark.parametrize("chinese", [False, True])
def test_near_copies_stay_on_one_side_and_nothing_leaks(chinese: bool) -> None:
    texts, originals = planted(chinese=chinese)
    found = chosen(texts)
    assert leak(shingles(texts), found.valid) == 0
    assert found.num_near_copies == 120
    assert found.num_held_back == 0
    assert all(len(side) == 1 for side in sides(found, originals).values())
    assert len({originals[index] for index in found.valid}) < len(found.valid), "no group of copies validates: this proves nothing"


@pytest.mark.parametrize("broken", ["neither", "groups", "holding back", "both"])
def test_control_each_net_holds_and_without_both_the_leak_is_seen(broken: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if broken in ("groups", "both"):
        monkeypatch.setattr(splitting, "near_copies", lambda sets, fewest: np.arange(len(sets)))
    if broken in ("holding back", "both"):
        monkeypatch.setattr(splitting, "leaky", lambda sets, groups: np.zeros(len(sets), dtype=np.bool_))
    texts, originals = planted()
    found = chosen(texts)
    if broken == "both":
        assert leak(shingles(texts), found.valid) > 0.3
        assert any(len(side) == 2 for side in sides(found, originals).values())
    else:
        assert leak(shingles(texts), found.valid) == 0
    if broken == "groups":
        assert found.num_held_back == 120  # the second net keeps them all in training


def test_what_is_put_together_from_training_text_may_not_validate() -> None:
    """No single document is near it, but all together hold it: grouping cannot see it."""
    texts = [" ".join(document(number)) for number in range(50)]
    patchwork = " ".join(word for number in range(10) for word in document(number)[:12])
    found = chosen([*texts, patchwork], valid_share=0.95)
    sets = shingles([*texts, patchwork])
    assert near_copies(sets)[50] == 50
    assert 50 not in found.valid
    assert found.num_held_back >= 1
    assert leak(sets, [50]) == 1


def test_one_leaky_document_holds_back_its_whole_group() -> None:
    def numbers(*ranges: range) -> np.ndarray[tuple[int], np.dtype[np.uint64]]:
        # Spread over all bits, as hashes are.
        return np.sort(np.array([number for one in ranges for number in one], dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15))

    sets = sets_of(
        numbers(range(100)), numbers(range(60), range(200, 245)), numbers(range(200, 245), range(300, 400)), numbers(range(500, 520))
    )
    groups = near_copies(sets)
    assert groups.tolist() == [0, 0, 2, 3]
    # The second has 45 of 105 outside its group, more than 40 %; the first has none, the third 45 of 145.
    assert leaky(sets, groups).tolist() == [True, True, False, False]


def test_order_plays_no_part() -> None:
    texts, _ = planted()
    first = {texts[index] for index in chosen(texts).valid}
    for seed in range(3):
        shuffled = random.Random(seed).sample(texts, len(texts))
        assert {shuffled[index] for index in chosen(shuffled).valid} == first


def test_a_tenth_of_the_characters_validates() -> None:
    texts = [" ".join(document(number, length=random.Random(number).randint(20, 200))) for number in range(400)]
    found = chosen(texts)
    share = sum(len(texts[index]) for index in found.valid) / sum(map(len, texts))
    assert 0.09 < share < 0.11
    assert len(chosen(texts, valid_share=0.3).valid) > 2 * len(found.valid)


def test_of_two_one_validates_and_of_one_none() -> None:
    texts = [" ".join(document(number)) for number in range(2)]
    assert len(chosen(texts).valid) == 1
    assert chosen(texts[:1]).valid.tolist() == []
    assert chosen([]).valid.tolist() == []


def test_copies_of_one_text_leave_nothing_to_validate() -> None:
    words = document(1)
    assert chosen([" ".join(near_copy(words, seed)) for seed in range(5)]).valid.tolist() == []


def test_a_licence_in_every_document_joins_nothing_and_costs_little() -> None:
    licence = document(999_999, length=60)
    texts = [" ".join(licence + document(number)) for number in range(2000)]
    start = time.process_time()
    found = chosen(texts)
    assert time.process_time() - start < 5
    assert found.num_near_copies == 0
    assert leak(shingles(texts), found.valid) == 0
    assert len(found.valid) == 200


def test_a_phrase_that_is_a_document_joins_nothing() -> None:
    phrase = "see the manual for more of this"
    texts = [phrase, *(phrase + " " + " ".join(document(number)) for number in range(20))]
    assert len(set(near_copies(shingles(texts)).tolist())) == len(texts)


TEXTS = st.lists(st.lists(st.sampled_from("abc"), max_size=14).map(" ".join), max_size=6)


def slow_shingles(text: str) -> set[tuple[str, ...]]:
    words = text.split()
    return {tuple(words[start : start + 5]) for start in range(max(1, len(words) - 4))} if words else set()


@given(TEXTS)
@settings(deadline=None)
def test_a_leak_is_what_sets_of_words_say(texts: list[str]) -> None:
    fast, slow = shingles(texts), list(map(slow_shingles, texts))
    for valid in range(len(texts)):
        rest = set().union(*(slow[other] for other in range(len(texts)) if other != valid))
        assert leak(fast, [valid]) == float(len(slow[valid] & rest) > 0.5 * len(slow[valid]))


@given(TEXTS)
@settings(deadline=None)
def test_any_texts_can_be_split(texts: list[str]) -> None:
    texts = [*texts, "", "!?", "羊"]
    assert leak(shingles(texts), chosen(texts).valid) == 0


def test_of_many_shingles_the_same_ones_are_looked_at_in_every_text() -> None:
    texts, _ = planted()
    sample, one_in = sampled(
        [shingles(texts[:50]), shingles(texts[50:])], total=len(shingles(texts).hashes), largest=len(shingles(texts).hashes) // 3
    )
    assert one_in == 4
    whole = shingles(texts)
    assert 0.8 < 4 * len(sample.hashes) / len(whole.hashes) < 1.2
    for few, many in zip(sample, whole, strict=True):
        assert np.isin(few, many).all()
    found = split(sample, digests(texts), lengths(texts), one_in=one_in)
    assert leak(whole, found.valid) == 0
    assert found.num_near_copies > 100  # of 120


def test_choose_takes_whole_groups() -> None:
    texts = ["a" * 50, "b" * 50, *("c" * 10 + str(number) for number in range(50))]
    groups = np.array([0, 0, *range(2, 52)])
    found = choose(digests(texts), lengths(texts), groups, np.zeros(52, dtype=np.bool_), valid_share=0.3)
    assert (0 in found) == (1 in found)


def test_pairs_that_are_counted_in_parts_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    texts, _ = planted()
    expected = near_copies(shingles(texts)).tolist()
    monkeypatch.setattr(splitting, "MOST_PAIRS", 100)
    assert near_copies(shingles(texts)).tolist() == expected
