"""``llamarium bench``: how fast this machine does what models do."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from llamarium.cli._output import Json, print_json

app = typer.Typer(help="How fast this machine trains a model, and reads its memory.", no_args_is_help=True)


@app.command("train")
def train(
    model: Annotated[str, typer.Argument(help="A path, a catalogue name, or hf:REPO.")],
    seconds: Annotated[float, typer.Option(help="About how long to measure.", min=1)] = 20.0,
    batch_tokens: Annotated[int, typer.Option(help="Tokens of a step.", min=1)] = 4096,
    sequence_length: Annotated[int, typer.Option(help="Tokens of a row.", min=1)] = 256,
    compiled: Annotated[bool, typer.Option("--compile/--no-compile", help="Compile the step first, which is not measured.")] = False,
    json: Json = False,
) -> None:
    """Tokens a second that the training loop reaches on MODEL: all weights learn, on random ids."""
    from llamarium.train.measure import measure

    found = measure(model, seconds=seconds, batch_tokens=batch_tokens, sequence_length=sequence_length, compiled=compiled)
    _show(
        found,
        f"{found['model']}: {found['tokens_per_second']:,.0f} tokens a second in {found['precision']}, {found['threads']} threads; "
        f"{found['flop_per_token'] / 1e6:,.0f} MFLOP a token, {found['fraction_of_limit']:.0%} of what a 2048³ product reaches here",
        json,
    )


@app.command("bandwidth")
def bandwidth(json: Json = False) -> None:
    """Gigabytes a second that two threads read from memory: the median of 9 sums over 1 GiB."""
    from llamarium.ground.device import read_bandwidth

    rate = read_bandwidth(threads=2)
    _show({"bandwidth_gb_s": rate / 1e9, "threads": 2}, f"{rate / 1e9:.1f} GB/s read by 2 threads (1 GiB, median of 9)", json)


def _show(values: dict[str, Any], line: str, as_json: bool) -> None:
    if as_json:
        print_json(values)
    else:
        print(line)
