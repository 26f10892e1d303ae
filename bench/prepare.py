"""Preparation from end to end, as a command of its own: MB of input a second, and the most memory that all its processes held together.

The first run warms the disk's cache and is not counted. With --peer another command line runs in turn with ours (`{source}` and
`{out}` are put in), and the ratio of medians is printed.

python -m bench prepare FILE... [--rounds 3] [--peer "python clean.py {source} {out}"] [-- OPTIONS OF PREPARE]
"""

from __future__ import annotations

import argparse
import shlex
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import psutil

from bench._interleaved import processor


def main(arguments: list[str] | None = None) -> None:
    arguments = sys.argv[2:] if arguments is None else arguments
    if not arguments:
        print("prepare: name files or folders")
        return
    cut = arguments.index("--") if "--" in arguments else len(arguments)
    ours, options = arguments[:cut], arguments[cut + 1 :]
    parser = argparse.ArgumentParser(prog="python -m bench prepare")
    parser.add_argument("sources", nargs="+")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peer", default="")
    given = parser.parse_args(ours)

    size = sum(
        file.stat().st_size
        for source in map(Path, given.sources)
        for file in ([source] if source.is_file() else source.rglob("*"))
        if file.is_file()
    )
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "corpus"
        commands = {"llamarium prepare": [sys.executable, "-m", "llamarium", "prepare", *given.sources, "--out", str(out), *options]}
        if given.peer:
            commands["peer"] = shlex.split(given.peer.format(source=given.sources[0], out=out))
        figures: dict[str, list[tuple[float, int]]] = {name: [] for name in commands}
        for number in range(given.rounds + 1):
            for name, command in commands.items():
                shutil.rmtree(out, ignore_errors=True)
                figure = run(command)
                if number:
                    figures[name].append(figure)
    print(f"prepare: {size / 1e6:.1f} MB, {processor()}, median of {given.rounds} rounds")
    for name, found in figures.items():
        seconds = statistics.median(seconds for seconds, _ in found)
        print(f"  {name:24} {seconds:8.2f} s {size / 1e6 / seconds:8.2f} MB/s   at most {max(memory for _, memory in found) / 1e9:.2f} GB")


def run(command: list[str]) -> tuple[float, int]:
    """Seconds, and the most bytes that the command and its children held together (shared pages counted once, where the system tells)."""
    most = 0
    begin = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        ended = threading.Event()

        def watch() -> None:
            nonlocal most
            while not ended.wait(0.1):
                most = max(most, held(process.pid))

        watcher = threading.Thread(target=watch)
        watcher.start()
        code = process.wait()
        seconds = time.perf_counter() - begin
        ended.set()
        watcher.join()
    if code:
        sys.exit(f"{shlex.join(command)} ended with {code}")
    return seconds, most


def held(pid: int) -> int:
    total = 0
    try:
        family = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    except psutil.Error:
        return 0
    for process in family:
        try:
            info = process.memory_full_info()
            total += getattr(info, "pss", info.uss)
        except psutil.Error:
            continue
    return total
