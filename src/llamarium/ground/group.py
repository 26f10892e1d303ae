"""The processes that train together: how many, which one this is, and what they say to each other.

Takes: torchrun's environment (``RANK``, ``WORLD_SIZE``), or nothing.
Gives: a `Group`: sums, barriers, values that the first process tells the others. Alone, all of it costs nothing.
Does not know: models, data, how weights are spread.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from llamarium.ground import errors
from llamarium.ground.errors import LlamariumError, TrainingError

if TYPE_CHECKING:
    import torch

Value = TypeVar("Value")

PATIENCE = timedelta(minutes=30)  # a peer may pause that long, for a disk that is full, before the others give up


@dataclass(frozen=True)
class Group:
    """`size` processes, of which this is number `rank`. Every process calls the same methods in the same order.

    >>> alone = Group()
    >>> alone.is_first, alone.sum([1.0, 2.0]), alone.tell("hello")
    (True, [1.0, 2.0], 'hello')
    """

    rank: int = 0
    size: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this is the process that speaks, logs and writes manifests."""
        return self.rank == 0

    def barrier(self) -> None:
        """Return when every process has come here."""
        if self.size > 1:
            self.tell(None)

    def sum(self, values: list[float]) -> list[float]:
        """Sums over the processes, in float64, the same to the bit in each of them."""
        if self.size == 1:
            return values
        return [sum(each) for each in zip(*self.gather(values), strict=True)]

    def gather(self, value: Value) -> list[Value]:
        """The value of each process, in the order of their ranks, in every process. It travels as JSON: nothing is unpickled."""
        if self.size == 1:
            return [value]
        import torch
        import torch.distributed as dist

        mine = torch.frombuffer(bytearray(json.dumps(value).encode()), dtype=torch.uint8)
        sizes = [torch.zeros(1, dtype=torch.int64) for _ in range(self.size)]
        with said_in_words():
            dist.all_gather(sizes, torch.tensor([len(mine)]), group=_talk())
            longest = int(max(sizes))
            found = [torch.zeros(longest, dtype=torch.uint8) for _ in range(self.size)]
            dist.all_gather(found, torch.nn.functional.pad(mine, (0, longest - len(mine))), group=_talk())
        return [json.loads(each[: int(size)].numpy().tobytes()) for each, size in zip(found, sizes, strict=True)]

    def tell(self, value: Value) -> Value:
        """What the first process says; what the others brought is dropped."""
        if self.size == 1:
            return value
        return self.gather(value if self.is_first else None)[0]  # type: ignore[return-value]

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """What fails in one process fails in all of them, in the words of the first that failed: nobody is left waiting."""
        error: LlamariumError | None = None
        try:
            yield
        except LlamariumError as caught:
            error = caught
        said = self.gather(None if error is None else (type(error).__name__, error.message, error.hint)) if self.size > 1 else []
        if error is not None:
            raise error
        for each in said:
            if each is not None:
                kind, message, hint = each
                raise _again(kind, message, hint)


def _again(kind: str, message: str, hint: str) -> LlamariumError:
    """An error that another process met, as nearly the same as this one can make it."""
    found = getattr(errors, kind, LlamariumError)
    again: LlamariumError = found.__new__(found)
    LlamariumError.__init__(again, message, hint=hint)
    return again


ALONE = Group()


@contextlib.contextmanager
def joined(device_type: str = "cpu") -> Iterator[Group]:
    """The group that torchrun started this process in, left again at the end; alone without torchrun.

    `device_type` "cuda" lets tensors travel over NCCL; what is said in words always goes over gloo.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield ALONE
        return
    import torch
    import torch.distributed as dist

    if device_type == "cuda":
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    with said_in_words():
        dist.init_process_group("cpu:gloo,cuda:nccl" if device_type == "cuda" else "gloo", timeout=PATIENCE)
    try:
        yield Group(dist.get_rank(), dist.get_world_size())
    finally:
        # Where a peer is gone there is nobody left to say goodbye to.
        with contextlib.suppress(RuntimeError):
            dist.destroy_process_group()


_groups: dict[str, Any] = {}


def _talk() -> Any:
    """A process group that carries values from main memory, whatever carries the tensors."""
    import torch.distributed as dist

    if dist.get_backend() == "gloo":
        return None
    if "gloo" not in _groups:
        _groups["gloo"] = dist.new_group(backend="gloo", timeout=PATIENCE)
    return _groups["gloo"]


@contextlib.contextmanager
def said_in_words() -> Iterator[None]:
    """Turn what torch says when a peer is gone into one sentence."""
    try:
        yield
    except RuntimeError as error:
        if not is_lost_peer(error):
            raise
        raise TrainingError(
            "Another process of this group ended or no longer answers.", hint="See what it said above; the run goes on with --resume."
        ) from error


LOST = ("gloo", "nccl", "connection reset", "connection closed", "broken pipe", "timed out", "store")


def is_lost_peer(error: RuntimeError) -> bool:
    """Whether an error of torch means that a collective did not come about."""
    import torch.distributed as dist

    text = str(error).lower()
    return isinstance(error, dist.DistError) or any(word in text for word in LOST)


def mesh(group: Group, device: torch.device, *, spread: int) -> Any:
    """A device mesh over the group, along whose last axis weights lie spread; with fewer than all, an axis of copies before it."""
    from torch.distributed.device_mesh import init_device_mesh

    if spread == group.size:
        return init_device_mesh(device.type, (spread,), mesh_dim_names=("shard",))
    return init_device_mesh(device.type, (group.size // spread, spread), mesh_dim_names=("replicate", "shard"))
