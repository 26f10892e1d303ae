from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llamarium.text import leaks
from llamarium.text.leaks import FEWEST_SHINGLES, holding, leaking
from llamarium.text.shingles import Shingles, offsets_of, shingles

SETS = st.lists(st.sets(st.integers(0, 30), max_size=14), max_size=7)


def sets_of(sets: list[set[int]]) -> Shingles:
    # Spread over all 64 bits, as hashes are: the table of bits looks at the highest.
    arrays = [np.sort(np.array(sorted(found), dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)) for found in sets]
    empty = np.empty(0, dtype=np.uint64)
    return Shingles(np.concatenate([empty, *arrays]), offsets_of(np.array([len(found) for found in sets], dtype=np.int64)))


@given(SETS, SETS)
@settings(deadline=None)
def test_pairs_are_those_that_sets_say(documents: list[set[int]], judges: list[set[int]]) -> None:
    expected = [
        (number, other)
        for number, document in enumerate(documents)
        for other, judge in enumerate(judges)
        if len(judge) >= FEWEST_SHINGLES and len(document & judge) > len(judge) / 2
    ]
    ((document, text),) = holding([sets_of(documents)], sets_of(judges))
    assert list(zip(document.tolist(), text.tolist(), strict=True)) == expected


@given(SETS, SETS)
@settings(deadline=None)
def test_a_text_leaks_from_all_training_together(training: list[set[int]], judges: list[set[int]]) -> None:
    whole = set().union(*training)
    found = leaking(sets_of(judges), iter([sets_of([one]).hashes for one in training]))
    assert found.tolist() == [len(judge & whole) > len(judge) / 2 for judge in judges]


def test_a_question_with_its_answer_is_found_in_a_page() -> None:
    items = [
        "Which animal carries loads over the high passes of the Andes? The llama does.",
        "南美洲安第斯山区的人们用哪一种动物驮运货物？答案是羊驼。",
    ]
    page = f"Quiz, with solutions: {items[0]} {' '.join(f'word{number}' for number in range(500))}"
    pages = ["Llamas live in the Andes and carry loads.", page, f"题目：{items[1]}"]
    ((document, text),) = holding([shingles(pages)], shingles(items))
    assert (document.tolist(), text.tolist()) == ([1, 2], [0, 1])


def test_control_without_its_table_of_bits_nothing_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leaks._Wanted, "held", lambda self, hashes: np.empty(0, dtype=np.int64))
    texts = shingles(["one two three four five six seven eight nine ten"])
    assert not leaking(texts, iter([texts.hashes])).any()


def test_neighbours_in_the_table_are_told_apart() -> None:
    """Hashes that share their highest bits are not one."""
    sets = [{number} for number in range(30)]
    low = Shingles(np.arange(30, dtype=np.uint64), offsets_of(np.ones(30, dtype=np.int64)))
    assert not leaking(low, iter([np.arange(30, 60, dtype=np.uint64)])).any()
    assert leaking(low, iter([np.arange(30, dtype=np.uint64)])).all()
    assert [b - a for a, b in pairwise(sets_of(sets).offsets.tolist())] == [1] * 30
