"""Two or more contenders in turn, A B A B ..., so that a machine whose speed drifts treats them alike."""

from __future__ import annotations

import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch

ROUNDS = 7


def interleaved(name: str, contenders: dict[str, Callable[[], float]], *, unit: str, rounds: int = ROUNDS) -> dict[str, float]:
    """Call each contender once to warm up and `rounds` times in turn; each returns the work it did.

    Prints and returns medians of work a second.
    """
    rates: dict[str, list[float]] = {key: [] for key in contenders}
    for number in range(rounds + 1):
        for key, run in contenders.items():
            start = time.perf_counter()
            work = run()
            if number:
                rates[key].append(work / (time.perf_counter() - start))
    medians = {key: statistics.median(values) for key, values in rates.items()}
    first = next(iter(medians.values()))
    print(f"{name}: {processor()}, {torch.get_num_threads()} threads, torch {torch.__version__}, median of {rounds} interleaved rounds")
    for key, median in medians.items():
        low, high = min(rates[key]), max(rates[key])
        print(f"  {key:32} {median:10.1f} {unit}   ({low:.1f} … {high:.1f})   first / this = {first / median:.2f}")
    return medians


def processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.processor())
