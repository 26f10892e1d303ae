"""One text that grows: what is said, when it is said, and where it ends."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from llamarium.engine.generate import Generation, generate, stream
from llamarium.engine.sample import Sampling
from llamarium.ground.errors import UsageError
from llamarium.models import llama, ngram
from llamarium.models.context import Dense
from llamarium.models.model import Context, Model
from llamarium.tokens.tokenizer import Tokenizer
from llamarium.tokens.train import bytes_tokenizer, train_bpe

BYTES = bytes_tokenizer()
WORDS = train_bpe(["the cat and the hat, the end", "羊驼读文本"] * 5, vocab_size=330)
GREEDY = Sampling(temperature=0)


def network(**changes: Any) -> llama.Model:
    torch.manual_seed(0)
    model = llama.Model(replace(llama.TINY, vocab_size=BYTES.vocab_size, **changes))
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return model.eval()


@dataclass(frozen=True)
class ScriptConfig:
    vocab_size: int
    context_length: int = 4096


class Script(Model):
    """A model that says one thing: after a prompt of one id come the ids of its script, whatever it reads."""

    KIND = "decoder"

    def __init__(self, ids: list[int], tokenizer: Tokenizer) -> None:
        super().__init__()
        self.config = ScriptConfig(tokenizer.vocab_size)
        self.blocks = nn.ModuleList()
        self.register_buffer("ids", torch.tensor([*ids, tokenizer.end_id]))
        self.reads = 0

    def forward(self, ids_BT: Tensor, context: Context) -> Tensor:
        self.reads += ids_BT.numel()
        following = self.get_buffer("ids")[context.positions_BT]
        return nn.functional.one_hot(following, self.config.vocab_size).float() * 100


def say(
    text: str | bytes, *, tokenizer: Tokenizer = BYTES, stop: list[str] | None = None, max_tokens: int = 4000
) -> tuple[list[str], Generation]:
    """The pieces in which a model that says `text` says it, and the whole."""
    result = Generation()
    model = Script(tokenizer.encode(text), tokenizer)
    options: dict[str, Any] = {"max_tokens": max_tokens, "sampling": GREEDY, "stop_ids": tokenizer.stop_ids, "stop": stop or []}
    return list(stream(model, tokenizer, [tokenizer.begin_id], result=result, **options)), result


# --- choosing ---


def test_greedy_is_the_argmax_of_the_full_logits() -> None:
    model, prompt = network(), BYTES.encode("the cat")
    result = generate(model, BYTES, prompt, max_tokens=30, sampling=GREEDY, stop_ids=frozenset())
    ids = list(prompt)
    with torch.no_grad():
        for number in result.token_ids:
            ids_BT = torch.tensor([ids])
            assert number == int(model(ids_BT, Dense(ids_BT))[0, -1].argmax())
            ids.append(number)
    assert len(result.token_ids) == 30
    assert len(set(result.token_ids)) > 3


@pytest.mark.parametrize("model", [network(), network(window=4), ngram.Model(ngram.Config(vocab_size=BYTES.vocab_size, order=3))])
def test_a_seed_gives_the_same_text_and_another_seed_another(model: Model) -> None:
    if isinstance(model, ngram.Model):
        model.fit([BYTES.encode("the cat and the hat and the bat and the rat that sat at the mat")])
    options: dict[str, Any] = {"max_tokens": 25, "stop_ids": frozenset()}

    def ids(seed: int | None) -> list[int]:
        return generate(model, BYTES, BYTES.encode("the"), sampling=Sampling(temperature=1.0, top_p=1.0, seed=seed), **options).token_ids

    assert ids(1) == ids(1)
    assert ids(1) != ids(2)
    assert ids(None) != ids(None)


def test_a_seed_is_not_disturbed_by_what_else_draws() -> None:
    model = network()
    options: dict[str, Any] = {"max_tokens": 10, "stop_ids": frozenset(), "sampling": Sampling(temperature=1.0, seed=3)}
    expected = generate(model, BYTES, [5], **options).token_ids
    before = torch.get_rng_state()
    found = []
    result = Generation()
    for _ in stream(model, BYTES, [5], result=result, **options):
        torch.rand(3)
    found = result.token_ids
    assert found == expected
    torch.set_rng_state(before)
    generate(model, BYTES, [5], **options)
    assert torch.equal(torch.get_rng_state(), before)


# --- where it ends ---


def test_it_ends_at_a_stop_id_which_is_not_part_of_the_answer() -> None:
    pieces, result = say("hello")
    assert ("".join(pieces), result.text, result.finish_reason) == ("hello", "hello", "stop")
    assert result.token_ids == BYTES.encode("hello")
    assert (result.prompt_tokens, result.completion_tokens) == (1, 5)


def test_it_ends_after_max_tokens() -> None:
    _, result = say("hello", max_tokens=3)
    assert (result.text, result.finish_reason, result.completion_tokens) == ("hel", "length", 3)


def test_it_ends_where_the_context_is_full() -> None:
    model = network(context_length=16)
    result = generate(model, BYTES, [5] * 10, max_tokens=100, sampling=GREEDY, stop_ids=frozenset())
    assert (result.finish_reason, result.completion_tokens, len(result.token_ids)) == ("length", 6, 6)


@pytest.mark.parametrize("length", [64, 65, 1000])
def test_a_prompt_that_does_not_fit_is_refused_with_both_counts_before_any_work(length: int) -> None:
    model = Script([], BYTES)
    model.config = ScriptConfig(BYTES.vocab_size, context_length=64)
    with pytest.raises(UsageError, match=rf"has {length:,} tokens.* holds 64"):
        generate(model, BYTES, [5] * length, max_tokens=1, sampling=GREEDY, stop_ids=frozenset())
    assert model.reads == 0
    generate(model, BYTES, [5], max_tokens=1, sampling=GREEDY, stop_ids=frozenset())
    assert model.reads == 1


def test_the_longest_prompt_that_fits_gets_one_token() -> None:
    result = generate(network(), BYTES, [5] * 63, max_tokens=9, sampling=GREEDY, stop_ids=frozenset())
    assert (result.completion_tokens, result.finish_reason) == (1, "length")


@pytest.mark.parametrize("max_tokens", [0, -1])
def test_no_tokens_are_refused(max_tokens: int) -> None:
    with pytest.raises(UsageError, match="max_tokens must be at least 1"):
        generate(network(), BYTES, [5], max_tokens=max_tokens, sampling=GREEDY, stop_ids=frozenset())


# --- stop strings ---


def before_first_stop(text: str, stop: list[str]) -> tuple[str, bool]:
    """Letter by letter: the text before the first stop string that is complete, and whether there is one."""
    for end in range(1, len(text) + 1):
        if found := [word for word in stop if word and text[:end].endswith(word)]:
            return text[: end - max(map(len, found))], True
    return text, False


letters = st.text(alphabet="ab羊 ", max_size=25)
stops = st.lists(st.text(alphabet="ab羊 ", min_size=0, max_size=4), max_size=4)


@pytest.mark.parametrize("tokenizer", [BYTES, WORDS], ids=["bytes", "words"])
def test_stop_strings_never_leak(tokenizer: Tokenizer) -> None:
    @given(letters | st.lists(st.sampled_from(["the", " the", "cat", "羊驼", "end", " "]), max_size=8).map("".join), stops)
    @settings(max_examples=250, deadline=None)
    def check(text: str, stop: list[str]) -> None:
        expected, reached = before_first_stop(text, stop)
        pieces, result = say(text, tokenizer=tokenizer, stop=stop)
        assert "".join(pieces) == result.text == expected
        assert result.finish_reason == "stop"
        assert all(pieces)
        if not reached:
            assert result.token_ids == tokenizer.encode(text)

    check()


@given(letters, stops, st.integers(1, 10))
@settings(max_examples=150, deadline=None)
def test_what_waited_is_said_when_nothing_more_can_come(text: str, stop: list[str], max_tokens: int) -> None:
    pieces, result = say(text, stop=stop, max_tokens=max_tokens)
    heard = BYTES.encode(text)[:max_tokens]
    expected, reached = before_first_stop(BYTES.decode(heard), stop)
    assert "".join(pieces) == result.text == expected
    ended = reached or max_tokens > len(BYTES.encode(text))
    assert result.finish_reason == ("stop" if ended else "length")


def test_text_is_shown_as_soon_as_it_is_certain() -> None:
    pieces, _ = say("a cat. THE END and more", stop=["THE END"])
    assert pieces == list("a cat. ")
    pieces, _ = say("THE ENx", stop=["THE END"])
    assert pieces == ["THE ENx"]
    pieces, _ = say("abac", stop=["abad"])
    assert pieces == ["abac"]


@pytest.mark.parametrize("tokenizer", [BYTES, WORDS], ids=["bytes", "words"])
def test_the_stop_string_that_is_complete_first_counts_however_the_text_is_cut(tokenizer: Tokenizer) -> None:
    assert (len(WORDS.encode(" the")), len(BYTES.encode(" the"))) == (1, 4)
    assert say("cat the", tokenizer=tokenizer, stop=[" the", "h"])[1].text == "cat t"
    assert say("cat the", tokenizer=tokenizer, stop=[" the", "he"])[1].text == "cat"


def test_nothing_is_read_after_a_stop_string() -> None:
    model = Script(BYTES.encode("one. two. three."), BYTES)
    result = generate(model, BYTES, [BYTES.begin_id], max_tokens=50, sampling=GREEDY, stop_ids=BYTES.stop_ids, stop=["."])
    assert result.text == "one"
    assert model.reads == len("one.")


# --- streams ---


@given(st.text(max_size=20))
@settings(max_examples=100, deadline=None)
def test_characters_are_whole_in_every_piece(text: str) -> None:
    pieces, result = say(text)
    assert pieces == list(text)
    assert result.text == text


@given(st.binary(max_size=12))
@settings(max_examples=150, deadline=None)
def test_bytes_that_are_no_text_show_as_such_wherever_the_text_ends(data: bytes) -> None:
    pieces, result = say(data)
    assert "".join(pieces) == result.text == data.decode("utf-8", "replace")
    for max_tokens in range(1, len(data) + 1):
        assert say(data, max_tokens=max_tokens)[1].text == data[:max_tokens].decode("utf-8", "replace")


def test_a_result_fills_while_the_text_streams() -> None:
    result = Generation()
    model = Script(BYTES.encode("abc"), BYTES)
    found = []
    for piece in stream(model, BYTES, [5], max_tokens=9, sampling=GREEDY, stop_ids=BYTES.stop_ids, result=result):
        found.append((piece, result.text, result.completion_tokens))
        assert not torch.is_inference_mode_enabled()
    assert found == [("a", "a", 1), ("b", "ab", 2), ("c", "abc", 3)]


def test_a_stream_that_is_left_stops_the_work() -> None:
    model = Script(BYTES.encode("abcdef"), BYTES)
    words = stream(model, BYTES, [5], max_tokens=9, sampling=GREEDY, stop_ids=BYTES.stop_ids)
    assert next(words) == "a"
    del words
    assert model.reads == 1


def test_the_dictionary_has_the_keys_of_the_command_line() -> None:
    _, result = say("hello")
    found = result.as_dict()
    assert list(found) == ["text", "token_ids", "prompt_tokens", "completion_tokens", "finish_reason", "seconds"]
    assert json.loads(json.dumps(found)) == found
    assert found["seconds"] > 0


# --- the control ---


def test_control_stop_strings_that_are_not_waited_for_leak(monkeypatch: pytest.MonkeyPatch) -> None:
    from llamarium.engine import generate as module

    def hasty(text: str, stop: list[str]) -> tuple[str, str, bool]:
        return next(((text[: text.find(word)], "", True) for word in stop if word in text), (text, "", False))

    monkeypatch.setattr(module, "_before_stop", hasty)
    with pytest.raises(AssertionError):
        test_text_is_shown_as_soon_as_it_is_certain()
