"""Vectors in the index file: up to 4,096 passages a row, as float16.

Takes: the connection of an index; vectors, and one to compare with them.
Gives: the vectors of all passages, kept in the file; the nearest.
Does not know: what vectors are made of.

All are read once and compared exactly: one product of a matrix and a vector.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection

import numpy as np
from numpy.typing import NDArray

from llamarium.apps.ask.encoders import Array, unit
from llamarium.apps.ask.store import REMOVE, transaction
from llamarium.ground.errors import BadFileError
from llamarium.ground.failpoints import reached

ROWS = 4096  # of one blob


class Rows:
    """The vectors in an index file (a `VectorStore`); `close` is the connection's.

    `centred`: the mean of all is taken away before they are compared, as the states of a language model need it: they share a large
    part, which says nothing of what a text is about.
    """

    address = collection = ""

    def __init__(self, connection: sqlite3.Connection, *, name: str, centred: bool = False) -> None:
        self._connection, self._name, self._centred = connection, name, centred
        self._version = -1
        self._numbers_N = self._documents_N = np.empty(0, np.int64)
        self._vectors_ND: Array = np.empty((0, 0), np.float32)
        self._mean_D: Array = np.empty(0, np.float32)

    def numbers(self) -> NDArray[np.int64]:
        blobs = self._connection.execute("SELECT passages FROM vectors")
        return np.concatenate([np.empty(0, np.int64), *(np.frombuffer(blob, "<u4") for (blob,) in blobs)])

    def add(self, numbers: NDArray[np.int64], documents: NDArray[np.int64], vectors_ND: Array) -> None:  # noqa: ARG002  the file knows them
        with transaction(self._connection):
            self._insert(numbers, vectors_ND.astype(np.float16))

    def drop(self, numbers: NDArray[np.int64]) -> None:
        """Rows are packed anew where many of their passages are gone, or where they are many and short."""
        [(num_rows, size)] = self._connection.execute("SELECT count(*), coalesce(sum(length(passages)), 0) FROM vectors")
        num_present = size // 4 - len(numbers)
        if len(numbers) > 0.25 * num_present or num_rows > 2 + 2 * num_present / ROWS:
            self._pack(numbers)

    def clear(self) -> None:
        self._connection.execute("DELETE FROM vectors")

    def nearest(self, asked_D: Array, *, limit: int, documents: Collection[int] | None = None) -> dict[int, float]:
        self._load()
        if not len(self._numbers_N):
            return {}
        if len(asked_D) != self._vectors_ND.shape[1]:
            raise BadFileError(self._name, "has vectors of another length than the question's.", hint=REMOVE)
        if self._centred:
            asked_D = unit((asked_D - self._mean_D)[None])[0]
        cosines_N = self._vectors_ND @ asked_D
        if documents is not None:
            cosines_N[~np.isin(self._documents_N, list(documents))] = -np.inf
        order = np.argpartition(-cosines_N, min(limit, len(cosines_N)) - 1)[:limit]
        return {int(self._numbers_N[place]): float(cosines_N[place]) for place in order if np.isfinite(cosines_N[place])}

    def close(self) -> None:
        pass

    def _load(self) -> None:
        """Read all vectors, once, and again where another process has changed the file."""
        [(version,)] = self._connection.execute("PRAGMA data_version")
        if version == self._version:
            return
        try:
            numbers, vectors = read_vectors(self._connection)
            rows = self._connection.execute("SELECT id, document FROM passages ORDER BY id").fetchall()
            passages = np.array(rows, dtype=np.int64).reshape(-1, 2)
        except (ValueError, TypeError):
            raise BadFileError(self._name, "has vectors that cannot be.", hint=REMOVE) from None
        there = np.isin(numbers, passages[:, 0])
        self._numbers_N, self._vectors_ND = numbers[there].astype(np.int64), vectors[there].astype(np.float32)
        self._documents_N = passages[np.searchsorted(passages[:, 0], self._numbers_N), 1]
        if self._centred and len(self._numbers_N):
            self._mean_D = self._vectors_ND.mean(0)
            self._vectors_ND = unit(self._vectors_ND - self._mean_D)
        self._version = version

    def _pack(self, gone: NDArray[np.int64]) -> None:
        """Full rows, without passages that are gone."""
        numbers, vectors = read_vectors(self._connection)
        kept = ~np.isin(numbers, gone)
        numbers, vectors = numbers[kept], vectors[kept]
        with transaction(self._connection):
            self.clear()
            for start in range(0, len(numbers), ROWS):
                self._insert(numbers[start : start + ROWS], vectors[start : start + ROWS])
        reached("after-pack")

    def _insert(self, numbers: NDArray[np.integer], vectors: NDArray[np.float16]) -> None:
        blobs = (numbers.astype("<u4").tobytes(), vectors.astype("<f2").tobytes())
        self._connection.execute("INSERT INTO vectors VALUES (NULL, ?, ?)", blobs)


def read_vectors(connection: sqlite3.Connection) -> tuple[NDArray[np.uint32], NDArray[np.float16]]:
    """All numbers (N,) and vectors (N, D). `ValueError` where they cannot be."""
    numbers, vectors = [np.empty(0, np.uint32)], []
    for some, their in connection.execute("SELECT passages, vectors FROM vectors ORDER BY id"):
        numbers.append(np.frombuffer(some, "<u4"))
        vectors.append(np.frombuffer(their, "<f2").reshape(len(numbers[-1]), -1))
    return np.concatenate(numbers), np.concatenate(vectors) if vectors else np.empty((0, 0), np.float16)
