"""Every reader in ``llamarium.text.read``: a good file, a broken file, hostile files. A new reader needs its row here."""

from __future__ import annotations

import gzip
import time
from dataclasses import dataclass
from pathlib import Path

import pyarrow
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.text import crawl, files, tables

from llamarium.ground import registry
from llamarium.ground.errors import BadFileError
from llamarium.text.document import read, read_pieces, readers

FOLDER = "llamarium.text.read"
NAMES = registry.names(FOLDER)
SECONDS = 2.0


@dataclass(frozen=True)
class Case:
    """`good` gives the texts `texts`; `broken` raises a `BadFileError` that contains `says`; `hostile` ends, quickly.

    `file` is the name of the file, where its suffix alone does not do.
    """

    good: bytes
    texts: list[str]
    broken: bytes
    says: str
    hostile: tuple[bytes, ...]
    file: str = ""


MODULE = b'''"""A module."""

class Llama:
    """An animal."""

    def eat(self, what="grass"):
        """Eat it.

        Slowly.
        """
'''

CASES = {
    "txt": Case(
        good="\ufeffOne llama.\r\n\r\n羊驼。\n".encode(),
        texts=["One llama.\n\n羊驼。\n"],
        broken=b"good text, bad \xff byte",
        says="neither UTF-8",
        hostile=(b"\0" * 1000, b"%PDF-1.7\n1 0 obj", b"\xff\xfe\x00", b"\xff" * 100_000, b"a" * 10_000_000, b"\n" * 3_000_000),
    ),
    "md": Case(
        good=b"# The *llama*\n\nEats [grass](https://example.org).\n\n```\n**kept**\n```\n",
        texts=["The llama\n\nEats grass.\n\n**kept**\n"],
        broken=b"GIF89a\x01\x02",
        says="a GIF image",
        hostile=tuple(
            mark * 150_000
            for mark in (b"*a ", b"**a ", b"[", b"[a](", b"`a", b"` ", b"<a \"'", b"> ", b"| ", b"<!--", b"_a", b"\\", b"![", b" #", b"~~~")
        ),
    ),
    "json": Case(
        good='[{"text": "One llama."}, {"instruction": "问", "input": "", "output": "答"}, "Three."]'.encode(),
        texts=["One llama.", "问\n答", "Three."],
        broken=b'[{"text": "One llama."',
        says="line 1 is not valid JSON",
        hostile=(
            b"[" * 1_000_000,
            b'{"a":' * 100_000,
            b"9" * 1_000_000,
            b"NaN",
            b'{"text": [1]}',
            b"[]",
            b'[{"t": 1}]',
            b"[" + b"[]," * 100_000 + b"[]]",
            b'"' + b"\\" * 99_999,
        ),
    ),
    "jsonl": Case(
        good=b'{"text": "One\\r\\nllama."}\n\n{"question": "Why?", "answer": "\\ud83d\\ude42 \\ud800"}\n',
        texts=["One\nllama.", "Why?\n\U0001f642 \ufffd"],
        broken=b'{"text": "One"}\n{"text": "Two}\n',
        says="line 2 is not valid JSON",
        hostile=(
            b"[" * 1_000_000 + b"\n",
            b'{"text": null}\n' * 1000,
            b"\n" * 1_000_000 + b"1",
            b'{"text": "' + b"x" * 5_000_000 + b'"}',
            b"Infinity",
        ),
    ),
    "py": Case(
        good=MODULE,
        texts=["A module.\n\nLlama\nAn animal.\n\nLlama.eat(self, what='grass')\nEat it.\n\nSlowly."],
        broken=b"def f(:\n    pass\n",
        says="line 1 is not valid Python",
        hostile=(
            b"(" * 50_000,
            b"-" * 100_000 + b"1",
            b"1+" * 50_000 + b"1",
            b"a" + b".a" * 50_000,
            b"def f(a=" + b"-" * 900 + b"1):\n '''d'''",
            b"if 1: pass\n" + b"elif 1: pass\n" * 20_000,
            b"x=" + b"9" * 5000,
            b"'''\\ud800'''",
            b"x" * 2_000_000,
        ),
    ),
    "csv": Case(
        good='text,label\r\n"One, ""llama"".\nTwo.",1\r\n\r\n羊驼,0\r\n'.encode(),
        texts=['One, "llama".\nTwo.', "羊驼"],
        broken=b'text,label\n"One,1\nTwo,2\n',
        says="line 2 opens a quoted field that never ends",
        hostile=(
            b'text,n\n"' + b"x" * 50_000_000 + b'",1\n',
            b'text,n\n"' + b"x\n" * 2_000_000 + b'",1\n',
            b"," * 5_000_000,
            b'"' * 3_000_000,
            b"\n" * 3_000_000,
            b'a,b\n"' * 200_000,
            b"a\r" * 150_000,
        ),
    ),
    "html": Case(
        good="<nav><a href=/>Home</a></nav><h1>One</h1><p>A <b>llama</b>.<ul><li>羊驼<li>Alpaca</ul>".encode(),
        texts=["One\n\nA llama.\n\n- 羊驼\n- Alpaca"],
        broken=b"<html><script>document.write('a')</script></html>",
        says="has no text in it that a browser would show",
        hostile=(
            b"<div>" * 100_000 + b"a",
            b"<ul><li>a" * 100_000,
            b"<table><tr><td>" * 50_000 + b"a",
            b"<a " + b"".join(b"x%d=y " % number for number in range(100_000)) + b">a</a>",
            b'<a href="' + b"x" * 20_000_000 + b'">a</a>',
            b'<a x=">"' * 200_000,
            b"<a '\"='" * 200_000,
            b"<!--" * 300_000,
            b"<p>a" + b"</div>" * 300_000,
            b"&#" + b"9" * 100_000 + b";",
            b'<!DOCTYPE d [<!ENTITY a "aaaaaaaa"><!ENTITY b "&a;&a;&a;">]>' + b"&b;" * 100_000,
            b"<" * 1_000_000,
        ),
    ),
    "parquet": Case(
        good=tables.parquet({"id": [1, 2, 3], "text": ["One llama.", None, "羊驼\r\n"]}),
        texts=["One llama.", "羊驼\n"],
        broken=tables.parquet({"text": ["One llama."]})[:-20],
        says="is a damaged Parquet table",
        hostile=(
            b"PAR1" + b"\xff" * 1000 + (900).to_bytes(4, "little") + b"PAR1",
            tables.parquet({"text": ["a"]})[:-8] + (2**31 - 1).to_bytes(4, "little") + b"PAR1",
            tables.parquet({"text": ["a" * 10_000_000]}),
            tables.parquet({"text": ["a" * 100] * 300_000}),
            tables.parquet({"text": pyarrow.nulls(11_000_000, pyarrow.string())}),
            tables.parquet({f"c{number}": ["a"] for number in range(2000)}),
            tables.parquet({"text": pyarrow.array([b"\xff"], pyarrow.binary()).view(pyarrow.string())}),
        ),
    ),
    "warc": Case(
        good=crawl.page(b"<p>One <b>llama</b>.") + crawl.page("羊驼。".encode(), content_type="text/plain"),
        texts=["One llama.", "羊驼。"],
        broken=crawl.page(b"<p>One llama.")[:-20],
        says="record 1 is cut off",
        hostile=(
            b"WARC/1.0\r\n" * 500_000,
            b"WARC/1.0\r\n\r\n" * 500_000,
            crawl.page(gzip.compress(b"a" * 100_000_000), headers={"Content-Encoding": "gzip"}),
            crawl.page(b"1\r\na\r\n" * 200_000, headers={"Transfer-Encoding": "chunked"}),
            crawl.record("response", b"HTTP/1.1 200\r\n" + b"a: b\r\n" * 500_000),
            crawl.record("response", b"", length=10**15),
            gzip.compress(b"WARC/1.0\r\n" + b"\n" * 100_000_000),
        ),
    ),
    "pdf": Case(
        good=files.pdf(["One (llama).\nIt eats.", "", "A third page."]),
        texts=["One (llama).\nIt eats.\n\nA third page."],
        broken=files.pdf(["One llama."])[:-100],
        says="is damaged: its pages cannot be found",
        hostile=(b"%PDF-" + b"[ " * 100_000, b"%PDF-1.4\n" + b"<< /A " * 100_000, b"%PDF-1.4\nxref\n0 99999999999\nstartxref\n9\n%%EOF"),
    ),
    "docx": Case(
        good=files.docx(files.paragraph("One llama.") + files.paragraph("羊驼。")),
        texts=["One llama.\n\n羊驼。"],
        broken=files.docx("<w:p>"),
        says="word/document.xml is not valid XML",
        hostile=(
            files.docx("<w:tbl>" * 50_000 + "</w:tbl>" * 50_000),
            files.archive({"word/document.xml": '<!DOCTYPE d [<!ENTITY e SYSTEM "file:///etc/passwd">]><d>&e;</d>'}),
            files.archive({"word/document.xml": b"<a>" + b" " * 100_000_000 + b"</a>"}),
            b"\xd0\xcf\x11\xe0" * 100,
        ),
    ),
    "odt": Case(
        good=files.odt("<text:h>Llamas</text:h><text:p>They<text:s text:c='2'/>eat.</text:p>"),
        texts=["Llamas\n\nThey  eat."],
        broken=files.odt("<text:p>"),
        says="content.xml is not valid XML",
        hostile=(
            files.odt("<text:list>" * 50_000 + "</text:list>" * 50_000),
            files.odt("<text:p><text:s text:c='99999999999'/>a</text:p>"),
            files.archive({"content.xml": '<!DOCTYPE d [<!ENTITY e SYSTEM "file:///etc/passwd">]><d>&e;</d>'}),
        ),
    ),
    "epub": Case(
        good=files.epub({"1.xhtml": "<h1>One</h1><p>A <b>llama</b>.</p>", "2.xhtml": "<p>羊驼&nbsp;</p>"}),
        texts=["One\n\nA llama.", "羊驼\u00a0"],
        broken=files.archive({"mimetype": "application/epub+zip"}),
        says="has no META-INF/container.xml",
        hostile=(
            files.epub({"1.xhtml": "<div>" * 100_000}),
            files.epub({"../../../etc/passwd": "<p>a</p>"}),
            files.epub({"1.xhtml": b"a" * 100_000_000}),
            files.archive({"META-INF/container.xml": '<!DOCTYPE d [<!ENTITY e SYSTEM "file:///etc/passwd">]><d>&e;</d>'}),
        ),
    ),
    "zip": Case(
        good=files.archive(
            {"a.txt": "One llama.", "../b.jsonl": '"Two"\n"Three"', "folder/": "", "__MACOSX/a.txt": "no", ".DS_Store": b"\0"}
        ),
        texts=["One llama.", "Two", "Three"],
        broken=files.archive({"a.txt": "One llama."})[:-30],
        says="a damaged one",
        hostile=(
            files.archive({"a.txt": b"a" * 100_000_000}),
            files.archive({"a.zip": files.archive({"b.zip": files.archive({"c.txt": "c"})})}),
            files.archive({f"{number}.txt": "a" for number in range(10_001)}),
            b"PK\x05\x06" + b"\0" * 18,
            b"PK\x03\x04" * 1000,
        ),
    ),
    "gz": Case(
        file="file.jsonl.gz",
        good=gzip.compress(b'"One"\n') + gzip.compress('"羊驼"'.encode()),
        texts=["One", "羊驼"],
        broken=gzip.compress(b'"One"')[:-9],
        says="is cut off",
        hostile=(
            gzip.compress(b"a" * 100_000_000),
            gzip.compress(b'"a"') + b"rest",
            gzip.compress(b"") * 10_000,
            gzip.compress(gzip.compress(b'"a"')),
        ),
    ),
    "zst": Case(
        file="file.txt.zst",
        good=zstandard.compress(b"One ") + zstandard.compress("羊驼".encode()),
        texts=["One 羊驼"],
        broken=zstandard.compress(b"One" * 1000)[:-1],
        says="is cut off",
        hostile=(zstandard.compress(b"a" * 100_000_000), b"\x28\xb5\x2f\xfd" * 1000, b"\x28\xb5\x2f\xfd\x00\xff" + b"\0" * 100),
    ),
}


def write(folder: Path, name: str, data: bytes) -> Path:
    path = folder / (CASES[name].file or f"file{registry.find(FOLDER, name).SUFFIXES[0]}")
    path.write_bytes(data)
    return path


def test_every_reader_has_a_case() -> None:
    assert set(CASES) == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_suffixes_are_lower_case_and_taken_once(name: str) -> None:
    for suffix in registry.find(FOLDER, name).SUFFIXES:
        assert suffix.startswith(".")
        assert suffix == suffix.lower()
        assert readers()[suffix] is registry.find(FOLDER, name).read


@pytest.mark.parametrize("name", NAMES)
def test_a_good_file(name: str, tmp_path: Path) -> None:
    path = write(tmp_path, name, CASES[name].good)
    assert [piece.text for piece in read_pieces(path)] == CASES[name].texts
    assert read(path).text == "\n\n".join(CASES[name].texts)


@pytest.mark.parametrize("name", NAMES)
def test_a_broken_file(name: str, tmp_path: Path) -> None:
    path = write(tmp_path, name, CASES[name].broken)
    with pytest.raises(BadFileError) as caught:
        read(path)
    assert CASES[name].says in caught.value.message
    assert str(path) in caught.value.message


@pytest.mark.parametrize(("name", "number"), [(name, number) for name, case in CASES.items() for number in range(len(case.hostile))])
def test_a_hostile_file(name: str, number: int, tmp_path: Path) -> None:
    path = write(tmp_path, name, CASES[name].hostile[number])
    start = time.process_time()
    said = ""
    try:
        read(path).text.encode("utf-8")  # no half characters
    except BadFileError as error:
        said = error.message
    assert time.process_time() - start < SECONDS
    assert len(said) < 1000  # it quotes no megabytes


@pytest.mark.parametrize("name", NAMES)
def test_nothing_that_is_empty_or_an_image(name: str, tmp_path: Path) -> None:
    image = write(tmp_path, name, b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR")
    with pytest.raises(BadFileError, match="PNG image"):
        read(image)
    empty = write(tmp_path, name, b"")
    if name == "py":  # an empty module is a module
        assert read(empty).text == ""
    else:
        with pytest.raises(BadFileError, match="is empty"):
            read(empty)


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=60, deadline=None)
@given(data=st.binary(max_size=200) | st.text(max_size=200).map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_any_bytes_give_text_or_one_error(name: str, data: bytes) -> None:
    try:
        pieces = list(registry.find(FOLDER, name).read(data, path="any"))
    except BadFileError:
        return
    assert all(isinstance(piece.text, str) for piece in pieces)


def test_python_is_not_run(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    path = write(tmp_path, "py", f'"""Doc."""\nopen({str(trace)!r}, "w")\n'.encode())
    assert read(path).text == "Doc."
    assert not trace.exists()
