"""P19: localhost is not trusted. A table of forty requests, and who gets an answer."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

import pytest

from llamarium.engine.language_model import LanguageModel
from llamarium.server.guard import Guard, Hosts, hosts_of

Start = Callable[..., Any]
OK, NO, WRONG_KIND, NOT_HERE = 200, 403, 415, 405
JSON = "Content-Type: application/json"
ASK = '{"question": "Where does a llama sleep?"}'
HERE = "Host: 127.0.0.1:PORT"

# method, path, header lines, status; PORT is the server's own
TABLE: list[tuple[str, str, list[str], int]] = [
    # --- Host
    ("GET", "/healthz", [HERE], OK),
    ("GET", "/healthz", ["Host: localhost:PORT"], OK),
    ("GET", "/healthz", ["Host: LOCALHOST"], OK),
    ("GET", "/healthz", ["Host: [::1]:PORT"], OK),
    ("GET", "/healthz", ["Host: localhost:9"], OK),  # as it comes through a tunnel
    ("GET", "/", ["Host: attacker.example"], NO),
    ("GET", "/healthz", ["Host: attacker.example:PORT"], NO),
    ("GET", "/v1/models", ["Host: localhost.attacker.example"], NO),
    ("GET", "/v1/models", ["Host: 127.0.0.1.attacker.example"], NO),
    ("GET", "/documents", ["Host: 127.0.0.1@attacker.example"], NO),
    ("GET", "/documents", ["Host: attacker.example#localhost"], NO),
    ("GET", "/readyz", ["Host: 0.0.0.0:PORT"], NO),
    ("GET", "/readyz", ["Host: 192.168.0.7:PORT"], NO),
    ("GET", "/readyz", ["Host: 2130706433"], NO),
    ("GET", "/page.js", ["Host: "], NO),
    ("GET", "/page.js", ["Host: localhost:PORT:PORT"], NO),
    ("POST", "/ask", ["Host: attacker.example", JSON], NO),
    ("POST", "/v1/chat/completions", ["Host: attacker.example", JSON], NO),
    # --- Origin
    ("GET", "/documents", [HERE, "Origin: http://127.0.0.1:PORT"], OK),
    ("POST", "/ask", [HERE, JSON, "Origin: http://127.0.0.1:PORT"], OK),
    ("POST", "/ask", ["Host: localhost:PORT", JSON, "Origin: http://localhost:PORT"], OK),
    ("POST", "/ask", ["Host: localhost", JSON, "Origin: https://localhost"], OK),  # behind a proxy that speaks TLS
    ("POST", "/ask", [HERE, JSON, "Origin: http://attacker.example"], NO),
    ("POST", "/ask", [HERE, JSON, "Origin: null"], NO),
    ("POST", "/ask", [HERE, JSON, "Origin: "], NO),
    ("POST", "/ask", [HERE, JSON, "Origin: http://127.0.0.1:9"], NO),
    ("POST", "/ask", [HERE, JSON, "Origin: http://127.0.0.1"], NO),
    ("POST", "/ask", [HERE, JSON, "Origin: http://localhost:PORT"], NO),
    ("POST", "/ask", [HERE, JSON, "Origin: http://127.0.0.1:PORT.attacker.example"], NO),
    ("POST", "/ask", [HERE, JSON, "Origin: http://127.0.0.1:PORT", "Origin: http://attacker.example"], NO),
    ("GET", "/documents", [HERE, "Origin: http://attacker.example"], NO),
    ("OPTIONS", "/ask", [HERE, "Origin: http://attacker.example", "Access-Control-Request-Method: POST"], NO),
    ("OPTIONS", "/ask", [HERE, "Access-Control-Request-Method: POST"], NOT_HERE),
    # --- Content-Type
    ("POST", "/ask", [HERE, "Content-Type: Application/JSON; charset=utf-8"], OK),
    ("POST", "/ask", [HERE], WRONG_KIND),
    ("POST", "/ask", [HERE, "Content-Type: text/plain"], WRONG_KIND),
    ("POST", "/v1/chat/completions", [HERE, "Content-Type: application/x-www-form-urlencoded"], WRONG_KIND),
    ("POST", "/documents", [HERE, "Content-Type: multipart/form-data; boundary=application/json"], WRONG_KIND),
    ("POST", "/ask", [HERE, "Content-Type: text/plain; application/json"], WRONG_KIND),
    ("POST", "/ask", [HERE, "Content-Type: application/jsonp"], WRONG_KIND),
]


def send(url: str, method: str, path: str, lines: list[str]) -> bytes:
    """The head of what comes back; a client library would put these requests right."""
    port = url.rpartition(":")[2]
    body = ASK if method == "POST" else ""
    head = [f"{method} {path} HTTP/1.1", *lines, f"Content-Length: {len(body)}", "Connection: close", "", body]
    heard = b""
    with socket.create_connection(("127.0.0.1", int(port)), timeout=10) as connection:
        connection.sendall("\r\n".join(head).replace("PORT", port).encode())
        while data := connection.recv(65536):
            heard += data
    return heard.partition(b"\r\n\r\n")[0]


def surprises(served: Any) -> list[str]:
    found = []
    for method, path, lines, expected in TABLE:
        head = send(served.url, method, path, lines)
        if int(head.split()[1]) != expected:
            found.append(f"{method} {path} {lines}: {head.split()[1].decode()} instead of {expected}")
        if b"access-control" in head.lower():
            found.append(f"{method} {path} {lines}: CORS is on")
    return found


def test_forty_requests(serving: Start, echo: LanguageModel, docs: Any) -> None:
    assert len(TABLE) == 40
    assert surprises(serving(echo, docs=docs)) == []


def test_control_without_the_guard_strangers_get_answers(
    serving: Start, echo: LanguageModel, docs: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Guard, "check", lambda self, scope: None)
    found = surprises(serving(echo, docs=docs))
    # Two of them are no requests at all to a server that knows HTTP.
    assert len(found) >= sum(row[3] in (NO, WRONG_KIND) for row in TABLE) - 2


def test_two_hosts_are_none(serving: Start, echo: LanguageModel) -> None:
    served = serving(echo)
    assert int(send(served.url, "GET", "/healthz", [HERE, "Host: attacker.example"]).split()[1]) in (400, 403)


def test_a_server_for_others_knows_addresses_and_its_own_names() -> None:
    hosts = hosts_of("0.0.0.0")
    for name in ("localhost", "127.0.0.1", "192.168.0.7", "[fe80::1]", socket.gethostname().lower()):
        assert name in hosts, name
    for name in ("attacker.example", "0.0.0.0", "[::]", ""):
        assert name not in hosts, name
    assert "192.168.0.7" not in Hosts()
    assert "192.168.0.7" not in hosts_of("127.0.0.1")
