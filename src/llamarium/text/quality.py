"""Quality by example: "like these, not like those".

Takes: texts that are like what is wanted, and texts that are not.
Gives: a small linear model that scores any text from 0 to 1, and how well it tells apart examples that it was not shown.
Does not know: what quality is. It has words and pairs of words, and learns what the examples differ in, be it subject or care.

Logistic regression on hashed n-grams (Joulin et al., "Bag of Tricks for Efficient Text Classification", 2017, without the embedding): words
and pairs of neighbouring words (a Chinese character is a word) fall into 2^18 buckets, each counted as 1 + log(count), the text scaled to
length 1. Trained by AdaGrad on the whole set, both sides weighed alike; nothing is random.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llamarium.ground.errors import BadFileError, UsageError
from llamarium.text.shingles import word_hashes

BUCKETS = 1 << 18
ROUNDS = 200
RATE = 0.5
SHRINK = 1e-4  # weight decay: of two ways to tell the examples apart, the one that leans on more words
FOLDS = 4
FEWEST = 4  # examples on each side
SAMPLE = 20_000  # characters of a text that are looked at

_MIX = np.uint64(0x9E3779B97F4A7C15)

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Quality:
    """A trained model: one weight a bucket, and one for all texts alike. `auroc`: of examples held out in turn, 0.5 is chance."""

    weights: Floats
    bias: float
    auroc: float

    def score(self, text: str) -> float:
        """How likely the text is one of those that are wanted, by the model, 0 to 1."""
        buckets, values = _features(text)
        # Not `@`: how many threads a library shares that out to, would show in the last digits.
        margin = float(np.sum(self.weights[buckets] * values, dtype=np.float64)) + self.bias
        return float(_sigmoid(np.array([margin]))[0])

    def save(self, path: Path) -> None:
        """Write the model as one .npy file: bias, AUROC, weights."""
        np.save(path, np.concatenate([[self.bias, self.auroc], self.weights]).astype(np.float32), allow_pickle=False)

    @classmethod
    def open(cls, path: Path) -> Quality:
        """The model in a file that `save` wrote; `BadFileError` if it is something else."""
        try:
            values = np.load(path, allow_pickle=False)
        except (OSError, ValueError) as error:
            raise BadFileError(path, f"is not a quality model ({error}).") from error
        if values.dtype != np.float32 or values.shape != (BUCKETS + 2,):
            raise BadFileError(path, "is not a quality model.")
        return cls(values[2:], float(values[0]), float(values[1]))


def train(like: Sequence[str], unlike: Sequence[str]) -> Quality:
    """Learn to tell `like` from `unlike`; `UsageError` where there are too few of either."""
    if min(len(like), len(unlike)) < FEWEST:
        raise UsageError(
            f"There are {len(like)} examples of what is wanted and {len(unlike)} of what is not; {FEWEST} of each are the least.",
            hint="A hundred of each make a usable model. Each record of a .jsonl file, or each file, is one.",
        )
    features = [_features(text) for text in [*like, *unlike]]
    labels = np.array([1.0] * len(like) + [0.0] * len(unlike))
    # Every fourth of each side is held out in turn.
    fold = np.concatenate([np.arange(len(like)), np.arange(len(unlike))]) % FOLDS
    margins = np.zeros(len(labels))
    for number in range(FOLDS):
        weights, bias = _fit([features[row] for row in np.flatnonzero(fold != number)], labels[fold != number])
        for row in np.flatnonzero(fold == number):
            buckets, values = features[row]
            margins[row] = weights[buckets] @ values + bias
    weights, bias = _fit(features, labels)
    return Quality(weights, bias, auroc(margins, labels > 0.5))


def auroc(scores: NDArray[np.float64], wanted: NDArray[np.bool_]) -> float:
    """Area under the ROC curve: how often a wanted one scores above an unwanted one, ties counting half (Hanley & McNeil 1982).

    >>> auroc(np.array([3.0, 2.0, 2.0, 1.0]), np.array([True, True, False, False]))
    0.875
    """
    values, where = np.unique(scores, return_inverse=True)
    counts = np.bincount(where, minlength=len(values))
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[where]
    positives = int(wanted.sum())
    return float((ranks[wanted].sum() - positives * (positives + 1) / 2) / max(1, positives * (len(scores) - positives)))


def _features(text: str) -> tuple[NDArray[np.int64], Floats]:
    """The buckets of a text, each once, and their values, of length 1 together."""
    words = word_hashes(text[:SAMPLE])
    pairs = (words[:-1] * _MIX + words[1:]) * _MIX
    buckets, counts = np.unique((np.concatenate([words, pairs]) >> np.uint64(64 - 18)).astype(np.int64), return_counts=True)
    values = 1 + np.log(counts)
    return buckets, (values / max(1e-9, float(np.linalg.norm(values)))).astype(np.float32)


def _fit(features: Sequence[tuple[NDArray[np.int64], Floats]], labels: NDArray[np.float64]) -> tuple[Floats, float]:
    buckets = np.concatenate([found for found, _ in features])
    values = np.concatenate([found for _, found in features]).astype(np.float64)
    rows = np.repeat(np.arange(len(features)), [len(found) for found, _ in features])
    importance = np.where(labels > 0.5, 0.5 / max(1, (labels > 0.5).sum()), 0.5 / max(1, (labels <= 0.5).sum()))
    weights, bias = np.zeros(BUCKETS), 0.0
    squares, bias_squares = np.full(BUCKETS, 1e-12), 1e-12
    for _ in range(ROUNDS):
        margins = np.bincount(rows, weights=weights[buckets] * values, minlength=len(features)) + bias
        error = (_sigmoid(margins) - labels) * importance
        gradient = np.bincount(buckets, weights=values * error[rows], minlength=BUCKETS) + SHRINK * weights
        squares += gradient**2
        weights -= RATE * gradient / np.sqrt(squares)
        bias_squares += float(error.sum()) ** 2
        bias -= RATE * float(error.sum()) / bias_squares**0.5
    return weights.astype(np.float32), float(np.float32(bias))  # what a file keeps


def _sigmoid(margins: NDArray[Any]) -> NDArray[np.float64]:
    return np.asarray(1 / (1 + np.exp(-np.clip(margins, -50, 50))))
