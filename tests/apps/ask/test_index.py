from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from llamarium.apps.ask.index import build, build_in_memory, open_index
from llamarium.apps.ask.words import question_words
from llamarium.ground.errors import BadFileError, ExistsError, NotFoundError, UsageError
from llamarium.ground.failpoints import VARIABLE
from llamarium.text.document import read


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    folder = tmp_path / "docs"
    (folder / "more").mkdir(parents=True)
    (folder / "llamas.md").write_text("# Llamas\n\nThey eat grass. A llama carries thirty kilograms.\n", encoding="utf-8")
    (folder / "more" / "模型.txt").write_text("\ufeff训练一个小模型。\r\n豆腐不是模型。\n", encoding="utf-8")
    return folder


def test_what_is_built_is_what_is_opened(docs: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "docs.index"
    with build([docs], out) as index:
        assert (index.num_documents, index.bad_documents) == (2, ())
    with open_index(out) as index:
        [found] = index.search(question_words("How much can a llama carry?"))
        assert (found.path, found.heading) == ("llamas.md", "Llamas")
        assert index.text(found.document) == read(docs / "llamas.md").text
        assert found.rank > 0
    assert sorted(path.name for path in out.parent.iterdir()) == ["docs.index"]


def test_two_character_words_are_found_and_paths_have_slashes(docs: Path) -> None:
    with build_in_memory([docs]) as index:
        for question in ("模型", "豆腐是什么？", "模"):
            assert [found.path for found in index.search(question_words(question))] == ["more/模型.txt"]
        assert index.search(question_words("羊驼")) == []
        text = index.text(index.search(question_words("豆腐"))[0].document)
    assert text == read(docs / "more" / "模型.txt").text == "训练一个小模型。\n豆腐不是模型。\n"


def test_frequencies(docs: Path) -> None:
    with build_in_memory([docs]) as index:
        assert index.num_passages_with("llama") == 1
        assert index.num_passages_with("nowhere") == 0
        assert index.num_passages_with("豆") == 1


def test_rank_knows_how_often_and_where(tmp_path: Path) -> None:
    """Without positions (detail=none) FTS5 ranks silently wrong; a heading counts more than a mention."""
    (tmp_path / "a.md").write_text("# Grass\n\nIt is green and grows on the hill where nobody goes.\n")
    (tmp_path / "b.md").write_text("# Hills\n\nOn the hill there is grass and a house and a tree and more.\n")
    with build_in_memory([tmp_path]) as index:
        assert [found.path for found in index.search(question_words("grass"))] == ["a.md", "b.md"]


def test_what_cannot_be_read_is_left_out_and_listed(docs: Path, tmp_path: Path) -> None:
    (docs / "picture.png").write_bytes(b"\x89PNG\r\n")
    (docs / "broken.json").write_text("{")
    with build([docs], tmp_path / "i") as index:
        assert index.num_documents == 2
        assert sorted(bad.path for bad in index.bad_documents) == ["broken.json", "picture.png"]


def test_nothing_to_read(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        build_in_memory([tmp_path / "nowhere"])
    with pytest.raises(BadFileError, match="holds no files"):
        build_in_memory([tmp_path])
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n")
    with pytest.raises(BadFileError, match=r"no document that can be read.*a\.png"):
        build([tmp_path], tmp_path / "i")
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


def test_an_index_is_replaced_and_nothing_else_is(docs: Path, tmp_path: Path) -> None:
    out = docs / "docs.index"
    build([docs], out).close()
    (docs / "llamas.md").write_text("Llamas hum.\n")
    with build([docs], out) as index:
        assert index.bad_documents == ()  # it does not read itself
        assert index.search(question_words("hum"))
    mine = tmp_path / "mine.txt"
    mine.write_text("my own words")
    for path in (mine, docs):
        with pytest.raises(ExistsError):
            build([docs], path)
    assert mine.read_text() == "my own words"


@pytest.mark.parametrize(
    "change", ["PRAGMA user_version = 0", "DROP TABLE passages", "ALTER TABLE documents ADD COLUMN more AS (path || text)", None]
)
def test_an_index_that_cannot_be_used_any_more_is_replaced(change: str | None, docs: Path, tmp_path: Path) -> None:
    out = tmp_path / "i"
    build([docs], out).close()
    if change is None:
        out.write_bytes(out.read_bytes()[:5000])
    else:
        connection = sqlite3.connect(out)
        connection.execute(change)
        connection.commit()
        connection.close()
    with pytest.raises(BadFileError):
        open_index(out)
    build([docs], out).close()
    open_index(out).close()


def test_two_documents_of_one_name_are_refused(docs: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "llamas.md").write_text("Other llamas.")
    with pytest.raises(UsageError, match=r"llamas\.md"):
        build_in_memory([docs, other])
    with build_in_memory([docs, docs / "llamas.md"]) as index:  # the same file twice is one document
        assert index.num_documents == 2


def sqlite_of_someone_else(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE documents (id)")
    connection.commit()
    connection.close()


def index_with_a_view(path: Path) -> None:
    """All marks of an index, but its documents are computed, by a query that would not end."""
    sqlite_of_someone_else(path)
    connection = sqlite3.connect(path)
    for statement in (
        "DROP TABLE documents",
        "CREATE VIEW documents AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i AS id FROM n",
        f"PRAGMA application_id = {0x4C4C414D}",
        "PRAGMA user_version = 1",
    ):
        connection.execute(statement)
    connection.commit()
    connection.close()


@pytest.mark.parametrize(
    "make",
    [
        lambda path: path.write_text("words"),
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"SQLite format 3\x00" + b"\xff" * 5000),
        lambda path: path.mkdir(),
        sqlite_of_someone_else,
        index_with_a_view,
    ],
)
def test_what_is_no_index_is_refused(make: Callable[[Path], object], tmp_path: Path) -> None:
    path = tmp_path / "i"
    make(path)
    with pytest.raises(BadFileError):
        open_index(path)


def test_no_index_at_all(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        open_index(tmp_path / "i")


@pytest.mark.parametrize("cut", [0.2, 0.5, 0.8])
def test_a_truncated_index_is_said_to_be_bad(cut: float, docs: Path, tmp_path: Path) -> None:
    out = tmp_path / "i"
    (docs / "long.txt").write_text("\n\n".join(f"Paragraph {number} about llamas and hills." for number in range(2000)))
    build([docs], out).close()
    data = out.read_bytes()
    out.write_bytes(data[: int(cut * len(data))])
    with pytest.raises(BadFileError):
        read_all(out)


def read_all(path: Path) -> None:
    with open_index(path) as index:
        for found in index.search(question_words("llamas hills paragraph")):
            index.text(found.document)


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE passages SET start = 'x'",
        "UPDATE passages SET end = 1000000000",
        "UPDATE passages SET start = -1",
        "UPDATE documents SET path = x'ff'",
    ],
)
def test_rows_that_cannot_be_are_refused(change: str, docs: Path, tmp_path: Path) -> None:
    out = tmp_path / "i"
    build([docs], out).close()
    connection = sqlite3.connect(out)
    connection.execute(change)
    connection.commit()
    connection.close()
    with open_index(out) as index, pytest.raises(BadFileError):
        index.search(question_words("llama"))


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this platform has no SIGKILL")
@pytest.mark.parametrize("moment", ["before-fsync", "before-rename"])
def test_a_process_that_dies_leaves_the_old_index(moment: str, docs: Path, tmp_path: Path) -> None:
    out = tmp_path / "i"
    build([docs], out).close()
    before = out.read_bytes()
    (docs / "llamas.md").write_text("Other words.\n")
    command = [sys.executable, "-m", "llamarium", "index", str(docs), "--out", str(out)]
    child = subprocess.run(command, env=os.environ | {VARIABLE: moment}, capture_output=True, check=False)
    assert child.returncode == -signal.SIGKILL
    assert out.read_bytes() == before
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0
    assert out.read_bytes() != before
