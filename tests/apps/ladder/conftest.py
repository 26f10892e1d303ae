"""A corpus so small, and ladders so low, that a climb takes a moment."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from llamarium.apps.ladder import climb, rungs
from llamarium.text.corpus import open_corpus
from llamarium.text.prepare import prepare

SENTENCES = ("the llama eats green grass", "the old shepherd follows the river", "an alpaca fears the snow", "my sheep keeps warm")


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus of 24 short documents."""
    folder = tmp_path_factory.mktemp("data")
    (folder / "text").mkdir()
    draw = random.Random(1)
    for number in range(24):
        lines = [f"{draw.choice(SENTENCES).capitalize()}, {draw.randrange(1000)} times." for _ in range(draw.randrange(8, 20))]
        (folder / "text" / f"{number:02}.txt").write_text("\n".join(lines), encoding="utf-8")
    prepare([folder / "text"], folder / "corpus")
    return folder / "corpus"


@pytest.fixture
def tiny(corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., climb.Ladder]:
    """A ladder of real rungs, named by their keys, of four steps each; other keywords are those of `Ladder`."""
    monkeypatch.setattr(rungs, "BATCH", 512)
    monkeypatch.setattr(climb, "fast_dtype", lambda device: torch.float32)  # which is faster here may differ from time to time

    def make(*keys: str, **changes: Any) -> climb.Ladder:
        chosen = [rung for rung in rungs.RUNGS if rung.key in (keys or ("bigram", "gpt", "llama"))]
        values: dict[str, Any] = {
            "tokens": 2048,
            "size": "40k",
            "vocab_size": 300,
            "catalogue": None,
            "rungs": tuple(chosen),
            "out": tmp_path / "out",
        }
        values |= {"corpus": open_corpus(corpus)}
        return climb.Ladder(**(values | changes))

    return make
