"""Sentences as vectors: texts of like meaning point in like directions.

Takes: an encoder, its tokenizer and texts; or the name of a MODEL, whose folder says how it makes one vector of its states.
Gives: one float32 vector for each text.
Does not know: what the vectors are compared with.

Reimers and Gurevych 2019 (arXiv:1908.10084).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from llamarium.checkpoint.open import open_model
from llamarium.checkpoint.resolve import resolve
from llamarium.ground import progress
from llamarium.ground.device import pick_device
from llamarium.ground.errors import BadFileError, UsageError
from llamarium.ground.files import read_json
from llamarium.models.context import Packed
from llamarium.models.model import Model, Network
from llamarium.tokens.tokenizer import CONFIG, Tokenizer

Pooling = Literal["mean", "cls"]
BATCH_TOKENS = 8192  # positions of one batch, padding included
MODULES, LENGTH, POOLING = "modules.json", "sentence_bert_config.json", "1_Pooling/config.json"
# One switch for each mode; newer releases of sentence-transformers have the modes themselves under pooling_mode.
_MODES = {
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}


@dataclass(frozen=True)
class SentenceSettings:
    """How an encoder's states become one vector: the mean of all or the first, of length 1 or as it comes; of so many tokens at most."""

    pooling: Pooling = "mean"
    normalize: bool = True
    max_tokens: int | None = None


@dataclass(frozen=True)
class SentenceEncoder:
    """An encoder in one's hand."""

    model: Model
    tokenizer: Tokenizer
    settings: SentenceSettings = SentenceSettings()

    @classmethod
    def load(cls, name: str | Path, *, device: str = "auto") -> SentenceEncoder:
        """Load the MODEL `name` and, where its folder has them, the settings it was trained with."""
        opened = open_model(name, device=pick_device(device))
        path = resolve(str(name)).path
        return cls(opened.model, opened.tokenizer, read_settings(path) if path.is_dir() else SentenceSettings())

    def vectors(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """One vector for each text, in its settings: float32 (N, D)."""
        settings = self.settings
        return sentence_vectors(
            self.model,
            self.tokenizer,
            texts,
            pooling=settings.pooling,
            normalize=settings.normalize,
            max_tokens=settings.max_tokens,
        )


def read_settings(folder: Path) -> SentenceSettings:
    """What a folder of sentence-transformers says of itself; where one says nothing, the mean, of length 1.

    `BadFileError` where it says something that cannot be done here.
    """
    if not (folder / MODULES).is_file():
        return SentenceSettings()
    kinds = [str(module.get("type")).rpartition(".")[2] for module in _read(folder / MODULES, list)]
    if kinds not in (["Transformer", "Pooling"], ["Transformer", "Pooling", "Normalize"]):
        raise BadFileError(folder / MODULES, f"makes vectors by {', '.join(kinds) or 'nothing'}; known: Transformer, Pooling, Normalize.")
    values = _read(folder / POOLING, dict)
    modes = values.get("pooling_mode", [mode for key, mode in _MODES.items() if values.get(key)])
    if (mode := modes[0] if isinstance(modes, list) and len(modes) == 1 else modes) not in get_args(Pooling):
        raise BadFileError(folder / POOLING, f"does not pool by the mean or by the first state alone: {modes!r:.100}.")
    return SentenceSettings(mode, "Normalize" in kinds, _max_tokens(folder))


def _max_tokens(folder: Path) -> int | None:
    """At how many tokens sentence-transformers cuts a text: its own setting, else the tokenizer's."""
    for name, key in ((LENGTH, "max_seq_length"), (CONFIG, "model_max_length")):
        value = _read(folder / name, dict).get(key) if (folder / name).is_file() else None
        if value is not None and (type(value) is not int or value < 1):
            raise BadFileError(folder / name, f"has a {key} that is no length: {value!r:.100}.")
        if value is not None:
            return value
    return None


def _read(path: Path, kind: type[dict[str, Any]] | type[list[Any]]) -> Any:
    if not path.is_file():
        raise BadFileError(path.parent, f"lacks {path.name}, which {MODULES} needs.")
    values = read_json(path)
    members = values if isinstance(values, list) else []
    if not isinstance(values, kind) or not all(isinstance(member, dict) for member in members):
        raise BadFileError(path, "is not what sentence-transformers writes.")
    return values


@torch.inference_mode()
def sentence_vectors(
    model: Model,
    tokenizer: Tokenizer,
    texts: Sequence[str],
    *,
    pooling: Pooling = "mean",
    normalize: bool = True,
    max_tokens: int | None = None,
    batch_tokens: int = BATCH_TOKENS,
) -> NDArray[np.float32]:
    """One vector for each text: float32 (N, D), of length 1 where `normalize`.

    A text is read as the tokenizer's template says, for BERT ``[CLS] text [SEP]``. The vector is the mean of the states of all
    these tokens, or the state of the first. No more than `max_tokens` of them are read, nor more than the model's context: the
    end of a longer text is left out, and how many texts that were is said. `UsageError` where the model is no encoder.
    """
    if model.KIND != "encoder" or not isinstance(model, Network):
        raise UsageError(
            "Vectors of sentences come from an encoder, which this model is not.",
            hint="`llamarium pull all-minilm-l6-v2` fetches one; a run with `model: {family: bert}` makes one.",
        )
    if pooling not in get_args(Pooling):
        raise UsageError(f"Unknown pooling {pooling!r}.", hint="mean or cls")
    most = model.config.context_length if max_tokens is None else min(max_tokens, model.config.context_length)
    rows = _encode(tokenizer, texts, most)
    if rows and max(map(max, rows)) >= model.config.vocab_size:
        raise UsageError(f"The tokenizer has ids beyond the model's vocabulary of {model.config.vocab_size:,}.")
    vectors = np.zeros((len(rows), model.config.width), dtype=np.float32)
    order = sorted(range(len(rows)), key=lambda number: -len(rows[number]))
    training = model.training
    model.eval()
    try:
        with progress.task("sentences", len(rows)) as work:
            while order:
                some = order[: max(1, batch_tokens // len(rows[order[0]]))]
                order = order[len(some) :]
                vectors[some] = _vectors(model, [rows[number] for number in some], pooling, normalize).cpu().numpy()
                work.advance(len(some))
    finally:
        model.train(training)
    return vectors


def _encode(tokenizer: Tokenizer, texts: Sequence[str], most: int) -> list[list[int]]:
    """Ids of each text in the tokenizer's template, `most` at most; a text of which nothing would be left is one token."""
    before, after = tokenizer.around
    room = most - len(before) - len(after)
    if room < 1:
        raise UsageError(f"Of {most} tokens the template takes {len(before) + len(after)}: nothing of a text is left.")
    found = tokenizer.encode_batch(texts)
    if longer := sum(len(ids) > room for ids in found):
        progress.say(f"Of {longer:,} of {len(texts):,} texts only the first {most:,} tokens are read.")
    return [[*before, *ids[:room], *after] or [tokenizer.end_id] for ids in found]


def _vectors(model: Network, rows: Sequence[Sequence[int]], pooling: Pooling, normalize: bool) -> Tensor:
    """Vectors of rows, the longest first: float32 (B, D)."""
    lengths_B = torch.tensor([len(row) for row in rows])
    ids_BT = torch.zeros(len(rows), len(rows[0]), dtype=torch.long)
    for number, row in enumerate(rows):
        ids_BT[number, : len(row)] = torch.tensor(row)
    filled_BT = torch.arange(len(rows[0])) >= lengths_B[:, None]
    ids_BT, filled_BT = ids_BT.to(model.device), filled_BT.to(model.device)
    # What fills a row up is a document of its own: no token of the text sees it.
    x_BTD = model.hidden(ids_BT, Packed(filled_BT.long())).float()
    if pooling == "cls":
        x_BD = x_BTD[:, 0]
    else:
        x_BD = x_BTD.masked_fill(filled_BT[:, :, None], 0).sum(1) / lengths_B.to(x_BTD.device)[:, None]
    return F.normalize(x_BD, dim=-1) if normalize else x_BD
