"""Of a folder as people have them, exactly the bad files are bad, and every good one gives its own text."""

from __future__ import annotations

import time
from pathlib import Path, PurePath

import pytest
from tests.text import mixed_folder

from llamarium.ground.errors import BadFileError
from llamarium.text.corpus import SPLITS, open_corpus
from llamarium.text.document import read, read_documents, read_pieces, readers
from llamarium.text.prepare import prepare


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("mixed")
    names = mixed_folder.build(folder)
    assert len(names) == 30
    assert len({PurePath(name).suffix for name in names}) >= 10
    assert set(names) > mixed_folder.BAD
    return folder


def test_exactly_the_bad_ones_are_bad(folder: Path) -> None:
    bad: dict[str, str] = {}
    texts: dict[str, str] = {}
    start = time.monotonic()
    for name in sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()):
        assert PurePath(name).suffix in readers()
        try:
            texts[name] = read(folder / name).text
        except BadFileError as error:
            bad[name] = error.message
        else:
            assert not any(piece.problem for piece in read_pieces(folder / name))
    assert all(name in message for name, message in bad.items())
    assert bad.keys() == mixed_folder.BAD
    assert time.monotonic() - start < 20
    for name, text in texts.items():
        assert ("wakes before the sun" in text) or ("天不亮就醒了" in text), name


def test_sources_are_names_that_differ(folder: Path) -> None:
    names = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
    documents = [document for name in names if name not in mixed_folder.BAD for document in read_documents(folder / name, source=name)]
    sources = {document.source for document in documents}
    assert len(sources) == len(documents) > len(names)
    assert {"archive/docs.zip/inner/b.docx", "archive/old.jsonl.zst#1", "letters/book.epub#2", "notes/report.pdf"} <= sources


def test_it_becomes_a_corpus_with_a_report_and_a_list_of_the_four(folder: Path, tmp_path: Path) -> None:
    report = prepare([folder], tmp_path / "corpus")
    assert {bad.path for bad in report.bad_files} == mixed_folder.BAD
    assert report.documents_out == report.documents_in > 30
    assert sum(report.formats.values()) == 30
    assert {"utf-8", "gb18030", "utf-16"} <= set(report.encodings)
    assert {"en", "zh"} <= set(report.languages)
    page = (tmp_path / "corpus" / "report.html").read_text(encoding="utf-8")
    assert all(name in page for name in mixed_folder.BAD)
    sources = {document.source for split in SPLITS for document in open_corpus(tmp_path / "corpus").documents(split)}
    assert {"archive/docs.zip/inner/b.docx", "archive/old.jsonl.zst#1", "guobiao.txt"} <= sources
