"""One text that grows: read the prompt, then a token at a time from the cache.

Takes: a model, its tokenizer, prompt ids, settings.
Gives: text as it becomes certain, and at the end a `Generation`.
Does not know: how a model was loaded, who reads.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import torch

from llamarium.engine.constrain import Constraint
from llamarium.engine.sample import Sampling, choose
from llamarium.ground.errors import UsageError
from llamarium.models.context import Cached
from llamarium.models.model import Model, Network
from llamarium.tokens.stream import TextStream
from llamarium.tokens.tokenizer import Tokenizer


@dataclass
class Generation:
    """What came of a prompt."""

    text: str = ""
    token_ids: list[int] = field(default_factory=list)
    prompt_tokens: int = 0
    completion_tokens: int = 0
    finish_reason: Literal["stop", "length"] = "length"
    seconds: float = 0.0

    def as_dict(self) -> dict[str, Any]:
        """The keys of ``--json``."""
        return asdict(self)


def check_length(prompt: Sequence[int], max_tokens: int, *, context_length: int | None) -> None:
    """Refuse what does not fit, before any work: nothing is ever cut silently. None: there is no limit."""
    if max_tokens < 1:
        raise UsageError(f"max_tokens must be at least 1, not {max_tokens}.")
    if context_length is not None and len(prompt) >= context_length:
        raise UsageError(
            f"The prompt has {len(prompt):,} tokens; the model's context holds {context_length:,}, its answer included.",
            hint="Shorten the prompt.",
        )


@torch.inference_mode()
def stream(
    model: Model,
    tokenizer: Tokenizer,
    prompt: Sequence[int],
    *,
    max_tokens: int,
    sampling: Sampling,
    stop_ids: frozenset[int],
    stop: Sequence[str] = (),
    result: Generation | None = None,
    constraint: Constraint | None = None,
) -> Iterator[str]:
    """Yield pieces of text as they become certain; `result` is filled as they come.

    Ends at a stop id, before a stop string, after `max_tokens`, or where the context is full. An encoder-decoder reads the
    prompt with its encoder and begins what it writes with its start id; a model that only reads is refused (`UsageError`).
    A `constraint` masks the logits before an id is chosen, and is told every id but the last.
    """
    result = result if result is not None else Generation()
    if model.KIND == "encoder":
        raise UsageError("This model reads and does not write.", hint="Generate with a decoder, such as a LLaMA.")
    source = torch.tensor([prompt], device=model.device) if model.KIND == "encoder_decoder" else None
    # An encoder-decoder's text begins after the prompt's end and not with it; both have the whole context.
    ids = list(prompt) if source is None else [model.config.start_id]
    context_length = model.config.context_length
    check_length(prompt, max_tokens, context_length=context_length)
    began = time.perf_counter()
    result.prompt_tokens = len(prompt)
    generator = torch.Generator()
    if sampling.seed is None:
        generator.seed()
    else:
        generator.manual_seed(sampling.seed)
    room = max_tokens if context_length is None else min(max_tokens, context_length - len(ids))
    context = Cached(capacity=len(ids) + room, device=model.device)
    words = TextStream(tokenizer)
    pending = ""  # text that may yet turn out to begin a stop string
    stopped = False
    fresh = ids
    for _ in range(room):
        logits_V = _next_logits(model, fresh, context, source)
        number = choose(logits_V if constraint is None else constraint.mask(logits_V), sampling, seen=ids, generator=generator)
        source = None  # what was read of it is in the context
        if number in stop_ids:
            result.finish_reason = "stop"
            break
        if constraint is not None:
            constraint.take(number)
        result.token_ids.append(number)
        result.completion_tokens += 1
        result.seconds = time.perf_counter() - began
        ids.append(number)
        fresh = [number]
        pending += words.feed(number)
        certain, pending, stopped = _before_stop(pending, stop)
        if certain:
            result.text += certain
            yield certain
        if stopped:
            result.finish_reason = "stop"
            break
    if not stopped and (rest := "".join(_before_stop(pending + words.end(), stop)[:2])):
        result.text += rest
        yield rest
    result.seconds = time.perf_counter() - began


def generate(model: Model, tokenizer: Tokenizer, prompt: Sequence[int], **options: Any) -> Generation:
    """Run `stream` to its end."""
    result = Generation()
    for _ in stream(model, tokenizer, prompt, result=result, **options):
        pass
    return result


def _next_logits(model: Model, fresh: Sequence[int], context: Cached, source: torch.Tensor | None) -> torch.Tensor:
    """Logits after the last of the `fresh` ids: (V,). Only that position is unembedded."""
    ids_BT = torch.tensor([fresh], device=context.device)
    context.step(len(fresh))
    inputs = (ids_BT, context) if source is None else (ids_BT, context, source)
    if isinstance(model, Network):
        return model.unembed(model.hidden(*inputs)[:, -1])[0]
    logits: torch.Tensor = model(*inputs)[0, -1]
    return logits


def _before_stop(text: str, stop: Sequence[str]) -> tuple[str, str, bool]:
    """Split `text` into what may be shown, what must wait, and whether a stop string was reached.

    The first to be complete counts, as if the text came letter by letter: how it was cut into pieces makes no difference.

    >>> _before_stop("one two", ["two"]), _before_stop("one t", ["two"])
    (('one ', '', True), ('one ', 't', False))
    """
    found = [(place + len(word), place) for word in stop if word and (place := text.find(word)) >= 0]
    if found:
        return text[: min(found)[1]], "", True
    longest = max((len(word) for word in stop), default=0)
    for length in range(min(longest - 1, len(text)), 0, -1):
        if any(word.startswith(text[-length:]) for word in stop):
            return text[:-length], text[-length:], False
    return text, "", False
