from __future__ import annotations

import csv as stdlib
import io
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llamarium.ground.errors import BadFileError
from llamarium.text.read.csv import read


def rows(file: str, *, name: str = "a.csv", column: str = "") -> list[tuple[int | None, str]]:
    return [(piece.record, piece.text) for piece in read(file.encode(), path=name, column=column)]


@pytest.mark.parametrize(
    ("file", "found"),
    [
        ("text,label\none,1\ntwo,0\n", [(2, "one"), (3, "two")]),
        ("id;Question;Answer\n7;Why?;So.\n", [(2, "Why?\nSo.")]),
        ("title\tbody\nT\tB\n\tC\n", [(2, "T\nB"), (3, "C")]),
        ("name,price,note\nhay,9,\n", [(2, "name: hay\nprice: 9")]),
        (",label,review\n0,1,很快\n", [(2, "column 1: 0\nlabel: 1\nreview: 很快")]),
        ("a,b\n1,2,3\n4\n", [(2, "a: 1\nb: 2\ncolumn 3: 3"), (3, "a: 4")]),
        ("text\none\ntwo\n", [(2, "one"), (3, "two")]),
        ("First line.\nSecond line.\n", [(1, "First line."), (2, "Second line.")]),
        ("1,2\n3,4\n", [(1, "1 | 2"), (2, "3 | 4")]),
        ("a,a\nb,c\n", [(1, "a | a"), (2, "b | c")]),
        ('text,n\n\n"one, ""two""\nthree",1\n\n', [(3, 'one, "two"\nthree')]),
        ("a;b\n1,5;2\n", [(2, "a: 1,5\nb: 2")]),
        ("sep=|\na|b\n1|2,3\n", [(3, "a: 1\nb: 2,3")]),
        ('text,n\nA 5" pipe,1\n"He" said,2\n', [(2, 'A 5" pipe'), (3, "He said")]),
        ("text,n\rone,1\r\ntwo,2\r", [(2, "one"), (3, "two")]),
        ('text,n\n"a\rb",1\n', [(2, "a\rb")]),
        (" \n,\n", [(1, " ")]),
    ],
)
def test_which_rows_there_are(file: str, found: list[tuple[int, str]]) -> None:
    assert rows(file) == found


def test_a_tab_makes_a_tsv_and_a_lone_quote_in_it_is_a_word() -> None:
    assert rows('text\tn\n"one\ttab"\t1\n', name="a.tsv") == [(2, "one\ttab")]
    assert rows('text\tn\n"one\t1\ntwo\t2\n', name="a.tsv") == [(2, '"one'), (3, "two")]
    assert rows("one,two\nthree,four\n", name="a.tsv") == [(1, "one,two"), (2, "three,four")]


def test_a_quote_that_never_ends_is_said_where_it_begins() -> None:
    with pytest.raises(BadFileError, match="line 4 opens a quoted field that never ends") as caught:
        rows('text,n\n"one\ntwo",1\n"three,2\nfour,3\n')
    assert "double a quote" in caught.value.hint


def test_a_column_may_be_named_and_a_wrong_one_names_the_others() -> None:
    assert rows("label,review\n1,很快\n", column="review") == [(2, "很快")]
    with pytest.raises(BadFileError, match="has no column 'revew': it has only 'label', 'review'") as caught:
        rows("label,review\n1,很快\n", column="revew")
    assert "Did you mean 'review'?" in caught.value.hint
    with pytest.raises(BadFileError, match="its first row does not name any"):
        rows("1,2\n3,4\n", column="review")


def test_encodings_are_told() -> None:
    (piece,) = read("名称,价格\n干草每公斤,9\n".encode("gbk"), path="a.csv")
    assert (piece.text, piece.encoding) == ("名称: 干草每公斤\n价格: 9", "gb18030")


@pytest.mark.parametrize("file", ["text\n", "\n\n", "text,n\n"])
def test_no_records(file: str) -> None:
    with pytest.raises(BadFileError, match="holds no records"):
        rows(file)


CELLS = st.text(st.characters(exclude_categories=["Cs", "Cc"]) | st.sampled_from('\n",;'), max_size=8)


@given(st.lists(st.lists(CELLS, min_size=2, max_size=2), min_size=1, max_size=8))
def test_what_was_written_is_read(table: list[list[str]]) -> None:
    file = io.StringIO()
    stdlib.writer(file, quoting=stdlib.QUOTE_ALL).writerows([["text", "label"], *table, ["last", ""]])
    found = rows(file.getvalue())
    expected = [(number, row[0]) for number, row in enumerate(table, 2) if any(row)]
    assert found == [*expected, (len(table) + 2, "last")]


def test_a_large_field_is_copied_few_times() -> None:
    data = b'text,n\n"' + b"word\n" * 400_000 + b'",1\n'
    tracemalloc.start()
    try:
        (piece,) = read(data, path="a.csv")
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(piece.text) == 2_000_000
    assert most < 9 * len(data)  # csv builds a field from four bytes a character, and doubles what it needs
