from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from llamarium.adapt import lora
from llamarium.checkpoint import huggingface, peft
from llamarium.ground.errors import BadFileError, NotFoundError
from llamarium.ground.files import verify_manifest
from llamarium.models import llama, t5
from llamarium.models.context import Dense
from llamarium.tokens.train import bytes_tokenizer

IDS = torch.arange(12)[None]
CHOICES = [["q_proj", "v_proj"], ["*_proj"], ["blocks.1.*"], ["down_proj", "blocks.0.attention.o_proj"]]


def model(*, tied: bool = False) -> llama.Model:
    torch.manual_seed(0)
    made = llama.Model(llama.Config(vocab_size=40, width=32, layers=2, heads=2, kv_heads=1, context_length=64, tied=tied))
    made.initialize()
    return made


def logits(of: nn.Module) -> Tensor:
    with torch.inference_mode():
        found: Tensor = of(IDS, Dense(IDS))
    return found


def adapted(base: llama.Model, *, rank: int = 3, alpha: float = 6.0, targets: list[str] = CHOICES[0]) -> llama.Model:
    """A copy of `base` with LoRA layers that have learnt something."""
    thin = copy.deepcopy(base)
    lora.add(thin, rank=rank, alpha=alpha, targets=targets)
    for parameter in thin.parameters():
        if parameter.requires_grad:
            nn.init.normal_(parameter, std=0.2)
    return thin


def weight(of: llama.Model, name: str) -> Tensor:
    return of.get_parameter(f"blocks.1.attention.{name}.weight").detach()


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An adapter on the query and value projections."""
    peft.save_adapter(tmp_path / "adapter", adapted(model()), base="base", rank=3, alpha=6.0)
    return tmp_path / "adapter"


@pytest.mark.parametrize("targets", CHOICES, ids=" ".join)
def test_what_was_written_is_what_is_applied(tmp_path: Path, targets: list[str]) -> None:
    base = model()
    thin = adapted(base, targets=targets)
    peft.save_adapter(tmp_path / "adapter", thin, base="base", rank=3, alpha=6.0)
    verify_manifest(tmp_path / "adapter")
    before = logits(base)
    peft.apply(tmp_path / "adapter", peft.read_settings(tmp_path / "adapter"), base)
    torch.testing.assert_close(logits(base), logits(thin), rtol=1e-5, atol=1e-6)
    assert (logits(base) - before).abs().max() > 0.01, "it changes something"
    assert not any(isinstance(module, lora.LoRALinear) for module in base.modules()), "it is folded in"


# --- the package itself ---

# It asks transformers by a name that goes away; that is between the two of them.
OLD_NAME = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
# It then writes the head and the embedding of the base beside the adapter, too, and says so.
SAYS_MORE = pytest.mark.filterwarnings("ignore:Setting `save_embedding_layers` to `True`:UserWarning")


@pytest.fixture(scope="module")
def base_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base as a Hugging Face folder."""
    path = tmp_path_factory.mktemp("base") / "model"
    huggingface.save_folder(path, fitting(), TOKENIZER)
    return path


TOKENIZER = bytes_tokenizer()


def fitting() -> llama.Model:
    torch.manual_seed(0)
    made = llama.Model(llama.Config(vocab_size=TOKENIZER.vocab_size, width=32, layers=2, heads=2, kv_heads=1, tied=False))
    made.initialize()
    return made


def theirs(base_folder: Path) -> Any:
    from transformers import AutoModelForCausalLM

    made: Any = AutoModelForCausalLM.from_pretrained(base_folder)
    return made.eval()


@OLD_NAME
@pytest.mark.parametrize("targets", [*CHOICES, ["*"], ["head"]], ids=" ".join)
def test_the_package_loads_what_is_saved_here(tmp_path: Path, base_folder: Path, targets: list[str]) -> None:
    from peft import PeftModel

    thin = adapted(fitting(), targets=targets).eval()
    peft.save_adapter(tmp_path / "adapter", thin, base=str(base_folder), rank=3, alpha=6.0, dropout=0.25)
    loaded: Any = PeftModel.from_pretrained(theirs(base_folder), str(tmp_path / "adapter"))
    with torch.inference_mode():
        found = loaded(IDS).logits
    torch.testing.assert_close(found, logits(thin), rtol=0, atol=1e-5)
    assert (found - logits(fitting())).abs().max() > 0.01, "it changes something"
    assert loaded.peft_config["default"].lora_dropout == 0.25


@OLD_NAME
@SAYS_MORE
@pytest.mark.parametrize("targets", [["q_proj", "v_proj"], "all-linear", ["down_proj", "lm_head"]], ids=str)
def test_what_the_package_saves_is_loaded_here(tmp_path: Path, base_folder: Path, targets: Any) -> None:
    from peft import LoraConfig, get_peft_model

    settings = LoraConfig(task_type="CAUSAL_LM", r=3, lora_alpha=6, lora_dropout=0.25, target_modules=targets)
    made = get_peft_model(theirs(base_folder), settings)
    for name, parameter in made.named_parameters():
        if "lora_" in name:
            nn.init.normal_(parameter, std=0.2)
    made.eval().save_pretrained(str(tmp_path / "adapter"))
    with torch.inference_mode():
        expected = made(IDS).logits
    read = peft.read_settings(tmp_path / "adapter")
    assert (read.base, read.rank, read.alpha, read.dropout) == (str(base_folder), 3, 6.0, 0.25)
    beside, folded = fitting().eval(), fitting().eval()
    peft.apply(tmp_path / "adapter", read, beside, fuse=False)
    peft.apply(tmp_path / "adapter", read, folded)
    torch.testing.assert_close(logits(beside), expected, rtol=0, atol=1e-5)
    torch.testing.assert_close(logits(folded), expected, rtol=0, atol=1e-4)
    assert (expected - logits(fitting())).abs().max() > 0.01, "it changes something"


def test_the_folder_is_what_peft_reads(folder: Path) -> None:
    """Names, shapes and keys as `peft` 0.21 writes and reads them."""
    assert sorted(path.name for path in folder.iterdir()) == ["adapter_config.json", "adapter_model.safetensors", "manifest.json"]
    values = json.loads((folder / peft.CONFIG).read_text())
    assert values["peft_type"] == "LORA"
    assert values["task_type"] == "CAUSAL_LM"
    assert (values["r"], values["lora_alpha"], values["base_model_name_or_path"]) == (3, 6.0, "base")
    assert values["target_modules"] == ["q_proj", "v_proj"]
    tensors = load_file(folder / peft.WEIGHTS)
    layers = [f"base_model.model.model.layers.{number}.self_attn.{name}" for number in (0, 1) for name in ("q_proj", "v_proj")]
    assert sorted(tensors) == [f"{layer}.lora_{part}.weight" for layer in layers for part in "AB"]
    assert tensors[f"{layers[0]}.lora_A.weight"].shape == (3, 32)
    assert tensors[f"{layers[1]}.lora_B.weight"].shape == (16, 3)


def test_a_model_that_reads_and_writes_says_so(tmp_path: Path) -> None:
    reader = t5.Model(t5.TINY)
    lora.add(reader, rank=3, alpha=6.0, targets=["q_proj"], dropout=0.0)
    peft.save_adapter(tmp_path / "adapter", reader, base="base", rank=3, alpha=6.0)
    assert json.loads((tmp_path / "adapter" / peft.CONFIG).read_text())["task_type"] == "SEQ_2_SEQ_LM"


@pytest.mark.parametrize(
    ("targets", "named"),
    [
        (["*_proj"], ["down_proj", "gate_proj", "k_proj", "o_proj", "q_proj", "up_proj", "v_proj"]),
        (["blocks.1.attention.q_proj"], ["model.layers.1.self_attn.q_proj"]),
        (["head"], ["lm_head"]),
    ],
)
def test_patterns_become_names_that_peft_knows(tmp_path: Path, targets: list[str], named: list[str]) -> None:
    """It takes the end of a name or a whole one, and no pattern; an end must not mean a layer that has no adapter."""
    peft.save_adapter(tmp_path / "adapter", adapted(model(), targets=targets), base="base", rank=3, alpha=6.0)
    assert json.loads((tmp_path / "adapter" / peft.CONFIG).read_text())["target_modules"] == named


def test_applied_it_is_base_plus_scale_times_b_a(folder: Path) -> None:
    base = model()
    before = weight(base, "v_proj").clone()
    peft.apply(folder, peft.read_settings(folder), base)
    tensors = load_file(folder / peft.WEIGHTS)
    name = "base_model.model.model.layers.1.self_attn.v_proj.lora_{}.weight"
    expected = before + 6.0 / 3 * tensors[name.format("B")] @ tensors[name.format("A")]
    torch.testing.assert_close(weight(base, "v_proj"), expected)
    assert torch.equal(weight(base, "k_proj"), weight(model(), "k_proj"))


def test_without_folding_the_layers_stay_to_be_trained_on(tmp_path: Path) -> None:
    thin = adapted(model(), targets=["*"])
    peft.save_adapter(tmp_path / "adapter", thin, base="base", rank=3, alpha=6.0, dropout=0.5)
    again = model()
    peft.apply(tmp_path / "adapter", peft.read_settings(tmp_path / "adapter"), again, fuse=False)
    assert same(again.state_dict(), thin.state_dict())
    assert {name for name, parameter in again.named_parameters() if parameter.requires_grad} == lora.tensors(thin).keys()
    assert {layer.dropout for layer in lora.layers(again).values()} == {0.5}
    assert torch.equal(logits(again.eval()), logits(thin))


def test_a_head_repeated_in_the_adapter_must_be_that_of_the_base(tmp_path: Path) -> None:
    thin = adapted(model(), targets=["head"])
    peft.save_adapter(tmp_path / "adapter", thin, base="base", rank=3, alpha=6.0)
    name = "base_model.model.lm_head.base_layer.weight"
    head = dict(thin.named_parameters())["head.base.weight"].detach()
    edit(tmp_path / "adapter", lambda tensors: tensors.update({name: head.clone()}))
    base = model()
    peft.apply(tmp_path / "adapter", peft.read_settings(tmp_path / "adapter"), base)
    torch.testing.assert_close(logits(base), logits(thin), rtol=1e-5, atol=1e-6)
    edit(tmp_path / "adapter", lambda tensors: tensors[name].neg_())
    with pytest.raises(BadFileError, match="base_layer"):
        peft.apply(tmp_path / "adapter", peft.read_settings(tmp_path / "adapter"), model())


def test_a_base_that_could_be_trained_still_can_when_an_adapter_is_folded_in(folder: Path) -> None:
    base = model()
    base.embed.requires_grad_(False)
    peft.apply(folder, peft.read_settings(folder), base)
    assert [name for name, parameter in base.named_parameters() if not parameter.requires_grad] == ["embed.weight"]


def test_whole_matrices_may_come_from_elsewhere(tmp_path: Path) -> None:
    """As when each process holds a shard of the model: its shape and names come from the model, the numbers from outside."""
    thin = adapted(model())
    whole = {name: parameter.detach().clone() for name, parameter in lora.tensors(thin).items()}
    for parameter in lora.tensors(thin).values():
        parameter.data.zero_()
    peft.save_adapter(tmp_path / "adapter", thin, base="base", rank=3, alpha=6.0, weights=whole)
    again = model()
    peft.apply(tmp_path / "adapter", peft.read_settings(tmp_path / "adapter"), again, fuse=False)
    assert same(dict(lora.tensors(again)), whole)


def test_a_sharded_model_is_written_from_its_whole_matrices(tmp_path: Path) -> None:
    """FSDP2 gives a model another class, and its parameters are DTensors."""
    from torch.distributed.fsdp import fully_shard

    thin = adapted(model(), targets=["*"])
    expected = logits(thin)
    torch.distributed.init_process_group("gloo", init_method=(tmp_path / "meeting").as_uri(), rank=0, world_size=1)
    try:
        for block in thin.blocks:
            fully_shard(block)
        fully_shard(thin)
        whole = {name: parameter.full_tensor() for name, parameter in lora.tensors(thin).items() if isinstance(parameter, DTensor)}
        peft.save_adapter(tmp_path / "adapter", thin, base="base", rank=3, alpha=6.0, weights=whole)
        assert torch.equal(thin(IDS, Dense(IDS)).detach(), expected)
    finally:
        torch.distributed.destroy_process_group()
    again = model()
    peft.apply(tmp_path / "adapter", peft.read_settings(tmp_path / "adapter"), again, fuse=False)
    assert torch.equal(logits(again), expected)


def change(folder: Path, **values: Any) -> None:
    known = json.loads((folder / peft.CONFIG).read_text())
    (folder / peft.CONFIG).write_text(json.dumps({key: value for key, value in (known | values).items() if value != "absent"}))


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"peft_type": "IA3"}, "not a LoRA adapter"),
        ({"use_dora": True}, "use_dora"),
        ({"use_rslora": True}, "use_rslora"),
        ({"alora_invocation_tokens": [1, 2]}, "alora_invocation_tokens"),
        ({"rank_pattern": {"q_proj": 4}}, "rank_pattern"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save"),
        ({"init_lora_weights": "pissa_niter_16"}, "pissa"),
        ({"kasa_config": {"beta": 1}}, "kasa_config"),
        ({"fan_in_fan_out": True}, "fan_in_fan_out"),
        ({"lora_dropout": 1.0}, "drops"),
        ({"lora_dropout": -0.5}, "drops"),
        ({"lora_dropout": float("nan")}, "drops"),
        ({"lora_dropout": "some"}, "some"),
        ({"r": "absent"}, "'r'"),
        ({"r": "many"}, "many"),
        ({"r": 0}, "rank"),
        ({"r": -3}, "rank"),
        ({"r": float("inf")}, "infinity"),
        ({"lora_alpha": float("nan")}, "alpha"),
        ({"lora_alpha": 10**400}, "too large"),
        ({"lora_alpha": None}, "NoneType"),
        ({"target_modules": ".*q_proj"}, "list"),
        ({"target_modules": None}, "list"),
        ({"target_modules": []}, "list"),
        ({"base_model_name_or_path": "absent"}, "base_model_name_or_path"),
    ],
)
def test_settings_that_cannot_be_applied_exactly_are_refused(folder: Path, values: dict[str, Any], reason: str) -> None:
    change(folder, **values)
    with pytest.raises(BadFileError, match=reason) as caught:
        peft.read_settings(folder)
    assert str(folder / peft.CONFIG) in caught.value.message


@pytest.mark.parametrize("content", ["", "[]", "{", "3", '"LORA"'])
def test_a_config_that_is_no_object_is_refused(folder: Path, content: str) -> None:
    (folder / peft.CONFIG).write_text(content)
    with pytest.raises(BadFileError):
        peft.read_settings(folder)


def edit(folder: Path, edited: Callable[[dict[str, Tensor]], Any], **values: Any) -> None:
    tensors = load_file(folder / peft.WEIGHTS)
    edited(tensors)
    save_file(tensors, folder / peft.WEIGHTS)
    change(folder, **values)


KEY = "base_model.model.model.layers.1.self_attn.q_proj.lora_A.weight"


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda folder: edit(folder, lambda tensors: tensors.pop(KEY)), "q_proj"),
        (lambda folder: edit(folder, lambda tensors: tensors.update(more=torch.ones(2))), "more"),
        (lambda folder: edit(folder, lambda tensors: tensors.update({KEY: torch.ones(3, 31)})), r"\(3, 31\), not \(3, 32\)"),
        (lambda folder: edit(folder, lambda tensors: tensors.update({KEY: torch.ones(2, 32)})), r"\(2, 32\), not \(3, 32\)"),
        (lambda folder: edit(folder, dict.clear), "q_proj"),
        (lambda folder: change(folder, target_modules=["q_proj"]), "v_proj"),
        (lambda folder: change(folder, target_modules=["q_proj", "v_proj", "o_proj"]), "o_proj"),
        (lambda folder: change(folder, target_modules=["*_proj"]), "proj"),
        (lambda folder: edit(folder, dict.clear, target_modules=["nothing"]), "none"),
        (lambda folder: (folder / peft.WEIGHTS).write_bytes(b"x" * 7), "safetensors"),
    ],
)
def test_weights_that_do_not_fit_leave_the_base_as_it_was(folder: Path, damage: Callable[[Path], object], reason: str) -> None:
    damage(folder)
    base = model()
    with pytest.raises(BadFileError, match=reason):
        peft.apply(folder, peft.read_settings(folder), base)
    assert torch.equal(logits(base), logits(model()))
    assert not any(isinstance(module, lora.LoRALinear) for module in base.modules())


@pytest.mark.parametrize("rank", [10**6, 10**12, 10**30])
def test_a_rank_is_a_claim_and_no_memory_is_taken_for_it(folder: Path, monkeypatch: pytest.MonkeyPatch, rank: int) -> None:
    change(folder, r=rank)

    def never(*arguments: Any, **options: Any) -> Any:
        raise AssertionError("no layer is made before the tensors are known to fit")

    monkeypatch.setattr(lora, "add", never)
    with pytest.raises(BadFileError, match="shape"):
        peft.apply(folder, peft.read_settings(folder), model())


def test_missing_weights_are_not_found(folder: Path) -> None:
    (folder / peft.WEIGHTS).unlink()
    with pytest.raises(NotFoundError, match=r"adapter_model\.safetensors"):
        peft.apply(folder, peft.read_settings(folder), model())


def test_an_adapter_for_another_base_is_refused(folder: Path) -> None:
    torch.manual_seed(0)
    other = llama.Model(llama.Config(vocab_size=40, width=64, layers=2, heads=2, context_length=64))
    with pytest.raises(BadFileError, match="shape"):
        peft.apply(folder, peft.read_settings(folder), other)
