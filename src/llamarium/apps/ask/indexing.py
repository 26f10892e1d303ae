"""Documents into an index, and what has changed since into the one that is there.

Takes: files, and the connection of an index.
Gives: the index that these files make; only those that are new or changed are read. Which could not be, and what was done.
Does not know: questions, how passages are ranked.

A file is taken as it was where its size and time are the same, else where its SHA-256 is. Documents go in batches, each with all that
belongs to it in one transaction: whatever moment the process dies at, a document is in the index as it was, or as it is, or not yet.
"""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
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
MOST_SEGMENTS = 16
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
    number = int(get_state(connection, "segment") or 0) + 1
    connection.executemany("INSERT INTO postings VALUES (?, ?, ?)", ((term, number, blob) for term, blob in segment.blobs()))
    set_state(connection, "segment", str(number))


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
    numbers = np.array([number for (number,) in connection.execute("SELECT id FROM passages")], dtype=np.int64)
    merged, last = (int(get_state(connection, name) or 0) for name in ("merged up to", "segment"))
    highest = int(numbers.max()) + 1 if len(numbers) else 0
    first = int(get_state(connection, "merged passages") or 0)
    many = last - merged >= MOST_SEGMENTS
    if not many and highest - first <= 2 * len(numbers) + 1000:
        return
    present = np.zeros(highest, dtype=np.bool_)
    present[numbers] = True
    with transaction(connection):
        for term, rows in _terms(connection):
            _merge_term(connection, term, rows, present)
        reached("in-merge")
        set_state(connection, "merged up to", str(last))
        set_state(connection, "merged passages", str(highest - len(numbers)))
    reached("after-merge")


def _terms(connection: sqlite3.Connection, *, chunk: int = 4096) -> Iterator[tuple[str, list[tuple[int, bytes]]]]:
    """Each term with its segments; what was read is changed meanwhile, so it is read piece by piece."""
    after = ""
    while True:
        some = connection.execute("SELECT DISTINCT term FROM postings WHERE term > ? ORDER BY term LIMIT ?", (after, chunk)).fetchall()
        if not some:
            return
        for (term,) in some:
            yield term, connection.execute("SELECT segment, passages FROM postings WHERE term = ? ORDER BY segment", (term,)).fetchall()
        after = some[-1][0]


def _merge_term(connection: sqlite3.Connection, term: str, rows: Sequence[tuple[int, bytes]], present: NDArray[np.bool_]) -> None:
    postings = Postings.read(blob for _, blob in rows)
    left = postings.of(present)
    if len(rows) == 1 and left is postings:
        return
    connection.execute("DELETE FROM postings WHERE term = ?", (term,))
    if len(left.passages):
        connection.execute("INSERT INTO postings VALUES (?, ?, ?)", (term, rows[-1][0], left.blob()))


def names(docs: Sequence[str | Path]) -> str:
    """Sources as an error names them."""
    return ", ".join(map(str, docs))
