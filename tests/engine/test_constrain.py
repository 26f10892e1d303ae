"""A grammar bounds what a model can say, whatever it would rather say and whatever its vocabulary."""

from __future__ import annotations

import re
import sys
from dataclasses import replace

import pytest
import tokenizers
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import decoders, models, pre_tokenizers

from llamarium.engine.constrain import Grammar
from llamarium.engine.generate import Generation, generate
from llamarium.engine.sample import Sampling
from llamarium.ground.errors import MissingExtraError, UsageError
from llamarium.models import llama
from llamarium.tokens.tokenizer import Tokenizer
from llamarium.tokens.train import bytes_tokenizer, characters_tokenizer, train_bpe, train_unigram

TEXTS = ["the cat and the hat, the end. [1] [2]", "羊驼读文本。[1]"] * 5


def byte_fallback() -> Tokenizer:
    """SentencePiece's form, as LLaMA 2 has it: spaces are marks, and bytes are tokens of their own."""
    names = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *"▁thecandj.[]12", "▁t", "th", "▁th", "▁the"]
    vocabulary = {name: number for number, name in enumerate(dict.fromkeys(names))}
    merges = [("▁", "t"), ("t", "h"), ("▁t", "h"), ("▁th", "e")]
    rust = tokenizers.Tokenizer(models.BPE(vocabulary, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    rust.add_special_tokens(["<unk>", "<s>", "</s>"])
    rust.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="never", split=False)
    rust.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    return Tokenizer(rust.to_str(), {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"})


TOKENIZERS = {
    "bytes": bytes_tokenizer(),
    "byte-level BPE": train_bpe(TEXTS, vocab_size=300),
    "byte-level Unigram": train_unigram(TEXTS, vocab_size=300),
    "byte fallback": byte_fallback(),
    "characters": characters_tokenizer(TEXTS),
}
CITED = 'start: sentence (" " sentence)?\nsentence: TEXT " [" number "]"\nnumber: "1" | "2"\nTEXT: /[a-z羊驼读][a-z ]{2,12}[.。]/\n'
CITED_FORM = re.compile(r"[a-z羊驼读][a-z ]{2,12}[.。] \[[12]\](?: [a-z羊驼读][a-z ]{2,12}[.。] \[[12]\])?")


def network(tokenizer: Tokenizer, *, padding: int = 0, seed: int = 0) -> llama.Model:
    torch.manual_seed(seed)
    model = llama.Model(replace(llama.TINY, vocab_size=tokenizer.vocab_size + padding, context_length=256))
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return model.eval()


def say(
    tokenizer: Tokenizer, lark: str | None, *, padding: int = 0, seed: int = 0, temperature: float = 1.0, max_tokens: int = 120
) -> Generation:
    return generate(
        network(tokenizer, padding=padding, seed=seed),
        tokenizer,
        [tokenizer.begin_id],
        max_tokens=max_tokens,
        sampling=Sampling(temperature=temperature, top_p=1.0, seed=seed),
        stop_ids=tokenizer.stop_ids,
        constraint=None if lark is None else Grammar(lark, tokenizer, stop_ids=tokenizer.stop_ids),
    )


@pytest.mark.parametrize("name", TOKENIZERS)
@settings(max_examples=6, deadline=None)
@given(seed=st.integers(0, 1000), temperature=st.sampled_from([0.0, 1.0]))
def test_whatever_a_model_says_follows_the_grammar(name: str, seed: int, temperature: float) -> None:
    said = say(TOKENIZERS[name], CITED, seed=seed, temperature=temperature)
    assert said.finish_reason == "stop"
    assert CITED_FORM.fullmatch(said.text), said.text


def test_without_it_the_same_model_says_anything() -> None:
    assert not CITED_FORM.fullmatch(say(TOKENIZERS["bytes"], None).text)


def test_what_is_fixed_is_said_as_it_is() -> None:
    assert say(TOKENIZERS["byte-level BPE"], 'start: "the cat" /s?/').text.startswith("the cat")


@pytest.mark.parametrize("padding", [0, 1, 40])
def test_ids_that_pad_the_matrix_are_never_chosen(padding: int) -> None:
    said = say(TOKENIZERS["bytes"], "start: /[a-c]{5}/", padding=padding)
    assert re.fullmatch("[a-c]{5}", said.text)


def test_a_special_token_cannot_be_chosen_within_a_text() -> None:
    tokenizer = TOKENIZERS["byte-level BPE"]
    grammar = Grammar("start: /.{3}/", tokenizer, stop_ids=tokenizer.stop_ids)
    allowed = grammar.mask(torch.zeros(tokenizer.vocab_size)).isfinite()
    assert not any(allowed[number] for number in tokenizer.specials.values())
    assert allowed.any()


def test_where_a_text_may_end_any_of_the_stop_ids_may_come() -> None:
    tokenizer = TOKENIZERS["bytes"]
    stop_ids = frozenset({tokenizer.end_id, ord("z")})
    grammar = Grammar('start: "a" "b"?', tokenizer, stop_ids=stop_ids)
    assert not grammar.mask(torch.zeros(tokenizer.vocab_size)).isfinite()[sorted(stop_ids)].any()
    grammar.take(tokenizer.encode("a")[0])
    assert grammar.mask(torch.zeros(tokenizer.vocab_size)).isfinite()[sorted(stop_ids)].all()


def test_what_follows_no_grammar_is_refused() -> None:
    tokenizer = TOKENIZERS["bytes"]
    with pytest.raises(UsageError, match="cannot follow this grammar"):
        Grammar("start: nothing", tokenizer, stop_ids=tokenizer.stop_ids)
    grammar = Grammar('start: "a"', tokenizer, stop_ids=tokenizer.stop_ids)
    with pytest.raises(UsageError, match="cannot follow this grammar"):
        grammar.take(tokenizer.encode("b")[0])


def test_a_vocabulary_without_bytes_is_refused() -> None:
    names = ["[UNK]", "[CLS]", "[SEP]", *"abcdefghijklmnopqrstuvwxyz,.", "##a", "one", "of", "two"]
    rust = tokenizers.Tokenizer(models.WordPiece({name: number for number, name in enumerate(names)}, unk_token="[UNK]"))
    rust.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    rust.decoder = decoders.WordPiece()
    rust.add_special_tokens(["[UNK]", "[CLS]", "[SEP]"])
    with pytest.raises(UsageError, match="no bytes of their own"):
        Grammar('start: "a"', Tokenizer(rust.to_str(), {"sep_token": "[SEP]"}), stop_ids=frozenset({2}))


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "llguidance", None)
    with pytest.raises(MissingExtraError, match="llguidance"):
        Grammar('start: "a"', TOKENIZERS["bytes"], stop_ids=TOKENIZERS["bytes"].stop_ids)
