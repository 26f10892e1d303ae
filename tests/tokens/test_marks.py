from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llamarium.tokens.marks import MASK, NUM_SENTINELS, Marks, marks, with_marks
from llamarium.tokens.tokenizer import Tokenizer
from llamarium.tokens.train import bytes_tokenizer, characters_tokenizer, train_bpe

PLAIN = bytes_tokenizer()
TOKENIZERS = {"bytes": PLAIN, "characters": characters_tokenizer(["a llama"]), "bpe": train_bpe(["the llama eats "] * 9, vocab_size=270)}
BOTH = with_marks(PLAIN, mask=True, sentinels=True)


def test_a_tokenizer_of_ones_own_has_none() -> None:
    assert marks(PLAIN) == Marks(None, (), PLAIN.end_id)
    assert with_marks(PLAIN) is PLAIN


@pytest.mark.parametrize("kind", TOKENIZERS)
def test_marks_come_behind_all_other_tokens(kind: str) -> None:
    plain = TOKENIZERS[kind]
    size = plain.vocab_size
    assert marks(with_marks(plain, mask=True)) == Marks(size, (), plain.end_id)
    assert marks(with_marks(plain, sentinels=True)) == Marks(None, tuple(range(size, size + NUM_SENTINELS)), plain.end_id)
    both = with_marks(plain, mask=True, sentinels=True)
    assert marks(both) == Marks(size, tuple(range(size + 1, size + 1 + NUM_SENTINELS)), plain.end_id)
    assert both.vocab_size == size + 1 + NUM_SENTINELS
    assert (both.begin_id, both.end_id, both.stop_ids) == (plain.begin_id, plain.end_id, plain.stop_ids)


def test_marks_are_given_once() -> None:
    assert with_marks(BOTH, mask=True, sentinels=True) is BOTH
    half = with_marks(with_marks(PLAIN, mask=True), mask=True, sentinels=True)
    assert marks(half) == marks(BOTH)


@given(st.text())
def test_all_other_ids_stay_and_no_text_holds_a_mark(text: str) -> None:
    there = marks(BOTH)
    text = f"{text}{MASK}<extra_id_0>"  # as text, they are letters like any others
    ids = BOTH.encode(text)
    assert ids == PLAIN.encode(text)
    assert BOTH.decode(ids) == text
    assert not {there.mask, *there.sentinels} & set(ids)


def test_marks_are_there_when_a_saved_tokenizer_is_opened(tmp_path: Path) -> None:
    BOTH.save(tmp_path / "tok")
    opened = Tokenizer.load(tmp_path / "tok")
    assert marks(opened) == marks(BOTH)
    assert opened.sha256 == BOTH.sha256


def test_sentinels_count_by_their_number_not_by_their_id() -> None:
    """T5's vocabulary holds them from the last to the first, and text sorts 10 before 2."""
    flags = {"special": True, "normalized": False, "lstrip": False, "rstrip": False, "single_word": False}
    values = json.loads(PLAIN.definition)
    values["added_tokens"] += [{"id": 259 + place, "content": f"<extra_id_{11 - place}>", **flags} for place in range(12)]
    backwards = Tokenizer(json.dumps(values), PLAIN.config, name="backwards")
    assert marks(backwards).sentinels == tuple(range(270, 258, -1))
    assert with_marks(backwards, sentinels=True) is backwards
