"""Span corruption: rows with gaps to read, and what stood in the gaps to write.

Takes: rows of ids of one length, the ids of sentinels, the id that ends a text, a seed.
Gives: for each row a source and a target. How long they are follows from the length of the rows alone.
Does not know: tokenizers, models, how rows were made.

Raffel et al. 2019 (arXiv:1910.10683), section 3.1.4 and figure 2, as the published T5 were trained: a row begins with what is kept and
ends with a gap, so that each gap has its sentinel and the end of the target needs none.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llamarium.ground.errors import UsageError

NOISE_DENSITY = 0.15  # share of the tokens that are left out
MEAN_SPAN = 3.0  # tokens, mean length of a gap


def corrupt(
    ids_BL: NDArray[np.integer[Any]],
    sentinels: Sequence[int],
    *,
    end_id: int,
    seed: int,
    noise_density: float = NOISE_DENSITY,
    mean_span: float = MEAN_SPAN,
) -> tuple[NDArray[np.integer[Any]], NDArray[np.integer[Any]]]:
    """Leave spans out of each row: source (B, S) with a sentinel for each, target (B, T) of sentinels, each with what it stands for.

    `sentinels` are used in the order given (T5: ``<extra_id_0>``, which is 32099, and downwards). Where there are too few, spans are
    longer. Both results end with `end_id`. Every way to cut a row is equally probable; the same seed gives the same cuts.
    `UsageError` where there is no sentinel, or rows are too short to keep a token and leave one out.

    >>> source, target = corrupt(np.arange(10, 20)[None], [99, 98], end_id=1, seed=0, noise_density=0.4, mean_span=2)
    >>> source.tolist(), target.tolist()
    ([[10, 11, 12, 13, 99, 16, 17, 98, 1]], [[99, 14, 15, 98, 18, 19, 1]])
    """
    B, L = ids_BL.shape
    num_noise, num_spans = counts(L, len(sentinels), noise_density=noise_density, mean_span=mean_span)
    random = np.random.Generator(np.random.PCG64(seed))
    kept, left_out = (_parts(random, (B, num_spans), total) for total in (L - num_noise, num_noise))
    lengths = np.stack((kept, left_out), axis=2).reshape(B, 2 * num_spans)  # what is kept and what is left out take turns
    part_BL = np.repeat(np.tile(np.arange(2 * num_spans), B), lengths.ravel()).reshape(B, L)
    is_noise = part_BL % 2 == 1
    is_first = np.diff(part_BL, axis=1, prepend=-1) != 0
    sentinel_BL = np.asarray(sentinels, dtype=ids_BL.dtype)[part_BL // 2]
    source = np.where(is_noise, sentinel_BL, ids_BL)[~is_noise | is_first].reshape(B, -1)
    target = np.where(is_noise, ids_BL, sentinel_BL)[is_noise | is_first].reshape(B, -1)
    end = np.full((B, 1), end_id, dtype=ids_BL.dtype)
    return np.concatenate((source, end), axis=1), np.concatenate((target, end), axis=1)


def counts(length: int, num_sentinels: int, *, noise_density: float = NOISE_DENSITY, mean_span: float = MEAN_SPAN) -> tuple[int, int]:
    """How many tokens of a row of `length` are left out, and in how many spans.

    A source then has length − tokens + spans + 1 ids, a target tokens + spans + 1.

    >>> counts(512, 100), counts(2, 100)
    ((77, 26), (1, 1))
    """
    if num_sentinels < 1:
        raise UsageError("There are no sentinels to stand for what is left out.", hint="Use a tokenizer that has <extra_id_0>.")
    if length < 2:
        raise UsageError(f"A row of {length} tokens cannot keep one and leave one out.", hint="Give rows of at least 2.")
    num_noise = min(max(round(length * noise_density), 1), length - 1)
    num_spans = max(round(num_noise / mean_span), 1)
    return num_noise, min(num_spans, num_noise, length - num_noise, num_sentinels)


def _parts(random: np.random.Generator, shape: tuple[int, int], total: int) -> NDArray[np.int64]:
    """Cut `total` into parts of at least 1, row by row, every way equally probable: (B, parts)."""
    B, parts = shape
    cuts = np.sort(random.random((B, total - 1)).argsort(axis=1)[:, : parts - 1], axis=1) + 1
    return np.diff(cuts, axis=1, prepend=0, append=total)
