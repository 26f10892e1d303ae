"""``llamarium tokenizer``: train one, compare several, look at what one does, extend one that a model knows."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from llamarium.cli._options import parse_bytes
from llamarium.cli._output import Json, print_json, print_text

if TYPE_CHECKING:
    from llamarium.checkpoint.open import Opened
    from llamarium.cli._tokenizer.opening import Sample
    from llamarium.tokens.compare import Text
    from llamarium.tokens.extend import Extension
    from llamarium.tokens.tokenizer import Tokenizer

app = typer.Typer(help="Train a tokenizer, compare, look at what one does, extend.", no_args_is_help=True)

# What is learnt from where nothing is said: BPE counts words, Unigram weighs every piece of every word again and again.
SAMPLES = {"bpe": "1GB", "unigram": "20MB"}
Corpora = Annotated[Path, typer.Argument(metavar="CORPUS", help="A corpus folder.")]


@app.command()
def train(
    corpus: Corpora,
    vocab_size: Annotated[int, typer.Option(help="Tokens of the vocabulary, specials included.")],
    out: Annotated[Path, typer.Option(help="The folder to write.")],
    kind: Annotated[str, typer.Option(help="bpe or unigram; both over bytes.")] = "bpe",
    sample: Annotated[str, typer.Option(help="Learn from about so much text, as 200MB; by default 1GB, for unigram 20MB.")] = "",
) -> None:
    """Learn a byte-level BPE or Unigram vocabulary from the training part of a corpus."""
    from llamarium.cli._tokenizer.opening import Sample
    from llamarium.ground.errors import UsageError, nearest
    from llamarium.text.corpus import open_corpus
    from llamarium.tokens.tokenizer import Tokenizer
    from llamarium.tokens.train import KINDS, check_size
    from llamarium.tokens.train import train as learn

    if kind not in KINDS:
        raise UsageError(f"There is no kind of tokenizer {kind!r}.", hint=nearest(kind, KINDS))
    check_size(vocab_size)
    _require_new(out)
    read = open_corpus(corpus)
    chosen = Sample(read, "train", most_bytes=parse_bytes(sample or SAMPLES[kind]))
    learnt = (document.text for document in chosen.documents("reading"))
    tokenizer = learn(learnt, vocab_size=vocab_size, kind=kind, bars=sys.stderr.isatty())
    typer.echo(f"learnt from {chosen.sentence()}", err=True)
    trained = Tokenizer(tokenizer.definition, {**tokenizer.config, "trained_on": {"kind": kind, **chosen.as_json()}}, name=tokenizer.name)
    trained.save(out)
    if trained.vocab_size < vocab_size:
        typer.echo(f"the text has no more than {trained.vocab_size:,} tokens in it that are worth having, of {vocab_size:,}", err=True)
    texts = [document.text for document in read.documents("valid")]
    num_bytes = sum(len(text.encode("utf-8", "surrogatepass")) for text in texts)
    num_tokens = sum(len(ids) for ids in trained.encode_batch(texts))
    typer.echo(f"{trained.vocab_size:,} tokens; {num_bytes / max(1, num_tokens):.2f} bytes per token on the validation part", err=True)
    print(out)


@app.command()
def compare(
    corpus: Corpora,
    tokenizers: Annotated[
        list[str], typer.Argument(metavar="TOK...", help="Folders, tokenizer.json, .model or tiktoken files, or MODELs.")
    ],
    split: Annotated[str, typer.Option(help="valid or train: the part of the corpus.")] = "valid",
    sample: Annotated[str, typer.Option(help="Measure on about so much text.")] = "20MB",
    known: Annotated[bool, typer.Option("--known/--only", help="GPT-2's, LLaMA 2's and LLaMA 3's, too, where they are at hand.")] = True,
    out: Annotated[Path | None, typer.Option(help="A page to write: FILE.html.")] = None,
    json: Json = False,
) -> None:
    """Bytes per token, tokens per character and per word, for each language and source; and speed."""
    from llamarium.cli._tokenizer import tables
    from llamarium.cli._tokenizer.opening import Sample, at_hand, open_any
    from llamarium.ground.files import write_text
    from llamarium.text.corpus import open_corpus
    from llamarium.tokens.compare import compare as measure

    if out is not None:
        _require_new(out)
    opened = {name: open_any(name) for name in tokenizers}
    if known:
        opened |= {name: tokenizer for name, tokenizer in at_hand().items() if tokenizer.sha256 not in {t.sha256 for t in opened.values()}}
    chosen = Sample(open_corpus(corpus), split, most_bytes=parse_bytes(sample))
    comparisons = measure(opened, _texts(chosen))
    if out is not None:
        write_text(out, tables.comparison_page(comparisons, texts=chosen.sentence()))
        typer.echo(f"page: {out}", err=True)
    if json:
        print_json({"measured_on": chosen.as_json(), "tokenizers": [each.as_json() for each in comparisons]})
        return
    typer.echo(f"measured on {chosen.sentence()}", err=True)
    print_text("\n".join(tables.lines(comparisons)))


@app.command()
def inspect(
    tokenizer: Annotated[str, typer.Argument(help="A tokenizer's folder or file, or a MODEL.")],
    text: Annotated[str, typer.Argument(help="Any text.")],
    html: Annotated[Path | None, typer.Option(help="A page to write: FILE.html.")] = None,
    json: Json = False,
) -> None:
    """Show the pieces a text is cut into, and their ids."""
    from llamarium.cli._tokenizer import tables
    from llamarium.cli._tokenizer.opening import open_any
    from llamarium.ground.files import write_text

    if html is not None:
        _require_new(html)
    opened = open_any(tokenizer)
    ids = opened.encode(text)
    pieces = [opened.decode_bytes([number]).decode("utf-8", "replace") for number in ids]
    num_bytes = len(text.encode("utf-8", "surrogatepass"))
    if html is not None:
        write_text(html, tables.pieces_page(tokenizer, ids, pieces, num_bytes=num_bytes))
        typer.echo(f"page: {html}", err=True)
    if json:
        print_json({"ids": ids, "pieces": pieces})
        return
    if sys.stdout.isatty():
        print_text(tables.coloured(pieces) + "\n")
    for number, piece in zip(ids, pieces, strict=True):
        print(f"{number:>8}  {piece!r}")
    typer.echo(f"{len(ids)} tokens, {num_bytes} bytes, {num_bytes / max(1, len(ids)):.2f} bytes per token", err=True)


@app.command()
def extend(
    base: Annotated[str, typer.Argument(help="A tokenizer's folder or file, or a MODEL, whose weights are extended, too.")],
    corpus: Corpora,
    add: Annotated[int, typer.Option(min=1, help="How many pieces to add.")],
    out: Annotated[Path, typer.Option(help="The folder to write.")],
    sample: Annotated[str, typer.Option(help="Learn from about so much text.")] = "20MB",
    dtype: Annotated[
        str, typer.Option(help="Type of the weights: float32, bfloat16, float16; same: that of a Hugging Face folder.")
    ] = "same",
    json: Json = False,
) -> None:
    """Add pieces learnt from a corpus to a BPE tokenizer, and to its model rows that are the mean of their old pieces' rows."""
    from llamarium.cli._tokenizer import tables
    from llamarium.cli._tokenizer.opening import Sample, open_any
    from llamarium.ground.errors import UsageError
    from llamarium.ground.files import write_folder
    from llamarium.text.corpus import open_corpus
    from llamarium.tokens.compare import compare as measure
    from llamarium.tokens.extend import extend_bpe
    from llamarium.tokens.tokenizer import Tokenizer

    _require_new(out)
    read = open_corpus(corpus)
    chosen = Sample(read, "train", most_bytes=parse_bytes(sample))
    model, old = _model_of(base, dtype), open_any(base)
    extension = extend_bpe(old, (document.text for document in chosen.documents("reading")), num_pieces=add)
    typer.echo(f"learnt from {chosen.sentence()}", err=True)
    if not extension.made_of:
        raise UsageError(f"{corpus} teaches {base} no new piece.", hint="Give a larger corpus: a piece must occur twice.")
    if (num_pieces := len(extension.made_of)) < add:
        typer.echo(f"the text has no more than {num_pieces:,} pieces that occur twice, of {add:,}", err=True)
    about = {"pieces": num_pieces, "first_id": old.vocab_size, **chosen.as_json()}
    new = Tokenizer(extension.tokenizer.definition, {**extension.tokenizer.config, "extended_with": about}, name=str(out))
    rows = 0
    if model is None:
        write_folder(out, new.save)
    else:
        rows = _extend_model(model, extension, new, out)
    split = "valid" if read.num_documents("valid") else "train"
    before, after = measure({"before": old, "after": new}, _texts(Sample(read, split, most_bytes=parse_bytes("20MB"))))
    if json:
        print_json({"pieces": num_pieces, "rows": rows, "before": before.as_json(), "after": after.as_json(), "out": str(out)})
        return
    typer.echo("\n".join(tables.change_lines(before, after)), err=True)
    typer.echo(f"{old.vocab_size:,} + {num_pieces:,} tokens{f'; {rows:,} rows in the model' if rows else ''}", err=True)
    print(out)


def _texts(chosen: Sample) -> list[Text]:
    from llamarium.tokens.compare import Text

    return [Text(document.text, document.language, document.source) for document in chosen.documents("reading")]


def _model_of(base: str, dtype: str) -> Opened | None:
    """The model that BASE names, opened; None where it is a tokenizer only."""
    from llamarium.checkpoint import huggingface
    from llamarium.checkpoint.open import open_model
    from llamarium.checkpoint.resolve import resolve
    from llamarium.cli._tokenizer.opening import is_tokenizer_only
    from llamarium.ground.device import pick_dtype
    from llamarium.ground.files import read_json

    if is_tokenizer_only(Path(base)):
        return None
    place = resolve(base)
    if dtype == "same":
        values = read_json(place.path / huggingface.CONFIG) if place.kind == "huggingface" else {}
        dtype = str(values.get("dtype") or values.get("torch_dtype") or "float32")
    return open_model(base, dtype=pick_dtype(dtype))


def _extend_model(model: Opened, extension: Extension, tokenizer: Tokenizer, out: Path) -> int:
    """Write the extended model to `out`; how many rows it has now."""
    from llamarium.adapt.vocabulary import extend_vocabulary
    from llamarium.checkpoint.huggingface import save_folder

    grown = extend_vocabulary(model.model, extension.made_of)
    save_folder(out, grown, tokenizer)
    return int(grown.config.vocab_size)


def _require_new(out: Path) -> None:
    from llamarium.ground.errors import ExistsError

    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ExistsError(f"{out} exists.", hint="Name another place with --out.")
