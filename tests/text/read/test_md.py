from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llamarium.text.read.md import strip


@pytest.mark.parametrize(
    ("markdown", "words"),
    [
        ("## Heading ##", "Heading"),
        ("#hashtag #two", "#hashtag #two"),
        ("C# and F#", "C# and F#"),
        ("Title\n=====\ntext", "Title\ntext"),
        ("above\n\n---\n\nbelow", "above\n\n\nbelow"),
        ("**bold** *it* ***both*** __b__ _i_ ~~no~~", "bold it both b i no"),
        ("**bold *inside* bold**", "bold inside bold"),
        ("**`code`**", "code"),
        ("2 * 3 * 4 and a*b*c", "2 * 3 * 4 and abc"),
        ("snake_case_name and __init__", "snake_case_name and init"),
        ("`__init__` and `a * b * c`", "__init__ and a * b * c"),
        ("``a ` b``", "a ` b"),
        (r"\*not\* \[a](b) \# \\", r"*not* [a](b) # " + "\\"),
        ("[text](https://e.org/a_(b) 'title')", "text"),
        ("[`code`](url)", "code"),
        ("[text][ref] and [text][]\n\n[ref]: https://e.org", "text and text\n"),
        ("[not a link] and f(x)[1](2)", "[not a link] and f(x)1"),
        ("![a cat](cat.png)", "a cat"),
        ("[![badge](b.svg)](https://e.org)", "badge"),
        ("<https://e.org> <me@e.org>", "https://e.org me@e.org"),
        ('a<br/>b <b class="x>y">c</b> 1 < 2 > 0', "ab c 1 < 2 > 0"),
        ("&lt;tag&gt; &amp;amp; &copy; &#x4e2d; AT&T &unknown;", "<tag> &amp; © 中 AT&T &unknown;"),
        ("> quoted\n> > twice", "quoted\ntwice"),
        ("* one\n* **two**\n    - *three*\n1. four", "* one\n* two\n    - three\n1. four"),
        ("text\n\n    code **kept**\n\ntext", "text\n\n    code **kept**\n\ntext"),
        ("```py\n# **kept** <b>\n```", "# **kept** <b>"),
        ("~~~~\n```\n~~~\n~~~~\nafter", "```\n~~~\nafter"),
        ("``` never closed\n**kept**", "**kept**"),
        ("a <!-- gone --> b\n<!-- two\nlines -->\nend", "a  b\nend"),
        ("```\n<!-- kept -->\n```", "<!-- kept -->"),
        ("| a | **b** |\n|---|:-:|\n| c | d |", "| a | b |\n| c | d |"),
        ("See[^1].\n\n[^1]: The *note*.", "See[^1].\n\n[^1]: The note."),
        ("中文**加粗**和[链接](u)，不变。", "中文加粗和链接，不变。"),
    ],
)
def test_marks_go_and_words_stay(markdown: str, words: str) -> None:
    assert strip(markdown) == words


@given(st.text(alphabet="ab 羊.,!?()'\n", max_size=200).filter(lambda text: ") " not in text))
def test_plain_text_stays_as_it_is(text: str) -> None:
    assert strip(text) == text


@given(st.text(alphabet="a*_`~[]()<>!#-=| \\&;\n"))
def test_letters_are_never_lost_from_plain_lines(text: str) -> None:
    if not any(mark in text for mark in "[<~`&"):
        assert strip(text).count("a") == text.count("a")
    else:
        strip(text)
