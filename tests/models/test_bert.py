"""BERT and RoBERTa compute what transformers computes, in both directions; each detail is turned once and seen."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from llamarium.checkpoint import huggingface
from llamarium.ground.errors import BadFileError, UsageError
from llamarium.models import bert
from llamarium.models.context import Dense, Packed
from llamarium.tokens.train import bytes_tokenizer

TOLERANCE = 1e-4
TOKENIZER = bytes_tokenizer()
VOCABULARY = 288
IDS = torch.randint(5, VOCABULARY, (2, 40), generator=torch.Generator().manual_seed(7))  # RoBERTa gives its padding id no position
SHAPE = {
    "vocab_size": VOCABULARY,
    "hidden_size": 48,
    "intermediate_size": 80,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "max_position_embeddings": 50,
    "initializer_range": 0.3,
    "layer_norm_eps": 1e-4,
    "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
}


@dataclass(frozen=True)
class Case:
    """A class of transformers, settings of its config, and arguments of the class."""

    architecture: str
    settings: dict[str, Any] = field(default_factory=dict)
    arguments: dict[str, Any] = field(default_factory=dict)

    @property
    def has_head(self) -> bool:
        return self.architecture.endswith(("MaskedLM", "PreTraining"))


CASES = {
    "BERT": Case("BertForMaskedLM"),
    "BERT with GPT's GELU": Case("BertForMaskedLM", {"hidden_act": "gelu_new"}),
    "BERT with ReLU": Case("BertForMaskedLM", {"hidden_act": "relu"}),
    "BERT, untied": Case("BertForMaskedLM", {"tie_word_embeddings": False}),
    "BERT with one type": Case("BertForMaskedLM", {"type_vocab_size": 1}),
    "BERT with its second task": Case("BertForPreTraining"),
    "BERT, the encoder": Case("BertModel"),
    "BERT, no pooler": Case("BertModel", arguments={"add_pooling_layer": False}),
    "RoBERTa": Case("RobertaForMaskedLM"),
    "RoBERTa, another padding id": Case("RobertaForMaskedLM", {"pad_token_id": 3}),
    "RoBERTa with ReLU": Case("RobertaForMaskedLM", {"hidden_act": "relu"}),
    "RoBERTa, untied": Case("RobertaForMaskedLM", {"tie_word_embeddings": False}),
    "RoBERTa, the encoder": Case("RobertaModel"),
    "RoBERTa, no pooler": Case("RobertaModel", arguments={"add_pooling_layer": False}),
}


def theirs(case: Case) -> Any:
    """A model of transformers with large random weights; norms and biases differ from what they begin with, too."""
    import transformers

    kind = "bert" if case.architecture.startswith("Bert") else "roberta"
    torch.manual_seed(11)
    model = getattr(transformers, case.architecture)(transformers.AutoConfig.for_model(kind, **SHAPE, **case.settings), **case.arguments)
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.normal_(parameter, std=0.3)
        elif parameter.ndim == 1:
            torch.nn.init.uniform_(parameter, 0.5, 1.5)
    return model.eval().float()


@torch.no_grad()
def theirs_of(model: Any, case: Case, ids: Tensor = IDS, **options: Any) -> Tensor:
    """Logits where there is a head, else the last states."""
    found = model(ids, **options)
    if not case.has_head:
        return found.last_hidden_state  # type: ignore[no-any-return]
    return found.prediction_logits if case.architecture.endswith("PreTraining") else found.logits  # type: ignore[no-any-return]


@torch.no_grad()
def ours_of(model: Any, ids: Tensor = IDS, context: Any = None) -> Tensor:
    states = model.hidden(ids, context or Dense(ids))
    return model.unembed(states) if model.config.mlm_head else states  # type: ignore[no-any-return]


def load(folder: Path) -> bert.Model:
    model = huggingface.load_folder(folder)
    assert isinstance(model, bert.Model)
    return model.eval()


def close(one: Tensor, other: Tensor) -> None:
    assert one.shape == other.shape
    assert (one - other).abs().max() <= TOLERANCE
    assert other.std() > 0.5


def reload(folder: Path, case: Case) -> Any:
    """What transformers makes of a folder of ours: every weight there that counts, none left over."""
    import transformers

    name = case.architecture.replace("PreTraining", "MaskedLM")
    read = getattr(transformers, name).from_pretrained
    model, report = read(folder, output_loading_info=True, dtype=torch.float32, **case.arguments)
    assert not any(report.values()), report
    return model.eval()


@pytest.mark.parametrize("name", CASES)
def test_they_agree_both_ways(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    model = theirs(case)
    expected = theirs_of(model, case)
    model.save_pretrained(tmp_path / "theirs")
    ours = load(tmp_path / "theirs")
    assert ours.config.mlm_head == case.has_head
    assert ours.config.pooler == (not case.has_head and not case.arguments)
    assert ours.config.context_length == 50 - ours.config.position_offset
    close(ours_of(ours), expected)

    huggingface.save_folder(tmp_path / "ours", ours, TOKENIZER)
    assert json.loads((tmp_path / "ours" / "config.json").read_text())["model_type"] in bert.HF_MODEL_TYPES
    again = reload(tmp_path / "ours", case)
    close(theirs_of(again, case if not name.endswith("task") else CASES["BERT"]), expected)
    same = load(tmp_path / "ours")
    assert same.config == ours.config
    assert all(torch.equal(one, other) for one, other in zip(same.parameters(), ours.parameters(), strict=True))


@pytest.mark.parametrize("name", ["BERT, the encoder", "RoBERTa, the encoder"])
def test_the_pooler_is_theirs(name: str, tmp_path: Path) -> None:
    model = theirs(CASES[name])
    model.save_pretrained(tmp_path)
    ours = load(tmp_path)
    with torch.no_grad():
        found, expected = ours.pool(ours.hidden(IDS, Dense(IDS))), model(IDS).pooler_output
    assert (found - expected).abs().max() <= TOLERANCE


@pytest.mark.parametrize("name", ["BERT", "RoBERTa"])
def test_padding_is_a_document_of_its_own(name: str, tmp_path: Path) -> None:
    """Their attention mask and our `Packed` leave the same of each row."""
    case = CASES[name]
    model = theirs(case)
    model.save_pretrained(tmp_path)
    lengths = torch.tensor([40, 13])
    mask = torch.arange(40) < lengths[:, None]
    padded = torch.where(mask, IDS, model.config.pad_token_id)
    expected = theirs_of(model, case, padded, attention_mask=mask.long())
    found = ours_of(load(tmp_path), padded, Packed((~mask).long()))
    assert (found - expected)[mask].abs().max() <= TOLERANCE
    unmasked = ours_of(load(tmp_path), padded)
    assert (unmasked - expected)[1, :13].abs().max() > 0.1


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning")  # the compiler looks at all inputs
def test_a_compiled_block_that_is_run_again_finds_what_it_found() -> None:
    """Documents packed into a row, blocks compiled, and their states recomputed in the backward pass."""
    torch.manual_seed(0)
    model, ids = bert.Model(bert.TINY), IDS % 64
    model.initialize()
    documents = torch.repeat_interleave(torch.arange(4), 10).expand(2, 40)

    def gradients() -> tuple[Tensor, ...]:
        return torch.autograd.grad(model(ids, Packed(documents)).logsumexp(-1).sum(), list(model.parameters()))

    expected = gradients()
    torch._dynamo.reset()
    for block in model.blocks:
        compiled = torch.compile(block.forward, fullgraph=True, backend="aot_eager")
        block.forward = partial(checkpoint, compiled, use_reentrant=False)
    assert all(torch.allclose(one, other, atol=1e-5) for one, other in zip(gradients(), expected, strict=True))


# --- folders as they were written at other times ---


def change(folder: Path, values: dict[str, Any] | None = None, *, without: tuple[str, ...] = ()) -> None:
    path = folder / huggingface.CONFIG
    old = {key: value for key, value in json.loads(path.read_text()).items() if key not in without}
    path.write_text(json.dumps({**old, **(values or {})}))


def rewrite(folder: Path, edit: Callable[[dict[str, Tensor]], dict[str, Tensor]]) -> None:
    path = folder / huggingface.WEIGHTS
    save_file({name: tensor.contiguous().clone() for name, tensor in edit(load_file(path)).items()}, path)


def old_norms(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {
        name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): tensor
        for name, tensor in tensors.items()
    }


P, W = "bert.embeddings.position_ids", "bert.embeddings.word_embeddings.weight"
B, D = "cls.predictions.bias", "cls.predictions.decoder.bias"
OLD: dict[str, tuple[str, Callable[[dict[str, Tensor]], dict[str, Tensor]]]] = {
    "gamma and beta": ("BERT", old_norms),
    "a buffer of positions": ("BERT", lambda t: {**t, P: torch.arange(50)[None]}),
    "the tied decoder written out": ("BERT", lambda t: {**t, "cls.predictions.decoder.weight": t[W], D: t[B]}),
    "only the decoder's bias": ("BERT", lambda t: {**{name: x for name, x in t.items() if name != B}, D: t[B]}),
    "a pooler beside the head": ("BERT", lambda t: {**t, "bert.pooler.dense.weight": torch.ones(48, 48)}),
    "the second task": ("BERT", lambda t: {**t, "cls.seq_relationship.weight": torch.ones(2, 48)}),
    "no prefix": ("BERT", lambda t: {name.removeprefix("bert."): x for name, x in t.items()}),
    "a prefix before an encoder": ("BERT, the encoder", lambda t: {f"bert.{name}": x for name, x in t.items()}),
    "a buffer of RoBERTa's": ("RoBERTa", lambda t: {**t, "roberta.embeddings.token_type_ids": torch.zeros(1, 50).long()}),
    "RoBERTa's decoder written out": (
        "RoBERTa",
        lambda t: {**t, "lm_head.decoder.weight": torch.ones(1), "lm_head.decoder.bias": t["lm_head.bias"]},
    ),
}


@pytest.mark.parametrize("name", OLD)
def test_older_folders_are_read(name: str, tmp_path: Path) -> None:
    kind, edit = OLD[name]
    model = theirs(CASES[kind])
    model.save_pretrained(tmp_path)
    rewrite(tmp_path, edit)
    close(ours_of(load(tmp_path)), theirs_of(model, CASES[kind]))


@pytest.mark.parametrize("name", ["BERT", "BERT, the encoder", "BERT, no pooler", "RoBERTa", "RoBERTa, the encoder"])
def test_without_architectures_the_weights_tell(name: str, tmp_path: Path) -> None:
    model = theirs(CASES[name])
    model.save_pretrained(tmp_path)
    expected = load(tmp_path).config
    change(tmp_path, without=("architectures",))
    assert load(tmp_path).config == expected
    close(ours_of(load(tmp_path)), theirs_of(model, CASES[name]))


@pytest.mark.parametrize("kind", bert.HF_MODEL_TYPES)
def test_what_a_config_leaves_out_means_the_same(kind: str) -> None:
    import transformers

    required = {"hidden_size": 48, "intermediate_size": 80, "num_hidden_layers": 2, "num_attention_heads": 6, "vocab_size": 300}
    full = {**transformers.AutoConfig.for_model(kind, **required).to_dict(), "architectures": None}
    assert bert.config_from_hf({"model_type": kind, **required}) == bert.config_from_hf(full)
    for name in full.keys() - required.keys() - {"model_type"}:
        assert bert.config_from_hf({key: value for key, value in full.items() if key != name}) == bert.config_from_hf(full)


# --- what this family cannot do, it says ---


def test_an_encoder_without_a_head_predicts_nothing() -> None:
    model = bert.Model(replace(bert.TINY, mlm_head=False))
    assert model.hidden(IDS % 64, Dense(IDS)).shape == (2, 40, 32)
    with pytest.raises(UsageError, match="no head that predicts"):
        model(IDS % 64, Dense(IDS))
    with pytest.raises(UsageError, match="no pooler"):
        model.pool(torch.zeros(1, 2, 32))


def test_more_tokens_than_positions_are_refused() -> None:
    for config in (bert.TINY, replace(bert.TINY, position_offset=2)):
        model = bert.Model(config)
        ids = torch.zeros(1, 64).long()
        model.hidden(ids, Dense(ids))
        ids = torch.zeros(1, 65).long()
        with pytest.raises(UsageError, match="64 positions; the text has 65 tokens"):
            model.hidden(ids, Dense(ids))


IMPOSSIBLE: dict[str, tuple[dict[str, Any], str]] = {
    "no width": ({"width": 0}, "width must be positive"),
    "no layers": ({"layers": 0}, "layers must be positive"),
    "heads that do not share": ({"heads": 5}, "cannot be shared by 5 heads"),
    "no epsilon": ({"norm_epsilon": 0.0}, "norm_epsilon must be positive"),
    "an infinite epsilon": ({"norm_epsilon": float("inf")}, "norm_epsilon must be positive"),
    "another activation": ({"activation": "silu"}, "activation must be one of gelu, gelu_new, relu"),
    "an offset below 0": ({"position_offset": -1}, "position_offset must not be negative"),
    "no types": ({"token_types": 0}, "token_types must be positive"),
}


@pytest.mark.parametrize(("values", "match"), IMPOSSIBLE.values(), ids=IMPOSSIBLE.keys())
def test_an_impossible_shape_is_refused(values: dict[str, Any], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        replace(bert.TINY, **values)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    found = {name: tmp_path_factory.mktemp("folders") / "model" for name in ("BERT", "RoBERTa")}
    for name, path in found.items():
        theirs(CASES[name]).save_pretrained(path)
    return found


def copy_of(folder: Path, place: Path) -> Path:
    place.mkdir()
    for name in (huggingface.CONFIG, huggingface.WEIGHTS):
        (place / name).write_bytes((folder / name).read_bytes())
    return place


def refused(folder: Path, match: str) -> None:
    with pytest.raises(BadFileError, match=match) as caught:
        huggingface.load_folder(folder)
    assert caught.value.exit_code == 3
    assert "\n" not in caught.value.message


LIES: dict[str, tuple[dict[str, Any], str]] = {
    "a width in words": ({"hidden_size": "wide"}, "hidden_size must be a whole number"),
    "half a layer": ({"num_hidden_layers": 2.5}, "num_hidden_layers must be a whole number"),
    "a layer too many": ({"num_hidden_layers": 4}, r"lacks the tensor encoder\.layer\.3"),
    "a layer too few": ({"num_hidden_layers": 2}, "does not know"),
    "a billion layers": ({"num_hidden_layers": 10**9}, "1,000,000,000 layers"),
    "a width beyond all memory": ({"hidden_size": 6 * 2**40}, "shape|built"),
    "more positions": ({"max_position_embeddings": 51}, "position_embeddings.weight with shape"),
    "no positions": ({"max_position_embeddings": 0}, "max_position_embeddings"),
    "no heads": ({"num_attention_heads": 0}, "heads must be positive"),
    "an epsilon in words": ({"layer_norm_eps": "small"}, "norm_epsilon"),
    "another activation": ({"hidden_act": "silu"}, "the hidden_act 'silu' is not"),
    "an activation that is a list": ({"hidden_act": ["gelu"]}, "the hidden_act .* is not"),
    "other positions": ({"position_embedding_type": "relative_key"}, "the position_embedding_type 'relative_key'"),
    "a decoder": ({"is_decoder": True}, "is_decoder is not supported"),
    "a second text": ({"add_cross_attention": True}, "add_cross_attention is not supported"),
    "tied in words": ({"tie_word_embeddings": "perhaps"}, "tied"),
    "architectures that are none": ({"architectures": 3}, "architectures must be a list"),
}


@pytest.mark.parametrize(("values", "match"), LIES.values(), ids=LIES.keys())
@pytest.mark.timeout(10)
def test_a_config_that_lies_is_refused(folders: dict[str, Path], values: dict[str, Any], match: str, tmp_path: Path) -> None:
    folder = copy_of(folders["BERT"], tmp_path / "model")
    change(folder, values)
    refused(folder, match)


def test_a_padding_id_that_is_none_is_refused_where_positions_follow_it(folders: dict[str, Path], tmp_path: Path) -> None:
    folder = copy_of(folders["RoBERTa"], tmp_path / "model")
    change(folder, {"pad_token_id": None})
    refused(folder, "pad_token_id must be a whole number")
    change(folder, {"pad_token_id": 50})
    refused(folder, "max_position_embeddings 50 must be above 51")
    change(folder, {"pad_token_id": -2})
    refused(folder, "position_offset must not be negative")
    folder = copy_of(folders["BERT"], tmp_path / "bert")
    change(folder, {"pad_token_id": None})  # BERT's positions begin at 0 whatever it pads with
    load(folder)


@pytest.mark.parametrize("name", ["vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size"])
def test_a_config_that_lacks_something_is_refused(folders: dict[str, Path], name: str, tmp_path: Path) -> None:
    folder = copy_of(folders["RoBERTa"], tmp_path / "model")
    change(folder, without=(name,))
    refused(folder, f"lacks '{name}'")


def lacking(*gone: str) -> Callable[[dict[str, Tensor]], dict[str, Tensor]]:
    return lambda t: {name: x for name, x in t.items() if not name.endswith(gone)}


Q = "encoder.layer.0.attention.self.query.weight"
EDITS: dict[str, tuple[Callable[[dict[str, Tensor]], dict[str, Tensor]], str]] = {
    "a missing tensor": (lacking(Q), f"lacks the tensor {Q}"),
    "no head": (lambda t: {name: x for name, x in t.items() if not name.startswith("cls.")}, r"lacks the tensor cls\.predictions"),
    "no bias of the head": (lacking(B), f"lacks the tensor {B}"),
    "another shape": (lambda t: {**t, f"bert.{Q}": t[f"bert.{Q}"][:-1]}, f"{Q} with shape"),
    "a classifier": (lambda t: {**t, "classifier.weight": torch.ones(2, 48)}, "does not know, such as classifier.weight"),
}


@pytest.mark.parametrize(("edit", "match"), EDITS.values(), ids=EDITS.keys())
def test_weights_that_do_not_fit_are_refused(
    folders: dict[str, Path], edit: Callable[[dict[str, Tensor]], dict[str, Tensor]], match: str, tmp_path: Path
) -> None:
    folder = copy_of(folders["BERT"], tmp_path / "model")
    rewrite(folder, edit)
    refused(folder, match)


@pytest.mark.parametrize("changes", [{"pooler": True}, {"pooler": True, "position_offset": 2}], ids=["BERT", "RoBERTa"])
def test_a_shape_of_nobody_elses_survives(changes: dict[str, Any], tmp_path: Path) -> None:
    """A head and a pooler."""
    model = bert.Model(replace(bert.TINY, **changes))
    huggingface.save_folder(tmp_path / "model", model, TOKENIZER)
    assert json.loads((tmp_path / "model" / "config.json").read_text())["model_type"] == "llamarium-bert"
    again = load(tmp_path / "model")
    assert again.config == model.config
    assert all(torch.equal(one, other) for one, other in zip(model.parameters(), again.parameters(), strict=True))


# --- the controls: one detail is turned, and the result must be seen to differ ---

CONTROLS: dict[str, tuple[str, dict[str, Any]]] = {
    "GPT's GELU": ("BERT", {"activation": "gelu_new"}),
    "the exact GELU": ("BERT with GPT's GELU", {"activation": "gelu"}),
    "another epsilon": ("BERT", {"norm_epsilon": 1e-2}),
    "positions from the first row on": ("RoBERTa", {"position_offset": 0, "context_length": 50}),
    "positions from another row on": ("RoBERTa, another padding id", {"position_offset": 3, "context_length": 47}),
    "ReLU in RoBERTa's head": ("RoBERTa with ReLU", {}),
    "a tied decoder": ("BERT, untied", {"tied": True}),
    "causal": ("BERT", {}),
    "no token type": ("BERT", {}),
}


@pytest.mark.parametrize("control", CONTROLS)
def test_control_one_wrong_detail_is_seen(control: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name, changes = CONTROLS[control]
    model = theirs(CASES[name])
    model.save_pretrained(tmp_path)
    ours, expected = load(tmp_path), theirs_of(model, CASES[name])
    close(ours_of(ours), expected)
    wrong = bert.Model(replace(ours.config, **changes)).eval()
    wrong.load_state_dict({name: tensor for name, tensor in ours.state_dict().items() if name in wrong.state_dict()})
    context = Dense(IDS)
    if control == "causal":
        attend = context.attend
        monkeypatch.setattr(context, "attend", lambda *inputs, **options: attend(*inputs, **{**options, "causal": True}))
    elif control == "no token type":
        wrong.embed_types.weight.data.zero_()
    elif control == "ReLU in RoBERTa's head":
        assert wrong.head is not None
        wrong.head.activation = torch.relu
    with pytest.raises(AssertionError):
        close(ours_of(wrong, IDS, context), expected)


def test_control_the_folders_are_good(folders: dict[str, Path]) -> None:
    for folder in folders.values():
        load(folder)
