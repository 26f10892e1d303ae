from __future__ import annotations

import io
import itertools
import re
import sys

import pytest

from llamarium.ground import progress
from llamarium.ground.progress import Plain, Silent, Terminal, duration, size


@pytest.fixture(autouse=True)
def silent_afterwards() -> object:
    token = progress._reporter.set(Silent())
    yield
    progress._reporter.reset(token)


def test_a_library_is_silent(capfd: pytest.CaptureFixture[str]) -> None:
    progress.say("talk")
    assert list(progress.track("abc", "letters", 3)) == ["a", "b", "c"]
    assert capfd.readouterr() == ("", "")


def test_plain_lines_say_share_and_time_left() -> None:
    stream = io.StringIO()
    progress.use(Plain(stream, interval=0.0))
    progress.say("Begin.")
    with progress.task("counting", 4) as work:
        work.advance()
        work.advance(3, note="last one")
    first, second, third = stream.getvalue().splitlines()
    assert first == "Begin."
    assert re.fullmatch(r"counting: 25%, \d+ s left", second)
    assert third == "counting: 100%, 0 s left  last one"


def test_plain_lines_are_few() -> None:
    stream = io.StringIO()
    progress.use(Plain(stream, interval=3600.0))
    assert len(list(progress.track(range(1000), "counting", 1000))) == 1000
    assert stream.getvalue() == ""


@pytest.mark.parametrize(("total", "steps"), [(0, 1), (2, 5), (3, 0)])
def test_wrong_totals_do_no_harm(monkeypatch: pytest.MonkeyPatch, total: float, steps: int) -> None:
    clock = itertools.count(0.0, 10.0)
    monkeypatch.setattr("time.monotonic", lambda: next(clock))
    stream = io.StringIO()
    progress.use(Plain(stream, interval=0.0))
    with progress.task("counting", total) as work:
        for _ in range(steps):
            work.advance()
    assert len(stream.getvalue().splitlines()) == steps
    assert "-" not in stream.getvalue()


def test_talk_goes_to_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    Plain().say("plain")
    Terminal().say("a [bracket] of a terminal")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.splitlines() == ["plain", "a [bracket] of a terminal"]


def test_the_bar_draws_and_passes_the_items_on(capsys: pytest.CaptureFixture[str]) -> None:
    progress.use(Terminal())
    assert list(progress.track([1, 2], "counting", 2)) == [1, 2]
    assert capsys.readouterr().out == ""


def test_a_reporter_is_seen_by_the_functions_that_it_was_chosen_for() -> None:
    stream = io.StringIO()
    progress.use(Plain(stream))
    progress.say("here")
    progress.use(Silent())
    progress.say("not here")
    assert stream.getvalue() == "here\n"
    assert sys.stderr is not stream


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (0.4, "0 s"), (59.4, "59 s"), (59.6, "1 min 0 s"), (75, "1 min 15 s"), (3599.7, "1 h 0 min"), (7500, "2 h 5 min")],
)
def test_duration(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("num_bytes", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (999_949, "999.9 kB"),
        (999_950, "1.0 MB"),
        (98_362_432, "98.4 MB"),
        (2.5e9, "2.5 GB"),
        (1e12, "1.0 TB"),
        (1e16, "10000.0 TB"),
    ],
)
def test_size(num_bytes: float, text: str) -> None:
    assert size(num_bytes) == text
