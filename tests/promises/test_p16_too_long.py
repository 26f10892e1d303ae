"""P16: a prompt that is too long is refused, with both counts, before the model does anything; nothing is ever cut silently."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from llamarium.engine.generate import Generation
from llamarium.engine.language_model import LanguageModel
from llamarium.server import slot

Start = Callable[..., Any]
NEEDLE = "The needle is at the head. "


def messages_of(model: LanguageModel, num_tokens: int) -> list[dict[str, str]]:
    """A conversation that comes to `num_tokens`, one byte being one token."""
    around = len(model.tokenizer.encode_chat([{"role": "user", "content": NEEDLE}]))
    return [{"role": "user", "content": NEEDLE + "x" * (num_tokens - around)}]


def holds(served: Any, model: LanguageModel) -> None:
    limit = model.model.config.context_length
    for stream in (False, True):
        for num_tokens in (limit, limit + 1, limit + 1000, 100 * limit):
            before = model.model.steps
            body = {"messages": messages_of(model, num_tokens), "max_tokens": 1, "stream": stream}
            refused = served.post("/v1/chat/completions", body)
            assert refused.status_code == 400, num_tokens
            error = refused.json()["error"]
            assert (error["code"], error["type"]) == ("context_length_exceeded", "invalid_request_error")
            assert f"{limit} tokens" in error["message"]
            assert f"{num_tokens} tokens" in error["message"]
            assert model.model.steps == before  # no model work
    for num_tokens in (limit - 1, limit - 2):
        answer = served.post("/v1/chat/completions", {"messages": messages_of(model, num_tokens), "max_tokens": len(NEEDLE)}).json()
        assert answer["usage"]["prompt_tokens"] == num_tokens
        # It was read from its head, and the room that was left is what is written: the reason says that there was no more.
        assert NEEDLE.startswith(answer["choices"][0]["message"]["content"])
        assert answer["usage"]["completion_tokens"] == limit - num_tokens
        assert answer["choices"][0]["finish_reason"] == "length"


def test_a_prompt_fits_or_is_refused(serving: Start, echo: LanguageModel) -> None:
    holds(serving(echo), echo)


def test_a_model_without_a_limit_has_the_servers(serving: Start, echo: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slot, "LONGEST", 100)
    object.__setattr__(echo.model.config, "context_length", None)
    refused = serving(echo).post("/v1/chat/completions", {"messages": messages_of(echo, 100)})
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "context_length_exceeded")


def test_control_a_prompt_that_is_cut_is_noticed(serving: Start, echo: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    def begin(
        model: LanguageModel, messages: Sequence[dict[str, str]], *, result: Generation, max_tokens: int, **options: Any
    ) -> Iterator[str]:
        last = [{"role": "user", "content": messages[-1]["content"][-100:]}]
        return model.chat(last, stream=True, result=result, max_tokens=max_tokens, **options)

    monkeypatch.setattr(slot, "_begin", begin)
    with pytest.raises(AssertionError):
        holds(serving(echo), echo)
