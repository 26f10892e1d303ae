"""LoRA: nothing changes at first, only the thin matrices learn, and folding them in changes nothing."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor

from llamarium.adapt import lora
from llamarium.adapt.lora import FusedLinear, LoRALinear
from llamarium.ground.errors import UsageError
from llamarium.models import llama
from llamarium.models.context import Dense

IDS = torch.randint(0, llama.TINY.vocab_size, (2, 10), generator=torch.Generator().manual_seed(0))
TARGETS = ["q_proj", "v_proj", "down_proj"]


def fresh(**changes: Any) -> llama.Model:
    torch.manual_seed(0)
    model = llama.Model(llama.Config(vocab_size=64, width=32, layers=2, heads=4, kv_heads=2, **changes))
    model.initialize()
    return model


def adapted(dropout: float = 0.0, targets: list[str] = TARGETS, **changes: Any) -> llama.Model:
    """A model with LoRA layers that have learnt something."""
    model = fresh(**changes)
    lora.add(model, rank=4, alpha=8, targets=targets, dropout=dropout)
    learn(model)
    return model


def base_weights(model: llama.Model) -> dict[str, Tensor]:
    """What `model` was before it had LoRA layers."""
    return {name.replace(".base.", "."): tensor.clone() for name, tensor in model.state_dict().items() if not name.endswith((".A", ".B"))}


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def logits(model: llama.Model) -> Tensor:
    result: Tensor = model(IDS, Dense(IDS))
    return result


def learn(model: llama.Model, steps: int = 5) -> None:
    optimizer = torch.optim.AdamW([parameter for parameter in model.parameters() if parameter.requires_grad], lr=1e-2)
    for _ in range(steps):
        loss = torch.nn.functional.cross_entropy(logits(model)[:, :-1].flatten(0, 1), IDS[:, 1:].flatten())
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad()


def test_at_first_nothing_changes() -> None:
    model = fresh()
    before = logits(model)
    names = lora.add(model, rank=4, alpha=8, targets=TARGETS)
    assert len(names) == 6
    assert torch.equal(logits(model), before)
    first = model.get_submodule(names[0])
    assert isinstance(first, LoRALinear)
    assert first.A.abs().min() > 0
    assert (first.B == 0).all()


def test_only_the_thin_matrices_learn() -> None:
    model = fresh()
    lora.add(model, rank=4, alpha=8, targets=TARGETS)
    learning = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert learning == {
        f"blocks.{n}.{part}.{letter}"
        for n in (0, 1)
        for part in ("attention.q_proj", "attention.v_proj", "mlp.down_proj")
        for letter in "AB"
    }
    before = {name: parameter.clone() for name, parameter in model.named_parameters()}
    learn(model)
    changed = {name for name, parameter in model.named_parameters() if not torch.equal(parameter, before[name])}
    assert changed == learning


def test_the_formula() -> None:
    base = torch.nn.Linear(6, 5)
    layer = LoRALinear(base, rank=3, alpha=12)
    torch.nn.init.normal_(layer.B)
    x = torch.randn(2, 6)
    expected = x @ base.weight.T + base.bias + 12 / 3 * (x @ layer.A.T @ layer.B.T)
    torch.testing.assert_close(layer(x), expected)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize(("rank", "alpha"), [(1, 1.0), (4, 8.0), (64, 3.0)])
def test_fused_is_unfused(rank: int, alpha: float, bias: bool) -> None:
    model = fresh(qkv_bias=bias, mlp_bias=bias)
    plain = {name: parameter.shape for name, parameter in model.named_parameters()}
    before = logits(model)
    lora.add(model, rank=rank, alpha=alpha, targets=TARGETS)
    learn(model)
    after = logits(model)
    assert (after - before).abs().max() > 1e-3
    lora.fuse(model)
    assert (logits(model) - after).abs().max() < 1e-5
    assert {name: parameter.shape for name, parameter in model.named_parameters()} == plain
    assert not any(isinstance(module, LoRALinear) for module in model.modules())


def test_fusing_a_model_without_lora_changes_nothing() -> None:
    model = fresh()
    before = logits(model)
    lora.fuse(model)
    assert torch.equal(logits(model), before)


@pytest.mark.parametrize("targets", [["*"], ["head"], ["*_proj"], ["blocks.1.*", "head"]], ids=" ".join)
@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_after_training_the_base_is_the_same_to_the_bit(targets: list[str], dropout: float) -> None:
    before = fresh(tied=False).state_dict()
    model = adapted(dropout, targets, tied=False)
    assert same(base_weights(model), before)
    assert all((layer.B != 0).any() for layer in lora.layers(model).values()), "and each layer has learnt something"


def test_a_star_means_the_head_too_where_it_is_a_module() -> None:
    assert "head" in lora.add(fresh(tied=False), rank=2, alpha=4, targets=["*"])
    assert "head" not in lora.add(fresh(tied=True), rank=2, alpha=4, targets=["*"])


# --- dropout ---


def test_dropout_is_on_the_way_to_a_only() -> None:
    base = torch.nn.Linear(6, 5)
    layer = LoRALinear(base, rank=3, alpha=12, dropout=0.5)
    torch.nn.init.normal_(layer.B)
    x = torch.randn(2, 6)
    torch.manual_seed(3)
    kept = torch.nn.functional.dropout(x, 0.5)
    assert (kept == 0).any()
    torch.manual_seed(3)
    torch.testing.assert_close(layer(x), base(x) + 12 / 3 * (kept @ layer.A.T @ layer.B.T))


def test_without_training_nothing_is_dropped_and_no_number_is_drawn() -> None:
    model = adapted(0.5).eval()
    state = torch.get_rng_state()
    first = logits(model)
    assert torch.equal(logits(model), first)
    assert torch.equal(torch.get_rng_state(), state)
    assert not torch.equal(logits(model.train()), first)


def test_layers_are_in_the_mode_of_their_model() -> None:
    model = fresh().eval()
    lora.add(model, rank=4, alpha=8, targets=TARGETS, dropout=0.5)
    assert not any(module.training for module in model.modules())
    lora.fuse(model, keep=True)
    model.train()
    lora.unfuse(model)
    assert all(module.training for module in model.modules())


def test_with_the_random_state_restored_training_goes_on_to_the_bit() -> None:
    """What a checkpoint keeps is enough: weights and torch's random state."""
    model = adapted(0.3)
    again, state = copy.deepcopy(model), torch.get_rng_state()
    learn(model)
    torch.manual_seed(99)
    torch.set_rng_state(state)
    learn(again)
    assert same(model.state_dict(), again.state_dict())


@pytest.mark.parametrize("values", [{"dropout": 1.0}, {"dropout": -0.1}, {"dropout": float("nan")}, {"rank": 0}, {"alpha": float("inf")}])
def test_settings_that_make_no_sense_are_refused(values: dict[str, Any]) -> None:
    model = fresh()
    with pytest.raises(UsageError) as caught:
        lora.add(model, **{"rank": 4, "alpha": 8, "targets": TARGETS, **values})
    assert caught.value.hint
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_a_model_gets_lora_layers_once() -> None:
    model = adapted()
    with pytest.raises(UsageError, match="already"):
        lora.add(model, rank=4, alpha=8, targets=["o_proj"])


# --- fused and taken apart again ---


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_unfused_everything_is_the_same_to_the_bit(dtype: torch.dtype) -> None:
    model = adapted(0.1, ["*"], tied=False, qkv_bias=True).eval()
    for layer in lora.layers(model).values():
        layer.base.to(dtype)
    before, names = copy.deepcopy(model.state_dict()), list(lora.layers(model))
    lora.fuse(model, keep=True)
    assert model.state_dict().keys() == fresh(tied=False, qkv_bias=True).state_dict().keys()
    assert not any(parameter.requires_grad for name, parameter in model.named_parameters() if "proj" in name)
    assert not same({**before, **base_weights(model)}, before), "the weights have changed"
    lora.unfuse(model)
    assert same(model.state_dict(), before)
    assert list(lora.layers(model)) == names
    assert {name for name, parameter in model.named_parameters() if parameter.requires_grad} == set(lora.tensors(model))


def test_kept_or_not_the_fused_weights_are_the_same() -> None:
    one, other = adapted(), adapted()
    lora.fuse(one)
    lora.fuse(other, keep=True)
    assert same(one.state_dict(), other.state_dict())
    assert sum(isinstance(module, FusedLinear) for module in other.modules()) == 6
    assert not any(isinstance(module, FusedLinear) for module in one.modules()), "nothing is remembered unasked"


def test_training_goes_on_after_a_look_at_the_fused_model() -> None:
    model = adapted()
    again = copy.deepcopy(model)
    lora.fuse(model, keep=True)
    logits(model)
    lora.unfuse(model)
    learn(model)
    learn(again)
    assert same(model.state_dict(), again.state_dict())


def test_what_was_fused_for_good_is_not_taken_apart() -> None:
    model = adapted()
    lora.fuse(model)
    with pytest.raises(UsageError, match="remembers") as caught:
        lora.unfuse(model)
    assert "keep" in caught.value.hint


def test_control_subtracting_what_was_added_does_not_restore_the_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    def subtracting(fused: FusedLinear) -> LoRALinear:
        thin = fused._thin[0]
        with torch.no_grad():
            thin.base.weight.copy_(fused.weight - (thin.scale * thin.B @ thin.A).to(fused.weight.dtype))
        return thin

    monkeypatch.setattr(FusedLinear, "unfuse", subtracting)
    with pytest.raises(AssertionError):
        test_unfused_everything_is_the_same_to_the_bit(torch.float32)


def test_the_thin_matrices_are_float32_beside_a_base_that_is_not() -> None:
    model = fresh().bfloat16()
    lora.add(model, rank=4, alpha=8, targets=TARGETS)
    learn(model)
    assert {parameter.dtype for parameter in lora.tensors(model).values()} == {torch.float32}
    assert logits(model).dtype == torch.bfloat16


def test_tensors_are_the_parameters_themselves() -> None:
    model = adapted()
    parameters = dict(model.named_parameters())
    assert list(lora.tensors(model))[:2] == ["blocks.0.attention.q_proj.A", "blocks.0.attention.q_proj.B"]
    assert all(parameters[name] is parameter for name, parameter in lora.tensors(model).items())
    assert sum(parameter.requires_grad for parameter in parameters.values()) == len(lora.tensors(model))


def test_a_target_that_is_not_there_is_refused_with_the_nearest() -> None:
    with pytest.raises(UsageError, match="'q_porj'") as caught:
        lora.add(fresh(), rank=4, alpha=8, targets=["v_proj", "q_porj"])
    assert caught.value.hint == "Did you mean 'q_proj'?"


def test_a_refused_target_leaves_the_model_as_it_was() -> None:
    model = fresh()
    with pytest.raises(UsageError):
        lora.add(model, rank=4, alpha=8, targets=["nothing"])
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_control_a_scale_that_is_forgotten_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    def forgetful(layer: LoRALinear, *, keep: bool = False) -> torch.nn.Linear:
        with torch.no_grad():
            layer.base.weight += layer.B @ layer.A
        return layer.base

    monkeypatch.setattr(LoRALinear, "fuse", forgetful)
    with pytest.raises(AssertionError):
        test_fused_is_unfused(4, 8.0, False)
