"""``llamarium index``: documents to an index for questions."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from llamarium.cli._output import print_text
from llamarium.cli.ask import shown

MOST_LISTED = 20


def command(
    docs: Annotated[list[str], typer.Argument(metavar="DOCS...", help="Files, folders, or python:docs.")],
    *,
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="Where the index goes; one that is there takes what has changed.")],
    vectors: Annotated[
        str | None, typer.Option("--vectors", metavar="MODEL", help="Also compare meanings, by this model's vectors; none takes them out.")
    ] = None,
    embeddings: Annotated[
        str | None, typer.Option("--embeddings", metavar="URL", help="The OpenAI-compatible address that has MODEL; texts are sent there.")
    ] = None,
    at: Annotated[
        str | None,
        typer.Option("--store", metavar="ADDRESS", help="Keep the vectors at a Qdrant server, qdrant://HOST[:PORT], not in FILE."),
    ] = None,
) -> None:
    """Make an index of documents, so that many questions can be asked of them at once."""
    from llamarium.apps.ask.index import build
    from llamarium.ground import progress

    with build(docs, out, vectors=vectors, embeddings=embeddings, at=at) as index:
        for bad in index.bad_documents[:MOST_LISTED]:
            progress.say(f"left out {shown(bad.path)}: {shown(bad.reason)}")
        if len(index.bad_documents) > MOST_LISTED:
            progress.say(f"and {len(index.bad_documents) - MOST_LISTED:,} more files")
        print_text(f"{index.num_documents:,} documents, {index.num_passages:,} passages: {out}")
        if index.changes is not None:
            done = index.changes
            print_text(f"{done.added:,} added, {done.changed:,} changed, {done.removed:,} removed, {done.unchanged:,} unchanged")
