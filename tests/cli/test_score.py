from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from llamarium.checkpoint import huggingface
from llamarium.cli.main import run
from llamarium.ground import progress
from llamarium.models import bert, llama, ngram
from llamarium.tokens.train import bytes_tokenizer

TEXTS = ["the llama eats grass", "", "a\ttab", "模型会说话。"]
NBEST = """1 ||| grass the eats llama ||| lm: -9 ||| -1.0
2 ||| zzzz ||| lm: -9 ||| -1.0
1 ||| the llama eats grass ||| lm: -9 ||| -1.5
"""
TOKENIZER = bytes_tokenizer()


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    torch.manual_seed(0)
    small: Any = llama.Model(llama.Config(vocab_size=259, width=16, layers=1, heads=1, context_length=32))
    small.initialize()
    huggingface.save_folder(folder / "llama", small, TOKENIZER)
    reader = bert.Model(bert.Config(vocab_size=259, width=16, layers=1, heads=1))
    reader.initialize()
    huggingface.save_folder(folder / "bert", reader, TOKENIZER)
    counts = ngram.Model(ngram.Config(vocab_size=259, order=3))
    counts.fit([[TOKENIZER.begin_id, *TOKENIZER.encode(TEXTS[0]), TOKENIZER.end_id]] * 3)
    huggingface.save_folder(folder / "ngram", counts, TOKENIZER)
    return folder


@pytest.fixture
def place(models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for path in models.iterdir():
        (tmp_path / path.name).symlink_to(path)
    (tmp_path / "x.txt").write_text("".join(f"{text}\n" for text in TEXTS), encoding="utf-8")
    (tmp_path / "x.nbest").write_text(NBEST, encoding="utf-8")
    return tmp_path


def scored(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert run(["score", *arguments]) == 0
    return capsys.readouterr().out


def objects(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    return json.loads(scored(capsys, *arguments, "--json"))


@pytest.mark.parametrize("model", ["llama", "ngram"])
def test_a_line_a_line(model: str, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [line.split("\t", 1) for line in scored(capsys, model, "x.txt").split("\n")[:-1]]
    assert [text for _, text in rows] == TEXTS
    lines = objects(capsys, model, "x.txt")["lines"]
    assert [float(score) for score, _ in rows] == pytest.approx([line["log_probability"] for line in lines], abs=1e-5)
    assert all(float(score) < 0 for score, _ in rows)


def test_keys_of_the_object(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = objects(capsys, "llama", "x.txt")
    assert found["nbest"] is None
    assert [list(line) for line in found["lines"]] == [["text", "score", "log_probability", "tokens", "bytes", "bits_per_byte"]] * 4
    assert [(line["text"], line["tokens"], line["bytes"]) for line in found["lines"]] == [
        (text, len(text.encode()) + 1, len(text.encode())) for text in TEXTS
    ]
    assert [line["bits_per_byte"] is None for line in found["lines"]] == [False, True, False, False], "an empty line has no bytes"


def test_by(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for unit, key in (("token", "tokens"), ("byte", "bytes")):
        for line in objects(capsys, "llama", "x.txt", "--by", unit)["lines"]:
            assert line["score"] == (pytest.approx(line["log_probability"] / line[key]) if line[key] else None)
    assert scored(capsys, "llama", "x.txt", "--by", "byte").split("\n")[1] == "nan\t"


def test_beginnings_have_no_end_token(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole, beginnings = (objects(capsys, "llama", "x.txt", *options)["lines"] for options in ([], ["--no-end"]))
    for line, beginning in zip(whole, beginnings, strict=True):
        assert beginning["tokens"] == line["tokens"] - 1
        assert beginning["log_probability"] > line["log_probability"]
    assert beginnings[1]["log_probability"] == 0


def test_standard_input(place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    expected = scored(capsys, "llama", "x.txt")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO((place / "x.txt").read_bytes()), encoding="ascii"))
    assert scored(capsys, "llama", "-") == expected
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"fine\n\xff"), encoding="ascii"))
    assert run(["score", "llama", "-"]) == 3
    assert "error: standard input, line 2, byte 5: is not UTF-8 text." in capsys.readouterr().err


def test_an_empty_file_has_no_lines(place: Path, capsys: pytest.CaptureFixture[str], said: list[str]) -> None:
    (place / "empty.txt").write_bytes(b"")
    assert scored(capsys, "llama", "empty.txt") == ""
    assert said == ["empty.txt has no lines."]
    assert objects(capsys, "llama", "empty.txt", "--nbest") == {"lines": [], "nbest": []}


def test_the_best_of_each(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The counts know one sentence: it wins, unless the model has no weight."""
    best = [line.split("\t") for line in scored(capsys, "ngram", "x.nbest", "--nbest").splitlines()]
    assert [(name, text) for name, _, text in best] == [("1", "the llama eats grass"), ("2", "zzzz")]
    unweighted = scored(capsys, "ngram", "x.nbest", "--nbest", "--weight", "0")
    assert unweighted == "1\t-1.00000\tgrass the eats llama\n2\t-1.00000\tzzzz\n"
    ranked = scored(capsys, "ngram", "x.nbest", "--nbest", "--all").splitlines()
    assert [line.split("\t")[2] for line in ranked] == ["the llama eats grass", "grass the eats llama", "zzzz"]


def test_what_is_added_to_the_given_score(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = objects(capsys, "ngram", "x.nbest", "--nbest", "--all", "--weight", "0.5", "--by", "token")
    scores = {line["text"]: line["score"] for line in found["lines"]}
    given = {"grass the eats llama": -1.0, "zzzz": -1.0, "the llama eats grass": -1.5}
    assert len(found["nbest"]) == 3
    for each in found["nbest"]:
        assert each["score"] == pytest.approx(given[each["text"]] + 0.5 * scores[each["text"]])


def test_what_was_ranked_is_a_list_to_rank(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With another model, say: its score is added to the sum so far."""
    (place / "again.nbest").write_text(scored(capsys, "ngram", "x.nbest", "--nbest", "--all"))
    once = objects(capsys, "ngram", "x.nbest", "--nbest", "--all", "--weight", "2")["nbest"]
    twice = objects(capsys, "ngram", "again.nbest", "--nbest", "--all")["nbest"]
    assert [each["text"] for each in once] == [each["text"] for each in twice]
    assert [each["score"] for each in once] == pytest.approx([each["score"] for each in twice], abs=1e-4)


def test_an_encoder_is_refused(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["score", "bert", "x.txt"]) == 2
    assert "(bert) gives no probability of a text" in capsys.readouterr().err


def test_many_lines_show_their_progress(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (place / "many.txt").write_text("".join(f"line {number}\n" for number in range(2000)))
    progress.use(progress.Plain(sys.stderr, interval=0))
    try:
        assert run(["score", "llama", "many.txt"]) == 0
    finally:
        progress.use(progress.Silent())
    out, err = capsys.readouterr()
    assert out.count("\n") == 2000
    assert "scoring: 100%" in err
    assert err.count("\n") > 3


@pytest.mark.slow
def test_a_hundred_thousand_lines_through_a_pipe(place: Path) -> None:
    lines = "".join(f"{number}\n" for number in range(100_000))
    command = [sys.executable, "-m", "llamarium", "score", "llama", "-"]
    child = subprocess.run(command, input=lines, capture_output=True, encoding="utf-8", check=True, timeout=280)
    texts = [line.split("\t")[1] for line in child.stdout.splitlines()]
    same = texts == lines.splitlines()
    assert same
