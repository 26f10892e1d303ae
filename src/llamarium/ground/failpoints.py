"""Named moments at which a test may kill this process, to prove that a crash there loses nothing.

Takes: the environment variable ``LLAMARIUM_FAILPOINT=name`` or ``name:N`` (the N-th time it is reached).
Gives: SIGKILL at that moment; without the variable, nothing.
Does not know: what happens around the moment.
"""

from __future__ import annotations

import os
import signal
from collections import Counter

VARIABLE = "LLAMARIUM_FAILPOINT"
_counts: Counter[str] = Counter()


def reached(name: str) -> None:
    """Die here if the environment asks for it."""
    wanted = os.environ.get(VARIABLE)
    if not wanted:
        return
    target, _, number = wanted.partition(":")
    if target != name:
        return
    _counts[name] += 1
    if _counts[name] >= int(number or 1):
        os.kill(os.getpid(), getattr(signal, "SIGKILL", signal.SIGTERM))
