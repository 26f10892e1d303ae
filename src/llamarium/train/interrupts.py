"""Ctrl-C and SIGTERM, turned into a question that the loop asks between two steps.

Takes: signals. Gives: an event that is set by the first; the second ends the process at once, harming nothing.
Does not know: what is interrupted. What may be dropped half done says so, and is interrupted where it is.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from types import FrameType

from llamarium.ground.errors import Interrupted


class Interrupts(threading.Event):
    """Set when the process is to stop. While `at_once` is true, that raises KeyboardInterrupt, too."""

    at_once = False


@contextlib.contextmanager
def interrupts() -> Iterator[Interrupts]:
    """The event. Elsewhere than in the main thread it is never set."""
    event = Interrupts()

    def handle(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
        if event.is_set():
            os._exit(Interrupted.exit_code)
        event.set()
        if event.at_once:
            raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield event
        return
    old = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield event
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)
