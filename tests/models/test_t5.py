"""T5: parity with transformers both ways, sources that are read once, distances, and folders that lie.

Tiny models with large random weights: their logits spread over several units, so that a wrong distance, scale or mask cannot hide
within 1e-4. The controls turn one detail at a time and see the difference.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import tokenizers
import torch
from safetensors.torch import load_file, save_file
from tokenizers import decoders, models, pre_tokenizers, processors
from torch import Tensor

import llamarium
from llamarium.checkpoint import huggingface
from llamarium.checkpoint.weights import foreign_name
from llamarium.engine.generate import Generation
from llamarium.engine.language_model import LanguageModel
from llamarium.ground.errors import BadFileError
from llamarium.models import t5
from llamarium.models.context import Cached, Dense, Packed
from llamarium.models.model import PADDING
from llamarium.models.t5 import TINY, Config, Model, bucket
from llamarium.tokens.tokenizer import Tokenizer

TOLERANCE = 1e-4


def t5_tokenizer() -> Tokenizer:
    """A vocabulary built as T5's is: Unigram, no token that begins a text, sentinels behind all others, the first of them last."""
    words = ["▁", *(f"▁{word}" for word in ("the", "cat", "sat", "on", "mat", "dog")), *"abcdefghijklmnopqrstuvwxyz_,.0123456789<>"]
    sentinels = [f"<extra_id_{number}>" for number in range(5, -1, -1)]
    controls = ["<pad>", "</s>", "<unk>"]
    scores = [*((each, 0.0) for each in controls), *((word, -2.0 - place / 10) for place, word in enumerate(words))]
    definition = tokenizers.Tokenizer(models.Unigram([*scores, *((each, 0.0) for each in sentinels)], unk_id=2, byte_fallback=False))
    definition.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()])
    definition.decoder = decoders.Metaspace()
    definition.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    definition.add_special_tokens([tokenizers.AddedToken(each, special=True) for each in (*controls, *sentinels)])
    config = {"eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>", "tokenizer_class": "T5Tokenizer", "extra_ids": 6}
    return Tokenizer(definition.to_str(), config)


TOKENIZER = t5_tokenizer()
VOCABULARY = 72  # more than the tokenizer has, as in all published T5
draw = torch.Generator().manual_seed(7)
SOURCE = torch.randint(2, VOCABULARY, (2, 40), generator=draw)
SOURCE[1, 23:] = PADDING
IDS = torch.randint(2, VOCABULARY, (2, 36), generator=draw)
SHAPE: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "d_model": 32,
    "d_kv": 12,  # times 3 heads is more than the width
    "d_ff": 56,
    "num_layers": 2,
    "num_heads": 3,
    "relative_attention_max_distance": 24,
    "layer_norm_epsilon": 1e-3,
    "decoder_start_token_id": 0,
}
V11 = {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False}


@dataclass(frozen=True)
class Case:
    """Settings of a transformers config, and whether the head is a matrix of its own."""

    kind: str = "t5"
    settings: dict[str, Any] = field(default_factory=dict)
    own_head: bool = False


CASES = {
    "T5": Case(),
    "T5, a longer encoder": Case(settings={"num_layers": 3, "num_decoder_layers": 1}),
    "T5, a longer decoder": Case(settings={"num_layers": 1, "num_decoder_layers": 3}),
    "T5, heads within the width": Case(settings={"d_kv": 6}),
    "T5, other distances": Case(settings={"relative_attention_num_buckets": 9, "relative_attention_max_distance": 128}),
    "T5 v1.1": Case(settings=V11, own_head=True),
    "T5 v1.1 as transformers raises it": Case(settings=V11),
    "a gate and a tied head": Case(settings={"feed_forward_proj": "gated-gelu"}),
    "UL2": Case(settings={**V11, "feed_forward_proj": "gated-silu"}, own_head=True),
    "mT5": Case("mt5", {"num_decoder_layers": 1}, own_head=True),
    "mT5 as transformers raises it": Case("mt5"),
}


def theirs(case: Case) -> Any:
    """A model of transformers with large random weights."""
    import transformers

    torch.manual_seed(11)
    automatic: Any = transformers.AutoModelForSeq2SeqLM
    model = automatic.from_config(transformers.AutoConfig.for_model(case.kind, **{**SHAPE, **case.settings}))
    if case.own_head:
        model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight.detach().clone())
    for name, parameter in model.named_parameters():
        if parameter.ndim == 1:
            torch.nn.init.uniform_(parameter, 0.5, 1.5)
        elif "relative_attention_bias" in name:
            torch.nn.init.normal_(parameter, std=1.5)
        else:
            # The logits of a head that is the embedding and is not scaled are √width as large.
            embedding = 1.0 if case.own_head or getattr(model.config, "scale_decoder_outputs", False) else 0.2
            torch.nn.init.normal_(parameter, std=embedding if name == "shared.weight" else 1.5 * parameter.shape[1] ** -0.5)
    return model.eval().float()


@torch.no_grad()
def their_logits(model: Any, ids: Tensor = IDS, source: Tensor | None = SOURCE) -> Tensor:
    assert source is not None
    there = source != PADDING
    logits: Tensor = model(input_ids=source.clamp(min=0), attention_mask=there.long(), decoder_input_ids=ids).logits
    return logits


@torch.no_grad()
def our_logits(model: Any, ids: Tensor = IDS, source: Tensor | None = SOURCE) -> Tensor:
    logits: Tensor = model(ids, Dense(ids), source)
    return logits


def save_theirs(model: Any, folder: Path) -> None:
    model.save_pretrained(folder)
    TOKENIZER.save(folder)


def load(folder: Path) -> LanguageModel:
    model = llamarium.load(str(folder))
    assert isinstance(model, LanguageModel)
    return model


def reload(folder: Path) -> Any:
    """What transformers makes of a folder of ours: every weight there, none left over."""
    import transformers

    automatic: Any = transformers.AutoModelForSeq2SeqLM
    model, report = automatic.from_pretrained(folder, output_loading_info=True, dtype=torch.float32)
    assert not any(report.values()), report
    return model.eval()


def close(one: Tensor, other: Tensor) -> None:
    assert one.shape == other.shape
    assert (one - other).abs().max() <= TOLERANCE
    assert other.std() > 0.5


def fresh(**changes: Any) -> Model:
    """A model with weights that tell ids, places and distances apart."""
    torch.manual_seed(3)
    model = Model(replace(TINY, **{"vocab_size": VOCABULARY, **changes}))
    model.initialize()
    for name, parameter in model.named_parameters():
        if name.endswith("distances.weight"):
            torch.nn.init.normal_(parameter, std=1.5)
    return model.eval()


# --- the same as transformers ---


@pytest.mark.parametrize("name", CASES)
def test_logits_agree_both_ways(name: str, tmp_path: Path) -> None:
    model = theirs(CASES[name])
    expected = their_logits(model)
    save_theirs(model, tmp_path / "theirs")
    ours = load(tmp_path / "theirs")
    close(our_logits(ours.model), expected)

    huggingface.save_folder(tmp_path / "ours", ours.model, ours.tokenizer)
    close(their_logits(reload(tmp_path / "ours")), expected)
    again = load(tmp_path / "ours")
    assert again.model.config == ours.model.config
    assert torch.equal(our_logits(again.model), our_logits(ours.model))


def test_long_texts_agree(tmp_path: Path) -> None:
    """Beyond the texts whose scores are all made at once, and beyond the distances that are told apart."""
    model = theirs(CASES["T5"])
    save_theirs(model, tmp_path)
    ids, source = (torch.randint(2, VOCABULARY, (2, length), generator=torch.Generator().manual_seed(length)) for length in (270, 300))
    source[1, 290:] = PADDING
    close(our_logits(load(tmp_path).model, ids, source), their_logits(model, ids, source))


def test_a_decoder_without_a_source_agrees(tmp_path: Path) -> None:
    """Cross-attention is left out, as transformers' decoder alone leaves it out."""
    model = theirs(CASES["T5"])
    save_theirs(model, tmp_path)
    with torch.no_grad():
        states = model.decoder(input_ids=IDS).last_hidden_state
        expected = model.lm_head(states * SHAPE["d_model"] ** -0.5)
    close(our_logits(load(tmp_path).model, source=None), expected)


def edit(folder: Path, *left_out: str, **changes: Any) -> None:
    path = folder / "config.json"
    values = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({key: value for key, value in values.items() if key not in left_out}), encoding="utf-8")


NEW_KEYS = ("scale_decoder_outputs", "is_gated_act", "dense_act_fn", "num_decoder_layers", "classifier_dropout", "is_decoder")


def test_a_config_as_it_was_written_for_the_first_t5_is_read(tmp_path: Path) -> None:
    model = theirs(Case(settings={"relative_attention_max_distance": 128, "layer_norm_epsilon": 1e-6}))
    save_theirs(model, tmp_path)
    gone = ("feed_forward_proj", "tie_word_embeddings", "relative_attention_max_distance", "relative_attention_num_buckets")
    edit(tmp_path, *NEW_KEYS, *gone, "layer_norm_epsilon", "decoder_start_token_id", n_positions=512)
    close(our_logits(load(tmp_path).model), their_logits(model))


@pytest.mark.parametrize("name", ["T5 v1.1", "mT5"])
def test_a_config_as_it_was_written_for_later_ones_is_read(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    model = theirs(replace(case, settings={key: value for key, value in case.settings.items() if key != "num_decoder_layers"}))
    save_theirs(model, tmp_path)
    edit(tmp_path, *NEW_KEYS, tie_word_embeddings=False)
    close(our_logits(load(tmp_path).model), their_logits(model))


@pytest.mark.parametrize("kind", t5.HF_MODEL_TYPES)
def test_what_a_config_leaves_out_means_the_same(kind: str) -> None:
    import transformers

    required = {key: SHAPE[key] for key in ("vocab_size", "d_model", "d_kv", "d_ff", "num_layers", "num_heads")}
    full = transformers.AutoConfig.for_model(kind, **required).to_dict()
    assert t5.config_from_hf({"model_type": kind, **required}) == t5.config_from_hf(full)
    assert t5.config_from_hf({"model_type": kind, **required, "decoder_start_token_id": None, "pad_token_id": 5}).start_id == 5


# --- embeddings that lie in a folder more than once ---


def with_tensors(folder: Path, change: Callable[[dict[str, Tensor]], dict[str, Tensor]]) -> None:
    path = folder / huggingface.WEIGHTS
    save_file({name: tensor.clone() for name, tensor in change(load_file(path)).items()}, path, metadata={"format": "pt"})


COPIES = ("encoder.embed_tokens.weight", "decoder.embed_tokens.weight", "lm_head.weight")
UNUSED = {"decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight": torch.ones(32, 3)}


def test_copies_and_what_was_never_used_are_passed_over(tmp_path: Path) -> None:
    model = theirs(CASES["T5"])
    save_theirs(model, tmp_path)
    with_tensors(tmp_path, lambda tensors: {**tensors, **UNUSED, **dict.fromkeys(COPIES, tensors["shared.weight"])})
    assert all(name in load_file(tmp_path / huggingface.WEIGHTS) for name in (*COPIES, *UNUSED))
    close(our_logits(load(tmp_path).model), their_logits(model))


@pytest.mark.parametrize("name", COPIES)
def test_any_copy_will_do(name: str, tmp_path: Path) -> None:
    model = theirs(CASES["T5"])
    save_theirs(model, tmp_path)
    with_tensors(tmp_path, lambda tensors: {name if key == "shared.weight" else key: tensor for key, tensor in tensors.items()})
    close(our_logits(load(tmp_path).model), their_logits(model))


@pytest.mark.parametrize("name", COPIES)
def test_a_copy_that_differs_is_none(name: str, tmp_path: Path) -> None:
    save_theirs(theirs(CASES["T5"]), tmp_path)
    with_tensors(tmp_path, lambda tensors: {**tensors, name: tensors["shared.weight"] + 1})
    refused(tmp_path, f"does not know, such as {name}")


def test_an_untied_head_that_was_a_copy_learns_on_its_own(tmp_path: Path) -> None:
    save_theirs(theirs(CASES["T5 v1.1 as transformers raises it"]), tmp_path)
    assert "lm_head.weight" not in load_file(tmp_path / huggingface.WEIGHTS)
    model = huggingface.load_folder(tmp_path)
    assert isinstance(model, Model)
    assert model.head is not None
    assert torch.equal(model.head.weight, model.embed.weight)
    assert model.head.weight.data_ptr() != model.embed.weight.data_ptr()


# --- folders that lie ---


def refused(folder: Path, match: str) -> None:
    with pytest.raises(BadFileError, match=match) as caught:
        llamarium.load(str(folder))
    assert caught.value.exit_code == 3
    assert "\n" not in caught.value.message


LIES: dict[str, tuple[dict[str, Any], str]] = {
    "a billion layers": ({"num_layers": 10**9}, "claims 1,000,000,002 layers"),
    "a billion layers that write": ({"num_decoder_layers": 10**9}, "claims 1,000,000,002 layers"),
    "a layer too many": ({"num_layers": 3}, r"lacks the tensor encoder\.block\.2"),
    "a layer too few": ({"num_decoder_layers": 1}, r"does not know, such as decoder\.block\.1"),
    "no layers": ({"num_layers": 0}, "num_layers must be a whole number from 1 on, not 0"),
    "layers in words": ({"num_decoder_layers": "two"}, "num_decoder_layers must be"),
    "half a width": ({"d_model": 32.5}, "d_model must be"),
    "another width": ({"d_model": 40}, r"shared\.weight with shape \(72, 32\)"),
    "another width of heads": ({"d_kv": 8}, "shape"),
    "a list of heads": ({"num_heads": [3]}, "num_heads must be"),
    "a negative MLP": ({"d_ff": -1}, "d_ff must be"),
    "a vocabulary in words": ({"vocab_size": "large"}, "vocab_size must be"),
    "an unknown activation": ({"feed_forward_proj": "gated-tanh"}, "feed_forward_proj 'gated-tanh'"),
    "an activation that is a list": ({"feed_forward_proj": ["relu"]}, "feed_forward_proj"),
    "a gate that is not there": ({"feed_forward_proj": "gated-gelu"}, r"lacks the tensor encoder.block.0.layer.1.DenseReluDense.wi_0"),
    "other buckets": ({"relative_attention_num_buckets": 16}, r"relative_attention_bias.weight with shape \(32, 3\)"),
    "no buckets": ({"relative_attention_num_buckets": 1}, "buckets must be from 4"),
    "no distance": ({"relative_attention_max_distance": 16}, "max_distance 16"),
    "an epsilon in words": ({"layer_norm_epsilon": "small"}, "norm_epsilon"),
    "an epsilon that is no number": ({"layer_norm_epsilon": math.nan}, "norm_epsilon"),
    "tied in words": ({"scale_decoder_outputs": "perhaps"}, "tied"),
    "a start beyond the vocabulary": ({"decoder_start_token_id": 72}, "start_id must be an id of the vocabulary of 72, not 72"),
    "a start in words": ({"decoder_start_token_id": "<pad>"}, "decoder_start_token_id must be"),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("t5")
    save_theirs(theirs(CASES["T5"]), place)
    return place


@contextmanager
def changed(folder: Path) -> Iterator[Path]:
    before = {path: path.read_bytes() for path in folder.iterdir()}
    yield folder
    for path, content in before.items():
        path.write_bytes(content)


@pytest.mark.parametrize(("values", "match"), LIES.values(), ids=LIES.keys())
@pytest.mark.timeout(5)
def test_a_config_that_lies_is_refused(folder: Path, values: dict[str, Any], match: str) -> None:
    with changed(folder):
        edit(folder, **values)
        refused(folder, match)


@pytest.mark.parametrize("name", ["vocab_size", "d_model", "d_kv", "d_ff", "num_layers", "num_heads"])
def test_a_config_that_lacks_something_is_refused(folder: Path, name: str) -> None:
    with changed(folder):
        edit(folder, name)
        refused(folder, f"lacks '{name}'")


MISSING = (
    "shared.weight",
    "encoder.final_layer_norm.weight",
    "encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight",
    "decoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight",
    "encoder.block.1.layer.1.DenseReluDense.wi.weight",
    "decoder.block.1.layer.1.EncDecAttention.k.weight",
    "decoder.block.1.layer.1.layer_norm.weight",
    "decoder.block.0.layer.2.DenseReluDense.wo.weight",
)


@pytest.mark.parametrize("name", MISSING)
def test_a_weight_that_is_missing_or_has_another_shape_is_named(folder: Path, name: str) -> None:
    with changed(folder):
        with_tensors(folder, lambda tensors: {key: tensor for key, tensor in tensors.items() if key != name})
        refused(folder, f"lacks the tensor {name}")
    with changed(folder):
        with_tensors(folder, lambda tensors: {**tensors, name: tensors[name][1:]})
        refused(folder, f"has {name} with shape")


# --- writing ---


@pytest.mark.parametrize("name", ["T5", "T5 v1.1", "mT5"])
def test_greedy_generation_agrees_both_ways(name: str, tmp_path: Path) -> None:
    model = theirs(CASES[name])
    save_theirs(model, tmp_path / "theirs")
    ours = load(tmp_path / "theirs")
    ours.stop_ids = frozenset()
    found = ours._run(SOURCE[0].tolist(), stream=False, max_tokens=30, temperature=0.0)
    assert isinstance(found, Generation)
    assert len(set(found.token_ids)) > 3

    huggingface.save_folder(tmp_path / "ours", ours.model, TOKENIZER)
    for each in (model, reload(tmp_path / "ours")):
        with torch.inference_mode():
            written = each.generate(
                SOURCE[:1], attention_mask=torch.ones_like(SOURCE[:1]), max_new_tokens=30, do_sample=False, eos_token_id=-1
            )
        assert written[0].tolist() == [0, *found.token_ids]


def test_what_a_text_begins_with_is_written_along(tmp_path: Path) -> None:
    huggingface.save_folder(tmp_path, fresh(start_id=9, encoder_layers=2), TOKENIZER)  # transformers caches as many layers as read
    assert load(tmp_path).model.config.start_id == 9
    with torch.inference_mode():
        assert reload(tmp_path).generate(SOURCE[:1], max_new_tokens=1)[0, 0] == 9


def test_a_text_is_read_and_one_is_written(tmp_path: Path) -> None:
    """From words to words, with the end that the tokenizer puts behind a source and the end at which the model stops."""
    import transformers

    model = theirs(CASES["T5 v1.1"])
    model.lm_head.weight.data[1] *= 4  # so that it comes to an end
    save_theirs(model, tmp_path)
    peer = transformers.AutoTokenizer.from_pretrained(tmp_path)
    ours = load(tmp_path)
    assert ours.stop_ids == {1}
    stopped = 0
    for text in ("the cat sat on the mat.", "the dog", "a <extra_id_0> sat", "mat, cat, dog", "on the dog on", "", "0 1 2"):
        ids = ours.tokenizer.encode(text, add_special=True)
        with torch.inference_mode():
            written = model.generate(torch.tensor([ids]), max_new_tokens=40, do_sample=False)[0].tolist()
        found = ours.generate(text, max_tokens=40, temperature=0)
        ends = written[-1] == 1
        stopped += ends
        assert found.finish_reason == ("stop" if ends else "length")
        assert found.token_ids == written[1 : -1 if ends else None]
        if "<" not in text:
            assert ids == peer(text).input_ids
    assert stopped > 0


def test_the_tokenizer_of_a_t5_is_one_of_ours() -> None:
    tokenizer = TOKENIZER
    assert (tokenizer.end_id, tokenizer.special("pad_token"), tokenizer.special("bos_token")) == (1, 0, None)
    assert tokenizer.encode("the cat", add_special=True)[-1] == tokenizer.end_id
    assert tokenizer.specials["<extra_id_0>"] == tokenizer.vocab_size - 1 == tokenizer.specials["<extra_id_5>"] + 5
    gap = tokenizer.specials["<extra_id_0>"]
    assert tokenizer.encode("the <extra_id_0> sat", parse_special=True).count(gap) == 1
    assert gap not in tokenizer.encode("the <extra_id_0> sat")
    assert tokenizer.decode(tokenizer.encode("the cat sat on the mat.", add_special=True), skip_special=True) == "the cat sat on the mat."


# --- the source ---


@pytest.mark.parametrize("steps", [[1] * 12, [12], [5, 1, 6]])
def test_rows_with_sources_of_unequal_length_are_cached(steps: list[int]) -> None:
    model, ids = fresh(), IDS[:, :12]
    cache = Cached(capacity=12, device=ids.device)
    found, start = [], 0
    with torch.no_grad():
        for number in steps:
            source = (SOURCE,) if start == 0 else ()
            found.append(model(ids[:, start : start + number], cache.step(number), *source))
            start += number
    torch.testing.assert_close(torch.cat(found, dim=1), our_logits(model, ids), atol=1e-4, rtol=1e-4)


def test_the_source_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    model, cache = fresh(), Cached(capacity=3, device=IDS.device)
    with torch.no_grad():
        model(IDS[:, :2], cache.step(2), SOURCE)
        monkeypatch.setattr(model.encoder, "forward", None)
        for name, module in model.decoder.named_modules():
            if name.endswith(("source_attention.k_proj", "source_attention.v_proj")):
                monkeypatch.setattr(module, "forward", None)
        model(IDS[:, 2:3], cache.step(1))


@pytest.mark.parametrize("length", [1, 12])
def test_a_row_without_a_source_is_like_a_text_without_one(length: int) -> None:
    model, ids = fresh(), IDS[:, :length]
    source = SOURCE.clone()
    source[1] = PADDING
    found = our_logits(model, ids, source)
    torch.testing.assert_close(found[:1], our_logits(model, ids[:1], source[:1]), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(found[1:], our_logits(model, ids[1:], None), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(our_logits(model, ids, source[:, :0]), our_logits(model, ids, None))


def test_gradients_of_a_row_without_a_source_are_finite() -> None:
    model = fresh()
    source = SOURCE.clone()
    source[1] = PADDING
    model(IDS, Dense(IDS), source).logsumexp(-1).sum().backward()
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in model.parameters())


def test_blocks_that_are_run_again_in_the_backward_pass_learn_the_same() -> None:
    from llamarium.train.compute import recompute

    gradients = []
    for again in (False, True):
        model = fresh().train()
        assert len(model.blocks) == 3
        if again:
            recompute(model)
        model(IDS, Dense(IDS), SOURCE).logsumexp(-1).sum().backward()
        gradients.append([parameter.grad for parameter in model.parameters()])
    assert all(torch.equal(one, other) for one, other in zip(*gradients, strict=True))


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning")  # dynamo's own look at its inputs
def test_blocks_compile_whole() -> None:
    """As training compiles them: each block one graph, forward and back."""
    model, plain = fresh().train(), fresh().train()
    torch._dynamo.reset()
    for block in model.blocks:
        block.forward = torch.compile(block.forward, fullgraph=True, dynamic=False, backend="aot_eager")
    for each in (model, plain):
        each(IDS, Dense(IDS), SOURCE).logsumexp(-1).sum().backward()
    for one, other in zip(model.parameters(), plain.parameters(), strict=True):
        assert one.grad is not None
        torch.testing.assert_close(one.grad, other.grad, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("length", [30, 300])  # below and above the texts whose scores are made at once
def test_short_arithmetic_is_near(length: int) -> None:
    model = fresh()
    ids, source = (torch.randint(0, VOCABULARY, (2, length), generator=torch.Generator().manual_seed(seed)) for seed in (1, 2))
    expected = our_logits(model, ids, source)
    with torch.autocast("cpu", torch.bfloat16):
        found = our_logits(model, ids, source)
    assert (found.float() - expected).std() < 0.1 * expected.std()
    half = our_logits(model.to(torch.bfloat16), ids, source)
    assert half.dtype == torch.bfloat16
    assert (half.float() - expected).std() < 0.1 * expected.std()


# --- distances ---


@pytest.mark.parametrize("both_ways", [False, True])
@pytest.mark.parametrize(("buckets", "max_distance"), [(32, 128), (32, 20), (9, 64), (4, 3), (64, 1000)])
def test_buckets_are_those_of_transformers(buckets: int, max_distance: int, both_ways: bool) -> None:
    from transformers.models.t5.modeling_t5 import T5Attention

    distance = torch.arange(-2 * max_distance, 2 * max_distance + 1)
    expected = T5Attention._relative_position_bucket(distance, both_ways, buckets, max_distance)  # type: ignore[no-untyped-call]
    assert torch.equal(bucket(distance, buckets, max_distance, both_ways=both_ways), expected)


def test_far_is_far_and_near_is_told_apart() -> None:
    looks_back = bucket(-torch.arange(200), 32, 128, both_ways=False)
    assert looks_back[:17].tolist() == list(range(17))
    assert looks_back.diff().min() >= 0
    assert set(looks_back[128:].tolist()) == {31}
    looks_both_ways = bucket(torch.arange(-200, 201), 32, 128, both_ways=True)
    assert sorted(set(looks_both_ways.tolist())) == [*range(16), *range(17, 32)]  # a distance of 0 is never one ahead


# --- shapes and fresh weights ---


@pytest.mark.parametrize(
    ("values", "match"),
    [
        ({"mlp": "tanh"}, "mlp must be one of relu, gated-gelu, gated-silu"),
        ({"vocab_size": 0}, "vocab_size must be positive"),
        ({"encoder_layers": -1}, "encoder_layers must be positive"),
        ({"decoder_layers": -1}, "decoder_layers must be positive"),
        ({"norm_epsilon": math.nan}, "norm_epsilon must be positive"),
        ({"start_id": 100}, "start_id must be an id of the vocabulary of 100, not 100"),
        ({"start_id": -1}, "start_id must be"),
        ({"buckets": 3}, "buckets must be from 4"),
        ({"buckets": 40, "max_distance": 20}, "twice the max_distance 20, not 40"),
    ],
)
def test_a_shape_that_cannot_be_is_refused(values: dict[str, Any], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        Config(**{"vocab_size": 100, **values})


def test_what_is_not_said_follows() -> None:
    config = Config(vocab_size=100, width=512, heads=8, encoder_layers=4)
    assert (config.decoder_layers, config.head_width, config.hidden_width, config.layers) == (4, 64, 1376, 8)
    assert Config(vocab_size=100, width=512, heads=8, mlp="relu").hidden_width == 2048
    assert config.context_length is None
    assert Config.sized(60e6, vocab_size=32_128, context_length=512).width >= 384


@pytest.mark.parametrize("tied", [False, True])
def test_fresh_weights_are_as_large_as_those_of_transformers(tied: bool) -> None:
    import transformers

    settings = {"vocab_size": 1000, "d_model": 64, "d_kv": 16, "d_ff": 256, "num_layers": 2, "num_heads": 8}
    torch.manual_seed(0)
    automatic: Any = transformers.AutoModelForSeq2SeqLM
    peer = automatic.from_config(transformers.AutoConfig.for_model("t5", **settings, **(V11 if not tied else {})))
    expected = dict(peer.named_parameters())
    config = t5.config_from_hf(peer.config.to_dict())
    assert config.tied == tied
    model = Model(config)
    model.initialize()
    for name, parameter in model.named_parameters():
        if name == "head.weight":  # theirs is drawn with 1, which makes the first logits √width times as large
            continue
        other = expected[foreign_name(name, t5.HF_NAMES)]
        assert parameter.std(correction=0).item() == pytest.approx(other.std(correction=0).item(), rel=0.15), name
    ids = torch.randint(0, 1000, (2, 16))
    with torch.no_grad():
        logits = model(ids, Dense(ids), ids)
    assert 0.8 < logits.std() < 1.25


# --- the controls: one detail is turned, and the logits must be seen to differ ---


def turned(**changes: Any) -> Callable[[Model, pytest.MonkeyPatch], Model]:
    def turn(model: Model, monkeypatch: pytest.MonkeyPatch) -> Model:
        wrong = Model(replace(model.config, **changes))
        wrong.load_state_dict(model.state_dict())
        return wrong.eval()

    return turn


def patched(place: Any, name: str, value: Callable[[Any], Any]) -> Callable[[Model, pytest.MonkeyPatch], Model]:
    def turn(model: Model, monkeypatch: pytest.MonkeyPatch) -> Model:
        monkeypatch.setattr(place, name, value(getattr(place, name)))
        return model

    return turn


def option(**values: Any) -> Callable[[Any], Any]:
    """The same function, some of its options turned."""
    return lambda plain: lambda *inputs, **options: plain(*inputs, **{**options, **values})


CONTROLS: dict[str, tuple[str, Callable[[Model, pytest.MonkeyPatch], Model]]] = {
    "scores divided by √head_width": ("T5", patched(Dense, "attend", option(scale=None))),
    "scores of the source divided by it": ("T5", patched(t5, "attention", option(scale=None))),
    "no number for distances": ("T5", patched(Dense, "attend", option(bias_HTS=None))),
    "buckets as of one direction": ("T5", patched(t5, "bucket", option(both_ways=False))),
    "buckets as of both": ("T5", patched(t5, "bucket", option(both_ways=True))),
    "distances turned round": ("T5", patched(t5, "bucket", lambda plain: lambda distance, *rest, **each: plain(-distance, *rest, **each))),
    "another farthest distance": ("T5", turned(max_distance=26)),
    "an encoder that looks back only": ("T5", patched(Packed, "attend", option(causal=True))),
    "padding that is seen": ("T5", patched(t5, "attention", option(mask=None))),
    "padding that the encoder sees": ("T5", patched(t5, "Packed", lambda _: Dense)),
    "another epsilon": ("T5", turned(norm_epsilon=1e-2)),
    "another activation": ("T5 v1.1", turned(mlp="gated-silu")),
    "the exact GELU": ("T5 v1.1", patched(t5, "ACTIVATIONS", lambda plain: {**plain, "gated-gelu": torch.nn.functional.gelu})),
}


@pytest.mark.parametrize("control", CONTROLS)
def test_control_one_wrong_detail_is_seen(control: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name, turn = CONTROLS[control]
    model = theirs(CASES[name])
    save_theirs(model, tmp_path)
    ours = huggingface.load_folder(tmp_path).eval()
    assert isinstance(ours, Model)
    expected = their_logits(model)
    close(our_logits(ours), expected)
    wrong = turn(ours, monkeypatch)
    if control == "the exact GELU":
        wrong = turned()(wrong, monkeypatch)  # an MLP takes its activation when it is built
    with pytest.raises(AssertionError):
        close(our_logits(wrong), expected)


@pytest.mark.parametrize(("name", "tied"), [("T5", False), ("a gate and a tied head", False), ("T5 v1.1 as transformers raises it", True)])
def test_control_a_head_that_is_scaled_or_not_is_seen(name: str, tied: bool, tmp_path: Path) -> None:
    model = theirs(CASES[name])
    save_theirs(model, tmp_path)
    edit(tmp_path, scale_decoder_outputs=tied)
    with pytest.raises(AssertionError):
        close(our_logits(load(tmp_path).model), their_logits(model))
