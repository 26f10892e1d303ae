"""New pieces for a known vocabulary: old ids mean what they meant, and texts without new pieces keep their ids."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from pydoc_data.topics import topics

import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, decoders, models, normalizers

from llamarium.ground.errors import UsageError
from llamarium.tokens.extend import Extension, describe, extend_bpe
from llamarium.tokens.tokenizer import Tokenizer
from llamarium.tokens.train import bytes_tokenizer, characters_tokenizer, train_bpe, train_unigram

ENGLISH = [topic[:1500] for _, topic in sorted(topics.items())][:20]
CHINESE = ["羊驼读文本，羊驼吃草。", "文本被羊驼读，草被羊驼吃。", "羊驼住在山上，山上有草\n"] * 4
CORPUS = [*CHINESE, *ENGLISH[:5], "aaaaaaaaaaaaaaaa aaaa aaa"]


def byte_level() -> Tokenizer:
    return train_bpe(ENGLISH, vocab_size=400)


def with_tokens_behind() -> Tokenizer:
    """As LLaMA 3 has it: special tokens behind the vocabulary, outside the model's table; and a piece of text among them."""
    rust = tokenizers.Tokenizer.from_str(bytes_tokenizer().definition)
    rust.add_special_tokens([AddedToken("<|end|>", special=True, normalized=False)])
    rust.add_tokens([AddedToken("羊驼住", normalized=False)])
    return Tokenizer(rust.to_str(), bytes_tokenizer().config, name="with tokens behind")


def ignoring_merges() -> Tokenizer:
    values = json.loads(byte_level().definition)
    values["model"]["ignore_merges"] = True
    return Tokenizer(json.dumps(values), byte_level().config, name="ignoring merges")


def as_llama_2() -> Tokenizer:
    """Spaces are marks, the whole text is one word, what is no piece goes through bytes; merges written as one text each."""
    names = [
        "<unk>",
        "<s>",
        "</s>",
        *(f"<0x{byte:02X}>" for byte in range(256)),
        "▁",
        *"abcdefghijklmnopqrstuvwxyz,.草",
        "▁t",
        "he",
        "▁the",
    ]
    merges = [("▁", "t"), ("h", "e"), ("▁t", "he")]
    rust = tokenizers.Tokenizer(
        models.BPE({name: n for n, name in enumerate(names)}, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True)
    )
    rust.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    rust.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    rust.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in names[:3]])
    values = json.loads(rust.to_str())
    values["model"]["merges"] = [" ".join(merge) for merge in merges]
    return Tokenizer(json.dumps(values), {"bos_token": "<s>", "eos_token": "</s>", "tokenizer_class": "LlamaTokenizer"}, name="as LLaMA 2")


BASES: dict[str, Callable[[], Tokenizer]] = {
    "byte-level": byte_level,
    "bytes": bytes_tokenizer,
    "tokens behind": with_tokens_behind,
    "ignoring merges": ignoring_merges,
    "as LLaMA 2": as_llama_2,
}
EXTENDED: dict[str, tuple[Tokenizer, Extension]] = {
    name: (make(), extend_bpe(make(), CORPUS, num_pieces=60)) for name, make in BASES.items()
}
some_text = st.lists(
    st.sampled_from(["羊驼", "草", "the ", "aaa", " expression", "\n", "  ", "12", "。", "<s>", "é", "x", "▁"]) | st.text(max_size=5),
    max_size=12,
).map("".join)


def in_old_ids(extension: Extension, ids: list[int]) -> list[int]:
    return [old for number in ids for old in extension.made_of.get(number, (number,))]


@pytest.mark.parametrize("name", BASES)
def test_old_ids_mean_what_they_meant_and_new_ones_follow(name: str) -> None:
    base, extension = EXTENDED[name]
    assert list(extension.made_of) == list(range(base.vocab_size, base.vocab_size + 60))
    assert extension.tokenizer.vocab_size == base.vocab_size + 60
    assert extension.tokenizer.specials == base.specials
    for number in range(base.vocab_size):
        assert extension.tokenizer.decode_bytes([number]) == base.decode_bytes([number])
    for number, parts in extension.made_of.items():
        assert extension.tokenizer.decode_bytes([number]) == base.decode_bytes(parts)
        assert max(parts) < base.vocab_size
        assert not set(parts) & set(base.specials.values())


@pytest.mark.parametrize("name", BASES)
def test_every_text_is_cut_as_before_and_then_joined(name: str) -> None:
    base, extension = EXTENDED[name]

    @given(some_text)
    @settings(max_examples=200, deadline=None)
    def check(text: str) -> None:
        ids = extension.tokenizer.encode(text)
        assert extension.tokenizer.decode(ids) == base.decode(base.encode(text))
        if name != "as LLaMA 2" or "▁" not in text:  # there it is what a space is written as
            assert extension.tokenizer.decode(ids) == text
        if name != "ignoring merges":  # there a whole word that is a piece is that piece, whatever its parts were
            assert in_old_ids(extension, ids) == base.encode(text)
        if not set(ids) & set(extension.made_of):
            assert ids == base.encode(text)

    check()


@pytest.mark.parametrize("name", BASES)
def test_what_is_frequent_gets_shorter(name: str) -> None:
    base, extension = EXTENDED[name]
    before, after = (sum(map(len, tokenizer.encode_batch(CHINESE))) for tokenizer in (base, extension.tokenizer))
    assert after < 0.8 * before


def test_the_first_piece_is_the_most_frequent_pair() -> None:
    """By hand: of "ab" five times and "bc" three times, "ab" comes first, then the pair with what it has become."""
    extension = extend_bpe(bytes_tokenizer(), ["abc abc abc ab ab"], num_pieces=3)
    pieces = [extension.tokenizer.decode_bytes([number]) for number in extension.made_of]
    assert pieces[0] == b"ab"
    assert set(pieces[1:]) == {b" ab", b"abc"} or set(pieces[1:]) == {b" ab", b" abc"}
    values = json.loads(extension.tokenizer.definition)["model"]["merges"]
    assert values[0] == ["a", "b"]


def test_a_character_in_bytes_becomes_a_piece_before_it_is_joined() -> None:
    base, extension = EXTENDED["as LLaMA 2"]
    pieces = [entry["piece"] for entry in describe(extension, base)]
    assert pieces.index("羊") < pieces.index("羊驼") > pieces.index("驼")
    assert "草" not in pieces
    number = extension.tokenizer.encode("羊驼")[-1]
    assert base.decode_bytes(extension.made_of[number]) == "羊驼".encode()
    assert len(extension.made_of[number]) == 6
    assert not any(" " in piece.strip(" ") for piece in pieces), "a piece goes across words"


def test_learning_is_the_same_every_time_and_stops_where_nothing_occurs_twice() -> None:
    assert EXTENDED["byte-level"][1].tokenizer.sha256 == extend_bpe(byte_level(), CORPUS, num_pieces=60).tokenizer.sha256
    few = extend_bpe(bytes_tokenizer(), ["xy xy", "z"], num_pieces=50)
    assert [few.tokenizer.decode_bytes([number]) for number in few.made_of] == [b"xy"]
    for texts in ([], [""], ["abc"], ["\ud800"], ["a" * 200_000]):
        assert extend_bpe(bytes_tokenizer(), texts, num_pieces=5).made_of == {}


def test_a_token_that_is_there_and_hard_to_reach_is_not_made_again() -> None:
    """abc is made of a and bc; where ab came first, a join of ab and c would give its id another road, or another id to its text."""
    values = json.loads(bytes_tokenizer().definition)
    size = bytes_tokenizer().vocab_size
    values["model"]["vocab"] |= {"ab": size, "bc": size + 1, "abc": size + 2}
    values["model"]["merges"] = [["a", "b"], ["b", "c"], ["a", "bc"]]
    base = Tokenizer(json.dumps(values), bytes_tokenizer().config, name="hard to reach")
    assert base.encode("abc") == [size, *bytes_tokenizer().encode("c")]
    extension = extend_bpe(base, ["abcd abc abcd"] * 5, num_pieces=10)
    assert extension.tokenizer.decode_bytes([size + 2]) == b"abc"
    assert extension.tokenizer.vocab_size == base.vocab_size + len(extension.made_of)
    assert in_old_ids(extension, extension.tokenizer.encode("abcd abc")) == base.encode("abcd abc")
    assert size + 2 not in extension.tokenizer.encode("abc abc")


def test_repeated_letters() -> None:
    """Pairs that overlap, aaa, are joined from the left and counted right all the same."""
    base, extension = bytes_tokenizer(), extend_bpe(bytes_tokenizer(), ["aaaaaaa aaa aaaa"] * 3, num_pieces=20)
    for length in range(1, 40):
        ids = extension.tokenizer.encode("a" * length)
        assert in_old_ids(extension, ids) == base.encode("a" * length)
    assert len(extension.tokenizer.encode("a" * 7)) == 1


@pytest.mark.parametrize("name", BASES)
def test_transformers_gives_the_same_ids(name: str, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    extension = EXTENDED[name][1]
    extension.tokenizer.save(tmp_path)
    theirs = AutoTokenizer.from_pretrained(tmp_path)
    assert type(theirs).__name__ in ("PreTrainedTokenizerFast", "TokenizersBackend"), "a class of one family may build it in its own way"
    for text in [*CHINESE[:3], ENGLISH[0][:200], "aaaa é ▁"]:
        ids = extension.tokenizer.encode(text)
        same = theirs.encode(text, add_special_tokens=False) == ids
        assert same, text
        assert theirs.convert_ids_to_tokens(ids) == [extension.tokenizer._parsing.id_to_token(number) for number in ids]


def test_what_cannot_be_extended() -> None:
    with pytest.raises(UsageError, match="not a plain BPE"):
        extend_bpe(train_unigram(ENGLISH, vocab_size=300), CORPUS, num_pieces=5)
    for number in (0, -1, 1 << 30):
        with pytest.raises(UsageError, match="cannot be added"):
            extend_bpe(bytes_tokenizer(), CORPUS, num_pieces=number)
    assert len(extend_bpe(characters_tokenizer(["ab"]), ["abc abc"], num_pieces=5).made_of) > 0
