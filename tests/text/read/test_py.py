from __future__ import annotations

import warnings

from llamarium.text.document import Piece
from llamarium.text.read import py


def texts(source: str) -> list[Piece]:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return list(py.read(source.encode(), path="a.py"))


def test_docstrings_stand_below_what_they_document() -> None:
    source = '''
async def fetch(url: str, *, timeout=1.5):
    r"""Get \\d it."""
    def inner():
        """Inside."""
try:
    import fast
except ImportError:
    def slow(): "Without it."
x = """not a docstring"""
'''
    assert texts(source) == [
        Piece("fetch(url: str, *, timeout=1.5)\nGet \\d it.\n\nfetch.inner()\nInside.\n\nslow()\nWithout it.", encoding="utf-8"),
    ]


def test_odd_escapes_warn_nobody() -> None:
    assert texts('"""A \\d."""\nx = 1 is 1\n') == [Piece("A \\d.", encoding="utf-8")]


def test_topics_are_documents() -> None:
    assert texts("# made by a machine\ntopics = {'assert': 'The \"assert\" ' 'statement', 'del': 'Deletes.'}\n") == [
        Piece('The "assert" statement', 1, encoding="utf-8"),
        Piece("Deletes.", 2, encoding="utf-8"),
    ]


def test_a_table_of_something_else_is_code() -> None:
    assert texts("topics = {'a': 1}") == []
    assert texts("topics = {'a': 'b'}\nother = 1") == []
    assert texts("") == []
