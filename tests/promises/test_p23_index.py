"""P23, the index's part: `kill -9` while indexing leaves a readable index, each document in it as it was or as it is.

Run as a script, this file is a server that forks `build` for each case, so that a case costs no start of an interpreter.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from tokenizers import Tokenizer as Backend
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

from llamarium.apps.ask import indexing, store, vector_store
from llamarium.apps.ask.index import Index, build, open_index
from llamarium.apps.ask.vectors import open_vectors
from llamarium.apps.ask.words import question_words
from llamarium.checkpoint import huggingface
from llamarium.ground.errors import BadFileError, NotFoundError
from llamarium.ground.failpoints import VARIABLE, reached
from llamarium.models import bert
from llamarium.tokens.tokenizer import Tokenizer

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform has no fork")

NAMES = ("alpha", "bravo", "charlie", "delta", "echo", "foxtrot", "golf", "hotel", "india", "juliett")
CHANGED, GONE, NEW = NAMES[:4], NAMES[4:6], ("kilo", "lima", "mike")

# Seven documents are read, each a batch; then what is gone is removed, and segments are merged.
MOMENTS = (
    *(f"{moment}:{number}" for moment in ("before-batch", "in-batch", "after-batch") for number in (1, 2, 4, 5, 7)),
    *("in-finish", "after-finish", "in-merge", "after-merge"),
)
FIRST_MOMENTS = ("before-rename", "after-rename", "before-batch:3", "in-batch:1", "after-batch:5", "in-finish", "in-merge")


def text_of(name: str, state: str) -> str:
    paragraphs = [f"The {name} of the {state} state, paragraph {number}, speaks of llamas and of {name}{state}." for number in range(20)]
    return f"# The {name}\n\n" + "\n\n".join(paragraphs) + "\n"


def write(folder: Path, state: str) -> dict[str, str]:
    """The documents of a state, in a folder; their texts by path."""
    names = NAMES if state == "old" else tuple(name for name in NAMES if name not in GONE) + NEW
    texts = {f"{name}.txt": text_of(name, state if name in CHANGED else "first") for name in names}
    for left in folder.glob("*.txt"):
        if left.name not in texts:
            left.unlink()
    for path, text in texts.items():
        if not (folder / path).exists() or (folder / path).read_text() != text:
            (folder / path).write_text(text)
    return texts


# --- The server: it never returns from a case but by `os._exit` -------------------------------------------------------


@contextlib.contextmanager
def no_transaction(connection: object, *, writing: bool = True) -> Iterator[None]:
    """What SQLite does without: every statement is committed by itself."""
    yield


CONTROLS: dict[str, Callable[[], None]] = {
    "": lambda: None,
    "no transactions": lambda: setattr(indexing, "transaction", no_transaction),
    "in place": lambda: setattr(store, "create", _create_in_place),
}


def _create_in_place(path: Path) -> None:
    """The control of the first moment: a file that has the name before it has the tables."""
    path.write_bytes(b"")
    reached("before-rename")


def serve() -> None:
    for name in ("llamarium.engine.sentences", "llamarium.apps.ask.index"):  # torch, which costs seconds to import
        importlib.import_module(name)
    for line in sys.stdin:
        case = json.loads(line)
        began = time.monotonic()
        if not (child := os.fork()):
            indexing.BATCH = 0  # each document by itself
            indexing.MOST_SEGMENTS = 3
            store.SYNCHRONOUS = "OFF"  # SIGKILL takes nothing from what the system has taken over
            CONTROLS[case["control"]]()
            os.environ[VARIABLE] = case["failpoint"]
            try:
                vector_store.TOGETHER = 8
                build([case["docs"]], Path(case["out"]), vectors=case["vectors"]).close()
            finally:
                os._exit(0)
        while not (ended := os.waitpid(child, os.WNOHANG))[0]:
            if case["kill_after"] is not None and time.monotonic() - began > case["kill_after"]:
                os.kill(child, signal.SIGKILL)
            time.sleep(0.001)
        code = os.waitstatus_to_exitcode(ended[1])
        sys.stdout.write(json.dumps({"code": code, "seconds": time.monotonic() - began}) + "\n")
        sys.stdout.flush()


@dataclass
class Server:
    process: subprocess.Popen[str]

    def build(
        self,
        docs: Path,
        out: Path,
        *,
        failpoint: str = "",
        kill_after: float | None = None,
        control: str = "",
        vectors: Path | None = None,
    ) -> tuple[int, float]:
        case = {"docs": str(docs), "out": str(out), "failpoint": failpoint, "kill_after": kill_after, "control": control}
        case["vectors"] = None if vectors is None else str(vectors)
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(case) + "\n")
        self.process.stdin.flush()
        ended = json.loads(self.process.stdout.readline())
        return ended["code"], ended["seconds"]


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with subprocess.Popen([sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding="utf-8") as process:
        yield Server(process)
        assert process.stdin is not None
        process.stdin.close()


@dataclass
class Case:
    """A folder and the index of its old state; then the folder is in the new one."""

    docs: Path
    out: Path
    old: dict[str, str]
    new: dict[str, str]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Case:
    folder = tmp_path_factory.mktemp("prepared")
    docs = folder / "docs"
    docs.mkdir()
    old = write(docs, "old")
    build([docs], folder / "index").close()
    return Case(docs, folder / "index", old, write(docs, "new"))


@pytest.fixture
def case(prepared: Case, tmp_path: Path) -> Case:
    shutil.copy(prepared.out, tmp_path / "index")
    return Case(prepared.docs, tmp_path / "index", prepared.old, prepared.new)


def everything(index: Index) -> list[tuple[str, int, int, float, str]]:
    """What the index says to questions about each document and about all."""
    found = []
    for question in ("llamas", "first state", *(f"{name}{state}" for name in (*NAMES, *NEW) for state in ("old", "new", "first"))):
        for passage in index.search(question_words(question), limit=1000):
            quote = index.text(passage.document)[passage.start : passage.end]
            found.append((passage.path, passage.start, passage.end, round(passage.rank, 4), quote))
    return found


def check_state(out: Path, old: dict[str, str], new: dict[str, str]) -> None:
    """Each document is as it was or as it is, and is found by what it says."""
    with open_index(out) as index:
        assert index._rows("PRAGMA integrity_check") == [("ok",)]
        texts = {held.path: index.text(held.number) for held in index.documents()}
        for path in old.keys() | new.keys():
            assert texts.pop(path, None) in (old.get(path), new.get(path))
        assert not texts
        for held in index.documents():
            text = index.text(held.number)
            last = text.rstrip(".\n").rpartition(" ")[2]
            found = index.search(question_words(last), limit=1000)
            assert {passage.path for passage in found} == {held.path}
            assert sum(text[passage.body : passage.end].count(last) for passage in found) == 20
        assert index._rows("SELECT count(*) FROM passages WHERE document NOT IN (SELECT id FROM documents)") == [(0,)]


def check_end(out: Path, docs: Path, tmp_path: Path) -> None:
    """Run again, it ends as if nothing had happened."""
    with build([docs], out) as index, build([docs], tmp_path / "fresh") as fresh:
        assert index.is_finished
        assert index.num_passages == fresh.num_passages
        same = everything(index) == everything(fresh)
        assert same


@pytest.mark.parametrize("moment", MOMENTS)
def test_killed_at_a_moment(moment: str, case: Case, server: Server, tmp_path: Path) -> None:
    code, _ = server.build(case.docs, case.out, failpoint=moment)
    assert code == -signal.SIGKILL
    check_state(case.out, case.old, case.new)
    check_end(case.out, case.docs, tmp_path)


def test_every_document_is_a_batch_and_nothing_else_is_read(case: Case, server: Server) -> None:
    """The moments above are those there are."""
    code, _ = server.build(case.docs, case.out, failpoint="after-batch:8")
    assert code == 0
    check_state(case.out, case.new, case.new)


@pytest.mark.parametrize("moment", FIRST_MOMENTS)
def test_killed_when_there_was_none(moment: str, case: Case, server: Server, tmp_path: Path) -> None:
    out = tmp_path / "first"
    code, _ = server.build(case.docs, out, failpoint=moment)
    assert code == -signal.SIGKILL
    if moment == "before-rename":
        with pytest.raises(NotFoundError):
            open_index(out)
    else:
        check_state(out, {}, case.new)
    check_end(out, case.docs, tmp_path)


def test_killed_at_random_times(case: Case, server: Server, tmp_path: Path) -> None:
    shutil.copy(case.out, tmp_path / "timed")
    _, seconds = server.build(case.docs, tmp_path / "timed")
    times = random.Random(23)
    kept = case.out.read_bytes()
    for _ in range(8):
        case.out.write_bytes(kept)
        for beside in ("index-wal", "index-shm"):
            (tmp_path / beside).unlink(missing_ok=True)
        server.build(case.docs, case.out, kill_after=times.uniform(0, seconds))
        check_state(case.out, case.old, case.new)
    check_end(case.out, case.docs, tmp_path)


def test_killed_again_and_again(case: Case, server: Server, tmp_path: Path) -> None:
    """Each run goes on where the one before was, and comes a document further."""
    for _ in range(7):
        server.build(case.docs, case.out, failpoint="after-batch:1")
        check_state(case.out, case.old, case.new)
    code, _ = server.build(case.docs, case.out, failpoint="before-batch:1")
    assert code == 0  # all were read already
    check_end(case.out, case.docs, tmp_path)


@pytest.mark.parametrize("moment", ["before-vectors:1", "after-vectors:1", "before-vectors:3", "after-pack"])
def test_killed_while_vectors_are_made(moment: str, case: Case, server: Server, tmp_path: Path) -> None:
    """All texts are in, and whatever vectors there are stay: the next run makes the others."""
    model = tmp_path / "model"
    words = [*NAMES, *NEW, "llamas", "[UNK]"]
    backend = Backend(WordLevel({word: number for number, word in enumerate(words)}, unk_token="[UNK]"))
    backend.pre_tokenizer = Whitespace()
    tokenizer = Tokenizer(backend.to_str(), {"unk_token": "[UNK]", "eos_token": "[UNK]"})
    encoder = bert.Model(replace(bert.TINY, vocab_size=len(words)))
    encoder.initialize()
    huggingface.save_folder(model, encoder, tokenizer)
    code, _ = server.build(case.docs, case.out, failpoint=moment, vectors=model)
    assert code == -signal.SIGKILL
    check_state(case.out, case.new, case.new)
    with build([case.docs], case.out) as index, build([case.docs], tmp_path / "fresh", vectors=str(model)) as fresh:
        for question in ("alpha llamas", "kilo"):
            found = [_nearest(one, question) for one in (index, fresh)]
            assert len(found[0]) == index.num_passages
            assert found[0] == found[1]


def _nearest(index: Index, question: str) -> dict[tuple[str, int], float]:
    vectors = open_vectors(index)
    assert vectors is not None
    return {(found.path, found.start): round(found.rank, 3) for found in vectors.nearest(question, limit=1000)}


def test_the_control_is_seen(case: Case, server: Server) -> None:
    """A document that is taken out before its successor is there is lost."""
    code, _ = server.build(case.docs, case.out, failpoint="in-batch:1", control="no transactions")
    assert code == -signal.SIGKILL
    with pytest.raises(AssertionError):
        check_state(case.out, case.old, case.new)


def test_the_control_of_the_first_moment_is_seen(case: Case, server: Server, tmp_path: Path) -> None:
    """A file that has its name before it has its tables is no index."""
    out = tmp_path / "first"
    code, _ = server.build(case.docs, out, failpoint="before-rename", control="in place")
    assert code == -signal.SIGKILL
    with pytest.raises(BadFileError):
        open_index(out)


if __name__ == "__main__":
    serve()
