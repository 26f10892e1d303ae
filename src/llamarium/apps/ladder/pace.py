"""The time of a ladder: what each trained rung gets of it, and when the whole will be done.

Takes: minutes for everything, how many rungs are trained, what it costs to judge one.
Gives: seconds a rung, the same for each; sentences about what is left.
Does not know: rungs, models, files.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from llamarium.ground.progress import duration

BUILDING = 2.0  # seconds that a rung takes beside learning and being judged: building, a sample, saving
COMPILING = 8.0  # and where its step is compiled
COMPILE_FROM = 60.0  # seconds a rung from which a compiled step makes up for that
SHORTEST = 2.0  # seconds that each rung gets, even where the minutes do not hold them all
SHORT = 20.0  # seconds below which networks hardly leave the stage where they know which words are frequent


@dataclass(frozen=True)
class Pace:
    """What each trained rung takes, in seconds: the same time to learn for all, and what comes on top of it."""

    learning: float
    beside: float

    def sentence(self, *, minutes: float, rungs: int) -> str:
        """What each rung gets; with a warning where that is too little to say much."""
        gets = f"{rungs} rungs are trained for {duration(self.learning)} each"
        if self.learning <= SHORTEST:
            whole = duration(rungs * (self.learning + self.beside))
            return f"{gets}: {minutes:g} minutes are too few for so many, and it will take about {whole}. Give it more --minutes."
        return f"{gets}: that is short, and says little; give it more --minutes." if self.learning < SHORT else f"{gets}."


def share(*, minutes: float, spent: float, rungs: int, judging: float, compiled: bool, reserved: float = 0.0) -> Pace:
    """Divide `minutes`, of which `spent` seconds are gone and `reserved` are somebody's, among `rungs` equally.

    `judging`: seconds that a rung takes to be judged as often as it is.

    >>> share(minutes=1, spent=10, rungs=2, judging=5, compiled=False)
    Pace(learning=18.0, beside=7.0)
    """
    beside = BUILDING + judging + (COMPILING if compiled else 0.0)
    return Pace(max(SHORTEST, (60 * minutes - spent - reserved) / max(1, rungs) - beside), beside)


def left(rungs: int, *, took: Sequence[float], pace: Pace | None) -> str:
    """How long so many more trained rungs will take: as long as those before took, or as was planned; nothing where neither is known.

    >>> left(3, took=[20.0, 22.0], pace=None), left(2, took=[], pace=Pace(15.0, 10.0)), left(2, took=[], pace=None)
    ('3 trained rungs to go, about 1 min 3 s', '2 trained rungs to go, about 50 s', '2 trained rungs to go')
    """
    each = sum(took) / len(took) if took else pace.learning + pace.beside if pace is not None else None
    words = f"{rungs} trained rung{'s' if rungs != 1 else ''} to go"
    return words if each is None or not rungs else f"{words}, about {duration(rungs * each)}"
