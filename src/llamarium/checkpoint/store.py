"""Checkpoints of a run: whole and verified, or invisible.

Takes: tensors by name (weights, optimizer), JSON state; where several processes write one checkpoint, each its own rows.
Gives: ``step-<8 digits>`` folders with a manifest written last, and the newest one that is valid.
Does not know: models, optimizers, what the state means.
"""

from __future__ import annotations

import json
import re
import shutil
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from torch import Tensor

from llamarium.checkpoint.sharded import Rows, Stored, open_spread, open_tensors, write_file, write_tensors
from llamarium.ground import files
from llamarium.ground.errors import BadFileError, LlamariumError, TrainingError
from llamarium.ground.failpoints import reached
from llamarium.ground.group import ALONE, Group

WEIGHTS, OPTIMIZER, STATE = "model.safetensors", "optimizer.safetensors", "state.json"
OWN = "random."  # names of tensors that belong to one process begin like this
NAME = re.compile(r"step-([0-9]{8,})")
SHARD = re.compile(r"(?:model|optimizer)(?:-[0-9]{5,}-of-([0-9]{5,}))?\.safetensors")

Part = Literal["weights", "optimizer"]


@dataclass(frozen=True)
class Checkpoint:
    """What one folder holds. Its headers have been checked; its tensors are read when they are asked for."""

    path: Path
    state: dict[str, Any]
    tensors: Mapping[Part, Mapping[str, Stored]]
    owned: Sequence[Mapping[str, Stored]]  # by the process that wrote them

    @cached_property
    def weights(self) -> dict[str, Tensor]:
        """All weights, whole."""
        return {name: stored.whole() for name, stored in self.tensors["weights"].items()}

    @cached_property
    def optimizer(self) -> dict[str, Tensor]:
        """All of the optimizer's tensors, whole; where one process wrote the checkpoint, its own tensors lie among them."""
        return {name: stored.whole() for name, stored in self.tensors["optimizer"].items()} | self.own()

    def own(self, rank: int = 0, size: int = 1) -> dict[str, Tensor]:
        """The tensors that belonged to process `rank` where `size` processes wrote the checkpoint; none where others did."""
        return {name: stored.whole() for name, stored in self.owned[rank].items()} if size == len(self.owned) else {}

    def names(self, part: Part) -> list[str]:
        """The tensors of a part, without those that belong to one process."""
        return list(self.tensors[part])

    def shape(self, part: Part, name: str) -> tuple[int, ...]:
        """The shape of the whole of a tensor."""
        return self.tensors[part][name].shape

    def rows(self, part: Part, name: str, start: int, stop: int) -> Tensor:
        """Rows [start, stop) of a tensor, shape (stop - start, ...). Nothing else is read."""
        return self.tensors[part][name].rows(start, stop)


def write(
    folder: Path,
    step: int,
    *,
    weights: Mapping[str, Tensor | Rows],
    optimizer: Mapping[str, Tensor | Rows],
    state: Mapping[str, Any],
    own: Mapping[str, Tensor] | None = None,
    group: Group = ALONE,
) -> Path:
    """Write ``step-<step>`` into `folder`. A folder of this step that a rolled-back run left is replaced.

    In a group every process brings its `Rows`, and what is `own` to it (names begin with ``random.``); a plain tensor is the
    same in all of them. What fails in one fails in all; the folder of the other steps stays as it was.
    """
    own = own or {}
    assert all(name.startswith(OWN) for name in own)
    path = folder / folder_name(step)
    temporary = path.with_name(group.tell(f"{files.TEMPORARY}{uuid.uuid4().hex[:8]}-{path.name}"))
    try:
        with group.together(), files.disk_errors(path):
            if group.is_first:
                folder.mkdir(parents=True, exist_ok=True)
                reached("before-temporary")
                temporary.mkdir()
                reached("after-temporary")
        with group.together(), files.disk_errors(path):
            sums = _write_shard(temporary, WEIGHTS, weights, {}, group) | _write_shard(temporary, OPTIMIZER, optimizer, own, group)
        everyones = group.gather(sums)
        with group.together(), files.disk_errors(path):
            if group.is_first:
                text = json.dumps(dict(state), ensure_ascii=False, indent=2) + "\n"
                listed = {STATE: write_file(temporary / STATE, [text.encode()])}
                for each in everyones:
                    listed |= each
                reached("before-manifest")
                files.write_json(temporary / files.MANIFEST, {"step": step, "files": dict(sorted(listed.items()))})
                reached("after-manifest")
                files.put_in_place(temporary, path, replace=True)
    except BaseException:
        if group.is_first:
            shutil.rmtree(temporary, ignore_errors=True)
        raise
    return path


def _write_shard(
    temporary: Path, name: str, tensors: Mapping[str, Tensor | Rows], own: Mapping[str, Tensor], group: Group
) -> dict[str, dict[str, Any]]:
    """Write what this process holds of the part `name`; returns size and SHA-256 of its file."""
    if group.size == 1:
        held: dict[str, Tensor | Rows] = {key: _all_of(values) for key, values in tensors.items()}
    else:
        assert name == WEIGHTS or not any(key.startswith(OWN) for key in tensors), "what begins like this is `own`"
        name = shard_name(name, group.rank, group.size)
        held = {key: values for key, values in tensors.items() if group.is_first or isinstance(values, Rows)}
    reached("before-shard")
    try:
        sums = write_tensors(temporary / name, {**held, **own})
    except FileNotFoundError:
        # The folder was made by the first process, and it is removed when another one is lost.
        reason = f"{temporary} is not there for process {group.rank}, though the first process made it."
        hint = "All processes of a run need the same file system; or one of them ended, and said why above."
        raise TrainingError(reason, hint=hint) from None
    reached("after-shard")
    return {name: sums}


def _all_of(values: Tensor | Rows) -> Tensor:
    if isinstance(values, Rows):
        assert len(values.tensor) == values.shape[0], "a process that is alone has all rows"
        return values.tensor
    return values


def shard_name(name: str, rank: int, size: int) -> str:
    """The file of process `rank` among `size`.

    >>> shard_name("model.safetensors", 1, 4)
    'model-00001-of-00004.safetensors'
    """
    return name.replace(".", f"-{rank:05d}-of-{size:05d}.")


def folder_name(step: int) -> str:
    """The folder of a step's checkpoint.

    >>> folder_name(100)
    'step-00000100'
    """
    return f"step-{step:08d}"


def steps(folder: Path) -> list[Path]:
    """Checkpoint folders, newest first, valid or not."""
    found = [path for path in folder.iterdir() if NAME.fullmatch(path.name) and path.is_dir()] if folder.is_dir() else []
    return sorted(found, key=_step, reverse=True)


def _step(path: Path) -> int:
    return int(path.name.removeprefix("step-"))


def read(path: Path, *, group: Group = ALONE) -> Checkpoint:
    """Read one checkpoint after checking it against its manifest; in a group the first process does that for all."""
    found = None
    with group.together():
        if group.is_first:
            found = _look_into(path, manifest=files.verify_manifest(path))
    with group.together():
        return found or _look_into(path)


def newest(folder: Path, *, group: Group = ALONE) -> tuple[Checkpoint | None, list[str]]:
    """The newest valid checkpoint, and one sentence for each newer one that was rejected; in a group, by the first process."""
    rejected: list[str] = []
    found = None
    for path in steps(folder) if group.is_first else []:
        try:
            found = read(path)
            break
        except LlamariumError as error:
            rejected.append(error.message)
    name, rejected = group.tell((found.path.name if found else "", rejected))
    with group.together():
        return found or (_look_into(folder / name) if name else None), rejected


def _look_into(path: Path, *, manifest: Mapping[str, Any] | None = None) -> Checkpoint:
    """A checkpoint by its headers and its state, which must fit each other; `BadFileError` names the file that does not.

    The sums are not looked at: that is `files.verify_manifest`, whose `manifest` must list all that is used here.
    """
    names = {each.name for each in path.iterdir() if SHARD.fullmatch(each.name)} | {STATE} if path.is_dir() else set()
    if unlisted := names - set((manifest or {}).get("files", names)):
        raise BadFileError(path / min(unlisted), "is not in the manifest.")
    state = files.read_json(path / STATE)
    if not isinstance(state, dict):
        raise BadFileError(path / STATE, "is not a JSON object.")
    size = _num_shards(path, names)
    if size is None:
        tensors = {name: open_tensors(path / name) for name in (WEIGHTS, OPTIMIZER)}
        owned = [{key: tensors[OPTIMIZER].pop(key) for key in list(tensors[OPTIMIZER]) if key.startswith(OWN)}]
        return Checkpoint(path, state, {"weights": tensors[WEIGHTS], "optimizer": tensors[OPTIMIZER]}, owned)
    weights, _ = open_spread([path / shard_name(WEIGHTS, rank, size) for rank in range(size)])
    optimizer, owned = open_spread([path / shard_name(OPTIMIZER, rank, size) for rank in range(size)], own=OWN)
    return Checkpoint(path, state, {"weights": weights, "optimizer": optimizer}, owned)


def _num_shards(path: Path, names: set[str]) -> int | None:
    """How many processes wrote the tensors that lie in `path`; None for one alone. Every file must be there, and no other."""
    spread = {name: int(match[1]) for name in names if (match := SHARD.fullmatch(name)) and match[1]}
    size = spread[min(spread)] if spread else None
    expected = {STATE}
    # One by one: a name that claims very many others is refused at the first that is not there.
    for rank in range(size or 1):
        for whole in (WEIGHTS, OPTIMIZER):
            name = whole if size is None else shard_name(whole, rank, size)
            if name not in names:
                raise BadFileError(path / name, "is missing.")
            expected.add(name)
    if strangers := names - expected:
        raise BadFileError(path / min(strangers), "does not belong to the other files of this checkpoint.")
    return size


def prune(folder: Path, *, step: int, keep: int, spare: int | None = None, group: Group = ALONE) -> None:
    """Remove all but the newest `keep` checkpoints up to `step`, which has just been written, and what killed writers left behind.

    That of step `spare` stays, too.

    Those after it go, too: they were rejected or rolled back, and must neither count as kept nor be taken for the newest.
    In a group the first process does it, and all return when it is done.
    """
    with group.together():
        if group.is_first:
            _prune(folder, step=step, keep=keep, spare=spare)


def _prune(folder: Path, *, step: int, keep: int, spare: int | None) -> None:
    files.remove_leftovers(folder)
    found = [path for path in steps(folder) if _step(path) != spare]
    later = [path for path in found if _step(path) > step]
    for path in [*later, *found[len(later) + keep :]]:
        reached("before-prune")
        # The manifest goes first: from then on the folder does not exist for a loader, however far removal gets.
        (path / files.MANIFEST).unlink(missing_ok=True)
        shutil.rmtree(path)
        reached("after-prune")
