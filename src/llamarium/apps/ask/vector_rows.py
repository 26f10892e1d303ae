"""Vectors in the index file: up to 4,096 passages a row, as float16.

Takes: the path of an index, an encoder.
Gives: a vector for each passage that has none yet, beside the name and the SHA-256 of what made it; all of them, read back.
Does not know: questions.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from llamarium.apps.ask import store
from llamarium.apps.ask.encoders import AtAddress, Encoder, unit
from llamarium.apps.ask.store import get_state, set_state, sqlite_errors, transaction
from llamarium.ground import progress
from llamarium.ground.failpoints import reached

ROWS = 4096  # of one blob
TOGETHER = 512  # passages that are turned into vectors and written in one transaction


@dataclass(frozen=True)
class Recorded:
    """Of which encoder an index has vectors; `address` where it is one at an address."""

    kind: str
    name: str
    sha256: str
    address: str = ""


def recorded(connection: sqlite3.Connection) -> Recorded | None:
    """What an index says of its vectors; None where it has none."""
    kind, name, digest, address = (get_state(connection, f"vectors {key}") for key in ("kind", "name", "sha256", "address"))
    return Recorded(kind, name, digest, address) if kind else None


def add_vectors(path: Path, encoder: Encoder) -> int:
    """Give each passage of the index `path` that has none a vector, and return how many that were.

    Those of another encoder go first. What is done is kept, whenever the process ends.
    """
    with sqlite_errors(str(path), writing=True), closing(store.open_to_write(path)) as connection:
        found = recorded(connection)
        if found is None or (found.kind, found.sha256) != (encoder.kind, encoder.sha256):
            address = encoder.address if isinstance(encoder, AtAddress) else ""
            _begin(connection, Recorded(encoder.kind, encoder.name, encoder.sha256, address))
        return _fill(connection, encoder)


def remove_vectors(path: Path) -> None:
    """Take all vectors out of an index."""
    with sqlite_errors(str(path), writing=True), closing(store.open_to_write(path)) as connection:
        if recorded(connection) is not None:
            _begin(connection, Recorded("", "", ""))


def _begin(connection: sqlite3.Connection, of: Recorded) -> None:
    with transaction(connection):
        connection.execute("DELETE FROM vectors")
        for key in ("kind", "name", "sha256", "address"):
            set_state(connection, f"vectors {key}", getattr(of, key))


def _fill(connection: sqlite3.Connection, encoder: Encoder) -> int:
    present = np.array([number for (number,) in connection.execute("SELECT id FROM passages ORDER BY id")], dtype=np.int64)
    blobs = connection.execute("SELECT passages FROM vectors").fetchall()
    have = np.concatenate([np.empty(0, np.uint32), *(np.frombuffer(blob, "<u4") for (blob,) in blobs)])
    missing = np.setdiff1d(present, have).tolist()
    with progress.task("vectors", len(missing)) as work:
        for start in range(0, len(missing), TOGETHER):
            some = missing[start : start + TOGETHER]
            vectors = unit(encoder.encode([_text(connection, number) for number in some]))
            reached("before-vectors")
            with transaction(connection):
                _insert(connection, np.array(some, dtype=np.uint32), vectors.astype(np.float16))
            reached("after-vectors")
            work.advance(len(some))
    if len(have) + len(missing) > 1.25 * len(present) or len(blobs) + len(missing) / TOGETHER > 2 + 2 * len(present) / ROWS:
        _pack(connection, present)
    return len(missing)


def _text(connection: sqlite3.Connection, passage: int) -> str:
    """What a passage's vector is of: its headings and its text."""
    [(heading, text)] = connection.execute(
        "SELECT p.heading, substr(d.text, p.body + 1, p.end - p.body) FROM passages AS p JOIN documents AS d ON d.id = p.document "
        "WHERE p.id = ?",
        (passage,),
    )
    return f"{heading}\n{text}".strip()


def _pack(connection: sqlite3.Connection, present: NDArray[np.int64]) -> None:
    """Full rows, without passages that are gone."""
    numbers, vectors = read_vectors(connection)
    kept = np.isin(numbers, present)
    numbers, vectors = numbers[kept], vectors[kept]
    with transaction(connection):
        connection.execute("DELETE FROM vectors")
        for start in range(0, len(numbers), ROWS):
            _insert(connection, numbers[start : start + ROWS], vectors[start : start + ROWS])
    reached("after-pack")


def _insert(connection: sqlite3.Connection, numbers: NDArray[np.uint32], vectors: NDArray[np.float16]) -> None:
    blobs = (numbers.astype("<u4").tobytes(), vectors.astype("<f2").tobytes())
    connection.execute("INSERT INTO vectors VALUES (NULL, ?, ?)", blobs)


def read_vectors(connection: sqlite3.Connection) -> tuple[NDArray[np.uint32], NDArray[np.float16]]:
    """All numbers (N,) and vectors (N, D). `ValueError` where they cannot be."""
    numbers, vectors = [np.empty(0, np.uint32)], []
    for some, their in connection.execute("SELECT passages, vectors FROM vectors ORDER BY id"):
        numbers.append(np.frombuffer(some, "<u4"))
        vectors.append(np.frombuffer(their, "<f2").reshape(len(numbers[-1]), -1))
    return np.concatenate(numbers), np.concatenate(vectors) if vectors else np.empty((0, 0), np.float16)
