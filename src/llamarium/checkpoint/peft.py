"""LoRA adapters as `peft` folders: ``adapter_config.json`` and ``adapter_model.safetensors``.

Takes: a folder and its base model, or a model with LoRA layers.
Gives: the base with the adapter folded in or beside it, or the folder.
Does not know: how an adapter was learnt.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor, nn

from llamarium.adapt import lora
from llamarium.checkpoint.safetensors_file import read_safetensors
from llamarium.checkpoint.weights import foreign_name
from llamarium.ground import files
from llamarium.ground.errors import BadFileError
from llamarium.models import family, family_of
from llamarium.models.model import Model

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
PREFIX = "base_model.model."
# Kinds of adapters that mean something else by the same matrices, or that have others beside them.
UNSUPPORTED = (
    *("use_dora", "use_rslora", "use_qalora", "use_bdlora", "alora_invocation_tokens", "fan_in_fan_out", "lora_bias"),
    *("rank_pattern", "alpha_pattern", "modules_to_save", "layer_replication", "target_parameters", "trainable_token_indices"),
    *("kasa_config", "monteclora_config", "arrow_config"),
)
# Other ways to begin change the base, and what was learnt stands beside the changed one.
BEGINNINGS = (None, True, False, "gaussian", "eva")


@dataclass(frozen=True)
class Settings:
    """What ``adapter_config.json`` says."""

    base: str
    rank: int
    alpha: float
    targets: tuple[str, ...]
    dropout: float = 0.0


def read_settings(folder: Path) -> Settings:
    """Read ``adapter_config.json``; what this project cannot apply exactly is refused."""
    path = folder / CONFIG
    values = files.read_json(path)
    if not isinstance(values, dict) or values.get("peft_type") != "LORA":
        raise BadFileError(path, "is not a LoRA adapter.")
    for key in UNSUPPORTED:
        if values.get(key):
            raise BadFileError(path, f"uses {key}, which is not supported.")
    if values.get("init_lora_weights") not in BEGINNINGS:
        raise BadFileError(path, f"was begun as {values['init_lora_weights']!r:.40}, which changes its base and is not supported.")
    targets = values.get("target_modules")
    try:
        settings = Settings(
            str(values["base_model_name_or_path"]),
            int(values["r"]),
            float(values["lora_alpha"]),
            tuple(map(str, targets or ())),
            float(values.get("lora_dropout") or 0.0),
        )
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise BadFileError(path, f"cannot be used: {error!r}.") from None
    if settings.rank < 1 or not math.isfinite(settings.alpha) or not settings.targets or isinstance(targets, str):
        raise BadFileError(path, "needs a rank, an alpha and a list of target_modules.")
    if not 0 <= settings.dropout < 1:
        raise BadFileError(path, f"drops a share of {settings.dropout}, which is not in [0, 1).")
    return settings


def apply(folder: Path, settings: Settings, model: Model, *, fuse: bool = True) -> None:
    """Fold the adapter in `folder` into `model`, in place; without `fuse` its layers stay, frozen base beside, to be trained on."""
    linears = {_hf_name(model, name): name for name, module in model.named_modules() if isinstance(module, nn.Linear)}
    # As `peft` reads them: a target is a whole name or the end of one.
    names = {theirs: own for theirs, own in linears.items() if f".{theirs}".endswith(tuple(f".{target}" for target in settings.targets))}
    expected = {f"{PREFIX}{theirs}.lora_{part}.weight": (own, part) for theirs, own in names.items() for part in "AB"}
    own_weights = {f"{PREFIX}{_hf_name(model, name)}.weight": weight for name, weight in _weights(model).items()}
    tensors = {
        key: tensor
        for key, tensor in read_safetensors(folder / WEIGHTS).items()
        if not _repeats(tensor, own_weights.get(key.replace(".base_layer.", ".")))
    }
    if not expected or expected.keys() != tensors.keys():
        odd = next(iter(sorted(expected.keys() ^ tensors.keys())), "none")
        raise BadFileError(folder / WEIGHTS, f"does not hold the matrices that its configuration names in this base ({odd:.200}).")
    # Before any layer is made: a rank is a claim, a tensor is there.
    for key, (own, part) in expected.items():
        base = model.get_submodule(own)
        assert isinstance(base, nn.Linear)
        shape = (settings.rank, base.in_features) if part == "A" else (base.out_features, settings.rank)
        if tensors[key].shape != shape:
            raise BadFileError(folder / WEIGHTS, f"has {key} with shape {tuple(tensors[key].shape)}, not {shape}.")
    learning = [parameter for parameter in model.parameters() if parameter.requires_grad]
    lora.add(model, rank=settings.rank, alpha=settings.alpha, targets=names.values(), dropout=settings.dropout)
    with torch.no_grad():
        for key, (own, part) in expected.items():
            getattr(model.get_submodule(own), part).copy_(tensors[key])
    if fuse:
        lora.fuse(model)
        for parameter in learning:  # a base that could be trained as a whole still can
            parameter.requires_grad_(True)


def _weights(model: nn.Module) -> dict[str, Tensor]:
    """The weight of each layer that has one, by the layer's name."""
    return {name: module.weight for name, module in model.named_modules() if isinstance(module, nn.Linear | nn.Embedding)}


def _repeats(tensor: Tensor, own: Tensor | None) -> bool:
    """Whether `tensor` is the base's own weight once more: `peft` writes those of head and embedding where one of them is adapted."""
    return own is not None and own.shape == tensor.shape and torch.equal(own, tensor.to(own))


def save_adapter(
    folder: Path,
    model: Model,
    *,
    base: str,
    rank: int,
    alpha: float,
    dropout: float = 0.0,
    weights: Mapping[str, Tensor] | None = None,
) -> None:
    """Write the LoRA layers of `model` as a `peft` folder, at once or not at all.

    `weights` are the whole matrices by their names in the model (`lora.tensors`), where the model itself holds only shards of them.
    """
    weights = lora.tensors(model) if weights is None else weights
    tensors = {
        f"{PREFIX}{_hf_name(model, name)}.lora_{part}.weight": weights[f"{name}.{part}"].detach().cpu().contiguous()
        for name in lora.layers(model)
        for part in "AB"
    }
    config = {
        "peft_type": "LORA",
        "task_type": "SEQ_2_SEQ_LM" if model.KIND == "encoder_decoder" else "CAUSAL_LM",
        "base_model_name_or_path": base,
        "r": rank,
        "lora_alpha": alpha,
        "lora_dropout": dropout,
        "bias": "none",
        "target_modules": _targets(model),
        "inference_mode": True,
    }

    def fill(place: Path) -> None:
        files.write_json(place / CONFIG, config)
        files.write_bytes(place / WEIGHTS, save(tensors, metadata={"format": "pt"}))

    files.write_folder(folder, fill, replace=True)


def _targets(model: nn.Module) -> list[str]:
    """What `peft` calls the layers with LoRA: the ends of their names where those mean them all and no other, else whole names."""
    adapted = lora.layers(model)
    chosen = {_hf_name(model, name) for name in adapted}
    inner = {f"{name}.base" for name in adapted}
    plain = {_hf_name(model, name) for name, module in model.named_modules() if isinstance(module, nn.Linear) and name not in inner}
    ends = {name.rpartition(".")[2] for name in chosen}
    return sorted(chosen if ends & {name.rpartition(".")[2] for name in plain} else ends)


def _hf_name(model: nn.Module, name: str) -> str:
    """Hugging Face's name of one of our linear layers."""
    module = family(family_of(model))
    return foreign_name(f"{name}.weight", getattr(module, "HF_NAMES", {})).removesuffix(".weight")
