"""Progress of long work, and what a program says while it works.

Takes: steps done out of a total, and lines to say.
Gives: a bar on a terminal, one plain line every few seconds elsewhere, nothing when used as a library.
Does not know: what the work is. Lower floors report here; only the command line chooses a reporter.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterable, Iterator
from contextvars import ContextVar
from typing import Protocol, TextIO, TypeVar

Item = TypeVar("Item")


class Task(Protocol):
    """A piece of work under way."""

    def advance(self, amount: float = 1.0, *, note: str = "") -> None:
        """Say that `amount` more of the total is done."""


class Reporter(Protocol):
    """Where progress and talk go."""

    def say(self, line: str) -> None:
        """Show one line."""

    def task(self, name: str, total: float) -> contextlib.AbstractContextManager[Task]:
        """Show work of a known size until the context ends."""


class _SilentTask:
    def advance(self, amount: float = 1.0, *, note: str = "") -> None:
        pass


class Silent:
    """Shows nothing: the default inside a library."""

    def say(self, line: str) -> None:
        """Drop the line."""

    @contextlib.contextmanager
    def task(self, name: str, total: float) -> Iterator[Task]:  # noqa: ARG002
        """Do the work without showing it."""
        yield _SilentTask()


class _PlainTask:
    def __init__(self, name: str, total: float, stream: TextIO, interval: float) -> None:
        self.name, self.total, self.stream, self.interval = name, total, stream, interval
        self.done = 0.0
        self.start = self.last = time.monotonic()

    def advance(self, amount: float = 1.0, *, note: str = "") -> None:
        self.done += amount
        now = time.monotonic()
        if now - self.last >= self.interval:
            self.last = now
            left = (now - self.start) * (self.total - self.done) / self.done if self.done > 0 else 0.0
            share = 100 * self.done / self.total if self.total else 100.0
            self.stream.write(f"{self.name}: {share:.0f}%, {duration(max(left, 0.0))} left{'  ' + note if note else ''}\n")
            self.stream.flush()


class Plain:
    """One plain line every `interval` seconds: for logs and pipes."""

    def __init__(self, stream: TextIO | None = None, *, interval: float = 3.0) -> None:
        self.stream, self.interval = stream or sys.stderr, interval

    def say(self, line: str) -> None:
        """Write the line."""
        self.stream.write(line + "\n")
        self.stream.flush()

    @contextlib.contextmanager
    def task(self, name: str, total: float) -> Iterator[Task]:
        """Write a line now and then while the work goes on."""
        yield _PlainTask(name, total, self.stream, self.interval)


class _BarTask:
    def __init__(self, bar: object, identity: object) -> None:
        self.bar, self.identity = bar, identity

    def advance(self, amount: float = 1.0, *, note: str = "") -> None:
        self.bar.update(self.identity, advance=amount, note=note)  # type: ignore[attr-defined]


class Terminal:
    """A bar with an ETA, drawn by rich on standard error."""

    def __init__(self) -> None:
        from rich.console import Console

        self.console = Console(stderr=True, highlight=False, markup=False)

    def say(self, line: str) -> None:
        """Print the line above any bar."""
        self.console.print(line, soft_wrap=True)

    @contextlib.contextmanager
    def task(self, name: str, total: float) -> Iterator[Task]:
        """Draw a bar until the work ends."""
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

        columns = (
            TextColumn("{task.description}"),
            BarColumn(bar_width=28),
            TaskProgressColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
        )
        with Progress(*columns, console=self.console, transient=True) as bar:
            yield _BarTask(bar, bar.add_task(name, total=total, note=""))


_reporter: ContextVar[Reporter] = ContextVar("reporter", default=Silent())  # noqa: B039  Silent has no state


def use(reporter: Reporter) -> None:
    """Send progress and talk of this process to `reporter`."""
    _reporter.set(reporter)


def say(line: str) -> None:
    """Show one line to whoever is watching."""
    _reporter.get().say(line)


def task(name: str, total: float) -> contextlib.AbstractContextManager[Task]:
    """Show work of size `total` until the context ends.

    >>> with task("counting", 3) as work:
    ...     for _ in range(3):
    ...         work.advance()
    """
    return _reporter.get().task(name, total)


def track(items: Iterable[Item], name: str, total: float) -> Iterator[Item]:
    """Yield `items`, showing how many of `total` are done."""
    with task(name, total) as work:
        for item in items:
            yield item
            work.advance()


def duration(seconds: float) -> str:
    """A time for people.

    >>> duration(5.2), duration(75), duration(7500)
    ('5 s', '1 min 15 s', '2 h 5 min')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def size(num_bytes: float) -> str:
    """A number of bytes for people.

    >>> size(999), size(98_362_432)
    ('999 B', '98.4 MB')
    """
    for unit in ("B", "kB", "MB", "GB"):
        if num_bytes < 999.95:  # not 1000, which would round up to a number of four digits
            return f"{num_bytes:.0f} B" if unit == "B" else f"{num_bytes:.1f} {unit}"
        num_bytes /= 1000
    return f"{num_bytes:.1f} TB"
