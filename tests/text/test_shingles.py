from __future__ import annotations

import re
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llamarium.text import shingles as shingling
from llamarium.text.shingles import WIDTH, Shingles, fold, shingles

CJK = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
WORD = re.compile(f"[{CJK}]|[^\\W{CJK}]+")

# Letters with and without case, in one, two, three and four bytes; signs; half a surrogate pair; characters that are words.
ALPHABET = "aAbß0_ .,\n\t\0éÉΣςσİıДд羊驼豆々あア・한가𠮷𝒜😀\ud800\u3000ﬁⅧ\u200b\u0301"
TEXTS = st.lists(st.text(alphabet=ALPHABET, max_size=40) | st.text(max_size=10), max_size=8)


def slow(text: str) -> set[tuple[str, ...]]:
    words = WORD.findall("".join(map(fold, text)))
    return {tuple(words[start : start + WIDTH]) for start in range(max(1, len(words) - WIDTH + 1))} if words else set()


def agree(fast: Shingles, texts: list[str]) -> None:
    """The hashes of all texts stand for the runs of words that a regular expression finds, one to one."""
    names: dict[tuple[str, ...], int] = {}
    assert len(fast) == len(texts)
    for text, found in zip(texts, fast, strict=True):
        wanted = slow(text)
        assert len(found) == len(wanted)
        assert bool((found[1:] > found[:-1]).all())
        for run in wanted:
            if run not in names:
                (names[run],) = set(shingles([" ".join(run)])[0].tolist())
        assert {names[run] for run in wanted} == set(found.tolist())
    assert len(set(names.values())) == len(names)


@given(TEXTS)
@settings(deadline=None, max_examples=200)
def test_they_are_the_runs_of_words_that_a_regular_expression_finds(texts: list[str]) -> None:
    agree(shingles(texts), texts)


@given(TEXTS)
@settings(deadline=None)
def test_a_text_has_the_same_ones_in_any_company(texts: list[str]) -> None:
    together = shingles(texts)
    alone = Shingles.joined(shingles([text]) for text in texts)
    assert together.hashes.tobytes() == alone.hashes.tobytes()
    assert together.offsets.tolist() == alone.offsets.tolist()


@pytest.mark.parametrize("word", ["羊", "驼 ", "llama ", "été·", "aб羊c "])
def test_long_texts_and_borders_of_blocks_change_nothing(word: str, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [f"{number}{word}" * (7 * number) for number in range(1, 40)] + ["", "one", "!", word * 3]
    whole = shingles(texts)
    for block in (64, 100, 333):
        monkeypatch.setattr(shingling, "_BLOCK", block)
        shingling._powers.cache_clear()
        found = shingles(texts)
        assert bool(np.array_equal(found.hashes, whole.hashes))
        assert found.offsets.tolist() == whole.offsets.tolist()
    monkeypatch.undo()
    shingling._powers.cache_clear()
    agree(whole, texts)


def test_a_word_without_end_is_cut_somewhere_and_no_error() -> None:
    assert len(shingles(["a" * (3 * shingling._BLOCK), "b"])) == 2


def test_case_does_not_count_and_every_code_point_has_its_kind() -> None:
    upper, lower = shingles(["One, two; three FOUR five Σ Ä", "one two three four five ς ä"])
    assert upper.tolist() == lower.tolist()
    kinds = shingling._tables()[1]
    every = "".join(map(chr, range(sys.maxunicode + 1)))
    letters = np.zeros(len(every), dtype=np.bool_)
    for found in re.finditer(f"[^\\W{CJK}]+", every):
        letters[found.start() : found.end()] = True
    assert bool(np.array_equal(kinds == shingling._LETTER, letters))
    assert all(fold(character) == character for character in every[shingling._LAST_CASED :])


def test_they_are_the_same_everywhere() -> None:
    (found,) = shingles(["one two three four five 羊"])
    assert [hex(value) for value in found.tolist()] == ["0xac96a758798e787c", "0xd0ac604d4a5474e3"]


def test_hashes_are_spread_evenly() -> None:
    """The highest and the lowest bits alike: others take the low half, or a range of the whole."""
    hashes = shingles(["".join(chr(0x4E00 + number) for number in range(20_000)), " ".join(map(str, range(20_000)))]).hashes
    assert len(hashes) == 2 * (20_000 - 4)
    for shift in (0, 16, 32, 48, 56):
        counts = np.bincount(((hashes >> np.uint64(shift)) & np.uint64(0xFF)).astype(np.int64), minlength=256)
        assert 90 < counts.min() <= counts.max() < 230  # 156 each, give or take five times 12.5


def test_a_sample_takes_the_same_ones_of_every_text() -> None:
    found = shingles(["one two three four five six seven eight nine ten", "", "two three four five six seven"])
    limit = np.uint64(sorted(found.hashes.tolist())[4])
    sample = found.below(limit)
    assert [text.tolist() for text in sample] == [[value for value in text.tolist() if value <= limit] for text in found]
    assert len(sample.hashes) in (5, 6)
    assert Shingles.joined([]).offsets.tolist() == [0]
    assert found.sizes.tolist() == [6, 0, 2]
