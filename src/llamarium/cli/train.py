"""``llamarium train``: run a recipe."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from llamarium.train.run import Run


def command(
    recipe: Annotated[Path, typer.Argument(help="A recipe in YAML.")],
    settings: Annotated[list[str] | None, typer.Option("--set", help="key=value that wins over the recipe; may be repeated.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where the newest valid checkpoint stands.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and stop.")] = False,
) -> None:
    """Train a model as a recipe says; into runs/<name>."""
    from llamarium.ground import progress
    from llamarium.ground.group import joined
    from llamarium.train import recipe as recipes
    from llamarium.train.estimate import describe
    from llamarium.train.finish import train_to_the_end
    from llamarium.train.fit import fit
    from llamarium.train.run import start

    with joined() as group:
        if not group.is_first:
            progress.use(progress.Silent())
        read = recipes.read(recipe, settings or ())
        if dry_run:
            lines = describe(read)
            if group.is_first:
                print("\n".join(lines))
            return
        if recipes.fitted(read):
            with group.together():
                model = fit(read, Path("runs") / read.name, resume=resume) if group.is_first else Path()
            if group.is_first:
                print(model)
            return
        run = start(read, Path("runs") / read.name, resume=resume, group=group)
        for line in describe(read, run):
            progress.say(line)
        model = train_to_the_end(run, speak=speak)
    if group.is_first:
        print(model)


def speak(run: Run) -> str:
    """A few words of the model as it stands, always from the same seed; to a question, where it is a model that reads one first."""
    from llamarium.engine.generate import generate
    from llamarium.engine.sample import Sampling
    from llamarium.ground import progress
    from llamarium.train.validate import first_question

    training = run.model.training
    run.model.eval()
    asked = first_question(run) if run.model.KIND == "encoder_decoder" else None
    text = generate(
        run.model,
        run.tokenizer,
        [run.tokenizer.begin_id] if asked is None else asked,
        max_tokens=min(48, (run.model.config.context_length or 49) - 1),
        sampling=Sampling(temperature=0.8, seed=run.recipe.seed),
        stop_ids=frozenset() if asked is None else run.tokenizer.stop_ids,
    ).text
    run.model.train(training)
    progress.say(f"  step {run.step} says: {' '.join(text.split())[:160]}")
    return text
