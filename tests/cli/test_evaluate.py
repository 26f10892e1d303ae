from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from llamarium.checkpoint import huggingface
from llamarium.cli.main import run
from llamarium.models import bert, llama
from llamarium.tokens.train import bytes_tokenizer

RECORDS = [
    {"question": "To how many degrees is the oven heated?", "document": "oven.md", "answer": "230 degrees"},
    {"question": "Where do llamas stay in summer?", "document": "llama.md", "answer": "on the mountain"},
    {"question": "And in winter?", "document": "llama.md", "answer": "in the barn", "after": "Where do llamas stay in summer?"},
    {"question": "Who discovered penicillin?"},
]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "oven.md").write_text("# The oven\n\nThe oven is heated to 230 degrees for one hour. It has a door of glass.\n")
    (docs / "llama.md").write_text(
        "# Llamas\n\nA llama eats hay. In summer llamas stay on the mountain. In winter llamas stay in the barn.\n"
    )
    (tmp_path / "questions.jsonl").write_text("\n".join(map(json.dumps, RECORDS)))
    (tmp_path / "faq.md").write_text("## How hot is the oven?\n\nVery hot.\n")
    (tmp_path / "rules.yaml").write_text("patterns:\n  - pattern: where do llamas stay in {season}\n    document: llama.md\n")
    return tmp_path


def evaluated(capsys: pytest.CaptureFixture[str], *arguments: object) -> dict[str, Any]:
    assert run(["evaluate", *map(str, arguments), "--json"]) == 0
    value = json.loads(capsys.readouterr().out)
    assert list(value) == ["bits_per_byte", "perplexity", "tokens", "bytes", "tasks"]
    assert isinstance(value, dict)
    return value


@pytest.mark.parametrize("way", ["docs", "index"])
def test_answers_are_measured(way: str, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    documents = place / "docs"
    if way == "index":
        documents = place / "made.index"
        assert run(["index", str(place / "docs"), "--out", str(documents)]) == 0
        capsys.readouterr()
    value = evaluated(capsys, "--task", "ask", "--questions", place / "questions.jsonl", f"--{way}", documents)
    assert value["bits_per_byte"] is None
    measures = value["tasks"]["ask"]
    assert (measures["questions"], measures["unanswerable"]) == (4, 1)
    assert measures["hit_at_1"] == measures["quotes_in_place"] == measures["refusal_recall"] == measures["answer_holds"] == 1.0


def test_questions_in_the_form_of_squad_bring_their_documents(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    contexts = [path.read_text() for path in sorted((place / "docs").iterdir())]
    qas = [[], [{"question": "What eats hay?", "answers": [{"text": "llama"}]}]]
    paragraphs = [{"context": context, "qas": asked} for context, asked in zip(contexts, reversed(qas), strict=True)]
    (place / "squad.json").write_text(json.dumps({"data": [{"paragraphs": paragraphs}]}))
    value = evaluated(capsys, "--task", "ask", "--questions", place / "squad.json")
    assert value["tasks"]["ask"]["hit_at_1"] == 1.0
    assert run(["evaluate", "--task", "ask", "--questions", str(place / "squad.json"), "--docs", str(place / "docs")]) == 2
    assert "more than once" in capsys.readouterr().err


def test_roads_are_compared(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = [
        "--questions",
        place / "questions.jsonl",
        "--docs",
        place / "docs",
        "--patterns",
        place / "rules.yaml",
        "--faq",
        place / "faq.md",
    ]
    tasks = evaluated(capsys, "--task", "roads", *given)["tasks"]
    assert list(tasks) == ["roads, FAQ", "roads, patterns", "roads, BM25", "roads, BM25, wider"]
    assert tasks["roads, patterns"]["spoke"] == 0.5
    assert tasks["roads, patterns"]["right_when_it_speaks"] == tasks["roads, BM25"]["hit_at_1"] == 1.0


def test_vectors_and_a_model_that_judges_stand_beside_words(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tokenizer = bytes_tokenizer()
    torch.manual_seed(0)
    for name, module in (("bert", bert), ("llama", llama)):
        model = module.Model(replace(module.TINY, vocab_size=tokenizer.vocab_size, context_length=512))
        model.initialize()
        huggingface.save_folder(place / name, model, tokenizer)
    given = ["--task", "ask", "--task", "roads", "--questions", place / "questions.jsonl", "--docs", place / "docs"]
    tasks = evaluated(capsys, place / "llama", *given, "--vectors", place / "bert")["tasks"]
    names = ["ask", "ask, and vectors", "ask, and a judge"]
    names += ["roads, BM25", "roads, BM25, wider", "roads, vectors", "roads, likelihood", "roads, all"]
    assert list(tasks) == names
    assert all(measures["hit_at_10" if "ask" in name else "hit_at_5"] == 1.0 for name, measures in tasks.items())
    assert {tasks[name]["quotes_in_place"] for name in names[:3]} == {1.0}
    assert run(["evaluate", *map(str, given), "--vectors", str(place / "nowhere")]) == 2


def test_a_model_is_scored(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The fixed form, with and without a task beside it."""
    tokenizer = bytes_tokenizer()
    torch.manual_seed(0)
    model = llama.Model(replace(llama.TINY, vocab_size=tokenizer.vocab_size))
    model.initialize()
    huggingface.save_folder(place / "llama", model, tokenizer)
    assert run(["prepare", str(place / "docs"), "--out", str(place / "corpus"), "--valid-share", "0.5"]) == 0
    capsys.readouterr()
    value = evaluated(capsys, place / "llama", "--data", place / "corpus")
    assert value["tasks"] == {}
    assert 6 < value["bits_per_byte"] < 10  # it has learnt nothing: about a byte a byte
    assert run(["evaluate", str(place / "llama"), "--data", str(place / "corpus")]) == 0
    assert "bits per byte" in capsys.readouterr().out


def test_tables_and_a_page(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = place / "pages" / "answers.html"
    given = ["--questions", str(place / "questions.jsonl"), "--docs", str(place / "docs"), "--out", str(out)]
    assert run(["evaluate", "--task", "ask", "--task", "roads", *given]) == 0
    printed = capsys.readouterr().out
    assert "right document first" in printed
    assert "statistics" in printed
    page = out.read_text(encoding="utf-8")
    assert "Questions and answers, measured" in page
    assert "Rules, statistics, learning" in page
    assert "<script" not in page


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ([], 2, "nothing to evaluate"),
        (["--data", "x"], 2, "needs a MODEL"),
        (["--task", "aks"], 2, "Did you mean 'ask'?"),
        (["--task", "ask"], 2, "--questions"),
        (["--task", "ask", "--questions", "QUESTIONS"], 2, "needs the documents"),
        (["--task", "ask", "--questions", "QUESTIONS", "--docs", "DOCS", "--index", "x"], 2, "more than once"),
        (["--task", "ask", "--questions", "nowhere", "--docs", "DOCS"], 2, "does not exist"),
        (["--task", "ask", "--questions", "DOCS/oven.md", "--docs", "DOCS"], 3, "line 1 is no JSON"),
        (["--task", "ask", "--questions", "QUESTIONS", "--docs", "DOCS/oven.md"], 2, "no document llama.md"),
        (["--task", "roads", "--questions", "QUESTIONS", "--docs", "DOCS", "--faq", "DOCS/oven.md"], 3, "no questions with answers"),
        (["--task", "roads", "--questions", "QUESTIONS", "--docs", "DOCS", "--patterns", "nowhere"], 2, "does not exist"),
        (["nowhere", "--data", "DOCS"], 3, "manifest.json"),
    ],
)
def test_errors(arguments: list[str], code: int, words: str, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = {"DOCS": str(place / "docs"), "QUESTIONS": str(place / "questions.jsonl")}
    for name, path in names.items():
        arguments = [argument.replace(name, path) for argument in arguments]
    assert run(["evaluate", *arguments]) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: ")
    assert words in captured.err
    assert "Traceback" not in captured.err
