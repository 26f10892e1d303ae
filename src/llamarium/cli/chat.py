"""``llamarium chat``: talk with a model."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

from llamarium.cli._output import Json
from llamarium.cli.generate import Device, Dtype, MaxTokens, MinP, RepetitionPenalty, Seed, Temperature, TopK, TopP, show


def command(
    model: Annotated[str, typer.Argument(help="A path, a catalogue name, or hf:REPO.")],
    message: Annotated[str | None, typer.Argument(help="One message, one answer; without it, a conversation.")] = None,
    system: Annotated[str, typer.Option(help="What the model is told before the conversation.")] = "",
    max_tokens: MaxTokens = 512,
    temperature: Temperature = 0.7,
    top_p: TopP = 0.95,
    top_k: TopK = 0,
    min_p: MinP = 0.0,
    repetition_penalty: RepetitionPenalty = 1.0,
    seed: Seed = None,
    dtype: Dtype = "float32",
    device: Device = "auto",
    json: Json = False,
) -> None:
    """Talk with a model. Ctrl-D, or an empty Ctrl-C, ends the conversation."""
    from llamarium.engine.generate import Generation
    from llamarium.engine.language_model import load

    options: dict[str, Any] = {
        "max_tokens": max_tokens,
        "temperature": temperature,
        "top_p": top_p,
        "top_k": top_k,
        "min_p": min_p,
        "repetition_penalty": repetition_penalty,
        "seed": seed,
    }
    loaded = load(model, dtype=dtype, device=device)
    conversation = [{"role": "system", "content": system}] if system else []
    interactive = message is None
    while True:
        if interactive:
            try:
                message = input("> " if sys.stdin.isatty() else "")
            except EOFError:
                return
        assert message is not None
        conversation.append({"role": "user", "content": message})
        result = Generation()
        show(loaded.chat(conversation, stream=True, result=result, **options), result, json=json)
        if not interactive:
            return
        conversation.append({"role": "assistant", "content": result.text})
