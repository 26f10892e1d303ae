"""A model that begins with word vectors beside the same one that begins with random rows: bits per byte along the way.

Both have the same seed, data, steps and recipe; they are trained one after the other, so only the steps are compared, not the time.
What training the vectors took is printed beside.

python -m bench vectors CORPUS [--vectors FILE|train] [--family llama] [--size 3M] [--steps 400] [--every 50] [--seeds 1 2 3]
                        [--tokenizer DIR | --vocab-size 4096] [--set key=value ...]     settings as llamarium train takes them
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from bench._interleaved import processor


def main(arguments: list[str] | None = None) -> None:
    arguments = sys.argv[2:] if arguments is None else arguments
    if not arguments:
        print("vectors: name a corpus that `llamarium prepare` made")
        return
    parser = argparse.ArgumentParser(prog="python -m bench vectors")
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--vectors", default="train")
    parser.add_argument("--family", default="llama")
    parser.add_argument("--size", default="3M")
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--every", type=int, default=50)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1])
    parser.add_argument("--tokenizer", type=Path)
    parser.add_argument("--vocab-size", type=int, default=4096)
    parser.add_argument("--set", action="append", default=[], dest="settings")
    given = parser.parse_args(arguments)
    folder = Path(tempfile.mkdtemp(prefix="bench-vectors-"))
    try:
        _compare(given, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _compare(given: argparse.Namespace, folder: Path) -> None:
    from llamarium.ground import progress
    from llamarium.text.corpus import open_corpus
    from llamarium.tokens.shards import write_shards
    from llamarium.tokens.tokenizer import Tokenizer
    from llamarium.tokens.train import train_bpe

    progress.use(progress.Plain(interval=30))
    corpus = open_corpus(given.corpus)
    if given.tokenizer:
        tokenizer = Tokenizer.load(given.tokenizer)
    else:
        tokenizer = train_bpe((document.text for document in corpus.documents("train")), vocab_size=given.vocab_size)
    tokenizer.save(folder / "tok")
    write_shards(
        folder / "tokens",
        {split: ((document.id, document.text) for document in corpus.documents(split)) for split in ("train", "valid")},
        tokenizer,
    )
    curves: dict[str, list[dict[int, float]]] = {"random": [], given.vectors: []}
    for seed in given.seeds:
        for source, found in curves.items():
            found.append(_run(given, folder, source=source, seed=seed))
    print(f"vectors: {processor()}; {given.family} {given.size}, {tokenizer.vocab_size:,} pieces, seeds {given.seeds}")
    print(f"  bits per byte of the validation part{', the mean of the seeds' if len(given.seeds) > 1 else ''}")
    print(f"  {'step':>8} {'random':>10} {'vectors':>10} {'saved':>8}")
    for step in sorted(curves["random"][0]):
        random, vectors = (statistics.mean(curve[step] for curve in found) for found in curves.values())
        print(f"  {step:>8,} {random:>10.4f} {vectors:>10.4f} {100 * (1 - vectors / random):>6.2f} %")


def _run(given: argparse.Namespace, folder: Path, *, source: str, seed: int) -> dict[int, float]:
    """Bits per byte by step."""
    from llamarium.ground import config
    from llamarium.train import recipe
    from llamarium.train.loop import train
    from llamarium.train.run import start

    values: dict[str, Any] = {
        "name": "vectors",
        "seed": seed,
        "data": {"corpus": str(folder / "tokens"), "tokenizer": str(folder / "tok")},
        "model": {"family": given.family, "size": given.size, **({} if source == "random" else {"vectors": source})},
        "train": {
            "steps": given.steps,
            "batch_tokens": 4096,
            "sequence_length": 256,
            "learning_rate": 2e-3,
            "save_every": 1_000_000,
            "validate_every": given.every,
            "validation_tokens": 100_000,
        },
    }
    place = folder / f"run-{seed}-{source == 'random'}"
    began = time.perf_counter()
    run = start(recipe.build(config.apply_settings(values, given.settings)), place)
    print(f"  seed {seed}, {source}: {time.perf_counter() - began:.1f} s to start")
    train(run)
    run.log.close()
    lines = map(json.loads, (place / "log.jsonl").read_text(encoding="utf-8").splitlines())
    return {line["step"]: line["bits_per_byte"] for line in lines if "bits_per_byte" in line}
