"""tiktoken's files: the ids that its rule gives, and special tokens behind the ranks."""

from __future__ import annotations

import base64
import itertools
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llamarium.ground.errors import BadFileError, UsageError
from llamarium.tokens import tiktoken_ranks as module
from llamarium.tokens.tokenizer import Tokenizer
from llamarium.tokens.tokenizer_file import read_tokenizer_file

TOKENS = [bytes([byte]) for byte in range(256)] + [
    piece.encode() for piece in ("th", "the", " t", "he", " th", " the", "in", "ing", "羊", "th ing", "thing", "hi", "ng", " thi")
]
RANKS = {token: rank for rank, token in enumerate(TOKENS)}
FILE = b"".join(base64.b64encode(token) + b" " + str(rank).encode() + b"\n" for token, rank in RANKS.items())
WORDS = st.lists(st.sampled_from(["th", "e", "i", "ng", "羊", "h", "t"]), min_size=1, max_size=8).map("".join)


def by_the_rule(word: str) -> list[int]:
    """The pair whose joint token has the lowest rank is joined, the leftmost first, until none is left."""
    parts = [bytes([byte]) for byte in word.encode()]
    if word.encode() in RANKS:
        return [RANKS[word.encode()]]
    while True:
        joins = [(RANKS[one + other], place) for place, (one, other) in enumerate(itertools.pairwise(parts)) if one + other in RANKS]
        if not joins:
            return [RANKS[part] for part in parts]
        _, place = min(joins)
        parts[place : place + 2] = [parts[place] + parts[place + 1]]


@pytest.fixture(autouse=True)
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(module.KNOWN, len(TOKENS), ("llama-bpe", ("begin_of_text", "end_of_text", "eot_id")))


def opened() -> Tokenizer:
    return Tokenizer(*module.tokenizer_files(FILE, name="tokenizer.model"))


def test_the_ids_of_the_rule() -> None:
    tokenizer = opened()

    @given(WORDS, st.booleans())
    @settings(max_examples=200, deadline=None)
    def check(word: str, spaced: bool) -> None:
        text = f" {word}" if spaced else word
        assert tokenizer.encode(text) == by_the_rule(text)

    check()
    assert tokenizer.decode(tokenizer.encode("a thing, 羊驼\n")) == "a thing, 羊驼\n"


def test_special_tokens_stand_behind_the_ranks() -> None:
    tokenizer = opened()
    assert tokenizer.specials == {"<|begin_of_text|>": 270, "<|end_of_text|>": 271, "<|eot_id|>": 272}
    assert (tokenizer.begin_id, tokenizer.end_id) == (270, 271)
    assert tokenizer.encode("a", add_special=True) == [270, 97]
    assert not set(tokenizer.encode("<|eot_id|>")) & {270, 271, 272}


def test_llama_3_has_256_special_tokens_in_its_places() -> None:
    split, specials = module.KNOWN[128_000]
    assert (split, len(specials), len(set(specials))) == ("llama-bpe", 256, 256)
    assert {name: 128_000 + specials.index(name) for name in ("begin_of_text", "end_of_text", "start_header_id", "eot_id")} == {
        "begin_of_text": 128_000,
        "end_of_text": 128_001,
        "start_header_id": 128_006,
        "eot_id": 128_009,
    }


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"YQ== x\n",
        b"YQ==\n",
        b"!! 0\n",
        b"YQ== 1\n",
        b"YQ== 0\nYQ== 1\n",
        b"YQ== 0\nYg== 2\n",
        b"YQ== 0\nYg== 0\n",
        b" 0\n",
        b"\xff\xfe 0",
    ],
)
def test_what_is_no_such_file(data: bytes) -> None:
    with pytest.raises(BadFileError, match=r"a\.model"):
        module.tokenizer_files(data, name="a.model")


def test_unknown_numbers_of_ranks_are_refused() -> None:
    with pytest.raises(UsageError, match="2 ranks"):
        module.tokenizer_files(b"YQ== 0\nYg== 1\n", name="a.model")


def test_a_file_is_known_by_its_first_bytes(tmp_path: Path) -> None:
    ranks = tmp_path / "tokenizer.model"
    ranks.write_bytes(FILE)
    assert read_tokenizer_file(ranks).sha256 == opened().sha256
    opened().save(tmp_path)
    again = read_tokenizer_file(tmp_path / "tokenizer.json")
    assert again.encode("a thing", add_special=True) == opened().encode("a thing", add_special=True)
    assert again.end_id == opened().end_id
    moved = tmp_path / "other.json"
    moved.write_text(opened().definition, encoding="utf-8")
    assert read_tokenizer_file(moved).encode("a thing") == opened().encode("a thing")
    for data in (b"", b"hello", b"{}", b'{"\xff"}'):
        moved.write_bytes(data)
        with pytest.raises(BadFileError, match=r"other\.json"):
            read_tokenizer_file(moved)
