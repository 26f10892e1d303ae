"""LLaMA 4 computes what transformers computes, both ways; its router, chunks and temperatures do what they say; wrong folders are named.

Tiny models with large random weights: their logits spread over several units, so that a wrong detail cannot hide within 1e-4.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import Tensor

import llamarium
from llamarium.checkpoint import huggingface
from llamarium.engine.generate import Generation
from llamarium.engine.language_model import LanguageModel
from llamarium.ground.errors import BadFileError
from llamarium.models import llama4
from llamarium.models.context import Cached, Dense, Packed
from llamarium.models.llama4 import TINY, Config, Mixture, Model, RopeScaling, frequencies, temperature
from llamarium.tokens.train import bytes_tokenizer

TOLERANCE = 1e-4
TOKENIZER = bytes_tokenizer()
VOCABULARY = 288  # more than the tokenizer has, as in many checkpoints
IDS = torch.randint(0, VOCABULARY, (1, 48), generator=torch.Generator().manual_seed(7))

SHAPE = {
    "vocab_size": VOCABULARY,
    "hidden_size": 48,
    "intermediate_size": 40,
    "intermediate_size_mlp": 72,
    "num_hidden_layers": 4,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "num_local_experts": 4,
    "attention_chunk_size": 7,
    "floor_scale": 5,
    "attn_scale": 0.5,
    "max_position_embeddings": 128,
    "initializer_range": 0.3,
    "rms_norm_eps": 1e-4,
    "tie_word_embeddings": False,
    "pad_token_id": 0,
    "bos_token_id": 0,
    "eos_token_id": 0,
}
SCOUT = {"rope_type": "llama3", "factor": 16.0, "low_freq_factor": 1.0, "high_freq_factor": 1.0, "original_max_position_embeddings": 24}
CASES: dict[str, dict[str, Any]] = {
    "Scout: experts everywhere, one a token": {"rope_parameters": {"rope_theta": 500.0, **SCOUT}},
    "Maverick: experts in every second layer, no query-key norm": {"interleave_moe_layer_step": 2, "use_qk_norm": False},
    "two experts a token": {"num_experts_per_tok": 2, "interleave_moe_layer_step": 2},
    "every expert for every token": {"num_experts_per_tok": 4},
    "experts in named layers": {"moe_layers": [0, 3], "num_experts_per_tok": 2},
    "no experts": {"moe_layers": []},
    "positions in every layer": {"no_rope_layers": [1, 1, 1, 1]},
    "positions in no layer": {"no_rope_layers": [0, 0, 0, 0]},
    "positions in named layers": {"no_rope_layers": [0, 1, 0, 1]},
    "positions in every second layer": {"no_rope_layer_interval": 2},
    "one temperature": {"attn_temperature_tuning": False, "no_rope_layer_interval": 2},
    "a chunk of more than the text": {"attention_chunk_size": 64},
    "a chunk of half the text": {"attention_chunk_size": 24},
    "tied": {"tie_word_embeddings": True},
    "biases": {"attention_bias": True},
    "a ramp of rotary scaling": {"rope_parameters": {"rope_theta": 500.0, **SCOUT, "factor": 8.0, "high_freq_factor": 4.0}},
    "a head a query": {"num_key_value_heads": 6, "head_dim": 8},
}


def disturb(model: Any) -> Any:
    """Norms and biases differ from what they begin with, too."""
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.normal_(parameter, std=0.3)
        elif parameter.ndim == 1:
            torch.nn.init.uniform_(parameter, 0.5, 1.5)
    return model.eval().float()


def theirs(name: str) -> Any:
    """A model of transformers with large random weights."""
    import transformers

    torch.manual_seed(11)
    config: Any = transformers.Llama4TextConfig
    return disturb(transformers.Llama4ForCausalLM(config(**{**SHAPE, **CASES[name]})))


@torch.no_grad()
def their_logits(model: Any, ids: Tensor = IDS) -> Tensor:
    logits: Tensor = model(ids).logits[0]
    return logits


def saved(model: Any, folder: Path) -> Path:
    model.save_pretrained(folder)
    TOKENIZER.save(folder)
    return folder


def load(folder: Path) -> LanguageModel:
    model = llamarium.load(str(folder))
    assert isinstance(model, LanguageModel)
    return model


def reload(folder: Path) -> Any:
    """What transformers makes of a folder of ours: every weight there, none left over."""
    import transformers

    automatic: Any = transformers.AutoModelForCausalLM
    model, report = automatic.from_pretrained(folder, output_loading_info=True, dtype=torch.float32)
    assert not any(report.values()), report
    return model.eval()


def close(one: Tensor, other: Tensor) -> None:
    assert one.shape == other.shape
    assert (one - other).abs().max() <= TOLERANCE
    assert other.std() > 0.5


def change(path: Path, **values: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}), encoding="utf-8")


def fresh(**changes: Any) -> Model:
    torch.manual_seed(0)
    model = Model(replace(TINY, **changes))
    model.initialize()
    for parameter in model.parameters():
        parameter.data.mul_(1 + 0.2 * torch.randn_like(parameter)).add_(0.1 * torch.randn_like(parameter))
    return model.eval()


# --- the same logits as transformers ---


@pytest.mark.parametrize("name", CASES)
def test_logits_agree_both_ways(name: str, tmp_path: Path) -> None:
    model = theirs(name)
    expected = their_logits(model)
    ours = load(saved(model, tmp_path / "theirs"))
    close(ours.logits(IDS[0].tolist()), expected)
    huggingface.save_folder(tmp_path / "ours", ours.model, TOKENIZER)
    close(their_logits(reload(tmp_path / "ours")), expected)
    again = load(tmp_path / "ours")
    assert again.model.config == ours.model.config
    assert torch.equal(again.logits(IDS[0].tolist()), ours.logits(IDS[0].tolist()))


def test_shards_are_read_and_written(tmp_path: Path) -> None:
    model = theirs("two experts a token")
    model.save_pretrained(tmp_path / "theirs", max_shard_size="50KB")
    TOKENIZER.save(tmp_path / "theirs")
    ours = load(tmp_path / "theirs")
    huggingface.save_folder(tmp_path / "ours", ours.model, TOKENIZER, shard_bytes=50_000)
    assert all(len(list((tmp_path / one).glob("*.safetensors"))) > 3 for one in ("theirs", "ours"))
    close(their_logits(reload(tmp_path / "ours")), their_logits(model))


def test_what_folders_of_2025_say_is_read(tmp_path: Path) -> None:
    """The published folders: ``rope_theta`` and ``rope_scaling`` beside each other, 4 for true, an empty list for every fourth layer."""
    model = theirs("Scout: experts everywhere, one a token")
    saved(model, tmp_path)
    values = json.loads((tmp_path / "config.json").read_text())
    rope = values.pop("rope_parameters")
    del values["layer_types"], values["moe_layers"]
    values |= {"rope_theta": rope.pop("rope_theta"), "rope_scaling": rope, "attn_temperature_tuning": 4, "no_rope_layers": []}
    (tmp_path / "config.json").write_text(json.dumps(values))
    close(load(tmp_path).logits(IDS[0].tolist()), their_logits(model))


def test_what_a_config_leaves_out_means_the_same() -> None:
    import transformers

    required: dict[str, Any] = {"hidden_size": 512, "intermediate_size": 80, "num_hidden_layers": 9, "num_attention_heads": 32}
    required["vocab_size"] = 160_000
    full = transformers.Llama4TextConfig(**required).to_dict()
    config = llama4.config_from_hf(full)
    assert llama4.config_from_hf({"model_type": "llama4_text", **required}) == config
    assert llama4.config_from_hf({"model_type": "llama4", "text_config": required}) == config
    for name in (*llama4.HF_DEFAULTS, "hidden_act", "tie_word_embeddings", "attention_bias", "moe_layers", "no_rope_layers", "layer_types"):
        assert name in full
        assert llama4.config_from_hf({key: value for key, value in full.items() if key != name}) == config


@pytest.mark.parametrize("name", list(CASES)[:3])
def test_greedy_generation_agrees_across_the_borders_of_chunks(name: str, tmp_path: Path) -> None:
    model = theirs(name)
    prompt = IDS[:, :9]
    with torch.inference_mode():
        expected = model.generate(
            prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=24, do_sample=False, eos_token_id=-1, pad_token_id=0
        )
    ours = load(saved(model, tmp_path))
    ours.stop_ids = frozenset()
    result = ours._run(prompt[0].tolist(), stream=False, max_tokens=24, temperature=0.0)
    assert isinstance(result, Generation)
    assert result.token_ids == expected[0, 9:].tolist()
    assert len(set(result.token_ids)) > 5


def test_half_precision_agrees_about_as_well(tmp_path: Path) -> None:
    model = theirs("two experts a token").to(torch.bfloat16)
    saved(model, tmp_path)
    half = llamarium.load(str(tmp_path), dtype="bfloat16")
    assert {parameter.dtype for parameter in half.model.parameters()} == {torch.bfloat16}
    huggingface.save_folder(tmp_path / "ours", half.model, TOKENIZER)
    close(their_logits(reload(tmp_path / "ours")), their_logits(reload(tmp_path)))


# --- the text part of the model that sees pictures ---

PICTURES = {
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "vision_output_dim": 16,
    "image_size": 28,
    "patch_size": 14,
    "projector_input_dim": 16,
    "projector_output_dim": 16,
}


@pytest.mark.parametrize("tied", [False, True])
def test_the_text_part_of_a_model_with_pictures_is_read(tied: bool, tmp_path: Path) -> None:
    import transformers

    torch.manual_seed(11)
    text = {**SHAPE, "num_experts_per_tok": 2, "tie_word_embeddings": tied}
    config = transformers.Llama4Config(text_config=text, vision_config=PICTURES, tie_word_embeddings=tied)
    model = disturb(transformers.Llama4ForConditionalGeneration(config))
    saved(model, tmp_path / "theirs")
    names = load_file(tmp_path / "theirs" / "model.safetensors").keys()
    assert {name.split(".")[0] for name in names} == {"language_model", "vision_model", "multi_modal_projector"}
    ours = load(tmp_path / "theirs")
    close(ours.logits(IDS[0].tolist()), their_logits(model))
    assert ours.model.config.tied == tied
    huggingface.save_folder(tmp_path / "ours", ours.model, TOKENIZER)
    close(their_logits(reload(tmp_path / "ours")), their_logits(model))


# --- the controls: one detail is turned, and the logits must be seen to differ ---

CONTROLS: dict[str, tuple[str, dict[str, Any]]] = {
    "another base of the rotation": ("biases", {"rope_theta": 10_000.0}),
    "no scaling": ("Scout: experts everywhere, one a token", {"rope_scaling": None}),
    "a ramp where there is none": ("Scout: experts everywhere, one a token", {"rope_scaling": RopeScaling(16.0, 1.0, 4.0, 24)}),
    "no ramp where there is one": ("a ramp of rotary scaling", {"rope_scaling": RopeScaling(8.0, 1.0, 1.0, 24)}),
    "no chunks": ("biases", {"chunk": None}),
    "a chunk one larger": ("biases", {"chunk": 8}),
    "positions in every layer": ("biases", {"position_free_layers": ()}),
    "positions in other layers": ("positions in named layers", {"position_free_layers": (1, 3)}),
    "no query-key norm": ("biases", {"query_key_norm": False}),
    "a query-key norm": ("Maverick: experts in every second layer, no query-key norm", {"query_key_norm": True}),
    "no temperature": ("biases", {"temperature_scale": 0.0}),
    "another temperature": ("biases", {"temperature_scale": 0.4}),
    "a temperature that begins later": ("biases", {"temperature_floor": 6}),
    "another epsilon": ("biases", {"norm_epsilon": 1e-2}),
    "one expert instead of two": ("two experts a token", {"experts_per_token": 1}),
    "three experts instead of two": ("two experts a token", {"experts_per_token": 3}),
}


def differs(name: str, folder: Path, change: Callable[[LanguageModel], None]) -> None:
    model = theirs(name)
    ours = load(saved(model, folder))
    expected = their_logits(model)
    close(ours.logits(IDS[0].tolist()), expected)
    change(ours)
    with pytest.raises(AssertionError):
        close(ours.logits(IDS[0].tolist()), expected)


@pytest.mark.parametrize("control", CONTROLS)
def test_control_one_wrong_setting_is_seen(control: str, tmp_path: Path) -> None:
    name, changes = CONTROLS[control]

    def turn(ours: LanguageModel) -> None:
        wrong = Model(replace(ours.model.config, **changes))
        wrong.load_state_dict(ours.model.state_dict())
        ours.model = wrong.eval()

    differs(name, tmp_path, turn)


def _half_split(x: Tensor, table: Any, *, interleaved: bool = False) -> Tensor:
    from llamarium.ops.reference import rotate

    return rotate(x, table)


def _scores_on_the_output(self: Mixture, x_BTD: Tensor) -> Tensor:
    best, chosen = self.router(x_BTD.flatten(0, 1)).topk(self.config.experts_per_token)
    weights = torch.zeros(len(best), self.config.experts).scatter(1, chosen, best.sigmoid())
    y = self.experts(x_BTD.flatten(0, 1).expand(self.config.experts, -1, -1))
    return self.shared_expert(x_BTD) + (weights.T[:, :, None] * y).sum(0).view_as(x_BTD)  # type: ignore[no-any-return]


def _scores_that_sum_to_1(self: Mixture, x_BTD: Tensor) -> Tensor:
    return _naive(self, x_BTD, lambda best: best.softmax(-1))


def _no_shared_expert(self: Mixture, x_BTD: Tensor) -> Tensor:
    return _naive(self, x_BTD, torch.sigmoid) - self.shared_expert(x_BTD)  # type: ignore[no-any-return]


def _naive(self: Mixture, x_BTD: Tensor, score: Callable[[Tensor], Tensor]) -> Tensor:
    """The formula token by token and expert by expert, with plain matrices."""
    y_BTD = self.shared_expert(x_BTD).clone()
    for row in range(x_BTD.shape[0]):
        for t in range(x_BTD.shape[1]):
            best, chosen = (self.router.weight @ x_BTD[row, t]).topk(self.config.experts_per_token)
            for s, e in zip(score(best), chosen.tolist(), strict=True):
                gate, up = (s * x_BTD[row, t] @ self.experts.gate_up_proj[e]).chunk(2)
                y_BTD[row, t] += (F.silu(gate) * up) @ self.experts.down_proj[e]
    return y_BTD  # type: ignore[no-any-return]


DETAILS: dict[str, tuple[str, Any, str, Any]] = {
    "half-split instead of interleaved rotation": ("biases", llama4, "rotate", _half_split),
    "scores on what experts give": ("two experts a token", Mixture, "forward", _scores_on_the_output),
    "scores by softmax": ("two experts a token", Mixture, "forward", _scores_that_sum_to_1),
    "no shared expert": ("two experts a token", Mixture, "forward", _no_shared_expert),
    "a temperature without its 1": ("biases", llama4, "temperature", lambda places, config: temperature(places - 1, config)),
}


@pytest.mark.parametrize("control", DETAILS)
def test_control_one_wrong_formula_is_seen(control: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name, where, what, wrong = DETAILS[control]
    differs(name, tmp_path, lambda _: monkeypatch.setattr(where, what, wrong))


# --- the router and its experts ---


@pytest.mark.parametrize("per_token", [1, 2, 4])
@pytest.mark.parametrize("rows", [(1, 1), (1, 3), (2, 12)])
def test_many_tokens_and_few_get_what_the_formula_says(per_token: int, rows: tuple[int, int]) -> None:
    mixture = fresh(experts_per_token=per_token).blocks[1].mlp
    assert isinstance(mixture, Mixture)
    x_BTD = torch.randn(*rows, TINY.width, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        torch.testing.assert_close(mixture(x_BTD), _naive(mixture, x_BTD, torch.sigmoid), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("rows", [1, 24])
def test_an_expert_without_tokens_learns_nothing_and_disturbs_nothing(rows: int) -> None:
    mixture = Mixture(replace(TINY, experts_per_token=1))
    for parameter in mixture.parameters():
        torch.nn.init.normal_(parameter, generator=torch.Generator().manual_seed(4))
    mixture.router.weight.data[2] = 0  # sigmoid 1/2, and never the largest: the first is positive where its opposite is not
    mixture.router.weight.data[1] = -mixture.router.weight.data[0]
    x_BTD = torch.randn(1, rows, TINY.width, generator=torch.Generator().manual_seed(5))
    mixture(x_BTD).sum().backward()
    for weights in (mixture.experts.gate_up_proj, mixture.experts.down_proj):
        assert weights.grad is not None
        used = weights.grad.abs().flatten(1).max(1).values > 0
        assert not used[2]
        assert used.any()
        assert weights.grad.isfinite().all()
    assert mixture.router.weight.grad is not None
    assert (mixture.router.weight.grad[2] == 0).all()


def test_a_token_of_generation_reads_its_own_experts_only() -> None:
    """Broken matrices of the others are not met."""
    model = fresh(experts_per_token=1)
    mixture = model.blocks[1].mlp
    assert isinstance(mixture, Mixture)
    x_BTD = torch.randn(1, 1, TINY.width, generator=torch.Generator().manual_seed(6))
    with torch.no_grad():
        expected = mixture(x_BTD)
        own = mixture.router(x_BTD).argmax().item()
        for other in set(range(TINY.experts)) - {own}:
            mixture.experts.gate_up_proj[other] = math.nan
        assert torch.equal(mixture(x_BTD), expected)


# --- chunks, layers without positions, temperatures ---


@given(st.lists(st.integers(1, 20), max_size=12))
@settings(max_examples=15, deadline=None)
def test_cached_is_uncached_across_the_borders_of_chunks(lengths: list[int]) -> None:
    model, ids, start, found = fresh(layers=4, chunk=7, position_free_every=4), IDS % TINY.vocab_size, 0, []
    cache = Cached(capacity=48, device=ids.device)
    with torch.no_grad():
        for length in [*lengths, *[1] * 48]:
            if part := min(length, 48 - start):
                found.append(model(ids[:, start : start + part], cache.step(part)))
                start += part
        expected = model(ids, Dense(ids))
    torch.testing.assert_close(torch.cat(found, dim=1), expected, atol=1e-4, rtol=1e-4)


def test_a_chunk_sees_nothing_before_itself_and_a_layer_without_positions_does() -> None:
    ids = IDS[:, :24] % TINY.vocab_size
    changed = ids.clone()
    changed[:, 7] = (changed[:, 7] + 1) % TINY.vocab_size
    near = fresh(position_free_layers=(), chunk=8)
    same = near(ids, Dense(ids)) == near(changed, Dense(changed))
    assert same[:, :7].all()
    assert not same[:, 7].all()
    assert same[:, 8:].all()
    far = fresh(position_free_layers=(1,), chunk=8)
    assert not (far(ids, Dense(ids)) == far(changed, Dense(changed)))[:, 8:].all(-1).any()


def test_a_layer_without_positions_does_not_know_the_order_of_what_it_sees() -> None:
    model = fresh(layers=1, position_free_layers=(0,))
    ids = IDS[:, :12] % TINY.vocab_size
    other = torch.cat([ids[:, :11].flip(1), ids[:, 11:]], dim=1)
    torch.testing.assert_close(model(ids, Dense(ids))[:, -1], model(other, Dense(other))[:, -1], atol=1e-5, rtol=1e-5)
    turned = fresh(layers=1, position_free_layers=(), chunk=None)
    assert not torch.allclose(turned(ids, Dense(ids))[:, -1], turned(other, Dense(other))[:, -1], atol=1e-3)


def test_temperatures_are_the_formula_and_begin_with_each_document() -> None:
    config = replace(TINY, temperature_floor=4, temperature_scale=0.1)
    expected = [1 + 0.1 * math.log(1 + (t + 1) // 4) for t in range(20)]
    assert temperature(torch.arange(20)[None], config)[0].tolist() == pytest.approx(expected)
    assert expected[2] == 1 < expected[3]
    documents = torch.tensor([[0] * 5 + [1] * 7])
    assert temperature(Packed(documents).positions_BT, config)[0].tolist() == pytest.approx(expected[:5] + expected[:7])


def test_rotary_scaling_without_a_ramp_has_two_kinds_of_waves() -> None:
    config = Config(vocab_size=9, width=128, heads=1, rope_scaling=RopeScaling(16.0))
    plain, scaled = (frequencies(c) for c in (replace(config, rope_scaling=None), config))
    long = 2 * math.pi / plain > 8192
    assert long.any()
    assert not long.all()
    assert torch.equal(scaled, torch.where(long, plain / 16, plain))


# --- shapes ---


def test_what_is_not_said_follows() -> None:
    config = Config(vocab_size=100, width=384, heads=6)
    assert (config.kv_heads, config.head_width, config.hidden_width, config.dense_hidden_width) == (6, 64, 512, 1024)
    assert [config.has_experts(layer) for layer in range(8)] == [True] * 8
    assert [config.has_positions(layer) for layer in range(8)] == [True, True, True, False] * 2
    assert Config(vocab_size=100, experts_per_token=3).dense_hidden_width == 4 * 256


def test_one_shape_has_one_form() -> None:
    config = Config(vocab_size=100, mixture_every=2, mixture_layers=(7, 5, 3, 1), position_free_layers=(3, 7))
    assert config == Config(vocab_size=100, mixture_every=2)
    named = Config(vocab_size=100, mixture_layers=(2, 0, 2))
    assert named.mixture_layers == (0, 2)
    assert [named.has_experts(layer) for layer in range(4)] == [True, False, True, False]


@pytest.mark.parametrize(
    ("values", "match"),
    [
        ({"heads": 6, "kv_heads": 4}, "6 heads cannot share 4"),
        ({"head_width": 7}, "head width 7 must be even"),
        ({"heads": 400}, "head width 0 must be even and positive"),
        ({"vocab_size": 0}, "vocab_size must be positive"),
        ({"heads": 0}, "heads must be positive"),
        ({"kv_heads": -1}, "kv_heads must be 0 or more"),
        ({"chunk": 0}, "chunk must be positive"),
        ({"mixture_every": 0}, "mixture_every must be positive"),
        ({"norm_epsilon": math.nan}, "norm_epsilon must be positive"),
        ({"rope_theta": math.inf}, "rope_theta must be positive"),
        ({"temperature_scale": -0.1}, "temperature_scale must be 0 or more"),
        ({"temperature_floor": 0}, "temperature_floor must be positive"),
        ({"experts": 4, "experts_per_token": 5}, "cannot have 5 of 4 experts"),
        ({"mixture_layers": (8,)}, "mixture_layers must be from 0 to 7"),
        ({"position_free_layers": (-1,)}, "position_free_layers must be from 0 to 7"),
    ],
)
def test_a_shape_that_cannot_be_is_refused(values: dict[str, Any], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        Config(**{"vocab_size": 100, **values})


@pytest.mark.parametrize("values", [{"factor": 0.0}, {"factor": 2.0, "low_frequency_factor": 2.0}, {"factor": 2.0, "original_context": 0}])
def test_a_scaling_that_cannot_be_is_refused(values: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="rotary scaling needs"):
        RopeScaling(**values)


def test_the_number_of_weights_is_the_sum_of_the_matrices() -> None:
    attention, expert, dense = 2 * 32 * 32 + 2 * 32 * 16, 3 * 32 * 24, 3 * 32 * 72
    expected = 64 * 32 + 32 + 2 * (2 * 32 + attention) + dense + (4 * 32 + 5 * expert)
    assert TINY.num_parameters() == Model(TINY).num_parameters() == expected


@pytest.mark.parametrize(("size", "vocab_size"), [(3e5, 260), (1e6, 260), (1e7, 8192), (1e9, 8192)])
def test_a_size_gives_a_shape_of_about_that_many_weights(size: float, vocab_size: int) -> None:
    config = Config.sized(size, vocab_size=vocab_size, context_length=512)
    assert abs(config.num_parameters() / size - 1) < 0.15
    assert {config.has_positions(layer) for layer in range(config.layers)} == {True, False}
    assert config.width % config.heads == 0


def test_fresh_weights_are_normal_and_what_is_added_is_scaled_by_depth() -> None:
    model = Model(Config(vocab_size=500, width=128, layers=8, heads=4, experts=2, attention_bias=True, mixture_every=2))
    torch.manual_seed(0)
    model.initialize()
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            assert (parameter == 0).all()
        elif parameter.ndim == 1:
            assert (parameter == 1).all()
        else:
            expected = 0.02 / 4 if "o_proj" in name or "down_proj" in name else 0.02
            assert parameter.std().item() == pytest.approx(expected, rel=0.15 if "router" in name else 0.05), name


# --- folders ---


@pytest.mark.parametrize(
    "changes", [{"chunk": None}, {"chunk": None, "mixture_layers": (0,), "rope_scaling": RopeScaling(16.0, 1.0, 4.0)}], ids=str
)
def test_a_shape_that_transformers_cannot_run_is_written_in_our_own_form(changes: dict[str, Any], tmp_path: Path) -> None:
    model = fresh(**changes)
    huggingface.save_folder(tmp_path / "model", model, TOKENIZER)
    assert json.loads((tmp_path / "model" / "config.json").read_text())["model_type"] == "llamarium-llama4"
    again = huggingface.load_folder(tmp_path / "model")
    assert again.config == model.config
    assert all(torch.equal(one, other) for one, other in zip(model.parameters(), again.parameters(), strict=True))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    huggingface.save_folder(tmp_path / "model", fresh(vocab_size=TOKENIZER.vocab_size, tied=False), TOKENIZER)
    return tmp_path / "model"


def refused(folder: Path, match: str) -> None:
    with pytest.raises(BadFileError, match=match) as caught:
        llamarium.load(str(folder))
    assert caught.value.exit_code == 3
    assert "\n" not in caught.value.message


LIES: dict[str, tuple[dict[str, Any], str]] = {
    "a billion layers": ({"num_hidden_layers": 10**9, "moe_layers": None, "no_rope_layers": []}, "1,000,000,000 layers"),
    "a billion layers, two of them known": ({"num_hidden_layers": 10**9}, "no_rope_layers speaks of 2 layers"),
    "a layer too many": ({"num_hidden_layers": 3, "no_rope_layers": None}, r"lacks the tensor model\.layers\.2"),
    "a layer too few": ({"num_hidden_layers": 1}, r"does not know, such as model\.layers\.1"),
    "half a layer": ({"num_hidden_layers": 1.5}, "num_hidden_layers must be a whole number"),
    "heads in words": ({"num_attention_heads": "four"}, "num_attention_heads must be a whole number"),
    "no heads": ({"num_attention_heads": 0}, "heads must be positive"),
    "heads that do not share": ({"num_attention_heads": 5}, "cannot share"),
    "a vocabulary in words": ({"vocab_size": "large"}, "vocab_size must be a whole number"),
    "a width beyond all memory": ({"hidden_size": 2**40}, "shape|built"),
    "experts beyond all memory": ({"num_local_experts": 2**50}, "shape|built"),
    "an expert too many": ({"num_local_experts": 5}, "shape"),
    "no experts": ({"num_local_experts": 0}, "experts must be positive"),
    "experts in words": ({"num_local_experts": "many"}, "num_local_experts must be a whole number"),
    "more experts a token than there are": ({"num_experts_per_tok": 5}, "cannot have 5 of 4"),
    "experts in a layer that has none": ({"moe_layers": [0, 1]}, r"lacks the tensor model\.layers\.0\.feed_forward"),
    "experts before the first layer": ({"moe_layers": [-1]}, "mixture_layers must be from 0"),
    "layers of experts in words": ({"moe_layers": "all"}, "moe_layers must be a list"),
    "layers of experts, named": ({"moe_layers": ["first"]}, "moe_layers must be a list"),
    "experts in every layer of none": ({"interleave_moe_layer_step": 0}, "mixture_every must be positive"),
    "positions as a number": ({"no_rope_layers": 4}, "no_rope_layers must be a list"),
    "positions of some layers": ({"no_rope_layers": [1]}, "no_rope_layers speaks of 1 layers and there are 2"),
    "an interval in words": ({"no_rope_layer_interval": "every"}, "no_rope_layer_interval must be a whole number"),
    "chunks where there are no positions": ({"layer_types": ["chunked_attention"] * 2}, "layer_types calls layer 1 'chunked_attention'"),
    "an empty chunk": ({"attention_chunk_size": 0}, "chunk must be positive"),
    "a chunk in words": ({"attention_chunk_size": "some"}, "chunk"),
    "a norm in words": ({"use_qk_norm": "perhaps"}, "query_key_norm"),
    "a temperature in words": ({"attn_scale": "hot"}, "temperature_scale"),
    "another activation": ({"hidden_act": "gelu"}, "activation 'gelu'"),
    "an unknown scaling": ({"rope_scaling": {"rope_type": "yarn", "factor": 4.0}}, "'yarn' is not supported"),
    "a scaling without a factor": ({"rope_scaling": {"rope_type": "llama3"}}, "lacks 'factor'"),
    "other weights than it has": ({"attention_bias": True}, r"lacks the tensor .*bias"),
    "pictures without a text part": ({"model_type": "llama4"}, "lacks 'text_config'"),
    "a text part in words": ({"model_type": "llama4", "text_config": "words"}, "cannot be used"),
    "a text part that lacks a width": (
        {"model_type": "llama4", "text_config": {"vocab_size": 259, "num_attention_heads": 4}},
        "lacks 'hidden_size'",
    ),
}


@pytest.mark.parametrize(("values", "match"), LIES.values(), ids=LIES.keys())
@pytest.mark.timeout(2)
def test_a_config_that_lies_is_refused(folder: Path, values: dict[str, Any], match: str) -> None:
    change(folder / "config.json", **values)
    refused(folder, match)


@pytest.mark.parametrize("name", ["vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size"])
def test_a_config_that_lacks_something_is_refused(folder: Path, name: str) -> None:
    values = json.loads((folder / "config.json").read_text())
    del values[name]
    (folder / "config.json").write_text(json.dumps(values))
    refused(folder, f"lacks '{name}'")


EXPERTS = "model.layers.1.feed_forward.experts.gate_up_proj"
Tensors = dict[str, Tensor]
EDITS: dict[str, tuple[Callable[[Tensors], Tensors], str]] = {
    "no experts": (lambda t: {name: x for name, x in t.items() if name != EXPERTS}, f"lacks the tensor {EXPERTS}"),
    "an expert lost": (lambda t: {**t, EXPERTS: t[EXPERTS][1:]}, f"has {EXPERTS} with shape"),
    "experts as linear layers have them": (lambda t: {**t, EXPERTS: t[EXPERTS].transpose(1, 2)}, f"has {EXPERTS} with shape"),
    "experts one by one": (lambda t: {**t, f"{EXPERTS}.0": t[EXPERTS][0].clone()}, "does not know"),
    "a number for a router": (lambda t: {**t, "model.layers.1.feed_forward.router.weight": torch.tensor(1.0)}, "router.weight with shape"),
    "pictures without a text part": (lambda t: {**t, "vision_model.class_embedding": torch.ones(3)}, "does not know, such as vision_model"),
    "nothing at all": (lambda t: {}, "layers"),
}


@pytest.mark.parametrize(("edit", "match"), EDITS.values(), ids=EDITS.keys())
@pytest.mark.timeout(2)
def test_weights_that_do_not_fit_are_refused(folder: Path, edit: Callable[[Tensors], Tensors], match: str) -> None:
    path = folder / huggingface.WEIGHTS
    save_file({name: tensor.contiguous() for name, tensor in edit(load_file(path)).items()}, path)
    refused(folder, match)


def test_a_tied_head_that_is_written_all_the_same_is_passed_over(tmp_path: Path) -> None:
    model = fresh(vocab_size=TOKENIZER.vocab_size)
    huggingface.save_folder(tmp_path / "model", model, TOKENIZER)
    path = tmp_path / "model" / huggingface.WEIGHTS
    save_file({**load_file(path), "lm_head.weight": torch.zeros(TOKENIZER.vocab_size, TINY.width)}, path)
    again = huggingface.load_folder(tmp_path / "model")
    assert all(torch.equal(one, other) for one, other in zip(again.parameters(), model.parameters(), strict=True))


def test_control_the_folder_itself_is_good(folder: Path) -> None:
    llamarium.load(str(folder))
