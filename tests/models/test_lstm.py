"""The recurrent models against cells written step by step in numpy, however they are asked: whole, token by token, packed, recomputed."""

from __future__ import annotations

import copy
import itertools
import json
import math
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

import llamarium
from llamarium.checkpoint import huggingface
from llamarium.checkpoint.weights import build_config
from llamarium.engine.generate import Generation
from llamarium.ground.errors import BadFileError
from llamarium.models import lstm
from llamarium.models.context import Cached, Dense, Packed
from llamarium.models.lstm import CELLS, TINY, Config, Model
from llamarium.models.model import Model as AnyModel
from llamarium.tokens.train import bytes_tokenizer
from llamarium.train import compute

TOKENIZER = bytes_tokenizer()
V, T = 64, 24
Numbers = NDArray[np.float64]


def model_of(cell: str = "lstm", **changes: Any) -> Model:
    """Large random weights, so that no gate stays where it is linear; larger ones would make the plain cell chaotic."""
    torch.manual_seed(0)
    fields: dict[str, Any] = {"width": 12, "cell": cell, **changes}
    model = Model(replace(TINY, **fields))
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.35 if cell == "rnn" else 0.6)
    return model.eval()


def ids_of(*shape: int, seed: int = 1) -> Tensor:
    return torch.randint(0, V, shape, generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def logits_of(model: AnyModel, ids_BT: Tensor, context: Any = None) -> Tensor:
    logits: Tensor = model(ids_BT, context or Dense(ids_BT))
    return logits


# --- the cells in numpy ---


def sigmoid(x: Numbers) -> Numbers:
    result: Numbers = 1 / (1 + np.exp(-x))
    return result


State = tuple[Numbers, Numbers]
Cell = Callable[[Numbers, Numbers, State], State]


def lstm_cell(a: Numbers, b: Numbers, state: State) -> State:
    """`a` is Wx and its bias, `b` Uh and its bias, each with the parts of the gates one after the other."""
    i, f, g, o = np.split(a + b, 4)
    c = sigmoid(f) * state[1] + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(c), c


def gru_cell(a: Numbers, b: Numbers, state: State) -> State:
    (a_r, a_z, a_n), (b_r, b_z, b_n) = np.split(a, 3), np.split(b, 3)
    r, z = sigmoid(a_r + b_r), sigmoid(a_z + b_z)
    h = (1 - z) * np.tanh(a_n + r * b_n) + z * state[0]
    return h, h


def rnn_cell(a: Numbers, b: Numbers, state: State) -> State:
    h = np.tanh(a + b)
    return h, h


REFERENCE: dict[str, Cell] = {"lstm": lstm_cell, "gru": gru_cell, "rnn": rnn_cell}


def reference(model: Model, ids: list[int], cell: Cell) -> Numbers:
    """Logits after each id of one text: (T, V)."""
    weights = {name: parameter.detach().double().numpy() for name, parameter in model.named_parameters()}
    x_TD: list[Numbers] = [weights["embed.weight"][number] for number in ids]
    for layer in range(model.config.layers):
        W, U, a, b = (weights[f"blocks.{layer}.cells.{name}_l0"] for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))
        state: State = (np.zeros(U.shape[1]), np.zeros(U.shape[1]))
        for place, x in enumerate(x_TD):
            state = cell(W @ x + a, U @ state[0] + b, state)
            x_TD[place] = state[0]
    result: Numbers = np.stack(x_TD) @ weights["embed.weight" if model.config.tied else "head.weight"].T
    return result


SHAPES: tuple[dict[str, Any], ...] = ({"layers": 1}, {"layers": 3}, {"layers": 2, "tied": False, "embed_width": 7})


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("cell", CELLS)
def test_logits_are_those_of_the_formula(cell: str, shape: dict[str, Any]) -> None:
    model, ids = model_of(cell, **shape), ids_of(1, T)
    expected = reference(model, ids[0].tolist(), REFERENCE[cell])
    assert expected.std() > 0.5
    np.testing.assert_allclose(logits_of(model, ids)[0], expected, atol=1e-5)
    # And where the text comes in pieces, each of which begins in the state that the last one left.
    cache = Cached(capacity=T, device=ids.device)
    pieces = [logits_of(model, piece, cache.step(piece.shape[1])) for piece in torch.split(ids, [5, 1, 1, 10, 7], dim=1)]
    np.testing.assert_allclose(torch.cat(pieces, dim=1)[0], expected, atol=1e-5)
    np.testing.assert_allclose(logits_of(model.double(), ids)[0], expected, atol=1e-12)


def without_forgetting(a: Numbers, b: Numbers, state: State) -> State:
    """Hochreiter and Schmidhuber's first form."""
    i, _, g, o = np.split(a + b, 4)
    c = state[1] + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(c), c


def other_gates(a: Numbers, b: Numbers, state: State) -> State:
    i, f, o, g = np.split(a + b, 4)
    c = sigmoid(f) * state[1] + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(c), c


def open_output(a: Numbers, b: Numbers, state: State) -> State:
    c = lstm_cell(a, b, state)[1]
    return sigmoid(np.split(a + b, 4)[3]) * c, c


def without_reset(a: Numbers, b: Numbers, state: State) -> State:
    """r is held to 1 where it meets the state's part."""
    a, b = a.copy(), b.copy()
    a[: len(a) // 3] = 100.0
    return gru_cell(a, b, state)


def turned_update(a: Numbers, b: Numbers, state: State) -> State:
    z = sigmoid(np.split(a + b, 3)[1])
    h = gru_cell(a, b, state)[0]
    new = (h - z * state[0]) / (1 - z)
    return (turned := z * new + (1 - z) * state[0]), turned


def logistic(a: Numbers, b: Numbers, state: State) -> State:
    return (h := sigmoid(a + b)), h


@pytest.mark.parametrize(
    ("cell", "wrong"),
    [
        ("lstm", without_forgetting),
        ("lstm", other_gates),
        ("lstm", open_output),
        ("gru", without_reset),
        ("gru", turned_update),
        ("rnn", logistic),
    ],
)
def test_control_one_wrong_detail_is_seen(cell: str, wrong: Cell) -> None:
    model, ids = model_of(cell), ids_of(1, T)
    assert np.abs(logits_of(model, ids)[0].numpy() - reference(model, ids[0].tolist(), wrong)).max() > 1e-2


# --- where a text starts ---


@pytest.mark.parametrize("cell", CELLS)
def test_texts_in_one_row_are_as_texts_alone(cell: str) -> None:
    model, ids = model_of(cell).double(), ids_of(2, T)

    @given(st.lists(st.lists(st.integers(1, T), min_size=1, max_size=T), min_size=2, max_size=2))
    @settings(max_examples=10, deadline=None)
    def check(lengths: list[list[int]]) -> None:
        documents = torch.stack([torch.repeat_interleave(torch.arange(len(row) + 1), torch.tensor([*row, T]))[:T] for row in lengths])
        found = logits_of(model, ids, Packed(documents))
        for row, numbers in enumerate(documents):
            for number in numbers.unique():
                inside = numbers == number
                torch.testing.assert_close(found[row, inside], logits_of(model, ids[row, inside][None])[0], atol=1e-9, rtol=1e-9)

    check()


@pytest.mark.parametrize("cell", CELLS)
def test_a_row_may_go_on_and_then_start_anew(cell: str) -> None:
    """What is left is the state of the last text of each row."""
    model, ids = model_of(cell), ids_of(2, 12)
    context = Dense(ids[:, :5])
    logits_of(model, ids[:, :5], context)
    context.positions_BT = torch.tensor([[5, 6, 0, 1], [0, 1, 2, 3]])
    found = logits_of(model, ids[:, 5:9], context)
    context.positions_BT = torch.tensor([[2, 3, 4], [4, 5, 6]])
    found = torch.cat([found, logits_of(model, ids[:, 9:], context)], dim=1)
    torch.testing.assert_close(found[0, :2], logits_of(model, ids[:1, :7])[0, 5:], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(found[0, 2:], logits_of(model, ids[:1, 7:])[0], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(found[1], logits_of(model, ids[1:, 5:])[0], atol=1e-5, rtol=1e-5)


def test_a_text_that_starts_anew_remembers_nothing() -> None:
    model, ids = model_of(), ids_of(2, T)
    context = Dense(ids)
    assert torch.equal(logits_of(model, ids, context), logits_of(model, ids, context))


def positions_of(rows: list[tuple[bool, list[int]]]) -> Tensor:
    """Rows of T positions in which texts of these lengths follow each other; whether the first of a row began in an earlier call."""
    positions = torch.empty(len(rows), T, dtype=torch.long)
    for row, (goes_on, lengths) in zip(positions, rows, strict=True):
        row[:] = torch.cat([torch.arange(length) for length in (*lengths, T)])[:T]
        if goes_on:
            row[: lengths[0] if lengths else T] += 5
    return positions


ROWS = st.lists(st.tuples(st.booleans(), st.lists(st.integers(1, T), max_size=T)), min_size=1, max_size=5)


@pytest.mark.parametrize("cell", CELLS)
def test_read_side_by_side_they_are_as_with_a_stop_at_each_start(cell: str) -> None:
    """Outputs, what is left of each row, and gradients, whether rows go on from an earlier call or not."""
    model = model_of(cell).double()

    @given(ROWS)
    @settings(max_examples=25, deadline=None)
    def check(rows: list[tuple[bool, list[int]]]) -> None:
        positions_BT, ids = positions_of(rows), ids_of(len(rows), T)
        earlier = ids_of(len(rows), 5, seed=3)
        found = []
        for stops in ([0, T], [0, *columns(positions_BT == 0), T]):
            context = Dense(earlier)
            model(earlier, context)
            written = []
            for first, last in itertools.pairwise(stops):
                context.positions_BT = positions_BT[:, first:last]
                written.append(model(ids[:, first:last], context))
            states = [context.state(layer) for layer in range(model.config.layers)]
            outputs = [torch.cat(written, dim=1), *(state for state in states if state is not None)]
            loss = torch.cat([output.flatten() for output in outputs]).sin().sum()
            found.append([*outputs, *torch.autograd.grad(loss, list(model.parameters()))])
        assert len(found[0]) == 1 + model.config.layers + len(list(model.parameters()))
        for here, there in zip(*found, strict=True):
            torch.testing.assert_close(here, there, atol=1e-9, rtol=1e-9)

    check()


def columns(starts_BT: Tensor) -> list[int]:
    """The places, but the first, at which a text starts in any row."""
    return [place for place in range(1, starts_BT.shape[1]) if starts_BT[:, place].any()]


@given(ROWS)
def test_every_position_is_read_once_and_in_few_calls(rows: list[tuple[bool, list[int]]]) -> None:
    starts_BT = positions_of(rows) == 0
    found = lstm.texts(starts_BT)
    if found is None:
        assert not starts_BT[:, 1:].any()
        return
    assert sorted(found.order_P.tolist()) == [*range(starts_BT.numel())]
    assert found.order_P[found.places_P].tolist() == [*range(starts_BT.numel())]
    assert sum(len(which) * steps for which, steps in found.stretches) == starts_BT.numel()
    assert len(found.stretches) <= T.bit_length()


def test_many_texts_take_few_calls_and_whole_rows_one() -> None:
    model, ids = model_of(), ids_of(2, T)
    calls: list[tuple[int, ...]] = []
    cells = model.blocks[0].get_submodule("cells")
    cells.register_forward_hook(lambda _, inputs, __: calls.append(tuple(inputs[0].shape[:2])))
    logits_of(model, ids)
    logits_of(model, ids, Packed(torch.zeros_like(ids)))
    assert calls == [(2, T)] * 2
    documents = torch.zeros(2, T, dtype=torch.long)
    documents[0, 5:] = 1
    logits_of(model, ids, Packed(documents))  # three lengths, until the shortest is at its end
    assert calls[2:] == [(3, 5), (2, 14), (1, 5)]
    del calls[:]
    lengths = torch.tensor([1, 2, 3, 4, 5, 9])  # of which the second row has the other order
    logits_of(model, ids, Packed(torch.stack([torch.repeat_interleave(torch.arange(6), each) for each in (lengths, lengths.flip(0))])))
    assert calls == [(2, 8), (4, 4), (4, 2), (8, 1)]


# --- how the arithmetic is done ---


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("cell", CELLS)
def test_short_types_are_nearly_the_same(cell: str, dtype: torch.dtype) -> None:
    """Float16 is the one that PyTorch has no LSTM for."""
    model, ids = model_of(cell), ids_of(2, T)
    contexts: list[Callable[[], Dense]] = [lambda: Dense(ids), lambda: Packed(torch.arange(T).expand(2, T) // 5)]
    for context in contexts:
        expected = logits_of(model, ids, context())
        with torch.autocast("cpu", dtype):
            logits = model(ids, context())
        torch.autograd.backward(logits.float().logsumexp(-1).sum())
        assert logits.dtype == dtype
        assert (logits.float() - expected).abs().max() < 0.05 * expected.abs().max()
        assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in model.parameters())
    short = copy.deepcopy(model).to(dtype)
    assert (logits_of(short, ids).float() - logits_of(model, ids)).abs().max() < 0.2


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("cell", CELLS)
def test_recomputed_gradients_are_the_same(cell: str, packed: bool) -> None:
    """Also under dropout: the same numbers are left out again."""
    ids = ids_of(2, T)
    gradients = []
    for recomputed in (False, True):
        model = model_of(cell, dropout=0.3).train()
        if recomputed:
            compute.recompute(model)
        torch.manual_seed(3)
        context = Packed(torch.arange(T).expand(2, T) // 5) if packed else Dense(ids)
        gradients.append(torch.autograd.grad(model(ids, context).logsumexp(-1).sum(), list(model.parameters())))
    assert all(torch.equal(one, other) for one, other in zip(*gradients, strict=True))


def test_dropout_is_between_layers_and_only_while_learning() -> None:
    ids = ids_of(2, T)
    for layers, differs in ((1, False), (2, True)):
        model = model_of(layers=layers, dropout=0.5)
        expected = logits_of(model, ids)
        assert torch.equal(expected, logits_of(model, ids))
        assert torch.equal(expected, logits_of(model_of(layers=layers), ids))
        assert torch.equal(expected, logits_of(model.train(), ids)) != differs


@pytest.mark.parametrize("cell", CELLS)
def test_tensors_without_memory_go_through(cell: str) -> None:
    """So memory is estimated before a run (`train/resources.py`)."""
    config = model_of(cell).config
    with FakeTensorMode():
        model, ids = Model(config), torch.empty(2, 6, dtype=torch.long)
        logits = model(ids, Packed(torch.empty(2, 6, dtype=torch.long)))
        gradients = torch.autograd.grad(logits.sum(), list(model.parameters()))
        assert [gradient.shape for gradient in gradients] == [parameter.shape for parameter in model.parameters()]
    with torch.device("meta"):
        assert Model(config)(torch.empty(2, 6, dtype=torch.long), Dense(torch.empty(2, 6))).shape == (2, 6, V)


# --- its shape and its first weights ---


@pytest.mark.parametrize("cell", CELLS)
def test_fresh_weights_keep_what_they_read_and_start_near_chance(cell: str) -> None:
    torch.manual_seed(0)
    model = Model(Config(vocab_size=500, width=128, cell=cell))  # type: ignore[arg-type]
    model.initialize()
    for name, parameter in model.named_parameters():
        if "weight_" in name:
            assert parameter.abs().max() <= 1 / math.sqrt(128)
            assert parameter.std() > 0.5 / math.sqrt(128)
        if "bias" in name:
            ones = torch.zeros_like(parameter)
            if cell == "lstm" and "bias_ih" in name:
                ones[128:256] = 1  # torch's order: input, forget, cell, output
            assert torch.equal(parameter, ones)
    loss = torch.nn.functional.cross_entropy(logits_of(model, ids_of(4, 64)).flatten(0, 1), ids_of(4, 64, seed=2).flatten())
    assert abs(loss.item() - math.log(500)) < 1


@pytest.mark.parametrize(
    ("field", "value", "match"),
    [
        ("cell", "LSTM", "cell"),
        ("width", 0, "width must be positive"),
        ("layers", -1, "layers must be positive"),
        ("vocab_size", 0, "vocab_size must be positive"),
        ("embed_width", 0, "embed_width must be positive"),
        ("embed_width", 5, "set tied to false"),
        ("dropout", 1.0, "dropout must be from 0"),
        ("dropout", -0.1, "dropout must be from 0"),
        ("dropout", math.nan, "dropout must be from 0"),
        ("width", "wide", "width"),
        ("heads", 2, "no field 'heads'"),
    ],
)
def test_an_impossible_shape_is_refused_by_its_name(field: str, value: Any, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        build_config(lstm, {**asdict(TINY), field: value})
    if field != "heads" and not isinstance(value, str):
        with pytest.raises(ValueError, match=match):
            replace(TINY, **{field: value})


def test_an_unknown_cell_is_refused_without_pydantic_too() -> None:
    with pytest.raises(ValueError, match="known: lstm, gru, rnn"):
        replace(TINY, cell="elman")  # type: ignore[arg-type]


def test_a_size_gives_few_wide_layers() -> None:
    for wanted in (3e5, 3e6, 3e7):
        config = Config.sized(wanted, vocab_size=512)
        assert wanted / 1.5 < config.num_parameters() < wanted * 1.5
        assert config.layers == 2
    with pytest.raises(ValueError, match="no shape"):
        Config.sized(1000, vocab_size=50_000)


def test_a_text_has_no_longest_length() -> None:
    assert TINY.context_length is None
    assert logits_of(model_of(), ids_of(1, 3000)).isfinite().all()


# --- folders ---


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    huggingface.save_folder(tmp_path / "model", model_of(vocab_size=TOKENIZER.vocab_size), TOKENIZER)
    return tmp_path / "model"


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("cell", CELLS)
def test_a_folder_comes_back_bit_for_bit(cell: str, shape: dict[str, Any], tmp_path: Path) -> None:
    model = model_of(cell, **shape)
    huggingface.save_folder(tmp_path / "model", model, TOKENIZER)
    assert json.loads((tmp_path / "model" / "config.json").read_text())["model_type"] == "llamarium-lstm"
    again = huggingface.load_folder(tmp_path / "model")
    assert again.config == model.config
    assert torch.equal(logits_of(again.eval(), ids_of(2, T)), logits_of(model, ids_of(2, T)))


def test_it_writes_what_it_finds_most_probable(folder: Path) -> None:
    ours = llamarium.load(str(folder))
    ours.stop_ids = frozenset()
    ids = TOKENIZER.encode("the cat")
    for _ in range(30):
        ids.append(int(logits_of(ours.model, torch.tensor([ids]))[0, -1].argmax()))
    result = ours._run(ids[:-30], stream=False, max_tokens=30, temperature=0.0)
    assert isinstance(result, Generation)
    assert result.token_ids == ids[-30:]
    assert len(set(ids[-30:])) > 3


def change_weights(folder: Path, change: Callable[[dict[str, Tensor]], Any]) -> None:
    tensors = load_file(folder / huggingface.WEIGHTS)
    change(tensors)
    save_file(tensors, folder / huggingface.WEIGHTS)


def change_config(folder: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    values = json.loads((folder / "config.json").read_text())
    change(values["config"])
    (folder / "config.json").write_text(json.dumps(values))


NAME = "blocks.1.cells.weight_hh_l0"


@pytest.mark.parametrize(
    ("where", "change", "match"),
    [
        (change_weights, lambda tensors: tensors.pop(NAME), NAME),
        (change_weights, lambda tensors: tensors.update({NAME: torch.zeros(3, 3)}), NAME),
        (change_weights, lambda tensors: tensors.update(more=torch.zeros(3)), "more"),
        (change_config, lambda config: config.pop("vocab_size"), "vocab_size"),
        (change_config, lambda config: config.update(cell="transformer"), "cell"),
        (change_config, lambda config: config.update(cell="gru"), "blocks.0.cells"),
        (change_config, lambda config: config.update(layers=10**9), "layers"),
        (change_config, lambda config: config.update(width=10**12), "cannot be built|shape"),
        (change_config, lambda config: config.update(dropout="much"), "dropout"),
    ],
)
def test_a_wrong_folder_is_named(folder: Path, where: Callable[..., None], change: Callable[..., Any], match: str) -> None:
    where(folder, change)
    with pytest.raises(BadFileError, match=match) as caught:
        llamarium.load(str(folder))
    assert caught.value.exit_code == 3
    assert "\n" not in caught.value.message


def test_examples_in_docstrings() -> None:
    import doctest

    module: ModuleType = lstm
    assert doctest.testmod(module).failed == 0
