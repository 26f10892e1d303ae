"""The column, or field of a record, that is the text may be named: every reader of tables and records takes it."""

from __future__ import annotations

from pathlib import Path

import pyarrow
import pytest
from pyarrow import parquet

from llamarium.ground.errors import BadFileError
from llamarium.text.document import read_pieces


def write(path: Path) -> Path:
    match path.suffix:
        case ".parquet":
            parquet.write_table(pyarrow.table({"text": ["not this"], "poem": ["羊驼"]}), path)
        case ".csv":
            path.write_text("text,poem\nnot this,羊驼\n", encoding="utf-8")
        case ".json":
            path.write_text('[{"text": "not this", "poem": "羊驼"}]', encoding="utf-8")
        case _:
            path.write_text('{"text": "not this", "poem": "羊驼"}\n', encoding="utf-8")
    return path


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".json", ".jsonl"])
def test_the_named_one_is_the_text_and_a_wrong_one_is_said_with_the_nearest(tmp_path: Path, suffix: str) -> None:
    path = write(tmp_path / f"a{suffix}")
    assert [piece.text for piece in read_pieces(path)] == ["not this"]
    assert [piece.text for piece in read_pieces(path, column="poem")] == ["羊驼"]
    with pytest.raises(BadFileError, match="peom") as caught:
        read_pieces(path, column="peom")
    assert "poem" in caught.value.hint


def test_text_has_no_columns(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("The llama.", encoding="utf-8")
    assert [piece.text for piece in read_pieces(tmp_path / "a.txt", column="poem")] == ["The llama."]
