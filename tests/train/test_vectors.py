"""A run that begins with word vectors: which rows it has, what is said of it, what is refused, and that a resume needs them no more."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from llamarium.ground.errors import BadFileError, MissingExtraError, NotFoundError, RecipeError
from llamarium.tokens.vectors import read_vectors, rows_for, spellings
from llamarium.train import build, vectors
from llamarium.train.estimate import describe
from llamarium.train.finish import train_to_the_end
from llamarium.train.recipe import Recipe
from llamarium.train.recipe import build as build_recipe
from llamarium.train.run import Run, start

Described = Callable[..., Recipe]
SHAPES: dict[str, dict[str, Any]] = {
    "llama": {"layers": 1, "width": 16, "heads": 1},
    "llama4": {"layers": 2, "width": 16, "heads": 2},
    "gpt": {"layers": 1, "width": 16, "heads": 1},
    "lstm": {"layers": 1, "width": 16},
    "bert": {"layers": 1, "width": 16, "heads": 1},
    "t5": {"encoder_layers": 1, "width": 16, "heads": 1},
}
OBJECTIVES = {"bert": "mlm", "t5": "spans"}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Vectors of five numbers for the letters a to j."""
    draw = np.random.default_rng(0)
    lines = [" ".join((letter, *(f"{number:.4f}" for number in draw.normal(size=5)))) for letter in "abcdefghij"]
    (tmp_path / "vectors.txt").write_text("\n".join(lines) + "\n")
    return tmp_path / "vectors.txt"


def opened(recipe: Recipe, folder: Path, *, resume: bool = False) -> Run:
    run = start(recipe, folder, resume=resume)
    run.log.close()
    return run


def embedding(run: Run) -> Tensor:
    return run.model.get_parameter("embed.weight").detach().clone()


def events(folder: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [line for line in lines if line.get("event") == "vectors"]


@pytest.mark.parametrize("family", SHAPES)
def test_pieces_that_have_a_vector_begin_with_it_and_the_others_as_drawn(
    described: Described, file: Path, tmp_path: Path, family: str, said: list[str]
) -> None:
    model = {"family": family, **SHAPES[family]}
    values = described().model_dump(by_alias=True, exclude_none=True) | {"model": model}
    values["train"]["objective"] = OBJECTIVES.get(family, "lm")
    drawn = opened(build_recipe(values), tmp_path / "plain")
    begun = opened(build_recipe(values | {"model": {**model, "vectors": str(file)}}), tmp_path / "run")
    before, after = embedding(drawn), embedding(begun)
    rows, found = rows_for(begun.tokenizer, read_vectors(file), width=16, spread=float(before.std()))
    letters = [spelled.lower() in set("abcdefghij") and spelled != "" for spelled in spellings(begun.tokenizer)]
    assert found.tolist() == letters
    assert torch.equal(after[found], torch.from_numpy(rows[found]))
    assert torch.equal(after[~torch.from_numpy(found)], before[~torch.from_numpy(found)])
    assert float(after[found].std()) == pytest.approx(float(before.std()), rel=0.1)
    others = [name for name, _ in drawn.model.named_parameters() if name != "embed.weight"]
    assert all(torch.equal(drawn.model.get_parameter(name), begun.model.get_parameter(name)) for name in others)
    detail = {"found": 20, "of": begun.tokenizer.vocab_size, "from": str(file)}
    assert events(tmp_path / "run") == [{"step": 0, "event": "vectors", "detail": detail}]
    assert f"20 of {begun.tokenizer.vocab_size} pieces begin with a word vector ({file})." in said
    assert events(tmp_path / "plain") == []


def test_vectors_of_the_runs_own_text(described: Described, tmp_path: Path, said: list[str]) -> None:
    pytest.importorskip("gensim", reason="the extra `vectors` is not installed")
    recipe = described(model={"vectors": "train"})
    run, plain = opened(recipe, tmp_path / "run"), opened(described(), tmp_path / "plain")
    changed = (embedding(run) != embedding(plain)).any(dim=1)
    (event,) = events(tmp_path / "run")
    assert 20 < event["detail"]["found"] == int(changed.sum()) < run.tokenizer.vocab_size
    assert event["detail"]["from"] == "train"
    assert any("(trained on this text)" in line for line in said)
    assert torch.equal(embedding(run), embedding(opened(recipe, tmp_path / "again")))
    other = embedding(opened(described(seed=2, model={"vectors": "train"}), tmp_path / "other"))
    one, two = (rows[changed] / rows[changed].std() for rows in (embedding(run), other))  # their size is that of drawn rows
    assert not torch.allclose(one, two, atol=0.1)


def test_what_is_drawn_afterwards_is_what_it_would_be_without(described: Described, file: Path, tmp_path: Path) -> None:
    opened(described(), tmp_path / "plain")
    expected = torch.get_rng_state()
    opened(described(model={"vectors": str(file)}), tmp_path / "run")
    assert torch.equal(torch.get_rng_state(), expected)


def test_a_larger_vocabulary_than_the_tokenizers_has_rows_as_drawn(described: Described, file: Path, tmp_path: Path) -> None:
    run = opened(described(model={"vectors": str(file), "vocab_size": 300}), tmp_path / "run")
    plain = opened(described(model={"vocab_size": 300}), tmp_path / "plain")
    assert torch.equal(embedding(run)[259:], embedding(plain)[259:])
    assert not torch.equal(embedding(run), embedding(plain))


def test_a_resume_needs_the_file_no_more_and_ends_alike(described: Described, file: Path, tmp_path: Path) -> None:
    recipe = described(model={"vectors": str(file)})
    whole = start(recipe, tmp_path / "whole")
    train_to_the_end(whole)
    run = start(recipe, tmp_path / "run")

    class Stopped(Exception):  # noqa: N818
        pass

    def stop(run: Run, line: dict[str, Any]) -> None:
        if run.step == 3:
            raise Stopped

    with pytest.raises(Stopped):
        train_to_the_end(run, after_step=stop)
    file.unlink()
    resumed = start(recipe, tmp_path / "run", resume=True)
    train_to_the_end(resumed)
    assert all(torch.equal(resumed.model.get_parameter(name), parameter) for name, parameter in whole.model.named_parameters())
    assert len(events(tmp_path / "run")) == 1
    assert "<td>vectors</td>" in (tmp_path / "run" / "report.html").read_text()


def test_a_run_without_a_checkpoint_begins_with_them_again(described: Described, file: Path, tmp_path: Path) -> None:
    recipe = described(model={"vectors": str(file)})
    first = opened(recipe, tmp_path / "run")
    assert torch.equal(embedding(first), embedding(opened(recipe, tmp_path / "run", resume=True)))
    assert len(events(tmp_path / "run")) == 1


def test_a_resume_with_other_vectors_is_refused(described: Described, file: Path, tmp_path: Path) -> None:
    opened(described(model={"vectors": str(file)}), tmp_path / "run")
    with pytest.raises(RecipeError, match="`model` is not what this run began with"):
        start(described(), tmp_path / "run", resume=True)


@pytest.mark.parametrize("content", [b"a 1 2\nb 1\n", b"", b"\xff\xfe 1 2\n"], ids=["short line", "empty", "no text"])
def test_a_broken_file_is_known_before_any_text_is_tokenized(described: Described, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "vectors.txt").write_bytes(content)
    with pytest.raises(BadFileError, match=r"vectors\.txt"):
        start(described(model={"vectors": str(tmp_path / "vectors.txt")}), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_what_is_missing_is_said_by_a_dry_run_too(described: Described, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = described(model={"vectors": "no-such-file.txt"})
    for attempt in (lambda: describe(recipe), lambda: start(recipe, tmp_path / "run")):
        with pytest.raises(NotFoundError, match=r"no-such-file\.txt"):
            attempt()
    monkeypatch.setattr(vectors, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match="gensim"):
        describe(described(model={"vectors": "train"}))
    assert not (tmp_path / "run").exists()


def test_a_dry_run_reads_no_vectors(described: Described, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "vectors.txt").write_bytes(b"broken")
    monkeypatch.chdir(tmp_path)
    assert describe(described(model={"vectors": "vectors.txt"}))[:2] == describe(described())[:2]


def test_what_has_learnt_or_counts_begins_with_none(described: Described, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="`from` brings embeddings that have learnt"):
        described(model={"from": "m", "vectors": "train"}, data={"tokenizer": None})
    values = described().model_dump(by_alias=True, exclude_none=True)
    values["train"].pop("steps")
    for family in ("ngram", "pcfg"):
        with pytest.raises(RecipeError, match="has no embedding"):
            build_recipe(values | {"model": {"family": family, "vectors": "train"}})


def test_a_family_without_an_embedding_is_refused(described: Described, file: Path) -> None:
    recipe = described(model={"vectors": str(file)})
    model = build.fresh(recipe, 259, place="meta")
    del model.embed
    with pytest.raises(RecipeError, match="has no embedding"):
        vectors.check(recipe, model)


def test_a_group_begins_where_one_process_does(described: Described, file: Path, tmp_path: Path, processes: Any) -> None:
    recipe = described(model={"vectors": str(file)}, train={"precision": "float64", "compile": False, "steps": 3})
    train_to_the_end(start(recipe, tmp_path / "alone" / "runs" / "tiny"))
    (tmp_path / "two").mkdir()
    processes.run("train", tmp_path / "two", recipe=json.loads(recipe.model_dump_json(by_alias=True, exclude_none=True)))
    losses = []
    for folder in ("alone", "two"):
        assert len(events(tmp_path / folder / "runs" / "tiny")) == 1
        lines = (json.loads(line) for line in (tmp_path / folder / "runs" / "tiny" / "log.jsonl").read_text().splitlines())
        losses.append([line["loss"] for line in lines if "loss" in line])
    assert losses[1] == pytest.approx(losses[0], abs=1e-9)
