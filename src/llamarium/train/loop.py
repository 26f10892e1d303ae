"""The training loop, on one page: forward, backward, schedule, judge, step, validate, log, save.

Takes: a `Run`, and a way to let the model speak now and then.
Gives: the run at its end, its log, its checkpoints.
Does not know: families, recipes' files, what is replaced by what. This is the only file that calls `.backward()`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any, TypeVar

import torch

from llamarium import optim
from llamarium.ground import progress
from llamarium.ground.device import random_state, restore_random_state
from llamarium.ground.errors import Interrupted, ResourceError
from llamarium.ground.group import said_in_words
from llamarium.train import build, compute, machine
from llamarium.train.interrupts import Interrupts, interrupts
from llamarium.train.objectives import OBJECTIVES, Objective
from llamarium.train.run import Run
from llamarium.train.status import Status
from llamarium.train.validate import Abandoned, scale, validate

Speak = Callable[[Run], str]
Line = dict[str, Any]  # what the log says of a step
Watch = Callable[[Run, Line], None]
Result = TypeVar("Result")

PAUSE = 5.0  # seconds between two tries to write to a full disk
GROW_SCALE = 2000  # steps in float16 without an overflow, after which its scale is doubled


def train(run: Run, *, speak: Speak | None = None, after_step: Watch | None = None) -> None:
    """Take `run` to its end; `speak` is asked at each validation, `after_step` is told of each step, and its time is not the run's.

    Ctrl-C or SIGTERM saves and raises `Interrupted`; a second one ends at once.
    """
    options = run.recipe.train
    objective = compute.objective(
        OBJECTIVES[options.objective],
        run.precision,
        run.device,
        compiled=bool(options.compile) and run.root is None,
        kind=run.model.KIND,
    )
    learning = list(run.learning().values())
    run.model.train()
    machine.begins(run)
    if options.compile and run.root is None and not run.ended:  # stopped here, nothing has been done that could be lost
        progress.say(f"Compiled in {compute.compile_now(objective, run.model, run.batches()[0][0]):.0f} s.")
    with interrupts() as interrupted, Status(run) as status, said_in_words():
        began, saved = time.perf_counter() - run.seconds, run.samples_consumed

        def stop() -> bool:
            """Whether any process of the group was interrupted; asked by all of them at the same moments."""
            return any(run.group.gather(interrupted.is_set()))

        while not run.done and not stop():
            if run.line is None:
                run.line = _step(run, objective, learning, interrupted, stop)
                run.optimizer.zero_grad(set_to_none=True)  # whether they were used or not
                if run.line is None:
                    continue
                run.seconds = run.group.tell(time.perf_counter() - began)

            line = run.line
            if run.step % options.validation_interval == 0 or run.ended:
                try:
                    interrupted.at_once = run.group.size == 1
                    line[scale(run)] = validate(run, stop=stop)
                    interrupted.at_once = False
                except (Abandoned, KeyboardInterrupt):
                    break
                run.note_validation(line[scale(run)])
                machine.memory(run)
            run.line = None
            run.log.write(**line, seconds=round(run.seconds, 3))
            if scale(run) in line and speak is not None and run.model.KIND != "encoder":
                run.log.event(run.step, "sample", run.compute(speak, run))
            if run.step % options.save_every == 0 or run.ended or run.is_best_now:
                status.saved, saved = _save(run, stop), run.samples_consumed
            if after_step is not None:
                watched = time.perf_counter()
                after_step(run, line)
                began += time.perf_counter() - watched
            status.show(line)
        if not run.done or run.samples_consumed != saved:  # the last batch may have been passed over
            _save(run, stop)
        if not run.done:
            raise Interrupted(f"Stopped at step {run.step}; everything is saved in {run.folder}.", hint="Go on with --resume.")


def _step(
    run: Run, objective: Objective, learning: list[torch.nn.Parameter], interrupted: Interrupts, stop: Callable[[], bool]
) -> Line | None:
    """One step of the optimizer, and what the log will say of it; None where the batch is passed over, tried again, or interrupted."""
    if run.samples_consumed in run.guard.passed_over:
        run.pass_over()
        return None
    rate = _rate(run)
    for group in run.optimizer.param_groups:
        group["lr"] = rate * group["scale"]

    batches, num_targets = run.batches()
    (total,) = run.group.sum([num_targets])
    loss, before = 0.0, random_state()
    try:  # a step may take longer than the patience of who stops it: what is half done is dropped
        interrupted.at_once = run.group.size == 1
        for batch in batches:
            part = run.compute(objective, run.model, batch)
            # Gradients are averaged over the group, and a sum is wanted.
            (part * (run.loss_scale * run.group.size / max(1, total))).backward()  # type: ignore[no-untyped-call]
            loss += part.item() / max(1, total)
        interrupted.at_once = False
    except KeyboardInterrupt:
        restore_random_state(before)
        return None
    (loss,) = run.group.sum([loss])
    norm = _clip(run, learning, run.recipe.train.gradient_clip)
    if _overflowed(run, loss, norm):
        return None
    if run.recipe.train.guard and (reason := run.guard.judge(loss, norm)):
        _skip(run, reason, stop)
        return None

    norms = run.norms() if (run.step + 1) % run.recipe.train.validation_interval == 0 else None
    run.optimizer.step()
    run.step += 1
    run.pass_over()
    run.tokens += int(total)
    if norms is not None:
        run.log.event(run.step, "norms", norms)
    return {"step": run.step, "tokens": run.tokens, "loss": loss, "learning_rate": rate, "gradient_norm": norm}


def _rate(run: Run) -> float:
    """The rate that belongs to the step's end: at its beginning the first step would have none."""
    options = run.recipe.optimizer
    return optim.learning_rate(
        run.share(steps_ahead=1),
        peak=run.recipe.train.learning_rate,
        schedule=options.schedule,
        warmup=options.warmup,
        final=options.final,
        decay=options.decay,
    )


def _clip(run: Run, learning: list[torch.nn.Parameter], most: float) -> float:
    """The norm of all gradients, which are scaled down where it is more than `most`. Pascanu et al. 2013, arXiv:1211.5063."""
    gradients = [parameter.grad for parameter in learning if parameter.grad is not None]
    if run.loss_scale != 1:
        for gradient in gradients:
            gradient /= run.loss_scale
    norm = build.whole(torch.nn.utils.get_total_norm(gradients))
    torch.nn.utils.clip_grads_with_norm_(learning, most, norm)
    return float(norm)


def _overflowed(run: Run, loss: float, norm: float) -> bool:
    """Whether float16 was too narrow: then the same batch is tried again at half the scale. Micikevicius et al. 2018, arXiv:1710.03740.

    A loss that is no number is none at any scale: the guard judges it.
    """
    if run.precision != torch.float16 or not math.isfinite(loss):
        return False
    if not math.isfinite(norm) and run.loss_scale > 1:
        run.loss_scale, run.scaled_since = run.loss_scale / 2, run.step
        return True
    if run.step - run.scaled_since >= GROW_SCALE:
        run.loss_scale, run.scaled_since = run.loss_scale * 2, run.step
    return False


def _skip(run: Run, reason: str, stop: Callable[[], bool]) -> None:
    """Pass over a batch, and where that no longer helps go back to the last good checkpoint."""
    first = run.samples_consumed
    progress.say(f"Step {run.step + 1} is skipped: {reason}.")
    run.log.event(run.step + 1, "skip", {"samples": [first, first + run.recipe.train.rows], "reason": reason})
    run.pass_over()
    if run.guard.skip(first):
        run.roll_back(reason)
        _save(run, stop)
        run.log.event(event="roll-back", **run.guard.roll_backs[-1])
        progress.say(f"Back to step {run.step}; {len(run.guard.roll_backs[-1]['detail']['samples'])} batches will be passed over.")


def _save(run: Run, stop: Callable[[], bool]) -> str:
    """Write a checkpoint; the log says where it had to wait for that."""
    path, waited = patiently(run.save, stop=stop)
    if waited:
        run.log.event(run.step, "waited for disk")
    return path.name


def patiently(write: Callable[[], Result], *, stop: Callable[[], bool] = lambda: False) -> tuple[Result, bool]:
    """What `write` returns, and whether it had to wait: while the disk is full, say so and try again, until `stop` says otherwise."""
    waited = False
    while True:
        try:
            result = write()
        except ResourceError as error:
            if not waited:
                progress.say(f"{error.message} The run waits; it goes on by itself when there is room.")
            waited = True
            if stop():
                raise
            time.sleep(PAUSE)
        else:
            if waited:
                progress.say("There is room again; the run goes on.")
            return result, waited
