"""SentencePiece's files: the ids of SentencePiece itself, and no crash on what is no such file."""

from __future__ import annotations

import io
from pydoc_data.topics import topics
from typing import Any

import pytest
import sentencepiece
from hypothesis import given, settings
from hypothesis import strategies as st

from llamarium.ground.errors import BadFileError, UsageError
from llamarium.tokens.sentencepiece_model import tokenizer_files
from llamarium.tokens.tokenizer import Tokenizer

TEXTS = [topic[:1000] for _, topic in sorted(topics.items())][:40] + ["The llama reads. 羊驼读文本，文本被读。"] * 9
SAMPLES = ["the llama reads", "羊驼 and text", " two  spaces ", "ＦＵＬＬ ① width", "a\tb", "", "unseen ü 模"]
KINDS: dict[str, dict[str, Any]] = {
    "as LLaMA 2": {
        "model_type": "bpe",
        "byte_fallback": True,
        "normalization_rule_name": "identity",
        "remove_extra_whitespaces": False,
        "split_digits": True,
    },
    "bpe, normalised": {"model_type": "bpe", "byte_fallback": True, "normalization_rule_name": "nmt_nfkc"},
    "unigram": {"model_type": "unigram", "byte_fallback": True, "normalization_rule_name": "nmt_nfkc"},
    "unigram without bytes": {"model_type": "unigram", "normalization_rule_name": "identity"},
    "no prefix": {"model_type": "bpe", "byte_fallback": True, "normalization_rule_name": "identity", "add_dummy_prefix": False},
    "own symbols": {"model_type": "bpe", "byte_fallback": True, "user_defined_symbols": ["@@x"], "pad_id": 3},
}


def made(**options: Any) -> bytes:
    target = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(TEXTS),
        model_writer=target,
        vocab_size=500 if options.get("byte_fallback") else 200,
        minloglevel=2,
        **options,
    )
    return target.getvalue()


@pytest.fixture(scope="module")
def files() -> dict[str, bytes]:
    return {name: made(**options) for name, options in KINDS.items()}


@pytest.mark.parametrize("kind", KINDS)
def test_the_ids_of_sentencepiece(kind: str, files: dict[str, bytes]) -> None:
    definition, config = tokenizer_files(files[kind], name="a.model")
    ours, theirs = Tokenizer(definition, config), sentencepiece.SentencePieceProcessor(model_proto=files[kind])
    assert ours.vocab_size == theirs.vocab_size()
    assert (ours.begin_id, ours.end_id) == (theirs.bos_id(), theirs.eos_id()) == (1, 2)
    for text in SAMPLES + TEXTS[:5]:
        assert ours.encode(text) == theirs.encode(text), text
    if kind == "as LLaMA 2":
        assert all(ours.decode(ours.encode(text)) == text for text in SAMPLES)
    if kind == "own symbols":
        # What follows one gets a space before it, as transformers' LLaMA tokenizers have it, too.
        assert ours.encode("a@@x b") == theirs.encode("a@@x b")
        assert ours.special("pad_token") == 3


def test_whole_words_are_refused() -> None:
    with pytest.raises(UsageError, match="whole words"):
        tokenizer_files(made(model_type="char"), name="a.model")


def test_what_is_no_such_file(files: dict[str, bytes]) -> None:
    good = files["as LLaMA 2"]
    # After the pieces come the settings, without which the rest is a Unigram model; a cut inside a piece is seen.
    for data in (b"", b"text", good[:100], good[:101], b"\x0a\xff\xff\xff\xff\x0f", b"\xff" * 40, b"\x0a\x02\x08\x01", b"\x0a\x00"):
        with pytest.raises(BadFileError, match=r"a\.model"):
            tokenizer_files(data, name="a.model")


@given(st.binary(max_size=60))
@settings(max_examples=200, deadline=None)
def test_any_bytes_end_in_a_sentence(data: bytes) -> None:
    try:
        Tokenizer(*tokenizer_files(data, name="a.model"))
    except (BadFileError, UsageError):
        return
