from __future__ import annotations

import hashlib
import os
import socket
from pathlib import Path

import pytest

import llamarium
from llamarium.ground.errors import BadFileError, NotFoundError
from llamarium.text import document
from llamarium.text.cut import LONGEST
from llamarium.text.document import Document, Piece, read, read_documents


def test_read_is_public(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"One\r\ntwo\rthree\n")
    assert llamarium.read(str(path)) == Document("One\ntwo\rthree\n", "a.txt", encoding="utf-8")


def test_nothing_else_is_changed(tmp_path: Path) -> None:
    text = " \u200bcafe\u0301\x1b[0m　羊驼 \n\n\n\n\u00a0end  "
    (tmp_path / "a.txt").write_text(text, encoding="utf-8", newline="")
    assert read(tmp_path / "a.txt").text == text


def test_the_identity_is_derived() -> None:
    found = Document("羊驼", "a/b.txt#3")
    assert found.id == hashlib.sha256("a/b.txt#3羊驼".encode()).hexdigest()[:16]
    assert found.id != Document("羊驼", "a/b.txt#4").id
    assert found.id == Document("羊驼", "a/b.txt#3", language="zh").id


def test_records_are_numbered_by_line(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "One"}\n\n"Three"\n', encoding="utf-8")
    assert read_documents(path, source="x/a.jsonl") == [
        Document("One", "x/a.jsonl#1", encoding="utf-8"),
        Document("Three", "x/a.jsonl#3", encoding="utf-8"),
    ]
    assert read(path).text == "One\n\nThree"


def test_a_long_text_is_cut_for_a_corpus_and_whole_for_citations(tmp_path: Path) -> None:
    text = "".join(f"Paragraph {number} of a book.\n\n" for number in range(2000))
    path = tmp_path / "book.txt"
    path.write_text(text, encoding="utf-8", newline="")
    documents = read_documents(path, source="book.txt")
    assert [d.source for d in documents] == [f"book.txt#{number}" for number in range(1, len(documents) + 1)]
    assert len(documents) == -(-len(text) // LONGEST)
    assert "".join(d.text for d in documents) == text == read(path).text
    assert all(d.text.endswith("\n\n") for d in documents)


def test_a_long_record_stays_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "' + "word " * LONGEST + '"}', encoding="utf-8")
    assert len(read_documents(path, source="a")) == 1


def test_pages_count_from_the_start_of_the_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pieces = [Piece("page one page two", 1, pages=(0, 9)), Piece("羊驼", 2, pages=(0,))]
    monkeypatch.setattr(document, "readers", lambda: {".txt": lambda data, path: iter(pieces)})
    (tmp_path / "a.txt").write_text("x", encoding="utf-8")
    found = read(tmp_path / "a.txt")
    assert [found.text[page : page + 2] for page in found.pages] == ["pa", "pa", "羊驼"]


@pytest.mark.parametrize("name", ["none.txt", "none.png", "no/folder/none.txt", "."])
def test_what_is_not_there_is_not_found(name: str, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        read(tmp_path / name)


def test_an_unknown_suffix_names_the_known_ones(tmp_path: Path) -> None:
    for name in ("a.PNG", "README"):
        (tmp_path / name).write_text("text", encoding="utf-8")
        with pytest.raises(BadFileError) as caught:
            read(tmp_path / name)
        assert ".jsonl, .markdown, .md" in caught.value.hint
    (tmp_path / "A.TXT").write_text("text", encoding="utf-8")
    assert read(tmp_path / "A.TXT").text == "text"


def test_what_may_never_end_is_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.txt")
    with pytest.raises(BadFileError, match="regular file"):
        read(tmp_path / "a.txt")
    with socket.socket(socket.AF_UNIX) as listening:
        address = tmp_path / "b.txt"
        if len(str(address)) > 100:
            pytest.skip("this folder's name is too long for a socket")
        listening.bind(str(address))
        with pytest.raises(BadFileError, match="regular file"):
            read(address)


def test_a_file_beyond_the_limit_is_refused_unread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.txt"
    with path.open("wb") as file:
        file.truncate(document.LARGEST_FILE + 1)  # sparse: claims the size, holds nothing
    with pytest.raises(BadFileError, match="1,073,741,825 bytes"):
        read(path)


def test_odd_names(tmp_path: Path) -> None:
    with pytest.raises(BadFileError):
        read(tmp_path / "a\0.txt")
    with pytest.raises(BadFileError):
        read(tmp_path / ("a" * 5000 + ".txt"))
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.txt"))
    path.write_text("text", encoding="utf-8")
    read(path).source.encode("utf-8")
