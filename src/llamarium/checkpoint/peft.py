"""LoRA adapters as `peft` folders: ``adapter_config.json`` and ``adapter_model.safetensors``.

Takes: a folder and its base model, or a model with LoRA layers.
Gives: the base with the adapter folded in, or the folder.
Does not know: how an adapter was learnt.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save
from torch import nn

from llamarium.adapt import lora
from llamarium.adapt.lora import LoRALinear
from llamarium.checkpoint.safetensors_file import read_safetensors
from llamarium.checkpoint.weights import foreign_name
from llamarium.ground import files
from llamarium.ground.errors import BadFileError, UsageError
from llamarium.models import family
from llamarium.models.model import Model

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
PREFIX = "base_model.model."


@dataclass(frozen=True)
class Settings:
    """What ``adapter_config.json`` says."""

    base: str
    rank: int
    alpha: float
    targets: tuple[str, ...]


def read_settings(folder: Path) -> Settings:
    """Read ``adapter_config.json``; what this project cannot apply exactly is refused."""
    path = folder / CONFIG
    values = files.read_json(path)
    if not isinstance(values, dict) or values.get("peft_type") != "LORA":
        raise BadFileError(path, "is not a LoRA adapter.")
    for key in ("use_dora", "use_rslora", "rank_pattern", "alpha_pattern", "modules_to_save"):
        if values.get(key):
            raise BadFileError(path, f"uses {key}, which is not supported.")
    targets = values.get("target_modules")
    try:
        settings = Settings(
            str(values["base_model_name_or_path"]), int(values["r"]), float(values["lora_alpha"]), tuple(map(str, targets or ()))
        )
    except (KeyError, TypeError, ValueError) as error:
        raise BadFileError(path, f"cannot be used: {error!r}.") from None
    if settings.rank < 1 or not settings.targets or isinstance(targets, str):
        raise BadFileError(path, "needs a rank and a list of target_modules.")
    return settings


def apply(folder: Path, settings: Settings, model: Model) -> None:
    """Fold the adapter in `folder` into `model`, in place."""
    try:
        names = lora.add(model, rank=settings.rank, alpha=settings.alpha, targets=settings.targets)
    except UsageError as error:
        raise BadFileError(folder / CONFIG, f"does not fit its base: {error.message}") from None
    tensors = read_safetensors(folder / WEIGHTS)
    expected = {f"{PREFIX}{_hf_name(model, name)}.lora_{part}.weight": (name, part) for name in names for part in "AB"}
    if expected.keys() != tensors.keys():
        odd = sorted(expected.keys() ^ tensors.keys())[0]
        raise BadFileError(folder / WEIGHTS, f"does not hold the matrices that its configuration names ({odd}).")
    with torch.no_grad():
        for key, (name, part) in expected.items():
            parameter = getattr(model.get_submodule(name), part)
            if parameter.shape != tensors[key].shape:
                raise BadFileError(folder / WEIGHTS, f"has {key} with shape {tuple(tensors[key].shape)}, not {tuple(parameter.shape)}.")
            parameter.copy_(tensors[key])
    lora.fuse(model)


def save_adapter(folder: Path, model: Model, *, base: str, rank: int, alpha: float, targets: tuple[str, ...]) -> None:
    """Write the LoRA layers of `model` as a `peft` folder, at once or not at all."""
    tensors = {}
    for name, module in model.named_modules():
        if isinstance(module, LoRALinear):
            for part in "AB":
                tensors[f"{PREFIX}{_hf_name(model, name)}.lora_{part}.weight"] = getattr(module, part).detach().cpu().contiguous()
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base,
        "r": rank,
        "lora_alpha": alpha,
        "lora_dropout": 0.0,
        "bias": "none",
        "target_modules": list(targets),
        "inference_mode": True,
    }

    def fill(place: Path) -> None:
        files.write_json(place / CONFIG, config)
        files.write_bytes(place / WEIGHTS, save(tensors, metadata={"format": "pt"}))

    files.write_folder(folder, fill, replace=True)


def _hf_name(model: nn.Module, name: str) -> str:
    """Hugging Face's name of one of our linear layers."""
    module = family(type(model).__module__.rsplit(".", 1)[-1])
    return foreign_name(f"{name}.weight", module.HF_NAMES).removesuffix(".weight")
