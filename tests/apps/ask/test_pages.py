"""What the pages about `ask` show is what the code is, and their commands run."""

from __future__ import annotations

import math
import re
import shlex
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.apps.ask import qdrant_server
from tests.apps.ask.animals import drawn, tokenizer

from llamarium.apps.ask.postings import Bm25, Postings, Segment
from llamarium.checkpoint import huggingface
from llamarium.cli.main import run
from llamarium.models import bert

ROOT = Path(__file__).parents[3]
GUIDES = [ROOT / "docs" / "guides" / name for name in ("ask.md", "questions.md")]
CONCEPT = ROOT / "docs" / "concepts" / "ask.md"
NEEDS_MORE = ("--model", "--vectors", "smollm2", "--store")  # than documents


def blocks(page: Path, language: str = "") -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    docs = tmp_path / "my-documents"
    docs.mkdir()
    (docs / "manual.md").write_text("# The D20\n\nAfter delivery it should stand upright for four hours. Code E4 means a full tank.\n")
    faq = "## When is the library open in winter?\n\nIn winter the library is open from 10 to 16.\n\n"
    faq += "## When is the library open in summer?\n\nIn summer the library is open from 9 to 20. A card is 15 euros.\n"
    (docs / "faq.md").write_text(faq)
    (tmp_path / "faq.md").write_text(faq)
    (tmp_path / "questions.jsonl").write_text(blocks(GUIDES[1], "jsonl")[0])
    (tmp_path / "patterns.yaml").write_text(blocks(GUIDES[0], "yaml")[0], encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_every_command_runs(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = [line for page in GUIDES for block in blocks(page) for line in block.splitlines()]
    commands = [line for line in lines if line.startswith("llamarium ") and not any(word in line for word in NEEDS_MORE)]
    assert len(commands) >= 6
    for line in commands:
        assert run(shlex.split(line)[1:]) == 0, line
        assert capsys.readouterr().out
    assert (place / "answers.html").exists()


def test_the_commands_with_a_server_run(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    huggingface.save_folder(place / "model", drawn(bert), tokenizer())
    lines = [line for block in blocks(GUIDES[0]) for line in block.splitlines() if line.startswith("llamarium ") and "--store" in line]
    assert len(lines) == 2
    with qdrant_server.serving() as server:
        for line in lines:
            its = line.replace("all-minilm-l6-v2", "model").replace("qdrant://127.0.0.1:6333", server.address)
            assert run(shlex.split(its)[1:]) == 0, its
            assert capsys.readouterr().out
        assert server.asked[-1][1].endswith("/query")


def test_the_conversation_is_one(place: Path) -> None:
    [line] = [line for block in blocks(GUIDES[0]) for line in block.splitlines() if line.startswith("printf")]
    said, arguments = re.fullmatch(r"printf '(.*)' \| llamarium (.*)", line).groups()  # type: ignore[union-attr]
    command = [sys.executable, "-m", "llamarium", *shlex.split(arguments)]
    result = subprocess.run(command, input=said.replace("\\n", "\n"), capture_output=True, encoding="utf-8", check=True, cwd=place)
    assert "from 10 to 16" in result.stdout
    assert "from 9 to 20" in result.stdout
    [understood] = re.findall(r"understood as: (.*)", result.stderr)
    assert understood in GUIDES[0].read_text(encoding="utf-8")


def test_the_questions_of_the_guide_are_answered(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        run(["evaluate", "--task", "ask", "--questions", str(place / "questions.jsonl"), "--docs", str(place / "my-documents"), "--json"])
        == 0
    )
    out = capsys.readouterr().out
    measures = re.findall(r'"(\w+)": ', out)
    table = GUIDES[1].read_text(encoding="utf-8")
    assert '"answer_holds": 1.0' in out
    for name in measures[measures.index("hit_at_1") :]:
        assert f"`{name}`" in table or name.endswith("_90"), name


def test_lines_of_code_on_the_page_stand_in_the_code() -> None:
    code = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "src" / "llamarium" / "apps" / "ask").glob("*.py"))
    there = {line.strip() for line in code.splitlines()}
    shown = [line.strip() for block in blocks(CONCEPT, "python") if not block.startswith("def ") for line in block.splitlines()]
    assert len(shown) >= 5
    assert [line for line in shown if line not in there] == []


@given(st.lists(st.lists(st.sampled_from("abcde"), min_size=1, max_size=12), min_size=2, max_size=8), st.sets(st.sampled_from("abcdef")))
def test_the_ten_lines_are_bm25(passages: list[list[str]], question: set[str]) -> None:
    names: dict[str, Any] = {"math": math}
    [block] = [block for block in blocks(CONCEPT, "python") if block.startswith("def ")]
    assert block.count("\n") == 10
    exec(block, names)
    segment = Segment()
    for number, passage in enumerate(passages, 1):
        segment.add(number, Counter(passage))
    lengths = np.array([len(passage) for passage in passages], dtype=np.float32)
    numbers = np.arange(1, len(passages) + 1, dtype=np.uint32)
    index = Bm25(numbers, lengths, numbers.astype(np.int64), share=0)
    held = dict(segment.blobs())
    wanted = [(index.present(Postings.read([held[term]] if term in held else [])), 1.0) for term in question]
    assert index.scores(wanted)[1:].tolist() == pytest.approx(names["bm25"](passages, question), rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("page", [*GUIDES, CONCEPT], ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), target
