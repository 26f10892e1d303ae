"""Three documents, an encoder that anybody can check, and tiny models that know their words: for tests of vectors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer as Backend
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

from llamarium.apps.ask.encoders import Array, Kind
from llamarium.tokens.tokenizer import Tokenizer

ANIMALS = {"llama.txt": "Llamas hum.", "camel.txt": "Camels spit.", "goat.txt": "Goats climb."}
KNOWN = ["[END]", *sorted({word for text in ANIMALS.values() for word in text.removesuffix(".").split()}), ".", "[UNK]"]


def write(folder: Path) -> Path:
    """The documents, in a folder that is not there yet."""
    folder.mkdir()
    for name, text in ANIMALS.items():
        (folder / name).write_text(text)
    return folder


def letters(text: str) -> list[float]:
    """A vector that anybody can check: how often a letter is there."""
    return [float(text.lower().count(letter)) for letter in "abcdefghilmnopst"]


@dataclass
class Letters:
    """An encoder of our own making: it counts letters."""

    name: str = "letters"
    sha256: str = "0"
    kind: Kind = "encoder"
    seen: list[str] = field(default_factory=list)

    def reads(self, text: str) -> bool:
        return "?!" not in text

    def encode(self, texts: Sequence[str]) -> Array:
        self.seen += texts
        return np.array([letters(text) for text in texts], dtype=np.float32)


def tokenizer() -> Tokenizer:
    """What knows the documents' words."""
    backend = Backend(WordLevel({word: number for number, word in enumerate(KNOWN)}, unk_token="[UNK]"))
    backend.pre_tokenizer = Whitespace()
    backend.add_special_tokens(["[END]", "[UNK]"])
    return Tokenizer(backend.to_str(), {"eos_token": "[END]", "unk_token": "[UNK]"})


def drawn(family: Any) -> Any:
    """A tiny model whose weights are so large that another token is seen."""
    torch.manual_seed(1)
    model = family.Model(replace(family.TINY, vocab_size=len(KNOWN)))
    for parameter in model.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.4)
    return model.eval()
