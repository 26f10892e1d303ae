from __future__ import annotations

import datetime

import pyarrow
import pytest
from pyarrow.parquet import ParquetFile
from tests.text.tables import parquet

from llamarium.ground.errors import BadFileError
from llamarium.text.document import Piece
from llamarium.text.read.parquet import read


@pytest.mark.parametrize(
    ("columns", "texts"),
    [
        ({"id": [1], "text": ["One"]}, ["One"]),
        ({"id": [1], "passage": ["One"]}, ["One"]),  # the only strings
        ({"body": ["B"], "url": ["u"], "Title": ["T"]}, ["T\nB"]),
        ({"question": ["Q"], "answer": [None], "ids": [[1, 2]]}, ["Q"]),
        (
            {"name": ["hay"], "unit": ["kg"], "price": [9.5], "day": [datetime.date(2024, 5, 1)], "tags": [["a"]]},
            ["name: hay\nunit: kg\nprice: 9.5\nday: 2024-05-01"],
        ),
        ({"text": pyarrow.array(["One", "Two", "One"]).dictionary_encode()}, ["One", "Two", "One"]),
        ({"text": pyarrow.array(["羊驼"], pyarrow.large_string())}, ["羊驼"]),
        ({"a.b": ["One"]}, ["One"]),
    ],
)
def test_which_columns_are_the_text(columns: dict[str, object], texts: list[str]) -> None:
    assert [piece.text for piece in read(parquet(columns), path="a")] == texts


def test_rows_keep_their_numbers_over_many_batches() -> None:
    texts = [None if number % 3 else f"text {number}" for number in range(20_000)]
    texts[4096:8192] = [None] * 4096
    found = [(piece.record, piece.text) for piece in read(parquet({"text": texts}), path="a")]
    expected = [(number, text) for number, text in enumerate(texts, 1) if text]
    assert (found == expected) is True


def test_a_column_may_be_named_and_a_wrong_one_names_the_others() -> None:
    data = parquet({"text": ["One"], "label": ["1"], "tags": [["a"]]})
    assert list(read(data, path="a", column="label")) == [Piece("1", 1)]
    with pytest.raises(BadFileError, match="has no column 'lable': it has only 'text', 'label'") as caught:
        list(read(data, path="a", column="lable"))
    assert "Did you mean 'label'?" in caught.value.hint


@pytest.mark.parametrize(
    ("columns", "says"),
    [
        ({"tags": [["a"]]}, "has no column of text: it has only 'tags' (list"),
        ({"text": pyarrow.array([], pyarrow.string())}, "holds no records"),
        ({"text": [None, ""]}, "holds no records"),
        ({"text": pyarrow.array([b"\xff"], pyarrow.binary()).view(pyarrow.string())}, "bytes in it that are not UTF-8"),
        ({"text": ["a" * 10_000_000]}, "unpacks to more than 250 times its size"),
        ({"text": ["a" * 100] * 300_000}, "unpacks to more than 250 times its size"),
        ({"text": pyarrow.nulls(10_000_001, pyarrow.string())}, "has 10,000,001 rows"),
    ],
)
def test_what_is_refused(columns: dict[str, object], says: str) -> None:
    with pytest.raises(BadFileError) as caught:
        list(read(parquet(columns), path="a.parquet"))
    assert says in caught.value.message


def test_what_says_that_it_is_too_much_is_not_unpacked(monkeypatch: pytest.MonkeyPatch) -> None:
    def unpack(*_: object, **__: object) -> None:
        raise AssertionError

    monkeypatch.setattr(ParquetFile, "iter_batches", unpack)
    with pytest.raises(BadFileError, match="unpacks to more"):
        list(read(parquet({"text": ["a" * 10_000_000]}), path="a"))


def test_what_is_cut_off_or_something_else() -> None:
    data = parquet({"text": ["One"]})
    for broken in (data[:-1], data[:4], data[:30] + data[-30:], b"PAR1" + b"\xff" * 100):
        with pytest.raises(BadFileError, match="damaged Parquet table"):
            list(read(broken, path="a"))
    with pytest.raises(BadFileError, match="is not a Parquet table"):
        list(read(b"text,label\n", path="a"))
