from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading

import pytest

from llamarium.train.interrupts import interrupts

SIGNALS = [signal.SIGINT, signal.SIGTERM]


@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
def test_the_first_is_noted_and_nothing_else_happens(number: signal.Signals) -> None:
    with interrupts() as interrupted:
        assert not interrupted.is_set()
        os.kill(os.getpid(), number)
        assert interrupted.is_set()


@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
def test_what_may_be_dropped_is_interrupted_where_it_is(number: signal.Signals) -> None:
    with interrupts() as interrupted:
        interrupted.at_once = True
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), number)
        assert interrupted.is_set()


def test_handlers_are_those_of_before_afterwards() -> None:
    before = [signal.getsignal(number) for number in SIGNALS]
    with contextlib.suppress(ZeroDivisionError), interrupts():
        assert [signal.getsignal(number) for number in SIGNALS] != before
        raise ZeroDivisionError
    assert [signal.getsignal(number) for number in SIGNALS] == before


SECOND = """
import os, signal
from llamarium.train.interrupts import interrupts
with interrupts():
    os.kill(os.getpid(), signal.SIGTERM)
    print("still here", flush=True)
    try:
        os.kill(os.getpid(), signal.SIGINT)
    finally:
        print("not here")
"""


def test_the_second_ends_the_process_and_runs_nothing_any_more() -> None:
    child = subprocess.run([sys.executable, "-c", SECOND], capture_output=True, text=True, check=False)
    assert (child.returncode, child.stdout, child.stderr) == (130, "still here\n", "")


def test_in_another_thread_signals_are_left_alone() -> None:
    before, seen = [signal.getsignal(number) for number in SIGNALS], []

    def work() -> None:
        with interrupts() as interrupted:
            seen.append(([signal.getsignal(number) for number in SIGNALS], interrupted.is_set()))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [(before, False)]
