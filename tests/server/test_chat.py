"""OpenAI's API, in the form its clients read, and with OpenAI's own client."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable
from typing import Any

import httpx
import openai
import pytest

from llamarium.engine.language_model import LanguageModel
from llamarium.server import chat
from llamarium.server.refusal import RefusedError

Start = Callable[..., Any]
HELLO = [{"role": "user", "content": "Hello, llama 羊驼"}]


def test_openais_client_streams_a_chat_unchanged(serving: Start, tiny: LanguageModel) -> None:
    served = serving(tiny)
    expected = tiny.chat(HELLO, max_tokens=24, temperature=0.8, top_p=0.9, seed=7)
    with openai.OpenAI(base_url=f"{served.url}/v1", api_key="none", max_retries=0) as client:
        [model] = client.models.list().data
        assert client.models.retrieve(model.id).id == model.id == "tiny"
        options: dict[str, Any] = {"model": model.id, "messages": HELLO, "max_tokens": 24, "temperature": 0.8, "top_p": 0.9, "seed": 7}
        whole = client.chat.completions.create(**options)
        chunks = list(client.chat.completions.create(**options, stream=True, stream_options={"include_usage": True}))
    assert whole.choices[0].message.content == expected.text
    assert whole.choices[0].finish_reason == expected.finish_reason
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == expected.text
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == expected.finish_reason
    assert chunks[-1].usage == whole.usage
    assert whole.usage is not None
    assert (whole.usage.prompt_tokens, whole.usage.completion_tokens) == (expected.prompt_tokens, expected.completion_tokens)
    assert len({chunk.id for chunk in chunks}) == 1


def test_openais_client_sees_its_own_errors(serving: Start, tiny: LanguageModel) -> None:
    served = serving(tiny, key="0123456789abcdef")
    with openai.OpenAI(base_url=f"{served.url}/v1", api_key="another", max_retries=0) as client, pytest.raises(openai.AuthenticationError):
        client.models.list()
    with openai.OpenAI(base_url=f"{served.url}/v1", api_key="0123456789abcdef", max_retries=0) as client:
        with pytest.raises(openai.BadRequestError) as caught:
            client.chat.completions.create(model="tiny", messages=[{"role": "user", "content": "x" * 999}])
        assert caught.value.code == "context_length_exceeded"
        with pytest.raises(openai.NotFoundError):
            client.models.retrieve("another")


def test_the_asynchronous_client_too(serving: Start, tiny: LanguageModel) -> None:
    served = serving(tiny)

    async def talk() -> str:
        async with openai.AsyncOpenAI(base_url=f"{served.url}/v1", api_key="none", max_retries=0) as client:
            stream = await client.chat.completions.create(
                model="any", messages=[{"role": "user", "content": "Hi"}], temperature=0, max_completion_tokens=12, stream=True
            )
            return "".join([chunk.choices[0].delta.content or "" async for chunk in stream])

    assert asyncio.run(talk()) == tiny.chat([{"role": "user", "content": "Hi"}], temperature=0, max_tokens=12).text


def test_a_stop_string_ends_the_answer(serving: Start, echo: LanguageModel) -> None:
    served = serving(echo)
    answer = served.post("/v1/chat/completions", {"messages": HELLO, "stop": ["llama"], "temperature": 0}).json()
    assert answer["choices"][0]["message"]["content"] == "Hello, "
    assert answer["choices"][0]["finish_reason"] == "stop"


def test_one_after_another_is_never_refused(serving: Start, echo: LanguageModel) -> None:
    served = serving(echo)
    for number in range(150):
        body = {"messages": HELLO if number % 3 else [{"role": "user", "content": "x" * 5000}], "max_tokens": 2, "stream": number % 2 == 0}
        assert served.post("/v1/chat/completions", body).status_code == (200 if number % 3 else 400), number


def test_while_one_speaks_others_are_refused_at_once(serving: Start, echo: LanguageModel) -> None:
    served = serving(echo)
    echo.model.pause = 0.02  # type: ignore[assignment]
    with served.client.stream("POST", "/v1/chat/completions", json={"messages": HELLO, "stream": True}) as stream:
        lines = stream.iter_lines()
        assert next(lines).startswith("data: ")
        begin = time.perf_counter()
        with httpx.Client(base_url=served.url, trust_env=False) as other:
            refused = other.post("/v1/chat/completions", json={"messages": HELLO})
            assert other.get("/healthz").status_code == 200
        assert time.perf_counter() - begin < 1.0
        assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
        assert refused.json()["error"]["type"] == "rate_limit_error"
        rest = list(lines)
    assert rest[-2] == "data: [DONE]"
    text = "".join(json.loads(line[6:])["choices"][0]["delta"].get("content", "") for line in rest if line.startswith("data: {"))
    assert text == HELLO[0]["content"]


@pytest.mark.parametrize("stream", [True, False])
def test_who_leaves_frees_the_place_within_a_step(serving: Start, echo: LanguageModel, stream: bool) -> None:
    served = serving(echo)
    echo.model.pause = 0.05  # type: ignore[assignment]
    body = {"messages": [{"role": "user", "content": "long " * 100}], "stream": stream}
    leaving = httpx.Client(base_url=served.url, trust_env=False, timeout=30)
    with leaving:
        if stream:
            with leaving.stream("POST", "/v1/chat/completions", json=body) as response:
                next(response.iter_lines())
        else:
            with pytest.raises(httpx.ReadTimeout):
                leaving.post("/v1/chat/completions", json=body, timeout=0.3)
    left_at = echo.model.steps
    assert served.until(lambda: not served.application.busy, seconds=2)
    time.sleep(0.12)
    assert echo.model.steps <= left_at + 2  # type: ignore[operator]  # one under way as the connection closed, and one that saw it
    assert served.post("/v1/chat/completions", {"messages": HELLO, "max_tokens": 1}).status_code == 200


def test_a_step_that_completes_no_character_notices_too(serving: Start, echo: LanguageModel) -> None:
    """The place is freed within a step even where steps bring no text for a while, as in the midst of a stop string."""
    served = serving(echo)
    echo.model.pause = 0.02  # type: ignore[assignment]
    body = {"messages": [{"role": "user", "content": "a" * 300}], "stream": True, "stop": "a" * 299 + "b"}
    with httpx.Client(base_url=served.url, trust_env=False, timeout=30) as leaving, pytest.raises(httpx.ReadTimeout):
        leaving.post("/v1/chat/completions", json=body, timeout=0.2)
    assert served.until(lambda: not served.application.busy, seconds=1)
    assert echo.model.steps < 60  # type: ignore[operator]


def test_sigterm_lets_a_stream_finish_and_takes_no_other(serving: Start, echo: LanguageModel) -> None:
    served = serving(echo)
    echo.model.pause = 0.03  # type: ignore[assignment]
    with served.client.stream("POST", "/v1/chat/completions", json={"messages": HELLO, "stream": True}) as stream:
        lines = stream.iter_lines()
        next(lines)
        stopping = threading.Thread(target=served.stop)
        stopping.start()
        with httpx.Client(base_url=served.url, trust_env=False) as other:
            assert served.until(lambda: other.get("/readyz").status_code == 503)
            assert other.post("/v1/chat/completions", json={"messages": HELLO}).status_code == 503
            assert other.post("/ask", json={"question": "?"}).status_code == 503
            assert other.get("/healthz").status_code == 200
        assert list(lines)[-2] == "data: [DONE]"
    stopping.join(10)
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{served.url}/readyz", trust_env=False)


def test_a_stream_that_takes_too_long_is_told_that_it_was_cut(serving: Start, echo: LanguageModel) -> None:
    served = serving(echo, grace=0.1)
    echo.model.pause = 0.03  # type: ignore[assignment]
    body = {"messages": [{"role": "user", "content": "long " * 100}], "stream": True}
    with served.client.stream("POST", "/v1/chat/completions", json=body) as stream:
        lines = stream.iter_lines()
        next(lines)
        stopping = threading.Thread(target=served.stop)
        stopping.start()
        events = [line for line in lines if line]
    assert json.loads(events[-1][6:])["error"]["code"] == "stopping"
    stopping.join(10)


# --- what a request may say


def read(**more: Any) -> chat.ChatRequest:
    return chat.read_request({"model": "tiny", "messages": HELLO, **more})


@pytest.mark.parametrize(
    ("more", "param"),
    [
        ({"messages": []}, "messages"),
        ({"messages": "hi"}, "messages"),
        ({"messages": [{"role": "user", "content": "x"}] * 1001}, "messages"),
        ({"messages": ["hi"]}, "messages[0]"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": ["user"], "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": None}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://x/"}}]}]}, "messages[0].content"),
        ({"messages": [{"role": "assistant", "content": "x", "tool_calls": [{}]}]}, "messages[0].tool_calls"),
        ({"temperature": 3}, "temperature"),
        ({"temperature": True}, "temperature"),
        ({"temperature": "1"}, "temperature"),
        ({"temperature": 10**400}, "temperature"),
        ({"top_p": -0.1}, "top_p"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": 1.5}, "max_tokens"),
        ({"max_completion_tokens": -1}, "max_completion_tokens"),
        ({"stop": ["a"] * 5}, "stop"),
        ({"stop": 7}, "stop"),
        ({"seed": 1 << 63}, "seed"),
        ({"stream": 1}, "stream"),
        ({"stream_options": {"x": 1}}, "stream_options"),
        ({"n": 2}, "n"),
        ({"n": True}, "n"),
        ({"logprobs": True}, "logprobs"),
        ({"logprobs": 0}, "logprobs"),
        ({"tools": [{"type": "function"}]}, "tools"),
        ({"response_format": {"type": "json_object"}}, "response_format"),
        ({"presence_penalty": 0.5}, "presence_penalty"),
        ({"chat_template": "{{ x }}"}, "chat_template"),
        ({"grammar": "x"}, "grammar"),
    ],
)
def test_what_is_not_supported_is_refused_by_name(more: dict[str, Any], param: str) -> None:
    with pytest.raises(RefusedError) as caught:
        read(**more)
    assert (caught.value.status, caught.value.param) == (400, param)


def test_what_asks_for_nothing_is_taken() -> None:
    neutral = {
        "n": 1,
        "presence_penalty": 0,
        "frequency_penalty": 0.0,
        "logit_bias": {},
        "tools": None,
        "response_format": {"type": "text"},
    }
    aside = {"user": "me", "metadata": {"a": "b"}, "store": False, "logprobs": None, "stream_options": None, "max_tokens": None}
    assert read(**neutral, **aside) == read()
    assert read(max_tokens=5, max_completion_tokens=9).max_tokens == 5
    assert read(stop="x").sampling["stop"] == ["x"]
    assert read(top_p=0).sampling["temperature"] == 0.0


def test_parts_of_text_are_one_text() -> None:
    [message] = chat.read_request({"messages": [{"role": "developer", "content": [{"type": "text", "text": t} for t in "ab"]}]}).messages
    assert message == {"role": "system", "content": "ab"}
