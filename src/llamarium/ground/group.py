"""The processes that train together: how many, which one this is, and what they say to each other.

Takes: torchrun's environment (``RANK``, ``WORLD_SIZE``), or nothing.
Gives: a `Group`: sums, barriers, values that the first process tells the others. Alone, all of it costs nothing.
Does not know: models, data, how weights are spread.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from types import FrameType
from typing import TYPE_CHECKING, Any, TypeVar

from llamarium.ground import errors
from llamarium.ground.errors import LlamariumError, TrainingError

if TYPE_CHECKING:
    import torch

Value = TypeVar("Value")

PATIENCE = timedelta(minutes=30)  # a peer may pause that long, for a disk that is full, before the others give up
SHORT = 1000  # bytes of a message that needs one round
LAST_WORDS = timedelta(seconds=10)  # a process that fails waits so long for the others to hear of it


@dataclass(frozen=True)
class Group:
    """`size` processes, of which this is number `rank`. Every process calls the same methods in the same order.

    An error that one of them meets is raised in all the others, too, at the next thing they say to each other.

    >>> alone = Group()
    >>> alone.is_first, alone.sum([1.0, 2.0]), alone.tell("hello")
    (True, [1.0, 2.0], 'hello')
    """

    rank: int = 0
    size: int = 1
    talk: Any = field(default=None, repr=False, compare=False)  # torch's process group that carries words, whatever carries tensors

    @property
    def is_first(self) -> bool:
        """Whether this is the process that speaks, logs and writes manifests."""
        return self.rank == 0

    def barrier(self) -> None:
        """Return when every process has come here."""
        self.gather(None)

    def sum(self, values: list[float]) -> list[float]:
        """Sums over the processes, in float64, the same to the bit in each of them."""
        if self.size == 1:
            return values
        return [sum(each) for each in zip(*self.gather(values), strict=True)]

    def gather(self, value: Value) -> list[Value]:
        """The value of each process, in the order of their ranks, in every process. It travels as JSON: nothing is unpickled."""
        if self.size == 1:
            return [value]
        said = self._exchange({"value": value}, PATIENCE)
        for each in said:
            if "error" in each:
                raise _again(*each["error"])
        return [each["value"] for each in said]

    def tell(self, value: Value) -> Value:
        """What the first process says; what the others brought is dropped."""
        return self.gather(value if self.is_first else None)[0]  # type: ignore[return-value]

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """Done when it is done in every process; what fails in one fails in all of them: nobody is left waiting."""
        try:
            yield
        except LlamariumError as error:
            self.fail(error)
            raise
        self.barrier()

    def fail(self, error: LlamariumError, *, patience: timedelta = PATIENCE) -> None:
        """Let the others raise `error`, which this process met, unless they have it already. The first that met one shows it."""
        if self.size == 1 or error.shown_elsewhere is not None:
            return
        with contextlib.suppress(TrainingError):  # where nobody is left to tell, it is shown here
            said = self._exchange({"error": (type(error).__name__, error.message, error.hint)}, patience)
            error.shown_elsewhere = any("error" in each for each in said[: self.rank])

    def _exchange(self, message: dict[str, Any], patience: timedelta) -> list[dict[str, Any]]:
        """The messages of all processes. Short ones travel at once; where one is longer, all follow in a second round of its length."""
        mine = json.dumps(message).encode()
        found = self._all_gather(len(mine).to_bytes(8, "little") + mine[:SHORT], 8 + SHORT, patience)
        lengths = [int.from_bytes(each[:8], "little") for each in found]
        found = [each[8:] for each in found] if max(lengths) <= SHORT else self._all_gather(mine, max(lengths), patience)
        return [json.loads(each[:length]) for each, length in zip(found, lengths, strict=True)]

    def _all_gather(self, mine: bytes, length: int, patience: timedelta) -> list[bytes]:
        """The bytes of all processes, each filled up to `length`."""
        import torch
        import torch.distributed as dist

        found = [torch.empty(length, dtype=torch.uint8) for _ in range(self.size)]
        with said_in_words():
            sent = torch.frombuffer(bytearray(mine.ljust(length, b"\0")), dtype=torch.uint8)
            dist.all_gather(found, sent, group=self.talk, async_op=True).wait(patience)
        return [each.numpy().tobytes() for each in found]


def _again(kind: str, message: str, hint: str) -> LlamariumError:
    """An error that another process met, and shows, as nearly the same as this one can make it."""
    found = getattr(errors, kind, LlamariumError)
    again: LlamariumError = found.__new__(found)
    LlamariumError.__init__(again, message, hint=hint)
    again.shown_elsewhere = True
    return again


ALONE = Group()


@contextlib.contextmanager
def joined() -> Iterator[Group]:
    """The group that torchrun started this process in, left again at the end; alone without torchrun.

    Tensors on a GPU travel over NCCL; all others, and what is said in words, over gloo.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield ALONE
        return
    import torch
    import torch.distributed as dist

    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count())
    with said_in_words():
        dist.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo", timeout=PATIENCE)
        # Words have connections of their own: one process may say that it failed while another waits for its tensors.
        group = Group(dist.get_rank(), dist.get_world_size(), dist.new_group(backend="gloo", timeout=PATIENCE))
    before = _at_sigterm(_end_unless_ending)
    try:
        yield group
        _at_sigterm(before)
    except LlamariumError as error:
        group.fail(error, patience=LAST_WORDS)
        with contextlib.suppress(TrainingError):  # torchrun ends all when one has ended, and the first may still be writing a report
            group._exchange({"value": None}, LAST_WORDS)
        raise
    finally:
        # Where a peer is gone there is nobody left to say goodbye to.
        with contextlib.suppress(RuntimeError):
            dist.destroy_process_group()


def _end_unless_ending(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
    """Where a process is lost, torchrun sends SIGTERM to the others, who are about to say so: that, they finish."""
    if sys.exc_info()[1] is None:
        _at_sigterm(signal.SIG_DFL)
        signal.raise_signal(number)


def _at_sigterm(handler: Any) -> Any:
    """Let `handler` decide; returns the one before. Only the main thread may ask for that."""
    return signal.signal(signal.SIGTERM, handler) if threading.current_thread() is threading.main_thread() else None


@contextlib.contextmanager
def said_in_words() -> Iterator[None]:
    """Turn what torch says when a peer is gone into one sentence."""
    try:
        yield
    except RuntimeError as error:
        if not is_lost_peer(error):
            raise
        lost = TrainingError(
            "Another process of this group ended or no longer answers.", hint="See what it said above; the run goes on with --resume."
        )
        lost.shown_elsewhere = False  # whom could it be told
        raise lost from error


LOST = ("gloo", "nccl", "connection reset", "connection closed", "broken pipe", "timed out")


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
