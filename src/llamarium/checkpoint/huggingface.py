"""Hugging Face folders: ``config.json``, safetensors (one file or sharded), tokenizer, ``generation_config.json``.

Takes: a folder, or a model and its tokenizer.
Gives: the other.
Does not know: what a family calls its weights; each family's module translates its own foreign names.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from llamarium.checkpoint.safetensors_file import read_safetensors
from llamarium.checkpoint.weights import build_config, foreign_name, place_weights
from llamarium.ground import files
from llamarium.ground.errors import BadFileError, LlamariumError
from llamarium.models import families, family, family_of
from llamarium.models.model import Model
from llamarium.tokens.tokenizer import Tokenizer

CONFIG, WEIGHTS, INDEX, GENERATION = "config.json", "model.safetensors", "model.safetensors.index.json", "generation_config.json"
OWN = "llamarium-"  # the model types of families that no one else reads
SHARD_BYTES = 5_000_000_000
UNUSABLE = (TypeError, ValueError, AttributeError, ArithmeticError)  # what values of any kind make of a family's arithmetic


def read_config(folder: Path) -> tuple[ModuleType, Any]:
    """The family's module and its config, from ``config.json``."""
    path = folder / CONFIG
    values = files.read_json(path)
    kind = values.get("model_type") if isinstance(values, dict) else None
    if not isinstance(kind, str):
        raise BadFileError(path, "names no model_type.")
    modules = {each: family(each) for each in families()}
    readers = {name: module for each, module in modules.items() for name in (OWN + each, *getattr(module, "HF_MODEL_TYPES", ()))}
    if kind not in readers:
        known = ", ".join(sorted(name for name in readers if name.startswith(OWN) == kind.startswith(OWN)))
        raise BadFileError(path, f"has the model_type {kind!r:.80}, which no family here reads ({known}).")
    module = readers[kind]
    try:
        return module, _config(module, values)
    except KeyError as error:
        raise BadFileError(path, f"lacks {error}.") from None
    except UNUSABLE as error:
        raise BadFileError(path, f"cannot be used: {error}{_at_fault(module, values, str(error))}.") from None


def _config(module: ModuleType, values: dict[str, Any]) -> Any:
    own = values["model_type"].startswith(OWN)
    fields = values["config"] if own else dataclasses.asdict(module.config_from_hf(values))
    if not isinstance(fields, dict):
        known = ", ".join(field.name for field in dataclasses.fields(module.Config))
        raise ValueError(f"config must hold the fields of the model ({known}), not {fields!r:.50}")
    return build_config(module, fields)


def _at_fault(module: ModuleType, values: dict[str, Any], reason: str) -> str:
    """Which key of a foreign ``config.json`` is at fault, where `reason` speaks of a family's own fields: all is well without its value."""
    kind = values["model_type"]
    if kind.startswith(OWN) or any(key in reason for key in values):
        return ""
    sound = (module.config_to_hf(module.TINY) if hasattr(module, "config_to_hf") else None) or {}
    for key in {**values, **sound}:
        others = {name: value for name, value in values.items() if name != key}
        with contextlib.suppress(*UNUSABLE, KeyError):
            _config(module, {**others, **({key: sound[key]} if key in sound else {}), "model_type": kind})
            return f" ({key} is {values[key]!r:.50})" if key in values else f" ({key} is missing)"
    return ""


def read_weights(folder: Path) -> dict[str, Tensor]:
    """All tensors of a folder under their own names."""
    if (folder / WEIGHTS).is_file():
        return read_safetensors(folder / WEIGHTS)
    if not (folder / INDEX).is_file():
        raise BadFileError(
            folder, f"has neither {WEIGHTS} nor {INDEX}.", hint="Weights as .bin (pickle) are never read; convert them first."
        )
    index = files.read_json(folder / INDEX)
    places = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(places, dict) or not all(isinstance(name, str) for name in places.values()):
        raise BadFileError(folder / INDEX, "has no weight_map.")
    tensors: dict[str, Tensor] = {}
    present = {path.name for path in folder.iterdir()}
    for name in sorted(set(places.values())):
        if name not in present:
            raise BadFileError(folder / INDEX, f"names a file that is not in its folder: {name!r:.200}.")
        tensors |= read_safetensors(folder / name)
    return tensors


def load_folder(folder: Path, *, dtype: torch.dtype = torch.float32) -> Model:
    """The model of a Hugging Face folder."""
    module, config = read_config(folder)
    tensors = read_weights(folder)
    if files.read_json(folder / CONFIG)["model_type"].startswith(OWN):
        return place_weights(module, config, tensors, {}, ignored=(), dtype=dtype, path=folder)
    if hasattr(module, "config_from_tensors"):  # what only the weights say, such as which heads there are
        config = module.config_from_tensors(config, tensors)
    tensors = module.weights_from_hf(tensors, config)
    return place_weights(module, config, tensors, module.HF_NAMES, ignored=module.HF_IGNORED, dtype=dtype, path=folder)


def save_folder(folder: Path, model: Model, tokenizer: Tokenizer, *, shard_bytes: int = SHARD_BYTES) -> None:
    """Write `model` as a Hugging Face folder, at once or not at all; weights keep their type."""
    files.write_folder(folder, lambda place: fill_folder(place, model, tokenizer, shard_bytes=shard_bytes), replace=True)


def fill_folder(folder: Path, model: Model, tokenizer: Tokenizer, *, shard_bytes: int = SHARD_BYTES) -> None:
    """Write the files of a Hugging Face folder into `folder`, which exists."""
    module = family(family_of(model))
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    values = module.config_to_hf(model.config) if hasattr(module, "config_to_hf") else None
    if values is not None:
        tensors = module.weights_to_hf({foreign_name(name, module.HF_NAMES): tensor for name, tensor in tensors.items()}, model.config)
    else:
        kind = module.__name__.rsplit(".", 1)[-1]
        values = {"model_type": OWN + kind, "config": dataclasses.asdict(model.config)}
    dtype = str(next(iter(tensors.values())).dtype).removeprefix("torch.")
    # Without a padding id some of transformers' classes take one from beyond a small vocabulary.
    ids = {"bos_token_id": tokenizer.begin_id, "eos_token_id": tokenizer.end_id, "pad_token_id": tokenizer.special("pad_token")}
    # The family's own come last: RoBERTa counts its positions from the padding id.
    files.write_json(folder / CONFIG, {**ids, **values, "torch_dtype": dtype})
    # Where this file is, transformers asks it alone with which id an encoder-decoder begins to write.
    start = {key: values[key] for key in ("decoder_start_token_id",) if key in values}
    files.write_json(folder / GENERATION, {"bos_token_id": tokenizer.begin_id, "eos_token_id": sorted(tokenizer.stop_ids), **start})
    tokenizer.save(folder)
    shards = list(_shards_of(tensors, shard_bytes))
    names = [WEIGHTS] if len(shards) == 1 else [f"model-{i + 1:05d}-of-{len(shards):05d}.safetensors" for i in range(len(shards))]
    for name, shard in zip(names, shards, strict=True):
        files.write_bytes(folder / name, save(shard, metadata={"format": "pt"}))
    if len(shards) > 1:
        places = {tensor: name for name, shard in zip(names, shards, strict=True) for tensor in shard}
        total = sum(tensor.nbytes for tensor in tensors.values())
        files.write_json(folder / INDEX, {"metadata": {"total_size": total}, "weight_map": places})


def _shards_of(tensors: dict[str, Tensor], shard_bytes: int) -> Iterator[dict[str, Tensor]]:
    shard: dict[str, Tensor] = {}
    size = 0
    for name, tensor in tensors.items():
        if shard and size + tensor.nbytes > shard_bytes:
            yield shard
            shard, size = {}, 0
        shard[name] = tensor
        size += tensor.nbytes
    yield shard


def read_stop_ids(folder: Path) -> frozenset[int]:
    """Ids at which the checkpoint says that generation ends (``generation_config.json``, ``config.json``)."""
    found: set[int] = set()
    for name in (GENERATION, CONFIG):
        try:
            values = files.read_json(folder / name)
        except LlamariumError:
            continue  # both files are optional here; a broken config.json was already refused when the model was read
        ids = values.get("eos_token_id") if isinstance(values, dict) else None
        found |= {number for number in (ids if isinstance(ids, list) else [ids]) if type(number) is int}
    return frozenset(found)
