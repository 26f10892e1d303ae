"""Who may ask: what stands between the network and every route.

Takes: a request's head.
Gives: the request to the application, or a refusal; to every response, the headers that keep a browser from running anything.
Does not know: what the routes do.

A server on localhost can be reached by every page that a browser of this machine has open. A foreign page that has its name
resolve to 127.0.0.1 is told from ours by Host, one that asks across origins by Origin; and what changes anything must be
``application/json``, which no form can send and no page may, across origins, without a permission (CORS) that is never given.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import MutableMapping
from dataclasses import dataclass
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from llamarium.server.key import Key
from llamarium.server.refusal import RefusedError

LOOPBACK = frozenset({"localhost", "127.0.0.1", "[::1]"})
HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; "
        "form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
    ),
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
    "cache-control": "no-store",
}
_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::[0-9]{1,5})?")


@dataclass(frozen=True)
class Hosts:
    """The names that this server goes by. `any_address`: it can be reached at addresses that it does not know of."""

    names: frozenset[str] = LOOPBACK
    any_address: bool = False

    def __contains__(self, name: str) -> bool:
        if name in self.names:
            return True
        # A page's name can be made to resolve to any address; an address in Host was typed by somebody.
        return self.any_address and _is_address(name) and not ipaddress.ip_address(name.strip("[]")).is_unspecified


def hosts_of(address: str) -> Hosts:
    """The names of a server that is bound to `address`."""
    name = f"[{address}]" if ":" in address else address.lower()
    if is_loopback(address):
        return Hosts(LOOPBACK | {name})
    own = socket.gethostname().lower()
    names = {own, f"{own.partition('.')[0]}.local"} | (set() if _is_address(name) else {name})
    return Hosts(LOOPBACK | names, any_address=True)


def is_loopback(address: str) -> bool:
    """Whether only this machine can reach `address`. A name other than localhost may resolve to anything.

    >>> is_loopback("127.0.0.1"), is_loopback("::1"), is_loopback("0.0.0.0"), is_loopback("localhost.example.org")
    (True, True, False, False)
    """
    return address.lower() == "localhost" or (_is_address(address) and ipaddress.ip_address(address.strip("[]")).is_loopback)


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return False
    return True


class Guard:
    """ASGI around the whole application, its errors included."""

    def __init__(self, app: ASGIApp, *, hosts: Hosts, key: Key | None) -> None:
        self.app, self.hosts, self.key = app, hosts, key

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                _add_headers(message)
            await send(message)

        try:
            self.check(scope)
        except RefusedError as error:
            await error.response()(scope, receive, send_guarded)
        else:
            await self.app(scope, receive, send_guarded)

    def check(self, scope: MutableMapping[str, Any]) -> None:
        """Raise `RefusedError` if the request is not to be answered."""
        host = _values(scope, b"host")
        match = _HOST.fullmatch(host[0].decode("latin-1").lower()) if len(host) == 1 else None
        if match is None or match[1] not in self.hosts:
            raise RefusedError(403, "This server does not go by that name (Host).", code="foreign_host")
        origins = _values(scope, b"origin")
        if origins and (len(origins) > 1 or origins[0].decode("latin-1").lower() not in (f"http://{match[0]}", f"https://{match[0]}")):
            raise RefusedError(403, "Pages of other origins get no answer (Origin).", code="foreign_origin")
        if self.key is not None and not self.key.opens(_values(scope, b"authorization")):
            headers = {"WWW-Authenticate": 'Basic realm="llamarium", charset="UTF-8"'}
            raise RefusedError(401, "This server needs its key: Authorization: Bearer KEY.", code="invalid_api_key", headers=headers)
        if scope["method"] not in ("GET", "HEAD", "OPTIONS"):
            kinds = _values(scope, b"content-type")
            if len(kinds) != 1 or kinds[0].partition(b";")[0].strip().lower() != b"application/json":
                raise RefusedError(415, "What is sent must be application/json (Content-Type).", code="unsupported_media_type")


def _values(scope: MutableMapping[str, Any], name: bytes) -> list[bytes]:
    return [value.strip() for key, value in scope["headers"] if key == name]


def _add_headers(message: Message) -> None:
    present = {name.lower() for name, _ in message["headers"]}
    extra = [(name.encode(), value.encode()) for name, value in HEADERS.items() if name.encode() not in present]
    message["headers"] = [*message["headers"], *extra]
