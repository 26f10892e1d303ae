from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from llamarium.cli.main import run
from llamarium.text.document import read

CHINESE = Path(__file__).parent.parent / "apps" / "ask" / "chinese"


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    folder = tmp_path / "docs"
    (folder / "guides").mkdir(parents=True)
    (folder / "guides" / "oven.md").write_text("# Oven\n\nHeat the **oven** to 230 degrees. Wait for one hour.\n", encoding="utf-8")
    (folder / "llamas.txt").write_bytes("\ufeffLlamas hum.\r\nThey eat 草 and hay.\r\n".encode())
    return folder


def shell(*arguments: str) -> subprocess.CompletedProcess[str]:
    """The command as a user has it, with what it says to standard error."""
    environment = os.environ | {"PYTHONIOENCODING": "utf-8"}
    command = [sys.executable, "-m", "llamarium", *arguments]
    return subprocess.run(command, capture_output=True, encoding="utf-8", env=environment, check=False)


@pytest.mark.parametrize("way", ["docs", "index"])
def test_json(way: str, docs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = docs
    if way == "index":
        place = tmp_path / "made.index"
        assert run(["index", str(docs), "--out", str(place)]) == 0
        assert capsys.readouterr().out == f"2 documents, 2 passages: {place}\n2 added, 0 changed, 0 removed, 0 unchanged\n"
    assert run(["ask", "How many degrees must the oven have?", f"--{way}", str(place), "--json"]) == 0
    value = json.loads(capsys.readouterr().out)
    assert list(value) == ["found", "answer", "citations", "seconds"]
    assert value["found"] is True
    assert value["seconds"] > 0
    assert value["citations"][0]["quote"].startswith(value["answer"])
    for citation in value["citations"]:
        assert list(citation) == ["document", "start", "end", "quote", "score"]
        assert read(docs / citation["document"]).text[citation["start"] : citation["end"]] == citation["quote"]
    assert value["citations"][0]["document"] == "guides/oven.md"
    assert "Heat the oven to 230 degrees." in value["citations"][0]["quote"]


def test_what_a_reader_sees(docs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["ask", "What do llamas eat?", "--docs", str(docs)]) == 0
    out = capsys.readouterr().out
    assert out == "They eat 草 and hay.\n    -- llamas.txt:12-31\n"


@pytest.mark.parametrize(
    ("question", "sentence"), [("What is the capital of France?", "Not in your documents."), ("法国的首都是哪里？", "文档里没有。")]
)
def test_nothing_is_found(question: str, sentence: str, docs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["ask", question, "--docs", str(docs)]) == 0
    assert capsys.readouterr().out == sentence + "\n"
    assert run(["ask", question, "--docs", str(docs), "--json"]) == 0
    value = json.loads(capsys.readouterr().out)
    assert (value["found"], value["answer"], value["citations"]) == (False, "", [])


def test_talk_goes_to_standard_error(docs: Path) -> None:
    (docs / "picture.png").write_bytes(b"\x89PNG\r\n")
    result = shell("ask", "How old does a llama get?", "--docs", str(docs))
    assert (result.returncode, result.stdout) == (0, "Not in your documents.\n")
    assert "nearest: llamas.txt:0-" in result.stderr
    assert "left out picture.png" in result.stderr


def test_a_changed_document_is_not_quoted(docs: Path, tmp_path: Path) -> None:
    out = str(tmp_path / "i")
    assert shell("index", str(docs), "--out", out).returncode == 0
    (docs / "llamas.txt").write_text("Since then: llamas hum. They eat hay.")
    result = shell("ask", "What do llamas eat?", "--index", out)
    assert result.stdout == "Not in your documents.\n"
    assert "llamas.txt" in result.stderr
    assert "make the index again" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["", "--docs", "DOCS"], 2),
        (["  ", "--docs", "DOCS"], 2),
        (["?!", "--docs", "DOCS"], 2),
        (["llamas"], 2),
        (["llamas", "--docs", "DOCS", "--index", "I"], 2),
        (["llamas", "--docs", "nowhere"], 2),
        (["llamas", "--index", "nowhere"], 2),
        (["llamas", "--docs", "EMPTY"], 3),
        (["llamas", "--index", "DOCS/llamas.txt"], 3),
        (["llamas", "--index", "DOCS"], 3),
        (["llamas", "--docs", "DOCS", "--model", "no-such-model"], 2),
    ],
)
def test_errors(arguments: list[str], code: int, docs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").mkdir()
    places = {"DOCS": str(docs), "EMPTY": str(tmp_path / "empty")}
    for name, place in places.items():
        arguments = [argument.replace(name, place) for argument in arguments]
    assert run(["ask", *arguments]) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: ")
    assert "hint: " in captured.err or code == 2
    assert "Traceback" not in captured.err


@pytest.mark.parametrize(("docs_name", "code"), [("nowhere", 2), ("empty", 3)])
def test_errors_of_index(docs_name: str, code: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").mkdir()
    assert run(["index", str(tmp_path / docs_name), "--out", str(tmp_path / "i")]) == code
    assert "error: " in capsys.readouterr().err
    assert not (tmp_path / "i").exists()


def test_a_document_cannot_write_on_the_terminal(docs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (docs / "evil\x1b[2J.txt").write_text("Wolves \x1b]0;owned\x07 hunt \x1b[31mdeer\u202e at night, and sleep by day.")
    assert run(["ask", "What do wolves hunt?", "--docs", str(docs)]) == 0
    out = capsys.readouterr().out
    assert "hunt" in out
    assert "deer" in out
    assert not {"\x1b", "\x07", "\u202e"} & set(out)
    assert run(["ask", "What do wolves hunt?", "--docs", str(docs), "--json"]) == 0
    [citation] = json.loads(capsys.readouterr().out)["citations"]
    assert "\x1b[31m" in citation["quote"]  # data stays what it is


def test_matches_are_marked_on_a_terminal_only(docs: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert run(["ask", "What do llamas eat?", "--docs", str(docs)]) == 0
    out = capsys.readouterr().out
    assert "They \x1b[1meat\x1b[0m 草" in out
    monkeypatch.setenv("NO_COLOR", "1")
    assert run(["ask", "What do llamas eat?", "--docs", str(docs)]) == 0
    assert "\x1b" not in capsys.readouterr().out


def test_chinese_documents(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["ask", "豆腐坊几点开门？", "--docs", str(CHINESE)]) == 0
    assert "早上五点半开门" in capsys.readouterr().out
