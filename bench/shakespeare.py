"""tinyshakespeare at character level, nanoGPT's split: the loss over the whole validation part after so many seconds.

The first 90 % trains, the last 10 % validates; windows are as long as the context and slide by half of it. The time counts from the
start of this process; compiling is printed and left out.

python -m bench shakespeare FILE [SECONDS] [key=value ...]     settings as llamarium train --set takes them
"""

from __future__ import annotations

import math
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

BEGAN = time.perf_counter()

# Found by trying; docs/log.md has what was tried.
QUICK: dict[str, Any] = {
    "model": {"layers": 4, "width": 192, "heads": 3, "head_width": 64, "hidden_width": 512, "tied": False},
    "train": {"batch_tokens": 4096, "micro_batch_tokens": 4096, "sequence_length": 256, "learning_rate": 1e-2},
    "optimizer": {"name": "muon", "schedule": "linear", "warmup": 0.05, "final": 0.0, "weight_decay": 0.1},
}


def main(arguments: list[str] | None = None) -> None:
    from llamarium.ground import config, progress
    from llamarium.tokens.shards import write_shards
    from llamarium.tokens.train import characters_tokenizer
    from llamarium.train import recipe
    from llamarium.train.loop import train
    from llamarium.train.run import start

    arguments = sys.argv[2:] if arguments is None else arguments
    if not arguments:
        print("shakespeare: name the file input.txt of tinyshakespeare")
        return
    seconds = float(arguments[1]) if len(arguments) > 1 else 80.0
    text = Path(arguments[0]).read_text(encoding="utf-8")
    cut = int(0.9 * len(text))
    folder = Path(tempfile.mkdtemp(prefix="bench-shakespeare-"))
    try:
        tokenizer = characters_tokenizer([text])
        tokenizer.save(folder / "tok")
        write_shards(folder / "tokens", {"train": [text[:cut]], "valid": [text[cut:]]}, tokenizer)
        fixed = {
            "name": "shakespeare",
            "data": {"corpus": str(folder / "tokens"), "tokenizer": str(folder / "tok")},
            **QUICK,
        }
        fixed["train"] = {
            **fixed["train"],
            "compile": True,
            "save_every": 1_000_000,
            "validate_every": 1_000_000,
            "validation_tokens": 1_000_000,
        }
        values = config.apply_settings({**fixed, "train": {**fixed["train"], "minutes": 1.0}}, arguments[2:])
        started = time.perf_counter() - BEGAN
        room = seconds - started - 1.0  # the last second for the checkpoint
        if all(values["train"].get(key) is None for key in ("steps", "tokens")):
            values["train"]["minutes"] = room / 60
        else:
            values["train"].pop("minutes")
        progress.use(progress.Plain(interval=10))
        run = start(recipe.build(values), folder / "run")
        began = time.perf_counter()
        train(run, after_step=None)
        took = time.perf_counter() - began
        run.log.close()
        best = run.best
        assert best is not None
        nats = best[0] * math.log(2)
        print(
            f"shakespeare: {run.model.num_parameters():,} weights, {run.step:,} steps, {run.tokens:,} tokens, "
            f"{started:.1f} s to start, {run.seconds:.1f} s of training, {took - run.seconds:.1f} s of compiling and of the last validation"
        )
        print(f"  validation loss {nats:.4f} nats a character")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
