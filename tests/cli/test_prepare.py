from __future__ import annotations

import json
from pathlib import Path

import pytest

from llamarium.cli.main import run
from llamarium.text.corpus import open_corpus

KEYS = ["documents_in", "documents_out", "characters_out", "dropped", "bad_files", "languages", "seconds"]


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    folder = tmp_path / "docs"
    folder.mkdir()
    for number, words in enumerate(["The llama eats grass.", "羊驼住在山上。", "the LLAMA eats grass.", "!"]):
        (folder / f"{number}.txt").write_text(words, encoding="utf-8")
    (folder / "photo.png").write_bytes(b"\x89PNG")
    return folder


def test_json(docs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["prepare", str(docs), "--out", str(tmp_path / "corpus"), "--json"]) == 0
    value = json.loads(capsys.readouterr().out)
    assert list(value) == KEYS
    assert (value["documents_in"], value["documents_out"], value["characters_out"]) == (4, 2, 28)
    assert value["dropped"] == {"too_short": 1, "duplicate_exact": 1, "duplicate_near": 0}
    assert value["bad_files"] == [{"path": "photo.png", "reason": "no reader for .png"}]
    assert value["languages"] == {"en": 1, "zh": 1}
    assert value["seconds"] > 0
    assert open_corpus(tmp_path / "corpus").num_documents("valid") == 1


def test_for_people(docs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "corpus"
    assert run(["prepare", str(docs), "--out", str(out)]) == 0
    assert capsys.readouterr().out == (
        f"2 of 4 documents, 28 characters: {out}\n"
        "train 1, valid 1 documents; leak 0.0 %\n"
        "languages: en 1, zh 1\n"
        "dropped: too_short 1, duplicate_exact 1\n"
        "files that could not be read: 1\n"
        "  photo.png: no reader for .png\n"
        f"report: {out / 'report.html'}\n"
    )


def test_exit_codes(docs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = str(tmp_path / "corpus")
    assert run(["prepare", str(docs), "--out", out, "--strict"]) == 3
    assert not Path(out).exists()
    assert run(["prepare", str(docs), "--out", out]) == 0
    assert run(["prepare", str(docs), "--out", out]) == 2
    assert run(["prepare", str(docs), "--out", out, "--force"]) == 0
    assert run(["prepare", str(tmp_path / "none"), "--out", out, "--force"]) == 2
    assert run(["prepare", str(docs), "--out", out, "--engine", "rey", "--force"]) == 2
    assert run(["prepare", str(docs)]) == 2
    (tmp_path / "empty").mkdir()
    capsys.readouterr()
    assert run(["prepare", str(tmp_path / "empty"), "--out", str(tmp_path / "other")]) == 3
    captured = capsys.readouterr()
    assert captured.out == ""
    first, second = captured.err.splitlines()
    assert first == "error: empty: there are no files in it."
    assert second.startswith("hint: Files that can be read: .")
    assert ".jsonl" in second
    assert not (tmp_path / "other").exists()
