from __future__ import annotations

import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llamarium.text import deduplicate
from llamarium.text.deduplicate import fingerprint, first_of, paragraphs, repeated_paragraphs, without_paragraphs

LONG = [f"Paragraph {number}. " + "The llama eats the grass of the high plains. " * 5 for number in range(4)]


def test_case_and_spacing_do_not_count() -> None:
    assert fingerprint(" The llama\n\neats\tgrass. ") == fingerprint("the LLAMA eats grass.")
    assert fingerprint("羊驼　吃草") == fingerprint("羊驼 吃草\n")
    assert fingerprint("The llama eats grass.") != fingerprint("The llama eats grass")


@given(st.text(alphabet="ab羊 \t\n\u3000\xa0\x1f\u2009\x85\ud800", max_size=60), st.integers(0, 20))
@settings(deadline=None)
def test_long_and_short_texts_lose_the_same_spaces(text: str, repeat: int) -> None:
    text *= repeat
    assert deduplicate._plain(text) == " ".join(text.split())


def test_every_space_is_known() -> None:
    spaces = {code for code in map(chr, range(sys.maxunicode + 1)) if code.isspace()}
    assert spaces == {*deduplicate._SPACES, " "}


@given(st.lists(st.lists(st.integers(0, 5), max_size=6), max_size=5), st.booleans())
@settings(deadline=None)
def test_the_first_copy_of_all_partitions_is_found(partitions: list[list[int]], by_the_end: bool) -> None:
    """`by_the_end`: the first bytes of all fingerprints are the same."""
    rows = np.random.default_rng(0).integers(0, 256, (6, 32), dtype=np.uint8)
    if by_the_end:
        rows[:, :31] = 7
        rows[:, 31] = range(6)
    everything = [value for part in partitions for value in part]
    found = first_of([rows[np.array(part, dtype=np.int64)] for part in partitions])
    assert found.tolist() == [everything.index(value) for value in everything]


@pytest.mark.parametrize("text", ["", "One.", "One.\n\nTwo.\n", "\n\n\nOne. \n \n\nTwo.\n\n", "\n\n" + "\n\n".join(LONG) + "\n\n\n"])
def test_a_text_without_repeated_paragraphs_is_unchanged(text: str) -> None:
    marks = paragraphs([text]).marks
    assert without_paragraphs(text, [False] * len(marks)) == text


def test_long_paragraphs_of_earlier_documents_go_and_the_rest_stays() -> None:
    texts = [
        f"Short.\n\n{LONG[0]}\n\n{LONG[0]}\n\nEnd.",  # twice in one document: nothing earlier has it
        f"Short.\n\n{LONG[1]}\n \n{LONG[0].upper()}\n\nEnd.",
        f"{LONG[1]}\n\n\nShort.\n\n{LONG[2]}",
        f"{LONG[0]}\n\n{LONG[2]}\n",
    ]
    found = repeated_paragraphs([paragraphs(texts[:1]), paragraphs([]), paragraphs(texts[1:])])
    assert [part.tolist() for part in found] == [[False, False], [], [False, True, True, False, True, True]]
    assert without_paragraphs(texts[0], found[0]) == texts[0]
    assert without_paragraphs(texts[1], found[2][0:2]) == f"Short.\n\n{LONG[1]}\n\nEnd."
    assert without_paragraphs(texts[2], found[2][2:4]) == f"Short.\n\n{LONG[2]}"
    assert without_paragraphs(texts[3], found[2][4:6]) == ""


@given(st.lists(st.lists(st.integers(0, 3), max_size=4), max_size=6), st.integers(0, 6))
@settings(deadline=None)
def test_repeated_paragraphs_are_those_that_a_set_has_seen(documents: list[list[int]], border: int) -> None:
    texts = ["\n\n".join(["A", *(LONG[number] for number in numbers)]) for numbers in documents]
    wanted = []
    seen: set[int] = set()
    for numbers in documents:
        wanted += [number in seen for number in numbers]
        seen.update(numbers)
    together = repeated_paragraphs([paragraphs(texts)])
    apart = repeated_paragraphs([paragraphs(texts[:border]), paragraphs(texts[border:])])
    assert [mark for part in together for mark in part.tolist()] == wanted
    assert [mark for part in apart for mark in part.tolist()] == wanted


def test_nothing_repeats_nothing() -> None:
    assert first_of([]).tolist() == []
    assert repeated_paragraphs([]) == []
