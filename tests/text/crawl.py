"""What a crawler keeps, for tests: WARC."""

from __future__ import annotations

from collections.abc import Mapping


def record(kind: str, content: bytes, *, content_type: str = "application/http; msgtype=response", length: int | None = None) -> bytes:
    """A record of a WARC file; `length` is what it says of itself, if not the truth."""
    head = f"WARC/1.0\r\nWARC-Type: {kind}\r\nWARC-Target-URI: https://example.org/\r\nContent-Type: {content_type}\r\n"
    return head.encode() + f"Content-Length: {len(content) if length is None else length}\r\n\r\n".encode() + content + b"\r\n\r\n"


def answer(body: bytes, *, status: int = 200, content_type: str = "text/html", headers: Mapping[str, str] | None = None) -> bytes:
    """What a server answered."""
    more = "".join(f"{name}: {value}\r\n" for name, value in (headers or {}).items())
    return f"HTTP/1.1 {status} Status\r\nContent-Type: {content_type}\r\n{more}\r\n".encode() + body


def page(body: bytes, *, status: int = 200, content_type: str = "text/html", headers: Mapping[str, str] | None = None) -> bytes:
    """A record of what a server answered."""
    return record("response", answer(body, status=status, content_type=content_type, headers=headers))
