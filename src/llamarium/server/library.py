"""The documents that questions are asked of: an index, if one was given, and files that were dropped in.

Takes: an index, files, questions.
Gives: lists, texts and answers; the only file of the server that knows `llamarium.apps.ask`.
Does not know: HTTP.

Files that are dropped in go through the text floor's readers into an index of their own, in memory, and are gone when the
server ends: the index that was given is only ever read. Both are asked, and their answers are put together by their scores,
which mean the same in either. Everything here happens in one thread, since SQLite's connections
belong to one; at most `MOST_WAITING` calls wait for it.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from llamarium.apps.ask.answer import Answer, Citation, ask
from llamarium.apps.ask.index import Index, build_in_memory
from llamarium.apps.ask.phrase import phrase, phrased_answer
from llamarium.apps.ask.vectors import Vectors, open_vectors
from llamarium.ground.errors import BadFileError, ExistsError, LlamariumError, MissingExtraError, NotFoundError, ResourceError, UsageError
from llamarium.server.refusal import RefusedError

DROPPED = "dropped/"  # what the names of files that were dropped in begin with
MOST_DROPPED = 200
MOST_BYTES = 128 << 20  # of all files that were dropped in
MOST_WAITING = 16
MOST_QUOTES = 3
LONGEST_NAME = 200  # bytes

T = TypeVar("T")


@dataclass(frozen=True)
class Listed:
    """A document that can be asked. `characters`: code points of its text."""

    document: str
    title: str
    characters: int
    dropped: bool


class Library:
    """The documents. Its methods that begin with an underscore run in its own thread."""

    def __init__(self, open_index: Callable[[], Index] | None = None, *, embeddings: str | None = None, at: str | None = None) -> None:
        """`embeddings`, `at`: the addresses that may be asked for the vectors of the index, see `open_vectors`."""
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="documents")
        self._waiting = 0
        self._given: Index | None = None
        self._vectors: Vectors | None = None
        self._dropped: Index | None = None
        self._known: dict[str, tuple[Index, int, Listed]] = {}
        self._folder: Path | None = None
        if open_index is not None:
            try:
                # In this context, so that what is said of the index is heard.
                self._thread.submit(contextvars.copy_context().run, self._open, open_index, embeddings, at).result()
            except BaseException:
                self._thread.shutdown()
                raise

    @property
    def bad_documents(self) -> list[tuple[str, str]]:
        """Files of the index that was given that could not be read, and why."""
        return [(bad.path, bad.reason) for bad in self._given.bad_documents] if self._given is not None else []

    def close(self) -> None:
        """Forget what was dropped in."""
        self._thread.submit(self._close).result()
        self._thread.shutdown()

    async def documents(self) -> list[Listed]:
        """All documents, in the order of their names."""
        return await self._call(lambda: [listed for _, _, listed in self._known.values()])

    async def text(self, document: str) -> tuple[Listed, str]:
        """A document and its text. `NotFoundError` if there is none of that name."""
        return await self._call(lambda: self._text(document))

    async def add(self, name: str, data: bytes) -> Listed:
        """Take in a file that was dropped in; one of the same name is replaced. `BadFileError` if no reader can take it."""
        return await self._call(lambda: self._add(name, data))

    async def ask(self, question: str, *, documents: Sequence[str] | None = None) -> Answer:
        """Answer `question` from `documents`, or from all there are."""
        return await self._call(lambda: self._ask(question, documents))

    async def _call(self, work: Callable[[], T]) -> T:
        if self._waiting >= MOST_WAITING:
            raise RefusedError(429, "Too many questions at once.", code="busy", headers={"Retry-After": "1"})
        self._waiting += 1
        try:
            return await asyncio.wrap_future(self._thread.submit(work))
        finally:
            self._waiting -= 1

    def _open(self, open_index: Callable[[], Index], embeddings: str | None, at: str | None) -> None:
        self._given = open_index()
        self._vectors = open_vectors(self._given, embeddings=embeddings, at=at)
        self._note()

    def _note(self) -> None:
        """Write down which documents there are."""
        self._known = {}
        for index in (self._given, self._dropped):
            for held in index.documents() if index is not None else []:
                assert index is not None
                listed = Listed(held.path, held.title, held.characters, dropped=index is self._dropped)
                self._known[held.path] = (index, held.number, listed)

    def _close(self) -> None:
        for index in (self._given, self._dropped):
            if index is not None:
                index.close()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _text(self, document: str) -> tuple[Listed, str]:
        index, number, listed = self._find(document)
        return listed, index.text(number)

    def _find(self, document: str) -> tuple[Index, int, Listed]:
        if document not in self._known:
            raise NotFoundError("There is no document of that name.")
        return self._known[document]

    def _add(self, name: str, data: bytes) -> Listed:
        check_name(name)
        document = DROPPED + name
        if document in self._known and not self._known[document][2].dropped:
            raise ExistsError("The index has a document of that name.", hint="Rename the file.")
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="llamarium-dropped-"))
        path = self._folder / DROPPED / name
        path.parent.mkdir(exist_ok=True)
        others = [file for file in path.parent.iterdir() if file != path]
        if len(others) >= MOST_DROPPED or sum(file.stat().st_size for file in others) + len(data) > MOST_BYTES:
            message = f"At most {MOST_DROPPED} files of together {MOST_BYTES >> 20} MB are kept."
            raise UsageError(message, hint="llamarium index makes an index of more.")
        before = path.read_bytes() if path.exists() else None
        try:
            path.write_bytes(data)
            index = build_in_memory([self._folder])
            for bad in index.bad_documents:
                if bad.path == document:
                    index.close()
                    raise BadFileError(name, bad.reason)
        except (LlamariumError, OSError) as error:
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True) if before is None else path.write_bytes(before)
            if isinstance(error, OSError):
                raise ResourceError(f"The file could not be kept ({error.strerror}).") from None
            raise _of_one_file(error, document) from None
        if self._dropped is not None:
            self._dropped.close()
        self._dropped = index
        self._note()
        return self._known[document][2]

    def _ask(self, question: str, documents: Sequence[str] | None) -> Answer:
        begin = time.perf_counter()
        chosen = list(self._known) if documents is None else list(dict.fromkeys(documents))
        if not chosen:
            raise UsageError("There is no document to ask.", hint="Drop files in, or start the server with --index or --docs.")
        by_index: dict[Index, set[int]] = {}
        for document in chosen:
            index, number, _ = self._find(document)
            by_index.setdefault(index, set()).add(number)
        answers = [
            ask(
                index,
                question,
                k=MOST_QUOTES,
                vectors=self._vectors if index is self._given else None,
                documents=None if len(numbers) == index.num_documents else numbers,
            )
            for index, numbers in by_index.items()
        ]
        return _together(answers, seconds=time.perf_counter() - begin)


def check_name(name: str) -> None:
    """Refuse a file name that is none: it becomes one on this machine, and stands in citations."""
    wrong = not name or name.startswith(".") or "/" in name or "\\" in name or not name.isprintable() or name != name.strip()
    if wrong or len(name.encode()) > LONGEST_NAME:
        raise UsageError("That is no name for a file.", hint=f"At most {LONGEST_NAME} bytes; no slash, no dot in front.")


def as_json(answer: Answer, *, nearest: bool = False) -> dict[str, Any]:
    """The object that ``llamarium ask --json`` prints; with what comes nearest, and whether the answer is
    sure, where that is asked for."""
    shown = {"found": answer.found, "answer": answer.answer, "citations": [asdict(c) for c in answer.citations], "seconds": answer.seconds}
    return shown | {"nearest": [asdict(citation) for citation in answer.nearest], "sure": answer.sure} if nearest else shown


def phrased(model: Any, question: str, answer: Answer) -> str:
    """The answer in the model's words, each sentence with the number of the quote that bears it; the quotes where none is left."""
    quotes = [citation.quote for citation in answer.citations]
    try:
        found = phrased_answer(model, question, quotes)
    except MissingExtraError:  # without llguidance nothing holds the model to the form; its words may still be checked
        return phrase(model, question, quotes) or answer.answer
    return found.text if found.phrased else answer.answer


def _together(answers: Sequence[Answer], *, seconds: float) -> Answer:
    """One answer out of one from each index: the best of them, and the best quotes of all that found something."""
    found = [answer for answer in answers if answer.found]

    def best(citations: Iterable[Citation]) -> tuple[Citation, ...]:
        return tuple(sorted(citations, key=lambda citation: -citation.score)[:MOST_QUOTES])

    first = max(found or answers, key=lambda answer: max((citation.score for citation in answer.citations), default=0.0))
    return replace(
        first,
        citations=first.citations if len(found) <= 1 else best(citation for answer in found for citation in answer.citations),
        nearest=() if found else best(citation for answer in answers for citation in answer.nearest),
        dropped=tuple(path for answer in answers for path in answer.dropped),
        seconds=seconds,
    )


def _of_one_file(error: LlamariumError, document: str) -> LlamariumError:
    """Where no file at all can be read, the error is about the folder; whoever dropped one in wants to know of that one."""
    if not isinstance(error, BadFileError):
        return error
    _, between, reason = error.reason.partition(f"({document}: ")
    return BadFileError(document, reason.removesuffix(")") if between else error.reason)
