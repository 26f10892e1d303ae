from __future__ import annotations

import gzip
import tracemalloc
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.text.crawl import answer, page, record

from llamarium.ground.errors import BadFileError
from llamarium.text.document import Piece
from llamarium.text.read import warc
from llamarium.text.read.warc import read

INFO = record("warcinfo", b"software: none\r\n", content_type="application/warc-fields")


def found(data: bytes) -> list[tuple[int | None, str, str]]:
    return [(piece.record, piece.text, piece.problem) for piece in read(data, path="a.warc")]


def test_pages_are_what_was_answered_with_text() -> None:
    data = INFO + b"".join(
        (
            page(b"<p>One <b>llama</b>."),
            record("request", b"GET / HTTP/1.1\r\n\r\n", content_type="application/http; msgtype=request"),
            page(b"<p>Gone.", status=404),
            page(b"\x89PNG\r\n\x1a\n", content_type="image/png"),
            page("Zwei Lämas.".encode("latin-1"), content_type="text/plain; charset=ISO-8859-1"),
            page(b"<script>a</script>"),
            page(b""),
            record("conversion", "三只羊驼。".encode(), content_type="text/plain"),
            record("resource", b"<html><p>Four</html>", content_type="text/html"),
        )
    )
    assert found(data) == [(2, "One llama.", ""), (6, "Zwei Lämas.", ""), (9, "三只羊驼。", ""), (10, "Four", "")]
    assert all(piece.web for piece in read(data, path="a"))
    assert [piece.encoding for piece in read(data, path="a")] == ["utf-8", "latin-1", "utf-8", "utf-8"]


def test_packed_and_in_one_piece_or_many() -> None:
    records = [INFO, page(b"<p>One"), page(b"<p>Two")]
    for data in (b"".join(records), gzip.compress(b"".join(records)), b"".join(map(gzip.compress, records))):
        assert [text for _, text, _ in found(data)] == ["One", "Two"]


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ({"Transfer-Encoding": "chunked"}, b"5;x=y\r\n<p>On\r\n1\r\ne\r\n0\r\n\r\n"),
        ({"Transfer-Encoding": "chunked"}, b"<p>One"),  # kept without its chunks
        ({"Content-Encoding": "gzip"}, gzip.compress(b"<p>One")),
        ({"Content-Encoding": "deflate"}, zlib.compress(b"<p>One")),
        ({"Content-Encoding": "deflate"}, zlib.compress(b"<p>One", wbits=-15)),
        ({"Content-Encoding": "gzip"}, b"<p>One"),  # kept unpacked
        (
            {"Content-Encoding": "gzip", "Transfer-Encoding": "chunked"},
            b"%x\r\n" % len(gzip.compress(b"<p>One")) + gzip.compress(b"<p>One") + b"\r\n0\r\n",
        ),
    ],
)
def test_how_an_answer_was_sent(headers: dict[str, str], body: bytes) -> None:
    assert found(page(body, headers=headers)) == [(1, "One", "")]


def test_the_server_knows_the_encoding_better_than_the_page() -> None:
    body = '<meta charset="gb2312"><p>羊驼住在山上，吃草。'
    assert found(page(body.encode("big5hkscs", "ignore"), content_type="text/html; charset=Big5"))[0][1].startswith("羊")
    assert found(page(body.encode("gbk")))[0][1] == "羊驼住在山上，吃草。"


@pytest.mark.parametrize(
    ("broken", "says"),
    [
        (page(b"<p>no", headers={"Content-Encoding": "br"}), "record 2 is packed with 'br', which is not read."),
        (page(b"\x1f\x8bno", headers={"Content-Encoding": "gzip"}), "record 2 holds damaged gzip data"),
        (page(b"5\r\n<p>", headers={"Transfer-Encoding": "chunked"}), "record 2 holds an answer that is cut off."),
        (page(gzip.compress(b"a" * 17_000_000), headers={"Content-Encoding": "gzip"}), "record 2 has more than 16 MB of text."),
        (page(b"\xff\xff\xff" * 30), "record 2 is neither UTF-8"),
        (record("response", b"no answer"), "record 2 holds no answer of a server."),
        (b"WARC/1.0\r\nWARC-Type: response\r\n\r\n", "record 2 does not say how long it is."),
        (record("response", answer(b"<p>long"), length=20), "record 2 is not as long as it says."),
        (record("response", answer(b"<p>long"), length=10**6), "record 2 is cut off."),
        (record("response", answer(b"<p>long"), length=-5), "record 2 does not say how long it is."),
    ],
)
def test_a_broken_record_is_said_and_the_others_are_read(broken: bytes, says: str) -> None:
    pieces = found(page(b"<p>One") + broken + page(b"<p>Three"))
    assert pieces[0] == (1, "One", "")
    assert pieces[1][:2] == (2, "")
    assert says in pieces[1][2]
    assert pieces[2] == (3, "Three", "")


def test_a_broken_file_is_refused() -> None:
    with pytest.raises(BadFileError, match="more than 100 records cannot be read"):
        found(b"WARC/1.0\r\n\r\n" * 200)
    with pytest.raises(BadFileError, match="holds no pages with text"):
        found(INFO)
    with pytest.raises(BadFileError, match="damaged gzip data"):
        found(gzip.compress(INFO)[:-9])
    with pytest.raises(BadFileError, match="is not a WARC file"):
        found(b"<html>")
    with pytest.raises(BadFileError, match="unpacks to more than 250 times"):
        found(gzip.compress(INFO + b"\n" * 50_000_000))


def test_a_page_is_unpacked_no_further_than_a_page_may_be() -> None:
    data = page(gzip.compress(b"a" * 200_000_000), headers={"Content-Encoding": "gzip"})
    tracemalloc.start()
    try:
        assert "has more than 16 MB" in found(data)[0][2]
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 3 * warc.LARGEST_PAGE


def test_the_last_record_may_be_cut_off() -> None:
    data = page(b"<p>One") + page(b"<p>Two and more")[:-10]
    assert list(read(data, path="a"))[1] == Piece("", 2, problem="record 2 is cut off.", web=True)


@given(
    st.lists(
        st.binary(max_size=40) | st.sampled_from([b"WARC/1.0\r\n", b"Content-Length: 5\r\n", b"\r\n\r\n", b"HTTP/1.1 200\r\n", INFO]),
        max_size=12,
    )
)
def test_any_bytes_are_pages_or_an_error(parts: list[bytes]) -> None:
    try:
        pieces = list(read(b"WARC/1.0\r\n" + b"".join(parts), path="a"))
    except BadFileError:
        return
    assert all(bool(piece.text) != bool(piece.problem) for piece in pieces)
    assert len(pieces) <= warc.MOST_PROBLEMS + len(parts)
