"""A request's body as one JSON object, within bounds.

Takes: a request.
Gives: the object, or a `RefusedError` with status 400, 408 or 415; nothing that a client sends raises anything else.
Does not know: what the object should hold.
"""

from __future__ import annotations

import asyncio
import json
import math
import re
from typing import Any

from starlette.requests import ClientDisconnect, Request

from llamarium.server.refusal import RefusedError

LARGEST = 4 << 20  # bytes
DEEPEST = 32  # lists and objects in each other
DEADLINE = 10.0  # seconds for the whole body to arrive
PASSED_OVER = 64 << 20  # bytes of a body that is too large which are read all the same: who is still sending hears no answer

_HALF_CHARACTER = re.compile("[\ud800-\udfff]")


async def read_json(request: Request, *, largest: int = LARGEST) -> dict[str, Any]:
    """The JSON object that `request` carries."""
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise RefusedError(415, "Bodies are taken as they are, not compressed.")
    data, size = bytearray(), 0
    try:
        async with asyncio.timeout(DEADLINE):
            async for part in request.stream():
                size += len(part)
                if size <= largest:
                    data += part
                elif size > PASSED_OVER:
                    break
    except TimeoutError:
        message = f"The body did not arrive within {DEADLINE:g} seconds."
        raise RefusedError(408, message, headers={"Connection": "close"}) from None
    except ClientDisconnect:
        raise RefusedError(400, "The body ended before it was whole.") from None  # which nobody reads
    if size > largest:
        raise RefusedError(400, f"The body has more than {largest:,} bytes.", code="request_too_large", headers={"Connection": "close"})
    value = parse(bytes(data))
    if not isinstance(value, dict):
        raise _malformed("it is no object")
    return value


def parse(data: bytes) -> Any:
    r"""JSON as RFC 8259 has it: UTF-8, no NaN, no infinity, whole characters, at most `DEEPEST` levels.

    >>> parse(b'{"a": [1, 2.5, null]}')
    {'a': [1, 2.5, None]}
    >>> parse(b"[NaN]")
    Traceback (most recent call last):
    llamarium.server.refusal.RefusedError: The body is not valid JSON: NaN is no number.
    """
    try:
        value = json.loads(data.decode("utf-8"), parse_constant=_no_number, parse_float=_finite)
    except UnicodeDecodeError as error:
        raise _malformed(f"byte {error.start} is not UTF-8") from None
    except RecursionError:
        raise _malformed(f"it is more than {DEEPEST} levels deep") from None
    except json.JSONDecodeError as error:
        raise _malformed(f"{error.msg} at character {error.pos}") from None
    except ValueError:  # Python does not read integers of thousands of digits
        raise _malformed("it has a number of too many digits") from None
    _check(value)
    return value


def _check(value: Any) -> None:
    """Refuse what is too deep, and halves of surrogate pairs, which no UTF-8 can hold."""
    level = [value]
    for _ in range(DEEPEST + 1):
        inside: list[Any] = []
        for each in level:
            if isinstance(each, str):
                if _HALF_CHARACTER.search(each):
                    raise _malformed("a text holds half a character (a lone surrogate)")
            elif isinstance(each, dict):
                inside += each
                inside += each.values()
            elif isinstance(each, list):
                inside += each
        if not inside:
            return
        level = inside
    raise _malformed(f"it is more than {DEEPEST} levels deep")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise _malformed(f"{text[:40]} is too large a number")
    return number


def _no_number(text: str) -> Any:
    raise _malformed(f"{text} is no number")


def _malformed(why: str) -> RefusedError:
    return RefusedError(400, f"The body is not valid JSON: {why}.", code="invalid_json")
