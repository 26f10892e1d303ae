"""P15, its first part: who sends slowly, or nothing at all, gets ten seconds; here they are shortened.

A reader that blocks is dropped after thirty (`llamarium.server.chat.PATIENCE`); a later issue tries that with many at once.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from typing import Any

import pytest

from llamarium.engine.language_model import LanguageModel
from llamarium.server import body, run

Start = Callable[..., Any]
HEAD = b"POST /ask HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n"
FIRST = {
    "nothing at all": b"",
    "half a head": b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n",
    "a head and no body": HEAD,
    "half a body": HEAD + b'{"question": "',
}


def seconds_until_closed(served: Any, first: bytes, *, drop: bytes = b" ", limit: float = 1.6) -> tuple[float, bytes]:
    """How long a connection lives that begins with `first` and goes on with a byte now and then; and what it was told."""
    heard = b""
    begin = time.monotonic()
    with socket.create_connection(("127.0.0.1", int(served.url.rpartition(":")[2]))) as connection:
        connection.settimeout(0.05)
        connection.sendall(first)
        while time.monotonic() - begin < limit:
            try:
                data = connection.recv(4096)
            except TimeoutError:
                if first:
                    connection.sendall(drop)
                continue
            except OSError:
                break
            if not data:
                break
            heard += data
    return time.monotonic() - begin, heard


def holds(served: Any) -> None:
    for name, first in FIRST.items():
        seconds, heard = seconds_until_closed(served, first, drop=b"X" if "head" in name and "body" not in name else b" ")
        assert seconds < 1.5, name
        assert heard.startswith(b"HTTP/1.1 408") == ("body" in name), (name, heard)
    assert served.client.get("/healthz").status_code == 200


def test_slow_and_silent_senders_are_sent_away(serving: Start, echo: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "PATIENCE", 0.3)
    monkeypatch.setattr(body, "DEADLINE", 0.3)
    holds(serving(echo))


@pytest.mark.parametrize(("module", "name"), [(run, "PATIENCE"), (body, "DEADLINE")])
def test_control_without_a_deadline_they_stay(
    serving: Start, echo: LanguageModel, monkeypatch: pytest.MonkeyPatch, module: Any, name: str
) -> None:
    monkeypatch.setattr(run, "PATIENCE", 0.3)
    monkeypatch.setattr(body, "DEADLINE", 0.3)
    monkeypatch.setattr(module, name, 60.0)
    with pytest.raises(AssertionError):
        holds(serving(echo))
