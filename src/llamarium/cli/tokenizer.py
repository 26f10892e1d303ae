"""``llamarium tokenizer``: train one, look at what one does."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from llamarium.cli._output import Json, print_json

app = typer.Typer(help="Train a tokenizer, look at what one does.", no_args_is_help=True)


@app.command()
def train(
    corpus: Annotated[Path, typer.Argument(help="A corpus folder.")],
    vocab_size: Annotated[int, typer.Option(help="Tokens of the vocabulary, specials included.")],
    out: Annotated[Path, typer.Option(help="The folder to write.")],
) -> None:
    """Learn a byte-level BPE from the training part of a corpus."""
    from llamarium.ground.errors import ExistsError
    from llamarium.text.corpus import open_corpus
    from llamarium.tokens.train import train_bpe

    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ExistsError(f"{out} exists.", hint="Name another folder with --out.")
    read = open_corpus(corpus)
    tokenizer = train_bpe((document.text for document in read.documents("train")), vocab_size=vocab_size)
    tokenizer.save(out)
    texts = [document.text for document in read.documents("valid")]
    num_bytes = sum(len(text.encode("utf-8", "surrogatepass")) for text in texts)
    num_tokens = sum(len(ids) for ids in tokenizer.encode_batch(texts))
    typer.echo(f"{tokenizer.vocab_size:,} tokens; {num_bytes / max(1, num_tokens):.2f} bytes per token on the validation part", err=True)
    print(out)


@app.command()
def inspect(
    tokenizer: Annotated[str, typer.Argument(help="A tokenizer's folder, or a MODEL.")],
    text: Annotated[str, typer.Argument(help="Any text.")],
    json: Json = False,
) -> None:
    """Show the pieces a text is cut into, and their ids."""
    from llamarium.checkpoint.open import open_tokenizer

    opened = open_tokenizer(tokenizer)
    ids = opened.encode(text)
    pieces = [opened.decode_bytes([number]).decode("utf-8", "replace") for number in ids]
    if json:
        print_json({"ids": ids, "pieces": pieces})
        return
    for number, piece in zip(ids, pieces, strict=True):
        print(f"{number:>8}  {piece!r}")
    num_bytes = len(text.encode("utf-8", "surrogatepass"))
    typer.echo(f"{len(ids)} tokens, {num_bytes} bytes, {num_bytes / max(1, len(ids)):.2f} bytes per token", err=True)
