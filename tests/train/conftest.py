"""A corpus and recipes so small that a run takes a moment."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from llamarium.text.prepare import prepare
from llamarium.train import recipe
from llamarium.train.recipe import Recipe

Described = Callable[..., Recipe]
SENTENCES = ("the llama eats green grass", "the old shepherd follows the river", "an alpaca fears the snow", "my sheep keeps warm")


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus of 16 short documents."""
    folder = tmp_path_factory.mktemp("data")
    (folder / "text").mkdir()
    draw = random.Random(1)
    for number in range(16):
        lines = [f"{draw.choice(SENTENCES).capitalize()}, {draw.randrange(1000)} times." for _ in range(draw.randrange(3, 10))]
        (folder / "text" / f"{number:02}.txt").write_text("\n".join(lines), encoding="utf-8")
    prepare([folder / "text"], folder / "corpus")
    return folder / "corpus"


@pytest.fixture
def described(corpus: Path) -> Described:
    """A recipe of a tiny model. Keywords are sections whose values replace those here; a size or another model leaves no shape."""

    def describe(**sections: dict[str, Any]) -> Recipe:
        values: dict[str, Any] = {
            "name": "tiny",
            "data": {"corpus": str(corpus), "tokenizer": "bytes"},
            "model": {"layers": 1, "width": 16, "heads": 1, "hidden_width": 32},
            "train": {
                "steps": 6,
                "batch_tokens": 128,
                "sequence_length": 32,
                "save_every": 2,
                "validation_tokens": 200,
                "learning_rate": 1e-2,
                "precision": "float32",
            },
        }
        for name, section in sections.items():
            begun = values.get(name, {}) if isinstance(section, dict) and "from" not in section and "size" not in section else {}
            values[name] = begun | section if isinstance(section, dict) else section
        return recipe.build(values)

    return describe
