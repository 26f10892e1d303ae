"""Bits per byte: the one scale on which every model and every compressor can be compared.

Takes: a model, its tokenizer, documents as text.
Gives: the bits that the model needs for a byte of text, less being better; the perplexity of its tokens.
Does not know: where model and documents come from.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch

from llamarium.ground.errors import UsageError
from llamarium.models.model import Model
from llamarium.models.scoring import log2_probabilities
from llamarium.tokens.tokenizer import Tokenizer


@dataclass(frozen=True)
class Score:
    """What a model makes of some documents."""

    bits_per_byte: float
    perplexity: float
    tokens: int  # scored: all tokens of each document and one end token
    bytes: int  # UTF-8 bytes of the documents' text


def bits_per_byte(
    model: Model,
    tokenizer: Tokenizer,
    texts: Iterable[str],
    *,
    context_length: int | None = None,
    autocast: torch.dtype | None = None,
    name: str = "evaluating",
) -> Score:
    """Σ −log2 p over all tokens of each document and one end token, divided by the UTF-8 bytes of the documents' text.

    Each document starts after its begin token. Window: `context_length` (the model's own unless given); stride: half;
    every token is scored once.
    """
    texts = list(texts)
    num_bytes = sum(len(text.encode("utf-8", "surrogatepass")) for text in texts)
    if not num_bytes:
        raise UsageError("There is no text to evaluate on.", hint="`llamarium prepare` makes a corpus with a validation part.")
    documents = [[tokenizer.begin_id, *ids, tokenizer.end_id] for ids in tokenizer.encode_batch(texts)]
    scores = log2_probabilities(model, documents, context_length=context_length, autocast=autocast, name=name)
    bits = -sum(float(score.sum()) for score in scores)
    tokens = sum(len(score) for score in scores)
    return Score(bits / num_bytes, 2 ** (bits / tokens) if bits / tokens < 1000 else math.inf, tokens, num_bytes)
