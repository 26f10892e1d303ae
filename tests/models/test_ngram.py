"""The n-gram model against dictionaries of tuples, however it is asked: a document, a batch, packed, token by token, reloaded."""

from __future__ import annotations

import doctest
import math
from collections import Counter
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load, save
from torch import Tensor

from llamarium.models import ngram
from llamarium.models.context import Cached, Dense, Packed
from llamarium.models.ngram import TINY, Config, Model

V = 3
documents = st.lists(st.lists(st.integers(0, V - 1), max_size=12), max_size=4)
text = st.lists(st.integers(0, V - 1), min_size=1, max_size=14)
orders = st.integers(1, 4)


def reference(corpus: list[list[int]], text: list[int], config: Config) -> list[Fraction]:
    """p of each id of `text`: the formula of the module, word for word, in exact arithmetic."""
    followed: dict[tuple[int, ...], Counter[int]] = {}
    for document in corpus:
        for place, symbol in enumerate(document):
            for length in range(min(config.order - 1, place) + 1):
                followed.setdefault(tuple(document[place - length : place]), Counter())[symbol] += 1

    def probability(symbol: int, context: tuple[int, ...]) -> Fraction:
        shorter = probability(symbol, context[1:]) if context else Fraction(1, config.vocab_size)
        if context not in followed:
            return shorter
        counts = followed[context]
        return (counts[symbol] + len(counts) * shorter) / (counts.total() + len(counts))

    return [probability(symbol, tuple(text[max(0, place - config.order + 1) : place])) for place, symbol in enumerate(text)]


def fitted(corpus: list[list[int]], config: Config) -> Model:
    model = Model(config)
    model.fit(corpus)
    return model


def distributions(model: Model, text: list[int]) -> Tensor:
    """p of every next id after each position of `text`: (T, V)."""
    ids = torch.tensor([text])
    return model(ids, Dense(ids))[0].exp()  # type: ignore[no-any-return]


@given(documents, text, orders)
@settings(max_examples=200, deadline=None)
def test_log2_prob_is_the_formula(corpus: list[list[int]], text: list[int], order: int) -> None:
    config = Config(vocab_size=V, order=order)
    expected = [math.log2(p) for p in reference(corpus, text, config)]
    np.testing.assert_allclose(fitted(corpus, config).log2_prob(text), expected, rtol=1e-12)


@given(documents, text, orders)
@settings(max_examples=100, deadline=None)
def test_forward_is_the_formula_for_every_next_id(corpus: list[list[int]], text: list[int], order: int) -> None:
    config = Config(vocab_size=V, order=order)
    expected = [[float(reference(corpus, [*text[: t + 1], symbol], config)[-1]) for symbol in range(V)] for t in range(len(text))]
    p_TV = distributions(fitted(corpus, config), text)
    np.testing.assert_allclose(p_TV, expected, rtol=1e-5)
    np.testing.assert_allclose(p_TV.sum(dim=1), 1, rtol=1e-6)


def test_large_vocabularies_and_long_contexts_do_not_collide() -> None:
    config = Config(vocab_size=100_000, order=8)  # 100,000 ** 8 is far beyond 64 bits
    random = np.random.default_rng(0)
    corpus = [random.choice([0, 1, 99_998, 99_999], size=200).tolist() for _ in range(3)]
    text = random.choice([0, 1, 50_000, 99_998, 99_999], size=200).tolist()
    expected = [math.log2(p) for p in reference(corpus, text, config)]
    np.testing.assert_allclose(fitted(corpus, config).log2_prob(text), expected, rtol=1e-12)


def test_no_gram_reaches_over_the_start_of_a_document() -> None:
    config = Config(vocab_size=V, order=2)
    apart, together = fitted([[0, 1], [2, 0]], config), fitted([[0, 1, 2, 0]], config)
    assert apart.log2_prob([1, 2])[1] < together.log2_prob([1, 2])[1]
    assert apart.state_dict()["grams_2"].tolist() == [0 * V + 1, 2 * V + 0]


def test_documents_may_be_arrays_of_any_integer_type_or_empty() -> None:
    config = Config(vocab_size=V, order=3)
    model = Model(config)
    model.fit(np.array(document, dtype=np.uint16) for document in ([0, 1, 2], [], [1, 1]))
    expected = fitted([[0, 1, 2], [1, 1]], config)
    assert (model.log2_prob(np.array([0, 1, 1], dtype=np.uint8)) == expected.log2_prob([0, 1, 1])).all()
    assert model.log2_prob([]).shape == (0,)


def test_before_fit_everything_is_as_likely() -> None:
    model = Model(TINY)
    assert (model.log2_prob([5, 6]) == -6).all()
    np.testing.assert_allclose(distributions(model, [5, 6]), np.full((2, 64), 1 / 64))
    model.fit([])
    assert (model.log2_prob([5, 6]) == -6).all()


def test_fit_replaces_what_was_counted() -> None:
    model = fitted([[0, 1, 0, 1]], Config(vocab_size=V, order=3))
    model.fit([[2, 2]])
    assert (model.log2_prob([2, 1]) == fitted([[2, 2]], model.config).log2_prob([2, 1])).all()


def test_what_is_all_but_impossible_stays_finite() -> None:
    config = Config(vocab_size=V, order=12)
    model = fitted([[0] * 100_000], config)
    expected = model.log2_prob([*[0] * 12, 1])[-1]
    assert -500 < expected < -190  # a hundred-thousandth at each length: far below the smallest float32
    ids = torch.zeros(1, 12, dtype=torch.int64)
    assert model(ids, Dense(ids))[0, -1, 1].item() / math.log(2) == pytest.approx(expected)


def test_bytes_of_a_text_and_its_end() -> None:
    """The project's bits per byte of a byte model: 256 ends a document, and is scored once."""
    model = fitted([[*b"abc", 256], [*b"abd", 256]], Config(vocab_size=257, order=3))
    bits = -model.log2_prob([*b"abd", 256])
    assert len(bits) == len(b"abd") + 1
    unigram = (2 + 5 / 257) / (8 + 5)  # a: 2 of 8 symbols, 5 different
    assert bits[0] == pytest.approx(-math.log2(unigram))
    assert bits[1] == pytest.approx(-math.log2((2 + unigram) / (2 + 1)))  # b after a: 2 of 2, 1 different; b as likely as a


def random_model() -> tuple[Model, np.ndarray]:
    """A model, and rows it has seen most bigrams of."""
    random = np.random.default_rng(1)
    return fitted(random.integers(0, 8, (20, 50)).tolist(), TINY), random.integers(0, 8, (3, 17))


def test_rows_of_a_batch_do_not_see_each_other() -> None:
    model, rows = random_model()
    ids = torch.from_numpy(rows)
    logits = model(ids, Dense(ids))
    assert logits.shape == (3, 17, 64)
    assert logits.dtype == torch.float32
    for row, expected in zip(rows, logits, strict=True):
        torch.testing.assert_close(distributions(model, row.tolist()).log(), expected)
        picked = expected[torch.arange(16), torch.from_numpy(row[1:])].double().numpy()
        np.testing.assert_allclose(picked, model.log2_prob(row)[1:] * math.log(2), rtol=1e-6)


def test_packed_documents_do_not_see_each_other() -> None:
    model, rows = random_model()
    ids = torch.from_numpy(rows.reshape(1, -1))
    packed = model(ids, Packed(torch.arange(3).repeat_interleave(17)[None]))
    rows_BT = torch.from_numpy(rows)
    torch.testing.assert_close(packed.view(3, 17, 64), model(rows_BT, Dense(rows_BT)), rtol=0, atol=0)
    assert not torch.equal(packed, model(ids, Dense(ids)))


@pytest.mark.parametrize("steps", [[17], [1] * 17, [5, 1, 1, 10], [1, 16]])
@pytest.mark.parametrize("order", [1, 2, 3, 5])
def test_a_text_that_grows_is_the_text_at_once(steps: list[int], order: int) -> None:
    random = np.random.default_rng(2)
    model = fitted(random.integers(0, V, (4, 100)).tolist(), Config(vocab_size=V, order=order))
    ids = torch.from_numpy(random.integers(0, V, (2, 17)))
    cache = Cached(capacity=17, device=ids.device)
    grown = [model(piece, cache.step(piece.shape[1])) for piece in torch.split(ids, steps, dim=1)]
    torch.testing.assert_close(torch.cat(grown, dim=1), model(ids, Dense(ids)), rtol=0, atol=0)


def test_a_context_used_twice_starts_anew() -> None:
    model, rows = random_model()
    ids = torch.from_numpy(rows)
    context = Dense(ids)
    assert torch.equal(model(ids, context), model(ids, context))


@pytest.mark.parametrize("assign", [False, True])
def test_counts_survive_a_file(assign: bool) -> None:
    model, rows = random_model()
    state = load(save(model.state_dict()))
    with torch.device("meta" if assign else "cpu"):
        other = Model(TINY)
    if not assign:
        other.fit([[1, 2, 3]])  # counts of another size must give way
    other.load_state_dict(state, assign=assign)
    assert (other.log2_prob(rows[0]) == model.log2_prob(rows[0])).all()
    assert other.state_dict().keys() == {f"{name}_{length}" for name in ("grams", "cumulative") for length in (1, 2, 3)}


def with_changed(name: str, value: Tensor) -> dict[str, Tensor]:
    return {**random_model()[0].state_dict(), name: value}


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("grams_1", torch.arange(8.0), "int64 was expected"),
        ("grams_1", torch.arange(8)[None], "their shapes"),
        ("cumulative_1", torch.arange(8), "their shapes"),
        ("grams_1", torch.arange(8) + 57, "below 64"),
        ("grams_1", torch.arange(8) - 1, "from 0"),
        ("grams_1", torch.arange(8).flip(0), "must rise"),
        ("cumulative_1", torch.zeros(9, dtype=torch.int64), "must have occurred"),
        ("cumulative_1", torch.arange(9) + 1, "must have occurred"),
    ],
)
def test_tensors_that_are_no_counts_are_refused(name: str, value: Tensor, message: str) -> None:
    model = fitted([[1, 2, 3]], TINY)
    before = model.log2_prob([1, 2])
    with pytest.raises(RuntimeError, match=message):
        model.load_state_dict(with_changed(name, value))
    assert (model.log2_prob([1, 2]) == before).all()


def test_counts_of_another_order_are_refused() -> None:
    state = random_model()[0].state_dict()
    with pytest.raises(RuntimeError, match="Missing key"):
        Model(Config(vocab_size=64, order=4)).load_state_dict(state)
    with pytest.raises(RuntimeError, match="Unexpected key"):
        Model(Config(vocab_size=64, order=2)).load_state_dict(state)


@pytest.mark.parametrize("wrong", [[-1], [64], [0, 2**40], [0.5], [[1, 2]], b"text"])
def test_ids_outside_the_vocabulary_are_refused(wrong: list[int]) -> None:
    model = fitted([[1, 2]], TINY)
    with pytest.raises(ValueError, match=r"ids must be|a document is"):
        model.log2_prob(wrong)
    with pytest.raises(ValueError, match=r"ids must be|a document is"):
        model.fit([[0], wrong])


def test_forward_refuses_ids_outside_the_vocabulary() -> None:
    ids = torch.tensor([[3, 64]])
    with pytest.raises(ValueError, match="from 0 to 63"):
        Model(TINY)(ids, Dense(ids))


@pytest.mark.parametrize(
    "values",
    [{"order": 0}, {"order": 1_000_000_000}, {"vocab_size": 0}, {"vocab_size": 2**40}, {"smoothing": "none"}],
)
def test_a_config_that_makes_no_sense_is_refused(values: dict) -> None:
    with pytest.raises(ValueError, match=next(iter(values))):
        Config(**{"vocab_size": 64, **values})


def test_doctests() -> None:
    results = doctest.testmod(ngram)
    assert results.attempted
    assert not results.failed
