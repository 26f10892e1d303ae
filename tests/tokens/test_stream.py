"""Text out of ids: whole characters, none lost, none early."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from llamarium.tokens.stream import TextStream
from llamarium.tokens.train import bytes_tokenizer, characters_tokenizer

TOKENIZER = bytes_tokenizer()


def pieces(ids: list[int]) -> list[str]:
    stream = TextStream(TOKENIZER)
    return [*(stream.feed(number) for number in ids), stream.end()]


@given(st.text(max_size=40))
@settings(max_examples=200, deadline=None)
def test_the_pieces_are_the_text_and_each_comes_when_its_character_is_whole(text: str) -> None:
    found = pieces(TOKENIZER.encode(text))
    assert "".join(found) == text
    assert [piece for piece in found if piece] == list(text)


@given(st.binary(max_size=30))
@settings(max_examples=200, deadline=None)
def test_bytes_that_are_no_text_become_replacement_characters(data: bytes) -> None:
    assert "".join(pieces(TOKENIZER.encode(data))) == data.decode("utf-8", "replace")


def test_a_character_that_is_never_completed_shows_at_the_end() -> None:
    assert pieces(TOKENIZER.encode("羊".encode()[:2])) == ["", "", "\ufffd"]


def test_special_tokens_say_nothing_and_ids_that_do_not_exist_neither() -> None:
    ids = [TOKENIZER.specials["<|im_end|>"], *TOKENIZER.encode("a"), 99_999]
    assert pieces(ids) == ["", "a", "", ""]


def test_a_special_token_within_a_character_does_not_break_it() -> None:
    first, *rest = TOKENIZER.encode("羊")
    assert "".join(pieces([first, TOKENIZER.specials["<|im_end|>"], *rest])) == "羊"


def test_characters_and_their_bytes_mix() -> None:
    tokenizer = characters_tokenizer(["羊 "])
    stream = TextStream(tokenizer)
    assert "".join(stream.feed(number) for number in tokenizer.encode("羊 马 羊")) == "羊 马 羊"
