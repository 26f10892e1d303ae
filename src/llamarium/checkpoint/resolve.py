"""What MODEL means on the command line and in `llamarium.load`.

Takes: an existing path, a catalogue name, or ``hf:OWNER/NAME``; in this order, and never the network.
Gives: a `ModelPath`: what kind of thing it is, and where.
Does not know: how any of these is loaded.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from llamarium.checkpoint import catalogue
from llamarium.ground import progress
from llamarium.ground.errors import BadFileError, LlamariumError, NotFoundError
from llamarium.ground.files import verify_manifest

EXPECTED = "a .gguf file, a Hugging Face folder (config.json), a run folder (model/ or checkpoints/), or an adapter (adapter_config.json)"


@dataclass(frozen=True)
class ModelPath:
    """A model on disk: a ``gguf`` file, or the folder of a ``huggingface`` model, a ``checkpoint`` or an ``adapter``."""

    kind: Literal["gguf", "huggingface", "checkpoint", "adapter"]
    path: Path


def resolve(model: str | Path, *, cache: Path | None = None) -> ModelPath:
    """Find `model` on this machine.

    `NotFoundError` (exit code 2) for a name or path that is not here, with the command that fetches it where there is
    one; `BadFileError` (3) for a path whose content is no model. `cache` stands in for `catalogue.home()`.
    """
    text = str(model)
    if catalogue.exists(text):
        return _at(Path(text))
    entry = catalogue.find(text)
    if entry is None and not catalogue.is_source(text):
        raise catalogue.unknown(text)
    path = catalogue.pulled(text, cache=cache)
    if path is None:
        about = f" ({progress.size(entry.download or entry.size)})" if entry else ""
        raise NotFoundError(f"The model {text} is not on this machine.", hint=f"llamarium pull {text}{about}")
    return _at(path)


def _at(path: Path) -> ModelPath:
    """The model at a path that exists."""
    if path.is_dir():
        found = _in_folder(path) or _in_run(path)
        if found is None:
            raise BadFileError(path, _nothing(path), hint=f"A model is {EXPECTED}.")
        return found
    # Only a plain file is opened: reading a pipe or a device might never end.
    if not path.is_file() or not _begins_as_gguf(path):
        raise BadFileError(path, "is not a GGUF file.", hint=f"A model is {EXPECTED}.")
    return ModelPath("gguf", path)


def _begins_as_gguf(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4) == b"GGUF"


def _in_folder(folder: Path) -> ModelPath | None:
    """The model that `folder` itself is. An adapter may carry its base's config.json, so it is asked for first."""
    if (folder / "adapter_config.json").is_file():
        return ModelPath("adapter", folder)
    if (folder / "state.json").is_file():
        verify_manifest(folder)
        return ModelPath("checkpoint", folder)
    if (folder / "config.json").is_file():
        return ModelPath("huggingface", folder)
    return None


def _in_run(run: Path) -> ModelPath | None:
    """The finished model of a run, else its newest valid checkpoint; `BadFileError` where it has none that is valid."""
    if found := _in_folder(run / "model"):
        return found
    checkpoints = run / "checkpoints"
    if not checkpoints.is_dir():
        return None
    from llamarium.checkpoint import store  # here, because it brings torch, and most mistakes are noticed before

    steps = store.steps(checkpoints)
    for step in steps:
        try:
            verify_manifest(step)
        except LlamariumError as error:
            progress.say(f"{step.name} is rejected: {error.message}")
        else:
            return ModelPath("checkpoint", step)
    number = f"none of its {len(steps)} checkpoints is valid" if steps else "it has no checkpoint yet"
    raise BadFileError(run, f"is a run without a model: {number}.", hint="Go on with it: llamarium train RECIPE --resume")


def _nothing(folder: Path) -> str:
    """What `folder` is instead of a model."""
    inside = [path.name for path in catalogue.models_in(folder)]
    if inside:
        return f"holds models, but is none; name one of them: {', '.join(inside[:5])}{', …' if len(inside) > 5 else ''}."
    return "is an empty folder." if next(folder.iterdir(), None) is None else "holds no model."
