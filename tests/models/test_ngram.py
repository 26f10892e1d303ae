"""The n-gram model against dictionaries of tuples, however it is asked: a document, a batch, packed, token by token, reloaded."""

from __future__ import annotations

import doctest
import json
import math
from collections import Counter
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from safetensors.torch import load, save
from torch import Tensor

from llamarium.checkpoint import huggingface
from llamarium.ground.errors import BadFileError
from llamarium.models import ngram
from llamarium.models.context import Cached, Dense, Packed
from llamarium.models.ngram import FALLBACK, TINY, Config, Model
from llamarium.tokens.train import bytes_tokenizer

BYTES = bytes_tokenizer()

V = 3
documents = st.lists(st.lists(st.integers(0, V - 1), max_size=12), max_size=4)
text = st.lists(st.integers(0, V - 1), min_size=1, max_size=14)
orders = st.integers(1, 5)
kinds = st.sampled_from([{}, {"smoothing": "add-k", "k": 0.5}])

Gram = tuple[int, ...]
MARK = -1  # stands before every document and is never predicted


class Reference:
    """The formulas of the module, word for word, with dictionaries of tuples and in exact arithmetic."""

    def __init__(self, corpus: list[list[int]], config: Config) -> None:
        self.config = config
        occurred: Counter[Gram] = Counter()
        for document in corpus:
            symbols = (MARK, *document)
            for end in range(2, len(symbols) + 1):
                occurred.update(symbols[first:end] for first in range(max(0, end - config.order), end) if symbols[first:end] != (MARK,))
        self.occurred = occurred
        stood_before: dict[Gram, set[int]] = {}
        for gram in occurred:
            stood_before.setdefault(gram[1:], set()).add(gram[0])
        self.counts = {
            gram: count if len(gram) == config.order or gram[0] == MARK else len(stood_before[gram]) for gram, count in occurred.items()
        }
        self.followers: dict[Gram, list[Gram]] = {}
        for gram in self.counts:
            self.followers.setdefault(gram[:-1], []).append(gram)
        self.discounts = {length: self.estimate(length) for length in range(1, config.order + 1)}

    def estimate(self, length: int) -> tuple[Fraction, ...] | None:
        """D1, D2, D3+ by equation 26; None where they cannot be had."""
        n = Counter(count for gram, count in self.counts.items() if len(gram) == length)
        if not all(n[count] for count in (1, 2, 3, 4)):
            return None
        Y = Fraction(n[1], n[1] + 2 * n[2])
        found = tuple(i - (i + 1) * Y * n[i + 1] / n[i] for i in (1, 2, 3))
        return found if all(discount > 0 for discount in found) else None

    def discount(self, gram: Gram) -> Fraction:
        found = self.discounts[len(gram)] or (Fraction(1, 2), Fraction(1), Fraction(3, 2))
        return found[min(self.counts[gram], 3) - 1]

    def kneser_ney(self, symbol: int, context: Gram) -> Fraction:
        shorter = self.kneser_ney(symbol, context[1:]) if context else Fraction(1, self.config.vocab_size)
        followers = self.followers.get(context, [])
        if not followers:
            return shorter
        total = sum(self.counts[gram] for gram in followers)
        left = Fraction(sum(self.discount(gram) for gram in followers)) / total
        gram = (*context, symbol)
        return left * shorter + (max(self.counts[gram] - self.discount(gram), Fraction(0)) / total if gram in self.counts else Fraction(0))

    def add_k(self, symbol: int, context: Gram) -> Fraction:
        k = Fraction(self.config.k)
        total = sum(self.occurred[gram] for gram in self.followers.get(context, []))
        return (self.occurred[(*context, symbol)] + k) / (total + k * self.config.vocab_size)

    def probability(self, symbol: int, before: list[int]) -> Fraction:
        symbols = (MARK, *before)
        context = symbols[max(0, len(symbols) - self.config.order + 1) :]
        return self.add_k(symbol, context) if self.config.smoothing == "add-k" else self.kneser_ney(symbol, context)

    def log2(self, text: list[int]) -> list[float]:
        return [math.log2(self.probability(symbol, text[:place])) for place, symbol in enumerate(text)]


def zipf(seed: int, *, vocab_size: int, num_documents: int) -> list[list[int]]:
    """Text in which few ids are frequent, and each prefers some ids after it."""
    random = np.random.default_rng(seed)
    p = np.arange(1, vocab_size + 1) ** -1.8
    found = []
    for _ in range(num_documents):
        document = [0]
        for step in random.choice(vocab_size, size=int(random.integers(1, 40)), p=p / p.sum()):
            document.append(int((document[-1] * 7 + step) % vocab_size))
        found.append(document)
    return found


def fitted(corpus: list[list[int]], config: Config) -> Model:
    model = Model(config)
    model.fit(corpus)
    return model


def distributions(model: Model, text: list[int]) -> Tensor:
    """p of every next id after each position of `text`: (T, V)."""
    ids = torch.tensor([text])
    return model(ids, Dense(ids))[0].exp()  # type: ignore[no-any-return]


def close(found: NDArray[np.float64], expected: list[float]) -> None:
    assert np.abs(2.0**found - 2.0 ** np.array(expected)).max(initial=0) < 1e-12
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9)


@given(documents, text, orders, kinds)
@settings(max_examples=150, deadline=None)
def test_log2_prob_is_the_formula(corpus: list[list[int]], text: list[int], order: int, kind: dict[str, Any]) -> None:
    config = Config(vocab_size=V, order=order, **kind)
    close(fitted(corpus, config).log2_prob(text), Reference(corpus, config).log2(text))


@pytest.mark.parametrize("order", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("seed", [0, 1])
def test_discounts_are_those_of_the_text(seed: int, order: int) -> None:
    """Large enough that no length falls back; bits per id and probabilities to 1e-9."""
    config = Config(vocab_size=420, order=order)
    corpus, held_out = zipf(seed, vocab_size=400, num_documents=150), zipf(seed + 9, vocab_size=420, num_documents=6)
    reference, model = Reference(corpus, config), fitted(corpus, config)
    assert order == 1 or all(reference.discounts.values())
    for length, expected in reference.discounts.items():
        np.testing.assert_allclose(model.get_buffer(f"discounts_{length}")[1:], [float(d) for d in expected or FALLBACK], rtol=1e-12)
    found = [model.log2_prob(document) for document in held_out]
    for scores, document in zip(found, held_out, strict=True):
        close(scores, reference.log2(document))
    bits = sum(-math.log2(reference.probability(symbol, text[:place])) for text in held_out for place, symbol in enumerate(text))
    size = sum(map(len, held_out))
    assert abs(-sum(scores.sum() for scores in found) / size - bits / size) < 1e-9


REPETITIVE: dict[str, list[list[int]]] = {
    "one id": [[1] * 30],
    "two in turn": [[0, 1] * 20, [1, 0] * 5],
    "one document many times": [[0, 1, 2, 0, 2]] * 25,
    "documents of one id": [[0]] * 7 + [[2]],
    "only empty documents": [[], []],
    "a start that is an end": [[2, 0, 1, 2], [2, 1, 1, 2], [2, 2]],
}


@pytest.mark.parametrize("name", REPETITIVE)
@pytest.mark.parametrize("order", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("kind", [{}, {"smoothing": "add-k", "k": 0.01}])
def test_repetitive_texts(name: str, order: int, kind: dict[str, Any]) -> None:
    config = Config(vocab_size=V, order=order, **kind)
    model, reference = fitted(REPETITIVE[name], config), Reference(REPETITIVE[name], config)
    for text in ([0, 1, 2, 0, 2, 1, 1, 1, 1, 1], [1, 1, 1, 1, 1, 0], [2, 2, 0, 1, 0, 1, 0, 1], [2]):
        close(model.log2_prob(text), reference.log2(text))


@given(documents, text, orders, kinds)
@settings(max_examples=100, deadline=None)
def test_the_vocabulary_sums_to_one_and_nothing_is_impossible(
    corpus: list[list[int]], text: list[int], order: int, kind: dict[str, Any]
) -> None:
    model = fitted(corpus, Config(vocab_size=V + 2, order=order, **kind))  # two ids that never occur
    p = np.array([2 ** model.log2_prob([*text, symbol])[-1] for symbol in range(V + 2)])
    assert abs(p.sum() - 1) < 1e-9
    assert (p > 0).all()


def test_a_large_vocabulary_sums_to_one() -> None:
    config = Config(vocab_size=300)
    model = fitted(zipf(3, vocab_size=280, num_documents=150), config)
    before = zipf(5, vocab_size=290, num_documents=1)[0]
    for end in (0, 1, 5):
        p = np.array([2 ** model.log2_prob([*before[:end], symbol])[-1] for symbol in range(300)])
        assert abs(p.sum() - 1) < 1e-9
        assert (p > 0).all()


@given(documents, text, orders, kinds)
@settings(max_examples=100, deadline=None)
def test_forward_is_the_formula_for_every_next_id(corpus: list[list[int]], text: list[int], order: int, kind: dict[str, Any]) -> None:
    config = Config(vocab_size=V, order=order, **kind)
    reference = Reference(corpus, config)
    expected = [[float(reference.probability(symbol, text[: t + 1])) for symbol in range(V)] for t in range(len(text))]
    p_TV = distributions(fitted(corpus, config), text)
    np.testing.assert_allclose(p_TV, expected, rtol=1e-5)
    np.testing.assert_allclose(p_TV.sum(dim=1), 1, rtol=1e-6)


def test_logits_are_computed_some_rows_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    model, rows = random_model()
    ids = torch.from_numpy(rows)
    expected = model(ids, Dense(ids))
    monkeypatch.setattr(ngram, "CHUNK", 64 * 7)
    assert torch.equal(model(ids, Dense(ids)), expected)


def test_grams_are_worked_on_some_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    corpus = zipf(6, vocab_size=50, num_documents=20)
    expected = fitted(corpus, Config(vocab_size=50))
    monkeypatch.setattr(ngram, "CHUNK", 7)
    found = fitted(corpus, expected.config)
    assert all(torch.equal(one, other) for one, other in zip(found.buffers(), expected.buffers(), strict=True))


def test_large_vocabularies_and_long_contexts_do_not_collide() -> None:
    config = Config(vocab_size=100_000, order=8)  # 100,000 ** 8 is far beyond 64 bits
    random = np.random.default_rng(0)
    corpus = [random.choice([0, 1, 99_998, 99_999], size=200).tolist() for _ in range(3)]
    text = random.choice([0, 1, 50_000, 99_998, 99_999], size=200).tolist()
    close(fitted(corpus, config).log2_prob(text), Reference(corpus, config).log2(text))


def test_what_follows_one_word_only_is_rare_elsewhere() -> None:
    """Kneser and Ney's point: 1 is as frequent as 2, and stands after 0 only."""
    corpus = [[3, 0, 1, 4, 2, 5, 2, 6, 2, 0, 1, 7, 0, 1]]
    bits = -fitted(corpus, Config(vocab_size=10, order=2)).log2_prob([9, 1])[1]
    assert bits > -fitted(corpus, Config(vocab_size=10, order=2)).log2_prob([9, 2])[1] + 0.5
    alike = fitted(corpus, Config(vocab_size=10, order=1))
    assert alike.log2_prob([1]) == alike.log2_prob([2])


def test_how_documents_begin_is_counted_as_often_as_they_do() -> None:
    """0 1 begins nine documents, 0 2 one; both have been seen after nothing else."""
    model = fitted([[0, 1]] * 9 + [[0, 2]], Config(vocab_size=V, order=4))
    p = 2 ** np.array([model.log2_prob([0, 1])[1], model.log2_prob([0, 2])[1]])
    assert p[0] > 0.8
    assert p[1] < 0.15
    middle = 2 ** np.array([model.log2_prob([1, 0, 1])[2], model.log2_prob([1, 0, 2])[2]])
    assert middle[0] == middle[1]


def test_grams_are_counted() -> None:
    assert fitted([[0, 1, 0, 1], [0]], Config(vocab_size=V, order=3)).num_grams() == 2 + 3 + 3  # 0 1; m0 01 10; m01 010 101
    assert Model(TINY).num_grams() == 0


def test_no_gram_reaches_over_the_start_of_a_document() -> None:
    config = Config(vocab_size=V, order=2)
    apart, together = fitted([[0, 1], [2, 0]], config), fitted([[0, 1, 2, 0]], config)
    assert apart.log2_prob([1, 2])[1] < together.log2_prob([1, 2])[1]
    # The mark comes after the ids, of which three were seen.
    assert apart.state_dict()["grams_2"].tolist() == [0 * V + 1, 2 * V + 0, 3 * V + 0, 3 * V + 2]
    assert apart.state_dict()["counts_1"].tolist() == [2, 1, 1]


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
    config = Config(vocab_size=V, order=32)
    model = fitted([[0] * 100_000, *([[0, 1]] * 30)], config)
    expected = model.log2_prob([*[0] * 31, 2])[-1]
    assert -100 < expected < -30
    ids = torch.zeros(1, 31, dtype=torch.int64)
    assert model(ids, Dense(ids))[0, -1, 2].item() / math.log(2) == pytest.approx(expected)


def test_bytes_of_a_text_and_its_end() -> None:
    """The project's bits per byte of a byte model: 256 ends a document, and is scored once."""
    config = Config(vocab_size=257, order=3)
    corpus = [[*b"abc", 256], [*b"abd", 256]]
    bits = -fitted(corpus, config).log2_prob([*b"abd", 256])
    assert len(bits) == len(b"abd") + 1
    expected = Reference(corpus, config).log2([*b"abd", 256])
    assert abs(bits.sum() / 3 + sum(expected) / 3) < 1e-9


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
@pytest.mark.parametrize("smoothing", ["kneser-ney", "add-k"])
def test_a_text_that_grows_is_the_text_at_once(steps: list[int], order: int, smoothing: Any) -> None:
    random = np.random.default_rng(2)
    model = fitted(random.integers(0, V, (4, 100)).tolist(), Config(vocab_size=V, order=order, smoothing=smoothing))
    ids = torch.from_numpy(random.integers(0, V, (2, 17)))
    cache = Cached(capacity=17, device=ids.device)
    grown = [model(piece, cache.step(piece.shape[1])) for piece in torch.split(ids, steps, dim=1)]
    torch.testing.assert_close(torch.cat(grown, dim=1), model(ids, Dense(ids)), rtol=0, atol=0)


def test_a_text_whose_start_is_not_there_has_nothing_before_it() -> None:
    model = fitted([[0, 1, 2, 0, 0], [0, 1, 1, 0, 2], [0, 1]], Config(vocab_size=V, order=3))

    def first(ids: Tensor, *, position: int) -> Tensor:
        context = Dense(ids)
        context.positions_BT = context.positions_BT + position
        logits: Tensor = model(ids, context)
        return logits[0, 0]

    one, other = torch.tensor([[0, 1, 1]]), torch.tensor([[0, 1, 2]])
    assert torch.equal(first(one, position=5), first(other, position=5))
    assert first(one, position=0)[1] > first(one, position=5)[1] + 0.1, "the mark is seen where it stands"


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
    assert other.state_dict().keys() == {f"{name}_{length}" for name in ("grams", "counts") for length in (1, 2, 3)}


def with_changed(name: str, value: Tensor) -> dict[str, Tensor]:
    return {**random_model()[0].state_dict(), name: value}


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("grams_1", torch.arange(8.0), "int64 and int32 were expected"),
        ("counts_1", torch.arange(8), "int64 and int32 were expected"),
        ("grams_1", torch.arange(8)[None], "their shapes"),
        ("counts_1", torch.arange(7, dtype=torch.int32), "their shapes"),
        ("grams_1", torch.arange(8) + 57, "below 64"),
        ("grams_1", torch.arange(8) - 1, "from 0"),
        ("grams_1", torch.arange(8).flip(0), "must rise"),
        ("counts_1", torch.zeros(8, dtype=torch.int32), "must have occurred"),
        ("counts_1", torch.tensor([-1, 9, 8, 8, 8, 8, 8, 8], dtype=torch.int32), "must have occurred"),
        ("counts_1", torch.full((8,), 2**30, dtype=torch.int32), "more than"),
        ("counts_1", torch.ones(8, dtype=torch.int32), "length 2 must be counted once"),
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


def test_more_ids_than_can_be_numbered_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ngram, "MAX_IDS", 4)
    with pytest.raises(ValueError, match="at most 4 ids can be counted, not 5"):
        fitted([[1, 2], [], [1, 2, 3]], TINY)
    assert fitted([[1, 2], [3, 1]], TINY).num_grams()


def test_forward_refuses_ids_outside_the_vocabulary() -> None:
    ids = torch.tensor([[3, 64]])
    with pytest.raises(ValueError, match="from 0 to 63"):
        Model(TINY)(ids, Dense(ids))


@pytest.mark.parametrize(
    "values",
    [
        {"order": 0},
        {"order": 1_000_000_000},
        {"vocab_size": 0},
        {"vocab_size": 2**40},
        {"smoothing": "witten-bell"},
        {"k": 0.0},
        {"k": float("nan")},
    ],
)
def test_a_config_that_makes_no_sense_is_refused(values: dict) -> None:
    with pytest.raises(ValueError, match=next(iter(values))):
        Config(**{"vocab_size": 64, **values})


# --- a folder that is wrong ---


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    model = fitted([BYTES.encode("the cat and the hat"), BYTES.encode("the bat")], Config(vocab_size=BYTES.vocab_size, order=3))
    huggingface.save_folder(tmp_path / "model", model, BYTES)
    return tmp_path / "model"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"order": 0}, "order must be from 1"),
        ({"order": "five"}, "order: .*integer"),
        ({"order": 4}, "lacks the tensor grams_4"),
        ({"order": 2}, "does not know, such as counts_3"),
        ({"smoothing": "witten-bell"}, "smoothing"),
        ({"k": -1}, "k must be from"),
        ({"vocab_size": None}, "vocab_size"),
        ({"vocab_size": 7}, "grams_1 and counts_1 are not counts"),
        ({"colour": 1}, "no field 'colour'"),
    ],
)
def test_a_config_that_lies_is_refused(folder: Path, fields: dict[str, Any], message: str) -> None:
    values = json.loads((folder / huggingface.CONFIG).read_text())
    values["config"] |= fields
    (folder / huggingface.CONFIG).write_text(json.dumps(values))
    with pytest.raises(BadFileError, match=message):
        huggingface.load_folder(folder)


def test_a_config_without_its_fields_is_refused(folder: Path) -> None:
    values = json.loads((folder / huggingface.CONFIG).read_text())
    del values["config"]
    (folder / huggingface.CONFIG).write_text(json.dumps(values))
    with pytest.raises(BadFileError, match="lacks 'config'"):
        huggingface.load_folder(folder)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("grams_2", lambda tensor: tensor.flip(0), "grams_2 and counts_2 are not counts: grams must rise"),
        ("counts_2", lambda tensor: tensor[1:], "grams_2 and counts_2 are not counts: their shapes"),
        ("counts_3", lambda tensor: tensor.float(), "grams_3 and counts_3 are not counts: int64 and int32"),
        ("counts_2", None, "lacks the tensor counts_2"),
    ],
)
def test_counts_that_lie_are_refused(folder: Path, name: str, change: Callable[[Tensor], Tensor] | None, message: str) -> None:
    tensors = load((folder / huggingface.WEIGHTS).read_bytes())
    tensor = tensors.pop(name)
    if change is not None:
        tensors[name] = change(tensor)
    (folder / huggingface.WEIGHTS).write_bytes(save(tensors))
    with pytest.raises(BadFileError, match=message):
        huggingface.load_folder(folder)


def test_doctests() -> None:
    results = doctest.testmod(ngram)
    assert results.attempted
    assert not results.failed
