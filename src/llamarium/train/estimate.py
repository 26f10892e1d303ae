"""What a run is going to be, before it starts: weights, tokens, memory, disk.

Takes: a recipe, or a run that stands at its beginning.
Gives: lines for people.
Does not know: how it will go.
"""

from __future__ import annotations

from llamarium.ground import progress
from llamarium.train import build, data
from llamarium.train.recipe import Recipe
from llamarium.train.run import Run


def describe(recipe: Recipe, run: Run | None = None) -> list[str]:
    """What a run is going to be, in a few lines: weights, tokens, memory, disk. Without `run`, nothing is written for it."""
    if run is None:
        model, _ = build.model_and_tokenizer(recipe, data.open_texts(recipe), None, place="meta")
        build.adapt(recipe, model)
    else:
        model = run.model
    train = recipe.train
    learning = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    everything = model.num_parameters()
    per_step = train.rows * train.sequence_length
    length = (
        f"{train.minutes:g} minutes" if train.num_steps is None else f"{train.num_steps:,} steps, {train.num_steps * per_step:,} tokens"
    )
    # Each learning weight has a gradient and two moments, all float32; a checkpoint holds it and its moments.
    memory, disk = 4 * (everything + 3 * learning), 4 * (3 * learning * (train.keep + 1) + everything)
    shape = ", ".join(
        f"{name} {getattr(model.config, name):,}" for name in ("layers", "width", "heads", "vocab_size") if hasattr(model.config, name)
    )
    return [
        f"{recipe.name}: {recipe.model.start or recipe.model.family}, {everything:,} weights, {learning:,} of them learn ({shape})",
        f"{length}; {per_step:,} tokens a step in sequences of {train.sequence_length}",
        f"about {progress.size(memory)} of memory beside what a batch needs, {progress.size(disk)} of disk",
    ]
