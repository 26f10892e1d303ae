"""What we read from a Hugging Face folder computes what transformers computes, and what we write transformers reads.

Tiny models with large random weights: their logits spread over several units, so that a wrong rotation, window or bias cannot hide
within 1e-4. The last tests turn one detail at a time and see the difference.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import llamarium
from llamarium.checkpoint import huggingface
from llamarium.engine.generate import Generation
from llamarium.engine.language_model import LanguageModel
from llamarium.models import llama
from llamarium.tokens.train import bytes_tokenizer

TOLERANCE = 1e-4
TOKENIZER = bytes_tokenizer()
VOCABULARY = 288  # more than the tokenizer has, as in many checkpoints
IDS = torch.randint(0, VOCABULARY, (1, 48), generator=torch.Generator().manual_seed(7))
SHAPE = {
    "vocab_size": VOCABULARY,
    "hidden_size": 48,
    "intermediate_size": 80,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "initializer_range": 0.3,
    "rms_norm_eps": 1e-4,
    "tie_word_embeddings": False,
    "pad_token_id": 0,
    "bos_token_id": 0,
    "eos_token_id": 0,
}


@dataclass(frozen=True)
class Case:
    """Settings of a transformers config, and what its ``config.json`` said before transformers 5."""

    kind: str
    settings: dict[str, Any] = field(default_factory=dict)
    rope: dict[str, Any] | None = None


LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 24}
CASES = {
    "LLaMA 1": Case("llama", {"num_key_value_heads": 6}),
    "LLaMA 2, grouped queries": Case("llama"),
    "LLaMA 3": Case("llama", rope={"rope_theta": 500_000.0}),
    "LLaMA 3.1": Case("llama", rope={"rope_theta": 10_000.0, **LLAMA3}),
    "LLaMA 3.2": Case("llama", {"tie_word_embeddings": True, "head_dim": 16}, rope={"rope_theta": 500.0, **LLAMA3, "factor": 32.0}),
    "linear scaling": Case("llama", rope={"rope_theta": 10_000.0, "rope_type": "linear", "factor": 4.0}),
    "biases": Case("llama", {"attention_bias": True, "mlp_bias": True}),
    "wide heads": Case("llama", {"head_dim": 20}),
    "Mistral": Case("mistral", {"sliding_window": 7}),
    "Mistral without a window": Case("mistral", {"sliding_window": None}),
    "Qwen2": Case("qwen2"),
    "Qwen2 with a window": Case("qwen2", {"use_sliding_window": True, "sliding_window": 5, "max_window_layers": 1}),
    "Qwen3": Case("qwen3", {"head_dim": 16}),
    "Qwen3 with biases": Case("qwen3", {"head_dim": 16, "attention_bias": True}),
    "Qwen3 with a window": Case("qwen3", {"head_dim": 8, "use_sliding_window": True, "sliding_window": 5, "max_window_layers": 2}),
    "GLM": Case("glm", {"head_dim": 16, "attention_bias": True}),
    "GLM without biases": Case("glm", {"head_dim": 8, "attention_bias": False}),
    "GLM, a quarter rotated": Case("glm", {"head_dim": 16}, rope={"rope_theta": 10_000.0, "partial_rotary_factor": 0.25}),
    "GLM-4": Case("glm4", {"head_dim": 16, "attention_bias": True}),
}


def theirs(case: Case) -> Any:
    """A model of transformers with large random weights; norms and biases differ from what they begin with, too."""
    import transformers

    settings = {**SHAPE, **case.settings}
    if case.rope is not None:
        settings["rope_parameters"] = {"rope_type": "default", **case.rope}
    torch.manual_seed(11)
    automatic: Any = transformers.AutoModelForCausalLM
    model = automatic.from_config(transformers.AutoConfig.for_model(case.kind, **settings))
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.normal_(parameter, std=0.3)
        elif parameter.ndim == 1:
            torch.nn.init.uniform_(parameter, 0.5, 1.5)
    return model.eval().float()


@torch.no_grad()
def their_logits(model: Any, ids: Tensor = IDS) -> Tensor:
    logits: Tensor = model(ids).logits[0]
    return logits


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


@pytest.mark.parametrize("shard_size", [None, "20KB"], ids=["one file", "sharded"])
@pytest.mark.parametrize("name", CASES)
def test_logits_agree_both_ways(name: str, shard_size: str | None, tmp_path: Path) -> None:
    model = theirs(CASES[name])
    expected = their_logits(model)

    there = tmp_path / "theirs"
    model.save_pretrained(there, **({"max_shard_size": shard_size} if shard_size else {}))
    TOKENIZER.save(there)
    assert (len(list(there.glob("*.safetensors"))) > 1) == (shard_size is not None)
    ours = load(there)
    close(ours.logits(IDS[0].tolist()), expected)

    here = tmp_path / "ours"
    huggingface.save_folder(here, ours.model, TOKENIZER, **({"shard_bytes": 20_000} if shard_size else {}))
    assert (len(list(here.glob("*.safetensors"))) > 1) == (shard_size is not None)
    close(their_logits(reload(here)), expected)
    assert torch.equal(load(here).logits(IDS[0].tolist()), ours.logits(IDS[0].tolist()))


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.rope])
def test_the_rotary_settings_of_older_folders_are_read(name: str, tmp_path: Path) -> None:
    """Before transformers 5 there were ``rope_theta`` and ``rope_scaling`` beside each other."""
    model = theirs(CASES[name])
    model.save_pretrained(tmp_path)
    TOKENIZER.save(tmp_path)
    values = json.loads((tmp_path / "config.json").read_text())
    rope = values.pop("rope_parameters")
    values["rope_theta"] = rope.pop("rope_theta")
    values["partial_rotary_factor"] = rope.pop("partial_rotary_factor", None)
    values["rope_scaling"] = rope if rope["rope_type"] != "default" else None
    (tmp_path / "config.json").write_text(json.dumps(values))
    close(load(tmp_path).logits(IDS[0].tolist()), their_logits(model))
    if values["rope_scaling"] is not None:  # and before that the kind of scaling was its "type"
        values["rope_scaling"]["type"] = values["rope_scaling"].pop("rope_type")
        (tmp_path / "config.json").write_text(json.dumps(values))
        close(load(tmp_path).logits(IDS[0].tolist()), their_logits(model))


OPTIONAL = (
    "num_key_value_heads",
    "max_position_embeddings",
    "rms_norm_eps",
    "tie_word_embeddings",
    "attention_bias",
    "mlp_bias",
    "hidden_act",
)
WINDOW = ("use_sliding_window", "sliding_window", "max_window_layers", "layer_types")


@pytest.mark.parametrize("kind", llama.HF_MODEL_TYPES)
def test_what_a_config_leaves_out_means_the_same(kind: str) -> None:
    import transformers

    required = {"hidden_size": 512, "intermediate_size": 80, "num_hidden_layers": 2, "num_attention_heads": 32, "vocab_size": 160_000}
    given = {"model_type": kind, **required}
    full = transformers.AutoConfig.for_model(kind, **required).to_dict()
    assert llama.config_from_hf(given) == llama.config_from_hf(full)
    # Nor does it make a difference which of them are left out.
    for name in (*OPTIONAL, *WINDOW, "head_dim", "rope_parameters"):
        assert llama.config_from_hf({key: value for key, value in full.items() if key != name}) == llama.config_from_hf(full)


@pytest.mark.parametrize("name", ["LLaMA 3.1", "Mistral", "Qwen2 with a window", "Qwen3", "GLM-4"])
def test_greedy_generation_agrees(name: str, tmp_path: Path) -> None:
    model = theirs(CASES[name])
    prompt = IDS[:, :9]
    with torch.inference_mode():
        expected = model.generate(
            prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=24, do_sample=False, eos_token_id=-1, pad_token_id=0
        )
    model.save_pretrained(tmp_path)
    TOKENIZER.save(tmp_path)
    ours = load(tmp_path)
    ours.stop_ids = frozenset()
    result = ours._run(prompt[0].tolist(), stream=False, max_tokens=24, temperature=0.0)
    assert isinstance(result, Generation)
    assert result.token_ids == expected[0, 9:].tolist()
    assert len(set(result.token_ids)) > 5


def test_the_tokenizer_and_the_stop_ids_come_along(tmp_path: Path) -> None:
    import transformers

    model = theirs(CASES["LLaMA 3"])
    model.generation_config.eos_token_id = [5, 0]
    model.save_pretrained(tmp_path / "theirs")
    TOKENIZER.save(tmp_path / "theirs")
    ours = load(tmp_path / "theirs")
    assert ours.stop_ids == {5, *TOKENIZER.stop_ids}

    huggingface.save_folder(tmp_path / "ours", ours.model, ours.tokenizer)
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "ours")
    text = "羊驼 reads <|im_end|>"
    assert tokenizer.encode(text, add_special_tokens=False) == ours.tokenizer.encode(text, parse_special=True)
    generation = transformers.GenerationConfig.from_pretrained(tmp_path / "ours")
    assert set(generation.eos_token_id) == TOKENIZER.stop_ids


def test_half_precision_is_written_as_it_is_and_read_as_asked(tmp_path: Path) -> None:
    model = theirs(CASES["LLaMA 3"]).to(torch.bfloat16)
    model.save_pretrained(tmp_path / "theirs")
    TOKENIZER.save(tmp_path / "theirs")
    assert next(load(tmp_path / "theirs").model.parameters()).dtype == torch.float32
    half = llamarium.load(str(tmp_path / "theirs"), dtype="bfloat16")
    assert {parameter.dtype for parameter in half.model.parameters()} == {torch.bfloat16}
    huggingface.save_folder(tmp_path / "ours", half.model, TOKENIZER)
    assert json.loads((tmp_path / "ours" / "config.json").read_text())["torch_dtype"] == "bfloat16"
    # Not compared with `model` itself: `to` rounded its rotary table, too.
    close(their_logits(reload(tmp_path / "ours")), their_logits(reload(tmp_path / "theirs")))


# --- a shape that no relative has is written in our own form, and nothing of it is lost ---

STRANGE = {
    "biases on queries, no relative's MLP": replace(llama.TINY, qkv_bias=True, mlp_bias=True),
    "partial rotation without GLM": replace(llama.TINY, rope_width=4),
    "a window and all biases": replace(llama.TINY, window=3, qkv_bias=True, output_bias=True),
    "a window from the second layer": replace(llama.TINY, window=3, window_from=1),
    "a bias on the output only": replace(llama.TINY, output_bias=True),
    "normed queries, interleaved": replace(llama.TINY, query_key_norm=True, rope_interleaved=True),
    "a window and sandwich norms": replace(llama.TINY, window=3, rope_interleaved=True, sandwich_norm=True),
}


@pytest.mark.parametrize("config", STRANGE.values(), ids=STRANGE.keys())
def test_a_shape_of_nobody_elses_survives(config: llama.Config, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = llama.Model(config)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    huggingface.save_folder(tmp_path / "model", model, TOKENIZER)
    assert json.loads((tmp_path / "model" / "config.json").read_text())["model_type"] == "llamarium-llama"
    again = huggingface.load_folder(tmp_path / "model")
    assert again.config == config
    assert all(torch.equal(one, other) for one, other in zip(model.parameters(), again.parameters(), strict=True))


# --- the controls: one detail is turned, and the logits must be seen to differ ---

CONTROLS: dict[str, tuple[str, dict[str, Any]]] = {
    "interleaved instead of half-split rotation": ("LLaMA 3", {"rope_interleaved": True}),
    "half-split instead of interleaved rotation": ("GLM", {"rope_interleaved": False}),
    "another base of the rotation": ("LLaMA 3", {"rope_theta": 10_000.0}),
    "no scaling": ("LLaMA 3.1", {"rope_scaling": None}),
    "linear scaling instead of LLaMA 3.1's": ("LLaMA 3.1", {"rope_scaling": llama.RopeScaling("linear", 8.0)}),
    "another first context": ("LLaMA 3.1", {"rope_scaling": llama.RopeScaling("llama3", 8.0, 1.0, 4.0, 8192)}),
    "no window": ("Mistral", {"window": None}),
    "a window one larger": ("Mistral", {"window": 8}),
    "a window from the first layer on": ("Qwen2 with a window", {"window_from": 0}),
    "a window from a later layer on": ("Qwen2 with a window", {"window_from": 2}),
    "all rotated": ("GLM", {"rope_width": 16}),
    "another epsilon": ("LLaMA 2, grouped queries", {"norm_epsilon": 1e-2}),
}


@pytest.mark.parametrize("control", CONTROLS)
def test_control_one_wrong_detail_is_seen(control: str, tmp_path: Path) -> None:
    name, change = CONTROLS[control]
    model = theirs(CASES[name])
    model.save_pretrained(tmp_path)
    TOKENIZER.save(tmp_path)
    ours = load(tmp_path)
    expected = their_logits(model)
    close(ours.logits(IDS[0].tolist()), expected)
    wrong = llama.Model(replace(ours.model.config, **change))
    wrong.load_state_dict(ours.model.state_dict())
    ours.model = wrong.eval()
    with pytest.raises(AssertionError):
        close(ours.logits(IDS[0].tolist()), expected)
