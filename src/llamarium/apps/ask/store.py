"""The SQLite file that an index is.

Takes: the path of a file, ours or anybody's.
Gives: a connection to tables that are exactly ours, to read or to write; what SQLite says as what a user can do something about.
Does not know: what stands in the tables.

    documents   path (relative, '/' between), title, where pages start; the file it was read from with its size, time and SHA-256;
                its text with its SHA-256
    passages    document, start, body, end (code points of the text), length (in terms), heading
    postings    segment (of passages that were indexed together), term, and where it is: a blob, see `postings`
    vectors     up to 4,096 passages a row: their numbers (uint32) and vectors (float16), see `vector_rows`; none where a server has them
    state       what the index is as a whole: who made it, whether it was finished, of which encoder its vectors are and where

The journal is a write-ahead log: who reads sees the last state that was committed, while another writes, and after any crash.
"""

from __future__ import annotations

import os
import sqlite3
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from llamarium.ground.errors import BadFileError, NotFoundError, ResourceError, UsageError
from llamarium.ground.failpoints import reached
from llamarium.ground.files import TEMPORARY, fsync

APPLICATION = 0x4C4C414D  # "LLAM": what makes a SQLite file one of ours
VERSION = 2
MAKE_ANEW = "llamarium index DOCS --out FILE makes one."
REMOVE = "Remove it and make it again: llamarium index DOCS --out FILE"
SYNCHRONOUS = "FULL"  # what was said to be done is on the disk
PATIENCE = 10.0  # seconds to wait for another process that writes

TABLES = {
    # The text comes last: what stands behind it could only be read through it.
    "documents": (
        "CREATE TABLE documents (id INTEGER PRIMARY KEY AUTOINCREMENT, path TEXT UNIQUE, title TEXT, pages TEXT, file TEXT, "
        "size INTEGER, modified INTEGER, settled INTEGER, file_sha256 TEXT, sha256 TEXT, text TEXT)"
    ),
    # A number is never given twice: postings of passages that are gone stay until segments are merged.
    "passages": (
        "CREATE TABLE passages (id INTEGER PRIMARY KEY AUTOINCREMENT, document INTEGER, start INTEGER, body INTEGER, end INTEGER, "
        "length INTEGER, heading TEXT)"
    ),
    "passages_of": "CREATE INDEX passages_of ON passages (document)",
    "postings": "CREATE TABLE postings (segment INTEGER, term TEXT, passages BLOB, PRIMARY KEY (segment, term)) WITHOUT ROWID",
    "vectors": "CREATE TABLE vectors (id INTEGER PRIMARY KEY, passages BLOB, vectors BLOB)",
    "state": "CREATE TABLE state (name TEXT PRIMARY KEY, value TEXT) WITHOUT ROWID",
}


def make_tables(connection: sqlite3.Connection) -> None:
    """Our tables and marks, in an empty database."""
    connection.execute(f"PRAGMA application_id = {APPLICATION}")
    connection.execute(f"PRAGMA user_version = {VERSION}")
    for statement in TABLES.values():
        connection.execute(statement)


def create(path: Path) -> None:
    """An index without documents, at once or not at all; what has that name gives way."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{TEMPORARY}{uuid.uuid4().hex[:8]}-{path.name}")
    try:
        with closing(sqlite3.connect(temporary, isolation_level=None)) as connection:
            connection.execute("PRAGMA journal_mode = WAL")
            make_tables(connection)
        fsync(temporary)
        reached("before-rename")
        for beside in _beside(path):  # a log of what was there before would be taken for one of this
            beside.unlink(missing_ok=True)
        temporary.replace(path)
    except BaseException:
        for left in (temporary, *_beside(temporary)):
            left.unlink(missing_ok=True)
        raise
    fsync(path.parent)
    reached("after-rename")


def open_to_read(path: Path) -> sqlite3.Connection:
    """A connection that changes nothing. `NotFoundError` if there is no file, `BadFileError` if it is something else."""
    if not path.exists():
        raise NotFoundError(f"{path} does not exist.", hint=MAKE_ANEW)
    if not path.is_file():
        raise BadFileError(path, "is no index for questions.", hint=MAKE_ANEW)
    connection = _connect(path, "mode=rw" if _may_write(path) else _reading_only(path))
    try:
        connection.execute("PRAGMA query_only = ON")
        if reason := _what_is_wrong(connection):
            raise BadFileError(path, reason, hint=MAKE_ANEW)
    except BaseException:
        connection.close()
        raise
    return connection


def open_to_write(path: Path) -> sqlite3.Connection:
    """A connection to an index that is there. `BadFileError` if it is no index of this version."""
    connection = _connect(path, "mode=rw")
    try:
        if reason := _what_is_wrong(connection):
            raise BadFileError(path, reason, hint=MAKE_ANEW)
        connection.execute(f"PRAGMA synchronous = {SYNCHRONOUS}")
        connection.execute("PRAGMA cache_size = -65536")
    except BaseException:
        connection.close()
        raise
    return connection


def _may_write(path: Path) -> bool:
    return os.access(path, os.W_OK) and os.access(path.absolute().parent, os.W_OK)


def _reading_only(path: Path) -> str:
    """Where nothing can be written there can be no lock either; without a log beside it, the file is all there is."""
    log = _beside(path)[0]
    return "mode=ro" if log.exists() and log.stat().st_size else "mode=ro&immutable=1"


def _beside(path: Path) -> tuple[Path, Path]:
    """The files that SQLite has beside `path` while it is in use."""
    return path.with_name(path.name + "-wal"), path.with_name(path.name + "-shm")


def _connect(path: Path, mode: str) -> sqlite3.Connection:
    """Nothing in the file is trusted to run anything."""
    uri = f"{path.absolute().as_uri()}?{mode}"
    connection = sqlite3.connect(uri, uri=True, check_same_thread=False, isolation_level=None, timeout=PATIENCE)
    connection.execute("PRAGMA trusted_schema = OFF")
    connection.execute("PRAGMA cell_size_check = ON")
    return connection


def _what_is_wrong(connection: sqlite3.Connection) -> str:
    """Why a database is no index of ours, if it is none; a view or a trigger under our names could do anything."""
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if application != APPLICATION:
        return "is no index for questions."
    if version != VERSION:
        return f"is an index of {'an older' if version < VERSION else 'a newer'} version of llamarium."
    rows = connection.execute("SELECT name, sql FROM sqlite_master WHERE name NOT LIKE 'sqlite\\_%' ESCAPE '\\' LIMIT 20")
    return "" if dict(rows) == TABLES else "is no index for questions: its tables are others."


def is_index(path: Path) -> bool:
    """Whether a file is an index, be it broken or of another version: such may be replaced."""
    with path.open("rb") as file:
        header = file.read(72)
    return header.startswith(b"SQLite format 3\0") and header[68:72] == APPLICATION.to_bytes(4, "big")


@contextmanager
def transaction(connection: sqlite3.Connection, *, writing: bool = True) -> Iterator[None]:
    """All of it or nothing; while reading, one state of the file."""
    connection.execute("BEGIN IMMEDIATE" if writing else "BEGIN")
    try:
        yield
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


@contextmanager
def sqlite_errors(name: str, *, writing: bool = False) -> Iterator[None]:
    """What SQLite says, as what a user can do something about."""
    try:
        yield
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorname", "")  # not every error comes from the library
        if code.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")) or (writing and code.startswith("SQLITE_CONSTRAINT")):
            message = f"{name} is being written by another process."
            raise UsageError(message, hint="Wait until it is done, and run the command again.") from error
        if writing and (code == "SQLITE_FULL" or code.startswith("SQLITE_IOERR")):
            message = f"{name} could not be written: the disk is full or fails."
            raise ResourceError(message, hint="Free some space and run the command again.") from error
        raise BadFileError(name, f"cannot be used as an index ({error}).", hint=REMOVE) from error


def get_state(connection: sqlite3.Connection, name: str) -> str:
    """What the index says of itself under this name, or nothing."""
    row = connection.execute("SELECT value FROM state WHERE name = ?", (name,)).fetchone()
    return "" if row is None else str(row[0])


def set_state(connection: sqlite3.Connection, name: str, value: str) -> None:
    """Say something of the index, in the transaction that it is true after."""
    connection.execute("INSERT INTO state VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value", (name, value))
