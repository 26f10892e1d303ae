"""A family that counts is trained by the same command, into the same kind of folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from llamarium.checkpoint.open import open_model
from llamarium.engine.language_model import load
from llamarium.evaluate.bits_per_byte import bits_per_byte
from llamarium.ground.errors import ExistsError, RecipeError
from llamarium.text.corpus import open_corpus
from llamarium.train.estimate import describe
from llamarium.train.fit import fit
from llamarium.train.log import read
from llamarium.train.recipe import Recipe, build, fitted
from llamarium.train.recipe import read as read_recipe


def counting(corpus: Path, **model: object) -> Recipe:
    return build({"name": "counts", "data": {"corpus": str(corpus), "tokenizer": "bytes"}, "model": {"family": "ngram", **model}})


def test_it_learns_and_is_a_model_like_any_other(corpus: Path, tmp_path: Path) -> None:
    recipe = counting(corpus, order=4)
    assert fitted(recipe)
    path = fit(recipe, tmp_path / "run")
    opened = open_model(tmp_path / "run")
    assert path == tmp_path / "run" / "model"
    bits = bits_per_byte(
        opened.model, opened.tokenizer, (document.text for document in open_corpus(corpus).documents("valid"))
    ).bits_per_byte
    (line,) = read(tmp_path / "run" / "log.jsonl")
    assert line["detail"]["bits_per_byte"] == pytest.approx(bits, abs=1e-9)
    assert bits < 2.5
    assert read_recipe(tmp_path / "run" / "recipe.yaml") == recipe
    said = load(path).generate("The llama eats", temperature=0, max_tokens=12).text
    assert said.startswith(" g")


def test_a_longer_context_knows_more(corpus: Path, tmp_path: Path) -> None:
    bits = []
    for order in (1, 2, 4):
        fit(counting(corpus, order=order), tmp_path / str(order))
        bits.append(read(tmp_path / str(order) / "log.jsonl")[0]["detail"]["bits_per_byte"])
    assert bits[0] > bits[1] > bits[2]


def test_an_unfinished_fit_starts_again_and_a_finished_one_stays(corpus: Path, tmp_path: Path) -> None:
    recipe = counting(corpus)
    path = fit(recipe, tmp_path / "run")
    with pytest.raises(ExistsError):
        fit(recipe, tmp_path / "run")
    weights = (path / "model.safetensors").read_bytes()
    written = (path / "model.safetensors").stat().st_mtime_ns
    assert fit(recipe, tmp_path / "run", resume=True) == path
    assert (path / "model.safetensors").stat().st_mtime_ns == written
    for file in path.iterdir():
        file.unlink()
    path.rmdir()
    assert (fit(recipe, tmp_path / "run", resume=True) / "model.safetensors").read_bytes() == weights


def test_what_it_has_no_use_for_is_refused(corpus: Path) -> None:
    with pytest.raises(RecipeError, match="fitted to all of its text at once"):
        build({"name": "x", "data": {"corpus": str(corpus), "tokenizer": "bytes"}, "model": {"family": "ngram"}, "train": {"steps": 3}})
    with pytest.raises(RecipeError, match="exactly one of steps"):
        build({"name": "x", "data": {"corpus": str(corpus), "tokenizer": "bytes"}})


def test_a_dry_run_says_what_it_will_read(corpus: Path) -> None:
    lines = describe(counting(corpus))
    assert "ngram" in lines[0]
    assert "tokens to learn from" in lines[1]
