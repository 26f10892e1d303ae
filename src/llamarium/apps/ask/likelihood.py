"""How likely a question is, given each of some passages, by a language model's own account.

Takes: a decoder with its tokenizer; a question and passages.
Gives: log2 p(question | passage) of each, by which passages can be ranked anew.
Does not know: how the passages were found, or what becomes of the ranks.

Query likelihood (Ponte and Croft 1998, doi:10.1145/290941.291008), with a language model in the place of a passage's counts, as
Sachan et al. 2022 (arXiv:2204.07496) rank by. Nothing is generated: one pass over each passage and the question.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from llamarium.checkpoint.open import open_model
from llamarium.ground.device import pick_device
from llamarium.ground.errors import UsageError
from llamarium.models.model import Model
from llamarium.models.scoring import log2_probabilities
from llamarium.tokens.tokenizer import Tokenizer

BETWEEN = "\n\n"
MOST_TOKENS = 1024  # of a passage and the question


@dataclass(frozen=True)
class Likelihood:
    """A model that judges passages. `UsageError` for one that gives text no probability."""

    model: Model
    tokenizer: Tokenizer

    def __post_init__(self) -> None:
        """Said before a question is asked, not after."""
        if self.model.KIND == "encoder":
            raise UsageError("This model gives a question no probability.", hint="A decoder does, such as smollm2-135m-instruct.")

    @classmethod
    def load(cls, name: str | Path, *, dtype: torch.dtype = torch.float32, device: str = "auto") -> Likelihood:
        """The MODEL `name`."""
        opened = open_model(name, dtype=dtype, device=pick_device(device))
        return cls(opened.model, opened.tokenizer)

    def judge(self, question: str, passages: Sequence[str]) -> list[float]:
        """log2 p(question | passage), each; more is better. Of a passage that is too long, the end is left out."""
        asked = self.tokenizer.encode_batch([BETWEEN + question])[0]
        limit = min(self.model.config.context_length or MOST_TOKENS, MOST_TOKENS)
        asked = asked[: limit // 2]
        room = limit - len(asked) - 1
        documents = [[self.tokenizer.begin_id, *ids[:room], *asked] for ids in self.tokenizer.encode_batch(list(passages))]
        scores = log2_probabilities(self.model, documents, name="judging")
        return [float(each[len(each) - len(asked) :].sum()) for each in scores]
