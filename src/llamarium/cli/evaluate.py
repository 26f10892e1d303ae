"""``llamarium evaluate``: how well a model knows a text."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from llamarium.cli._output import Json, print_json
from llamarium.cli.generate import Device, Dtype


def command(
    model: Annotated[str, typer.Argument(help="A path, a catalogue name, or hf:REPO.")],
    data: Annotated[Path, typer.Option(help="A corpus folder; its validation part is scored.")],
    dtype: Dtype = "float32",
    device: Device = "auto",
    json: Json = False,
) -> None:
    """Bits per byte and perplexity of a model on the validation part of a corpus."""
    from llamarium.checkpoint.open import open_model
    from llamarium.evaluate.bits_per_byte import bits_per_byte
    from llamarium.ground.device import pick_device, pick_dtype
    from llamarium.text.corpus import open_corpus

    corpus = open_corpus(data)
    opened = open_model(model, dtype=pick_dtype(dtype), device=pick_device(device))
    score = bits_per_byte(opened.model, opened.tokenizer, (document.text for document in corpus.documents("valid")))
    if json:
        print_json(
            {
                "bits_per_byte": score.bits_per_byte,
                "perplexity": score.perplexity,
                "tokens": score.tokens,
                "bytes": score.bytes,
                "tasks": {},
            }
        )
        return
    print(f"{score.bits_per_byte:.4f} bits per byte (less is better), over {score.bytes:,} bytes")
    print(f"{score.perplexity:.3f} perplexity a token, over {score.tokens:,} tokens")
