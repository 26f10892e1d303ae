"""The index that questions are asked of.

Takes: files and folders that a reader knows; a question's terms.
Gives: an index of them, in one file or in memory, and the passages that fit best.
Does not know: how documents get into it (`indexing`), how it lies on the disk (`store`), what a good answer is.
"""

from __future__ import annotations

import bisect
import functools
import json
import shlex
import sqlite3
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from llamarium.apps.ask import store
from llamarium.apps.ask.encoders import Encoder, open_encoder
from llamarium.apps.ask.indexing import MOST_PASSAGES, BadDocument, Changes, names, segments, update
from llamarium.apps.ask.passages import LARGEST
from llamarium.apps.ask.postings import Bm25, Postings, best
from llamarium.apps.ask.qdrant import Qdrant, read_address
from llamarium.apps.ask.store import REMOVE, sqlite_errors, transaction
from llamarium.apps.ask.vector_rows import Rows
from llamarium.apps.ask.vector_store import Recorded, VectorStore, add_vectors, not_there, recorded, remove_vectors
from llamarium.apps.ask.words import Question
from llamarium.ground import progress
from llamarium.ground.errors import BadFileError, ExistsError, NotFoundError, UsageError
from llamarium.ground.files import disk_errors
from llamarium.text.sources import SourceFile, list_files

MOST_TERMS = 256  # of a question
MOST_KEPT = 512  # terms whose postings are kept in memory
MOST_TEXTS = 64  # likewise
MOST_EQUAL = 1000  # passages that fit equally well and are looked at to bring them in order
TIME_LIMIT = 60.0  # seconds for one statement on a file from anywhere
NO_VECTORS = "none"

T = TypeVar("T")


@dataclass(frozen=True)
class Found:
    """A passage that a search found: its document's number and path, offsets and headings, and the BM25 rank (more is better).

    `passage`: its own number; `page`: the page it begins on, from 1, where its document has pages.
    """

    document: int
    path: str
    title: str
    start: int
    body: int
    end: int
    heading: str
    rank: float
    passage: int = 0
    page: int | None = None


@dataclass(frozen=True)
class Source:
    """Where a document was read, and what the file was like then."""

    file: Path
    size: int
    modified: int  # nanoseconds since 1970
    sha256: str  # of the text that was read from it, in UTF-8


@dataclass(frozen=True)
class Held:
    """A document that an index holds. `characters`: code points of its text."""

    number: int
    path: str
    title: str
    characters: int


class Index:
    """An open index. Use it as a context manager, or `close` it.

    `bad_documents` and `changes` are of the run that made it, if one just did. Where another process writes to the file, each search
    sees what is there when it begins.
    """

    def __init__(
        self,
        connection: sqlite3.Connection,
        *,
        name: str,
        bad_documents: Sequence[BadDocument] = (),
        changes: Changes | None = None,
    ) -> None:
        self.name = name
        self.bad_documents = tuple(bad_documents)
        self.changes = changes
        self._connection = connection
        self._opened: list[VectorStore] = []
        self._deadline = float("inf")
        self._kept: dict[str, Postings] = {}
        self._texts: dict[int, str] = {}
        connection.set_progress_handler(lambda: time.monotonic() > self._deadline, 100_000)
        with sqlite_errors(name), transaction(connection, writing=False):
            self._load()

    def __enter__(self) -> Index:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file, and of the server that has its vectors."""
        for vectors in self._opened:
            vectors.close()
        self._connection.close()

    @property
    def numbers(self) -> NDArray[np.uint32]:
        """The numbers of all passages."""
        return self._bm25.numbers

    @contextmanager
    def one_state(self) -> Iterator[None]:
        """Whatever is read inside is of one state of the file, the newest."""
        with sqlite_errors(self.name), transaction(self._connection, writing=False):
            self._refresh()
            self._deadline = float("inf")  # of what is read of the file, not through us: it takes as long as it takes
            yield

    def read_all(self, read: Callable[[sqlite3.Connection], T]) -> T:
        """What `read` reads of the file, however long it takes."""
        self._deadline = float("inf")
        with sqlite_errors(self.name):
            return read(self._connection)

    def recorded_vectors(self) -> Recorded | None:
        """Of which encoder it has vectors."""
        return self.read_all(recorded)

    def vector_store(self, found: Recorded, *, at: str | None = None) -> VectorStore:
        """Where the vectors are that are recorded as `found`; it is closed with the index. `UsageError` unless that is `at`."""
        if found.store != (at or ""):
            raise not_there(self.name, found, at or "")
        if not found.store:
            return Rows(self._connection, name=self.name, centred=found.kind == "llama")
        self._opened.append(Qdrant(found.store, found.collection, name=self.name))
        return self._opened[-1]

    @property
    def is_finished(self) -> bool:
        """Whether the run that made it came to its end; else documents may be missing."""
        return self._rows("SELECT value FROM state WHERE name = 'finished'") == [("yes",)]

    def search(self, question: Question, *, limit: int = 30) -> list[Found]:
        """The passages with the best BM25 rank for any of the question's terms, best first."""
        return self.rank(dict.fromkeys(question.terms, 1.0), limit=limit)

    def rank(self, weights: Mapping[str, float], *, limit: int = 30, documents: Collection[int] | None = None) -> list[Found]:
        """The passages with the best BM25 rank, each term counting by its weight, best first; only those of `documents`, if given.

        Equal ones come in the order of their paths and places, so that the way an index came to be makes no difference.
        """
        with self.one_state():
            wanted = [(self._postings(term), weight) for term, weight in list(weights.items())[:MOST_TERMS]]
            scores = self._bm25.scores(wanted, among=None if documents is None else self._bm25.marked(self.numbers_of(documents)))
            ranks = {number: float(scores[number]) for number in best(scores, limit)[: limit + MOST_EQUAL].tolist()}
            found = self.passages(ranks)
        return sorted(found, key=lambda passage: (-passage.rank, passage.path, passage.start))[:limit]

    def numbers_of(self, documents: Collection[int]) -> NDArray[np.uint32]:
        """The numbers of the passages of these documents."""
        of = "SELECT p.id FROM json_each(?) AS j JOIN passages AS p ON p.document = j.value"
        return np.array([number for (number,) in self._rows(of, (json.dumps(list(documents)),))], dtype=np.uint32)

    def num_passages_with(self, term: str) -> int:
        """How many passages have `term`."""
        return self.num_passages_with_any([(term,)])

    def num_passages_with_any(self, keys: Sequence[tuple[str, ...]]) -> int:
        """How many passages have all the terms of any of `keys`."""
        with self.one_state():
            found = [self._passages_with(key) for key in keys]
        return len(found[0] if len(found) == 1 else np.unique(np.concatenate(found)))

    def _passages_with(self, key: tuple[str, ...]) -> NDArray[np.uint32]:
        first, *others = (self._postings(term).passages for term in key)
        return functools.reduce(functools.partial(np.intersect1d, assume_unique=True), others, first)

    def documents(self) -> list[Held]:
        """All documents, in the order of their paths."""
        rows = self._rows("SELECT id, path, title, length(text) FROM documents ORDER BY path")
        if not all(isinstance(value, kind) for row in rows for value, kind in zip(row, (int, str, str, int), strict=True)):
            raise BadFileError(self.name, "has documents that cannot be.", hint=REMOVE)
        return [Held(*row) for row in rows]  # type: ignore[arg-type]  # looked at above

    def text(self, document: int) -> str:
        """The whole text of a document, as it was read."""
        if document in self._texts:
            return self._texts[document]
        rows = self._rows("SELECT text FROM documents WHERE id = ?", (document,))
        if not rows or not isinstance(rows[0][0], str):
            raise BadFileError(self.name, f"has no text for document {document}.", hint=REMOVE)
        if len(self._texts) >= MOST_TEXTS:
            self._texts.clear()
        return self._texts.setdefault(document, rows[0][0])

    def page(self, document: int, place: int) -> int | None:
        """The page that code point `place` of a document is on, from 1; None where it has no pages."""
        rows = self._rows("SELECT pages FROM documents WHERE id = ?", (document,))
        return _page(rows[0][0], place) if rows else None

    def source(self, document: int) -> Source:
        """The file a document was read from."""
        rows = self._rows("SELECT file, size, modified, sha256 FROM documents WHERE id = ?", (document,))
        file, size, modified, sha256 = rows[0] if rows else (None,) * 4
        if not (isinstance(file, str) and isinstance(size, int) and isinstance(modified, int) and isinstance(sha256, str)):
            raise BadFileError(self.name, f"does not say where document {document} is from.", hint=REMOVE)
        return Source(Path(file), size, modified, sha256)

    def _load(self) -> None:
        """What is kept in memory: the lengths of all passages."""
        self._kept.clear()
        self._texts.clear()
        self.num_documents = self._count("SELECT count(*) FROM documents")
        self._data_version = self._count("PRAGMA data_version")
        self._segments = self.read_all(segments)
        rows = self._rows("SELECT id, length, document FROM passages")
        self.num_passages = len(rows)
        if not all(isinstance(value, int) for row in rows for value in row):
            raise BadFileError(self.name, "has passages that cannot be.", hint=REMOVE)
        table = np.array(rows, dtype=np.int64).reshape(-1, 3)
        if len(table) and not (table[:, 0].min() > 0 and table[:, 0].max() < MOST_PASSAGES and table[:, 1].min() >= 0):
            raise BadFileError(self.name, "has passages that cannot be.", hint=REMOVE)
        self._bm25 = Bm25(table[:, 0].astype(np.uint32), table[:, 1].astype(np.float32), table[:, 2])

    def _refresh(self) -> None:
        """Load anew where another process has changed the file."""
        self._count("SELECT count(*) FROM state")  # from here on, one state of the file is seen
        if self._count("PRAGMA data_version") != self._data_version:
            self._load()

    def _postings(self, term: str) -> Postings:
        if term not in self._kept:
            if len(self._kept) >= MOST_KEPT:
                self._kept.clear()
            statement = "SELECT passages FROM postings WHERE segment = ? AND term = ?"
            rows = [row for segment in self._segments for row in self._rows(statement, (segment, term))]
            try:
                self._kept[term] = self._bm25.present(Postings.read(blob for (blob,) in rows))  # type: ignore[misc]  # looked at there
            except (ValueError, TypeError):
                raise BadFileError(self.name, "has postings that cannot be.", hint=REMOVE) from None
        return self._kept[term]

    def passages(self, ranks: Mapping[int, float]) -> list[Found]:
        """The passages of these numbers, in any order."""
        rows = self._rows(
            "SELECT p.id, d.pages, d.id, d.path, d.title, p.start, p.body, p.end, p.heading "
            "FROM json_each(?) AS j JOIN passages AS p ON p.id = j.value JOIN documents AS d ON d.id = p.document",
            (json.dumps(list(ranks)),),
        )
        found = [
            Found(document, path, title, start, body, end, heading, ranks[passage], passage, _page(pages, start))
            for passage, pages, document, path, title, start, body, end, heading in cast("list[tuple[Any, ...]]", rows)
        ]
        if not all(map(_is_sound, found)):
            raise BadFileError(self.name, "has passages that cannot be.", hint=REMOVE)
        return found

    def _count(self, statement: str, values: Sequence[object] = ()) -> int:
        count = self._rows(statement, values)[0][0]
        assert isinstance(count, int)
        return count

    def _rows(self, statement: str, values: Sequence[object] = ()) -> list[tuple[object, ...]]:
        self._deadline = time.monotonic() + TIME_LIMIT
        with sqlite_errors(self.name):
            return self._connection.execute(statement, tuple(values)).fetchall()


def _page(pages: object, place: object) -> int | None:
    """The page of a place, by the list of where pages begin."""
    if not isinstance(pages, str) or not isinstance(place, int) or pages == "[]":
        return None
    try:
        return max(1, bisect.bisect_right(json.loads(pages), place))
    except (ValueError, TypeError, RecursionError):
        return None


def _is_sound(found: Found) -> bool:
    """Whether a row has the types and the order of offsets that we write: SQLite holds anything in any column."""
    offsets = (found.document, found.start, found.body, found.end)
    texts = (found.path, found.title, found.heading)
    if not all(isinstance(value, int) for value in offsets) or not all(isinstance(value, str) for value in texts):
        return False
    return 0 <= found.start <= found.body <= found.end <= found.start + LARGEST


def build(
    docs: Sequence[str | Path], out: Path, *, vectors: str | None = None, embeddings: str | None = None, at: str | None = None
) -> Index:
    """Make the index file `out` hold `docs`, and open it.

    What is in an index at `out` and has not changed stays; what is not in `docs` goes. A document is in it as it was or as it is,
    whenever the process ends. Files that cannot be read are left out and listed in `bad_documents`. `NotFoundError` if there is nothing
    of a name, `BadFileError` if no file can be read, `ExistsError` if `out` is something else than an index.

    `vectors`: the MODEL that makes a vector of each passage, or "none" to take them out; by default those that are there are kept up.
    `embeddings`: the OpenAI-compatible address that has the model. `at`: the Qdrant server that shall have the vectors, or has them
    (see `qdrant.read_address`); by default they are in the file.
    """
    if embeddings is not None and vectors in (None, NO_VECTORS):
        raise UsageError("--embeddings needs the name of a model.", hint="For example: --vectors NAME --embeddings URL")
    if out.exists() and not (out.is_file() and store.is_index(out)):
        raise ExistsError(f"{out} is there already and is no index.", hint="Choose another name for --out.")
    at = read_address(at) if at is not None else None
    found = _recorded(out)
    if at is not None and vectors in (None, NO_VECTORS) and (found is None or found.store != at):
        raise not_there(str(out), found, at)
    files = _files(docs, leave_out=out)
    # First, since a model or a server that is not there is said before hours of work and not after.
    encoder = open_encoder(vectors, embeddings=embeddings) if vectors not in (None, NO_VECTORS) else None
    if at is not None and encoder is not None and encoder.kind == "llama":
        message = (
            f"{encoder.name} is a language model: its vectors are compared by what they have beyond their mean, which no server tells."
        )
        raise UsageError(message, hint="Leave --store out, or take a sentence encoder: --vectors all-minilm-l6-v2")
    with ExitStack() as stack, disk_errors(out):
        place = None
        if at is not None:
            known = found.collection if found is not None and found.store == at else ""
            place = stack.enter_context(closing(Qdrant(at, known, name=str(out))))
        try:
            bad_documents, changes = _update(files, out, names(docs), anew=not _can_be_opened(out))
        except _BrokenIndexError:
            bad_documents, changes = _update(files, out, names(docs), anew=True)
        if vectors == NO_VECTORS:
            remove_vectors(out, place)
        elif encoder := encoder or _kept_up(out, at):
            add_vectors(out, encoder, place)
    return open_index(out, bad_documents=bad_documents, changes=changes)


def _can_be_opened(path: Path) -> bool:
    try:
        with sqlite_errors(str(path)), closing(store.open_to_read(path)) as connection:
            Index(connection, name=str(path))
    except (BadFileError, NotFoundError):
        return False
    return True


def _recorded(out: Path) -> Recorded | None:
    """Which vectors there are before anything is done; None where there is no index that can be read."""
    try:
        with sqlite_errors(str(out)), closing(store.open_to_read(out)) as connection:
            return recorded(connection)
    except (BadFileError, NotFoundError):
        return None


def _kept_up(out: Path, at: str | None) -> Encoder | None:
    """What made the vectors that an index has, so that new passages get theirs."""
    found = _recorded(out)
    if found is None:
        return None
    options = [f"--vectors {shlex.quote(found.name)} --embeddings {shlex.quote(found.address)}"] if found.kind == "openai" else []
    if found.store and (options or at is None):
        options.append(f"--store {found.store}")
    if options:
        progress.say(f"new passages have no vectors: {' '.join(options)} makes them")
        return None
    return open_encoder(found.name)


def build_in_memory(docs: Sequence[str | Path]) -> Index:
    """As `build`, without a file: for questions of a folder that is read anew each time."""
    files = _files(docs)
    connection = sqlite3.connect(":memory:", check_same_thread=False, isolation_level=None)
    try:
        with sqlite_errors(names(docs)):
            store.make_tables(connection)
            bad_documents, changes = update(lambda: connection, None, files, name=names(docs))
        return Index(connection, name=names(docs), bad_documents=bad_documents, changes=changes)
    except BaseException:
        connection.close()
        raise


def open_index(path: Path, *, bad_documents: Sequence[BadDocument] = (), changes: Changes | None = None) -> Index:
    """Open an index for reading. `NotFoundError` if it is not there, `BadFileError` if it is something else."""
    with sqlite_errors(str(path)):
        connection = store.open_to_read(path)
    try:
        index = Index(connection, name=str(path), bad_documents=bad_documents, changes=changes)
        if not index.is_finished:
            progress.say(f"{path} was not finished: documents may be missing; the same llamarium index goes on with it")
    except BaseException:
        connection.close()
        raise
    return index


class _BrokenIndexError(Exception):
    """What has the name of the index can be used no more."""


def _update(files: Sequence[SourceFile], out: Path, name: str, *, anew: bool) -> tuple[list[BadDocument], Changes]:
    if anew:

        def connect() -> sqlite3.Connection:
            store.create(out)
            opened.append(store.open_to_write(out))
            return opened[-1]

        opened: list[sqlite3.Connection] = []
        try:
            with sqlite_errors(str(out), writing=True):
                return update(connect, None, files, name=name)
        finally:
            for connection in opened:
                connection.close()
    try:
        with sqlite_errors(str(out), writing=True), closing(store.open_to_write(out)) as connection:
            return update(lambda: connection, connection, files, name=name)
    except BadFileError as error:
        if error.path == str(out):
            raise _BrokenIndexError from error
        raise


def _files(docs: Sequence[str | Path], *, leave_out: Path | None = None) -> list[SourceFile]:
    """The files of all sources; two of one name could not be told apart in a citation."""
    beside = {} if leave_out is None else {f"{leave_out.name}{end}" for end in ("", "-wal", "-shm")}
    known: dict[str, SourceFile] = {}
    for source in docs:
        for file in list_files(source):
            if leave_out is not None and file.path.name in beside and file.path.parent.samefile(leave_out.parent):
                continue
            other = known.setdefault(file.source, file)
            if other is not file and not other.path.samefile(file.path):
                raise UsageError(
                    f"Two documents would be called {file.source}: {other.path} and {file.path}.",
                    hint="Name the folder above both, or make an index for each.",
                )
    if not known:
        raise BadFileError(names(docs), "holds no files.", hint="Put documents there, for example .txt or .md.")
    return list(known.values())
