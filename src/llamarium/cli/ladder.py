"""``llamarium ladder``: every model family of the story on one text and one scale."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from llamarium.cli._output import Json, print_json


def command(
    corpus: Annotated[Path, typer.Argument(help="A corpus folder, as `llamarium prepare` makes it.")],
    out: Annotated[Path, typer.Option(help="Where everything goes.")],
    minutes: Annotated[float, typer.Option(help="For everything; what training gets is shared equally.", min=0.5)] = 10.0,
    tokens: Annotated[int | None, typer.Option(help="Train each network on so many tokens instead of an equal time.", min=1024)] = None,
    size: Annotated[str, typer.Option(help="Weights of each network, such as 1M.")] = "1M",
    vocab_size: Annotated[int, typer.Option(help="Pieces of the vocabulary; 0: by the size of the text.", min=0)] = 0,
    seeds: Annotated[int, typer.Option(help="Train GPT and LLaMA from so many seeds, to see the spread.", min=1)] = 1,
    catalogue: Annotated[str, typer.Option(help="The LLaMA at the top of the ladder; `none` leaves it out.")] = "smollm2-135m-instruct",
    resume: Annotated[bool, typer.Option("--resume", help="Go on where an earlier ladder in OUT was interrupted.")] = False,
    json: Json = False,
) -> None:
    """Train every decoder family on the same text for the same time and compare them in bits per byte."""
    from llamarium.apps.ladder.climb import Ladder
    from llamarium.apps.ladder.page import lines, write_report
    from llamarium.ground import progress
    from llamarium.ground.errors import Interrupted, UsageError
    from llamarium.text.corpus import open_corpus
    from llamarium.train.recipe import parse_size

    try:
        parse_size(size)
    except ValueError as error:
        raise UsageError(f"--size: {error}.") from None
    ladder = Ladder(
        open_corpus(corpus),
        out,
        minutes=minutes,
        tokens=tokens,
        size=size,
        vocab_size=vocab_size,
        seeds=seeds,
        catalogue=None if catalogue == "none" else catalogue,
    )
    try:
        results = ladder.climb(resume=resume)
    except Interrupted:
        if ladder.results["rungs"]:
            progress.say(f"The report so far: {write_report(out, ladder.results)}")
        raise
    progress.say(f"The report: {write_report(out, results)}")
    if json:
        print_json(results)
    else:
        print("\n".join(lines(results)))
