"""A server on a socket, from its first connection to its orderly end.

Takes: an application and where to listen.
Gives: answers over HTTP until a signal ends it.
Does not know: what is answered.

SIGTERM and Ctrl-C: not ready at once, refused what comes, what runs finishes within `GRACE` seconds or is told that it was cut.
A second signal ends at once. uvicorn waits for ever for the head of a request; here it has `PATIENCE` seconds to arrive.
"""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from llamarium.ground.errors import UsageError
from llamarium.server.application import Application

GRACE = 30.0  # seconds for what runs when the server is told to end
LAST_WORDS = 2.0  # seconds for those that were cut to be told so
PATIENCE = 10.0  # seconds for the head of a request to arrive
MOST_CONNECTIONS = 512


def bind(host: str, port: int) -> socket.socket:
    """A socket on `host` and `port` (0: any that is free), on which nothing is accepted yet. `UsageError` if that cannot be."""
    try:
        [(family, kind, protocol, _, address), *_] = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        bound = socket.socket(family, kind, protocol)
    except (OSError, UnicodeError, OverflowError) as error:
        raise UsageError(f"There is no address {host}, port {port}.", hint="--host 127.0.0.1 is this machine alone.") from error
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
    except (OSError, OverflowError) as error:
        bound.close()
        message = f"{host}, port {port}, cannot be listened on ({getattr(error, 'strerror', None) or error})."
        raise UsageError(message, hint="Choose another --port; 0 takes any that is free.") from error
    return bound


def serve(application: Application, bound: socket.socket, *, ready: Callable[[], None] = lambda: None, grace: float = GRACE) -> None:
    """Answer on `bound` until SIGTERM or Ctrl-C; `ready` is called when connections are accepted."""
    Server(application, ready=ready, grace=grace).run([bound])


class Server(uvicorn.Server):
    """uvicorn's, with an end that is seen before it comes."""

    def __init__(self, application: Application, *, ready: Callable[[], None] = lambda: None, grace: float = GRACE) -> None:
        super().__init__(
            uvicorn.Config(
                application,
                http=_Protocol,
                ws="none",
                lifespan="off",
                log_config=None,  # errors go where Python's own go, to standard error; who asked what is written down nowhere
                log_level="error",
                access_log=False,
                server_header=False,
                proxy_headers=False,
                limit_concurrency=MOST_CONNECTIONS,
                timeout_graceful_shutdown=2,
            )
        )
        self.application, self._ready, self._grace = application, ready, grace
        self._ending: asyncio.Task[None] | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        self._ready()

    def stop(self) -> None:
        """Begin to end; asked a second time, end at once. On the event loop only."""
        self.application.stop()
        if self._ending is not None:
            self.force_exit = self.should_exit = True
            return
        self._ending = asyncio.create_task(self._end())

    async def _end(self) -> None:
        # Meanwhile the door stays open, for /readyz and the others to say that this is the end.
        await self._idle(self._grace)
        if (turn := self.application.slot.turn) is not None:
            turn.leave(cut=True)
            await self._idle(LAST_WORDS)
        self.should_exit = True

    async def _idle(self, seconds: float) -> None:
        end = asyncio.get_running_loop().time() + seconds
        while self.application.busy and asyncio.get_running_loop().time() < end:
            await asyncio.sleep(0.02)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Ours instead of uvicorn's, which closes the door first and raises the signal again after the end."""
        loop = asyncio.get_running_loop()

        def heard(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
            loop.call_soon_threadsafe(self.stop)

        try:
            before = {number: signal.signal(number, heard) for number in (signal.SIGINT, signal.SIGTERM)}
        except ValueError:  # not the main thread, as in tests: no signals come here
            before = {}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


class _Protocol(H11Protocol):
    """HTTP/1.1 on one connection, which is closed when the head of a request takes too long, be it silent or slow."""

    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._watch()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._rest()

    def _watch(self) -> None:
        if self.cycle is not None and not self.cycle.response_complete:
            self._rest()  # a request is being answered; its body has a deadline of its own
        elif self._timer is None:
            self._timer = self.loop.call_later(PATIENCE, self.transport.abort)

    def _rest(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
