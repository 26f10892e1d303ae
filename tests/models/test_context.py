"""What surrounds a model: each context gives the attention that a loop over positions gives."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from llamarium.models.context import Cached, Dense, Packed
from llamarium.models.model import Context
from llamarium.ops import reference

B, T, H, G, D = 2, 9, 4, 2, 6
CPU = torch.device("cpu")

FORMS: dict[str, dict[str, Any]] = {
    "causal": {},
    "full": {"causal": False},
    "window": {"window": 3},
    "window of one": {"window": 1},
    "window beyond the text": {"window": 50},
    "full window": {"window": 3, "causal": False},
    "chunk": {"chunk": 4},
    "chunk beyond the text": {"chunk": 50},
    "window and chunk": {"window": 3, "chunk": 4},
    "scale": {"scale": 0.3},
    "bias": {"bias_HTS": True},
    "bias and window": {"bias_HTS": True, "window": 2},
    "full bias": {"bias_HTS": True, "causal": False},
}


def tensors(*, heads: int = G, seed: int = 0, rows: int = B) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Queries, keys, values, bias."""
    draw = torch.Generator().manual_seed(seed)
    q = torch.randn(rows, T, H, D, generator=draw)
    k, v = (torch.randn(rows, T, heads, D, generator=draw) for _ in range(2))
    return q, k, v, torch.randn(H, T, T, generator=draw)


def slowly(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    documents: list[list[int]] | None = None,
    scale: float | None = None,
    causal: bool = True,
    window: int | None = None,
    chunk: int | None = None,
    bias_HTS: Tensor | None = None,
) -> Tensor:
    """Attention one position and one head at a time. `documents` numbers each token's document, row by row."""
    result = torch.zeros_like(q)
    for row in range(len(q)):
        numbers = documents[row] if documents else [0] * T
        place = [t - numbers.index(numbers[t]) for t in range(T)]
        for head in range(H):
            group = head // (H // k.shape[2])
            for t in range(T):
                seen = [
                    s
                    for s in range(T)
                    if numbers[s] == numbers[t]
                    and (s <= t or not causal)
                    and (window is None or t - s < window)
                    and (chunk is None or place[t] // chunk == place[s] // chunk)
                ]
                scores = torch.stack([q[row, t, head] @ k[row, s, group] for s in seen]) * (scale or 1 / math.sqrt(D))
                if bias_HTS is not None:
                    scores = scores + torch.stack([bias_HTS[head, t, s] for s in seen])
                result[row, t, head] = torch.softmax(scores, 0) @ torch.stack([v[row, s, group] for s in seen])
    return result


def options(form: str, bias: Tensor) -> dict[str, Any]:
    return {key: bias if key == "bias_HTS" else value for key, value in FORMS[form].items()}


@pytest.mark.parametrize("heads", [1, G, H])
@pytest.mark.parametrize("form", FORMS)
def test_dense_is_attention(form: str, heads: int) -> None:
    q, k, v, bias = tensors(heads=heads)
    context: Context = Dense(torch.zeros(B, T, dtype=torch.long))
    torch.testing.assert_close(context.attend(0, q, k, v, **options(form, bias)), slowly(q, k, v, **options(form, bias)))


@pytest.mark.parametrize("form", FORMS)
def test_packed_documents_do_not_see_each_other(form: str) -> None:
    q, k, v, bias = tensors()
    documents = [[0, 0, 0, 1, 2, 2, 2, 2, 2], [3, 3, 3, 3, 3, 3, -1, -1, -1]]
    context: Context = Packed(torch.tensor(documents))
    expected = slowly(q, k, v, documents=documents, **options(form, bias))
    torch.testing.assert_close(context.attend(0, q, k, v, **options(form, bias)), expected)


def test_positions_start_anew_with_each_document() -> None:
    documents = torch.tensor([[0, 0, 0, 1, 2, 2], [4, 4, 4, 4, -1, -1]])
    assert Packed(documents).positions_BT.tolist() == [[0, 1, 2, 0, 0, 1], [0, 1, 2, 3, 0, 1]]
    assert Dense(documents).positions_BT.tolist() == [[0, 1, 2, 3, 4, 5]]


def chunks(number: int) -> st.SearchStrategy[list[int]]:
    """Ways to cut `number` tokens into calls."""
    return st.lists(st.booleans(), min_size=number - 1, max_size=number - 1).map(
        lambda cuts: [end - start for start, end in zip([0, *ends(cuts)], [*ends(cuts), number], strict=True)]
    )


def ends(cuts: list[bool]) -> list[int]:
    return [place + 1 for place, cut in enumerate(cuts) if cut]


@given(chunks(T), st.sampled_from([form for form in FORMS if "full" not in form]), st.sampled_from([1, G, H]), st.sampled_from([T, T + 5]))
@settings(max_examples=150, deadline=None)
def test_cached_is_dense_however_the_text_is_cut(lengths: list[int], form: str, heads: int, capacity: int) -> None:
    q, k, v, bias = tensors(heads=heads, rows=1)
    expected = slowly(q, k, v, **options(form, bias))
    cache = Cached(capacity=capacity, device=CPU)
    found, start = [], 0
    for length in lengths:
        end = start + length
        cache.step(length)
        assert cache.positions_BT.tolist() == [list(range(start, end))]
        parts = (x[:, start:end] for x in (q, k, v))
        found.append(cache.attend(0, *parts, **options(form, bias[:, start:end, :end])))
        start = end
    torch.testing.assert_close(torch.cat(found, dim=1), expected)


def test_the_cache_of_one_layer_is_not_that_of_another() -> None:
    q, k, v, _ = tensors(rows=1)
    cache = Cached(capacity=T, device=CPU)
    for t in range(T):
        cache.step(1)
        for layer, values in ((0, v), (1, -v)):
            y = cache.attend(layer, q[:, t : t + 1], k[:, t : t + 1], values[:, t : t + 1])
            torch.testing.assert_close(y, (1 if layer == 0 else -1) * slowly(q, k, v)[:, t : t + 1])


def test_rows_of_a_cache_are_texts_of_their_own() -> None:
    q, k, v, _ = tensors()
    cache = Cached(capacity=T, device=CPU)
    parts = [cache.step(1).attend(0, q[:, t : t + 1], k[:, t : t + 1], v[:, t : t + 1]) for t in range(T)]
    torch.testing.assert_close(torch.cat(parts, dim=1), slowly(q, k, v))


def test_a_cache_is_never_overfull() -> None:
    cache = Cached(capacity=4, device=CPU).step(3)
    with pytest.raises(AssertionError):
        cache.step(2)


@pytest.mark.parametrize("context", [Dense(torch.zeros(1, 2)), Packed(torch.zeros(1, 2)), Cached(capacity=2, device=CPU)])
def test_states_are_kept_by_layer(context: Context) -> None:
    assert context.state(0) is None
    context.store(0, torch.ones(1))
    context.store(1, torch.zeros(1))
    assert (context.state(0), context.state(1), context.state(2)) == (torch.ones(1), torch.zeros(1), None)


def test_gradients_flow_through_every_form() -> None:
    q, k, v, bias = (x.requires_grad_() for x in tensors())
    for form in FORMS:
        Dense(torch.zeros(B, T, dtype=torch.long)).attend(0, q, k, v, **options(form, bias)).sum().backward()  # type: ignore[no-untyped-call]
    assert all(x.grad is not None and x.grad.isfinite().all() for x in (q, k, v, bias))


# --- a number for each head, query and key that is added to the scores, as T5's distances are ---


@pytest.fixture(params=[0, 512], ids=["torch's road", "as written"])
def road(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reference, "SHORT", request.param)


def looked_up(bias: Tensor) -> Tensor:
    """The same numbers as they come out of a table: heads last in memory."""
    return bias.permute(1, 2, 0).contiguous().permute(2, 0, 1)


@pytest.mark.usefixtures("road")
@pytest.mark.parametrize("heads", [1, G, H])
@pytest.mark.parametrize("causal", [False, True])
def test_a_bias_from_a_table_is_added(causal: bool, heads: int) -> None:
    q, k, v, bias = tensors(heads=heads)
    documents = [[0, 0, 0, 1, 2, 2, 2, 2, 2], [3, 3, 3, 3, 3, 3, -1, -1, -1]]
    dense, packed = Dense(torch.tensor(documents)), Packed(torch.tensor(documents))
    for context, numbers in ((dense, None), (packed, documents)):
        found = context.attend(0, q, k, v, causal=causal, scale=1.0, bias_HTS=looked_up(bias))
        torch.testing.assert_close(found, slowly(q, k, v, documents=numbers, causal=causal, scale=1.0, bias_HTS=bias))


@pytest.mark.usefixtures("road")
@pytest.mark.parametrize("lengths", [[1] * T, [T], [4, 1, 4], [1, 8]])
def test_a_bias_from_a_table_is_added_to_what_is_cached(lengths: list[int]) -> None:
    q, k, v, bias = tensors()
    cache, found, start = Cached(capacity=T + 3, device=CPU), [], 0
    for length in lengths:
        end = start + length
        cache.step(length)
        assert cache.num_keys == end
        parts = (x[:, start:end] for x in (q, k, v))
        found.append(cache.attend(0, *parts, bias_HTS=looked_up(bias)[:, start:end, : cache.num_keys]))
        start = end
    torch.testing.assert_close(torch.cat(found, dim=1), slowly(q, k, v, bias_HTS=bias))


@pytest.mark.usefixtures("road")
def test_a_bias_learns_from_every_score_it_was_added_to() -> None:
    """Its gradient is the sum over rows, and nothing where a document does not see."""
    documents = torch.tensor([[0, 0, 0, 1, 2, 2, 2, 2, 2], [3, 3, 3, 3, 3, 3, -1, -1, -1]])
    for context, numbers in ((Dense(documents), None), (Packed(documents), documents.tolist())):
        q, k, v, bias = tensors()
        gradients = []
        for attend in (context.attend, None):
            leaf = bias.clone().requires_grad_()
            y = attend(0, q, k, v, bias_HTS=leaf) if attend else slowly(q, k, v, documents=numbers, bias_HTS=leaf)
            gradients.append(torch.autograd.grad(y.square().sum(), leaf)[0])
        torch.testing.assert_close(*gradients)
        assert gradients[0].abs().amax((1, 2)).min() > 0
        assert gradients[0].triu(1).abs().max() == 0
        assert (gradients[0][:, 8, 1].abs().max() == 0) == (numbers is not None)


def test_keys_are_counted() -> None:
    assert Dense(torch.zeros(2, 5)).num_keys == Packed(torch.zeros(2, 5)).num_keys == 5
    cache = Cached(capacity=9, device=CPU)
    assert [cache.step(number).num_keys for number in (4, 1, 3)] == [4, 5, 8]
