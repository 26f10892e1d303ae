from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path
from typing import Any

import pytest

from llamarium.apps.ladder.rungs import RUNGS, SEQUENCE, Rung, describe
from llamarium.models import families, family
from llamarium.models.model import Model
from llamarium.train import build
from llamarium.train.recipe import Recipe

SIZES = ("1M", "3M", "10M")


def described(rung: Rung, *, size: str = "1M", vocab_size: int = 2048, **changes: Any) -> Recipe:
    length = {"minutes": 1.0}
    values: dict[str, Any] = {"seed": 1, "length": length, "precision": "float32"} | changes
    return describe(rung, tokens=Path("tokens"), tokenizer=Path("tokenizer"), vocab_size=vocab_size, size=size, **values)


def shaped(rung: Rung, **changes: Any) -> Model:
    return build.shaped(described(rung, **changes), changes.get("vocab_size", 2048), place="meta")


NETWORKS = [rung for rung in RUNGS if not rung.counts]


def test_names_are_folders_of_their_own() -> None:
    names = [described(rung, seed=seed).name for rung in RUNGS for seed in (1, 2, 3)]
    assert len(set(names)) == len(names)
    assert {described(rung).name for rung in RUNGS} == {rung.key for rung in RUNGS}


def test_every_rung_says_what_it_adds() -> None:
    assert len({rung.adds for rung in RUNGS}) == len({rung.name for rung in RUNGS}) == len(RUNGS)
    assert {rung.family for rung in RUNGS} <= set(families())


def test_each_rung_is_the_one_before_and_one_thing_more() -> None:
    steps = [rung for rung in RUNGS if rung.family == "gpt"]
    for before, after in itertools.pairwise(steps):
        assert before.fields.items() <= after.fields.items()
        assert len(after.fields) == len(before.fields) + 1


@pytest.mark.parametrize("size", SIZES)
def test_all_networks_are_about_as_large(size: str) -> None:
    """Or the comparison would be one of sizes: the largest has at most a quarter more weights than the smallest."""
    numbers = [shaped(rung, size=size).num_parameters() for rung in NETWORKS]
    assert max(numbers) <= 1.25 * min(numbers), numbers


@pytest.mark.parametrize(("size", "vocab_size"), [("40k", 259), ("40k", 300), ("300k", 2048), ("1M", 2048), ("1M", 4096), ("3M", 4096)])
def test_shared_heads_divide_the_query_heads(size: str, vocab_size: int) -> None:
    (rung,) = (rung for rung in RUNGS if rung.grouped)
    config = shaped(rung, size=size, vocab_size=vocab_size).config
    assert config.heads % config.kv_heads == 0
    assert config.kv_heads < config.heads or config.heads == 1


@pytest.mark.parametrize("rung", NETWORKS, ids=lambda rung: rung.key)
def test_all_networks_see_the_same(rung: Rung) -> None:
    recipe, first = described(rung), described(NETWORKS[0])
    assert recipe.data == first.data
    same = ("minutes", "batch_tokens", "sequence_length", "precision", "objective")
    assert [getattr(recipe.train, key) for key in same] == [getattr(first.train, key) for key in same]
    assert recipe.optimizer == first.optimizer
    assert recipe.train.sequence_length == SEQUENCE


def test_every_network_is_compiled_or_none() -> None:
    for rung in NETWORKS:
        assert described(rung, compiled=True).train.compile is True
        assert described(rung, compiled=False).train.compile is False


def test_what_counts_has_no_length() -> None:
    for rung in RUNGS:
        if rung.counts:
            recipe = described(rung)
            assert recipe.train.minutes is None
            assert recipe.train.tokens is None


def test_fields_are_those_of_the_family() -> None:
    for rung in RUNGS:
        there = {each.name for each in dataclasses.fields(family(rung.family).Config)}
        assert set(rung.fields) <= there
