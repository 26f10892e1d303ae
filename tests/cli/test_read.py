from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.text import files

from llamarium.cli.main import run
from llamarium.text.document import read


def test_the_text_and_nothing_else(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes("\ufeff羊驼\r\neats  grass".encode())
    assert run(["read", str(path)]) == 0
    captured = capsys.readouterr()
    assert captured.out == "羊驼\neats  grass" == read(path).text
    assert captured.err == ""


def test_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "羊驼"}\n"eats"\n', encoding="utf-8")
    assert run(["read", str(path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"text": "羊驼\n\neats", "document": "a.jsonl", "pages": []}


@pytest.mark.parametrize(
    ("name", "data", "code"),
    [
        ("none.txt", None, 2),
        ("", None, 2),
        ("a.txt", b"", 3),
        ("a.txt", b"\x89PNG\r\n", 3),
        ("a.xyz", b"text", 3),
        ("a.json", b"{", 3),
    ],
)
def test_errors(name: str, data: bytes | None, code: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / name
    if data is not None:
        path.write_bytes(data)
    assert run(["read", str(path)]) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith(f"error: {path}")
    assert "Traceback" not in captured.err


def test_what_is_left_out_is_talk(tmp_path: Path, capsys: pytest.CaptureFixture[str], said: list[str]) -> None:
    path = tmp_path / "a.zip"
    path.write_bytes(files.archive({"good.txt": "羊驼", "bad.json": "{", "book.pdf": files.pdf(["One.", "Two."])}))
    assert run(["read", str(path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"text": "羊驼\n\nOne.\n\nTwo.", "document": "a.zip", "pages": [4, 10]}
    assert said == ["left out: bad.json: line 1 is not valid JSON (Expecting property name enclosed in double quotes, column 2)."]
