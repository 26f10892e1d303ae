"""``/v1``: OpenAI's chat completions for the one model there is.

Takes: requests as OpenAI's clients send them.
Gives: completions, whole or streamed (server-sent events); what is not supported is refused, not ignored.
Does not know: documents.

The form is that of https://platform.openai.com/docs/api-reference/chat. Fields that change nothing about the text are taken
and left aside; others are taken at the value that asks for nothing.
"""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from llamarium.ground.errors import LlamariumError
from llamarium.server.body import read_json
from llamarium.server.refusal import RefusedError, refused, stopping
from llamarium.server.slot import LeftError, Slot, Turn

MOST_MESSAGES = 1_000
MOST_STOPS = 4
LONGEST_STOP = 1_000  # characters
PATIENCE = 30.0  # seconds that a reader may block before it is dropped

_ROLES = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant"}
# They say who asks and how it is accounted for.
_ASIDE = frozenset(
    {"model", "user", "metadata", "store", "service_tier", "safety_identifier", "prompt_cache_key", "prompt_cache_retention"}
)
# What asks for nothing; null always does.
_NOTHING: dict[str, tuple[Any, ...]] = {
    "n": (1,),
    "frequency_penalty": (0,),
    "presence_penalty": (0,),
    "logit_bias": ({},),
    "logprobs": (False,),
    "top_logprobs": (0,),
    "tools": ([],),
    "functions": ([],),
    "tool_choice": ("none", "auto"),
    "function_call": ("none", "auto"),
    "parallel_tool_calls": (True, False),
    "response_format": ({"type": "text"},),
    "modalities": (["text"],),
}


@dataclass(frozen=True)
class ChatRequest:
    """What is asked of the model."""

    messages: tuple[dict[str, str], ...]
    max_tokens: int | None = None
    stream: bool = False
    include_usage: bool = False
    sampling: Mapping[str, Any] = field(default_factory=dict)


def read_request(body: Mapping[str, Any]) -> ChatRequest:
    """The request in a JSON object. `RefusedError` (400) names the parameter that is wrong or not supported."""
    given = {name: value for name, value in body.items() if value is not None and name not in _ASIDE}
    messages = _messages(given.pop("messages", None))
    limits = [_number(given.pop(name), name, 1, 1 << 53, whole=True) for name in ("max_completion_tokens", "max_tokens") if name in given]
    stream = _boolean(given.pop("stream", False), "stream")
    options = given.pop("stream_options", {})
    if not isinstance(options, dict) or options.keys() - {"include_usage", "include_obfuscation"}:
        raise _wrong("stream_options", "takes include_usage only.")
    sampling: dict[str, Any] = {"temperature": 1.0, "top_p": 1.0, "stop": _stops(given.pop("stop", []))}
    for name, low, high in (("temperature", 0, 2), ("top_p", 0, 1)):
        if name in given:
            sampling[name] = float(_number(given.pop(name), name, low, high))
    if sampling["top_p"] == 0:  # the smallest set that makes up no share is the most probable token
        sampling |= {"top_p": 1.0, "temperature": 0.0}
    if "seed" in given:
        # The engine takes seeds from 0; OpenAI's may be negative.
        sampling["seed"] = int(_number(given.pop("seed"), "seed", -(1 << 63), (1 << 63) - 1, whole=True)) % (1 << 63)
    for name, value in given.items():
        if name not in _NOTHING:
            raise _wrong(name[:100], "is not supported here.", code="unsupported_parameter")
        if not _is_any_of(value, _NOTHING[name]):
            raise _wrong(name, "is supported at its default only.", code="unsupported_value")
    include_usage = _boolean(options.get("include_usage") or False, "stream_options")
    return ChatRequest(messages, int(min(limits)) if limits else None, stream, include_usage, sampling)


def _messages(value: Any) -> tuple[dict[str, str], ...]:
    if not isinstance(value, list) or not value:
        raise _wrong("messages", "is a list of at least one message.")
    if len(value) > MOST_MESSAGES:
        raise _wrong("messages", f"holds {len(value):,} messages; at most {MOST_MESSAGES:,} are taken.")
    messages = []
    for number, message in enumerate(value):
        where = f"messages[{number}]"
        if not isinstance(message, dict):
            raise _wrong(where, "is an object with role and content.")
        role, content = message.get("role"), message.get("content")
        if not isinstance(role, str) or role not in _ROLES:
            raise _wrong(f"{where}.role", f"is one of {', '.join(_ROLES)}.")
        for name, more in message.items():
            if name not in ("role", "content", "name") and more not in (None, [], ""):
                raise _wrong(f"{where}.{name[:100]}", "is not supported here.", code="unsupported_parameter")
        messages.append({"role": _ROLES[role], "content": _text(content, where)})
    return tuple(messages)


def _text(content: Any, where: str) -> str:
    if isinstance(content, str):
        return content
    if not isinstance(content, list) or not content:
        raise _wrong(f"{where}.content", "is text.")
    parts = []
    for part in content:
        if not isinstance(part, dict) or part.get("type") != "text" or not isinstance(part.get("text"), str):
            raise _wrong(f"{where}.content", "holds a part that is not text.", code="unsupported_value")
        parts.append(part["text"])
    return "".join(parts)


def _stops(value: Any) -> list[str]:
    stops = [value] if isinstance(value, str) else value
    if not isinstance(stops, list) or len(stops) > MOST_STOPS or not all(isinstance(s, str) and len(s) <= LONGEST_STOP for s in stops):
        raise _wrong("stop", f"is a text or up to {MOST_STOPS} texts of at most {LONGEST_STOP:,} characters.")
    return [stop for stop in stops if stop]


def _is_any_of(value: Any, neutrals: tuple[Any, ...]) -> bool:
    # To Python, true is 1 and false is 0.
    return any(value == neutral and isinstance(value, bool) is isinstance(neutral, bool) for neutral in neutrals)


def _number(value: Any, name: str, low: int, high: int, *, whole: bool = False) -> int | float:
    if isinstance(value, bool) or not isinstance(value, int if whole else (int, float)) or not low <= value <= high:
        raise _wrong(name, f"is a {'whole ' if whole else ''}number from {low} to {high}.")
    assert isinstance(value, int | float)
    return value


def _boolean(value: Any, name: str) -> bool:
    if not isinstance(value, bool):
        raise _wrong(name, "is true or false.")
    return value


def _wrong(param: str, message: str, *, code: str = "invalid_value") -> RefusedError:
    return RefusedError(400, f"{param} {message}", param=param, code=code)


class Chat:
    """The routes below ``/v1``. `name` is the model's, as clients see it; whichever a request names, this one answers and says so."""

    def __init__(self, slot: Slot, *, name: str) -> None:
        self.slot, self.name = slot, name
        self._created = int(time.time())

    def _model(self) -> dict[str, Any]:
        return {"id": self.name, "object": "model", "created": self._created, "owned_by": "llamarium"}

    async def models(self, request: Request) -> Response:  # noqa: ARG002
        """``GET /v1/models``."""
        return JSONResponse({"object": "list", "data": [self._model()]})

    async def model(self, request: Request) -> Response:
        """``GET /v1/models/NAME``."""
        if request.path_params["name"] != self.name:
            raise RefusedError(404, "There is no model of that name here.", code="model_not_found", param="model")
        return JSONResponse(self._model())

    async def completions(self, request: Request) -> Response:
        """``POST /v1/chat/completions``."""
        asked = read_request(await read_json(request))
        turn = self.slot.take()
        try:
            await turn.chat(asked.messages, max_tokens=asked.max_tokens, **asked.sampling)
        except LlamariumError as error:
            raise refused(error) from None
        except BaseException:
            turn.leave()
            raise
        completion = _Completion(turn, self.name)
        if asked.stream:
            return Stream(turn, completion.events(include_usage=asked.include_usage))
        try:
            async with turn.watched(request.receive):
                return JSONResponse(await completion.whole())
        except LeftError:
            if turn.cut:
                raise stopping() from None
            return Response(status_code=499)  # nobody reads it


class _Completion:
    """What a turn says, in OpenAI's words."""

    def __init__(self, turn: Turn, model: str) -> None:
        self._turn = turn
        self._head = {"id": f"chatcmpl-{uuid.uuid4().hex}", "created": int(time.time()), "model": model}

    async def whole(self) -> dict[str, Any]:
        async for _ in self._turn.pieces():
            pass
        message = {"role": "assistant", "content": self._turn.result.text, "refusal": None}
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": self._turn.result.finish_reason}
        return {**self._head, "object": "chat.completion", "choices": [choice], "usage": self._usage()}

    async def events(self, *, include_usage: bool) -> AsyncIterator[str]:
        """The data of each event."""
        nothing: dict[str, Any] = {"usage": None} if include_usage else {}
        yield self._chunk({"role": "assistant", "content": "", "refusal": None}, **nothing)
        async for piece in self._turn.pieces():
            yield self._chunk({"content": piece}, **nothing)
        yield self._chunk({}, finish_reason=self._turn.result.finish_reason, **nothing)
        if include_usage:
            yield self._event(choices=[], usage=self._usage())
        yield "[DONE]"

    def _chunk(self, delta: dict[str, Any], *, finish_reason: str | None = None, **more: Any) -> str:
        return self._event(choices=[{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}], **more)

    def _event(self, **values: Any) -> str:
        return json.dumps({**self._head, "object": "chat.completion.chunk", **values}, ensure_ascii=False, allow_nan=False)

    def _usage(self) -> dict[str, int]:
        read, written = self._turn.result.prompt_tokens, self._turn.result.completion_tokens
        return {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}


class Stream(Response):
    """Events as they come; the turn is left as soon as the client has left, or has not read for `PATIENCE` seconds."""

    media_type = "text/event-stream"

    def __init__(self, turn: Turn, events: AsyncIterator[str]) -> None:
        super().__init__()
        self.turn, self.events = turn, events
        del self.headers["content-length"]
        self.headers["x-accel-buffering"] = "no"  # a proxy in between is not to collect them

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002
        async with self.turn.watched(receive):
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            try:
                async for data in self.events:
                    await _send(send, data)
            except LeftError:
                if not self.turn.cut:
                    return
                await _send(send, json.dumps(stopping().as_dict()))  # nothing is ever cut silently
            except (LlamariumError, RefusedError) as error:
                await _send(send, json.dumps((refused(error) if isinstance(error, LlamariumError) else error).as_dict()))
            await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _send(send: Send, data: str) -> None:
    async with asyncio.timeout(PATIENCE):
        await send({"type": "http.response.body", "body": f"data: {data}\n\n".encode(), "more_body": True})
