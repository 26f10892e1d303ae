"""A folder that is no whole model is refused in one sentence that names what is wrong. Each family is held to this in each of its forms."""

from __future__ import annotations

import json
import math
import re
import shutil
from collections.abc import Callable
from dataclasses import MISSING, asdict, dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save, save_file
from torch import Tensor

from llamarium.checkpoint import huggingface
from llamarium.checkpoint.huggingface import CONFIG, OWN, WEIGHTS
from llamarium.checkpoint.open import open_model
from llamarium.cli.main import run
from llamarium.ground.errors import LlamariumError
from llamarium.models import families, family, ngram
from llamarium.models.model import Fitted, Model, Network
from llamarium.tokens.train import bytes_tokenizer

TOKENIZER = bytes_tokenizer()
# Keys of a config.json that say nothing of the model's shape: what they hold is not looked at, or by the tokenizer's side.
BESIDE = re.compile(
    "(bos|eos|pad)_token_id|torch_dtype|is_encoder_decoder|architectures|.*(drop|dropout|dropout_(rate|prob))|n_ctx|reorder_.*"
)


@dataclass(frozen=True)
class Good:
    """A folder that opens, to break a copy of; `own` says whether in the form that only we read."""

    family: str
    own: bool
    folder: Path

    @property
    def config(self) -> dict[str, Any]:
        """What ``config.json`` holds."""
        values: dict[str, Any] = json.loads((self.folder / CONFIG).read_text())
        return values

    @property
    def described(self) -> dict[str, Any]:
        """The fields that describe the model."""
        values: dict[str, Any] = self.config["config"] if self.own else self.config
        return {key: value for key, value in values.items() if key != "model_type" and not BESIDE.fullmatch(key)}

    def describing(self, **changes: Any) -> dict[str, Any]:
        """The ``config.json`` with other fields; None takes one away."""
        values = {**(self.config["config"] if self.own else self.config), **changes}
        values = {key: value for key, value in values.items() if key not in changes or value is not None}
        return {**self.config, "config": values} if self.own else values

    @cached_property
    def tensors(self) -> dict[str, Tensor]:
        """The weights, by the names they have in the file."""
        return load_file(self.folder / WEIGHTS)


def model_of(name: str) -> Model:
    module = family(name)
    torch.manual_seed(0)
    model: Model = module.Model(module.TINY)
    if isinstance(model, Network):
        model.initialize()
    else:
        assert isinstance(model, Fitted)
        model.fit([torch.randint(0, module.TINY.vocab_size, (200,)).tolist()])
    return model


def forms(name: str) -> list[bool]:
    """True for our own form, which every family has; False for Hugging Face's."""
    module = family(name)
    return [True] + [False] * (hasattr(module, "config_to_hf") and module.config_to_hf(module.TINY) is not None)


CASES = [(name, own) for name in families() for own in forms(name)]


@pytest.fixture(scope="module", params=CASES, ids=[f"{name}-{'own' if own else 'hugging face'}" for name, own in CASES])
def good(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Good:
    name, own = request.param
    model, folder = model_of(name), tmp_path_factory.mktemp(name) / "model"
    huggingface.save_folder(folder, model, TOKENIZER)
    if own:
        (folder / CONFIG).write_text(json.dumps({"model_type": OWN + name, "config": asdict(model.config)}))
        save_file({key: tensor.clone() for key, tensor in model.state_dict().items()}, folder / WEIGHTS)
    assert open_model(folder).model.config == model.config
    return Good(name, own, folder)


@pytest.fixture
def broken(good: Good, tmp_path: Path) -> Callable[..., Path]:
    """A copy of the good folder, now with another config or other tensors."""
    folder = tmp_path / "model"
    shutil.copytree(good.folder, folder)
    config_bytes, weight_bytes = (folder / CONFIG).read_bytes(), (folder / WEIGHTS).read_bytes()

    def make(config: Any = MISSING, tensors: dict[str, Tensor] | None = None) -> Path:
        (folder / CONFIG).write_bytes(config_bytes if config is MISSING else json.dumps(config).encode())
        (folder / WEIGHTS).write_bytes(weight_bytes if tensors is None else save(tensors))
        return folder

    return make


def refusal(folder: Path) -> str | None:
    """The sentence with which a folder is refused; None if it opens."""
    try:
        open_model(folder)
    except LlamariumError as error:
        well_said = error.exit_code == 3 and error.hint and "\n" not in error.message and error.message.endswith(".")
        return error.message.replace(str(folder), "") if well_said else f"not as errors are: {error!r}"
    return None


def names(sentence: str | None, *things: str) -> bool:
    """Whether the sentence has one of `things`, perhaps in words: ``head_width``, head width."""
    said = (sentence or "").replace("_", " ")
    return any(re.search(rf"(?<!\w){re.escape(thing.replace('_', ' '))}(?!\w)", said) for thing in things)


def place_of(tensor: str) -> str:
    """The part of a tensor's name that relatives share: ``bert.encoder.layer.0.output.dense.bias`` is of ``output.dense``."""
    return ".".join(re.sub(r"\.(weight|bias)$", "", tensor).split(".")[-2:])


def speaks_of(sentence: str | None, key: str, good: Good) -> bool:
    """Whether a sentence about the field `key` names it, or the tensor that does not fit it."""
    return names(sentence, key, *(place_of(tensor) for tensor in good.tensors)) or re.search(r"tensors? |shape", sentence or "") is not None


# --- the configuration ---


@pytest.mark.parametrize("kind", ["whale", OWN + "whale", 7, None])
def test_a_model_type_that_does_not_exist(kind: Any, good: Good, broken: Callable[..., Path]) -> None:
    sentence = refusal(broken({**good.config, "model_type": kind}))
    assert names(sentence, repr(kind) if isinstance(kind, str) else "model_type")
    assert (f"{OWN}llama" in str(sentence)) == (kind == OWN + "whale"), "those of the same sort are named"


def test_no_fields(good: Good, broken: Callable[..., Path]) -> None:
    configs: list[Any] = [{"model_type": good.config["model_type"]}, [], 3, None]
    for config in configs:
        assert refusal(broken(config)) is not None
    if good.own:
        for nothing in ([1], None, "x", 7):
            assert names(refusal(broken({**good.config, "config": nothing})), "config must hold the fields")
    else:
        assert names(refusal(broken({"model_type": good.config["model_type"]})), *good.described)


def test_a_missing_field(good: Good, broken: Callable[..., Path]) -> None:
    """It is named if there is nothing to take in its place; what is taken there either fits the tensors or not."""
    needed = [field.name for field in fields(family(good.family).Config) if field.default is MISSING] if good.own else []
    for key in good.described:
        sentence = refusal(broken(good.describing(**{key: None})))
        if key in needed:
            assert names(sentence, key), (key, sentence)
        assert sentence is None or speaks_of(sentence, key, good), (key, sentence)


def test_a_field_of_another_type(good: Good, broken: Callable[..., Path]) -> None:
    for key in good.described:
        others: list[Any] = ["perhaps", {"perhaps": []}]
        for wrong in others:
            sentence = refusal(broken(good.describing(**{key: wrong})))
            # A relative's own values of true and false are read as Python reads them: 4, [] and "perhaps" are something or nothing.
            if sentence is not None or good.own or not isinstance(good.described[key], bool):
                assert speaks_of(sentence, key, good), (key, wrong, sentence)


def test_a_number_that_cannot_be(good: Good, broken: Callable[..., Path]) -> None:
    refused = set()
    for key, value in good.described.items():
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            for wrong in (0, -1, 10**12, 10**30, math.inf):
                if (sentence := refusal(broken(good.describing(**{key: wrong})))) is not None:
                    refused.add(key)
                    large = "1000000000" in sentence.replace(",", "")  # also summed: "1,000,000,000,002 layers"
                    assert large or speaks_of(sentence, key, good), (key, wrong, sentence)
    assert "vocab_size" in refused


def test_a_field_that_there_is_not(good: Good, broken: Callable[..., Path]) -> None:
    if good.own:  # Hugging Face's files say much that is for others
        assert names(refusal(broken(good.describing(colour="red"))), "'colour'")


# --- the weights ---


def one_of_each(good: Good) -> dict[str, Tensor]:
    """The tensors outside of blocks and those of the last one."""
    last = {re.sub(r"\d+", "", key): key for key in good.tensors}
    return {key: good.tensors[key] for key in last.values()}


def test_a_missing_tensor(good: Good, broken: Callable[..., Path]) -> None:
    for key in one_of_each(good):
        sentence = refusal(broken(tensors={name: tensor for name, tensor in good.tensors.items() if name != key}))
        assert names(sentence, place_of(key)), (key, sentence)


def test_a_tensor_too_many(good: Good, broken: Callable[..., Path]) -> None:
    assert names(refusal(broken(tensors={**good.tensors, "surplus.weight": torch.ones(2)})), "surplus.weight")


def test_a_tensor_of_another_shape(good: Good, broken: Callable[..., Path]) -> None:
    for key, tensor in one_of_each(good).items():
        for wrong in (torch.cat([tensor, tensor[:1]]), tensor.new_zeros(())) if tensor.ndim else (tensor.new_zeros(2),):
            sentence = refusal(broken(tensors={**good.tensors, key: wrong}))
            assert names(sentence, place_of(key)), (key, tuple(wrong.shape), sentence)


def test_counts_of_another_type(good: Good, broken: Callable[..., Path]) -> None:
    """Weights may have any type; what was counted has one."""
    if issubclass(family(good.family).Model, Fitted):
        for key, tensor in good.tensors.items():
            sentence = refusal(broken(tensors={**good.tensors, key: tensor.to(torch.float16)}))
            assert names(sentence, place_of(key)), (key, sentence)


# --- the same by the command line ---


def test_the_command_line_says_it(good: Good, broken: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    tensor = next(iter(good.tensors))
    cases: list[tuple[dict[str, Any], str]] = [
        ({"config": {**good.config, "model_type": "whale"}}, "'whale'"),
        ({"config": good.describing(vocab_size="many")}, "vocab_size"),
        ({"tensors": {key: value for key, value in good.tensors.items() if key != tensor}}, place_of(tensor)),
        ({"tensors": {**good.tensors, "surplus.weight": torch.ones(2)}}, "surplus.weight"),
    ]
    for changes, said in cases:
        assert run(["generate", str(broken(**changes)), "Once"]) == 3
        out, err = capsys.readouterr()
        lines = err.splitlines()
        assert out == ""
        assert [line.partition(":")[0] for line in lines] == ["error", "hint"]
        assert said in lines[0]


# --- the control: what is not looked at is seen ---


def test_control_counts_that_are_not_held_to_their_shape_are_seen(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(ngram, "_fault", lambda *_: "")
    model = model_of("ngram")
    huggingface.save_folder(tmp_path / "model", model, TOKENIZER)
    tensors = load_file(tmp_path / "model" / WEIGHTS)
    tensors["grams_2"] = torch.cat([tensors["grams_2"], tensors["grams_2"][:1]])
    save_file(tensors, tmp_path / "model" / WEIGHTS)
    with pytest.raises((AssertionError, RuntimeError, IndexError)):
        assert names(refusal(tmp_path / "model"), "grams_2")
