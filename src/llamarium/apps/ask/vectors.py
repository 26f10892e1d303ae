"""The passages that mean what a question means: their vectors are the nearest to its own.

Takes: an open index that has vectors, and what made them; a question.
Gives: passages, the nearest first.
Does not know: words, how rankings are put together.

The vectors are read once and compared exactly: one product of a matrix and a vector.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
from numpy.typing import NDArray

from llamarium.apps.ask.encoders import Array, Encoder, open_encoder, unit
from llamarium.apps.ask.index import Found, Index
from llamarium.apps.ask.store import REMOVE
from llamarium.apps.ask.vector_rows import read_vectors
from llamarium.ground import progress
from llamarium.ground.errors import BadFileError


class Vectors:
    """The vectors of an open index, and what turns a question into one. `close` is the index's."""

    def __init__(self, index: Index, encoder: Encoder) -> None:
        """`BadFileError` where the index has none, or they are not of this encoder."""
        self._index, self._encoder = index, encoder
        found = index.recorded_vectors()
        if found is None:
            raise BadFileError(index.name, "has no vectors.", hint="llamarium index DOCS --out FILE --vectors MODEL adds them.")
        if (found.kind, found.sha256) != (encoder.kind, encoder.sha256):
            reason = f"has vectors of {found.name}, which is not the {encoder.name} that is here."
            raise BadFileError(index.name, reason, hint="llamarium index DOCS --out FILE --vectors MODEL makes them anew.")
        self._version = -1
        self._numbers: NDArray[np.uint32] = np.empty(0, np.uint32)
        self._vectors_ND: Array = np.empty((0, 0), np.float32)
        self._mean_D: Array = np.empty(0, np.float32)

    def nearest(self, question: str, *, limit: int = 30, documents: Collection[int] | None = None) -> list[Found]:
        """The passages whose vectors are nearest to the question's, nearest first; `rank` is the cosine. Only of `documents`, if given.

        None where the question is in a writing that the encoder does not know.
        """
        if not self._encoder.reads(question):
            return []
        asked_D = unit(self._encoder.encode([question]))[0]
        with self._index.one_state():
            self._load()
            if not len(self._numbers):
                return []
            if len(asked_D) != self._vectors_ND.shape[1]:
                raise BadFileError(self._index.name, "has vectors of another length than the question's.", hint=REMOVE)
            if self._encoder.kind == "llama":
                asked_D = unit((asked_D - self._mean_D)[None])[0]
            cosines_N = self._vectors_ND @ asked_D
            if documents is not None:
                cosines_N[~np.isin(self._numbers, self._index.numbers_of(documents))] = -np.inf
            order = np.argpartition(-cosines_N, min(limit, len(cosines_N)) - 1)[:limit]
            order = order[np.isfinite(cosines_N[order])]
            found = self._index.passages({int(self._numbers[place]): float(cosines_N[place]) for place in order})
        return sorted(found, key=lambda passage: (-passage.rank, passage.path, passage.start))

    def _load(self) -> None:
        """Read all vectors, once, and again where another process has changed the file."""
        if self._version == self._index.version:
            return
        try:
            numbers, vectors = self._index.read_all(read_vectors)
        except (ValueError, TypeError):
            raise BadFileError(self._index.name, "has vectors that cannot be.", hint=REMOVE) from None
        there = np.isin(numbers, self._index.numbers)
        self._numbers, self._vectors_ND = numbers[there], vectors[there].astype(np.float32)
        if self._encoder.kind == "llama" and len(self._numbers):
            # The states of a language model share a large part, which says nothing of what a text is about.
            self._mean_D = self._vectors_ND.mean(0)
            self._vectors_ND = unit(self._vectors_ND - self._mean_D)
        self._version = self._index.version


def open_vectors(index: Index, *, embeddings: str | None = None) -> Vectors | None:
    """What `index` has vectors of, opened by its name; None where it has none.

    An address that an index names is not asked: it may be from anywhere. Only where the operator gives the same as `embeddings`, it is.
    """
    found = index.recorded_vectors()
    if found is None:
        return None
    if found.kind == "openai" and embeddings is None:
        progress.say(f"{index.name} has vectors from {found.address}, which is asked only with --embeddings; words alone are compared")
        return None
    return Vectors(index, open_encoder(found.name, embeddings=embeddings))
