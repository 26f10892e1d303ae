"""A vocabulary that went through GGUF's metadata gives the ids that it gave before."""

from __future__ import annotations

import io
import json
import unicodedata
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import sentencepiece
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Regex, decoders, models, normalizers, pre_tokenizers, trainers
from tokenizers import Tokenizer as Rust

from llamarium.ground.errors import BadFileError, LlamariumError, UsageError
from llamarium.tokens import gguf_vocabulary
from llamarium.tokens.gguf_vocabulary import tokenizer_config, tokenizer_json
from llamarium.tokens.tokenizer import Tokenizer

LINES = [
    "The llama went up the mountain, and the mountain didn't mind; it's 3,776 metres high.",
    "羊驼上山，山不介意。它有三千七百七十六米高，二〇二四年的第12345天。",
    "def climb(height: int = 3776) -> float:\n\treturn height / 1.5  # metres\n\n\nprint(climb(12))",
    "🦙🦙 up, up! 👩‍👩‍👧 Ça va? Ünïcödé — naïve café № ½ ² Ⅳ",
    unicodedata.normalize("NFD", "Ünïcödé, Ångström: 가나다"),
    "    four spaces, \t tab,   three\r\nand THE END'S near: WE'LL see, i'Ll too...   ",
]
CORPUS = LINES * 20
TEXTS = [
    *LINES,
    *(line[place : place + 17] for line in LINES for place in range(0, 60, 7)),
    "",
    " ",
    "  ",
    "\n",
    " \n x",
    "a" * 50,
    " " * 40,
]
any_text = st.text(st.characters(codec="utf-8"), max_size=40) | st.sampled_from(TEXTS).flatmap(
    lambda line: st.text(st.sampled_from(line or " "), max_size=60)
)


# --- Byte-level ---

SPECIALS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]


def gpt4_pattern(digits: str) -> str:
    return r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}" + digits + r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"


def byte_level(pre: str) -> Rust:
    """A tokenizer put together as the Hugging Face tokenizer of that model is."""
    rust = Rust(models.BPE(ignore_merges=pre == "llama-bpe"))
    parts: dict[str, list[Any]] = {
        "gpt-2": [pre_tokenizers.ByteLevel(add_prefix_space=False)],
        "smollm": [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)],
    }
    splits = {"llama-bpe": "{1,3}", "glm4": "{1,3}", "qwen2": ""}
    if pre in splits:
        split = pre_tokenizers.Split(Regex(gpt4_pattern(splits[pre])), behavior="isolated")
        parts[pre] = [split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    rust.pre_tokenizer = pre_tokenizers.Sequence(parts[pre])
    if pre == "qwen2":
        rust.normalizer = normalizers.NFC()
    rust.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=700, special_tokens=SPECIALS, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    rust.train_from_iterator(CORPUS, trainer=trainer)
    return rust


def byte_level_metadata(rust: Rust, pre: str) -> dict[str, Any]:
    vocabulary = rust.get_vocab()
    tokens = sorted(vocabulary, key=lambda token: vocabulary[token])
    return {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": pre,
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": np.array([3 if token in SPECIALS else 1 for token in tokens], np.int32),
        "tokenizer.ggml.merges": [" ".join(pair) for pair in json.loads(rust.to_str())["model"]["merges"]],
        "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.eos_token_id": 2,
        "tokenizer.ggml.unknown_token_id": 0,
        "tokenizer.ggml.padding_token_id": 2,
        "tokenizer.ggml.add_bos_token": False,
        "tokenizer.chat_template": "{{ messages }}",
    }


PRES = ["gpt-2", "smollm", "llama-bpe", "qwen2", "glm4"]
REFERENCES = {pre: byte_level(pre) for pre in PRES}
REBUILT = {pre: Tokenizer(tokenizer_json(byte_level_metadata(rust, pre))) for pre, rust in REFERENCES.items()}


def smollm() -> dict[str, Any]:
    return byte_level_metadata(REFERENCES["smollm"], "smollm")


@pytest.mark.parametrize("pre", PRES)
def test_byte_level_ids_are_the_same(pre: str) -> None:
    expected = [encoding.ids for encoding in REFERENCES[pre].encode_batch(TEXTS)]
    assert REBUILT[pre].encode_batch(TEXTS, parse_special=True) == expected


@pytest.mark.parametrize("pre", PRES)
@settings(max_examples=150, deadline=None)
@given(text=any_text)
def test_byte_level_ids_are_the_same_for_any_text(pre: str, text: str) -> None:
    assert REBUILT[pre].encode(text, parse_special=True) == REFERENCES[pre].encode(text).ids


@pytest.mark.parametrize(("pre", "other"), [("gpt-2", "smollm"), ("llama-bpe", "qwen2"), ("gpt-2", "glm4")])
def test_another_split_gives_other_ids(pre: str, other: str) -> None:
    """The control of the two tests above: they would see the wrong pattern."""
    wrong = Tokenizer(tokenizer_json(byte_level_metadata(REFERENCES[pre], other)))
    assert wrong.encode_batch(TEXTS) != [encoding.ids for encoding in REFERENCES[pre].encode_batch(TEXTS)]


PIECES = {
    "gpt-2": ["It", "'s", " 12345", " ÀBc", " x", "==", "\n\n ", " y"],
    "smollm": ["It", "'s", " ", "1", "2", "3", "4", "5", " ÀBc", " x", "==", "\n\n ", " y"],
    "starcoder": ["It", "'s", " ", "1", "2", "3", "4", "5", " ÀBc", " x", "==", "\n\n ", " y"],
    "llama-bpe": ["It", "'s", " ", "123", "45", " ÀBc", " x", "==\n\n", " ", " y"],
    "qwen2": ["It", "'s", " ", "1", "2", "3", "4", "5", " ÀBc", " x", "==\n\n", " ", " y"],
    "glm4": ["It", "'s", " ", "123", "45", " ÀBc", " x", "==\n\n", " ", " y"],
    "llama4": ["It's", " ", "123", "45", " ÀBc", " x", "==\n\n", " ", " y"],
    "tekken": ["It", "'s", " ", "1", "2", "3", "4", "5", " ÀBc", " x", "==\n\n", " ", " y"],
}


def pieces(pre: str, text: str) -> list[str]:
    rust = Rust.from_str(tokenizer_json(byte_level_metadata(REFERENCES["gpt-2"], pre)))
    assert rust.pre_tokenizer is not None
    return [text[start:end] for _, (start, end) in rust.pre_tokenizer.pre_tokenize_str(text)]


@pytest.mark.parametrize("pre", PIECES)
def test_text_is_cut_as_the_model_cuts_it(pre: str) -> None:
    assert pieces(pre, "It's 12345 ÀBc x==\n\n  y") == PIECES[pre]


def test_the_default_cuts_as_llama_cpp_does() -> None:
    assert pieces("default", "a12345 It's") == ["a", "123", "45", " It", "'", "s"]
    metadata = byte_level_metadata(REFERENCES["gpt-2"], "default")
    del metadata["tokenizer.ggml.pre"]
    assert tokenizer_json(metadata) == tokenizer_json(byte_level_metadata(REFERENCES["gpt-2"], "default"))


def test_cased_patterns_cut_where_the_case_changes() -> None:
    assert pieces("llama4", "theEND'S HTMLParser") == ["the", "END'S", " HTMLParser"]
    assert pieces("tekken", "camelCase") == ["camel", "Case"]


def test_merges_can_be_ignored_for_whole_words() -> None:
    """LLaMA 3's tokenizer takes a word that is a token as that token, also where no merge leads to it."""
    metadata = smollm()
    metadata["tokenizer.ggml.tokens"] = [*metadata["tokenizer.ggml.tokens"], "Ġunreachable"]
    metadata["tokenizer.ggml.token_type"] = [*metadata["tokenizer.ggml.token_type"].tolist(), 1]
    number = len(metadata["tokenizer.ggml.tokens"]) - 1
    assert Tokenizer(tokenizer_json({**metadata, "tokenizer.ggml.pre": "llama-bpe"})).encode(" unreachable") == [number]
    assert number not in Tokenizer(tokenizer_json(metadata)).encode(" unreachable")


def test_special_and_user_defined_tokens() -> None:
    metadata = smollm()
    metadata["tokenizer.ggml.tokens"] = [*metadata["tokenizer.ggml.tokens"], "\t\t"]
    metadata["tokenizer.ggml.token_type"] = [*metadata["tokenizer.ggml.token_type"].tolist(), 4]
    tokenizer = Tokenizer(tokenizer_json(metadata))
    number = tokenizer.vocab_size - 1
    assert set(tokenizer.specials) == set(SPECIALS)
    assert tokenizer.encode("<|im_start|>", parse_special=True) == [1]
    assert 1 not in tokenizer.encode("<|im_start|>")
    assert number in tokenizer.encode("a\t\tb")
    assert tokenizer.decode(tokenizer.encode("a\t\tb <|im_start|>")) == "a\t\tb <|im_start|>"


# --- SentencePiece ---


def train_sentencepiece(**options: Any) -> sentencepiece.SentencePieceProcessor:
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(CORPUS),
        model_writer=model,
        model_type="bpe",
        byte_fallback=True,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        minloglevel=2,
        num_threads=1,
        **{"vocab_size": 620, **options},
    )
    return sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())


def sentencepiece_metadata(model: sentencepiece.SentencePieceProcessor, user_defined: tuple[str, ...] = ()) -> dict[str, Any]:
    """What llama.cpp's converter writes."""
    numbers = range(model.vocab_size())
    names = [model.id_to_piece(number) for number in numbers]
    types = np.ones(len(numbers), np.int32)
    for kind, holds in ((2, model.is_unknown), (3, model.is_control), (6, model.is_byte)):
        types[[holds(number) for number in numbers]] = kind
    types[np.isin(names, user_defined)] = 4
    return {
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.pre": "default",
        "tokenizer.ggml.tokens": [piece.replace("▁", " ") if kind == 4 else piece for piece, kind in zip(names, types, strict=True)],
        "tokenizer.ggml.scores": np.array([model.get_score(i) for i in numbers], np.float32),
        "tokenizer.ggml.token_type": types,
        "tokenizer.ggml.bos_token_id": model.bos_id(),
        "tokenizer.ggml.eos_token_id": model.eos_id(),
        "tokenizer.ggml.unknown_token_id": model.unk_id(),
    }


PIECE_MODEL = train_sentencepiece()
PIECE_TOKENIZER = Tokenizer(tokenizer_json(sentencepiece_metadata(PIECE_MODEL)), tokenizer_config(sentencepiece_metadata(PIECE_MODEL)))


def test_sentencepiece_ids_are_the_same() -> None:
    assert PIECE_TOKENIZER.encode_batch(TEXTS) == PIECE_MODEL.encode(TEXTS)
    assert [PIECE_TOKENIZER.decode(PIECE_TOKENIZER.encode(text)) for text in TEXTS] == TEXTS


@settings(max_examples=300, deadline=None)
@given(text=any_text)
def test_sentencepiece_ids_are_the_same_for_any_text(text: str) -> None:
    assert PIECE_TOKENIZER.encode(text) == PIECE_MODEL.encode(text)


def test_scores_decide_what_is_joined_first() -> None:
    """The control: with the scores turned round the ids are others."""
    metadata = sentencepiece_metadata(PIECE_MODEL)
    metadata["tokenizer.ggml.scores"] = -metadata["tokenizer.ggml.scores"]
    assert Tokenizer(tokenizer_json(metadata)).encode_batch(TEXTS) != PIECE_MODEL.encode(TEXTS)


def test_special_and_byte_tokens_are_never_joined_from_text() -> None:
    tokens = ["<unk>", "<s>", "</s>", "<0x41>", "<", "s", ">", "<s", "</", "s>", "/", "▁", "<0x4", "1>"]
    metadata = {
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.scores": [-float(number) for number in range(len(tokens))],
        "tokenizer.ggml.token_type": [2, 3, 3, 6, *[1] * 10],
    }
    tokenizer = Tokenizer(tokenizer_json(metadata))
    assert [tokens[number] for number in tokenizer.encode("<s></s>")] == ["▁", "<s", ">", "</", "s>"]
    assert tokenizer.encode("<s></s>", parse_special=True) == [1, 2]
    assert 3 not in tokenizer.encode("<0x41>")


def test_a_text_begins_with_the_begin_token_unless_the_file_says_no() -> None:
    metadata = sentencepiece_metadata(PIECE_MODEL)
    assert PIECE_TOKENIZER.encode("a", add_special=True) == PIECE_MODEL.encode("a", add_bos=True)
    plain = Tokenizer(tokenizer_json({**metadata, "tokenizer.ggml.add_bos_token": False}))
    assert plain.encode("a", add_special=True) == PIECE_MODEL.encode("a")
    both = Tokenizer(tokenizer_json({**metadata, "tokenizer.ggml.add_eos_token": True}))
    assert both.encode("a", add_special=True) == PIECE_MODEL.encode("a", add_bos=True, add_eos=True)


def test_without_a_space_before_the_text_and_with_user_defined_tokens() -> None:
    user_defined = ("[turn]", "▁▁▁")
    model = train_sentencepiece(add_dummy_prefix=False, user_defined_symbols=list(user_defined))
    metadata = {**sentencepiece_metadata(model, user_defined), "tokenizer.ggml.add_space_prefix": False}
    tokenizer = Tokenizer(tokenizer_json(metadata))
    texts = [*TEXTS, "a[turn]b [turn]", "x    y"]
    assert tokenizer.encode_batch(texts) == model.encode(texts)
    assert [tokenizer.decode(ids) for ids in tokenizer.encode_batch(texts)] == texts


def test_sentencepiece_ids_have_defaults() -> None:
    metadata = {key: value for key, value in sentencepiece_metadata(PIECE_MODEL).items() if not key.endswith("token_id")}
    config = tokenizer_config(metadata)
    assert (config["bos_token"], config["eos_token"], config["add_bos_token"]) == ("<s>", "</s>", True)
    assert tokenizer_json(metadata) == tokenizer_json(sentencepiece_metadata(PIECE_MODEL))


# --- The configuration ---


def test_configuration_names_the_tokens_of_each_role() -> None:
    assert tokenizer_config(smollm()) == {
        "bos_token": "<|im_start|>",
        "eos_token": "<|im_end|>",
        "unk_token": "<|endoftext|>",
        "pad_token": "<|im_end|>",
        "add_bos_token": False,
        "add_eos_token": False,
        "clean_up_tokenization_spaces": False,
        "chat_template": "{{ messages }}",
    }


def test_a_role_that_the_file_does_not_give_is_not_there() -> None:
    metadata = {key: value for key, value in smollm().items() if not key.endswith("token_id")}
    assert not {"bos_token", "eos_token", "unk_token", "pad_token"} & tokenizer_config(metadata).keys()


def test_padding_beyond_the_vocabulary_means_none() -> None:
    assert "pad_token" not in tokenizer_config({**smollm(), "tokenizer.ggml.padding_token_id": 2**32 - 1})


def test_llama_3_begins_texts_unless_the_file_says_no() -> None:
    metadata = {**smollm(), "tokenizer.ggml.pre": "llama-bpe"}
    assert tokenizer_config(metadata)["add_bos_token"] is False
    del metadata["tokenizer.ggml.add_bos_token"]
    assert tokenizer_config(metadata)["add_bos_token"] is True
    assert Tokenizer(tokenizer_json(metadata)).encode("", add_special=True) == [1]


# --- Malformed ---


def change(**values: Any) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda metadata: {**metadata, **{f"tokenizer.ggml.{key}": value for key, value in values.items()}}


def also(key: str, *values: Any) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda metadata: {**metadata, f"tokenizer.ggml.{key}": [*np.asarray(metadata[f"tokenizer.ggml.{key}"], object), *values]}


MALFORMED: dict[str, tuple[str, Callable[[dict[str, Any]], dict[str, Any]], type[LlamariumError], str]] = {
    "another kind": ("gpt2", change(model="bert"), UsageError, "'bert'"),
    "a kind that is a number": ("gpt2", change(model=7), UsageError, "kind 7"),
    "unknown split": ("gpt2", change(pre="mystery"), UsageError, "'mystery'"),
    "a split that is a list": ("gpt2", change(pre=["gpt-2"]), UsageError, "not supported"),
    "no tokens": ("gpt2", change(tokens=[]), BadFileError, "without tokens"),
    "tokens missing": ("gpt2", change(tokens=None), BadFileError, "no tokenizer.ggml.tokens"),
    "a token that is a number": ("gpt2", also("tokens", 7), BadFileError, "not texts"),
    "a token that is half a character": ("gpt2", also("tokens", "\ud800"), BadFileError, "not valid Unicode"),
    "a token twice": ("gpt2", also("tokens", "a"), BadFileError, "'a' 2 times"),
    "a type too many": ("gpt2", also("token_type", 1), BadFileError, "tokenizer.ggml.token_type for "),
    "types that are texts": ("gpt2", change(token_type=["1"]), BadFileError, "not numbers"),
    "a single type": ("gpt2", change(token_type=1), BadFileError, "not numbers"),
    "merges missing": ("gpt2", change(merges=None), BadFileError, "no tokenizer.ggml.merges"),
    "a merge of one part": ("gpt2", also("merges", "ab"), BadFileError, "'ab', whose parts"),
    "a merge of unknown parts": ("gpt2", also("merges", "qqq zzz"), BadFileError, "'qqq zzz', whose parts"),
    "a merge to an unknown whole": ("gpt2", also("merges", "Q Z"), BadFileError, "'Q Z', whose parts"),
    "a begin token beyond the vocabulary": ("gpt2", change(bos_token_id=10**6), BadFileError, "bos_token_id = 1,000,000"),
    "a begin token that is text": ("gpt2", change(bos_token_id="<s>"), BadFileError, "no id"),
    "a negative end token": ("gpt2", change(eos_token_id=-1), BadFileError, "no id"),
    "a flag that is a number": ("gpt2", change(add_bos_token=3), BadFileError, "neither true nor false"),
    "a template that is a list": ("gpt2", lambda m: {**m, "tokenizer.chat_template": []}, BadFileError, "chat template"),
    "no scores": ("llama", change(scores=None), BadFileError, "without scores"),
    "a score too many": ("llama", also("scores", 1.0), BadFileError, "tokenizer.ggml.scores for"),
    "scores that are no numbers": ("llama", lambda m: change(scores=m["tokenizer.ggml.scores"] * np.nan)(m), BadFileError, "finite"),
    "a piece of 100,000 characters": (
        "llama",
        lambda m: also("tokens", "a" * 100_000)(also("scores", 0.0)(also("token_type", 1)(m))),
        BadFileError,
        "more than 256 characters",
    ),
}


@pytest.mark.parametrize("wrong", MALFORMED)
def test_a_malformed_vocabulary_is_refused(wrong: str) -> None:
    kind, spoil, error, words = MALFORMED[wrong]
    metadata = spoil(smollm() if kind == "gpt2" else sentencepiece_metadata(PIECE_MODEL))
    with pytest.raises(error) as caught:
        _ = tokenizer_json(metadata, name="llama.gguf"), tokenizer_config(metadata, name="llama.gguf")
    assert words in caught.value.message
    assert caught.value.message.startswith(("llama.gguf: ", "llama.gguf "))


def test_empty_tokens_get_a_name() -> None:
    metadata = also("tokens", "")(also("token_type", 5)(smollm()))
    number = len(metadata["tokenizer.ggml.tokens"]) - 1
    assert Rust.from_str(tokenizer_json(metadata)).id_to_token(number) == f"[EMPTY_{number}]"


def spoilt(metadata: dict[str, Any], random: np.random.Generator) -> Iterator[tuple[str, Any]]:
    """`metadata` with one to three values exchanged, cut, or replaced by something else."""
    keys = sorted(metadata)
    chosen = set(random.choice(keys, random.integers(1, 4)).tolist())
    for key, value in metadata.items():
        if key not in chosen:
            yield key, value
            continue
        others = [None, [], "", "qwen2", -1, 0, 5, 1e300, True, ["a", "a"], [["a"]], np.zeros(3), metadata[str(random.choice(keys))]]
        if isinstance(value, list | np.ndarray):
            place = int(random.integers(len(value)))
            others += [value[:place], [*value[:place], others[int(random.integers(len(others)))], *value[place + 1 :]]] * 4
        yield key, others[int(random.integers(len(others)))]


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_any_damage_is_refused_or_harmless(kind: str) -> None:
    random = np.random.default_rng(5)
    good = smollm() if kind == "gpt2" else sentencepiece_metadata(PIECE_MODEL)
    results = {"refused": 0, "read": 0}
    for _ in range(200):
        metadata = dict(spoilt(good, random))
        try:
            Tokenizer(tokenizer_json(metadata), tokenizer_config(metadata)).encode("The llama, 羊驼 12")
            results["read"] += 1
        except LlamariumError:
            results["refused"] += 1
    assert min(results.values()) > 10


def test_limits_are_far_above_real_vocabularies() -> None:
    """LLaMA's longest piece has 16 characters, Gemma's 256,000 pieces about two million."""
    assert gguf_vocabulary.MAX_PIECE >= 16 * 16
    assert gguf_vocabulary.MAX_CHARACTERS >= 4 * 2_000_000
