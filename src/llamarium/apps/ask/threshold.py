"""Whether the documents hold an answer at all.

Takes: a few signs of how well the best sentence and its passage fit a question.
Gives: a probability, and the threshold below which nothing is answered.
Does not know: questions, documents.

A logistic regression. The weights are what ``python -m bench ask_quality FILE --fit`` printed for half of CMRC 2018's trial questions, each
asked of an index with or without its document, and the questions of tests/apps/ask that may be chosen by (half "tune", odd numbers).
"""

from __future__ import annotations

import math
from dataclasses import astuple, dataclass


@dataclass(frozen=True)
class Signs:
    """What the decision looks at, all between 0 and 1.

    `sentence`: the share of the question in the best sentence and the one after it; `passage`: in its passage and the headings above
    it; `gap`: how far the best passage of another document falls behind; `covered`: see `Features`; `dense`: the share of the question
    that is Chinese, of which more is found by chance.
    """

    sentence: float
    passage: float
    gap: float
    covered: float
    dense: float


INTERCEPT = -4.13
WEIGHTS = Signs(sentence=2.56, passage=2.17, gap=1.58, covered=2.52, dense=-0.86)
THRESHOLD = 0.5


def confidence(signs: Signs) -> float:
    """The probability that what was found answers the question, 0 to 1."""
    return 1 / (1 + math.exp(-(INTERCEPT + sum(weight * sign for weight, sign in zip(astuple(WEIGHTS), astuple(signs), strict=True)))))
