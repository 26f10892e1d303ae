"""The LLaMA family: shapes that follow from few numbers, rotary frequencies, and the life of a model."""

from __future__ import annotations

import copy
import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from llamarium.models import llama
from llamarium.models.context import Cached, Dense
from llamarium.models.llama import TINY, Config, Model, RopeScaling, frequencies
from llamarium.ops.reference import rotary_table, rotate

IDS = torch.randint(0, TINY.vocab_size, (2, 12), generator=torch.Generator().manual_seed(0))


def fresh(**changes: Any) -> Model:
    torch.manual_seed(0)
    model = Model(replace(TINY, **changes))
    model.initialize()
    return model


# --- shapes ---


def test_what_is_not_said_follows() -> None:
    config = Config(vocab_size=100, width=384, heads=6)
    assert (config.kv_heads, config.head_width, config.hidden_width, config.rope_width) == (6, 64, 1024, 64)
    assert Config(vocab_size=100, width=384, heads=6, head_width=32, kv_heads=2).rope_width == 32


@pytest.mark.parametrize(
    ("values", "match"),
    [
        ({"heads": 6, "kv_heads": 4}, "6 heads cannot share 4"),
        ({"head_width": 7}, "rope_width 7 must be even"),
        ({"head_width": 8, "rope_width": 10}, "at most the head width 8"),
        ({"vocab_size": 0}, "vocab_size must be positive"),
        ({"layers": -1}, "layers must be positive"),
        ({"window": 0}, "window must be positive"),
        ({"norm_epsilon": math.nan}, "norm_epsilon must be positive"),
        ({"rope_theta": math.inf}, "rope_theta must be positive"),
    ],
)
def test_a_shape_that_cannot_be_is_refused(values: dict[str, Any], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        Config(**{"vocab_size": 100, **values})


@pytest.mark.parametrize(
    "values",
    [
        {"factor": 0.0},
        {"factor": math.inf},
        {"factor": 2.0, "original_context": 0},
        {"factor": 2.0, "low_frequency_factor": 4.0, "high_frequency_factor": 4.0},
        {"factor": 2.0, "low_frequency_factor": math.nan},
    ],
)
def test_a_scaling_that_cannot_be_is_refused(values: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="rotary scaling needs"):
        RopeScaling("llama3", **values)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, 64 * 32 + 32 + 2 * (2 * 32 + 2 * 32 * 32 + 2 * 32 * 16 + 3 * 32 * 48)),
        ({"tied": False}, 2 * 64 * 32 + 32 + 2 * (2 * 32 + 2 * 32 * 32 + 2 * 32 * 16 + 3 * 32 * 48)),
        (
            {"layers": 1, "qkv_bias": True, "output_bias": True, "mlp_bias": True},
            64 * 32 + 3 * 32 + 7680 + 32 + 16 + 16 + 32 + 48 + 48 + 32,
        ),
        ({"layers": 1, "query_key_norm": True, "sandwich_norm": True}, 64 * 32 + 3 * 32 + 7680 + 2 * 8 + 2 * 32),
    ],
)
def test_the_number_of_weights_is_the_sum_of_the_matrices(changes: dict[str, Any], expected: int) -> None:
    config = replace(TINY, **changes)
    assert config.num_parameters() == Model(config).num_parameters() == expected


@given(st.floats(1e5, 2e8), st.sampled_from([260, 4096, 32_000, 128_000]))
@settings(max_examples=8, deadline=None)
def test_a_size_gives_a_shape_of_about_that_many_weights(size: float, vocab_size: int) -> None:
    try:
        config = Config.sized(size, vocab_size=vocab_size, context_length=512)
    except ValueError:  # the vocabulary alone is larger
        assert size < 80 * vocab_size
        return
    assert (config.vocab_size, config.context_length) == (vocab_size, 512)
    assert abs(config.num_parameters() / size - 1) < 0.35
    assert config.width % config.heads == 0


@pytest.mark.parametrize(("size", "tolerance"), [(1e6, 0.1), (1e7, 0.05), (1e9, 0.05)])
def test_common_sizes_are_met_closely(size: float, tolerance: float) -> None:
    config = Config.sized(size, vocab_size=8192, context_length=512)
    assert abs(config.num_parameters() / size - 1) < tolerance


# --- rotary positions ---


def test_plain_frequencies() -> None:
    expected = [500_000.0 ** (-2 * i / 64) for i in range(32)]
    assert torch.allclose(frequencies(Config(vocab_size=9, width=384, heads=6, rope_theta=500_000.0)), torch.tensor(expected))


def test_linear_scaling_divides_every_frequency() -> None:
    config = replace(TINY, rope_scaling=RopeScaling("linear", 4.0))
    assert torch.equal(frequencies(config), frequencies(TINY) / 4)


def test_llama3_scaling_stretches_long_waves_keeps_short_ones_and_ramps_between() -> None:
    config = Config(vocab_size=9, width=128, heads=1, rope_theta=500_000.0, rope_scaling=RopeScaling("llama3", 8.0, 1.0, 4.0, 8192))
    plain, scaled = (frequencies(c).tolist() for c in (replace(config, rope_scaling=None), config))
    kinds = set()
    for before, after in zip(plain, scaled, strict=True):
        turns = 8192 / (2 * math.pi / before)
        if turns > 4:
            expected, kind = before, "short"
        elif turns < 1:
            expected, kind = before / 8, "long"
        else:
            share = (turns - 1) / (4 - 1)
            expected, kind = before * share + before / 8 * (1 - share), "between"
        kinds.add(kind)
        assert after == pytest.approx(expected, rel=1e-5)
    assert kinds == {"short", "long", "between"}


@pytest.mark.parametrize("interleaved", [False, True])
@pytest.mark.parametrize("width", [8, 4])
def test_rotation_keeps_lengths_and_knows_only_distances(interleaved: bool, width: int) -> None:
    draw = torch.Generator().manual_seed(1)
    q, k = torch.randn(2, 1, 1, 1, 8, generator=draw)
    theta = frequencies(replace(TINY, rope_width=width))

    def turned(x: torch.Tensor, position: int) -> torch.Tensor:
        return rotate(x, rotary_table(torch.tensor([[position]]), theta), interleaved=interleaved)

    assert turned(q, 5).norm() == pytest.approx(q.norm().item(), rel=1e-5)
    near, far = ((turned(q, 7 + shift) * turned(k, 3 + shift)).sum().item() for shift in (0, 40))
    assert near == pytest.approx(far, abs=1e-4)
    assert near != pytest.approx((turned(q, 8) * turned(k, 3)).sum().item(), abs=1e-4)
    assert torch.equal(turned(q, 5)[..., width:], q[..., width:])


def test_the_two_ways_of_pairing_are_one_up_to_order() -> None:
    x = torch.randn(1, 3, 2, 8, generator=torch.Generator().manual_seed(2))
    table = rotary_table(torch.arange(3)[None], frequencies(TINY))
    order = torch.tensor([0, 4, 1, 5, 2, 6, 3, 7])
    torch.testing.assert_close(rotate(x, table)[..., order], rotate(x[..., order], table, interleaved=True))


# --- the life of a model ---


def test_fresh_weights_are_normal_and_what_is_added_is_scaled_by_depth() -> None:
    model = Model(Config(vocab_size=500, width=128, layers=8, heads=4, qkv_bias=True))
    torch.manual_seed(0)
    model.initialize()
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            assert (parameter == 0).all()
        elif parameter.ndim == 1:
            assert (parameter == 1).all()
        else:
            expected = 0.02 / 4 if name.endswith(("o_proj.weight", "down_proj.weight")) else 0.02
            assert parameter.std().item() == pytest.approx(expected, rel=0.05)


def test_at_first_every_id_is_about_as_probable() -> None:
    model = fresh()
    others = (IDS + 1) % TINY.vocab_size  # an id itself is a little more probable, as input and output share their vectors
    loss = torch.nn.functional.cross_entropy(model(IDS, Dense(IDS)).flatten(0, 1), others.flatten())
    assert loss.item() == pytest.approx(math.log(TINY.vocab_size), abs=0.05)


def test_seeds_decide_the_weights() -> None:
    one, same = fresh(), fresh()
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), same.parameters(), strict=True))
    same.initialize()
    assert not torch.equal(one.embed.weight, same.embed.weight)


def test_a_model_that_spoke_can_still_learn() -> None:
    """What generation keeps in inference mode must not be in the way of gradients."""
    model = fresh()
    with torch.inference_mode():
        model(IDS, Cached(capacity=12, device=IDS.device).step(12))
    model(IDS, Dense(IDS)).sum().backward()
    assert model.embed.weight.grad is not None


def test_a_model_can_be_copied_and_converted() -> None:
    model = fresh()
    expected = model(IDS, Dense(IDS))
    again = copy.deepcopy(model)
    assert torch.equal(again(IDS, Dense(IDS)), expected)
    double = again.double()(IDS, Dense(IDS))
    torch.testing.assert_close(double.float(), expected, atol=1e-5, rtol=1e-4)


def test_a_window_of_the_whole_text_changes_nothing_and_a_smaller_one_does() -> None:
    expected = fresh()(IDS, Dense(IDS))
    assert torch.equal(fresh(window=12)(IDS, Dense(IDS)), expected)
    narrow = fresh(window=4)(IDS, Dense(IDS))
    torch.testing.assert_close(narrow[:, :4], expected[:, :4])
    assert not torch.allclose(narrow[:, 4:], expected[:, 4:])
    assert torch.equal(fresh(window=4, window_from=2)(IDS, Dense(IDS)), expected)


def test_the_mistral_window_reaches_layers_times_its_width() -> None:
    model = fresh(window=3, layers=2)
    before = model(IDS, Dense(IDS))
    changed = IDS.clone()
    changed[:, 0] = (changed[:, 0] + 1) % TINY.vocab_size
    after = model(changed, Dense(changed))
    reach = 1 + 2 * (3 - 1)
    assert not torch.equal(before[:, reach - 1], after[:, reach - 1])
    assert torch.equal(before[:, reach:], after[:, reach:])


def test_tied_weights_are_one_tensor() -> None:
    model = fresh()
    assert model.head is None
    assert "head.weight" not in model.state_dict()
    assert fresh(tied=False).head is not None


def test_the_hidden_states_unembed_to_the_logits() -> None:
    model = fresh(tied=False)
    assert torch.equal(model.unembed(model.hidden(IDS, Dense(IDS))), model(IDS, Dense(IDS)))


@pytest.mark.parametrize("kind", llama.HF_MODEL_TYPES)
def test_each_relative_is_told_from_its_shape(kind: str) -> None:
    values: dict[str, Any] = {
        "model_type": kind,
        "vocab_size": 64,
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 8,
        "intermediate_size": 48,
    }
    config = llama.config_from_hf(values)
    assert llama.hf_model_type(config) == kind
    written = llama.config_to_hf(config)
    assert written is not None
    assert llama.config_from_hf(written) == config
    assert written["architectures"] == [llama.HF_ARCHITECTURES[kind]]
