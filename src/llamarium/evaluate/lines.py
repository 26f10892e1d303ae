"""How probable a model finds each of many lines, and which of several for the same thing is best.

Takes: a model, its tokenizer, lines of text; for an n-best list each with an id and perhaps a score that it has already.
Gives: the natural log-probability of each line, its tokens and bytes; the lines of each id, ranked anew.
Does not know: where the lines and their first scores come from.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from llamarium.ground.errors import BadFileError
from llamarium.models.model import Model
from llamarium.models.scoring import log2_probabilities
from llamarium.tokens.tokenizer import Tokenizer

Unit = Literal["total", "token", "byte"]
UNITS: tuple[Unit, ...] = get_args(Unit)
NBEST_FORMS = "A line of an n-best list is `id ||| text ||| ... ||| score`, or id, score and text with tabs between them."


@dataclass(frozen=True)
class Line:
    """What a model makes of one line."""

    text: str
    log_probability: float  # natural logarithm
    tokens: int  # scored: those of the line, and one end token unless it was left out
    bytes: int  # in UTF-8

    def score(self, by: Unit = "total") -> float:
        """The log-probability, or its mean over tokens or bytes, by which lines of unlike length compare; NaN where there are none."""
        if by == "total":
            return self.log_probability
        number = self.tokens if by == "token" else self.bytes
        return self.log_probability / number if number else math.nan

    @property
    def bits_per_byte(self) -> float:
        """Bits that the model needs for a byte of the line; NaN for an empty one."""
        return -self.score("byte") / math.log(2)


@dataclass(frozen=True)
class Hypothesis:
    """One of several lines for the same thing; of `score`, as of log-probabilities, more is better."""

    id: str
    text: str
    score: float = 0.0


def split_lines(data: bytes, *, name: str) -> list[str]:
    """The lines of a text in UTF-8, without their ends (LF or CRLF) and a byte-order mark; only these end a line.

    >>> split_lines("one\\r\\n\\ntwo\\x0cthree".encode(), name="x.txt")
    ['one', '', 'two\\x0cthree']
    """
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        number = data.count(b"\n", 0, error.start) + 1
        raise BadFileError(f"{name}, line {number}", "is not UTF-8 text.", offset=error.start, hint="Convert it to UTF-8 first.") from None
    lines = text.removeprefix("\ufeff").replace("\r\n", "\n").split("\n")
    return lines if lines[-1] else lines[:-1]


def score_lines(model: Model, tokenizer: Tokenizer, texts: Iterable[str], *, end: bool = True) -> list[Line]:
    """log p of each line, as `bits_per_byte` counts it: after a begin token, all its tokens, and unless `end` is False an end token.

    A line longer than the model's context is read in windows. `UsageError` where the model gives text no probability.
    """
    texts = list(texts)
    after = [tokenizer.end_id] if end else []
    documents = [[tokenizer.begin_id, *ids, *after] for ids in tokenizer.encode_batch(texts)]
    scores = log2_probabilities(model, documents)
    return [
        Line(text, float(score.sum()) * math.log(2), len(score), len(text.encode("utf-8")))
        for text, score in zip(texts, scores, strict=True)
    ]


def read_nbest(lines: Sequence[str], *, name: str) -> list[Hypothesis]:
    """The hypotheses of an n-best list in either form of `NBEST_FORMS`; without a score it is 0. Empty lines are passed over.

    >>> read_nbest(["7 ||| a b ||| lm: -1 tm: -2 ||| -3.5", "8\\t-2\\tc"], name="x.nbest")
    [Hypothesis(id='7', text='a b', score=-3.5), Hypothesis(id='8', text='c', score=-2.0)]
    """
    return [_hypothesis(line, f"{name}, line {number}") for number, line in enumerate(lines, 1) if line.strip()]


def _hypothesis(line: str, place: str) -> Hypothesis:
    if "|||" in line:  # Moses: features may stand before the score, and alignments after it
        identity, text, *rest = (part.strip() for part in line.split("|||"))
        given = rest[min(1, len(rest) - 1)] if rest else "0"
    elif "\t" in line:
        identity, *scores, text = line.split("\t", 2)
        given = scores[0] if scores else "0"
    else:
        raise BadFileError(place, "has no id before its text.", hint=NBEST_FORMS)
    try:
        score = float(given)
    except ValueError:
        score = math.nan
    if not math.isfinite(score):
        raise BadFileError(place, f"has {given!r:.60} where its score should be.", hint=NBEST_FORMS)
    return Hypothesis(identity, text, score)


def rank(hypotheses: Sequence[Hypothesis], scores: Sequence[float], *, weight: float = 1.0) -> list[list[Hypothesis]]:
    """The hypotheses of each id, best first, each with its own score + `weight` · the model's; ids in order of their first lines.

    Where two are equal the earlier line comes first; what has no score comes last.

    >>> rank([Hypothesis("1", "a", -1.0), Hypothesis("1", "b", -1.5)], [-3.0, -2.0])
    [[Hypothesis(id='1', text='b', score=-3.5), Hypothesis(id='1', text='a', score=-4.0)]]
    """
    groups: dict[str, list[Hypothesis]] = {}
    for each, score in zip(hypotheses, scores, strict=True):
        groups.setdefault(each.id, []).append(Hypothesis(each.id, each.text, each.score + weight * score))
    return [sorted(group, key=lambda each: (math.isnan(each.score), -each.score)) for group in groups.values()]
