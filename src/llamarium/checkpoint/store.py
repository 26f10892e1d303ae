"""Checkpoints of a run: whole and verified, or invisible.

Takes: tensors by name (weights, optimizer), JSON state.
Gives: ``step-<8 digits>`` folders with a manifest written last, and the newest one that is valid.
Does not know: models, optimizers, what the state means.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import save
from torch import Tensor

from llamarium.checkpoint.safetensors_file import read_safetensors
from llamarium.ground import files
from llamarium.ground.errors import BadFileError, LlamariumError
from llamarium.ground.failpoints import reached

WEIGHTS, OPTIMIZER, STATE = "model.safetensors", "optimizer.safetensors", "state.json"
NAME = re.compile(r"step-([0-9]{8,})")


@dataclass(frozen=True)
class Checkpoint:
    """What one folder holds."""

    path: Path
    weights: dict[str, Tensor]
    optimizer: dict[str, Tensor]
    state: dict[str, Any]


def write(folder: Path, step: int, *, weights: Mapping[str, Tensor], optimizer: Mapping[str, Tensor], state: Mapping[str, Any]) -> Path:
    """Write ``step-<step>`` into `folder`. A folder of this step that a rolled-back run left is replaced."""

    def fill(place: Path) -> None:
        for name, tensors in ((WEIGHTS, weights), (OPTIMIZER, optimizer)):
            reached("before-shard")
            files.write_bytes(place / name, save({key: tensor.detach().cpu().contiguous() for key, tensor in tensors.items()}))
            reached("after-shard")
        files.write_json(place / STATE, dict(state))

    path = folder / f"step-{step:08d}"
    files.write_folder(path, fill, extra={"step": step}, replace=True)
    return path


def steps(folder: Path) -> list[Path]:
    """Checkpoint folders, newest first, valid or not."""
    found = [path for path in folder.iterdir() if NAME.fullmatch(path.name) and path.is_dir()] if folder.is_dir() else []
    return sorted(found, key=_step, reverse=True)


def _step(path: Path) -> int:
    return int(path.name.removeprefix("step-"))


def read(path: Path) -> Checkpoint:
    """Read one checkpoint after checking it against its manifest."""
    files.verify_manifest(path)
    state = files.read_json(path / STATE)
    if not isinstance(state, dict):
        raise BadFileError(path / STATE, "is not a JSON object.")
    return Checkpoint(path, read_safetensors(path / WEIGHTS), read_safetensors(path / OPTIMIZER), state)


def newest(folder: Path) -> tuple[Checkpoint | None, list[str]]:
    """The newest valid checkpoint, and one sentence for each newer one that was rejected."""
    rejected: list[str] = []
    for path in steps(folder):
        try:
            return read(path), rejected
        except LlamariumError as error:
            rejected.append(error.message)
    return None, rejected


def prune(folder: Path, *, step: int, keep: int) -> None:
    """Remove all but the newest `keep` checkpoints up to `step`, which has just been written, and what killed writers left behind.

    Those after it go, too: they were rejected or rolled back, and must neither count as kept nor be taken for the newest.
    """
    files.remove_leftovers(folder)
    found = steps(folder)
    later = [path for path in found if _step(path) > step]
    for path in [*later, *found[len(later) + keep :]]:
        reached("before-prune")
        # The manifest goes first: from then on the folder does not exist for a loader, however far removal gets.
        (path / files.MANIFEST).unlink(missing_ok=True)
        shutil.rmtree(path)
        reached("after-prune")
