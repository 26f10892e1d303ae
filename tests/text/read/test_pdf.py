from __future__ import annotations

import bisect
import time
import zlib
from pathlib import Path

import pytest
from tests.text import files

from llamarium.ground.errors import BadFileError
from llamarium.text.document import Piece, read, read_documents
from llamarium.text.read import pdf


def pieces(data: bytes) -> list[Piece]:
    return list(pdf.read(data, path="a.pdf"))


def test_pages_start_where_they_say() -> None:
    pages = ["The first page\nhas two lines.", "", "The third.", "", ""]
    (piece,) = pieces(files.pdf(pages))
    assert piece.text == "The first page\nhas two lines.\n\nThe third."
    assert len(piece.pages) == len(pages)
    for number, page in enumerate(pages):
        assert piece.text[piece.pages[number] :].startswith(page)
    place = piece.text.index("third")
    assert bisect.bisect_right(piece.pages, place) == 3  # the number of its page
    assert bisect.bisect_right(piece.pages, place - 8) == 1  # the blank line between belongs to the page before


def test_pages_are_those_of_the_document(tmp_path: Path) -> None:
    path = tmp_path / "a.pdf"
    path.write_bytes(files.pdf([f"Page {number}." for number in range(9)]))
    document = read(path)
    assert [document.text[page : page + 7] for page in document.pages] == [f"Page {number}." for number in range(9)]
    (whole,) = read_documents(path, source="x/a.pdf")
    assert (whole.source, whole.text, whole.pages) == ("x/a.pdf", document.text, document.pages)


def test_parts_of_a_long_document_have_their_pages(tmp_path: Path) -> None:
    path = tmp_path / "a.pdf"
    path.write_bytes(files.pdf([f"Page {number}.\n" + "It goes on and on.\n" * 50 for number in range(30)]))
    parts = read_documents(path, source="a.pdf")
    assert len(parts) > 1
    found = [part.text[page : part.text.index("\n", page)] for part in parts for page in part.pages]
    assert found == [f"Page {number}." for number in range(30)]


def test_line_ends_and_invisible_ends() -> None:
    assert pdf._plain("one \r\ntwo\u00a0\rthree\x00\x0bfour\n\n") == "one\ntwo\nthree\nfour"


def test_a_password_is_asked_for() -> None:
    plain = files.pdf(["A secret llama."])
    with pytest.raises(BadFileError, match="needs a password") as caught:
        pieces(files.encrypted_pdf(plain, "secret"))
    assert "without the password" in caught.value.hint


def test_what_opens_without_a_password_is_read() -> None:
    assert pieces(files.encrypted_pdf(files.pdf(["A llama."]), ""))[0].text == "A llama."


def test_a_scanned_document_is_not_an_empty_one() -> None:
    with pytest.raises(BadFileError, match="3 pages and no text") as caught:
        pieces(files.pdf(["", "", ""]))
    assert "ocrmypdf" in caught.value.hint


def test_a_lost_table_of_objects_is_found_again() -> None:
    data = files.pdf(["One llama."])
    start = int(data.rsplit(b"startxref\n", 1)[1].split(b"\n")[0])
    assert pieces(data.replace(b"startxref\n%d" % start, b"startxref\n%d" % (start + 7)))[0].text == "One llama."
    assert pieces(b"From: a mail program\r\n" + data)[0].text == "One llama."


def test_a_page_that_cannot_be_read_is_named_and_the_others_are_read() -> None:
    broken = files.stream(b"no zlib data", entries=b"/Filter /NoSuchFilter")
    data = files.pdf(["One llama.", "Two.", "Three llamas."]).replace(files.stream(files.words("Two.")), broken)
    text, problem = pieces(data)
    assert text.text == "One llama.\n\nThree llamas."
    assert len(text.pages) == 3
    assert problem.problem.startswith("page 2 cannot be read (")


def test_a_stream_that_unpacks_without_end() -> None:
    bomb = files.stream(zlib.compress(b"q " * 100_000_000), entries=b"/Filter /FlateDecode")
    data = files.pdf(["Two."]).replace(files.stream(files.words("Two.")), bomb)
    assert len(data) < 1_000_000
    with pytest.raises(BadFileError, match="goes beyond what is reasonable"):
        pieces(data)


def test_pages_that_are_their_own_children() -> None:
    data = files.pdf_file({1: b"<< /Type /Catalog /Pages 2 0 R >>", 2: b"<< /Type /Pages /Kids [2 0 R 2 0 R] /Count 2 >>"})
    start = time.process_time()
    with pytest.raises(BadFileError):
        pieces(data)
    assert time.process_time() - start < 2


def test_no_pages() -> None:
    with pytest.raises(BadFileError, match="has no pages"):
        pieces(files.pdf([]))
