"""The whole way, once, through the command line: text -> corpus -> tokenizer -> model -> scores, words, files of others, answers."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

import llamarium
from llamarium.cli.main import run

# The keys of every --json, as the design fixes them.
PREPARE = ["documents_in", "documents_out", "characters_out", "dropped", "bad_files", "languages", "seconds"]
EVALUATE = ["bits_per_byte", "perplexity", "tokens", "bytes", "tasks"]
GENERATE = ["text", "token_ids", "prompt_tokens", "completion_tokens", "finish_reason", "seconds"]
ASK = ["found", "answer", "citations", "seconds"]
CITATION = ["document", "start", "end", "quote", "score"]
READ = ["text", "document", "pages"]

PLACES = ("the valley", "the hill", "the river bank", "the old farm")
BEASTS = ("llama", "alpaca", "vicuña", "guanaco", "sheep")


def write_documents(folder: Path) -> None:
    """Thirty short documents, one of which says what will be asked for; and one that no one can read."""
    folder.mkdir()
    for number in range(30):
        beast, place = BEASTS[number % 5], PLACES[number % 4]
        days = "\n".join(f"On day {day} the {beast} of {place} ate {day + number} bundles of hay." for day in range(1, 9))
        (folder / f"diary-{number:02}.md").write_text(f"# Diary {number}\n\nThe {beast} lives in {place}.\n{days}\n", encoding="utf-8")
    shearing = "# Shearing\n\nThe shearing of the alpacas begins on the third of May, when the nights are mild.\nIt takes four days.\n"
    (folder / "shearing.md").write_text(shearing, encoding="utf-8")
    (folder / "broken.txt").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(range(256)))


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_documents(tmp_path / "docs")
    recipe = {
        "name": "own",
        "seed": 1,
        "data": {"corpus": "corpus", "tokenizer": "tokenizer"},
        "model": {"family": "llama", "layers": 2, "width": 64, "heads": 2},
        "train": {"objective": "lm", "steps": 20, "batch_tokens": 1024, "sequence_length": 128, "learning_rate": 3.0e-3, "save_every": 10},
        "optimizer": {"name": "adamw", "schedule": "cosine"},
    }
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    return tmp_path


def test_from_text_to_answers(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def llamarium_(*arguments: str) -> str:
        """Run one command line and return what it printed."""
        code = run(list(arguments))
        out, err = capsys.readouterr()
        assert code == 0, f"{arguments}: {err}"
        return out

    def as_json(*arguments: str) -> dict[str, Any]:
        out = llamarium_(*arguments, "--json")
        assert out.endswith("}\n")
        assert out.count("\n") == 1, "one object on one line"
        value: dict[str, Any] = json.loads(out)
        return value

    prepared = as_json("prepare", "docs", "--out", "corpus")
    assert list(prepared) == PREPARE
    assert prepared["documents_out"] >= 25
    assert [bad["path"] for bad in prepared["bad_files"]] == ["broken.txt"]

    assert llamarium_("tokenizer", "train", "corpus", "--vocab-size", "400", "--out", "tokenizer") == "tokenizer\n"
    assert llamarium_("train", "recipe.yaml") == "runs/own/model\n"
    losses = [line["loss"] for line in map(json.loads, (place / "runs/own/log.jsonl").read_bytes().splitlines()) if "loss" in line]
    assert len(losses) == 20
    assert losses[-1] < 0.8 * losses[0]

    score = as_json("evaluate", "runs/own", "--data", "corpus")
    assert list(score) == EVALUATE
    assert score["tasks"] == {}
    assert 0.5 < score["bits_per_byte"] < 8
    # Perplexity counts by tokens and bits per byte by bytes: the same sum, divided twice.
    assert score["bits_per_byte"] * score["bytes"] == pytest.approx(math.log2(score["perplexity"]) * score["tokens"], rel=1e-6)

    said = [as_json("generate", "runs/own", "The llama", "--temperature", "0", "--max-tokens", "12") for _ in range(2)]
    assert list(said[0]) == GENERATE
    assert {**said[0], "seconds": 0} == {**said[1], "seconds": 0}
    assert said[0]["completion_tokens"] == 12 or said[0]["finish_reason"] == "stop"
    assert llamarium_("generate", "runs/own", "The llama", "--temperature", "0", "--max-tokens", "12") == said[0]["text"] + "\n"
    chat = as_json("chat", "runs/own", "Hello", "--temperature", "0", "--max-tokens", "4")
    assert list(chat) == GENERATE

    assert llamarium_("export", "runs/own", "--to", "hf", "--out", "exported") == "exported\n"
    one, other = llamarium.load("runs/own"), llamarium.load("exported")
    ids = one.tokenizer.encode("The llama of the valley ate 7 bundles of hay.")
    assert ids == other.tokenizer.encode("The llama of the valley ate 7 bundles of hay.")
    assert torch.equal(one.logits(ids), other.logits(ids))
    assert as_json("evaluate", "exported", "--data", "corpus") == score

    answer = as_json("ask", "When does the shearing of the alpacas begin?", "--docs", "docs")
    assert list(answer) == ASK
    assert answer["found"]
    assert [list(citation) for citation in answer["citations"]] == [CITATION] * len(answer["citations"])
    first = answer["citations"][0]
    assert first["document"] == "shearing.md"
    assert "third of May" in first["quote"]
    text = as_json("read", "docs/shearing.md")
    assert list(text) == READ
    assert text["text"][first["start"] : first["end"]] == first["quote"]
    assert llamarium_("read", "docs/shearing.md") == text["text"]
    nothing = as_json("ask", "Which submarine cable connects Iceland with Greenland?", "--docs", "docs")
    assert (nothing["found"], nothing["citations"]) == (False, [])
