"""What this process asked of the network.

Takes: Python's audit events.
Gives: the connections that were asked for since `watch`, and the names that were looked up.
Does not know: sockets that compiled libraries open without Python.
"""

from __future__ import annotations

import socket
import sys
from typing import Any

EVENTS = ("socket.connect", "socket.sendto", "socket.sendmsg", "socket.getaddrinfo", "socket.gethostbyname")


class Watch:
    """Counts what leaves the process; an audit hook cannot be taken out again, so one is enough."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        sys.addaudithook(self._hear)

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event not in EVENTS:
            return
        first = arguments[0] if arguments else None
        if isinstance(first, socket.socket) and hasattr(socket, "AF_UNIX") and first.family == socket.AF_UNIX:
            return
        self.asked.append(f"{event} {arguments[1:] if isinstance(first, socket.socket) else arguments}")
