"""``llamarium serve``: a model, and documents, in the browser and for OpenAI's clients."""

from __future__ import annotations

import os
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from llamarium.cli._options import Embeddings, Store
from llamarium.cli._output import print_text
from llamarium.cli.ask import shown
from llamarium.cli.generate import Device, Dtype

if TYPE_CHECKING:
    from collections.abc import Callable

    from llamarium.apps.ask.index import Index

MOST_LISTED = 5


def command(
    model: Annotated[str, typer.Argument(help="A path, a catalogue name, or hf:REPO.")],
    *,
    index: Annotated[Path | None, typer.Option("--index", metavar="FILE", help="An index made by llamarium index, to ask.")] = None,
    docs: Annotated[str | None, typer.Option("--docs", metavar="DIR", help="A folder or file to read and ask, or python:docs.")] = None,
    embeddings: Embeddings = None,
    at: Store = None,
    host: Annotated[str, typer.Option(help="Where to listen; beyond this machine only with a key.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="0: any that is free.", min=0, max=65535)] = 8000,
    api_key_file: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="A file that holds the key clients need; or set LLAMARIUM_API_KEY."),
    ] = None,
    dtype: Dtype = "float32",
    device: Device = "auto",
) -> None:
    """Serve a model: a page to talk with it and to ask documents, and OpenAI's API. Ctrl-C ends it."""
    from llamarium.ground.errors import MissingExtraError

    try:
        import starlette  # noqa: F401
        import uvicorn  # noqa: F401
    except ModuleNotFoundError as error:
        raise MissingExtraError("serve", extra="serve", package=error.name or "uvicorn") from None
    from llamarium.engine.language_model import load
    from llamarium.ground import progress
    from llamarium.ground.errors import UsageError
    from llamarium.server.application import Application
    from llamarium.server.guard import hosts_of, is_loopback
    from llamarium.server.key import VARIABLE, read_key
    from llamarium.server.library import Library
    from llamarium.server.run import bind, serve

    key = read_key(api_key_file, os.environ)
    if key is None and not is_loopback(host):
        raise UsageError(
            f"{host} can be reached from other machines, and there is no key.", hint=f"Give --api-key-file FILE, or set {VARIABLE}."
        )
    if index is None and (embeddings is not None or at is not None):
        raise UsageError("--embeddings and --store are of the vectors of an index.", hint="--index FILE is one that has vectors.")
    opener = _opener(docs, index)
    name = Path(model).resolve().name if Path(model).exists() else model  # where it lies is nobody's business
    # What is wrong is said in the order of what it costs to find out: the address, the documents, the model.
    with suppress(KeyboardInterrupt), bind(host, port) as bound, closing(Library(opener, embeddings=embeddings, at=at)) as library:
        for path, reason in library.bad_documents[:MOST_LISTED]:
            progress.say(f"left out {shown(path)}: {shown(reason)}")
        if len(library.bad_documents) > MOST_LISTED:
            progress.say(f"and {len(library.bad_documents) - MOST_LISTED:,} more files")
        loaded = load(model, dtype=dtype, device=device)
        address = f"[{host}]" if ":" in host else host
        url = f"http://{address}:{bound.getsockname()[1]}"

        def ready() -> None:
            print_text(url)
            progress.say("it is served there; Ctrl-C ends it")

        with closing(Application(loaded, name=name, library=library, hosts=hosts_of(host), key=key)) as application:
            serve(application, bound, ready=ready)


def _opener(docs: str | None, index: Path | None) -> Callable[[], Index] | None:
    from llamarium.apps.ask.index import build_in_memory, open_index
    from llamarium.ground.errors import UsageError

    if docs is not None and index is not None:
        raise UsageError("serve takes --docs or --index, not both.", hint="llamarium index DIR --out FILE makes an index of a folder.")
    if index is not None:
        return lambda: open_index(index)
    return None if docs is None else lambda: build_in_memory([docs])
