from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from llamarium.ground.failpoints import VARIABLE

SCRIPT = """
from llamarium.ground.failpoints import reached
for name in ("first", "second", "first", "first"):
    reached(name)
    print(name, flush=True)
"""


@pytest.mark.parametrize(
    ("wanted", "reached"),
    [("first", 0), ("second", 1), ("first:1", 0), ("first:2", 2), ("first:3", 3)],
)
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this platform has no SIGKILL")
def test_the_process_dies_there(wanted: str, reached: int) -> None:
    child = subprocess.run([sys.executable, "-c", SCRIPT], env=os.environ | {VARIABLE: wanted}, capture_output=True, check=False)
    assert child.returncode == -signal.SIGKILL
    assert len(child.stdout.split()) == reached


@pytest.mark.parametrize("wanted", ["", "third", "first:4"])
def test_otherwise_it_lives(wanted: str) -> None:
    child = subprocess.run([sys.executable, "-c", SCRIPT], env=os.environ | {VARIABLE: wanted}, capture_output=True, check=True)
    assert len(child.stdout.split()) == 4
