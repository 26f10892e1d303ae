"""The training loop, on one page: forward, backward, schedule, step, log, validate, save.

Takes: a `Run`, and a way to let the model speak now and then.
Gives: the run at its end, its log, its checkpoints.
Does not know: families, recipes' files, what is replaced by what. This is the only file that calls `.backward()`.
"""

from __future__ import annotations

import contextlib
import math
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import torch
from torch import Tensor

from llamarium import optim
from llamarium.ground import progress
from llamarium.ground.device import memory
from llamarium.ground.errors import Interrupted, TrainingError
from llamarium.models.scoring import log2_probabilities
from llamarium.tokens.packing import IGNORED, Rows
from llamarium.train.objectives import OBJECTIVES, Batch
from llamarium.train.run import Run

Speak = Callable[[Run], str]
Line = dict[str, Any]  # what the log says of a step


def train(run: Run, *, speak: Speak | None = None, after_step: Callable[[Run, Line], None] | None = None) -> None:
    """Take `run` to its end; `speak` is asked at each validation, `after_step` is told of each step.

    Ctrl-C or SIGTERM saves and raises `Interrupted`; a second one ends at once.
    """
    options, recipe = run.recipe.train, run.recipe.optimizer
    objective = OBJECTIVES[options.objective]
    learning = list(run.learning().values())
    validate_every = options.validate_every or options.save_every
    status = _Status(run)
    run.model.train()
    with _interrupts() as interrupted, status:
        began = time.perf_counter() - run.seconds
        while run.share() < 1 and not interrupted.is_set():
            # The rate that belongs to the step's end: at its beginning the first step would have none.
            rate = optim.learning_rate(
                run.share(steps_ahead=1), peak=options.learning_rate, schedule=recipe.schedule, warmup=recipe.warmup, final=recipe.final
            )
            for group in run.optimizer.param_groups:
                group["lr"] = rate * group["scale"]

            rows = run.order.samples(run.samples_consumed, options.rows)
            num_targets = int((rows.targets != IGNORED).sum())
            loss = 0.0
            for batch in _micro_batches(rows, options.micro_batch_tokens, run.device):
                with _autocast(run):
                    part = objective(run.model, batch) / max(1, num_targets)
                part.backward()  # type: ignore[no-untyped-call]
                loss += part.item()
            norm = float(torch.nn.utils.clip_grad_norm_(learning, options.gradient_clip))
            if not math.isfinite(loss) or not math.isfinite(norm):
                raise TrainingError(
                    f"The loss is no longer a number at step {run.step + 1} (loss {loss}, gradient norm {norm}).",
                    hint="Lower train.learning_rate and --resume: the last checkpoint is untouched.",
                )
            run.optimizer.step()
            run.optimizer.zero_grad(set_to_none=True)

            run.step += 1
            run.samples_consumed += options.rows
            run.tokens += num_targets
            run.seconds = time.perf_counter() - began
            line: Line = {"step": run.step, "tokens": run.tokens, "loss": loss, "learning_rate": rate, "gradient_norm": norm}
            ended = run.share() >= 1
            if run.step % validate_every == 0 or ended:
                line["bits_per_byte"] = validate(run)
            run.log.write(**line, seconds=round(run.seconds, 3))
            if "bits_per_byte" in line and speak is not None:
                run.log.event(run.step, "sample", speak(run))
            if run.step % options.save_every == 0 or ended:
                status.saved = run.save().name
            if after_step is not None:
                after_step(run, line)
            status.show(line)
        if interrupted.is_set() and run.share() < 1:
            run.save()
            raise Interrupted(f"Stopped at step {run.step}; everything is saved in {run.folder}.", hint="Go on with --resume.")


@contextlib.contextmanager
def _autocast(run: Run) -> Iterator[None]:
    if run.precision == torch.float32:
        yield
    else:
        with torch.autocast(run.device.type, run.precision):
            yield


def _micro_batches(rows: Rows, num_tokens: int, device: torch.device) -> Iterator[Batch]:
    """Parts of a step that are small enough to be in memory at once."""
    size = max(1, num_tokens // rows.inputs.shape[1])
    for start in range(0, len(rows.inputs), size):

        def part(values: Any, start: int = start) -> Tensor:
            return torch.from_numpy(values[start : start + size]).to(device)

        yield Batch(part(rows.inputs), part(rows.targets), part(rows.documents))


def validate(run: Run) -> float | None:
    """Bits per byte of the run's validation documents, in windows of the training's length; None without any."""
    if not run.validation:
        return None
    scores = log2_probabilities(
        run.model,
        [ids for ids, _ in run.validation],
        context_length=run.recipe.train.sequence_length,
        autocast=None if run.precision == torch.float32 else run.precision,
        name="validating",
    )
    return -sum(float(score.sum()) for score in scores) / max(1, sum(num_bytes for _, num_bytes in run.validation))


@contextlib.contextmanager
def _interrupts() -> Iterator[threading.Event]:
    """An event that Ctrl-C or SIGTERM sets; the second signal ends the process at once. Elsewhere than in the main thread: never set."""
    event = threading.Event()

    def handle(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
        if event.is_set():
            os._exit(Interrupted.exit_code)
        event.set()

    if threading.current_thread() is not threading.main_thread():
        yield event
        return
    old = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield event
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)


class _Status:
    """One line: step, loss, bits per byte, tokens a second, ETA, memory, last checkpoint."""

    def __init__(self, run: Run) -> None:
        self.run, self.saved = run, "none yet"
        self.bits: float | None = None
        self._share = run.share()
        self._start, self._tokens = run.seconds, run.tokens
        self._task = progress.task("training", 1.0)

    def __enter__(self) -> None:
        self._work = self._task.__enter__()
        self._work.advance(self._share)

    def __exit__(self, *error: Any) -> None:
        self._task.__exit__(*error)

    def show(self, line: dict[str, Any]) -> None:
        self.bits = line.get("bits_per_byte", self.bits)
        bits = "" if self.bits is None else f"  {self.bits:.3f} bits per byte"
        speed = (self.run.tokens - self._tokens) / max(1e-9, self.run.seconds - self._start)
        note = (
            f"step {self.run.step}  loss {line['loss']:.3f}{bits}  {speed:,.0f} tokens/s  {progress.size(memory()[0])}  saved: {self.saved}"
        )
        share = self.run.share()
        self._work.advance(share - self._share, note=note)
        self._share = share
