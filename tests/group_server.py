"""A server that has imported torch and forks the processes of each case, so that a group costs no start of an interpreter.

It is a script, started by the fixture `processes` (conftest.py): a case is a line of JSON on standard input, answered by one on
standard output. The processes are real ones over gloo; a case may change something inside them, or kill one.
"""

from __future__ import annotations

import faulthandler
import hashlib
import importlib
import io
import json
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from llamarium.train.run import Run

Case = dict[str, Any]
patch = pytest.MonkeyPatch()  # nothing is ever put back: the process ends
POISONED = (3, 4, 50, 52, 54)  # batches, by their number, whose loss is not a number: the last three make the run go back


# --- What may be changed inside a process -----------------------------------------------------------------------------


def poisoned_batches(rank: int) -> None:
    """The process that reads the first row of some batches finds no number there."""
    import torch

    from llamarium.train import objectives
    from llamarium.train.run import Run

    batches, place = Run.batches, [0]

    def batches_and_place(run: Run) -> Any:
        place[0] = run.samples_consumed // run.recipe.train.rows
        return batches(run)

    def poisoned(model: Any, batch: objectives.Batch) -> torch.Tensor:
        loss = objectives.lm(model, batch)
        return loss * float("nan") if rank == 0 and place[0] in POISONED else loss

    patch.setattr(Run, "batches", batches_and_place)
    objectives.OBJECTIVES["poisoned"] = poisoned


def own_seed(rank: int) -> None:
    from llamarium.train.data import Data

    order = Data.order
    patch.setattr(Data, "order", lambda read, seed, segments=(): order(read, seed + rank, segments))


def count_own_rows(rank: int) -> None:
    from llamarium.train.run import Run

    def pass_over(run: Run) -> None:
        run.samples_consumed += len(range(run.group.rank, run.recipe.train.rows, run.group.size))

    patch.setattr(Run, "pass_over", pass_over)


def mean_of_means(rank: int) -> None:
    """Each process divides by its own targets."""
    from llamarium.ground.group import Group

    add = Group.sum
    patch.setattr(Group, "sum", lambda group, values: [values[0] * group.size] if isinstance(values[0], int) else add(group, values))


def skip_alone(rank: int) -> None:
    """Only the process that found no number passes the batch over."""
    from llamarium.train.guard import Guard

    judge = Guard.judge
    patch.setattr(Guard, "judge", lambda guard, loss, norm: judge(guard, loss, norm) if rank == 0 else "")


def after_restoring(change: Callable[[Run], object]) -> Callable[[int], None]:
    def apply(rank: int) -> None:
        from llamarium.train.run import Run

        restore = Run.restore

        def restore_and_change(run: Run, checkpoint: Any, **options: Any) -> None:
            restore(run, checkpoint, **options)
            change(run)

        patch.setattr(Run, "restore", restore_and_change)

    return apply


def lost_random_state(rank: int) -> None:
    from llamarium.train import run

    patch.setattr(run, "restore_random_state", lambda states: None)


def weights_stay_gathered(rank: int) -> None:
    from llamarium.train import build

    patch.setattr(build, "put_back", lambda root: None)


def full_disk(rank: int) -> None:
    import resource

    if rank == 1:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))


def abandoned_validation(rank: int) -> None:
    """Whoever stops the run does it while it validates."""
    from llamarium.train import loop
    from llamarium.train.validate import Abandoned

    def abandoned(run: Run, **options: Any) -> float:
        raise Abandoned

    patch.setattr(loop, "validate", abandoned)


def slow_clock(rank: int) -> None:
    """The clocks of processes do not agree."""
    now = time.perf_counter
    patch.setattr(time, "perf_counter", lambda: now() * (1 + rank))


PATCHES: dict[str, Callable[[int], None]] = {
    "poisoned batches": poisoned_batches,
    "own seed": own_seed,
    "own rows": count_own_rows,
    "mean of means": mean_of_means,
    "skip alone": skip_alone,
    "moments": after_restoring(lambda run: run.optimizer.state.clear()),
    "data position": after_restoring(lambda run: setattr(run, "samples_consumed", 0)),
    "random state": lost_random_state,
    "gathered": weights_stay_gathered,
    "full disk": full_disk,
    "abandoned validation": abandoned_validation,
    "slow clock": slow_clock,
}


# --- What a process may be asked to do --------------------------------------------------------------------------------


def do_train(folder: Path, *, recipe: Case, resume: bool = False, speak: bool = False) -> Case:
    """Train; returns for each step the digests of the rows that this process read, and their losses."""
    from llamarium.cli.train import speak as say_something
    from llamarium.ground.group import joined
    from llamarium.tokens.packing import IGNORED
    from llamarium.train import recipe as recipes
    from llamarium.train.finish import train_to_the_end
    from llamarium.train.run import Run, start

    read: list[list[str]] = []
    batches = Run.batches

    def batches_noted(run: Run) -> Any:
        parts, num_targets = batches(run)
        rows = [row for part in parts for row in zip(part.inputs, part.targets, strict=True) if (row[1] != IGNORED).any()]
        read.append([hashlib.sha256(ids.numpy().tobytes() + learnt.numpy().tobytes()).hexdigest()[:12] for ids, learnt in rows])
        return parts, num_targets

    patch.setattr(Run, "batches", batches_noted)
    with joined() as group:
        run = start(recipes.build(recipe), folder / "runs" / recipe["name"], resume=resume, group=group)
        begun = run.step
        train_to_the_end(run, speak=say_something if speak else None)
        return {"read": read, "begun": begun, "step": run.step}


def do_command(folder: Path, *, arguments: list[str]) -> Case:
    """Be the command line; what it says is caught."""
    import contextlib

    from llamarium.cli import main
    from llamarium.ground import progress

    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        progress.use(progress.Plain(interval=0.0))
        code = main.run(arguments)
    return {"code": code, "out": out.getvalue(), "err": err.getvalue()}


JOBS: dict[str, Callable[..., Any]] = {"train": do_train, "command": do_command}


# --- The server -------------------------------------------------------------------------------------------------------


def serve() -> None:
    for name in (
        "pyarrow.parquet",
        "torch._dynamo",
        "torch.distributed.fsdp",
        "torch.distributed.tensor",
        "llamarium.cli.main",
        "llamarium.cli.train",
        "llamarium.engine.generate",
        "llamarium.train.finish",
    ):
        importlib.import_module(name)
    for line in sys.stdin:
        case = json.loads(line)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            case["port"] = free.getsockname()[1]
        children: dict[int, int] = {}
        for rank in range(case["size"]):
            if not (child := os.fork()):
                be(case, rank)
            children[child] = rank
        sys.stdout.write(json.dumps(attend(case, children)) + "\n")
        sys.stdout.flush()


def attend(case: Case, children: dict[int, int]) -> list[int]:
    """Send the signals that the case wants, once its log has so many lines, and wait for all processes; their exit codes."""
    codes, left, sent, began = [0] * case["size"], dict(children), False, time.monotonic()
    while left:
        for child, rank in list(left.items()):
            ended, status = os.waitpid(child, os.WNOHANG)
            if ended:
                codes[rank] = os.waitstatus_to_exitcode(status)
                del left[child]
        if case["signals"] and not sent and lines(Path(case["log"])) >= case["after_lines"]:
            sent = True
            for child, rank in left.items():
                if str(rank) in case["signals"]:
                    os.kill(child, signal.Signals[case["signals"][str(rank)]])
        if time.monotonic() - began > case["patience"]:  # where each of them stands, it has written beside its answer
            for child in left:
                os.kill(child, signal.SIGKILL)
        time.sleep(0.002)
    return codes


def lines(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


def be(case: Case, rank: int) -> None:
    """Be process `rank` of a case, and never return."""
    from llamarium.ground.errors import LlamariumError
    from llamarium.ground.failpoints import VARIABLE

    code = 1
    try:
        os.chdir(case["folder"])
        faulthandler.dump_traceback_later(case["patience"] - 5, file=Path(case["answers"], f"{rank}.stack").open("w"))  # noqa: SIM115
        size = str(case["size"])
        os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(case["port"]), WORLD_SIZE=size, RANK=str(rank), LOCAL_RANK=str(rank))
        os.environ[VARIABLE] = case["failpoints"].get(str(rank), "")
        patch.setattr(os, "fsync", lambda descriptor: None)  # a killed process takes nothing from what the system has taken over
        for name in case["patches"]:
            PATCHES[name](rank)
        try:
            said = JOBS[case["job"]](Path(case["folder"]), **case["options"])
        except LlamariumError as error:
            said = {"error": error.message, "code": error.exit_code, "elsewhere": error.shown_elsewhere}
        Path(case["answers"], str(rank)).write_text(json.dumps(said))
        code = 0
    except BaseException:
        import traceback

        Path(case["answers"], str(rank)).write_text(json.dumps({"traceback": traceback.format_exc()}))
    finally:
        os._exit(code)


if __name__ == "__main__":
    serve()
