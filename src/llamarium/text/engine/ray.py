"""The engine of many machines: each partition is a task of Ray.

Takes: a folder with a plan that all machines see under the same name, as they must see the files; the partitions that are to be done.
Gives: the number of each when it is done.
Does not know: where a task runs. Without an address it starts a Ray of its own on this machine, and ends it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from llamarium.ground.errors import MissingExtraError, ResourceError, UsageError
from llamarium.text import partition
from llamarium.text.engine import Options


def run(folder: Path, numbers: Sequence[int], *, sizes: Sequence[int], options: Options) -> Iterator[int]:  # noqa: ARG001
    """Do `numbers` as tasks of one core each, at most `options.workers` at a time (0: as many as the cluster takes)."""
    try:
        import ray
    except ImportError:
        raise MissingExtraError("prepare --engine ray", extra="ray", package="ray") from None

    started = not ray.is_initialized()
    if started:
        _join(ray, options)
    try:
        task = ray.remote(max_retries=2)(_task)
        waiting = list(reversed(numbers))
        running: dict[Any, int] = {}
        while waiting or running:
            while waiting and len(running) < (options.workers or len(numbers)):
                number = waiting.pop()
                running[task.remote(str(folder.resolve()), number)] = number
            done, _ = ray.wait(list(running))
            for reference in done:
                try:
                    ray.get(reference)
                except (ray.exceptions.WorkerCrashedError, ray.exceptions.OutOfMemoryError) as error:
                    raise ResourceError(
                        "A worker of Ray was killed again and again.", hint="Memory may be short on its machine."
                    ) from error
                except ray.exceptions.RayTaskError as error:
                    raise error.as_instanceof_cause() from None  # type: ignore[no-untyped-call]
                yield running.pop(reference)
    finally:
        if started:
            ray.shutdown()


def _task(folder: str, number: int) -> None:
    partition.run(Path(folder), number)


def _join(ray: object, options: Options) -> None:
    import logging

    try:
        ray.init(  # type: ignore[attr-defined]
            address=options.address or None,
            include_dashboard=False,
            log_to_driver=False,
            configure_logging=True,
            logging_level=logging.ERROR,
        )
    except (ConnectionError, RuntimeError, ValueError) as error:
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UsageError(
            f"There is no Ray to join at {options.address or 'this machine'} ({first}).", hint="ray start --head starts one."
        ) from error
