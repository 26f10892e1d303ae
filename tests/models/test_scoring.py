"""How probable a model finds documents: every id once, as a loop over single ids finds it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from llamarium.models import llama, ngram, scoring
from llamarium.models.context import Dense
from llamarium.models.model import Context, Model
from llamarium.models.scoring import log2_probabilities, windows

V = 64


def documents(*lengths: int) -> list[list[int]]:
    draw = np.random.default_rng(3)
    return [draw.integers(0, V, length).tolist() for length in lengths]


def network() -> llama.Model:
    torch.manual_seed(0)
    model = llama.Model(llama.TINY)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return model


def counts() -> ngram.Model:
    model = ngram.Model(ngram.TINY)
    model.fit(documents(200, 100))
    return model


class Plain(Model):
    """The same logits by way of `forward` alone, as a model without hidden states gives them."""

    KIND = "decoder"

    def __init__(self, inner: llama.Model) -> None:
        super().__init__()
        self.inner, self.config, self.blocks = inner, inner.config, inner.blocks

    def forward(self, ids_BT: Tensor, context: Context) -> Tensor:
        logits: Tensor = self.inner(ids_BT, context)
        return logits


@torch.no_grad()
def slowly(model: Model, ids: list[int], context_length: int) -> list[float]:
    """log2 p of each id but the first, in the first of the windows (half a context apart) that reaches it."""
    found = []
    for target in range(1, len(ids)):
        start = 0
        while start + context_length < target:
            start += max(1, context_length // 2)
        seen = torch.tensor([ids[start:target]])
        logits = model(seen, Dense(seen))[0, -1].double()
        found.append(float(torch.log_softmax(logits, 0)[ids[target]]) / float(np.log(2)))
    return found


@given(st.integers(2, 200), st.integers(1, 40))
@settings(max_examples=300, deadline=None)
def test_windows_score_each_id_once_and_see_no_more_than_the_context(length: int, context_length: int) -> None:
    scored: list[int] = []
    for window in windows(length, context_length=context_length, document=5):
        assert window.document == 5
        assert 0 < window.last - window.first <= context_length
        assert window.first < window.scored <= window.last < length
        scored += range(window.scored, window.last + 1)
        # but in the first window, an id is seen with at least half a context before it
        assert window.first == 0 or window.scored - window.first >= context_length // 2
    assert scored == list(range(1, length))


@pytest.mark.parametrize("make", [network, lambda: Plain(network())], ids=["network", "forward only"])
@pytest.mark.parametrize("context_length", [1, 2, 5, 8, 64])
def test_scores_are_those_of_a_loop_over_ids(make: object, context_length: int) -> None:
    assert callable(make)
    model: Model = make()
    texts = documents(40, 3, 9, 2, 17)
    found = log2_probabilities(model, texts, context_length=context_length)
    for ids, scores in zip(texts, found, strict=True):
        np.testing.assert_allclose(scores, slowly(model, ids, context_length), atol=1e-4)


@pytest.mark.parametrize("context_length", [1, 5, None])
def test_counts_know_no_window(context_length: int | None) -> None:
    model, texts = counts(), documents(50, 3)
    for ids, scores in zip(texts, log2_probabilities(model, texts, context_length=context_length), strict=True):
        assert scores.tolist() == model.log2_prob(ids)[1:].tolist()
        np.testing.assert_allclose(scores, slowly(model, ids, 100), atol=1e-5)


@pytest.mark.parametrize(("batch_tokens", "rows"), [(1, 1), (16, 2), (4096, 16)])
def test_what_knows_no_limit_is_read_whole(batch_tokens: int, rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scoring, "BATCH_TOKENS", batch_tokens)
    monkeypatch.setattr(scoring, "ROWS", rows)
    model, texts = network(), documents(40, 3, 9, 2, 17)
    model.config = replace(model.config)
    object.__setattr__(model.config, "context_length", None)  # nothing of it depends on its length but where it is cut
    for scores, one in zip(log2_probabilities(model, texts), [slowly(model, ids, 100) for ids in texts], strict=True):
        np.testing.assert_allclose(scores, one, atol=1e-4)


@pytest.mark.parametrize(("batch_tokens", "unembed_tokens"), [(1, 1), (16, 7), (64, 512), (10**6, 3)])
def test_batches_make_no_difference(batch_tokens: int, unembed_tokens: int, monkeypatch: pytest.MonkeyPatch) -> None:
    model, texts = network(), documents(40, 3, 9, 2, 17, 17, 16)
    expected = log2_probabilities(model, texts, context_length=8)
    monkeypatch.setattr(scoring, "BATCH_TOKENS", batch_tokens)
    monkeypatch.setattr(scoring, "UNEMBED_TOKENS", unembed_tokens)
    for one, other in zip(expected, log2_probabilities(model, texts, context_length=8), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


@pytest.mark.parametrize("dtype", [np.uint16, np.uint32, np.int64])
def test_documents_may_be_arrays_of_any_integers(dtype: type) -> None:
    model, texts = network(), documents(20, 5)
    arrays: list[NDArray[np.integer]] = [np.array(ids, dtype=dtype) for ids in texts]
    for one, other in zip(
        log2_probabilities(model, texts, context_length=8), log2_probabilities(model, arrays, context_length=8), strict=True
    ):
        assert one.tolist() == other.tolist()


def test_documents_without_anything_to_score_have_no_scores() -> None:
    assert [len(scores) for scores in log2_probabilities(network(), [[], [5], [5, 6]], context_length=8)] == [0, 0, 1]
    assert log2_probabilities(network(), [], context_length=8) == []


def test_more_context_is_used_where_there_is_more() -> None:
    model, texts = network(), documents(40)
    short, long = (log2_probabilities(model, texts, context_length=length)[0] for length in (4, 64))
    np.testing.assert_allclose(short[:4], long[:4], atol=1e-5)
    assert not np.allclose(short[4:], long[4:], atol=1e-2)


@pytest.mark.parametrize("training", [True, False])
def test_the_model_is_left_as_it_was(training: bool) -> None:
    class Noting(Plain):
        def forward(self, ids_BT: Tensor, context: Context) -> Tensor:
            assert not self.training
            assert not torch.is_grad_enabled()
            if fail:
                raise RuntimeError("on purpose")
            return super().forward(ids_BT, context)

    fail = False
    model = Noting(network()).train(training)
    log2_probabilities(model, documents(10), context_length=8)
    assert model.training == model.inner.training == training
    fail = True
    with pytest.raises(RuntimeError, match="on purpose"):
        log2_probabilities(model, documents(10), context_length=8)
    assert model.training == model.inner.training == training


def test_half_precision_is_near() -> None:
    model, texts = network(), documents(30)
    exact = log2_probabilities(model, texts, context_length=64)[0]
    rough = log2_probabilities(model, texts, context_length=64, autocast=torch.bfloat16)[0]
    assert 0 < np.abs(exact - rough).max() < 0.5


def test_a_uniform_model_needs_the_bits_of_its_vocabulary() -> None:
    model = llama.Model(replace(llama.TINY, layers=1))
    for parameter in model.parameters():
        torch.nn.init.zeros_(parameter)
    assert np.allclose(log2_probabilities(model, documents(30), context_length=8)[0], -6.0)
