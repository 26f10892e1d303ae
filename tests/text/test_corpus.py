from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from pyarrow import parquet

from llamarium.ground.errors import BadFileError, MissingExtraError, NotFoundError, UsageError
from llamarium.ground.files import write_folder, write_json, write_manifest
from llamarium.text import corpus as module
from llamarium.text.corpus import Side, is_corpus, open_corpus, write_corpus
from llamarium.text.document import Document

TRAIN = [Document(f"Llama number {number}.", f"a.jsonl#{number}", "en") for number in range(1, 8)]
VALID = [Document("羊驼吃草。", "b/诗.txt", "zh")]


def write(folder: Path, train: list[Document] = TRAIN, valid: list[Document] = VALID, page: str = "page") -> Path:
    write_corpus(folder, {"train": train, "valid": valid}, report={"documents_in": 8}, page=page)
    return folder


def test_what_is_written_comes_back(tmp_path: Path) -> None:
    corpus = open_corpus(write(tmp_path / "corpus"))
    assert list(corpus.documents("train")) == TRAIN
    assert list(corpus.documents("valid")) == VALID
    assert corpus.num_bytes("valid") == len("羊驼吃草。".encode())
    assert corpus.num_documents("train") == 7
    assert corpus.sides["valid"] == Side(documents=1, characters=5, bytes=15)


def test_the_form_on_the_disk(tmp_path: Path) -> None:
    folder = write(tmp_path / "corpus")
    assert sorted(path.name for path in folder.iterdir()) == [
        "manifest.json",
        "report.html",
        "report.json",
        "train-00000.parquet",
        "valid-00000.parquet",
    ]
    file = parquet.ParquetFile(folder / "train-00000.parquet")
    assert file.schema_arrow.names == ["id", "text", "source", "language"]
    assert {file.metadata.row_group(0).column(column).compression for column in range(4)} == {"ZSTD"}
    assert file.read(["id"])["id"].to_pylist() == [document.id for document in TRAIN]
    assert json.loads((folder / "report.json").read_bytes()) == {"documents_in": 8}


def test_shards_and_row_groups_have_fixed_borders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SHARD_DOCUMENTS", 4)
    monkeypatch.setattr(module, "ROW_GROUP_DOCUMENTS", 3)
    folder = write(tmp_path / "corpus")
    rows = {
        path.name: [
            parquet.ParquetFile(path).metadata.row_group(group).num_rows for group in range(parquet.ParquetFile(path).num_row_groups)
        ]
        for path in sorted(folder.glob("*.parquet"))
    }
    assert rows == {"train-00000.parquet": [3, 1], "train-00001.parquet": [3], "valid-00000.parquet": [1]}
    assert list(open_corpus(folder).documents("train")) == TRAIN


def test_the_same_documents_make_the_same_bytes(tmp_path: Path) -> None:
    first, second = write(tmp_path / "one"), write(tmp_path / "two")
    for path in first.iterdir():
        assert path.read_bytes() == (second / path.name).read_bytes()


def test_the_digest_is_that_of_the_documents(tmp_path: Path) -> None:
    digest = open_corpus(write(tmp_path / "one")).digest
    assert digest == open_corpus(write(tmp_path / "two", page="another look")).digest
    assert digest != open_corpus(write(tmp_path / "three", train=TRAIN[:-1])).digest
    assert digest != open_corpus(write(tmp_path / "four", train=[*TRAIN[:-1], Document("x", "y", "en")])).digest


def test_a_side_may_be_empty(tmp_path: Path) -> None:
    corpus = open_corpus(write(tmp_path / "corpus", valid=[]))
    assert list(corpus.documents("valid")) == []
    assert corpus.num_bytes("valid") == 0


def test_an_unknown_split(tmp_path: Path) -> None:
    corpus = open_corpus(write(tmp_path / "corpus"))
    with pytest.raises(UsageError) as caught:
        next(corpus.documents("validation"))
    assert caught.value.hint == "Did you mean 'valid'?"


def test_what_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        open_corpus(tmp_path / "none")
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(NotFoundError):
        open_corpus(tmp_path / "file")
    assert not is_corpus(tmp_path / "none")
    assert is_corpus(write(tmp_path / "corpus"))


@pytest.mark.parametrize("name", ["train-00000.parquet", "valid-00000.parquet", "manifest.json", "report.json"])
@pytest.mark.parametrize("damage", ["cut", "flip", "delete"])
def test_damage_is_noticed(name: str, damage: str, tmp_path: Path) -> None:
    path = write(tmp_path / "corpus") / name
    data = path.read_bytes()
    if damage == "delete":
        path.unlink()
    elif damage == "cut":
        path.write_bytes(data[: len(data) // 2])
    else:
        path.write_bytes(data[:10] + bytes([data[10] ^ 255]) + data[11:])
    with pytest.raises(BadFileError):
        open_corpus(tmp_path / "corpus")


def test_a_stranger_among_the_shards_is_noticed(tmp_path: Path) -> None:
    folder = write(tmp_path / "corpus")
    (folder / "train-00001.parquet").write_bytes((folder / "train-00000.parquet").read_bytes())
    with pytest.raises(BadFileError, match=r"train-00001\.parquet"):
        open_corpus(folder)


def test_another_kind_of_folder(tmp_path: Path) -> None:
    write_folder(tmp_path / "tokens", lambda folder: write_json(folder / "index.json", {}))
    with pytest.raises(BadFileError, match="not that of a corpus"):
        open_corpus(tmp_path / "tokens")


@pytest.mark.parametrize(
    "side", [None, 3, {"documents": -1, "characters": 1, "bytes": 1}, {"documents": True, "characters": 1, "bytes": 1}]
)
def test_a_manifest_with_nonsense_in_it(side: object, tmp_path: Path) -> None:
    folder = write(tmp_path / "corpus")
    write_manifest(folder, {"kind": "corpus", "train": side, "valid": side})
    with pytest.raises(BadFileError, match="how much there is"):
        open_corpus(folder)


def rows(folder: Path, data: bytes | dict[str, list[object]]) -> Path:
    """A corpus whose manifest agrees with a shard that is not what it should be."""
    write(folder)
    if isinstance(data, bytes):
        (folder / "train-00000.parquet").write_bytes(data)
    else:
        import pyarrow

        parquet.write_table(pyarrow.table(data), folder / "train-00000.parquet")
    manifest = json.loads((folder / "manifest.json").read_bytes())
    write_manifest(folder, {key: value for key, value in manifest.items() if key != "files"})
    return folder


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "not readable Parquet"),
        (b"PAR1" + b"\xff" * 100 + b"PAR1", "not readable Parquet"),
        ({"text": ["a"]}, "no column of strings 'id'"),
        ({"id": ["a"], "text": [1], "source": ["a"], "language": ["a"]}, "no column of strings 'text'"),
        ({"id": ["a"], "text": ["a"], "source": ["a", None][1:] + ["b"][:0], "language": ["a"]}, "'source'|empty field"),
        ({"id": ["a", "b"], "text": ["a", None], "source": ["a", "b"], "language": ["a", "b"]}, "empty field"),
    ],
)
def test_shards_that_lie(data: bytes | dict[str, list[object]], says: str, tmp_path: Path) -> None:
    corpus = open_corpus(rows(tmp_path / "corpus", data))
    with pytest.raises(BadFileError, match=says):
        list(corpus.documents("train"))


def test_without_pyarrow_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    corpus = open_corpus(write(tmp_path / "corpus"))
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingExtraError) as caught:
        write(tmp_path / "other")
    assert caught.value.message.startswith("prepare needs the package pyarrow")
    assert caught.value.hint == "pip install 'llamarium[text]'"
    with pytest.raises(MissingExtraError):
        list(corpus.documents("train"))
