"""Engines: who does the partitions. One file an engine; the folder is the registry.

An engine is a module with ``run(folder, numbers, *, sizes, options) -> Iterator[int]``, which does each partition in `numbers` of the
plan in `folder` (`partition.run`) and yields its number when it is done, in any order. What is done is on the disk: an engine keeps
nothing, so any engine can go on where another was stopped.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Options:
    """`workers`: how many at a time, 0 for as many as there are cores. `memory`: bytes they may use together. `address`: of a cluster."""

    workers: int = 0
    memory: int = 2 << 30
    address: str = ""
