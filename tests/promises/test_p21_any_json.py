"""P21, its first part: no JSON, and nothing that is none, can make a 5xx. A later issue adds our own OpenAPI description."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llamarium.engine.language_model import LanguageModel
from llamarium.server import body, chat
from llamarium.server.refusal import RefusedError

Start = Callable[..., Any]
ROUTES = ("/v1/chat/completions", "/ask", "/documents")
NAMES = [
    *("model", "messages", "role", "content", "temperature", "top_p", "max_tokens", "max_completion_tokens", "stop", "seed", "stream"),
    *("stream_options", "include_usage", "n", "tools", "response_format", "logprobs", "user"),
    *("question", "documents", "phrase", "nearest", "name", "start"),
]

numbers = st.integers() | st.floats() | st.sampled_from([0, 1, 2, -1, 2**63, 10**30, 1e308, float("nan"), float("inf"), 0.5])
words = st.text(max_size=20) | st.sampled_from(["user", "assistant", "system", "Hi", "text", "\ud800", "\x00", "<|im_end|>", "羊驼"])
values = st.recursive(
    st.none() | st.booleans() | numbers | words,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(NAMES) | words, inner, max_size=5),
    max_leaves=12,
)
message = st.fixed_dictionaries({"role": st.sampled_from(["user", "assistant", "system"]), "content": words})
messages = st.lists(message, min_size=1, max_size=3)
options = {name: values for name in NAMES[4:] if name != "max_tokens"}
# Mostly sound, so that the rest of it is looked at.
chats = st.fixed_dictionaries({"messages": messages | values, "max_tokens": st.just(2)}, optional=options)
asks = st.fixed_dictionaries({"question": words}, optional={"documents": values, "phrase": values, "nearest": values})
drops = st.fixed_dictionaries({"name": words, "content": st.sampled_from(["", "aGVsbG8=", "!", "8J+mmQ=="]) | words})
bodies = st.one_of(values, chats, asks, drops)

HOSTILE = {
    "nothing": b"",
    "deep": b"[" * 100_000 + b"]" * 100_000,
    "deep objects": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    "deep and not closed": b"[" * 100_000,
    "a deep message": b'{"messages": ' + b"[" * 500 + b"]" * 500 + b"}",
    "NaN": b'{"messages": [{"role": "user", "content": "x"}], "temperature": NaN}',
    "infinity": b'{"messages": [{"role": "user", "content": "x"}], "temperature": 1e999}',
    "a huge number": b'{"messages": [{"role": "user", "content": "x"}], "seed": ' + b"9" * 5000 + b"}",
    "a large number": b'{"messages": [{"role": "user", "content": "x"}], "top_p": ' + b"9" * 4000 + b"}",
    "half a character": b'{"question": "\\ud800"}',
    "half a character in a name": b'{"\\udfff": 1}',
    "not UTF-8": b'{"question": "\xff\xfe"}',
    "UTF-16": '{"question": "x"}'.encode("utf-16"),
    "two values": b"{} {}",
    "a list": b"[]",
    "many keys": json.dumps({f"k{n}": n for n in range(100_000)}).encode(),
    "too large": b'{"question": "' + b"x" * body.LARGEST + b'"}',
    "too many messages": json.dumps({"messages": [{"role": "user", "content": ""}] * 1001}).encode(),
    "a name that leads elsewhere": b'{"name": "../../etc/x.txt", "content": "aGVsbG8="}',
    "a name of nothing": b'{"name": "\\u0000.txt", "content": "aGVsbG8="}',
    "a device": b'{"name": "CON.txt", "content": "aGVsbG8="}',
    "a question of words that are none": b'{"question": "\\u0000\\u200b\\u2028"}',
    "a long question": json.dumps({"question": "llama " * 100_000}).encode(),
    "SQL": b'{"question": "\\" OR 1=1; DROP TABLE documents; -- NEAR( *"}',
}


def statuses(served: Any, content: bytes) -> dict[str, int]:
    headers = {"Content-Type": "application/json"}
    return {path: served.client.post(path, content=content, headers=headers).status_code for path in ROUTES}


def holds(served: Any) -> None:
    for name, content in HOSTILE.items():
        for path, status in statuses(served, content).items():
            assert 200 <= status < 500, (name, path, status)
    assert served.post("/ask", {"question": "Where does a llama sleep?"}).json()["found"] is True


def test_hostile_bodies(serving: Start, echo: LanguageModel, docs: Any) -> None:
    holds(serving(echo, docs=docs))


def test_any_json(serving: Start, echo: LanguageModel, docs: Any) -> None:
    served = serving(echo, docs=docs)

    @settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    @given(bodies)
    def try_it(value: Any) -> None:
        found = statuses(served, json.dumps(value).encode())
        assert all(200 <= status < 500 for status in found.values()), (value, found)

    try_it()


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=60) | values.map(lambda value: json.dumps(value).encode()))
def test_what_is_parsed_can_be_written_again(data: bytes) -> None:
    with suppress(RefusedError):
        json.dumps(body.parse(data), ensure_ascii=False, allow_nan=False).encode("utf-8")


@settings(max_examples=100, deadline=None)
@given(chats)
def test_any_request_is_read_or_refused(value: dict[str, Any]) -> None:
    with suppress(RefusedError):
        assert chat.read_request(value).messages


def test_control_without_the_bounds_it_breaks(serving: Start, echo: LanguageModel, docs: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(body, "parse", json.loads)
    with pytest.raises((AssertionError, httpx.TransportError)):
        holds(serving(echo, docs=docs))
