"""Modules replaced by name, and put back."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from llamarium.adapt import surgery
from llamarium.ground.errors import UsageError
from llamarium.models import llama

LAST = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


def model() -> llama.Model:
    return llama.Model(llama.TINY)


@pytest.mark.parametrize(
    ("targets", "expected"),
    [
        (["q_proj"], ["blocks.0.attention.q_proj", "blocks.1.attention.q_proj"]),
        (["v_proj", "q_proj"], [f"blocks.{n}.attention.{part}" for n in (0, 1) for part in ("q_proj", "v_proj")]),
        (["blocks.1.mlp.*"], [f"blocks.1.mlp.{part}" for part in ("gate_proj", "up_proj", "down_proj")]),
        (["*_proj"], [f"blocks.{n}.{'attention' if part[0] in 'qkvo' else 'mlp'}.{part}" for n in (0, 1) for part in LAST]),
        (["blocks.0.attention.q_proj", "q_proj"], ["blocks.0.attention.q_proj", "blocks.1.attention.q_proj"]),
        ([], []),
    ],
)
def test_patterns_match_the_last_part_or_the_whole_name(targets: list[str], expected: list[str]) -> None:
    assert sorted(surgery.linears(model(), targets)) == sorted(expected)


def test_the_order_is_that_of_the_model() -> None:
    names = [name for name, module in model().named_modules() if isinstance(module, nn.Linear)]
    assert surgery.linears(model(), ["*"]) == names


@pytest.mark.parametrize(
    ("target", "hint"), [("q_pro", "Did you mean 'q_proj'?"), ("embed", "down_proj, gate_proj"), ("blocks.7.*", "Known:")]
)
def test_a_pattern_that_matches_nothing_is_refused(target: str, hint: str) -> None:
    with pytest.raises(UsageError, match="No linear layer is called") as caught:
        surgery.linears(model(), ["q_proj", target])
    assert hint in caught.value.hint


def test_replaced_modules_stand_where_the_old_ones_stood_and_can_be_put_back() -> None:
    one = model()
    ids = torch.zeros(1, 3, dtype=torch.long)
    from llamarium.models.context import Dense

    before = one(ids, Dense(ids))
    old = {name: one.get_submodule(name) for name in surgery.linears(one, ["o_proj"])}
    made: list[nn.Module] = []

    def wrap(module: nn.Module) -> nn.Module:
        made.append(nn.Sequential(module, nn.Identity()))
        return made[-1]

    surgery.replace(one, old, wrap)
    assert [one.get_submodule(name) for name in old] == made
    assert torch.equal(one(ids, Dense(ids)), before)

    def unwrap(module: nn.Module) -> nn.Module:
        assert isinstance(module, nn.Sequential)
        return module[0]

    surgery.replace(one, old, unwrap)
    assert {name: one.get_submodule(name) for name in old} == old


def test_a_module_at_the_top_can_be_replaced() -> None:
    untied = llama.Model(llama.Config(vocab_size=8, width=8, layers=1, heads=1, tied=False))
    surgery.replace(untied, surgery.linears(untied, ["head"]), lambda _: nn.Identity())
    assert isinstance(untied.head, nn.Identity)
