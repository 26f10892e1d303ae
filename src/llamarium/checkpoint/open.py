"""Open any model that a user can name.

Takes: a MODEL (path, catalogue name, ``hf:REPO``).
Gives: the model, its tokenizer, and the ids at which it stops.
Does not know: what is done with it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from llamarium.checkpoint import gguf, huggingface, peft, store
from llamarium.checkpoint.resolve import ModelPath, resolve
from llamarium.checkpoint.weights import build_config, place_weights
from llamarium.ground.errors import BadFileError, LlamariumError
from llamarium.models import families, family
from llamarium.models.model import Model
from llamarium.tokens import gguf_vocabulary
from llamarium.tokens.tokenizer import DEFINITION, Tokenizer


@dataclass(frozen=True)
class Opened:
    """A model ready to be used, and its tokenizer."""

    name: str
    model: Model
    tokenizer: Tokenizer
    stop_ids: frozenset[int]


def open_model(name: str | Path, *, dtype: torch.dtype = torch.float32, device: torch.device | None = None) -> Opened:
    """Open the MODEL called `name`, with weights of type `dtype`."""
    place = resolve(str(name))
    opened = _OPENERS[place.kind](place, str(name), dtype)
    opened.model.eval()
    if device is not None:
        opened.model.to(device)
    return opened


def open_tokenizer(name: str | Path) -> Tokenizer:
    """The tokenizer of the MODEL called `name`, or of a folder that holds only a tokenizer."""
    if (Path(name) / DEFINITION).is_file():
        return Tokenizer.load(Path(name))
    return open_model(name).tokenizer


def _open_folder(place: ModelPath, name: str, dtype: torch.dtype) -> Opened:
    model, tokenizer = huggingface.load_folder(place.path, dtype=dtype), Tokenizer.load(place.path)
    return Opened(name, model, tokenizer, tokenizer.stop_ids | huggingface.read_stop_ids(place.path))


def _open_checkpoint(place: ModelPath, name: str, dtype: torch.dtype) -> Opened:
    checkpoint = store.read(place.path)
    described = checkpoint.state.get("model")
    if not isinstance(described, dict) or "family" not in described:
        raise BadFileError(
            place.path / store.STATE,
            "does not describe a whole model.",
            hint="A checkpoint of a LoRA run holds its adapter only; use the run folder once the run has ended.",
        )
    try:
        module = family(described["family"])
        config = build_config(module, described["config"])
    except (LookupError, TypeError, ValueError, ArithmeticError, LlamariumError) as error:
        raise BadFileError(place.path / store.STATE, f"does not describe a model ({error}).") from None
    model = place_weights(module, config, checkpoint.weights, {}, ignored=(), dtype=dtype, path=place.path)
    folder = place.path.parent.parent / "tokenizer"
    tokenizer = Tokenizer.load(folder)
    if tokenizer.sha256 != checkpoint.state.get("tokenizer_sha256"):
        raise BadFileError(folder, "is not the tokenizer that this checkpoint was trained with.")
    return Opened(name, model, tokenizer, tokenizer.stop_ids)


def _open_adapter(place: ModelPath, name: str, dtype: torch.dtype) -> Opened:
    settings = peft.read_settings(place.path)
    _check_bases(place)
    base = open_model(settings.base, dtype=dtype)
    peft.apply(place.path, settings, base.model)
    return Opened(name, base.model, base.tokenizer, base.stop_ids)


def _check_bases(place: ModelPath) -> None:
    """Refuse an adapter whose base is, perhaps by way of other adapters, itself."""
    seen: set[Path] = set()
    while place.kind == "adapter":
        if (path := place.path.resolve()) in seen:
            raise BadFileError(place.path / peft.CONFIG, "is in the end its own base.")
        seen.add(path)
        place = resolve(peft.read_settings(place.path).base)


def _open_gguf(place: ModelPath, name: str, dtype: torch.dtype) -> Opened:
    file = gguf.read_gguf(place.path)
    kind = file.metadata.get("general.architecture")
    by_kind = {each: family(one) for one in families() for each in getattr(family(one), "GGUF_ARCHITECTURES", ())}
    if not isinstance(kind, str) or kind not in by_kind:
        raise BadFileError(place.path, f"has the architecture {kind!r}, which no family here reads ({', '.join(sorted(by_kind))}).")
    module = by_kind[kind]
    definition = gguf_vocabulary.tokenizer_json(file.metadata, name=str(place.path))
    tokenizer = Tokenizer(definition, gguf_vocabulary.tokenizer_config(file.metadata, name=str(place.path)), name=str(place.path))
    shapes = {each: info.shape for each, info in file.tensors.items()}
    factors = file.tensor("rope_freqs.weight").tolist() if "rope_freqs.weight" in shapes else None
    try:
        config = module.config_from_gguf(file.metadata, shapes, factors)
    except KeyError as error:
        raise BadFileError(place.path, f"lacks {error}.") from None
    except (TypeError, ValueError, ArithmeticError) as error:
        raise BadFileError(place.path, f"cannot be used: {error}.") from None
    tensors = {each: torch.from_numpy(file.tensor(each)).to(dtype) for each in shapes}
    tensors = module.weights_from_gguf(tensors, config, file.metadata)
    model = place_weights(module, config, tensors, module.GGUF_NAMES, ignored=module.GGUF_IGNORED, dtype=dtype, path=place.path)
    return Opened(name, model, tokenizer, tokenizer.stop_ids)


_OPENERS = {"huggingface": _open_folder, "checkpoint": _open_checkpoint, "adapter": _open_adapter, "gguf": _open_gguf}
