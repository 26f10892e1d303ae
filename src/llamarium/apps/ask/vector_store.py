"""Where the vectors of an index lie, and how they get there: in the file itself, or at a Qdrant server.

Takes: the path of an index, an encoder, the server if one shall have the vectors.
Gives: a vector for each passage that has none yet; in the file, what made them and where they are.
Does not know: questions, how either place keeps them.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection
from contextlib import closing
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from llamarium.apps.ask import store
from llamarium.apps.ask.encoders import Array, AtAddress, Encoder, unit
from llamarium.apps.ask.qdrant import read_address
from llamarium.apps.ask.store import REMOVE, get_state, set_state, sqlite_errors, transaction
from llamarium.apps.ask.vector_rows import Rows
from llamarium.ground import progress
from llamarium.ground.errors import BadFileError, UsageError
from llamarium.ground.failpoints import reached

TOGETHER = 512  # passages that are turned into vectors and put away at once

Numbers = NDArray[np.int64]


class VectorStore(Protocol):
    """A place for the vectors of one index, each at length 1, by the number of its passage."""

    @property
    def address(self) -> str:
        """Of the server; nothing where it is the index's own file."""

    @property
    def collection(self) -> str:
        """What the server knows them by."""

    def numbers(self) -> Numbers:
        """The passages that have a vector there."""

    def add(self, numbers: Numbers, documents: Numbers, vectors_ND: Array) -> None:
        """Keep the vectors of these passages of these documents."""

    def drop(self, numbers: Numbers) -> None:
        """These passages are gone: their vectors may go at any time."""

    def clear(self) -> None:
        """All go."""

    def nearest(self, asked_D: Array, *, limit: int, documents: Collection[int] | None = None) -> dict[int, float]:
        """The cosines of at most `limit` passages whose vectors are nearest; only of `documents`, if given.

        Passages that are gone may be among them.
        """

    def close(self) -> None:
        """Let go of it."""


@dataclass(frozen=True)
class Recorded:
    """Of which encoder an index has vectors; `address` where it is one at an address.

    `store` and `collection` are the address of the server that has them and its name for them, where they are not in the file.
    """

    kind: str
    name: str
    sha256: str
    address: str = ""
    store: str = ""
    collection: str = ""


def recorded(connection: sqlite3.Connection) -> Recorded | None:
    """What an index says of its vectors; None where it has none. `sqlite3.DatabaseError` where that cannot be shown to anybody."""
    found = Recorded(*(get_state(connection, f"vectors {field.name}") for field in fields(Recorded)))
    if not f"{found.name}{found.address}{found.store}{found.collection}".isprintable() or not _is_address(found.store):
        raise sqlite3.DatabaseError("addresses that cannot be")
    return found if found.kind else None


def _is_address(text: str) -> bool:
    """Whether it is nothing, or an address in the form that is recorded."""
    try:
        return not text or read_address(text) == text
    except UsageError:
        return False


def not_there(name: str, found: Recorded | None, at: str = "") -> UsageError:
    """That the index `name`, which says `found` of its vectors, has none at the address that was given, or in the file."""
    hint = "llamarium index DOCS --out FILE --vectors MODEL --store ADDRESS puts them there."
    if found is not None:
        hint = f"They are at {found.store}." if found.store else f"They are in the file: leave --store out. {hint}"
    return UsageError(f"{name} has no vectors {f'at {at}' if at else 'in the file'}.", hint=hint)


def add_vectors(path: Path, encoder: Encoder, at: VectorStore | None = None) -> int:
    """Give each passage of the index `path` that has none a vector, in the file or `at` a server, and return how many that were.

    Those of another encoder, or in another place, go first. What is done is kept, whenever the process ends.
    """
    with sqlite_errors(str(path), writing=True), closing(store.open_to_write(path)) as connection:
        place = at or Rows(connection, name=str(path))
        address = encoder.address if isinstance(encoder, AtAddress) else ""
        made = Recorded(encoder.kind, encoder.name, encoder.sha256, address, place.address, place.collection)
        found = recorded(connection)
        if found is None or _identity(found) != _identity(made):
            _begin(connection, made, path, at)
        try:
            return _fill(connection, encoder, place)
        except (ValueError, TypeError):  # of columns that hold something else than we write
            raise BadFileError(path, "has passages or vectors that cannot be.", hint=REMOVE) from None


def remove_vectors(path: Path, at: VectorStore | None = None) -> None:
    """Take all vectors out of an index, and away from the server that has them, if it is given."""
    with sqlite_errors(str(path), writing=True), closing(store.open_to_write(path)) as connection:
        if recorded(connection) is not None:
            _begin(connection, Recorded("", "", ""), path, at)


def _identity(of: Recorded) -> tuple[str, ...]:
    return of.kind, of.sha256, of.store, of.collection


def _begin(connection: sqlite3.Connection, made: Recorded, path: Path, at: VectorStore | None) -> None:
    """No vectors, and `made` is what those to come are. A server that is not given is not asked: what it has stays there."""
    with transaction(connection):
        left = recorded(connection)
        Rows(connection, name=str(path)).clear()
        if at is not None:
            at.clear()
        for field in fields(Recorded):
            set_state(connection, f"vectors {field.name}", getattr(made, field.name))
    if left is not None and left.store != made.store and made.kind:
        progress.say(f"the vectors of {path} are {f'at {made.store}' if made.store else 'in the file'} from now on")
    if left is not None and left.store not in ("", at.address if at is not None else ""):
        progress.say(f"the collection {left.collection} stays at {left.store}: this index needs it no more")


def _fill(connection: sqlite3.Connection, encoder: Encoder, place: VectorStore) -> int:
    rows = connection.execute("SELECT id, document FROM passages ORDER BY id").fetchall()
    present = np.array(rows, dtype=np.int64).reshape(-1, 2)
    have = place.numbers()
    missing = present[~np.isin(present[:, 0], have)]
    with progress.task("vectors", len(missing)) as work:
        for start in range(0, len(missing), TOGETHER):
            numbers, documents = missing[start : start + TOGETHER].T
            vectors = unit(encoder.encode([_text(connection, number) for number in numbers.tolist()]))
            reached("before-vectors")
            place.add(numbers, documents, vectors)
            reached("after-vectors")
            work.advance(len(numbers))
    place.drop(np.setdiff1d(have, present[:, 0]))
    return len(missing)


def _text(connection: sqlite3.Connection, passage: int) -> str:
    """What a passage's vector is of: its headings and its text."""
    [(heading, text)] = connection.execute(
        "SELECT p.heading, substr(d.text, p.body + 1, p.end - p.body) FROM passages AS p JOIN documents AS d ON d.id = p.document "
        "WHERE p.id = ?",
        (passage,),
    )
    return f"{heading}\n{text}".strip()
