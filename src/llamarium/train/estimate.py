"""What a run is going to be, before it starts: weights, tokens, memory, disk, speed, and the size of model that would suit.

Takes: a recipe, or a run that stands before a step.
Gives: lines for people. Of a run, its speed is measured on its own first batches, and nothing of it is changed.
Does not know: how it will go. What it suggests is advice and decides nothing.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from pathlib import Path

import torch

from llamarium.ground import device as ground_device
from llamarium.ground import progress
from llamarium.ground.errors import ResourceError
from llamarium.ground.group import ALONE
from llamarium.models.model import Network
from llamarium.train import build, compute, data, resources
from llamarium.train.objectives import OBJECTIVES
from llamarium.train.recipe import Recipe, fitted
from llamarium.train.run import Run

PROBE = 5.0  # seconds
SHORT = 60.0  # seconds of a run that is not worth a probe
UTILIZATION = 0.35  # of the speed of a large matrix product that training reaches: a guess where there is no probe
PLENTY = 0.05  # of the memory that is free
TOKENS_PER_WEIGHT = 20  # Hoffmann et al. 2022, arXiv:2203.15556
READINGS = 4  # so often text may be repeated and teach about as much as fresh text: Muennighoff et al. 2023, arXiv:2305.16264


@dataclass(frozen=True)
class Speed:
    """Tokens a second, and how that is known."""

    rate: float
    how: str


def describe(recipe: Recipe, run: Run | None = None) -> list[str]:
    """What a run is going to be, in a few lines. Without `run`, nothing is written for it, no text tokenized, no step computed."""
    if run is None:
        return _describe_recipe(recipe)
    if run.done:
        return []
    text = sum(int(source.rows.target_starts[-1]) for source in run.data.sources)
    left = None if run.num_steps is None else (run.num_steps - run.step) * run.recipe.train.rows * run.recipe.train.sequence_length
    speed = _probe(run, left)
    return [
        *_shape(run.recipe, run.model),
        _text(run.recipe, text, about=""),
        _room(run.recipe, run.model, run.device, run.folder, processes=run.group.size),
        _speed(run.recipe, speed, left),
        *_advice(run.recipe, run.model, text, speed.rate),
    ]


def _describe_recipe(recipe: Recipe) -> list[str]:
    texts = data.open_texts(recipe)
    if fitted(recipe):
        text = resources.expected_tokens(recipe, texts)
        return [f"{recipe.model.family}, fitted at once", *([] if text is None else [_text(recipe, text, about="about ")])]
    device = ground_device.pick_device(recipe.train.device)
    state = ground_device.random_state()
    recipe = compute.resolve(recipe, device, ALONE)
    model, tokenizer, _ = build.model_and_tokenizer(recipe, texts, None, place="meta")
    speed = _guess(recipe, model, device)
    ground_device.restore_random_state(state)
    text = resources.expected_tokens(recipe, texts)
    try:
        recipe = resources.fit(recipe, model, resources.available_memory(device, model), device=device)
        room = _room(recipe, model, device, Path("runs") / recipe.name, tokens=resources.token_bytes(recipe, texts, tokenizer.vocab_size))
    except ResourceError as error:
        room = f"{error.message} {error.hint}"
    num_steps = recipe.train.num_steps
    left = None if num_steps is None else num_steps * recipe.train.rows * recipe.train.sequence_length
    known = [] if text is None else [_text(recipe, text, about="about ")]
    return [*_shape(recipe, model), *known, room, _speed(recipe, speed, left), *_advice(recipe, model, text, speed.rate)]


def _shape(recipe: Recipe, model: Network) -> list[str]:
    """The model, and how long it learns."""
    train = recipe.train
    per_step = train.rows * train.sequence_length
    length = (
        f"{train.minutes:g} minutes" if train.num_steps is None else f"{train.num_steps:,} steps, {train.num_steps * per_step:,} tokens"
    )
    shape = ", ".join(
        f"{name} {getattr(model.config, name):,}" for name in ("layers", "width", "heads", "vocab_size") if hasattr(model.config, name)
    )
    everything, learning = resources.num_weights(recipe, model)
    return [
        f"{recipe.name}: {recipe.model.start or recipe.model.family}, {everything:,} weights, {learning:,} of them learn ({shape})",
        f"{length}; {per_step:,} tokens a step in sequences of {train.sequence_length}",
    ]


def _text(recipe: Recipe, text: int, *, about: str) -> str:
    train = recipe.train
    line = f"{about}{text:,} tokens to learn from"
    if train.num_steps is None or not text:
        return line
    times = train.num_steps * train.rows * train.sequence_length / text
    return f"{line}, read {times:.3g} times" if times >= 1 else f"{line}, of which the run reads {100 * times:.2g} %"


def _room(recipe: Recipe, model: Network, device: torch.device, folder: Path, *, tokens: int = 0, processes: int = 1) -> str:
    """Memory and disk. Where there is plenty of memory, how much exactly is not worth half a second."""
    bound = resources.upper_bound(recipe, model, processes=processes)
    if bound <= PLENTY * resources.available_memory(device, model):
        memory = f"less than {progress.size(bound)} of memory"
    else:
        found = resources.need(recipe, model, device, processes=processes)
        kept = f", at most {progress.size(found.at_most)} with what the allocator keeps" if found.at_most > found.peak else ""
        memory = f"about {progress.size(found.peak)} of memory at the peak{kept}"
    needed, free = resources.disk(recipe, model, tokens), resources.free_disk(folder)
    return f"{memory}; up to {progress.size(needed)} of disk, of {progress.size(free)} that are free"


def _speed(recipe: Recipe, speed: Speed, left: int | None) -> str:
    if left is None:
        return f"{speed.rate:,.0f} tokens/s ({speed.how}): about {speed.rate * 60 * (recipe.train.minutes or 0):,.0f} tokens"
    return f"{speed.rate:,.0f} tokens/s ({speed.how}): {progress.duration(left / speed.rate)} without saving and validating"


# --- Speed ------------------------------------------------------------------------------------------------------------


def _guess(recipe: Recipe, model: Network, device: torch.device) -> Speed:
    """From a product of two matrices: 2 operations a weight forward, 2 for the gradients of what it reads, 2 for its own."""
    precision = compute.dtype(recipe.train.precision)
    everything, learning = resources.num_weights(recipe, model)
    operations = (6 if recipe.train.recompute else 4) * everything + 2 * learning
    rate = UTILIZATION * ground_device.matmul_rate(precision, device) / operations
    return Speed(rate, "a rough guess from the speed of one matrix product")


def _probe(run: Run, left: int | None) -> Speed:
    """Forward and backward on the first batches for up to `PROBE` seconds; in a short run, once. No step is taken."""
    if run.group.size > 1:
        guess = _guess(run.recipe, run.model, run.device)
        return Speed(guess.rate * run.group.size, f"{guess.how}, times {run.group.size} processes")
    function, learning = OBJECTIVES[run.recipe.train.objective], list(run.learning().values())
    objective = compute.objective(function, run.precision, run.device, compiled=False)
    batches, _ = run.batches()
    state, training = ground_device.random_state(), run.model.training
    run.model.train()
    tokens, seconds = 0, 0.0
    try:
        for number in range(1_000_000):
            batch = batches[number % len(batches)]
            began = time.perf_counter()
            torch.autograd.grad(objective(run.model, batch), learning)
            if run.device.type == "cuda":
                torch.cuda.synchronize(run.device)
            once = time.perf_counter() - began
            if number == 1:  # the first pass is slower: it touches everything for the first time
                tokens, seconds = 0, 0.0
            tokens, seconds = tokens + batch.inputs.numel(), seconds + once
            whole = 60 * run.recipe.train.minutes - run.seconds if run.recipe.train.minutes is not None else (left or 0) * seconds / tokens
            if whole < SHORT or (number == 0 and once > PROBE) or (number > 0 and seconds + once > PROBE):
                break
    finally:
        run.model.train(training)
        ground_device.restore_random_state(state)
    how = "one pass, forward and backward" if number == 0 else f"probed for {seconds:.1f} s, forward and backward"
    return Speed(
        tokens / seconds, how + (", not compiled; compiling takes a minute and the run is faster then" if run.recipe.train.compile else "")
    )


# --- Advice -----------------------------------------------------------------------------------------------------------


def suggested_size(text: float, operations: float) -> tuple[float, str]:
    """Weights of the model that learns most from `text` tokens in so many floating-point `operations`, and which of the two limits it.

    C = 6 N D operations, D = 20 N tokens (Hoffmann et al. 2022, arXiv:2203.15556), D at most 4 times the text (Muennighoff et
    al. 2023, arXiv:2305.16264).

    >>> suggested_size(1e9, 1.2e16)
    (10000000.0, 'time')
    >>> suggested_size(1e6, 1.2e16)
    (200000.0, 'text')
    """
    by_time = math.sqrt(operations / (6 * TOKENS_PER_WEIGHT))
    by_text = READINGS * text / TOKENS_PER_WEIGHT
    return (by_time, "time") if by_time < by_text else (by_text, "text")


def _advice(recipe: Recipe, model: Network, text: int | None, rate: float) -> list[str]:
    """One line; none for a model that is there already or a text whose length is not known."""
    if recipe.model.start is not None or not text:
        return []
    train = recipe.train
    tokens = rate * 60 * train.minutes if train.minutes is not None else (train.num_steps or 0) * train.rows * train.sequence_length
    size, limit = suggested_size(text, 6 * model.num_parameters() * tokens)
    written = f"{size / 1e6:.2g}M" if size >= 1e6 else f"{size / 1e3:.2g}k"
    return [
        f"for this text and time a model of about {float(written[:-1]):g}{written[-1]} weights would learn most, limited by the {limit}: "
        f"{TOKENS_PER_WEIGHT} tokens a weight (Hoffmann et al. 2022, arXiv:2203.15556), text read at most {READINGS} times "
        "(Muennighoff et al. 2023, arXiv:2305.16264)"
    ]
