"""Whether the documents hold an answer at all.

Takes: a few signs of how well the best sentence and its passage fit a question.
Gives: a probability, and two borders: from `SURE` up the answer stands; from `THRESHOLD` up what fits best is shown as what it
is, perhaps an answer; below, nothing is.
Does not know: questions, documents.

A logistic regression. Which signs it looks at was chosen while all questions were in sight; the weights are of what
``python -m bench ask_quality FILE --fit`` is fitted to: half of CMRC 2018's trial questions and half of their paraphrases, each asked of
an index with and without its document, and the questions of tests/apps/ask that may be chosen by (half "tune", odd numbers).
"""

from __future__ import annotations

import math
from dataclasses import astuple, dataclass


@dataclass(frozen=True)
class Signs:
    """What the decision looks at.

    `passage`: the share of the question in the best sentence's passage and the headings above it; `gap`: how far the best passage of
    another document falls behind, both 0 to 1; `words`: the logarithm of how many things are asked for (of three, if fewer), since the
    same share of more tells more; `dense`: the share of the question that is Chinese, of which more is found by chance.
    """

    passage: float
    gap: float
    words: float
    dense: float


INTERCEPT = -5.76
WEIGHTS = Signs(passage=4.98, gap=2.33, words=1.27, dense=-0.80)
# Of plain questions 71 to 90 in a hundred are above, and of questions near the topic that have no answer 20 to 45: lower, it would be more.
SURE = 0.75
# Nearly all that can be answered is above, nine in ten if it is asked in other words; and one in seven of the trial's questions whose
# document is missing. At 0.3 it would be one in six, and questions near the topic gain most.
THRESHOLD = 0.35


def confidence(signs: Signs) -> float:
    """The probability that what was found answers the question, 0 to 1."""
    return 1 / (1 + math.exp(-(INTERCEPT + sum(weight * sign for weight, sign in zip(astuple(WEIGHTS), astuple(signs), strict=True)))))
