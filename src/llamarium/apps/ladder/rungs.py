"""The rungs: which models stand on the ladder, in the order of the story, and what each adds to the one before.

Takes: nothing. Gives: `RUNGS`; the recipe of one.
Does not know: how anything is trained or measured.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from llamarium.models import family
from llamarium.models.model import Fitted
from llamarium.train import recipe
from llamarium.train.compute import COMPILED
from llamarium.train.recipe import Recipe, parse_size

# What serves LLaMA best in about a minute on two cores; all others get the same (docs/log.md has what was tried).
BATCH, SEQUENCE = 2048, 256  # tokens of a step and of a row
OPTIMIZER = {"name": "muon", "schedule": "linear", "warmup": 0.05, "final": 0.0, "weight_decay": 0.1}


@dataclass(frozen=True)
class Rung:
    """One model of the ladder. `fields` are those of its family's config; `grouped`: query heads share a key and value head."""

    key: str
    name: str
    adds: str
    family: str
    fields: dict[str, Any] = field(default_factory=dict)
    grouped: bool = False
    learning_rate: float = 1e-2
    seeds: bool = False  # whether it is trained from several seeds, where several are wanted

    @property
    def counts(self) -> bool:
        """Whether it is fitted at once."""
        return issubclass(family(self.family).Model, Fitted)


RUNGS = (
    Rung("bigram", "bigram", "what follows each token (Kneser–Ney)", "ngram", {"order": 2}),
    Rung("5-gram", "5-gram", "what follows each four tokens (Kneser–Ney)", "ngram", {"order": 5}),
    Rung("lstm", "LSTM", "a memory, learnt by gradient", "lstm"),
    Rung("gpt", "GPT", "attention instead of a memory (GPT-2)", "gpt", seeds=True),
    Rung("gpt-rms", "+ RMSNorm", "a norm without mean and bias", "gpt", {"norm": "rms"}),
    Rung("gpt-rotary", "+ rotary positions", "how far, instead of where", "gpt", {"norm": "rms", "positions": "rotary"}),
    Rung("gpt-swiglu", "+ SwiGLU", "an MLP with a gate", "gpt", {"norm": "rms", "positions": "rotary", "mlp": "swiglu"}),
    Rung("llama", "LLaMA", "query heads that share keys and values; no biases", "llama", grouped=True, seeds=True),
)


def describe(
    rung: Rung,
    *,
    tokens: Path,
    tokenizer: Path,
    vocab_size: int,
    size: str,
    seed: int,
    length: dict[str, float | int],
    precision: str,
    compiled: bool = False,
) -> Recipe:
    """The recipe of a rung over token shards; `length` is ``{"minutes": …}`` or ``{"tokens": …}``, and nothing to one that counts."""
    values: dict[str, Any] = {
        "name": rung.key if seed == 1 else f"{rung.key}-seed-{seed}",
        "seed": seed,
        "data": {"corpus": str(tokens), "tokenizer": str(tokenizer)},
        "model": {"family": rung.family, **rung.fields},
    }
    if not rung.counts:
        values["model"] |= {"size": size, **_grouped(rung, size, vocab_size)}
        values["train"] = {
            **length,
            "batch_tokens": BATCH,
            "sequence_length": SEQUENCE,
            "learning_rate": rung.learning_rate,
            "validate_every": 1_000_000,
            "save_every": 1_000_000,
            "precision": precision,
            "compile": compiled and family(rung.family).Model.KIND in COMPILED,
        }
        values["optimizer"] = OPTIMIZER
    return recipe.build(values, name=rung.name)


def _grouped(rung: Rung, size: str, vocab_size: int) -> dict[str, int]:
    """Fewer key and value heads than query heads: as many fewer as the smallest number that divides these."""
    if not rung.grouped:
        return {}
    heads = family(rung.family).Config.sized(parse_size(size), vocab_size=vocab_size, context_length=SEQUENCE).heads
    divisor = next((number for number in range(2, heads + 1) if heads % number == 0), 1)
    return {"kv_heads": heads // divisor}
