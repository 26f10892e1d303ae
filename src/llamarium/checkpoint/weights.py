"""Putting foreign weights into a model: every one there, in its shape, and none left over.

Takes: tensors under a format's names, a family's table of names, a config.
Gives: the model.
Does not know: the format the tensors came from.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from pydantic import TypeAdapter, ValidationError
from torch import Tensor

from llamarium.ground.errors import BadFileError, nearest
from llamarium.models.model import Model

MAX_LAYERS = 1000  # several times those of any model; to build more takes longer than a file of small tensors deserves


def build_config(module: ModuleType, values: Mapping[str, Any]) -> Any:
    """A family's config from the values of its fields, nested ones included; `ValueError` names the field that is wrong."""
    known = [field.name for field in dataclasses.fields(module.Config)]
    for name in values:
        if name not in known:
            raise ValueError(f"there is no field {name!r} ({nearest(name, known).rstrip('.')})")
    try:
        return TypeAdapter(module.Config).validate_python(dict(values))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        message = first["msg"].removeprefix("Value error, ")
        raise ValueError(f"{where}: {message[0].lower()}{message[1:]}" if where else message) from None


def place_weights(
    module: ModuleType,
    config: Any,
    tensors: Mapping[str, Tensor],
    names: Mapping[str, str],
    *,
    ignored: tuple[str, ...],
    dtype: torch.dtype,
    path: Path,
) -> Model:
    """A model of `config` with the foreign `tensors` in it; `names` says what they are called there, without ``.weight`` or ``.bias``.

    Every weight must be there in its shape, and no tensor may be left over.
    """
    if getattr(config, "layers", 0) > min(len(tensors), MAX_LAYERS):
        raise BadFileError(path, f"claims {config.layers:,} layers and holds {len(tensors):,} tensors.")
    try:
        with torch.device("meta"):
            model: Model = module.Model(config)
    except (RuntimeError, TypeError, ValueError, OverflowError) as error:
        name, most = max(((name, value) for name, value in vars(config).items() if type(value) is int), key=lambda field: field[1])
        raise BadFileError(path, f"describes a model that cannot be built with {name} {most:,}: {str(error).splitlines()[0]}.") from None
    state, used = {}, set()
    sized = {name for name, _ in model.named_parameters(remove_duplicate=False)}  # a count model's tensors have any size
    for own, expected in model.state_dict().items():
        name = foreign_name(own, names)
        if name not in tensors:
            raise BadFileError(path, f"lacks the tensor {name}.")
        tensor = tensors[name]
        if own in sized and tensor.shape != expected.shape:
            raise BadFileError(path, f"has {name} with shape {tuple(tensor.shape)}; its configuration says {tuple(expected.shape)}.")
        state[own] = tensor.to(dtype) if own in sized else tensor
        used.add(name)
    if left := [name for name in sorted(tensors.keys() - used) if not name.endswith(ignored)]:
        raise BadFileError(path, f"holds {len(left)} tensors that this family does not know, such as {left[0]}.")
    try:
        model.load_state_dict(state, assign=True)
    except RuntimeError as error:
        first, _, reasons = str(error).partition("\n")  # of several lines the first names the class
        raise BadFileError(path, f"does not fit its model: {' '.join((reasons or first).split())}") from None
    return model


def foreign_name(own: str, names: Mapping[str, str]) -> str:
    """What the format calls our weight `own`; {} in `names` stands for the number of the block.

    >>> foreign_name("blocks.7.mlp.up_proj.weight", {"blocks.{}.mlp.up_proj": "blk.{}.ffn_up"})
    'blk.7.ffn_up.weight'
    """
    stem, dot, end = own.rpartition(".")
    if not dot:
        return own
    number = re.search(r"(?<=\.)\d+(?=\.)", stem)
    if number is None:
        return f"{names.get(stem, stem)}.{end}"
    pattern = f"{stem[: number.start()]}{{}}{stem[number.end() :]}"
    return f"{names.get(pattern, pattern).format(number[0])}.{end}"
