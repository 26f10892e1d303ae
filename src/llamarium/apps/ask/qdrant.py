"""Vectors at a Qdrant server.

Takes: an address that the operator gave, and what the vectors of an index are called there; vectors, and one to compare with them.
Gives: a point for each passage: its number, its vector, the number of its document; the nearest of them, found exactly.
Does not know: the index, what vectors are made of.

Nothing but the address is asked: no proxy, no other host, no telemetry. What comes back for want of an answer is one sentence.
"""

from __future__ import annotations

import math
import re
import ssl
import urllib.parse
import uuid
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress

import numpy as np
from numpy.typing import NDArray

from llamarium.apps.ask.encoders import TIMEOUT, Array, key_from
from llamarium.apps.ask.store import REMOVE
from llamarium.ground.errors import BadFileError, MissingExtraError, NetworkError, UsageError

PORT = 6333
KEY = "LLAMARIUM_QDRANT_KEY"  # in the environment: sent to the address with each request
PREFIX = "llamarium"  # of a collection's name, where the address has none
DOCUMENT = "document"  # what a point's payload calls the number of its document
FLOATS = 1 << 18  # of one request: some 5 MB
NUMBERS = 8192  # likewise


def read_address(text: str) -> str:
    """An address as it is recorded and compared: ``qdrant://HOST:PORT/NAME``, or ``qdrant+https://...``.

    >>> read_address("qdrant://LOCALHOST/team/")
    'qdrant://localhost:6333/team'
    """
    with suppress(ValueError):  # of what is between brackets, or of a port
        parts = urllib.parse.urlsplit(text)
        host, port, name = parts.hostname or "", PORT if parts.port is None else parts.port, parts.path.strip("/")
        is_whole = text.isprintable() and port and not (parts.query or parts.fragment or "@" in parts.netloc)
        if is_whole and parts.scheme in ("qdrant", "qdrant+https") and re.fullmatch(r"[\w.:-]+ [A-Za-z0-9_-]{0,64}", f"{host} {name}"):
            host = f"[{host}]" if ":" in host else host
            return f"{parts.scheme}://{host}:{port}{f'/{name}' if name else ''}"
    hint = "For example: --store qdrant://127.0.0.1:6333, or qdrant+https://HOST for TLS; a key is taken from the environment."
    raise UsageError(f"{text!r} is no address of a Qdrant server.", hint=hint)


class Qdrant:
    """The collection of one index at an address (a `VectorStore`). `close` it."""

    def __init__(self, address: str, collection: str = "", *, name: str) -> None:
        """`address`: as `read_address` gives it. `collection`: a new one, if none is given. `name`: of the index, in errors.

        The server is asked at once, so that what is wrong is said before hours of work: `NetworkError` where it gives no answer.
        """
        parts = urllib.parse.urlsplit(address)
        self.address, self._name = address, name
        self.collection = collection or f"{parts.path.strip('/') or PREFIX}-{uuid.uuid4().hex}"
        # An index may be from anywhere, and must not name what is somebody else's: such names cannot be guessed.
        if not re.fullmatch(r"[A-Za-z0-9_-]{1,64}-[0-9a-f]{32}", self.collection):
            raise BadFileError(name, "has a name for its vectors that cannot be.", hint=REMOVE)
        try:
            from qdrant_client import QdrantClient
        except ModuleNotFoundError as error:
            raise MissingExtraError("--store", extra="qdrant", package=error.name or "qdrant-client") from None
        key = key_from(KEY)
        with self._asked():
            self._client = QdrantClient(
                url=f"{'https' if parts.scheme.endswith('s') else 'http'}://{parts.netloc}",
                headers={"api-key": key} if key else None,
                timeout=int(TIMEOUT),
                check_compatibility=False,  # it would warn from a thread of its own
                trust_env=False,  # no proxy, no .netrc
                verify=ssl.create_default_context(),
            )
            self._is_there = self._client.collection_exists(self.collection)

    def numbers(self) -> NDArray[np.int64]:
        found: list[int] = []
        offset, is_all = None, not self._is_there
        while not is_all:
            with self._asked():
                points, offset = self._client.scroll(self.collection, limit=NUMBERS, offset=offset, with_payload=False, with_vectors=False)
            found += [point.id for point in points if isinstance(point.id, int)]
            is_all = offset is None
        return np.array(found, dtype=np.int64)

    def add(self, numbers: NDArray[np.int64], documents: NDArray[np.int64], vectors_ND: Array) -> None:
        from qdrant_client import models

        if not self._is_there:
            self._create(vectors_ND.shape[1])
        at_once = max(1, FLOATS // vectors_ND.shape[1])
        for start in range(0, len(numbers), at_once):
            some = slice(start, start + at_once)
            batch = models.Batch(
                ids=numbers[some].tolist(),
                vectors=vectors_ND[some].tolist(),
                payloads=[{DOCUMENT: document} for document in documents[some].tolist()],
            )
            with self._asked():
                self._client.upsert(self.collection, batch)

    def drop(self, numbers: NDArray[np.int64]) -> None:
        for start in range(0, len(numbers), NUMBERS):
            with self._asked():
                self._client.delete(self.collection, numbers[start : start + NUMBERS].tolist())

    def clear(self) -> None:
        if self._is_there:
            with self._asked():
                self._client.delete_collection(self.collection)
        self._is_there = False

    def nearest(self, asked_D: Array, *, limit: int, documents: Collection[int] | None = None) -> dict[int, float]:
        from qdrant_client import models

        only = None
        if documents is not None:
            only = models.Filter(must=[models.FieldCondition(key=DOCUMENT, match=models.MatchAny(any=sorted(documents)))])
        exact = models.SearchParams(exact=True)
        with self._asked():
            answer = self._client.query_points(
                self.collection, asked_D.tolist(), query_filter=only, search_params=exact, limit=limit, with_payload=False
            )
        return {point.id: point.score for point in answer.points if isinstance(point.id, int) and math.isfinite(point.score)}

    def close(self) -> None:
        self._client.close()

    def _create(self, size: int) -> None:
        from qdrant_client import models

        with self._asked():
            self._client.create_collection(
                self.collection,
                vectors_config=models.VectorParams(size=size, distance=models.Distance.DOT),  # at length 1 it is the cosine
                hnsw_config=models.HnswConfigDiff(m=0),  # a graph would be built, and never looked at
            )
            self._client.create_payload_index(self.collection, DOCUMENT, models.PayloadSchemaType.INTEGER)
        self._is_there = True

    def _gone(self) -> BadFileError:
        hint = f"{self.collection} is not at {self.address}: llamarium index DOCS --out FILE --vectors MODEL --store ADDRESS makes it anew."
        return BadFileError(self._name, "its vectors are no longer where they were put.", hint=hint)

    @contextmanager
    def _asked(self) -> Iterator[None]:
        """Whatever the client makes of an answer that is none, as what a user can do something about."""
        try:
            yield
        except Exception as error:
            said = " ".join(str(error).split()) or type(error).__name__
            is_gone = self.collection in said and (getattr(error, "status_code", None) == 404 or isinstance(error, ValueError))
            hint = f"Is a Qdrant server there, and does it run? A key, if it wants one, is in {KEY}."
            raise self._gone() if is_gone else NetworkError(f"{self.address} gave no usable answer ({said:.300}).", hint=hint) from None
