"""LoRA: nothing changes at first, only the thin matrices learn, and folding them in changes nothing."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from llamarium.adapt import lora
from llamarium.adapt.lora import LoRALinear
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
    def forgetful(layer: LoRALinear) -> torch.nn.Linear:
        with torch.no_grad():
            layer.base.weight += layer.B @ layer.A
        return layer.base

    monkeypatch.setattr(LoRALinear, "fuse", forgetful)
    with pytest.raises(AssertionError):
        test_fused_is_unfused(4, 8.0, False)
