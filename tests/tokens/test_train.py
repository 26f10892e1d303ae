"""Tokenizers of one's own: the size that was asked for, the specials in their places, and a vocabulary learnt from the text."""

from __future__ import annotations

import pytest

from llamarium.ground.errors import UsageError
from llamarium.tokens.train import SMALLEST, SPECIALS, bytes_tokenizer, characters_tokenizer, train_bpe

TEXTS = ["the cat and the hat and the bat that sat", "羊驼读文本，文本被羊驼读。", "1234567 numbers"] * 5


def test_a_vocabulary_is_as_large_as_asked_or_as_the_text_allows() -> None:
    assert train_bpe(TEXTS, vocab_size=280).vocab_size == 280
    assert train_bpe(["aaa"], vocab_size=5000).vocab_size < 300
    assert train_bpe([], vocab_size=SMALLEST).vocab_size == SMALLEST


def test_what_is_frequent_becomes_one_token() -> None:
    tokenizer = train_bpe(TEXTS, vocab_size=400)
    assert len(tokenizer.encode(" the")) == len(tokenizer.encode("羊驼")) == 1
    assert len(tokenizer.encode(" the cat")) < len(bytes_tokenizer().encode(" the cat"))


def test_training_is_the_same_every_time() -> None:
    assert train_bpe(TEXTS, vocab_size=300).sha256 == train_bpe(TEXTS, vocab_size=300).sha256
    assert train_bpe(TEXTS, vocab_size=300).sha256 != train_bpe(TEXTS[:1], vocab_size=300).sha256


def test_a_vocabulary_too_small_for_the_bytes_is_refused() -> None:
    with pytest.raises(UsageError, match=f"at least {SMALLEST} tokens, not {SMALLEST - 1}"):
        train_bpe(TEXTS, vocab_size=SMALLEST - 1)


def test_texts_that_are_no_unicode_are_learnt_from_all_the_same() -> None:
    assert train_bpe(["the cat \ud800 the"] * 5, vocab_size=270).encode("the cat") == train_bpe(
        ["the cat  the"] * 5, vocab_size=270
    ).encode("the cat")
    tokenizer = characters_tokenizer(["ab\ud800"])
    assert tokenizer.vocab_size == len(SPECIALS) + 256 + 2


@pytest.mark.parametrize("tokenizer", [train_bpe(TEXTS, vocab_size=300), bytes_tokenizer(), characters_tokenizer(TEXTS)])
def test_each_has_the_tokens_of_documents_and_conversations(tokenizer: object) -> None:
    from llamarium.tokens.tokenizer import Tokenizer

    assert isinstance(tokenizer, Tokenizer)
    assert tuple(tokenizer.specials) == SPECIALS
    assert tokenizer.begin_id == tokenizer.end_id == tokenizer.specials["<|endoftext|>"]
    assert tokenizer.stop_ids == {tokenizer.specials["<|endoftext|>"], tokenizer.specials["<|im_end|>"]}


def test_numbers_are_cut_into_threes_and_words_keep_the_space_before_them() -> None:
    tokenizer = train_bpe(["12345678 the cat the cat"] * 50, vocab_size=400)
    assert [tokenizer.decode([number]) for number in tokenizer.encode("12345678 the cat")] == ["123", "456", "78", " the", " cat"]


def test_bytes_are_one_token_each() -> None:
    tokenizer = bytes_tokenizer()
    assert tokenizer.vocab_size == 259
    assert len(tokenizer.encode("羊a")) == 4
    assert len(set(tokenizer.encode(bytes(range(256))))) == 256


def test_characters_are_one_token_each_where_they_were_seen() -> None:
    tokenizer = characters_tokenizer(["羊驼 a\n"])
    assert len(tokenizer.encode("驼羊\na")) == 4
    assert len(tokenizer.encode("马")) == 3  # its bytes
    assert tokenizer.decode(tokenizer.encode("马")) == "马"
