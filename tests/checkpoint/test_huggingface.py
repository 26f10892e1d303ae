"""Hugging Face folders from strangers: what lies, lacks or leads elsewhere is a bad file, named within two seconds."""

from __future__ import annotations

import json
import pickle
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import llamarium
from llamarium.checkpoint import huggingface
from llamarium.ground.errors import BadFileError, NotFoundError
from llamarium.models import llama, ngram
from llamarium.tokens.train import bytes_tokenizer

TOKENIZER = bytes_tokenizer()
CONFIG = replace(llama.TINY, vocab_size=TOKENIZER.vocab_size)


def fresh(**changes: Any) -> llama.Model:
    torch.manual_seed(0)
    model = llama.Model(replace(CONFIG, **changes))
    model.initialize()
    return model


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    huggingface.save_folder(tmp_path / "model", fresh(tied=False), TOKENIZER)
    return tmp_path / "model"


@pytest.fixture
def sharded(tmp_path: Path) -> Path:
    huggingface.save_folder(tmp_path / "model", fresh(tied=False), TOKENIZER, shard_bytes=20_000)
    assert len(list((tmp_path / "model").glob("model-*.safetensors"))) > 2
    return tmp_path / "model"


def change(path: Path, **values: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}), encoding="utf-8")


def refused(folder: Path, match: str = "") -> BadFileError:
    with pytest.raises(BadFileError, match=match or None) as caught:
        llamarium.load(str(folder))
    assert caught.value.exit_code == 3
    assert "\n" not in caught.value.message
    return caught.value


# --- what is written is what is read ---


def test_a_folder_comes_back_bit_for_bit(folder: Path) -> None:
    model = huggingface.load_folder(folder)
    expected = fresh(tied=False)
    assert model.config == expected.config
    assert all(torch.equal(one, other) for one, other in zip(model.parameters(), expected.parameters(), strict=True))
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_shards_hold_what_one_file_holds(tmp_path: Path, sharded: Path) -> None:
    huggingface.save_folder(tmp_path / "whole", fresh(tied=False), TOKENIZER)
    one, many = (huggingface.read_weights(path) for path in (tmp_path / "whole", sharded))
    assert one.keys() == many.keys()
    assert all(torch.equal(one[name], many[name]) for name in one)
    index = json.loads((sharded / huggingface.INDEX).read_text())
    assert index["metadata"]["total_size"] == sum(tensor.nbytes for tensor in one.values())
    assert index["weight_map"].keys() == one.keys()
    for path in sharded.glob("model-*.safetensors"):
        tensors = load_file(path)
        assert sum(tensor.nbytes for tensor in tensors.values()) <= 20_000 or len(tensors) == 1


def test_a_tied_head_is_not_written_and_a_written_one_is_not_missed(tmp_path: Path) -> None:
    huggingface.save_folder(tmp_path / "model", fresh(), TOKENIZER)
    path = tmp_path / "model" / huggingface.WEIGHTS
    tensors = load_file(path)
    assert "lm_head.weight" not in tensors
    save_file({**tensors, "lm_head.weight": torch.zeros(CONFIG.vocab_size, CONFIG.width)}, path)
    model = huggingface.load_folder(tmp_path / "model")
    assert all(torch.equal(one, other) for one, other in zip(model.parameters(), fresh().parameters(), strict=True))


def test_the_rotary_tables_of_old_checkpoints_are_passed_over(folder: Path) -> None:
    path = folder / huggingface.WEIGHTS
    save_file({**load_file(path), "model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(4)}, path)
    huggingface.load_folder(folder)


def test_saving_again_replaces_the_folder_and_leaves_nothing_behind(sharded: Path) -> None:
    huggingface.save_folder(sharded, fresh(layers=1), TOKENIZER)
    assert not list(sharded.glob("model-*.safetensors"))
    assert huggingface.load_folder(sharded).config.layers == 1
    assert [path.name for path in sharded.parent.iterdir()] == ["model"]


def test_what_cannot_be_written_leaves_the_old_folder(folder: Path) -> None:
    class Full(type(TOKENIZER)):  # type: ignore[misc]  # the class of an instance
        def save(self, folder: Path) -> None:
            raise OSError(28, "No space left on device")

    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(Exception, match="disk is full"):
        huggingface.save_folder(folder, fresh(layers=1), Full(TOKENIZER.definition, TOKENIZER.config))
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert [path.name for path in folder.parent.iterdir()] == ["model"]


def test_counts_live_in_a_folder_too(tmp_path: Path) -> None:
    model = ngram.Model(replace(ngram.TINY, vocab_size=TOKENIZER.vocab_size))
    model.fit([TOKENIZER.encode("the cat and the hat"), TOKENIZER.encode("the bat")])
    huggingface.save_folder(tmp_path / "model", model, TOKENIZER)
    again = huggingface.load_folder(tmp_path / "model")
    ids = TOKENIZER.encode("the rat and the mat")
    assert isinstance(again, ngram.Model)
    assert again.log2_prob(ids).tolist() == model.log2_prob(ids).tolist()
    path = tmp_path / "model" / huggingface.WEIGHTS
    tensors = load_file(path)
    save_file({**tensors, "grams_2": tensors["grams_2"].flip(0)}, path)
    with pytest.raises(BadFileError, match="not counts"):
        huggingface.load_folder(tmp_path / "model")


# --- a config that lies ---

LIES: dict[str, tuple[dict[str, Any], str]] = {
    "a billion layers": ({"num_hidden_layers": 10**9}, "1,000,000,000 layers"),
    "a layer too many": ({"num_hidden_layers": 3}, r"lacks the tensor model\.layers\.2"),
    "a layer too few": ({"num_hidden_layers": 1}, r"does not know, such as model\.layers\.1"),
    "no layers": ({"num_hidden_layers": 0}, "layers must be positive"),
    "fewer than no layers": ({"num_hidden_layers": -2}, "layers must be positive"),
    "half a layer": ({"num_hidden_layers": 2.5}, "layers: .*integer"),
    "a width beyond all memory": ({"hidden_size": 2**40}, "shape|built"),
    "a width beyond 64 bits": ({"hidden_size": 2**70}, "shape|built|integer"),
    "a width beyond all floats": ({"hidden_size": 10**400}, ""),
    "a vocabulary beyond all memory": ({"vocab_size": 2**40}, "model.embed_tokens.weight with shape"),
    "an MLP beyond all memory": ({"intermediate_size": 2**60}, "shape|built"),
    "a negative width": ({"hidden_size": -32}, "positive"),
    "no heads": ({"num_attention_heads": 0}, ""),
    "heads that do not share": ({"num_attention_heads": 5}, "cannot share"),
    "a head of odd width": ({"head_dim": 7}, "even"),
    "a head of other width": ({"head_dim": 16}, "shape"),
    "heads in words": ({"num_attention_heads": "four"}, ""),
    "a width in words": ({"hidden_size": "wide"}, ""),
    "a vocabulary in words": ({"vocab_size": "large"}, "vocab_size"),
    "a list for a number": ({"num_hidden_layers": [2]}, "layers"),
    "nothing for a number": ({"num_hidden_layers": None}, "layers"),
    "a context in words": ({"max_position_embeddings": "long"}, "context_length"),
    "no context": ({"max_position_embeddings": 0}, "context_length"),
    "an epsilon in words": ({"rms_norm_eps": "small"}, "norm_epsilon"),
    "an epsilon that is no number": ({"rms_norm_eps": float("nan")}, "norm_epsilon"),
    "an infinite epsilon": ({"rms_norm_eps": float("inf")}, "norm_epsilon"),
    "a base in words": ({"rope_theta": "big"}, ""),
    "an infinite base": ({"rope_theta": float("inf")}, "rope_theta"),
    "tied in words": ({"tie_word_embeddings": "perhaps"}, "tied"),
    "another activation": ({"hidden_act": "gelu"}, "activation 'gelu'"),
    "an unknown family": ({"model_type": "mamba"}, "model_type 'mamba'"),
    "a family of ours that is none": ({"model_type": "llamarium-nothing"}, "llamarium-nothing"),
    "a family of ours without a config": ({"model_type": "llamarium-llama"}, "'config'"),
    "a family that is a module": ({"model_type": "llamarium-scoring"}, "llamarium-scoring"),
    "no family": ({"model_type": None}, "names no model_type"),
    "a family that is a list": ({"model_type": ["llama"]}, "names no model_type"),
    "an unknown scaling": ({"rope_scaling": {"rope_type": "yarn", "factor": 4.0}}, "'yarn' is not supported"),
    "a scaling in words": ({"rope_scaling": "linear"}, ""),
    "a scaling without a factor": ({"rope_scaling": {"rope_type": "linear"}}, "lacks 'factor'"),
    "a scaling by nothing": ({"rope_scaling": {"rope_type": "linear", "factor": 0.0}}, "factor"),
    "a scaling without a ramp": (
        {
            "rope_scaling": {
                "rope_type": "llama3",
                "factor": 8.0,
                "low_freq_factor": 4.0,
                "high_freq_factor": 4.0,
                "original_max_position_embeddings": 64,
            }
        },
        "low factor below the high one",
    ),
    "a window in words": ({"model_type": "mistral", "sliding_window": "wide"}, "window"),
    "an empty window": ({"model_type": "mistral", "sliding_window": 0}, "window"),
    "windows here and there": (
        {"model_type": "qwen3", "use_sliding_window": True, "layer_types": ["sliding_attention", "full_attention"]},
        "must be the last ones",
    ),
    "other weights than it has": ({"attention_bias": True}, r"lacks the tensor .*bias"),
}


@pytest.mark.parametrize(("values", "match"), LIES.values(), ids=LIES.keys())
@pytest.mark.timeout(2)
def test_a_config_that_lies_is_refused(folder: Path, values: dict[str, Any], match: str) -> None:
    change(folder / "config.json", **values)
    refused(folder, match)


REQUIRED = ("model_type", "vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")


@pytest.mark.parametrize("name", REQUIRED)
def test_a_config_that_lacks_something_is_refused(folder: Path, name: str) -> None:
    values = json.loads((folder / "config.json").read_text())
    del values[name]
    (folder / "config.json").write_text(json.dumps(values))
    refused(folder, name)


@pytest.mark.parametrize("text", ["", "[]", "3", '{"model_type": "llama"', "[" * 100_000, '{"a":1,"model_type":"llama"}', "\xff"])
@pytest.mark.timeout(2)
def test_a_config_that_is_none_is_refused(folder: Path, text: str) -> None:
    (folder / "config.json").write_bytes(text.encode("latin-1"))
    refused(folder, r"config\.json")


# --- our own form ---


@pytest.mark.parametrize(
    ("config", "match"),
    [
        ({"vocab_size": 259, "wdith": 32}, "wdith.*width"),
        ({"vocab_size": "x"}, "vocab_size"),
        ({}, "vocab_size"),
        ([], "vocab_size"),
        (3, ""),
        ({"vocab_size": 259, "rope_scaling": {"kind": "yarn", "factor": 1}}, "rope_scaling"),
        ({"vocab_size": 259, "heads": 5, "kv_heads": 2}, "cannot share"),
    ],
)
@pytest.mark.timeout(2)
def test_a_config_of_our_own_form_is_checked_too(folder: Path, config: Any, match: str) -> None:
    (folder / "config.json").write_text(json.dumps({"model_type": "llamarium-llama", "config": config}))
    refused(folder, match)


# --- weights that lack, lie or lead elsewhere ---


def rewrite(folder: Path, edit: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]) -> None:
    path = folder / huggingface.WEIGHTS
    save_file({name: tensor.contiguous() for name, tensor in edit(load_file(path)).items()}, path)


Q = "model.layers.0.self_attn.q_proj.weight"
EDITS: dict[str, tuple[Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]], str]] = {
    "a missing tensor": (lambda t: {name: x for name, x in t.items() if name != Q}, f"lacks the tensor {Q}"),
    "another shape": (lambda t: {**t, Q: t[Q][:-1]}, "with shape"),
    "turned on its side": (lambda t: {**t, "model.embed_tokens.weight": t["model.embed_tokens.weight"].T}, "with shape"),
    "a number for a matrix": (lambda t: {**t, Q: torch.tensor(1.0)}, "with shape"),
    "one left over": (lambda t: {**t, "model.extra.weight": torch.ones(1)}, "does not know, such as model.extra.weight"),
    "a bias left over": (lambda t: {**t, Q.replace("weight", "bias"): torch.ones(32)}, "does not know"),
    "a fused matrix that is a number": (lambda t: {**t, "model.layers.0.mlp.gate_up_proj.weight": torch.tensor(1.0)}, "does not know"),
    "nothing at all": (lambda t: {}, "layers"),
}


@pytest.mark.parametrize(("edit", "match"), EDITS.values(), ids=EDITS.keys())
@pytest.mark.timeout(2)
def test_weights_that_do_not_fit_are_refused(
    folder: Path, edit: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]], match: str
) -> None:
    rewrite(folder, edit)
    refused(folder, match)


@pytest.mark.timeout(5)
def test_a_crowd_of_tiny_tensors_does_not_build_a_crowd_of_layers(folder: Path) -> None:
    rewrite(folder, lambda t: {**t, **{f"model.layers.{number}.x": torch.ones(1) for number in range(20_000)}})
    change(folder / "config.json", num_hidden_layers=20_000)
    refused(folder, "20,000 layers")


def test_without_weights_there_is_no_model(folder: Path) -> None:
    (folder / huggingface.WEIGHTS).unlink()
    refused(folder, r"neither model\.safetensors nor")


def test_pickled_weights_are_never_read(folder: Path, tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (tmp_path / "exploded",)

    (folder / huggingface.WEIGHTS).unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Bomb()))
    assert "pickle" in refused(folder).hint
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize("data", [b"", b"\x00" * 7, struct.pack("<Q", 2**62) + b"{}", b"PK\x03\x04" + b"\x00" * 100, b"{" * 200])
@pytest.mark.timeout(2)
def test_a_file_that_is_no_safetensors_is_refused(folder: Path, data: bytes) -> None:
    (folder / huggingface.WEIGHTS).write_bytes(data)
    refused(folder, r"model\.safetensors")


@pytest.mark.parametrize(
    "name", ["../outside.safetensors", "/etc/passwd", "sub/model.safetensors", "..", ".", "", "a\0b", "x" * 5000, "\ud800"]
)
@pytest.mark.timeout(2)
def test_an_index_names_files_of_its_own_folder_only(sharded: Path, name: str) -> None:
    save_file({"model.norm.weight": torch.ones(32)}, sharded.parent / "outside.safetensors")
    (sharded / "sub").mkdir()
    save_file({"model.norm.weight": torch.ones(32)}, sharded / "sub" / "model.safetensors")
    index = json.loads((sharded / huggingface.INDEX).read_text())
    change(sharded / huggingface.INDEX, weight_map={**index["weight_map"], "model.norm.weight": name})
    refused(sharded)


@pytest.mark.parametrize("weight_map", [None, [], 3, {"a": 1}, {"a": None}, {"a": ["model.safetensors"]}, {}])
def test_an_index_that_is_none_is_refused(sharded: Path, weight_map: Any) -> None:
    change(sharded / huggingface.INDEX, weight_map=weight_map)
    refused(sharded)


def test_a_missing_shard_is_named(sharded: Path) -> None:
    name = sorted(path.name for path in sharded.glob("model-*.safetensors"))[1]
    (sharded / name).unlink()
    refused(sharded, name)


def test_a_shard_without_its_tensor_is_noticed(sharded: Path) -> None:
    path = sorted(sharded.glob("model-*.safetensors"))[1]
    tensors = load_file(path)
    gone = sorted(tensors)[0]
    save_file({name: tensor for name, tensor in tensors.items() if name != gone}, path)
    refused(sharded, f"lacks the tensor {gone}")


# --- the rest of a folder ---


def test_a_model_without_a_tokenizer_says_so(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()
    with pytest.raises(NotFoundError, match=r"tokenizer\.json"):
        llamarium.load(str(folder))


@pytest.mark.parametrize(
    ("values", "found"), [(None, set()), (3, {3}), ("x", set()), ([5, "x", None, True], {5}), ({"a": 1}, set()), (True, set())]
)
def test_stop_ids_that_are_none_are_passed_over(folder: Path, values: Any, found: set[int]) -> None:
    change(folder / huggingface.GENERATION, eos_token_id=values)
    assert huggingface.read_stop_ids(folder) == {TOKENIZER.end_id, *found}
    (folder / huggingface.GENERATION).write_text("nonsense")
    assert huggingface.read_stop_ids(folder) == {TOKENIZER.end_id}


def test_control_the_folder_itself_is_good(folder: Path, sharded: Path) -> None:
    for path in (folder, sharded):
        llamarium.load(str(path))
