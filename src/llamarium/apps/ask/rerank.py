"""How likely a question is, given a passage: a language model's own judgement of which passage it is about.

Takes: a model that gives text a probability, and its tokenizer; a question and passages.
Gives: log2 p(question | passage) for each passage.
Does not know: how passages were found, what becomes of the ranking.

Query likelihood (Ponte and Croft 1998), with a LLaMA for the language model (Sachan and others 2022, arXiv:2204.07496).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from llamarium.ground.errors import UsageError
from llamarium.models.model import Model
from llamarium.models.scoring import log2_probabilities
from llamarium.tokens.tokenizer import Tokenizer

BETWEEN = "\n\nQuestion: "  # what stands between a passage and the question about it
LONGEST_QUESTION = 128  # tokens
LONGEST_PASSAGE = 384


@dataclass(frozen=True)
class Likelihood:
    """A model that judges passages by how likely they make a question."""

    model: Model
    tokenizer: Tokenizer

    def judge(self, question: str, passages: Sequence[str]) -> list[float]:
        """log2 p(question | passage), each; more is better. `UsageError` where the model gives text no probability.

        Of a long passage its first tokens are read, so that the question fits into the model's context with it.
        """
        context_length = self.model.config.context_length
        asked = self.tokenizer.encode(question)[:LONGEST_QUESTION]
        between = self.tokenizer.encode(BETWEEN)
        room = LONGEST_PASSAGE if context_length is None else min(LONGEST_PASSAGE, context_length - len(asked) - len(between) - 1)
        if room < 1:
            raise UsageError(
                f"A context of {context_length} tokens holds no passage beside this question.", hint="Take another model to --rerank."
            )
        rows = self.tokenizer.encode_batch(passages)
        documents = [[self.tokenizer.begin_id, *row[:room], *between, *asked] for row in rows]
        scores = log2_probabilities(self.model, documents, name="re-ranking")
        return [float(found[-len(asked) :].sum()) if asked else 0.0 for found in scores]
