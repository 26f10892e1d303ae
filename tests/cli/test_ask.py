from __future__ import annotations

import io
import json
import os
import re
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.apps.ask import qdrant_server
from tests.apps.ask.animals import drawn, tokenizer, write

from llamarium.checkpoint import huggingface
from llamarium.cli.main import run
from llamarium.models import bert
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
    result = shell("ask", "Who paid for the bridge over the river?", "--docs", str(docs))
    assert (result.returncode, result.stdout) == (0, "Not in your documents.\n")
    result = shell("ask", "How hot is the oven inside?", "--docs", str(docs))
    assert result.returncode == 0
    assert "not sure that this answers it" in result.stderr
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


def test_a_conversation_on_standard_input(docs: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """One question a line; what leans on the one before is understood after it; a line without a question ends nothing."""
    (docs / "museum.md").write_text("# The kiln museum\n\nIn summer the museum opens at nine. In winter the museum opens at eleven.\n")
    lines = ["When does the museum open in summer?", "", "And in winter?", "?!", "What do llamas eat?", ":quit", "How hot is the oven?"]
    monkeypatch.setattr(sys, "stdin", io.StringIO("\n".join(lines)))
    assert run(["ask", "--docs", str(docs), "--json"]) == 0
    values = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [value["found"] for value in values] == [True, True, False, True]
    assert all(list(value) == ["found", "answer", "citations", "seconds"] for value in values)
    assert "nine" in values[0]["answer"]
    assert values[1]["citations"][0]["document"] == "museum.md"
    assert values[1]["answer"].startswith("In winter the museum opens at eleven.")
    assert values[3]["citations"][0]["document"] == "llamas.txt"


def test_what_was_understood_is_told(docs: Path) -> None:
    (docs / "museum.md").write_text("# The kiln museum\n\nIn summer the museum opens at nine. In winter the museum opens at eleven.\n")
    command = [sys.executable, "-m", "llamarium", "ask", "--docs", str(docs)]
    asked = "When does the museum open in summer?\nAnd in winter?\n"
    result = subprocess.run(command, input=asked, capture_output=True, encoding="utf-8", check=False)
    assert result.returncode == 0
    assert "understood as: When does the museum open in winter?" in result.stderr
    assert "museum.md:" in result.stdout
    assert ">" not in result.stdout  # no prompt where nobody sits


def test_questions_with_answers_come_first(docs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    faq = tmp_path / "faq.md"
    faq.write_text("## How hot is the oven?\n\nVery hot. Do not touch it.\n\n## Who feeds the llamas?\n\nMartha does.\n")
    for question, document, answer in [
        ("how hot is an oven", "faq.md", "Very hot. Do not touch it."),
        ("What do llamas eat?", "llamas.txt", "They eat"),
    ]:
        assert run(["ask", question, "--docs", str(docs), "--faq", str(faq), "--json"]) == 0
        value = json.loads(capsys.readouterr().out)
        assert value["found"]
        assert value["citations"][0]["document"] == document
        assert value["answer"].startswith(answer)
    assert run(["ask", "Who feeds the llamas?", "--faq", str(faq), "--json"]) == 0  # alone it is the documents, too
    [citation] = json.loads(capsys.readouterr().out)["citations"]
    assert read(faq).text[citation["start"] : citation["end"]] == citation["quote"] == "Martha does."
    assert run(["ask", "Who?", "--docs", str(docs), "--faq", str(docs / "llamas.txt")]) == 3
    assert "holds no questions with answers" in capsys.readouterr().err


LONG = "What do llamas eat when the day is long and the hill is far away? "


@pytest.mark.parametrize("question", [(LONG * 200)[:10_000], "羊驼吃什么？" * 1_667, "llama " * 1_667, "x" * 10_000], ids=range(4))
def test_a_question_of_10_000_characters(question: str, docs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert len(question) >= 10_000
    begin = time.perf_counter()
    assert run(["ask", question, "--docs", str(docs), "--json"]) == 0
    assert time.perf_counter() - begin < 5
    value = json.loads(capsys.readouterr().out)
    assert value["found"] in (True, False)
    for citation in value["citations"]:
        assert read(docs / citation["document"]).text[citation["start"] : citation["end"]] == citation["quote"]


def test_a_question_in_chinese_about_english_documents(docs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Names and numbers that both have are found; without any, it is said that the documents do not tell."""
    (docs / "press.md").write_text("# The press\n\nThe Rill PX-90 press reaches 480 bar. It weighs 12 kg.\n")
    assert run(["ask", "PX-90 的压力是多少 bar？", "--docs", str(docs), "--json"]) == 0
    value = json.loads(capsys.readouterr().out)
    if value["found"]:
        assert value["citations"][0]["document"] == "press.md"
    assert run(["ask", "压榨机有多重？", "--docs", str(docs)]) == 0
    captured = capsys.readouterr()
    assert captured.out.startswith("文档里没有")


def encrypted_pdf(path: Path) -> None:
    from pypdf import PdfWriter

    writer = PdfWriter()
    writer.add_blank_page(width=100, height=100)
    writer.encrypt("secret", algorithm="RC4-128")
    with path.open("wb") as file:
        writer.write(file)


def test_a_folder_with_one_encrypted_pdf(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    docs = tmp_path / "docs"
    docs.mkdir()
    encrypted_pdf(docs / "a.pdf")
    for arguments in (["ask", "What is in it?", "--docs", str(docs)], ["index", str(docs), "--out", str(tmp_path / "i")]):
        assert run(arguments) == 3
        captured = capsys.readouterr()
        assert captured.out == ""
        assert "a.pdf" in captured.err
        assert re.search("encrypted|password", captured.err)
        assert "hint: " in captured.err
    (docs / "b.txt").write_text("Llamas hum.")  # with another document it is left out, and said
    assert run(["ask", "What hums, llamas?", "--docs", str(docs)]) == 0
    assert "Llamas hum." in capsys.readouterr().out


def test_an_index_of_an_older_version(docs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It is not read as if it were of today's, and the same `index` makes it anew."""
    out = tmp_path / "made.index"
    assert run(["index", str(docs), "--out", str(out)]) == 0
    connection = sqlite3.connect(out)
    connection.execute("PRAGMA user_version = 1")
    connection.commit()
    connection.close()
    capsys.readouterr()
    assert run(["ask", "What do llamas eat?", "--index", str(out)]) == 3
    captured = capsys.readouterr()
    assert "version" in captured.err
    assert "hint: llamarium index" in captured.err
    assert run(["index", str(docs), "--out", str(out)]) == 0
    assert run(["ask", "What do llamas eat?", "--index", str(out)]) == 0


def test_vectors_at_a_server(tmp_path: Path, capsys: pytest.CaptureFixture[str], said: list[str]) -> None:
    """Put there by `index`, asked by `ask` where it is told so, taken away again; what is wrong has its exit code."""
    docs, model, out = str(write(tmp_path / "docs")), str(tmp_path / "model"), str(tmp_path / "made.index")
    huggingface.save_folder(Path(model), drawn(bert), tokenizer())
    question = ["ask", "Which beasts of burden spit?", "--index", out]
    with qdrant_server.serving() as server:
        assert run(["index", docs, "--out", out, "--vectors", model, "--store", server.address]) == 0
        assert capsys.readouterr().out.startswith("3 documents, 3 passages")
        num = len(server.asked)
        assert run([*question, "--json"]) == 0
        assert said == [f"{out} has vectors from {server.address}, which is asked only with --store; words alone are compared"]
        assert len(server.asked) == num
        capsys.readouterr()
        assert run([*question, "--store", server.address, "--json"]) == 0
        assert server.asked[-1][1].endswith("/points/query")
        assert run([*question, "--store", "qdrant://127.0.0.1:9"]) == 2
        assert capsys.readouterr().err.endswith(f"has no vectors at qdrant://127.0.0.1:9.\nhint: They are at {server.address}.\n")
        assert run([*question, "--store", "http://127.0.0.1:9"]) == 2
        assert "is no address of a Qdrant server" in capsys.readouterr().err
        for collection in server.collections:
            server.client.delete_collection(collection)
        assert run([*question, "--store", server.address]) == 3
        assert "no longer where they were put" in capsys.readouterr().err
        server.raw = (200, b"<html>")
        assert run([*question, "--store", server.address]) == 1
        assert capsys.readouterr().err.startswith(f"error: {server.address} gave no usable answer")
        server.raw = None
        assert run(["index", docs, "--out", out, "--vectors", "none", "--store", server.address]) == 0
    assert run(question) == 0
    assert not any("--store" in line for line in said[1:])
