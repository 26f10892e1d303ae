"""All routes, wired: the page, OpenAI's API, questions, documents, and whether the server is well.

Takes: a model, a library, the names and the key of the server.
Gives: an ASGI application.
Does not know: sockets, signals.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Awaitable, Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from llamarium.engine.language_model import LanguageModel
from llamarium.ground.errors import LlamariumError
from llamarium.server.body import read_json
from llamarium.server.chat import Chat
from llamarium.server.guard import Guard, Hosts
from llamarium.server.key import Key
from llamarium.server.library import Library, Listed, as_json, phrased
from llamarium.server.refusal import RefusedError, refused, stopping
from llamarium.server.slot import LeftError, Slot

PAGE = Path(__file__).parent / "page"
KINDS = {".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
LARGEST_FILE = 24 << 20  # bytes of a file that is dropped in
LARGEST_DROP = LARGEST_FILE * 4 // 3 + 4096  # bytes of the body that carries it, in base64
MOST_LISTED = 2_000

Endpoint = Callable[[Request], Awaitable[Response]]


class Application:
    """The server without its socket: an ASGI application, and what ends it."""

    def __init__(
        self, model: LanguageModel, *, name: str, library: Library, hosts: Hosts, key: Key | None = None, page: Path = PAGE
    ) -> None:
        self.slot = Slot(model)
        self.library = library
        self.chat = chat = Chat(self.slot, name=name)
        routes = [
            *(_file(page / file.name) for file in sorted(page.iterdir()) if file.suffix in KINDS),
            Route("/healthz", self.healthz),
            Route("/readyz", self.readyz),
            Route("/v1/models", chat.models),
            Route("/v1/models/{name:path}", chat.model),
            Route("/v1/chat/completions", chat.completions, methods=["POST"]),
            Route("/ask", self.ask, methods=["POST"]),
            Route("/documents", self.documents),
            Route("/documents", self.drop, methods=["POST"]),
            Route("/documents/{document:path}", self.document),
        ]
        handlers: dict[Any, Any] = {RefusedError: _refused, LlamariumError: _failed, HTTPException: _http, Exception: _broken}
        self._guarded = Guard(Starlette(routes=routes, exception_handlers=handlers), hosts=hosts, key=key)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._guarded(scope, receive, send)

    def stop(self) -> None:
        """Be not ready: what runs goes on, what comes is refused."""
        self.slot.stopping = True

    @property
    def busy(self) -> bool:
        """Whether an answer is on its way."""
        return self.slot.turn is not None

    def close(self) -> None:
        """Let go of the model's thread. The library is its opener's to close."""
        self.slot.close()

    async def healthz(self, request: Request) -> Response:  # noqa: ARG002
        """The process lives."""
        return JSONResponse({"status": "ok"})

    async def readyz(self, request: Request) -> Response:  # noqa: ARG002
        """Requests are taken: 503 once the server was told to end."""
        if self.slot.stopping:
            raise stopping()
        return JSONResponse({"status": "ready"})

    async def ask(self, request: Request) -> Response:
        """``POST /ask``: question, and where wanted documents (a list of names), phrase (in the model's words), nearest."""
        body = await read_json(request)
        question, documents = body.get("question"), body.get("documents")
        if unknown := body.keys() - {"question", "documents", "phrase", "nearest"}:
            name = sorted(unknown)[0][:100]
            raise RefusedError(400, f"{name} is not supported here.", param=name, code="unsupported_parameter")
        if not isinstance(question, str):
            raise RefusedError(400, "question is a text.", param="question", code="invalid_value")
        if documents is not None and not (isinstance(documents, list) and all(isinstance(name, str) for name in documents)):
            raise RefusedError(400, "documents is a list of names, as /documents gives them.", param="documents", code="invalid_value")
        for name in ("phrase", "nearest"):
            if body.get(name) not in (None, True, False) or isinstance(body.get(name), (int, float)) is not isinstance(
                body.get(name), bool
            ):
                raise RefusedError(400, f"{name} is true or false.", param=name, code="invalid_value")
        if self.slot.stopping:
            raise stopping()
        answer = await self.library.ask(question, documents=documents)
        if body.get("phrase") and answer.found:
            turn = self.slot.take()
            found = answer
            try:
                async with turn.watched(request.receive):
                    answer = replace(found, answer=await turn.run(lambda speaker: phrased(speaker, question, found)))
            except RefusedError as error:
                if error.code != "context_length_exceeded":  # quotes that the model cannot hold stand for themselves
                    raise
            except LeftError:
                if turn.cut:
                    raise stopping() from None
                return Response(status_code=499)  # nobody reads it
        return JSONResponse(as_json(answer, nearest=bool(body.get("nearest"))))

    async def documents(self, request: Request) -> Response:  # noqa: ARG002
        """``GET /documents``: what can be asked. The first `MOST_LISTED` are named, `total` counts all."""
        listed = await self.library.documents()
        return JSONResponse({"documents": [asdict(each) for each in listed[:MOST_LISTED]], "total": len(listed)})

    async def document(self, request: Request) -> Response:
        """``GET /documents/NAME``: its text, or the code points from `start` to `end` of it; `offset` is where they begin."""
        start, end = (_place(request, name) for name in ("start", "end"))
        listed, text = await self.library.text(request.path_params["document"])
        offset = min(start or 0, len(text))
        return JSONResponse({**asdict(listed), "offset": offset, "text": text[offset:end]})

    async def drop(self, request: Request) -> Response:
        """``POST /documents``: a file, as name and content (base64); it can be asked until the server ends."""
        if self.slot.stopping:
            raise stopping()
        body = await read_json(request, largest=LARGEST_DROP)
        name, content = body.get("name"), body.get("content")
        if not isinstance(name, str) or not isinstance(content, str) or body.keys() - {"name", "content"}:
            raise RefusedError(400, "A file has a name and its content in base64, and nothing else.", code="invalid_value")
        try:
            data = base64.b64decode(content, validate=True)
        except (binascii.Error, ValueError):
            raise RefusedError(400, "content is not base64.", param="content", code="invalid_value") from None
        listed: Listed = await self.library.add(name, data)
        return JSONResponse(asdict(listed), status_code=201)


def _place(request: Request, name: str) -> int | None:
    value = request.query_params.get(name)
    if value is None:
        return None
    if not value.isascii() or not value.isdecimal() or len(value) > 18:
        raise RefusedError(400, f"{name} is a number of characters.", param=name, code="invalid_value")
    return int(value)


def _file(path: Path) -> Route:
    """A file of the page, read once: what is served is what was there when the server began."""
    data, kind = path.read_bytes(), f"{KINDS[path.suffix]}; charset=utf-8"

    async def endpoint(request: Request) -> Response:  # noqa: ARG001
        return Response(data, headers={"content-type": kind})

    return Route("/" if path.name == "index.html" else f"/{path.name}", endpoint)


async def _refused(request: Request, error: RefusedError) -> Response:  # noqa: ARG001
    return error.response()


async def _failed(request: Request, error: LlamariumError) -> Response:  # noqa: ARG001
    return refused(error).response()


async def _http(request: Request, error: HTTPException) -> Response:
    message = {404: "There is nothing here.", 405: f"{request.method} is not for this address."}.get(error.status_code, error.detail)
    return RefusedError(error.status_code, message, headers=error.headers).response()


async def _broken(request: Request, error: Exception) -> Response:  # noqa: ARG001
    # uvicorn closes the connection after it has written the error down; a client must not take it for one that lives.
    headers = {"Connection": "close"}
    return RefusedError(500, "The server made a mistake; its log says which.", code="internal", headers=headers).response()
