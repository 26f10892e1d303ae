"""Megabytes of UTF-8 a second that cleaning does on one core: each rule alone, slowest first, and the chains that are run.

Processor time, the least of three passes over fresh copies of the documents, so that nothing is remembered from the pass before.

python -m bench cleaning [FILE ...]     text, JSON lines, or anything else that `llamarium read` takes; without, Python's documentation
    [--json-key context]                of a JSON file: every string under this key, wherever it is
    [--size 2000]                       plain text is cut into documents of this many characters
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from bench._interleaved import processor
from llamarium.text.clean import CLEANERS, Cleaning, clean
from llamarium.text.language import guess_language

PASSES = 3


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m bench cleaning")
    parser.add_argument("files", type=Path, nargs="*")
    parser.add_argument("--json-key", default="text")
    parser.add_argument("--size", type=int, default=2000)
    given = parser.parse_args(sys.argv[2:] if arguments is None else arguments)
    for name, documents in _corpora(given):
        _measure(name, documents)


def _corpora(given: argparse.Namespace) -> Iterator[tuple[str, list[str]]]:
    if not given.files:
        from pydoc_data.topics import topics

        yield "Python's documentation", list(topics.values())
    for path in given.files:
        yield path.name, [text for text in _documents(path, key=given.json_key, size=given.size) if text]


def _documents(path: Path, *, key: str, size: int) -> Iterator[str]:
    if path.suffix == ".jsonl":
        for line in path.read_text(encoding="utf-8").splitlines():
            yield from _under(key, json.loads(line))
    elif path.suffix == ".json":
        yield from _under(key, json.loads(path.read_text(encoding="utf-8")))
    else:
        from llamarium.text.document import read

        text = read(path).text
        yield from (text[start : start + size] for start in range(0, len(text), size))


def _under(key: str, value: Any) -> Iterator[str]:
    if isinstance(value, list):
        for item in value:
            yield from _under(key, item)
    elif isinstance(value, dict):
        for name, item in value.items():
            if name == key and isinstance(item, str):
                yield item
            else:
                yield from _under(key, item)


def _measure(name: str, documents: list[str]) -> None:
    size = sum(len(text.encode("utf-8", "surrogatepass")) for text in documents) / 1e6
    language = guess_language("\n".join(documents[:1000]))

    def rate(function: Callable[[str], object]) -> float:
        best = float("inf")
        for _ in range(PASSES):
            copies = [(text + " ")[:-1] for text in documents]  # new strings: nothing that is kept by string serves twice
            start = time.process_time()
            for text in copies:
                function(text)
            best = min(best, time.process_time() - start)
        return size / best

    print(f"cleaning: {processor()}; {name}: {len(documents):,} documents, {size:.2f} MB, {language}")
    chains: dict[str, Callable[[str], object]] = {
        "the default chain": lambda text: clean(text, language=language),
        "the chain for web pages": lambda text: clean(text, web=True, language=language),
        "the default chain and all masks": lambda text: clean(text, cleaning=Cleaning(masks=("email", "phone", "identity_card", "card"))),
        "the guess of the language": guess_language,
    }
    for chain, function in chains.items():
        print(f"  {chain:34} {rate(function):8.1f} MB/s")
    print("  each rule alone, slowest first:")
    for speed, reason, when in sorted((rate(cleaner.function), cleaner.reason, cleaner.when) for cleaner in CLEANERS):
        print(f"    {reason:22} {when:10} {speed:8.1f} MB/s")


if __name__ == "__main__":
    main()
