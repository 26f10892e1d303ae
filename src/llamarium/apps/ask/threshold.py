"""Whether the documents hold an answer at all.

Takes: a few signs of how well the best sentence and its passage fit a question.
Gives: a probability, and two borders: from `SURE` up the answer stands; from `THRESHOLD` up what fits best is shown as what it
is, perhaps an answer; below, nothing is.
Does not know: questions, documents.

A logistic regression. Which signs it looks at, and which features `answer` weighs, was chosen while all questions were in sight;
only the weights are of one half. They are what ``python -m bench ask_quality FILE --fit`` printed for half of CMRC 2018's trial
questions, each asked of an index with or without its document, and the questions of tests/apps/ask that may be chosen by (half
"tune", odd numbers).
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


INTERCEPT = -4.33
WEIGHTS = Signs(sentence=2.74, passage=2.16, gap=1.42, covered=2.47, dense=-0.65)
SURE = 0.7
# Lower would show more: at 0.1 every second English paraphrase of tests/apps/ask/data gets something, and so does every fourth question of
# the trial whose document is missing. At 0.3 it is nearly all that can be answered, and one in eleven that cannot.
THRESHOLD = 0.3


def confidence(signs: Signs) -> float:
    """The probability that what was found answers the question, 0 to 1."""
    return 1 / (1 + math.exp(-(INTERCEPT + sum(weight * sign for weight, sign in zip(astuple(WEIGHTS), astuple(signs), strict=True)))))
