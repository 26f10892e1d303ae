"""GPT-2: the shapes, the steps from it to LLaMA, and the same logits as transformers in both directions."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import Tensor

import llamarium
from llamarium.adapt import surgery
from llamarium.checkpoint import huggingface
from llamarium.engine.generate import Generation
from llamarium.engine.language_model import LanguageModel
from llamarium.ground.errors import BadFileError, UsageError
from llamarium.models import gpt, llama
from llamarium.models.context import Cached, Dense
from llamarium.models.gpt import TINY, Config, Model
from llamarium.tokens.train import bytes_tokenizer

TOKENIZER = bytes_tokenizer()
IDS = torch.randint(0, TINY.vocab_size, (2, 12), generator=torch.Generator().manual_seed(0))
STEPS: dict[str, Any] = {"norm": "rms", "positions": "rotary", "mlp": "swiglu", "kv_heads": 2, "bias": False}


def fresh(config: Config = TINY, **changes: Any) -> Model:
    torch.manual_seed(0)
    model = Model(replace(config, **changes))
    model.initialize()
    return model


def loud(model: torch.nn.Module) -> torch.nn.Module:
    """Large random weights, norms and biases other than they begin with: no detail can hide."""
    torch.manual_seed(11)
    for name, parameter in model.named_parameters():
        if parameter.ndim == 1 and not name.endswith("bias"):
            torch.nn.init.uniform_(parameter, 0.5, 1.5)
        else:
            torch.nn.init.normal_(parameter, std=0.3)
    return model.eval()


# --- shapes ---


def test_what_is_not_said_follows() -> None:
    config = Config(vocab_size=100, width=384, heads=6)
    assert (config.kv_heads, config.head_width, config.hidden_width) == (6, 64, 4 * 384)
    assert Config(vocab_size=100, width=384, heads=6, mlp="swiglu").hidden_width == llama.Config(vocab_size=100, width=384).hidden_width


@pytest.mark.parametrize(
    ("values", "match"),
    [
        ({"heads": 5}, "a width of 384 cannot be shared by 5 heads evenly"),
        ({"kv_heads": 4}, "6 heads cannot share 4"),
        ({"width": 42, "positions": "rotary"}, "rotary positions need an even head width, not 7"),
        ({"norm": "batch"}, "norm must be one of layer, rms, not 'batch'"),
        ({"positions": "sine"}, "positions must be one of learned, rotary"),
        ({"mlp": "tanh"}, "mlp must be one of gelu, gelu_exact, relu, swiglu"),
        ({"vocab_size": 0}, "vocab_size must be positive"),
        ({"heads": 0}, "heads must be positive"),
        ({"layers": -1}, "layers must be positive"),
        ({"kv_heads": -6}, "kv_heads must be positive"),
        ({"context_length": 0}, "context_length must be positive"),
        ({"norm_epsilon": math.nan}, "norm_epsilon must be positive"),
        ({"rope_theta": math.inf}, "rope_theta must be positive"),
    ],
)
def test_a_shape_that_cannot_be_is_refused(values: dict[str, Any], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        Config(**{"vocab_size": 100, **values})


def test_the_published_gpt2_has_its_published_number_of_weights() -> None:
    config = Config(vocab_size=50257, width=768, layers=12, heads=12)
    assert config.num_parameters() == 124_439_808 - 12 * 768  # the biases on the keys, which do nothing


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"layers": 1, "bias": False}, 64 * 32 + 64 * 32 + 3 * 32 + 4 * 32 * 32 + 2 * 32 * 128),
        ({"layers": 1, "bias": False, "tied": False}, 64 * 32 + 64 * 32 + 3 * 32 + 4 * 32 * 32 + 2 * 32 * 128 + 64 * 32),
        ({"layers": 1}, 64 * 32 + 64 * 32 + 6 * 32 + 4 * 32 * 32 + 3 * 32 + 2 * 32 * 128 + 128 + 32),
        (STEPS, 64 * 32 + 32 + 2 * (2 * 32 + 2 * 32 * 32 + 2 * 32 * 16 + 3 * 32 * 96)),
    ],
)
def test_the_number_of_weights_is_the_sum_of_the_matrices(changes: dict[str, Any], expected: int) -> None:
    config = replace(TINY, **{"hidden_width": 96 if "mlp" in changes else 128, **changes})
    assert config.num_parameters() == Model(config).num_parameters() == expected


@given(st.floats(1e6, 2e8))
@settings(max_examples=5, deadline=None)
def test_a_size_gives_a_shape_of_about_that_many_weights(size: float) -> None:
    config = Config.sized(size, vocab_size=2048, context_length=256)
    assert (config.vocab_size, config.context_length, config.mlp) == (2048, 256, "gelu")
    assert abs(config.num_parameters() / size - 1) < 0.35


# --- the life of a model ---


def test_fresh_weights_are_gpt2s() -> None:
    model = fresh(Config(vocab_size=500, width=128, layers=8, heads=4))
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            assert (parameter == 0).all()
        elif parameter.ndim == 1:
            assert (parameter == 1).all()
        else:
            adds = name.endswith(("o_proj.weight", "down_proj.weight"))
            expected = 0.02 / 4 if adds else 0.01 if name == "embed_positions.weight" else 0.02
            assert parameter.std().item() == pytest.approx(expected, rel=0.05), name


def test_at_first_every_id_is_about_as_probable() -> None:
    others = (IDS + 1) % TINY.vocab_size  # an id itself is a little more probable, as input and output share their vectors
    loss = torch.nn.functional.cross_entropy(fresh()(IDS, Dense(IDS)).flatten(0, 1), others.flatten())
    assert loss.item() == pytest.approx(math.log(TINY.vocab_size), abs=0.05)


def test_the_hidden_states_unembed_to_the_logits() -> None:
    model = fresh(tied=False)
    assert torch.equal(model.unembed(model.hidden(IDS, Dense(IDS))), model(IDS, Dense(IDS)))


def test_lora_finds_the_layers_by_the_names_of_a_llama() -> None:
    names = {name.rpartition(".")[2] for name in surgery.linears(fresh(), ["*_proj"])}
    assert names == {"q_proj", "k_proj", "v_proj", "o_proj", "up_proj", "down_proj"}


def test_a_text_has_no_more_tokens_than_there_are_learned_positions() -> None:
    model = fresh(context_length=12)
    model(IDS, Dense(IDS))
    longer = torch.cat((IDS, IDS), dim=1)
    with pytest.raises(UsageError, match="has learned 12 positions; the text has 24 tokens"):
        model(longer, Dense(longer))
    cache = Cached(capacity=24, device=IDS.device)
    model(IDS[:1], cache.step(12))
    with pytest.raises(UsageError, match="the text has 13 tokens"):
        model(IDS[:1, :1], cache.step(1))
    fresh(context_length=12, positions="rotary")(longer, Dense(longer))  # which have no end


def test_only_the_positions_tell_a_token_from_its_repetition() -> None:
    """Without them attention is a mean of equal values, whatever the scores."""
    ids = torch.full((1, 6), 3)
    model = fresh()
    logits = loud(model)(ids, Dense(ids))[0]
    assert (logits[1:] - logits[0]).abs().max() > 0.1
    assert model.embed_positions is not None
    torch.nn.init.zeros_(model.embed_positions.weight)
    same = model(ids, Dense(ids))[0]
    torch.testing.assert_close(same, same[:1].expand_as(same), atol=1e-4, rtol=1e-4)


# --- the steps from GPT to LLaMA ---


def pair() -> tuple[llama.Model, Model]:
    """A LLaMA, and the GPT with all steps taken and the same weights under the same names."""
    config = llama.Config(vocab_size=64, width=32, layers=2, heads=4, kv_heads=2, hidden_width=96, context_length=64, rope_theta=500.0)
    one = llama.Model(config)
    loud(one)
    other = Model(replace(TINY, **STEPS, hidden_width=96, rope_theta=500.0))
    other.load_state_dict(one.state_dict())
    return one, other.eval()


def test_with_all_steps_taken_it_is_a_llama() -> None:
    one, other = pair()
    expected, found = one(IDS, Dense(IDS)), other(IDS, Dense(IDS))
    assert expected.std() > 0.5
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-6)


def test_it_begins_as_a_llama_begins() -> None:
    shape: dict[str, Any] = {"vocab_size": 64, "width": 64, "layers": 2, "heads": 4, "kv_heads": 2}
    torch.manual_seed(3)
    one = llama.Model(llama.Config(**shape))
    one.initialize()
    torch.manual_seed(3)
    other = Model(Config(**{**STEPS, **shape}))
    other.initialize()
    mine = dict(other.named_parameters())
    assert mine.keys() == dict(one.named_parameters()).keys()
    assert all(torch.equal(mine[name], parameter) for name, parameter in one.named_parameters())


@pytest.mark.parametrize(
    "untaken", [{"norm": "layer"}, {"positions": "learned"}, {"mlp": "gelu"}, {"rope_theta": 10_000.0}, {"norm_epsilon": 1e-2}]
)
def test_control_a_step_that_is_not_taken_is_seen(untaken: dict[str, Any]) -> None:
    one, other = pair()
    wrong = Model(replace(other.config, **untaken))
    loud(wrong)
    wrong.load_state_dict(one.state_dict(), strict=False)
    assert (wrong(IDS, Dense(IDS)) - one(IDS, Dense(IDS))).abs().max() > 1e-3


def test_shared_keys_are_whole_heads_repeated() -> None:
    """Grouped queries are ordinary attention whose key and value heads are equal within a group, neighbours sharing one."""
    shared = fresh(kv_heads=2)
    loud(shared)
    whole = Model(TINY)
    weights = shared.state_dict()
    for name, tensor in weights.items():
        if "k_proj" in name or "v_proj" in name:
            weights[name] = tensor.unflatten(0, (2, 8)).repeat_interleave(2, dim=0).flatten(0, 1)
    whole.load_state_dict(weights)
    torch.testing.assert_close(whole(IDS, Dense(IDS)), shared(IDS, Dense(IDS)), atol=1e-4, rtol=1e-4)


def test_without_biases_there_are_none_and_with_rotation_the_keys_have_one() -> None:
    assert not [name for name in fresh(bias=False).state_dict() if name.endswith("bias")]
    for positions, there in (("learned", False), ("rotary", True)):
        model = fresh(positions=positions)
        assert ("blocks.0.attention.k_proj.bias" in model.state_dict()) == there
        assert "blocks.0.attention.q_proj.bias" in model.state_dict()


# --- Hugging Face folders: both ways ---

THEIR_IDS = torch.randint(0, 288, (1, 48), generator=torch.Generator().manual_seed(7))
SHAPE = {
    "vocab_size": 288,  # more than the tokenizer has, as in many checkpoints
    "n_positions": 64,
    "n_embd": 48,
    "n_layer": 3,
    "n_head": 6,
    "layer_norm_epsilon": 1e-4,
    "pad_token_id": 0,
    "bos_token_id": 0,
    "eos_token_id": 0,
}
CASES: dict[str, dict[str, Any]] = {
    "GPT-2": {},
    "an MLP of its own width": {"n_inner": 80},
    "exact GELU": {"activation_function": "gelu"},
    "ReLU": {"activation_function": "relu"},
    "GELU by another name": {"activation_function": "gelu_pytorch_tanh"},
    "fast GELU": {"activation_function": "gelu_fast"},
    "a head of its own": {"tie_word_embeddings": False},
    "scores that are not scaled": {"scale_attn_weights": False},
    "scores scaled by layer": {"scale_attn_by_inverse_layer_idx": True, "reorder_and_upcast_attn": True},
}


def theirs(**changes: Any) -> Any:
    import transformers

    model = transformers.GPT2LMHeadModel(transformers.GPT2Config(**{**SHAPE, **changes}))
    loud(model)
    return model


@torch.no_grad()
def their_logits(model: Any, ids: Tensor = THEIR_IDS) -> Tensor:
    logits: Tensor = model(ids).logits[0]
    return logits


def load(folder: Path) -> LanguageModel:
    model = llamarium.load(str(folder))
    assert isinstance(model, LanguageModel)
    return model


def save(folder: Path, model: Any) -> Path:
    model.save_pretrained(folder)
    TOKENIZER.save(folder)
    return folder


def close(one: Tensor, other: Tensor) -> None:
    assert one.shape == other.shape
    assert (one - other).abs().max() <= 1e-4
    assert other.std() > 0.5


@pytest.mark.parametrize("case", CASES)
def test_logits_agree_both_ways(case: str, tmp_path: Path) -> None:
    import transformers

    model = theirs(**CASES[case])
    expected = their_logits(model)
    ours = load(save(tmp_path / "theirs", model))
    close(ours.logits(THEIR_IDS[0].tolist()), expected)

    here = tmp_path / "ours"
    huggingface.save_folder(here, ours.model, TOKENIZER)
    automatic: Any = transformers.AutoModelForCausalLM
    again, report = automatic.from_pretrained(here, output_loading_info=True, dtype=torch.float32)
    assert isinstance(again, transformers.GPT2LMHeadModel)
    assert not any(report.values()), report
    close(their_logits(again), expected)
    assert torch.equal(load(here).logits(THEIR_IDS[0].tolist()), ours.logits(THEIR_IDS[0].tolist()))
    # All but the bias on the keys comes back to the bit.
    for name, tensor in model.state_dict().items():
        kept = again.state_dict()[name].clone()
        if name.endswith("c_attn.bias"):
            assert (kept[48:96] == 0).all()
            kept[48:96] = tensor[48:96]
        assert torch.equal(kept, tensor), name


def test_the_bias_on_the_keys_does_nothing_in_transformers_either() -> None:
    """Why it may be left out; a bias on the queries is another thing."""
    model = theirs()
    expected = their_logits(model)
    for part, matters in ((slice(48, 96), False), (slice(0, 48), True)):
        changed = theirs()
        changed.transformer.h[0].attn.c_attn.bias.data[part] += 1.0
        assert ((their_logits(changed) - expected).abs().max() > 1e-2) == matters
    close(their_logits(model), expected)


def test_the_first_published_folders_are_read(tmp_path: Path) -> None:
    """Their names lack the prefix, the masks are among the tensors, and ``config.json`` has few keys."""
    model = theirs()
    folder = save(tmp_path, model)
    values = json.loads((folder / "config.json").read_text())
    kept = ("activation_function", "layer_norm_epsilon", "model_type", "n_embd", "n_head", "n_layer", "n_positions", "vocab_size")
    few = {name: values[name] for name in kept} | {"n_ctx": 64, "attn_pdrop": 0.1, "initializer_range": 0.02}
    (folder / "config.json").write_text(json.dumps(few))
    tensors = {name.removeprefix("transformer."): tensor for name, tensor in load_file(folder / huggingface.WEIGHTS).items()}
    for number in range(3):
        tensors[f"h.{number}.attn.bias"] = torch.ones(64, 64).tril()[None, None]
        tensors[f"h.{number}.attn.masked_bias"] = torch.tensor(-1e4)
    save_file(tensors, folder / huggingface.WEIGHTS)
    expected = their_logits(model)
    close(load(folder).logits(THEIR_IDS[0].tolist()), expected)
    # A tied head may be written beside the embeddings, and other configs have the general names.
    save_file({**tensors, "lm_head.weight": tensors["wte.weight"].clone()}, folder / huggingface.WEIGHTS)
    general = {"n_embd": "hidden_size", "n_head": "num_attention_heads", "n_layer": "num_hidden_layers"}
    general["n_positions"] = "max_position_embeddings"
    (folder / "config.json").write_text(json.dumps({general.get(name, name): value for name, value in few.items()}))
    close(load(folder).logits(THEIR_IDS[0].tolist()), expected)


def test_what_a_config_leaves_out_means_the_same() -> None:
    import transformers

    required: dict[str, Any] = {"vocab_size": 100, "n_positions": 32, "n_embd": 48, "n_layer": 2, "n_head": 4}
    full = transformers.GPT2Config(**required).to_dict()
    assert gpt.config_from_hf({"model_type": "gpt2", **required}) == gpt.config_from_hf(full)


def test_greedy_generation_agrees(tmp_path: Path) -> None:
    """With a cache, as ours and theirs both generate; and each id is what the whole text without a cache says."""
    model = theirs()
    prompt = THEIR_IDS[:, :9]
    with torch.inference_mode():
        expected = model.generate(
            prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=24, do_sample=False, eos_token_id=-1, pad_token_id=0
        )
    ours = load(save(tmp_path, model))
    ours.stop_ids = frozenset()
    result = ours._run(prompt[0].tolist(), stream=False, max_tokens=24, temperature=0.0)
    assert isinstance(result, Generation)
    assert result.token_ids == expected[0, 9:].tolist()
    assert len(set(result.token_ids)) > 5
    assert ours.logits(expected[0].tolist())[8:-1].argmax(-1).tolist() == result.token_ids


# --- the controls: one detail is turned, and the logits must be seen to differ ---


CONTROLS: dict[str, tuple[str, dict[str, Any]]] = {
    "tanh instead of exact GELU": ("exact GELU", {"mlp": "gelu"}),
    "exact instead of tanh GELU": ("GELU by another name", {"mlp": "gelu_exact"}),
    "GELU instead of ReLU": ("ReLU", {"mlp": "gelu"}),
    "another epsilon": ("GPT-2", {"norm_epsilon": 1e-2}),
    "scores that are scaled": ("scores that are not scaled", {"scale_by_width": True}),
    "scores that are not scaled": ("GPT-2", {"scale_by_width": False}),
    "no scaling by layer": ("scores scaled by layer", {"scale_by_layer": False}),
}


@pytest.mark.parametrize("control", CONTROLS)
def test_control_one_wrong_detail_is_seen(control: str, tmp_path: Path) -> None:
    case, change = CONTROLS[control]
    model = theirs(**CASES[case])
    ours = load(save(tmp_path, model)).model
    expected = their_logits(model)
    with torch.no_grad():
        close(ours(THEIR_IDS, Dense(THEIR_IDS))[0], expected)
        wrong = Model(replace(ours.config, **change))
        wrong.load_state_dict(ours.state_dict())
        assert (wrong(THEIR_IDS, Dense(THEIR_IDS))[0] - expected).abs().max() > 1e-4


@pytest.mark.parametrize("name", ["embed_positions.weight", "norm.bias", "blocks.1.attention.q_proj.bias", "blocks.2.mlp.up_proj.bias"])
def test_control_a_weight_that_is_not_used_is_seen(name: str, tmp_path: Path) -> None:
    model = theirs()
    ours = load(save(tmp_path, model)).model
    torch.nn.init.zeros_(ours.get_parameter(name))
    with torch.no_grad():
        assert (ours(THEIR_IDS, Dense(THEIR_IDS))[0] - their_logits(model)).abs().max() > 1e-2


# --- a shape that GPT-2 has not is written in our own form, and nothing of it is lost ---

STRANGE: dict[str, dict[str, Any]] = {
    **{f"only {name}": {name: value} for name, value in STEPS.items()},
    "all steps": STEPS,
    "a base of rotations that are not made": {"rope_theta": 500.0},
}


@pytest.mark.parametrize("changes", STRANGE.values(), ids=STRANGE.keys())
def test_a_shape_of_nobody_elses_survives(changes: dict[str, Any], tmp_path: Path) -> None:
    model = fresh(**changes)
    loud(model)
    huggingface.save_folder(tmp_path / "model", model, TOKENIZER)
    assert json.loads((tmp_path / "model" / "config.json").read_text())["model_type"] == "llamarium-gpt"
    again = huggingface.load_folder(tmp_path / "model")
    assert again.config == model.config
    assert all(torch.equal(one, other) for one, other in zip(model.parameters(), again.parameters(), strict=True))


# --- folders from strangers ---


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    huggingface.save_folder(tmp_path / "model", fresh(vocab_size=TOKENIZER.vocab_size), TOKENIZER)
    return tmp_path / "model"


def refused(folder: Path, match: str) -> None:
    with pytest.raises(BadFileError, match=match) as caught:
        llamarium.load(str(folder))
    assert caught.value.exit_code == 3
    assert "\n" not in caught.value.message


@pytest.mark.parametrize(
    ("values", "match"),
    [
        ({"n_layer": 3}, r"lacks the tensor transformer\.h\.2"),
        ({"n_layer": 1}, r"does not know, such as transformer\.h\.1"),
        ({"n_layer": 10**9}, "1,000,000,000 layers"),
        ({"n_layer": 0}, "layers must be positive"),
        ({"n_layer": 2.5}, "n_layer must be a whole number, not 2.5"),
        ({"n_layer": None}, "n_layer must be a whole number"),
        ({"n_embd": "wide"}, "n_embd must be a whole number, not 'wide'"),
        ({"n_embd": True}, "n_embd must be a whole number"),
        ({"n_embd": 64}, "shape"),
        ({"n_embd": 2**40}, "shape|built"),
        ({"n_embd": 4 * 2**70}, "shape|built|integer"),
        ({"n_head": 5}, "cannot be shared by 5 heads"),
        ({"n_head": 0}, "heads must be positive"),
        ({"n_head": [4]}, "n_head must be a whole number"),
        ({"n_inner": "4x"}, "n_inner must be a whole number"),
        ({"n_inner": 96}, r"has transformer\.h\.0\.mlp\.c_fc\.weight with shape"),
        ({"n_inner": 2**60}, "shape|built"),
        ({"vocab_size": 2**40}, r"transformer\.wte\.weight with shape"),
        ({"n_positions": 65}, r"transformer\.wpe\.weight with shape"),
        ({"n_positions": 0}, "context_length must be positive"),
        ({"layer_norm_epsilon": "small"}, "norm_epsilon"),
        ({"layer_norm_epsilon": float("nan")}, "norm_epsilon"),
        ({"activation_function": "swish"}, "activation_function 'swish'"),
        ({"activation_function": ["gelu"]}, r"activation_function \['gelu'\]"),
        ({"add_cross_attention": True}, "add_cross_attention is not supported"),
        ({"scale_attn_weights": "perhaps"}, "scale_by_width"),
        ({"tie_word_embeddings": False}, r"lacks the tensor lm_head\.weight"),
        ({"model_type": "llamarium-gpt", "config": {"vocab_size": 9, "norm": "batch"}}, "norm: input should be 'layer' or 'rms'"),
        ({"model_type": "llamarium-gpt", "config": {"vocab_size": 9, "heads": 5}}, "cannot be shared by 5 heads"),
    ],
)
@pytest.mark.timeout(2)
def test_a_config_that_lies_is_refused(folder: Path, values: dict[str, Any], match: str) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))
    refused(folder, match)


@pytest.mark.parametrize("name", ["vocab_size", "n_positions", "n_embd", "n_layer", "n_head"])
def test_a_config_that_lacks_something_is_refused(folder: Path, name: str) -> None:
    values = json.loads((folder / "config.json").read_text())
    del values[name]
    (folder / "config.json").write_text(json.dumps(values))
    refused(folder, f"lacks '{name}'")


ATTENTION, UP = "transformer.h.0.attn.c_attn.weight", "transformer.h.0.mlp.c_fc.weight"
Tensors = dict[str, Tensor]


@pytest.mark.parametrize(
    ("edit", "match"),
    [
        (lambda t: {name: x for name, x in t.items() if name != ATTENTION}, r"lacks the tensor transformer\.h\.0\.attn\.c_attn"),
        (lambda t: {**t, ATTENTION: t[ATTENTION].T}, r"transformer\.h\.0\.attn\.c_attn\.q\.weight with shape"),
        (lambda t: {**t, ATTENTION: t[ATTENTION][:, :-1]}, r"transformer\.h\.0\.attn\.c_attn\..\.weight with shape"),
        (lambda t: {**t, ATTENTION: torch.tensor(1.0)}, r"lacks the tensor transformer\.h\.0\.attn\.c_attn"),
        (lambda t: {**t, ATTENTION.replace("weight", "bias"): torch.ones(95)}, r"c_attn\.v\.bias with shape"),
        (lambda t: {**t, UP: t[UP].T}, r"transformer\.h\.0\.mlp\.c_fc\.weight with shape"),
        (lambda t: {**t, UP: torch.ones(2, 2, 2)}, r"transformer\.h\.0\.mlp\.c_fc\.weight with shape"),
        (lambda t: {**t, "transformer.extra.weight": torch.ones(1)}, "does not know, such as transformer.extra.weight"),
        (lambda t: {name.removeprefix("transformer."): x for name, x in t.items() if "ln_f" not in name}, "lacks the tensor .*ln_f"),
        (lambda t: {}, "layers"),
    ],
    ids=["missing", "on its side", "cut", "a number", "a short bias", "not turned", "a cube", "one left over", "no last norm", "nothing"],
)
@pytest.mark.timeout(2)
def test_weights_that_do_not_fit_are_refused(folder: Path, edit: Callable[[Tensors], Tensors], match: str) -> None:
    path = folder / huggingface.WEIGHTS
    save_file({name: tensor.contiguous() for name, tensor in edit(load_file(path)).items()}, path)
    refused(folder, match)


def test_control_the_folder_itself_is_good(folder: Path) -> None:
    load(folder)
