"""``llamarium score``: how probable a model finds each line of a file."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from llamarium.cli._output import Json, print_json, print_text
from llamarium.cli.generate import Device, Dtype

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llamarium.evaluate.lines import Hypothesis, Line, Unit


def command(
    model: Annotated[str, typer.Argument(help="A path, a catalogue name, or hf:REPO.")],
    file: Annotated[str, typer.Argument(help="Text in UTF-8, a line each; - reads standard input.")],
    by: Annotated[str, typer.Option(help="total, or its mean by token or byte, so that short lines are not preferred.")] = "total",
    no_end: Annotated[bool, typer.Option("--no-end", help="The lines are beginnings: leave out the token that ends a text.")] = False,
    nbest: Annotated[
        bool,
        typer.Option("--nbest", help="Lines are `id ||| text ||| ... ||| score` or id, score, text with tabs: print the best of each id."),
    ] = False,
    weight: Annotated[
        float | None, typer.Option(help="With --nbest: how much of the model's score is added to the given one; 1 unless given.")
    ] = None,
    all_ranked: Annotated[bool, typer.Option("--all", help="With --nbest: print all lines of each id, the best first.")] = False,
    dtype: Dtype = "float32",
    device: Device = "auto",
    json: Json = False,
) -> None:
    """Log-probability of each line (natural logarithm, more is better), a tab, and the line; with --nbest the best line of each id."""
    from llamarium.checkpoint.open import open_model
    from llamarium.evaluate.lines import rank, read_nbest, score_lines, split_lines
    from llamarium.ground import progress
    from llamarium.ground.device import pick_device, pick_dtype

    unit = _unit(by)
    _check(nbest=nbest, weight=weight, all_ranked=all_ranked)
    name = "standard input" if file == "-" else file
    texts = split_lines(_read(file), name=name)
    hypotheses = read_nbest(texts, name=name) if nbest else []
    if not texts:
        progress.say(f"{name} has no lines.")
    opened = open_model(model, dtype=pick_dtype(dtype), device=pick_device(device))
    lines = score_lines(opened.model, opened.tokenizer, (each.text for each in hypotheses) if nbest else texts, end=not no_end)
    scores = [line.score(unit) for line in lines]
    ranked = rank(hypotheses, scores, weight=1.0 if weight is None else weight) if nbest else []
    shown = [each for group in ranked for each in (group if all_ranked else group[:1])]
    if json:
        print_json(_as_json(lines, scores, shown if nbest else None))
    elif nbest:
        print_text("".join(f"{each.id}\t{each.score:.5f}\t{each.text}\n" for each in shown), end="")
    else:
        print_text("".join(f"{score:.5f}\t{line.text}\n" for line, score in zip(lines, scores, strict=True)), end="")


def _unit(by: str) -> Unit:
    from llamarium.evaluate.lines import UNITS
    from llamarium.ground.errors import UsageError, nearest

    for unit in UNITS:
        if unit == by:
            return unit
    raise UsageError(f"Lines are not scored by {by!r}.", hint=nearest(by, UNITS))


def _check(*, nbest: bool, weight: float | None, all_ranked: bool) -> None:
    from llamarium.ground.errors import UsageError

    if not nbest and (weight is not None or all_ranked):
        raise UsageError(f"{'--all' if all_ranked else '--weight'} goes with an n-best list.", hint="Set --nbest, too.")
    if weight is not None and not math.isfinite(weight):
        raise UsageError(f"--weight must be a number, not {weight}.", hint="For example: --weight 0.5")


def _read(file: str) -> bytes:
    import sys

    from llamarium.ground.errors import NotFoundError

    if file == "-":
        return sys.stdin.buffer.read()
    try:
        return Path(file).read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        raise NotFoundError(f"{file} does not exist.", hint="FILE holds the lines to score; - reads standard input.") from None
    except IsADirectoryError:
        raise NotFoundError(f"{file} is a folder, not a file.", hint="FILE holds the lines to score.") from None


def _as_json(lines: Sequence[Line], scores: Sequence[float], ranked: Sequence[Hypothesis] | None) -> dict[str, object]:
    """Null stands for what is no number: the mean over no bytes."""
    return {
        "lines": [
            {
                "text": line.text,
                "score": _finite(score),
                "log_probability": _finite(line.log_probability),
                "tokens": line.tokens,
                "bytes": line.bytes,
                "bits_per_byte": _finite(line.bits_per_byte),
            }
            for line, score in zip(lines, scores, strict=True)
        ],
        "nbest": None if ranked is None else [{"id": each.id, "score": _finite(each.score), "text": each.text} for each in ranked],
    }


def _finite(number: float) -> float | None:
    return number if math.isfinite(number) else None
