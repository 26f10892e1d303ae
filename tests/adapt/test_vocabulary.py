"""A larger vocabulary: old ids as they were, new ones from the mean of their parts."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from llamarium.adapt.vocabulary import extend_vocabulary, rows_for
from llamarium.ground.errors import UsageError
from llamarium.models import family
from llamarium.models.context import Dense
from llamarium.models.model import Model, Network

FAMILIES = ("llama", "gpt", "llama4")
MADE_OF = {64: (3, 5), 65: (7,), 66: (1, 2, 2)}


def fresh(name: str = "llama", **fields: object) -> Network:
    torch.manual_seed(0)
    module = family(name)
    model: Network = module.Model(dataclasses.replace(module.TINY, **fields))
    model.initialize()
    return model.eval()


def logits(model: Model, ids: list[int]) -> torch.Tensor:
    ids_BT = torch.tensor([ids])
    with torch.no_grad():
        result: torch.Tensor = model(ids_BT, Dense(ids_BT))
    return result


@pytest.mark.parametrize("tied", [True, False])
def test_logits_of_old_ids_are_unchanged(tied: bool) -> None:
    model = fresh(tied=tied)
    grown = extend_vocabulary(model, MADE_OF)
    ids = [1, 5, 63, 0, 9]
    before, after = logits(model, ids), logits(grown, ids)
    assert torch.equal(after[..., :64], before)
    # The logit of a mean of rows is the mean of logits.
    torch.testing.assert_close(after[..., 64], before[..., [3, 5]].mean(-1))
    torch.testing.assert_close(after[..., 66], before[..., [1, 2, 2]].mean(-1))


@pytest.mark.parametrize("name", FAMILIES)
def test_rows_are_means_in_every_family(name: str) -> None:
    model = fresh(name)
    old = model.config.vocab_size
    grown = extend_vocabulary(model, {old: (3, 5), old + 1: (7,)})
    rows = model.get_parameter("embed.weight")
    new = grown.get_parameter("embed.weight")
    assert grown.config.vocab_size == len(new) == -(-(old + 2) // 64) * 64
    assert torch.equal(new[:old], rows)
    torch.testing.assert_close(new[old], (rows[3] + rows[5]) / 2)
    assert torch.equal(new[old + 1], rows[7])
    torch.testing.assert_close(new[old + 2], rows.mean(0))
    assert {key for key, tensor in grown.state_dict().items() if tensor.device.type == "meta"} == set()


def test_a_model_keeps_its_type_and_uses_rows_that_it_has() -> None:
    model = fresh(vocab_size=128).to(torch.bfloat16)
    grown = extend_vocabulary(model, MADE_OF)
    assert grown.config.vocab_size == 128
    assert {tensor.dtype for tensor in grown.state_dict().values()} == {torch.bfloat16}
    old, new = model.get_parameter("embed.weight"), grown.get_parameter("embed.weight")
    assert torch.equal(new[65], old[7])
    assert torch.equal(new[67:], old[67:])
    assert torch.equal(new[64], ((old[3].float() + old[5].float()) / 2).bfloat16())


def test_the_model_that_is_given_stays_as_it_was() -> None:
    model = fresh()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    extend_vocabulary(model, MADE_OF)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert model.config.vocab_size == 64


def test_rows_are_rounded_up_only_where_some_are_added() -> None:
    assert [rows_for(64, number) for number in (0, 64, 65, 128, 129)] == [64, 64, 128, 128, 192]
    assert rows_for(49_152, 49_153) == 49_216
    assert rows_for(100, 101, multiple=1) == 101


def test_what_has_no_rows_is_refused() -> None:
    module = family("ngram")
    with pytest.raises(UsageError, match="embedding"):
        extend_vocabulary(module.Model(module.TINY), {64: (1,)})
    for wrong in ({64: ()}, {64: (64,)}, {64: (-1,)}):
        with pytest.raises(AssertionError):
            extend_vocabulary(fresh(), wrong)
