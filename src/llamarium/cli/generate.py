"""``llamarium generate``: a model continues a text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from llamarium.cli._output import Json, print_json, print_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from llamarium.engine.generate import Generation

MaxTokens = Annotated[int, typer.Option(help="At most so many tokens.")]
Temperature = Annotated[float, typer.Option(help="0: always the most probable token.")]
TopP = Annotated[float, typer.Option(help="Choose among the most probable tokens that make up this share.")]
TopK = Annotated[int, typer.Option(help="Choose among so many tokens; 0: all.")]
MinP = Annotated[float, typer.Option(help="Leave out tokens less probable than this share of the best.")]
RepetitionPenalty = Annotated[float, typer.Option(help="Above 1: what was said becomes less probable.")]
Seed = Annotated[int | None, typer.Option(help="The same seed gives the same text.")]
Stop = Annotated[list[str] | None, typer.Option(help="End before this text; may be repeated.")]
Dtype = Annotated[str, typer.Option(help="float32, bfloat16 or float16.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")]


def command(
    model: Annotated[str, typer.Argument(help="A path, a catalogue name, or hf:REPO.")],
    prompt: Annotated[str, typer.Argument(help="The text to continue; - reads standard input.")],
    chat: Annotated[bool, typer.Option("--chat", help="Take the prompt as a message to a chat model.")] = False,
    max_tokens: MaxTokens = 128,
    temperature: Temperature = 0.7,
    top_p: TopP = 0.95,
    top_k: TopK = 0,
    min_p: MinP = 0.0,
    repetition_penalty: RepetitionPenalty = 1.0,
    seed: Seed = None,
    stop: Stop = None,
    dtype: Dtype = "float32",
    device: Device = "auto",
    json: Json = False,
) -> None:
    """Continue a text, or with --chat answer a message."""
    import sys

    from llamarium.engine.generate import Generation
    from llamarium.engine.language_model import load

    if prompt == "-":
        prompt = sys.stdin.read()
    options: dict[str, Any] = {
        "max_tokens": max_tokens,
        "temperature": temperature,
        "top_p": top_p,
        "top_k": top_k,
        "min_p": min_p,
        "repetition_penalty": repetition_penalty,
        "seed": seed,
        "stop": stop or [],
    }
    loaded = load(model, dtype=dtype, device=device)
    result = Generation()
    if chat:
        pieces = loaded.chat([{"role": "user", "content": prompt}], stream=True, result=result, **options)
    else:
        pieces = loaded.generate(prompt, stream=True, result=result, **options)
    show(pieces, result, json=json)


def show(pieces: Iterator[str], result: Generation, *, json: bool) -> None:
    """Print text as it comes, or one JSON object when it is all there."""
    for piece in pieces:
        if not json:
            print_text(piece, end="")
    if json:
        print_json(result.as_dict())
    else:
        print_text("")
