"""The passages that mean what a question means: their vectors are the nearest to its own.

Takes: an open index that has vectors, and what made them; a question.
Gives: passages, the nearest first.
Does not know: words, how rankings are put together, where the vectors are.
"""

from __future__ import annotations

from collections.abc import Collection

from llamarium.apps.ask.encoders import Encoder, open_encoder, unit
from llamarium.apps.ask.index import Found, Index
from llamarium.apps.ask.qdrant import read_address
from llamarium.apps.ask.vector_store import not_there
from llamarium.ground import progress
from llamarium.ground.errors import BadFileError


class Vectors:
    """The vectors of an open index, and what turns a question into one. `close` is the index's."""

    def __init__(self, index: Index, encoder: Encoder, *, at: str | None = None) -> None:
        """`BadFileError` where the index has none, or they are not of this encoder; `UsageError` where they are not `at` that address."""
        found = index.recorded_vectors()
        if found is None:
            raise BadFileError(index.name, "has no vectors.", hint="llamarium index DOCS --out FILE --vectors MODEL adds them.")
        if (found.kind, found.sha256) != (encoder.kind, encoder.sha256):
            reason = f"has vectors of {found.name}, which is not the {encoder.name} that is here."
            raise BadFileError(index.name, reason, hint="llamarium index DOCS --out FILE --vectors MODEL makes them anew.")
        self._index, self._encoder, self._recorded = index, encoder, found
        self._store = index.vector_store(found, at=at)

    def nearest(self, question: str, *, limit: int = 30, documents: Collection[int] | None = None) -> list[Found]:
        """The passages whose vectors are nearest to the question's, nearest first; `rank` is the cosine. Only of `documents`, if given.

        None where the question is in a writing that the encoder does not know.
        """
        if not self._encoder.reads(question):
            return []
        asked_D = unit(self._encoder.encode([question]))[0]
        found: list[Found] = []
        with self._index.one_state():
            if self._index.recorded_vectors() != self._recorded:  # taken out, or made anew by another encoder, while this was open
                return []
            wanted, is_all = limit, not self._index.num_passages
            while len(found) < limit and not is_all:  # again where some of them were of passages that are gone
                cosines = self._store.nearest(asked_D, limit=wanted, documents=documents)
                found = self._index.passages(cosines)
                wanted, is_all = wanted * 4, len(cosines) < wanted
        return sorted(found, key=lambda passage: (-passage.rank, passage.path, passage.start))[:limit]


def open_vectors(index: Index, *, embeddings: str | None = None, at: str | None = None) -> Vectors | None:
    """What `index` has vectors of, opened by its name; None where it has none.

    Addresses that an index names are not asked: it may be from anywhere. Only where the operator gives the same, they are: as `embeddings`
    that of the model, as `at` that of the server that has the vectors. `UsageError` where they are not `at` that address.
    """
    found = index.recorded_vectors()
    at = read_address(at) if at is not None else None
    if found is None and at is not None:
        raise not_there(index.name, found, at)
    if found is None:
        return None
    unasked = f"{found.address}, which is asked only with --embeddings" if found.kind == "openai" and embeddings is None else ""
    unasked = f"{found.store}, which is asked only with --store" if found.store and at is None else unasked
    if unasked:
        progress.say(f"{index.name} has vectors from {unasked}; words alone are compared")
        return None
    return Vectors(index, open_encoder(found.name, embeddings=embeddings), at=at)
