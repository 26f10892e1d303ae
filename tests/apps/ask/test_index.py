from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from llamarium.apps.ask import indexing, store
from llamarium.apps.ask.index import Index, build, build_in_memory, open_index
from llamarium.apps.ask.indexing import Changes
from llamarium.apps.ask.words import question_words
from llamarium.ground.errors import BadFileError, ExistsError, NotFoundError, UsageError
from llamarium.text.document import Document, read


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
        f"PRAGMA user_version = {store.VERSION}",
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
        "UPDATE documents SET path = x'ff' WHERE id = 1",
        "UPDATE passages SET length = -1",
        "UPDATE passages SET id = 5000000000 WHERE id = 1",
        "UPDATE postings SET passages = x'00'",
        "UPDATE state SET value = 'x' WHERE name = 'last segment'",
        "UPDATE state SET value = '9000000000' WHERE name = 'last segment'",
        "UPDATE postings SET passages = 'words'",
    ],
)
def test_rows_that_cannot_be_are_refused(change: str, docs: Path, tmp_path: Path) -> None:
    out = tmp_path / "i"
    build([docs], out).close()
    connection = sqlite3.connect(out)
    connection.execute(change)
    connection.commit()
    connection.close()
    with pytest.raises(BadFileError), open_index(out) as index:
        index.search(question_words("llama"))
    (docs / "llamas.md").write_text("Llamas hum.")
    with contextlib.suppress(UsageError):  # that another has written what must not be there twice
        build([docs], out).close()


def answers(index: Index) -> list[tuple[str, int, int, float]]:
    questions = ("llama", "grass", "模型", "hum", "grow", "thirty kilograms 豆腐")
    return [(f.path, f.start, f.end, f.rank) for question in questions for f in index.search(question_words(question))]


def test_only_what_has_changed_is_read(docs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "i"
    (docs / "sheep.txt").write_text("Sheep follow.")
    (docs / "goats.txt").write_text("Goats climb.")
    build([docs], out).close()
    opened: list[str] = []

    def open_and_note(path: Path) -> Document:
        opened.append(path.name)
        return read(path)

    monkeypatch.setattr(indexing, "read", open_and_note)
    with build([docs], out) as index:
        assert index.changes == Changes(unchanged=4)
        before = answers(index)
    assert opened == []
    (docs / "llamas.md").write_text("# Llamas\n\nThey eat grass, and hum.\n", encoding="utf-8")
    (docs / "goats.txt").unlink()
    (docs / "cows.txt").write_text("Cows eat grass, too.")
    os.utime(docs / "sheep.txt", (1, 1))
    with build([docs], out) as index:
        assert index.changes == Changes(added=1, changed=1, removed=1, unchanged=2)
        assert sorted(opened) == ["cows.txt", "llamas.md"]
        assert answers(index) != before
        with build([docs], tmp_path / "fresh") as fresh:
            assert answers(index) == answers(fresh)
        assert index.search(question_words("goats climb")) == []
        assert index.num_passages_with("goat") == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["docs", "fresh", "i"]


def test_a_file_that_keeps_its_size_and_time_while_it_is_fresh(docs: Path, tmp_path: Path) -> None:
    """Within one tick of the clock a file can change twice; so a fresh one is known by its SHA-256."""
    out, file = tmp_path / "i", docs / "sheep.txt"
    file.write_text("Sheep follow.")
    state = file.stat()
    build([docs], out).close()
    file.write_text("Sheep wander.")
    os.utime(file, ns=(state.st_atime_ns, state.st_mtime_ns))
    with build([docs], out) as index:
        assert index.changes == Changes(changed=1, unchanged=2)
        assert index.search(question_words("wander"))


def test_what_another_release_has_read_is_read_again(docs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "i"
    build([docs], out).close()
    monkeypatch.setattr("llamarium.__version__", "99.0")
    for changes in (Changes(changed=2), Changes(unchanged=2)):
        with build([docs], out) as index:
            assert index.changes == changes


def test_when_nothing_can_be_read_any_more_the_index_stays(docs: Path, tmp_path: Path) -> None:
    out = tmp_path / "i"
    with build([docs], out) as index:
        before = answers(index)
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "a.json").write_text("{")
    with pytest.raises(BadFileError, match=r"a\.json"):
        build([tmp_path / "broken"], out)
    with open_index(out) as index:
        assert answers(index) == before


def test_a_document_that_breaks_is_taken_out(docs: Path, tmp_path: Path) -> None:
    out = tmp_path / "i"
    (docs / "a.json").write_text('"Camels spit."')
    build([docs], out).close()
    (docs / "a.json").write_text('"Camels')
    with build([docs], out) as index:
        assert [bad.path for bad in index.bad_documents] == ["a.json"]
        assert index.changes == Changes(removed=1, unchanged=2)
        assert index.search(question_words("camels")) == []


def test_an_open_index_sees_what_another_writes(docs: Path, tmp_path: Path) -> None:
    out = tmp_path / "i"
    build([docs], out).close()
    with open_index(out) as index:
        assert index.search(question_words("camels")) == []
        for number in range(3):
            (docs / "camels.txt").write_text(f"Camels spit {number}.")
            build([docs], out).close()
            [found] = index.search(question_words("camels"))
            assert index.text(found.document) == f"Camels spit {number}."
        assert index.num_documents == 3


def test_segments_are_merged_and_nothing_is_lost(docs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(indexing, "MOST_SEGMENTS", 3)
    out = tmp_path / "i"
    most = 0
    for number in range(8):
        (docs / f"{number}.txt").write_text(f"Camels spit {number} times.")
        (docs / "llamas.md").write_text(f"Llamas hum {number} times, and eat grass.")
        with build([docs], out) as index, build_in_memory([docs]) as fresh:
            assert answers(index) == answers(fresh)
            most = max(most, index._count("SELECT max(num) FROM (SELECT count(*) AS num FROM postings GROUP BY term)"))
    assert most <= 3


def test_one_of_another_version_is_said_to_be(docs: Path, tmp_path: Path) -> None:
    out = tmp_path / "i"
    build([docs], out).close()
    for version, word in ((store.VERSION - 1, "older"), (store.VERSION + 1, "newer")):
        with contextlib.closing(sqlite3.connect(out)) as connection:
            connection.execute(f"PRAGMA user_version = {version}")
        with pytest.raises(BadFileError, match=word) as error:
            open_index(out)
        assert "llamarium index" in error.value.hint
    with build([docs], out) as index:
        assert index.changes == Changes(added=2)


def test_two_that_write_at_once(docs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "PATIENCE", 0.05)
    out = tmp_path / "i"
    build([docs], out).close()
    (docs / "llamas.md").write_text("Llamas hum.")
    with contextlib.closing(sqlite3.connect(out)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        with pytest.raises(UsageError, match="another process"):
            build([docs], out)


def test_an_index_that_cannot_be_written_can_be_read(docs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "i"
    build([docs], out).close()
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK)
    with open_index(out) as index:
        assert index.search(question_words("llama"))
        assert sorted(path.name for path in tmp_path.iterdir()) == ["docs", "i"]


def test_one_that_was_not_finished_says_so(docs: Path, tmp_path: Path, said: list[str]) -> None:
    out = tmp_path / "i"
    build([docs], out).close()
    assert said == []
    with contextlib.closing(sqlite3.connect(out)) as connection, connection:
        connection.execute("UPDATE state SET value = 'no' WHERE name = 'finished'")
    open_index(out).close()
    assert any("was not finished" in line for line in said)


def test_pages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.txt").write_text("")
    text = "First page.\n" + "Filler. " * 100 + "\n\nLlamas on the second." + "\n\n" + "Filler. " * 100 + "\n\nCamels on the third."
    pages = (0, text.index("Llamas"), text.index("Camels"))
    monkeypatch.setattr(indexing, "read", lambda path: Document(text, path.name, pages=pages))
    with build_in_memory([tmp_path]) as index:
        [found] = index.search(question_words("llamas"))
        assert index.page(found.document, pages[1]) == 2
        assert index.page(found.document, pages[1] - 1) == 1
        assert index.page(found.document, len(text) - 1) == 3
        assert found.page == index.page(found.document, found.start)


def test_a_document_without_pages_has_none(docs: Path) -> None:
    with build_in_memory([docs]) as index:
        assert {found.page for found in index.search(question_words("llama 模型"))} == {None}


def test_equal_ones_come_in_the_order_of_their_names(tmp_path: Path) -> None:
    docs = tmp_path / "docs"
    docs.mkdir()
    for name in ("b", "c", "a"):
        (docs / f"{name}.txt").write_text("Camels spit.")
        with build([docs], tmp_path / "i") as index:
            names = [found.path for found in index.search(question_words("camels"))]
    assert names == ["a.txt", "b.txt", "c.txt"]


def test_weights_decide(docs: Path) -> None:
    with build_in_memory([docs]) as index:
        assert [found.path for found in index.rank({"llama": 1.0, "模型": 5.0})] == ["more/模型.txt", "llamas.md"]
        assert [found.path for found in index.rank({"llama": 5.0, "模型": 1.0})] == ["llamas.md", "more/模型.txt"]
        assert [(held.path, held.characters) for held in index.documents()] == [("llamas.md", 58), ("more/模型.txt", 17)]


def test_only_the_documents_asked_are_ranked_and_all_tell_how_rare_a_word_is(docs: Path) -> None:
    with build_in_memory([docs]) as index:
        numbers = {held.path: held.number for held in index.documents()}
        both = {found.path: found.rank for found in index.rank({"llama": 1.0, "模型": 5.0})}
        for path, number in numbers.items():
            [found] = index.rank({"llama": 1.0, "模型": 5.0}, documents=[number])
            assert found.path == path
            assert found.rank == pytest.approx(both[path])
        assert index.rank({"llama": 1.0}, documents=[numbers["more/模型.txt"]]) == []
        assert index.rank({"llama": 1.0}, documents=[]) == []
