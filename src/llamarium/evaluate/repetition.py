"""How much a text repeats itself: the plainest sign of a model that has got stuck.

Takes: one text as a sequence of anything comparable: ids, words, characters.
Gives: shares from 0 to 1.
Does not know: models, tokenizers, what the text should have said.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence


def repetition_rate(tokens: Sequence[Hashable], *, n: int = 4) -> float:
    """Share of the n-grams of a text that occurred earlier in it: 0 never repeats, towards 1 is stuck.

    seq-rep-n, 1 - |different n-grams| / |n-grams|. Welleck et al. 2019, arXiv:1908.04319. 0 for fewer than n tokens.

    >>> repetition_rate("to be or not to be".split(), n=2)    # 1 of 5: the second "to be"
    0.2
    >>> repetition_rate([7, 7, 7, 7, 7, 7, 7, 7], n=4)        # 4 of 5
    0.8
    >>> repetition_rate("床前明月光", n=2)
    0.0
    """
    num_grams = len(tokens) - n + 1
    return (num_grams - len(_different(tokens, n))) / num_grams if num_grams > 0 else 0.0


def distinct_n(tokens: Sequence[Hashable], *, n: int = 2) -> float:
    """Number of different n-grams of a text for each of its tokens. Li et al. 2016, arXiv:1510.03055. 0 for an empty text.

    >>> distinct_n("to be or not to be".split(), n=1)    # to, be, or, not
    0.6666666666666666
    >>> distinct_n([7, 7, 7, 7], n=2)
    0.25
    """
    return len(_different(tokens, n)) / len(tokens) if len(tokens) else 0.0


def _different(tokens: Sequence[Hashable], n: int) -> set[tuple[Hashable, ...]]:
    if n < 1:
        raise ValueError(f"an n-gram has at least one token, not {n}")
    return {tuple(tokens[start : start + n]) for start in range(len(tokens) - n + 1)}
