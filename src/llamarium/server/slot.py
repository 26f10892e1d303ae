"""One model, one place: whoever has it has the model, and a client that leaves it gives it back within one step.

Takes: a loaded model.
Gives: turns, one at a time; in a turn, text as it comes.
Does not know: HTTP's forms, what the text is for.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar

from starlette.types import Receive

from llamarium.engine.generate import Generation
from llamarium.engine.language_model import LanguageModel
from llamarium.ground.errors import UsageError
from llamarium.server.refusal import RefusedError, busy, stopping

LONGEST = 32_768  # tokens of prompt or answer where a model, such as an LSTM, has no limit of its own

T = TypeVar("T")


class LeftError(Exception):
    """The client is gone: nobody waits for the rest."""


@dataclass
class _Watched(Generation):
    """A generation that ends at the step after `left` is set: the engine fills its result at each, also where no text comes of it."""

    left: threading.Event = field(default_factory=threading.Event)

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "completion_tokens" and value and self.left.is_set():
            raise LeftError
        super().__setattr__(name, value)


class Slot:
    """The model's place. All but the work itself happens on the event loop."""

    def __init__(self, model: LanguageModel) -> None:
        self.model = model
        self.stopping = False
        self.turn: Turn | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="model")

    def take(self) -> Turn:
        """A turn, or at once a `RefusedError`: there is no queue."""
        if self.stopping:
            raise stopping()
        if self.turn is not None:
            raise busy()
        self.turn = Turn(self)
        return self.turn

    def close(self) -> None:
        """Let go of the thread; what runs is left."""
        if self.turn is not None:
            self.turn.leave()
        self._thread.shutdown(wait=True)

    def run(self, turn: Turn, work: Callable[[], T]) -> asyncio.Future[T]:
        """Do `work` in the model's thread. The place is free when it has really ended, not when nobody waits any more."""
        loop = asyncio.get_running_loop()
        future = self._thread.submit(work)

        def ended(_: Future[T]) -> None:
            with suppress(RuntimeError):  # the loop may be closed by now
                loop.call_soon_threadsafe(self.free, turn)

        future.add_done_callback(ended)
        return asyncio.wrap_future(future)

    def free(self, turn: Turn) -> None:
        """Give the place back."""
        if self.turn is turn:
            self.turn = None


class Turn:
    """One use of the model. `result` is what came of it so far."""

    def __init__(self, slot: Slot) -> None:
        self._slot = slot
        self._left = threading.Event()
        self._pieces: asyncio.Queue[str | BaseException | None] = asyncio.Queue()
        self._work: asyncio.Future[Any] | None = None
        self.cut = False
        self.result: Generation = _Watched(left=self._left)

    @property
    def left(self) -> bool:
        """Whether nobody waits any more."""
        return self._left.is_set()

    def leave(self, *, cut: bool = False) -> None:
        """Have the work end at its next step. `cut`: the server ends, and the client is to be told that this is not all."""
        self.cut |= cut
        self._left.set()
        if self._work is None:
            self._slot.free(self)

    @asynccontextmanager
    async def watched(self, receive: Receive) -> AsyncIterator[None]:
        """Meanwhile, leave as soon as the client has: once a body is read, all that can still come is its leaving."""
        watch = asyncio.create_task(self._watch(receive))
        try:
            yield
        finally:
            self.leave()
            watch.cancel()

    async def _watch(self, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self.leave()

    async def chat(self, messages: Sequence[dict[str, str]], *, max_tokens: int | None, **options: Any) -> None:
        """Begin to answer. What is wrong with the request is raised here, before the model does anything."""
        loop = asyncio.get_running_loop()
        ready: asyncio.Future[BaseException | None] = loop.create_future()

        def put(piece: str | BaseException | None) -> None:
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(self._pieces.put_nowait, piece)

        def work() -> None:
            try:
                pieces = _begin(self._slot.model, messages, result=self.result, max_tokens=max_tokens, **options)
            except BaseException as error:  # the loop's to raise
                loop.call_soon_threadsafe(_settle, ready, error)
                return
            loop.call_soon_threadsafe(_settle, ready, None)
            try:
                for piece in pieces:
                    put(piece)
                put(None)
            except BaseException as error:
                put(error)

        self._work = self._slot.run(self, work)
        if (error := await ready) is not None:
            await self._freed()
            raise error

    async def pieces(self) -> AsyncIterator[str]:
        """What `chat` says, as it says it; at its end the place is free. `LeftError` if it was left meanwhile."""
        while isinstance(piece := await self._pieces.get(), str):
            yield piece
        await self._freed()
        if piece is not None:
            raise piece

    async def _freed(self) -> None:
        """Who has read the end may ask again at once, and must not find the thread still on its way out."""
        assert self._work is not None
        await self._work
        self._slot.free(self)

    async def run(self, work: Callable[[Speaker], T]) -> T:
        """Do `work`, which may have the model speak, to its end."""
        self._work = self._slot.run(self, lambda: work(Speaker(self._slot.model, self._left)))
        try:
            return await asyncio.shield(self._work)
        finally:
            if self._work.done():
                self._slot.free(self)


class Speaker:
    """A model that chats, until its turn is left."""

    def __init__(self, model: LanguageModel, left: threading.Event) -> None:
        self._model, self._left = model, left

    def chat(self, messages: Sequence[dict[str, Any]], **options: Any) -> Generation:
        """As `LanguageModel.chat`; `LeftError` as soon as nobody waits for the answer."""
        result = _Watched(left=self._left)
        for _ in _begin(self._model, messages, result=result, **options):
            pass
        return result


def _settle(future: asyncio.Future[BaseException | None], error: BaseException | None) -> None:
    if not future.done():  # nobody may wait any more
        future.set_result(error)


def _begin(
    model: LanguageModel, messages: Sequence[dict[str, Any]], *, result: Generation, max_tokens: int | None = None, **options: Any
) -> Iterator[str]:
    """Count, check, and be ready to speak; the model has done nothing yet."""
    own_limit: int | None = model.model.config.context_length
    limit = LONGEST if own_limit is None else own_limit
    if (num_tokens := len(model.tokenizer.encode_chat(messages))) >= limit:
        raise RefusedError(
            400,
            f"This model's maximum context length is {limit} tokens, its answer included. However, your messages resulted in "
            f"{num_tokens} tokens. Please reduce the length of the messages.",
            code="context_length_exceeded",
            param="messages",
        )
    if model.model.KIND == "encoder":
        raise UsageError("This model reads and does not write.", hint="Serve a decoder, such as a LLaMA.")
    room = min(limit - num_tokens if max_tokens is None else max_tokens, limit)
    return model.chat(messages, stream=True, result=result, max_tokens=room, **options)
