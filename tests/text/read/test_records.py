from __future__ import annotations

from typing import Any

import pytest

from llamarium.ground.errors import BadFileError
from llamarium.text.document import Piece
from llamarium.text.read import json, jsonl, md, py, txt
from llamarium.text.read._records import text_of


@pytest.mark.parametrize(
    ("record", "text"),
    [
        ("plain", "plain"),
        ({"text": "a", "content": "b", "title": "t"}, "a"),
        ({"content": "b", "title": "t"}, "b"),
        ({"instruction": "i", "output": "o"}, "i\no"),
        ({"instruction": "i", "input": "n", "output": "o", "history": []}, "i\nn\no"),
        ({"prompt": "p", "completion": "c"}, "p\nc"),
        ({"question": "q", "answer": "a"}, "q\na"),
        ({"title": "t", "body": "b"}, "t\nb"),
        ({"title": None, "abstract": "b"}, "b"),
        ({"text": None}, ""),
        ({"text": ["a"]}, None),
        ({"text": 5, "content": "b"}, "b"),
        ({"instruction": "i"}, None),
        (5, None),
        (None, None),
    ],
)
def test_which_field_is_the_text(record: Any, text: str | None) -> None:
    assert text_of(record) == text


@pytest.mark.parametrize(
    ("file", "texts"),
    [
        ('{"text": "only"}', ["only"]),
        ('{"version": "1", "data": [{"text": "a"}, {"text": "b"}]}', ["a", "b"]),
        ('{"first": {"text": "a"}, "second": "b"}', ["a", "b"]),
        ('["a", "b"]', ["a", "b"]),
        ('"a"', ["a"]),
        ('[{"text": "a", "score": NaN}]', ["a"]),
    ],
)
def test_what_the_records_of_a_json_file_are(file: str, texts: list[str]) -> None:
    assert list(json.read(file.encode(), path="a.json")) == [Piece(text, number, encoding="utf-8") for number, text in enumerate(texts, 1)]


def test_a_record_without_text_says_what_it_has() -> None:
    with pytest.raises(BadFileError, match=r"record 2 has no text field: it has only 'score', 'label'") as caught:
        list(json.read(b'["a", {"score": 1, "label": 2}]', path="a.json"))
    assert "instruction, [input], output" in caught.value.hint
    with pytest.raises(BadFileError, match="line 3 has no text field: it is an array"):
        list(jsonl.read(b'"a"\n\n[1]', path="a.jsonl"))


def test_json_lines_under_the_wrong_name() -> None:
    with pytest.raises(BadFileError) as caught:
        list(json.read(b'{"text": "a"}\n{"text": "b"}\n', path="a.json"))
    assert ".jsonl" in caught.value.hint


@pytest.mark.parametrize(("codec", "name"), [("gb18030", "gb18030"), ("big5", "big5"), ("utf-16", "utf-16"), ("utf-8-sig", "utf-8")])
def test_the_encoding_is_told(codec: str, name: str) -> None:
    text = "今天下午有人在山上看見羊。"
    for module, file in (
        (json, f'[{{"text": "{text}"}}]'),
        (jsonl, f'{{"text": "{text}"}}\r\n'),
        (txt, text),
        (md, text),
        (py, f'"""{text}"""'),
    ):
        assert list(module.read(file.encode(codec), path="a")) == [Piece(text, 1 if "{" in file else None, encoding=name)]


def test_only_line_feeds_end_a_line() -> None:
    assert [p.text for p in jsonl.read('{"text": "a\u2028b\x85c"}\n'.encode(), path="a")] == ["a\u2028b\x85c"]


@pytest.mark.parametrize("data", [b"", b"\n \n", b"[]"])
def test_no_records(data: bytes) -> None:
    for module in (json, jsonl):
        with pytest.raises(BadFileError):
            list(module.read(data, path="a"))
