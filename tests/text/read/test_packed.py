"""Archives: .zip, .gz and .zst, whatever they hold."""

from __future__ import annotations

import gzip
import io
import lzma
import struct
import tarfile
import zipfile
from pathlib import Path

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st
from tests.text import files

from llamarium.ground.errors import BadFileError
from llamarium.text.document import Document, Piece, read, read_documents, read_pieces
from llamarium.text.read import _packed, gz, zip, zst


def members(data: bytes) -> list[Piece]:
    return list(zip.read(data, path="a.zip"))


def test_documents_of_an_archive_are_named_by_member_and_record(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    book = files.pdf(["A page.", "Another."])
    inside: dict[str, str | bytes] = {
        "notes/羊驼.txt": "草。",
        "b.jsonl": '"1"\n\n"3"',
        "long.md": "A line of it.\n\n" * 1000,
        "book.pdf": book,
        "bad.json": "{",
    }
    path.write_bytes(files.archive(inside))
    documents = read_documents(path, source="x/a.zip")
    names = ["notes/羊驼.txt", "b.jsonl#1", "b.jsonl#3", "long.md#1", "long.md#2", "book.pdf"]
    assert [document.source for document in documents] == [f"x/a.zip/{name}" for name in names]
    assert documents[-1] == Document("A page.\n\nAnother.", "x/a.zip/book.pdf", pages=(0, 9))
    whole = read(path)
    assert whole.text == "草。\n\n1\n\n3\n\n" + "A line of it.\n\n" * 1000 + "\n\nA page.\n\nAnother."
    assert [whole.text[page:][:7] for page in whole.pages] == ["A page.", "Another"]
    problem = read_pieces(path)[-1]
    assert (problem.member, problem.text) == ("bad.json", "")
    assert "not valid JSON" in problem.problem


def test_nothing_good_is_an_error_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    path.write_bytes(files.archive({"a.json": "{", "b.exe": b"MZ\x90\x00"}))
    with pytest.raises(BadFileError) as caught:
        read(path)
    assert "a.zip/a.json: line 1 is not valid JSON" in caught.value.message
    path.write_bytes(files.archive({"folder/": "", ".hidden": "a", "__MACOSX/._a.txt": "a"}))
    with pytest.raises(BadFileError, match="holds no files"):
        read(path)


@pytest.mark.parametrize("name", ["../../a.txt", "/etc/a.txt", "C:\\Windows\\a.txt", "a/../../b.txt", "a/./b.txt"])
def test_names_are_shown_and_never_used(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (piece,) = members(files.archive({name: "One llama."}))
    assert (piece.member, piece.text) == (name.replace("\\", "/"), "One llama.")
    assert list(tmp_path.iterdir()) == []


def test_a_name_that_is_there_twice() -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as file:
        file.writestr("a.txt", "first")
        with pytest.warns(UserWarning, match="Duplicate"):
            file.writestr("a.txt", "second")
    first, second = members(out.getvalue())
    assert (first.text, first.problem) == ("first", "")
    assert (second.text, second.problem) == ("", "is there twice; the first was read.")


@pytest.mark.parametrize("encoding", ["gb18030", "utf-8"])
def test_chinese_names_without_a_mark(encoding: str) -> None:
    raw = "羊驼住在山上.txt".encode(encoding)
    placeholder = b"x" * (len(raw) - 4) + b".txt"
    data = files.archive({placeholder.decode(): "草"}).replace(placeholder, raw)
    assert members(data)[0].member == "羊驼住在山上.txt"


def test_an_encrypted_member_is_a_problem_and_the_others_are_read() -> None:
    data = bytearray(files.archive({"secret.txt": "a", "open.txt": "One llama."}))
    for mark, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(mark) + place] |= 1
    assert [(piece.member, piece.text, piece.problem) for piece in members(bytes(data))] == [
        ("secret.txt", "", "is encrypted."),
        ("open.txt", "One llama.", ""),
    ]


def test_damage_is_a_problem_of_its_member() -> None:
    data = bytearray(files.archive({"a.txt": "One llama, two llamas, three llamas.", "b.txt": "Whole."}))
    data[data.index(b"a.txt") + 5 + 4] ^= 0xFF
    bad, good = members(bytes(data))
    assert bad.problem.startswith("is damaged in its archive (")
    assert good.text == "Whole."


@pytest.mark.parametrize("suffix", _packed.ARCHIVES)
def test_an_archive_in_an_archive_is_not_opened(suffix: str) -> None:
    bad, good = members(files.archive({f"a{suffix.upper()}": b"PK\x03\x04", "b.txt": "One."}))
    assert bad.problem == "is an archive inside an archive."
    assert good.text == "One."


def test_an_archive_under_another_name_is_not_opened_either() -> None:
    (piece,) = members(files.archive({"a.txt": gzip.compress(b"a")}))
    assert piece.problem == "looks like a gzip archive, not like text."


def test_bounds_of_archives(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_packed, "LARGEST_TOTAL", 20)
    found = members(files.archive(dict.fromkeys(("a.txt", "b.txt", "c.txt", "d.txt"), "a" * 9)))
    assert [piece.text for piece in found] == ["a" * 9, "a" * 9, "", ""]
    assert [piece.problem for piece in found[2:]] == ["unpacks to more than 0 MB."] * 2
    monkeypatch.setattr(_packed, "MOST_MEMBERS", 2)
    with pytest.raises(BadFileError, match="has 3 members; 2 are read at most"):
        members(files.archive(dict.fromkeys("abc", "")))


@given(st.lists(st.binary(max_size=2000), min_size=1, max_size=4))
def test_what_was_packed_is_unpacked(parts: list[bytes]) -> None:
    whole = b"".join(parts)
    packed = b"".join(map(gzip.compress, parts)) + b"\0" * 7
    assert _packed.joined(_packed.inflated(packed), packed=len(packed), path="a") == whole
    frames = b"".join(map(zstandard.compress, parts))
    assert b"".join(zst._frames(frames, zstandard.ZstdDecompressor())) == whole


@pytest.mark.parametrize("number", [8, 9, 1])
def test_what_is_cut_off_is_not_half_read(number: int) -> None:
    text = b"".join(b"%d llamas eat %d alpacas.\n" % (n, n * n % 1009) for n in range(5000))
    for reader, packed in ((gz, gzip.compress(text)), (zst, zstandard.compress(text))):
        with pytest.raises(BadFileError, match="is cut off"):
            list(reader.read(packed[:-number], path="a.txt.gz"))
        with pytest.raises(BadFileError, match="is cut off"):
            list(reader.read(packed + packed[: number * 100], path="a.txt.gz"))


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("a.tar", "is a tar archive"),
        ("a.zip", "is an archive inside an archive"),
        ("a.txt.gz", "is an archive inside an archive"),
        ("a", "does not say what it holds"),
        ("a.exe", "no reader for .exe"),
    ],
)
def test_what_is_packed_is_known_by_the_name(name: str, says: str) -> None:
    for reader, packed, suffix in ((gz, gzip.compress(b"a"), ".gz"), (zst, zstandard.compress(b"a"), ".zst")):
        with pytest.raises(BadFileError) as caught:
            list(reader.read(packed, path=name + suffix))
        assert says in caught.value.message
        assert name + suffix in caught.value.message


def test_tar_is_refused_with_a_way_out(tmp_path: Path) -> None:
    path = tmp_path / "a.tgz"
    with tarfile.open(path, "w:gz") as file:
        file.addfile(tarfile.TarInfo("a.txt"))
    with pytest.raises(BadFileError, match="is a tar archive") as caught:
        read(path)
    assert "tar -xf" in caught.value.hint


def test_a_window_of_two_gigabytes_is_not_made() -> None:
    header = b"\x28\xb5\x2f\xfd\x00" + bytes([21 << 3])  # window of 2^31 bytes
    with pytest.raises(BadFileError, match="damaged zstd data"):
        list(zst.read(header + b"\x01\x00\x00", path="a.txt.zst"))


def test_a_reader_that_is_not_the_right_one_says_so() -> None:
    with pytest.raises(BadFileError, match="looks like an xz archive, not like gzip data"):
        list(gz.read(lzma.compress(b"a"), path="a.txt.gz"))
    with pytest.raises(BadFileError, match="is not zstd-compressed data"):
        list(zst.read(b"One llama.", path="a.txt.zst"))


def test_a_header_that_lies_about_sizes() -> None:
    """The size that is declared is never believed: what comes out is counted."""
    data = bytearray(files.archive({"a.txt": b"a" * 8_000_000}))
    for mark, place in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        where = data.index(mark) + place
        data[where : where + 4] = struct.pack("<I", 10)
    (piece,) = members(bytes(data))
    assert piece.text in ("", "a" * 10)
    assert piece.problem
