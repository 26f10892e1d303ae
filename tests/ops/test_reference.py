"""Attention by whichever road against the formula written with loops."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from llamarium.ops import reference
from llamarium.ops.reference import attention, visible

B, T, D = 2, 7, 8


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def by_hand(q: Tensor, k: Tensor, v: Tensor, seen: Tensor, bias: Tensor, *, scale: float) -> Tensor:
    """One query of one head at a time. `seen` (B, T, S), `bias` (H, T, S)."""
    y = torch.zeros(*q.shape[:3], v.shape[-1], dtype=q.dtype)
    H, G = q.shape[2], k.shape[2]
    for b in range(q.shape[0]):
        for h in range(H):
            g = h // (H // G)
            for t in range(q.shape[1]):
                places = seen[b, t].nonzero()[:, 0]
                scores = torch.stack([q[b, t, h] @ k[b, s, g] * scale + bias[h, t, s] for s in places])
                y[b, t, h] = torch.softmax(scores, 0) @ v[b, places, g]
    return y


KINDS = ["full", "causal", "bool", "bool by row", "bias", "bias by row"]


@pytest.mark.parametrize("short", [0, 512], ids=["torch's", "as written"])
@pytest.mark.parametrize(("H", "G"), [(4, 4), (4, 2), (4, 1)])
@pytest.mark.parametrize("kind", KINDS)
def test_attention_is_the_formula(short: int, H: int, G: int, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reference, "SHORT", short)
    q, k, v = drawn(B, T, H, D), drawn(B, T, G, D, seed=1), drawn(B, T, G, D, seed=2)
    seen, bias = torch.ones(B, T, T, dtype=torch.bool), torch.zeros(H, T, T, dtype=torch.float64)
    mask: Tensor | None = None
    if kind in ("causal", "bool"):
        seen = seen.tril()
        mask = seen[:1, None] if kind == "bool" else None
    if kind == "bool by row":
        seen = visible(torch.arange(T)[None], torch.arange(T)[None], window=3).expand(B, 1, T, T)[:, 0].clone()
        seen[1] = torch.ones(T, T, dtype=torch.bool).tril()
        mask = seen[:, None]
    if kind.startswith("bias"):
        bias = drawn(H, T, T, seed=3)
        mask = bias if kind == "bias" else bias.expand(B, H, T, T).masked_fill(~seen.tril()[:, None], -math.inf)
        seen = seen if kind == "bias" else seen.tril()
    found = attention(q, k, v, mask=mask, causal=kind == "causal")
    torch.testing.assert_close(found, by_hand(q, k, v, seen, bias, scale=D**-0.5))
    scaled = attention(q, k, v, mask=mask, causal=kind == "causal", scale=0.3)
    torch.testing.assert_close(scaled, by_hand(q, k, v, seen, bias, scale=0.3))


def test_the_two_roads_give_the_same_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    inputs = [drawn(B, T, 4, D), drawn(B, T, 2, D, seed=1), drawn(B, T, 2, D, seed=2)]
    found = []
    for short in (0, 512):
        monkeypatch.setattr(reference, "SHORT", short)
        fresh = [each.clone().requires_grad_() for each in inputs]
        found.append(torch.autograd.grad(attention(*fresh, causal=True).square().sum(), fresh))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other)


def test_fewer_queries_than_keys() -> None:
    """As a cache asks: the last positions over all."""
    q, k, v = drawn(1, 3, 4, D), drawn(1, T, 2, D, seed=1), drawn(1, T, 2, D, seed=2)
    seen = visible(torch.arange(T - 3, T)[None], torch.arange(T)[None])
    torch.testing.assert_close(attention(q, k, v, mask=seen), by_hand(q, k, v, seen[0], torch.zeros(4, 3, T, dtype=q.dtype), scale=D**-0.5))


@pytest.mark.parametrize("short", [0, 512], ids=["torch's", "as written"])
@pytest.mark.parametrize("shape", [(4, 1, T), (4, T, 1), (1, T, T), (B, 4, 1, T), (B, 1, 1, T), (1, 4, T, T), (T, T)])
def test_a_mask_is_broadcast(short: int, shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    """Over rows, heads and queries, whichever it leaves out."""
    monkeypatch.setattr(reference, "SHORT", short)
    q, k, v = drawn(B, T, 4, D), drawn(B, T, 2, D, seed=1), drawn(B, T, 2, D, seed=2)
    mask = drawn(*shape, seed=3)
    found = attention(q, k, v, mask=mask)
    for row, bias in enumerate(mask.expand(B, 4, T, T)):
        seen = torch.ones(1, T, T, dtype=torch.bool)
        one = slice(row, row + 1)
        torch.testing.assert_close(found[one], by_hand(q[one], k[one], v[one], seen, bias, scale=D**-0.5))
