"""Documents into an index, and what has changed since into the one that is there.

Takes: files, and the connection of an index.
Gives: the index that these files make; only those that are new or changed are read. Which could not be, and what was done.
Does not know: questions, how passages are ranked.

A file is taken as it was where its size and time are the same, else where its SHA-256 is. Documents go in batches, each with all that
belongs to it in one transaction: whatever moment the process dies at, a document is in the index as it was, or as it is, or not yet.
"""

from __future__ import annotations

import hashlib
import heapq
import itertools
import json
import os
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import llamarium
from llamarium.apps.ask.passages import passages
from llamarium.apps.ask.postings import Postings, Segment
from llamarium.apps.ask.store import get_state, set_state, transaction
from llamarium.apps.ask.words import search_terms
from llamarium.ground import progress
from llamarium.ground.errors import BadFileError, NotFoundError
from llamarium.ground.failpoints import reached
from llamarium.ground.files import sha256
from llamarium.text.document import Document, read, whole_characters
from llamarium.text.sources import SourceFile

HEADING_WEIGHT = 2  # a term in a heading counts as so many
BATCH = 16_384  # passages, or
BATCH_SECONDS = 20.0  # of reading: no more than that is lost
MOST_SEGMENTS = 16  # when a run ends; a term is looked up in each
UTMOST_SEGMENTS = 10_000  # in any file
MOST_PASSAGES = 1 << 26  # their numbers are below: an array is as long as the highest
SETTLED = 2_000_000_000  # nanoseconds; a file that was changed less than that ago may be changed again within one tick of its clock


@dataclass(frozen=True)
class BadDocument:
    """A file that is not in the index, and why."""

    path: str
    reason: str


@dataclass(frozen=True)
class Changes:
    """How many documents were added to an index, read anew, removed from it, and left as they were."""

    added: int = 0
    changed: int = 0
    removed: int = 0
    unchanged: int = 0


@dataclass(frozen=True)
class _Known:
    """A document that is in the index, as it was when it was read."""

    number: int
    file: str
    size: int
    modified: int
    settled: bool
    sha256: str


@dataclass
class _Batch:
    """Documents that go in together, and the numbers of those that they replace."""

    documents: list[tuple[SourceFile, os.stat_result, str, Document]] = field(default_factory=list)
    replaced: list[int] = field(default_factory=list)
    size: int = 0  # characters
    begin: float = field(default_factory=time.monotonic)

    @property
    def is_full(self) -> bool:
        return self.size > BATCH * 300 or time.monotonic() - self.begin > BATCH_SECONDS


def update(
    connect: Callable[[], sqlite3.Connection], known: sqlite3.Connection | None, files: Sequence[SourceFile], *, name: str
) -> tuple[list[BadDocument], Changes]:
    """Make the index that `known` is connected to, or the new one that `connect` gives, hold `files` and nothing else.

    `connect` is asked for a connection to write with as soon as there is something to write. `BadFileError` if no file can be read;
    then nothing is changed.
    """
    old = {} if known is None else _known(known)
    bad: list[BadDocument] = []
    touched: list[tuple[os.stat_result, int]] = []
    batch, num_added, num_changed, num_unchanged = _Batch(), 0, 0, 0
    connection: sqlite3.Connection | None = None
    stay: set[int] = set()
    for file in progress.track(files, "reading and indexing", len(files)):
        before = old.get(file.source)
        try:
            state = file.path.stat()  # before reading: what is changed meanwhile counts as changed
            if before is not None and before.file == _place(file) and before.size == state.st_size:
                same_time = before.settled and before.modified == state.st_mtime_ns
                if same_time or sha256(file.path) == before.sha256:
                    num_unchanged += 1
                    stay.add(before.number)
                    if not same_time:
                        touched.append((state, before.number))
                    continue
            digest = sha256(file.path)
            document = read(file.path)
        except BadFileError as error:
            bad.append(BadDocument(file.source, error.reason))
        except (FileNotFoundError, NotFoundError):
            bad.append(BadDocument(file.source, "was there and is gone."))
        except OSError as error:
            bad.append(BadDocument(file.source, f"cannot be opened ({error.strerror})."))
        else:
            batch.documents.append((file, state, digest, document))
            batch.size += len(document.text)
            if before is None:
                num_added += 1
            else:
                num_changed += 1
                stay.add(before.number)
                batch.replaced.append(before.number)
            if batch.is_full:
                connection = connection or connect()
                _write(connection, batch)
                batch = _Batch()
    if len(bad) == len(files):
        first = bad[0]
        message = f"holds no document that can be read ({first.path}: {first.reason})"
        raise BadFileError(name, message, hint="llamarium read FILE shows what is wrong.")
    gone = [document.number for document in old.values() if document.number not in stay]
    _finish(connection or connect(), batch, touched, gone)
    return bad, Changes(num_added, num_changed, len(gone), num_unchanged)


def _known(connection: sqlite3.Connection) -> dict[str, _Known]:
    """The documents of an index. What another release has read may be read otherwise by this one: nothing is known of it."""
    rows = connection.execute("SELECT path, id, file, size, modified, settled, file_sha256 FROM documents")
    found = {path: _Known(*values) for path, *values in rows}
    same = get_state(connection, "made by") == llamarium.__version__
    return found if same else {path: _Known(document.number, "", -1, 0, False, "") for path, document in found.items()}


def _place(file: SourceFile) -> str:
    return whole_characters(os.path.abspath(file.path))  # noqa: PTH100  links stay links


def _write(connection: sqlite3.Connection, batch: _Batch) -> None:
    """One batch, in one transaction."""
    prepared = [(*entry, passages(entry[3].text)) for entry in batch.documents]
    reached("before-batch")
    with transaction(connection):
        set_state(connection, "finished", "no")
        _remove(connection, batch.replaced)
        reached("in-batch")
        segment = Segment()
        for file, state, digest, document, cut in prepared:
            text = document.text
            title = cut[0].heading.split(" / ")[0] if cut else ""
            settled = time.time_ns() - state.st_mtime_ns > SETTLED
            number = connection.execute(
                "INSERT INTO documents VALUES (NULL, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    *(file.source, title, json.dumps(document.pages), _place(file), state.st_size, state.st_mtime_ns, settled, digest),
                    *(hashlib.sha256(text.encode()).hexdigest(), text),
                ),
            ).lastrowid
            title_terms = search_terms(f"{title} {file.source}").split()
            for passage in cut:
                heading = search_terms(passage.heading).split()
                counts = Counter(search_terms(text[passage.body : passage.end]).split())
                counts.update(title_terms)
                counts.update(heading * HEADING_WEIGHT)
                length = counts.total() - (HEADING_WEIGHT - 1) * len(heading)
                row = connection.execute(
                    "INSERT INTO passages VALUES (NULL, ?, ?, ?, ?, ?, ?)",
                    (number, passage.start, passage.body, passage.end, length, passage.heading),
                ).lastrowid
                assert row is not None
                segment.add(row, counts)
        if len(segment):
            _add_segment(connection, segment)
    reached("after-batch")


def _add_segment(connection: sqlite3.Connection, segment: Segment) -> None:
    number = segments(connection).stop
    connection.executemany("INSERT INTO postings VALUES (?, ?, ?)", ((number, term, blob) for term, blob in segment.blobs()))
    set_state(connection, "last segment", str(number))


def segments(connection: sqlite3.Connection) -> range:
    """The numbers of an index's segments. `sqlite3.DatabaseError` where they cannot be, as for all else that is broken in a file."""
    try:
        first, last = (int(get_state(connection, f"{name} segment") or number) for name, number in (("first", 1), ("last", 0)))
    except ValueError:
        first, last = 0, -2
    if not 0 <= last - first + 1 <= UTMOST_SEGMENTS:
        raise sqlite3.DatabaseError("segments that cannot be")
    return range(first, last + 1)


def _remove(connection: sqlite3.Connection, numbers: Sequence[int]) -> None:
    """Take documents out. Their postings stay, and count for nothing, until segments are merged."""
    for number in numbers:
        connection.execute("DELETE FROM passages WHERE document = ?", (number,))
        connection.execute("DELETE FROM documents WHERE id = ?", (number,))


def _finish(connection: sqlite3.Connection, batch: _Batch, touched: Sequence[tuple[os.stat_result, int]], gone: Sequence[int]) -> None:
    """What is left to do when all files were looked at."""
    if batch.documents:
        _write(connection, batch)
    if touched or gone or get_state(connection, "finished") != "yes" or get_state(connection, "made by") != llamarium.__version__:
        with transaction(connection):
            for state, number in touched:
                settled = time.time_ns() - state.st_mtime_ns > SETTLED
                connection.execute("UPDATE documents SET modified = ?, settled = ? WHERE id = ?", (state.st_mtime_ns, settled, number))
            _remove(connection, gone)
            reached("in-finish")
            set_state(connection, "finished", "yes")
            set_state(connection, "made by", llamarium.__version__)
        reached("after-finish")
    _merge(connection)


def _merge(connection: sqlite3.Connection) -> None:
    """Put the segments together where there are many, or where more passages are gone than there."""
    present = np.array([number for (number,) in connection.execute("SELECT id FROM passages")], dtype=np.int64)
    highest = int(present.max()) + 1 if len(present) else 0
    num_gone = highest - len(present) - int(get_state(connection, "gone before") or 0)
    old = segments(connection)
    if len(old) < MOST_SEGMENTS and num_gone <= len(present) + 1000:
        return
    is_there = np.zeros(highest, dtype=np.bool_)
    is_there[present] = True
    with transaction(connection):
        connection.executemany("INSERT INTO postings VALUES (?, ?, ?)", _merged(connection, old, is_there))
        reached("in-merge")
        connection.execute("DELETE FROM postings WHERE segment < ?", (old.stop,))
        set_state(connection, "first segment", str(old.stop))
        set_state(connection, "last segment", str(old.stop))
        set_state(connection, "gone before", str(highest - len(present)))
    reached("after-merge")


def _merged(connection: sqlite3.Connection, old: range, is_there: NDArray[np.bool_]) -> Iterator[tuple[int, str, bytes]]:
    """The rows of one segment that holds what all the old ones do of passages that are there."""
    statement = "SELECT term, segment, passages FROM postings WHERE segment = ? ORDER BY term"
    rows = heapq.merge(*(connection.execute(statement, (number,)) for number in old), key=itemgetter(0, 1))
    for term, its in itertools.groupby(rows, key=itemgetter(0)):
        try:
            postings = Postings.read(blob for _, _, blob in its).of(is_there)
        except (ValueError, TypeError):
            raise sqlite3.DatabaseError("postings that cannot be") from None
        if len(postings.passages):
            yield old.stop, term, postings.blob()


def names(docs: Sequence[str | Path]) -> str:
    """Sources as an error names them."""
    return ", ".join(map(str, docs))
