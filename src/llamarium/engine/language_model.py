"""A model in one's hand: generate, chat, logits, tokenizer.

Takes: the name of a MODEL.
Gives: `LanguageModel`, what ``llamarium.load`` returns.
Does not know: the command line, documents.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, overload

import torch
from torch import Tensor

from llamarium.checkpoint.open import Opened, open_model
from llamarium.engine.constrain import Grammar
from llamarium.engine.generate import Generation, check_length, generate, stream
from llamarium.engine.sample import Sampling
from llamarium.ground.device import pick_device, pick_dtype
from llamarium.ground.errors import UsageError, nearest
from llamarium.models.context import Dense
from llamarium.models.model import Model
from llamarium.tokens.tokenizer import Tokenizer

ENGINES = ("auto", "reference")


def load(name: str | Path, *, engine: str = "auto", dtype: str = "float32", device: str = "auto") -> LanguageModel:
    """Load the MODEL `name`: a path (``.gguf``, Hugging Face folder, run), a catalogue name, or ``hf:REPO``.

    `engine` "reference" is the model's own module; "auto" takes the fastest there is, which today is the same.
    """
    if engine not in ENGINES:
        raise UsageError(f"Unknown engine {engine!r}.", hint=nearest(engine, ENGINES))
    return LanguageModel(open_model(name, dtype=pick_dtype(dtype), device=pick_device(device)))


class LanguageModel:
    """A loaded model and its tokenizer."""

    def __init__(self, opened: Opened) -> None:
        self.name = opened.name
        self.model: Model = opened.model
        self.tokenizer: Tokenizer = opened.tokenizer
        self.stop_ids = opened.stop_ids

    @overload
    def generate(self, prompt: str, *, stream: Literal[False] = False, **options: Any) -> Generation: ...
    @overload
    def generate(self, prompt: str, *, stream: Literal[True], **options: Any) -> Iterator[str]: ...

    def generate(self, prompt: str, *, stream: bool = False, **options: Any) -> Generation | Iterator[str]:
        """Continue `prompt`. With ``stream=True`` an iterator over pieces of text, else a `Generation`.

        Options: `max_tokens` (128), `temperature` (0.7), `top_p` (0.95), `top_k`, `min_p`, `repetition_penalty`, `seed`,
        `stop` (strings), `result` (a `Generation` to fill while streaming), `grammar` (Lark; the text follows it, see
        `engine.constrain`).
        """
        ids = self.tokenizer.encode(prompt, add_special=True)
        # A model was trained to see something before a text: nothing at all would leave it without a first state.
        return self._run(ids or [self.tokenizer.begin_id], stream=stream, **options)

    @overload
    def chat(self, messages: Sequence[dict[str, Any]], *, stream: Literal[False] = False, **options: Any) -> Generation: ...
    @overload
    def chat(self, messages: Sequence[dict[str, Any]], *, stream: Literal[True], **options: Any) -> Iterator[str]: ...

    def chat(self, messages: Sequence[dict[str, Any]], *, stream: bool = False, **options: Any) -> Generation | Iterator[str]:
        """Answer a conversation, ``[{"role": "user", "content": "..."}]``, in the model's own chat form. Options as `generate`."""
        for message in messages:
            if not isinstance(message, dict) or not all(isinstance(message.get(key), str) for key in ("role", "content")):
                raise UsageError("A message has a role and a content, both text.", hint='[{"role": "user", "content": "Hello"}]')
        return self._run(self.tokenizer.encode_chat(messages), stream=stream, **options)

    def _run(
        self,
        ids: list[int],
        *,
        stream: bool,
        max_tokens: int = 128,
        stop: str | Sequence[str] = (),
        result: Generation | None = None,
        grammar: str | None = None,
        **sampling: Any,
    ) -> Generation | Iterator[str]:
        self._check(ids)
        check_length(ids, max_tokens, context_length=self.model.config.context_length)
        unknown = sampling.keys() - Sampling.__dataclass_fields__.keys()
        if unknown:
            name = sorted(unknown)[0]
            raise UsageError(
                f"Unknown option {name!r}.", hint=nearest(name, ["max_tokens", "stop", "stream", "grammar", *Sampling.__dataclass_fields__])
            )
        options: dict[str, Any] = {
            "max_tokens": max_tokens,
            "sampling": Sampling(**sampling),
            "stop_ids": self.stop_ids,
            "stop": [stop] if isinstance(stop, str) else list(stop),
            "constraint": None if grammar is None else Grammar(grammar, self.tokenizer, stop_ids=self.stop_ids),
        }
        if stream:
            return _stream(self.model, self.tokenizer, ids, result=result, **options)
        return generate(self.model, self.tokenizer, ids, **options)

    @torch.inference_mode()
    def logits(self, ids: Sequence[int]) -> Tensor:
        """Logits of the next id after each of `ids`, nothing added to them: float32 on the CPU, (T, V)."""
        if not len(ids):
            raise UsageError("There are no logits of no ids.")
        self._check(ids)
        ids_BT = torch.tensor([list(ids)], device=self.model.device)
        logits: Tensor = self.model(ids_BT, Dense(ids_BT))[0]
        return logits.float().cpu()

    def _check(self, ids: Sequence[int]) -> None:
        size = self.model.config.vocab_size
        if wrong := [number for number in ids if not 0 <= number < size]:
            raise UsageError(f"The id {wrong[0]} is not in the model's vocabulary of {size:,}.")


_stream = stream
