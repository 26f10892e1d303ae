from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.text import files

from llamarium.ground.errors import BadFileError
from llamarium.text.document import read, read_documents
from llamarium.text.read import epub


def test_a_chapter_is_a_record_named_by_its_place(tmp_path: Path) -> None:
    path = tmp_path / "book.epub"
    chapters = {"cover.xhtml": "<img src='a.png'/>", "one%20.xhtml": "<h1>One</h1><p>It began.</p>", "two.xhtml": "<p>It ended.</p>"}
    path.write_bytes(files.epub(chapters))
    documents = read_documents(path, source="book.epub")
    assert [(document.source, document.text) for document in documents] == [
        ("book.epub#2", "One\n\nIt began."),
        ("book.epub#3", "It ended."),
    ]
    assert read(path).text == "One\n\nIt began.\n\nIt ended."
    assert read(path).encoding == "utf-8"


@pytest.mark.parametrize(
    ("page", "words"),
    [
        ("<head><title>no</title></head><body><p>a\n b</p></body>", "a b"),
        ("<p>a</p>\n\n<p>b</p>", "a\n\nb"),
        ("<p>a<br/>b<br/><br/>c</p>", "a\nb\n\nc"),
        ("<p>x &lt; y &#x4f60;&#22909; &amp;amp;</p>", "x < y 你好 &amp;"),
        ("<p>a<script>no</script><style>no</style>b</p>", "ab"),
        ("<script/><p>seen</p>", "seen"),
        ("<ul>\n<li><p>a</p></li>\n<li>b</li>\n</ul><p>c</p>", "- a\n- b\n\nc"),
        ("<table><tr><td><p>a</p><p>b</p></td> <td>c<br/>d</td></tr>\n<tr><th>e</th><td>f</td></tr></table>", "a  b | c d\ne | f"),
        ("<pre>def f():\n    return 1</pre>", "def f():\n    return 1"),
        ("<ruby>漢<rp>(</rp><rt>han</rt><rp>)</rp></ruby>字", "漢字"),
        ("<p>a</b></p></table>b", "a\n\nb"),
        ("a\x1d\x1e\x1fb&#30;", "ab"),
    ],
)
def test_what_is_seen_of_a_page(page: str, words: str) -> None:
    assert epub.strip(page) == words


@given(
    st.lists(
        st.sampled_from(["<p>", "</p>", "<li>", "<td>", "</td>", "<tr>", "<pre>", "<head>", "</head>", "<br/>", "a", "\n", " ", "<", "&"])
    )
)
def test_words_are_never_invented(parts: list[str]) -> None:
    text = epub.strip("".join(parts))
    assert set(text) <= set("a<&/>brptdlieh |-\n ")
    assert not text.startswith("\n")
    assert not text.endswith("\n")
    assert "\n\n\n" not in text or "<pre>" in parts


def test_a_missing_chapter_is_a_problem_and_the_others_are_read() -> None:
    data = files.epub({"../../../etc/passwd": "<p>a</p>", "two.xhtml": "<p>Two.</p>", "two.xhtml#end": "", "img.svg": b"\x89PNG\r\n"})
    pieces = list(epub.read(data, path="a.epub"))
    assert [(piece.record, piece.member, piece.text, piece.problem) for piece in pieces] == [
        (1, "../../etc/passwd", "", "is not in the book."),
        (2, "", "Two.", ""),
        (3, "OEBPS/img.svg", "", "looks like a PNG image, not like text."),
    ]


def test_a_locked_book_is_refused_and_scrambled_fonts_are_not() -> None:
    def lock(name: str) -> str:
        return f'<encryption><EncryptedData><CipherData><CipherReference URI="{name}"/></CipherData></EncryptedData></encryption>'

    chapters = {"one.xhtml": "<p>One.</p>"}
    locked = files.epub(chapters, members={epub.LOCKS: lock("OEBPS/one.xhtml")})
    assert [piece.problem for piece in epub.read(locked, path="a.epub")] == ["is locked by its publisher."]
    fonts = files.epub(chapters, members={epub.LOCKS: lock("OEBPS/a.otf")})
    assert [piece.text for piece in epub.read(fonts, path="a.epub")] == ["One."]


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (files.epub({}), "has no chapter with text"),
        (files.archive({"META-INF/container.xml": "<a/>"}), "has no table of its parts"),
        (files.archive({"a": "b"}), "it has no META-INF/container.xml"),
    ],
)
def test_what_is_refused(data: bytes, says: str) -> None:
    with pytest.raises(BadFileError) as caught:
        list(epub.read(data, path="a.epub"))
    assert says in caught.value.message
