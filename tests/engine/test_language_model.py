"""A model in one's hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import llamarium
from llamarium.checkpoint import huggingface
from llamarium.checkpoint.open import Opened
from llamarium.engine.generate import Generation
from llamarium.engine.language_model import LanguageModel
from llamarium.ground.errors import NotFoundError, UsageError
from llamarium.models import llama, ngram
from llamarium.models.context import Dense
from llamarium.models.model import Model
from llamarium.tokens.train import bytes_tokenizer

TOKENIZER = bytes_tokenizer()


def network() -> llama.Model:
    torch.manual_seed(0)
    model = llama.Model(replace(llama.TINY, vocab_size=TOKENIZER.vocab_size))
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return model.eval()


def counts() -> ngram.Model:
    model = ngram.Model(ngram.Config(vocab_size=TOKENIZER.vocab_size, order=3))
    model.fit([[TOKENIZER.begin_id, *TOKENIZER.encode("the cat and the hat and the bat"), TOKENIZER.end_id]])
    return model


def in_hand(model: Model) -> LanguageModel:
    return LanguageModel(Opened("tiny", model, TOKENIZER, TOKENIZER.stop_ids))


@pytest.fixture
def model() -> LanguageModel:
    return in_hand(network())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    huggingface.save_folder(tmp_path / "model", network(), TOKENIZER)
    return tmp_path / "model"


def test_load_takes_a_path_as_text_or_path(folder: Path) -> None:
    one, other = llamarium.load(str(folder)), llamarium.load(folder, engine="reference")
    assert torch.equal(one.logits([1, 2, 3]), other.logits([1, 2, 3]))
    assert not one.model.training
    assert one.stop_ids == TOKENIZER.stop_ids


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"engine": "refernce"}, UsageError, "engine 'refernce'"),
        ({"dtype": "float23"}, UsageError, "number type 'float23'"),
        ({"device": "gpu"}, UsageError, "device 'gpu'"),
    ],
)
def test_names_that_load_does_not_know_are_refused(folder: Path, options: dict[str, str], error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=match):
        llamarium.load(str(folder), **options)
    with pytest.raises(NotFoundError):
        llamarium.load("no-such-model")


@pytest.mark.parametrize("make", [network, counts])
@pytest.mark.parametrize("stream", [False, True])
def test_generate_gives_text(make: Callable[[], Model], stream: bool) -> None:
    model = in_hand(make())
    whole = model.generate("the", max_tokens=12, temperature=0.8, seed=1)
    assert isinstance(whole, Generation)
    pieces = model.generate("the", max_tokens=12, temperature=0.8, seed=1, stream=True)
    assert "".join(pieces) == whole.text


def test_counts_continue_what_they_counted() -> None:
    assert in_hand(counts()).generate("the ca", max_tokens=5, temperature=0).text == "t and"


def test_a_prompt_is_text_and_nothing_is_added_to_it_that_the_tokenizer_does_not_add(model: LanguageModel) -> None:
    assert model.generate("abc", max_tokens=1).prompt_tokens == 3
    assert model.generate("<|im_end|>", max_tokens=1).prompt_tokens == len("<|im_end|>")


def test_an_empty_prompt_begins_a_text(model: LanguageModel) -> None:
    result = model.generate("", max_tokens=4, temperature=0)
    assert result.prompt_tokens == 1
    ids_BT = torch.tensor([[TOKENIZER.begin_id]])
    with torch.no_grad():
        assert result.token_ids[:1] == [int(model.model(ids_BT, Dense(ids_BT))[0, -1].argmax())]


def test_chat_answers_in_the_models_form(model: LanguageModel) -> None:
    messages = [{"role": "user", "content": "hi"}]
    result = model.chat(messages, max_tokens=6, temperature=0)
    assert result.prompt_tokens == len(TOKENIZER.encode_chat(messages))
    assert "".join(model.chat(messages, max_tokens=6, temperature=0, stream=True)) == result.text


@pytest.mark.parametrize(
    "messages", [[{"role": "user"}], [{"content": "hi"}], [{"role": "user", "content": None}], [{"role": 3, "content": "x"}], ["hi"], "hi"]
)
def test_messages_that_are_none_are_refused(model: LanguageModel, messages: Any) -> None:
    with pytest.raises(UsageError, match="role and a content"):
        model.chat(messages)


def test_one_stop_string_needs_no_list(model: LanguageModel) -> None:
    text = model.generate("the", max_tokens=20, temperature=0).text
    word = text[5:7]
    assert model.generate("the", max_tokens=20, temperature=0, stop=word).text == text[: text.index(word)]
    assert model.generate("the", max_tokens=20, temperature=0, stop=[word]).text == text[: text.index(word)]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"max_token": 3}, "Unknown option 'max_token'"),
        ({"max_tokens": 0}, "max_tokens must be at least 1"),
        ({"temperature": -1.0}, "temperature"),
        ({"seed": 1 << 70}, "seed"),
    ],
)
def test_wrong_options_are_refused_at_once(model: LanguageModel, options: dict[str, Any], match: str, stream: bool) -> None:
    with pytest.raises(UsageError, match=match) as caught:
        model.generate("the", stream=stream, **options)  # type: ignore[call-overload]  # the two forms are run as one
    if "max_token" in options:
        assert caught.value.hint == "Did you mean 'max_tokens'?"


@pytest.mark.parametrize("stream", [False, True])
def test_a_prompt_that_is_too_long_is_refused_at_once(model: LanguageModel, stream: bool) -> None:
    with pytest.raises(UsageError, match=r"has 64 tokens.* holds 64"):
        model.generate("x" * 64, stream=stream)  # type: ignore[call-overload]  # the two forms are run as one
    with pytest.raises(UsageError, match="holds 64"):
        model.chat([{"role": "user", "content": "x" * 64}], stream=stream)  # type: ignore[call-overload]


def test_a_result_can_be_filled_while_it_streams(model: LanguageModel) -> None:
    result = Generation()
    text = "".join(model.generate("the", max_tokens=5, temperature=0, stream=True, result=result))
    assert (result.text, result.completion_tokens) == (text, 5)


def test_logits_are_those_of_the_model_and_nothing_is_added(model: LanguageModel) -> None:
    ids = TOKENIZER.encode("the cat")
    found = model.logits(ids)
    ids_BT = torch.tensor([ids])
    with torch.no_grad():
        assert torch.equal(found, model.model(ids_BT, Dense(ids_BT))[0])
    assert (found.shape, found.dtype, found.device.type) == ((7, TOKENIZER.vocab_size), torch.float32, "cpu")
    assert not found.requires_grad
    model.model.bfloat16()
    assert model.logits(ids).dtype == torch.float32


@pytest.mark.parametrize(("ids", "match"), [([], "no ids"), ([1, 259], "id 259 is not in"), ([-1], "id -1 is not in")])
def test_ids_that_are_none_are_refused(model: LanguageModel, ids: list[int], match: str) -> None:
    with pytest.raises(UsageError, match=match):
        model.logits(ids)
