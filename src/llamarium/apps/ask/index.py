"""The index that questions are asked of: one SQLite file.

Takes: files and folders that a reader knows.
Gives: their texts, passages and terms, in a file that is whole or not there, or in memory; the passages that fit best.
Does not know: what a good answer is.

    documents   path (relative, '/' between), title, text with its SHA-256, and the file it was read from with its size and time
    passages    document, start, body, end (code points of the text), heading
    terms       FTS5 without content: title, heading, body of each passage as the terms of `words`, ready made, because
                SQLite's own tokenizers miss Chinese words of two characters
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from llamarium.apps.ask.passages import LARGEST, passages
from llamarium.apps.ask.words import LONGEST_TERM, Question, search_terms
from llamarium.ground import progress
from llamarium.ground.errors import BadFileError, ExistsError, NotFoundError, ResourceError, UsageError
from llamarium.ground.failpoints import reached
from llamarium.ground.files import TEMPORARY, disk_errors, fsync
from llamarium.text.document import read, whole_characters
from llamarium.text.sources import SourceFile, list_files

APPLICATION = 0x4C4C414D  # "LLAM": what makes a SQLite file one of ours
VERSION = 1
TITLE_WEIGHT, HEADING_WEIGHT, BODY_WEIGHT = 1.0, 2.0, 1.0
LONGEST_QUERY = 64
MAKE_ANEW = "llamarium index DOCS --out FILE makes one."
TIME_LIMIT = 60.0  # seconds for one statement on a file from anywhere

_TABLES = {
    "documents": (
        "CREATE TABLE documents "
        "(id INTEGER PRIMARY KEY, path TEXT, title TEXT, text TEXT, sha256 TEXT, file TEXT, size INTEGER, modified INTEGER)"
    ),
    "passages": (
        "CREATE TABLE passages (id INTEGER PRIMARY KEY, document INTEGER, start INTEGER, body INTEGER, end INTEGER, heading TEXT)"
    ),
    # Everything that `words` puts into a term must be a token character here; what is not ASCII is one already.
    "terms": "CREATE VIRTUAL TABLE terms USING fts5(title, heading, body, content='', tokenize=\"ascii tokenchars '_.-/:@+#'\")",
}


@dataclass(frozen=True)
class BadDocument:
    """A file that is not in the index, and why."""

    path: str
    reason: str


@dataclass(frozen=True)
class Found:
    """A passage that a search found: its document's number and path, offsets and headings, and the BM25 rank (more is better)."""

    document: int
    path: str
    title: str
    start: int
    body: int
    end: int
    heading: str
    rank: float


@dataclass(frozen=True)
class Source:
    """Where a document was read, and what the file was like then."""

    file: Path
    size: int
    modified: int  # nanoseconds since 1970
    sha256: str  # of the text that was read from it, in UTF-8


class Index:
    """An open index. Use it as a context manager, or `close` it."""

    def __init__(self, connection: sqlite3.Connection, *, name: str, bad_documents: Sequence[BadDocument] = ()) -> None:
        self.name = name
        self.bad_documents = tuple(bad_documents)
        self._connection = connection
        self._deadline = float("inf")
        connection.execute("CREATE VIRTUAL TABLE temp.vocabulary USING fts5vocab(main, terms, row)")
        connection.set_progress_handler(lambda: time.monotonic() > self._deadline, 100_000)
        self.num_documents = self._count("SELECT count(*) FROM documents")
        self.num_passages = self._count("SELECT count(*) FROM passages")

    def __enter__(self) -> Index:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file."""
        self._connection.close()

    def search(self, question: Question, *, limit: int = 30) -> list[Found]:
        """The passages with the best BM25 rank for any of the question's terms, best first."""
        query = [_quoted(term) for term in question.terms] + [f"{_quoted(term)}*" for term in question.beginnings]
        query += [f"{_quoted(first)} + {_quoted(second)}" for first, second in question.pairs]
        if not query:
            return []
        rows = self._rows(
            "SELECT d.id, d.path, d.title, p.start, p.body, p.end, p.heading, -t.rank FROM "
            f"(SELECT rowid, bm25(terms, {TITLE_WEIGHT}, {HEADING_WEIGHT}, {BODY_WEIGHT}) AS rank FROM terms "
            "WHERE terms MATCH ? ORDER BY rank, rowid LIMIT ?) AS t "
            "JOIN passages AS p ON p.id = t.rowid JOIN documents AS d ON d.id = p.document ORDER BY t.rank, t.rowid",
            (" OR ".join(query[:LONGEST_QUERY]), limit),
        )
        found = [Found(*row) for row in rows]  # type: ignore[arg-type]  # looked at next
        if not all(map(_is_sound, found)):
            raise BadFileError(self.name, "has passages that cannot be.", hint=MAKE_ANEW)
        return found

    def num_passages_with(self, term: str, *, beginning: bool = False) -> int:
        """How many passages have `term`, or, roughly, one that begins with it."""
        last = term + "\U0010ffff" if beginning else term
        num = self._count("SELECT coalesce(sum(doc), 0) FROM vocabulary WHERE term >= ? AND term <= ?", (term, last))
        return min(num, self.num_passages)

    def text(self, document: int) -> str:
        """The whole text of a document, as it was read."""
        rows = self._rows("SELECT text FROM documents WHERE id = ?", (document,))
        if not rows or not isinstance(rows[0][0], str):
            raise BadFileError(self.name, f"has no text for document {document}.")
        return rows[0][0]

    def source(self, document: int) -> Source:
        """The file a document was read from."""
        [(file, size, modified, sha256)] = self._rows("SELECT file, size, modified, sha256 FROM documents WHERE id = ?", (document,))
        if not (isinstance(file, str) and isinstance(size, int) and isinstance(modified, int) and isinstance(sha256, str)):
            raise BadFileError(self.name, f"does not say where document {document} is from.")
        return Source(Path(file), size, modified, sha256)

    def _count(self, statement: str, values: Sequence[object] = ()) -> int:
        count = self._rows(statement, values)[0][0]
        assert isinstance(count, int)
        return count

    def _rows(self, statement: str, values: Sequence[object] = ()) -> list[tuple[object, ...]]:
        self._deadline = time.monotonic() + TIME_LIMIT
        with _sqlite_errors(self.name):
            return self._connection.execute(statement, tuple(values)).fetchall()


def _is_sound(found: Found) -> bool:
    """Whether a row has the types and the order of offsets that we write: SQLite holds anything in any column."""
    offsets = (found.document, found.start, found.body, found.end)
    names = (found.path, found.title, found.heading)
    if not all(isinstance(value, int) for value in offsets) or not all(isinstance(value, str) for value in names):
        return False
    return 0 <= found.start <= found.body <= found.end <= found.start + LARGEST and isinstance(found.rank, float)


def _quoted(term: str) -> str:
    return '"' + term[:LONGEST_TERM].replace('"', '""') + '"'


def build(docs: Sequence[str | Path], out: Path) -> Index:
    """Read `docs` into the index file `out`, at once or not at all, and open it. An index at `out` is replaced.

    Files that cannot be read are left out and listed in `bad_documents`. `NotFoundError` if there is nothing of a name,
    `BadFileError` if no file can be read, `ExistsError` if `out` is something else than an index.
    """
    if out.exists() and not (out.is_file() and _is_index(out)):
        raise ExistsError(f"{out} is there already and is no index.", hint="Choose another name for --out.")
    files = _files(docs, leave_out=out)
    out.parent.mkdir(parents=True, exist_ok=True)
    temporary = out.with_name(f"{TEMPORARY}{uuid.uuid4().hex[:8]}-{out.name}")
    with disk_errors(out), _sqlite_errors(str(out), writing=True):
        try:
            connection = sqlite3.connect(temporary)
            try:
                bad_documents = _fill(connection, files, name=_names(docs))
            finally:
                connection.close()
            reached("before-fsync")
            fsync(temporary)
            reached("before-rename")
            temporary.replace(out)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    fsync(out.parent)
    return open_index(out, bad_documents=bad_documents)


def build_in_memory(docs: Sequence[str | Path]) -> Index:
    """As `build`, without a file: for questions of a folder that is read anew each time."""
    files = _files(docs)
    connection = sqlite3.connect(":memory:")
    try:
        with _sqlite_errors(_names(docs)):
            bad_documents = _fill(connection, files, name=_names(docs))
            return Index(connection, name=_names(docs), bad_documents=bad_documents)
    except BaseException:
        connection.close()
        raise


def open_index(path: Path, *, bad_documents: Sequence[BadDocument] = ()) -> Index:
    """Open an index for reading. `NotFoundError` if it is not there, `BadFileError` if it is something else."""
    if not path.exists():
        raise NotFoundError(f"{path} does not exist.", hint=MAKE_ANEW)
    if not path.is_file():
        raise BadFileError(path, "is no index for questions.", hint=MAKE_ANEW)
    with _sqlite_errors(str(path)):
        connection = _connect_read_only(path)
        try:
            if not _is_ours(connection):
                raise BadFileError(path, "is no index for questions, or one of another version.", hint=MAKE_ANEW)
            return Index(connection, name=str(path), bad_documents=bad_documents)
        except BaseException:
            connection.close()
            raise


def _connect_read_only(path: Path) -> sqlite3.Connection:
    """Nothing in the file is trusted to run anything, and nothing writes into it."""
    # Immutable: a finished index only ever changes by being replaced, so no lock and no journal beside it is needed.
    connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro&immutable=1", uri=True, check_same_thread=False)
    connection.execute("PRAGMA trusted_schema = OFF")
    connection.execute("PRAGMA cell_size_check = ON")
    return connection


def _is_ours(connection: sqlite3.Connection) -> bool:
    """Whether the tables are exactly ours; a view or a trigger under their names could do anything."""
    marks = connection.execute("PRAGMA application_id").fetchone() + connection.execute("PRAGMA user_version").fetchone()
    kinds = {kind for (kind,) in connection.execute("SELECT DISTINCT type FROM sqlite_master LIMIT 10")}
    schema = dict(connection.execute("SELECT name, sql FROM sqlite_master WHERE name IN ('documents', 'passages', 'terms')"))
    return marks == (APPLICATION, VERSION) and kinds <= {"table", "index"} and schema == _TABLES


def _is_index(path: Path) -> bool:
    """Whether a file is an index, be it broken or of another version: such may be replaced."""
    with path.open("rb") as file:
        header = file.read(72)
    return header.startswith(b"SQLite format 3\0") and header[68:72] == APPLICATION.to_bytes(4, "big")


def _files(docs: Sequence[str | Path], *, leave_out: Path | None = None) -> list[SourceFile]:
    """The files of all sources; two of one name could not be told apart in a citation."""
    known: dict[str, SourceFile] = {}
    for source in docs:
        for file in list_files(source):
            if leave_out is not None and leave_out.exists() and file.path.samefile(leave_out):
                continue
            other = known.setdefault(file.source, file)
            if other is not file and not other.path.samefile(file.path):
                raise UsageError(
                    f"Two documents would be called {file.source}: {other.path} and {file.path}.",
                    hint="Name the folder above both, or make an index for each.",
                )
    if not known:
        raise BadFileError(_names(docs), "holds no files.", hint="Put documents there, for example .txt or .md.")
    return list(known.values())


def _names(docs: Sequence[str | Path]) -> str:
    return ", ".join(map(str, docs))


def _fill(connection: sqlite3.Connection, files: Sequence[SourceFile], *, name: str) -> list[BadDocument]:
    """Read `files` into the tables of an empty database; those that cannot be read are returned."""
    connection.execute("PRAGMA journal_mode = OFF")  # the file has another name until it is whole
    connection.execute("PRAGMA synchronous = OFF")
    connection.execute(f"PRAGMA application_id = {APPLICATION}")
    connection.execute(f"PRAGMA user_version = {VERSION}")
    for statement in _TABLES.values():
        connection.execute(statement)
    bad_documents: list[BadDocument] = []
    for file in progress.track(files, "reading and indexing", len(files)):
        try:
            state = file.path.stat()  # before reading: what is changed meanwhile counts as changed
            text = read(file.path).text
        except BadFileError as error:
            bad_documents.append(BadDocument(file.source, error.reason))
        except (FileNotFoundError, NotFoundError):
            bad_documents.append(BadDocument(file.source, "was there and is gone."))
        else:
            _add(connection, file, state, text)
    if len(bad_documents) == len(files):
        first = bad_documents[0]
        raise BadFileError(
            name, f"holds no document that can be read ({first.path}: {first.reason})", hint="llamarium read FILE shows what is wrong."
        )
    connection.execute("INSERT INTO terms(terms) VALUES ('optimize')")
    connection.commit()
    return bad_documents


def _add(connection: sqlite3.Connection, file: SourceFile, state: os.stat_result, text: str) -> None:
    cut = passages(text)
    title = cut[0].heading.split(" / ")[0] if cut else ""
    digest = hashlib.sha256(text.encode()).hexdigest()
    path = os.path.abspath(file.path)  # noqa: PTH100  links stay links
    document = connection.execute(
        "INSERT INTO documents VALUES (NULL, ?, ?, ?, ?, ?, ?, ?)",
        (file.source, title, text, digest, whole_characters(path), state.st_size, state.st_mtime_ns),
    ).lastrowid
    title_terms = search_terms(f"{title} {file.source}")
    for passage in cut:
        row = connection.execute(
            "INSERT INTO passages VALUES (NULL, ?, ?, ?, ?, ?)",
            (document, passage.start, passage.body, passage.end, passage.heading),
        ).lastrowid
        body = search_terms(text[passage.body : passage.end])
        connection.execute(
            "INSERT INTO terms(rowid, title, heading, body) VALUES (?, ?, ?, ?)",
            (row, title_terms, search_terms(passage.heading), body),
        )


@contextmanager
def _sqlite_errors(name: str, *, writing: bool = False) -> Iterator[None]:
    """What SQLite says, as what a user can do something about."""
    try:
        yield
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorname", "")  # not every error comes from the library
        if "no such module" in str(error):
            message = "The SQLite of this Python was built without full-text search (FTS5)."
            raise UsageError(message, hint="Use another build of Python.") from error
        if writing and (code == "SQLITE_FULL" or code.startswith("SQLITE_IOERR")):
            message = f"{name} could not be written: the disk is full or fails."
            raise ResourceError(message, hint="Free some space and run the command again.") from error
        raise BadFileError(name, f"cannot be used as an index ({error}).", hint=MAKE_ANEW) from error
