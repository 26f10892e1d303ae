"""Conversations as ids, and which of them are learnt: every answer and the token that ends its turn, nothing else.

Takes: messages, a tokenizer with its chat template, the most ids an example may have.
Gives: examples whose prompts are, id for id, what `Tokenizer.encode_chat` gives a model that is to answer.
Does not know: where conversations come from, how examples are packed.

For each answer there are two encodings: the prompt, of all messages before it and the template's opening of an answer, and the
turn, of all messages up to it. What the turn has beyond the prompt is the answer; what messages hold can make no special token
(`chat.guard`), so the first token there after which a model stops was written by the template and ends it.

* Where each turn begins with the turn before, a conversation is one example: its last turn. Where a template writes earlier
  answers otherwise than the last (without their thoughts, say), each answer is an example of its own.
* Where an answer's first characters would join the prompt's last token, the prompt's ids are kept and the answer goes on from there.
* Where a finished answer does not begin with the text of its prompt at all, the template's own ``{% generation %}`` marks say
  what is learnt; a template without them is refused.
* Where nothing ends the last answer, the token that ends a text does, and is learnt.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llamarium.ground.errors import BadFileError, UsageError
from llamarium.tokens.packing import IGNORED
from llamarium.tokens.shards import ID_DIGITS, Example
from llamarium.tokens.tokenizer import Tokenizer

Messages = Sequence[dict[str, Any]]
Span = tuple[int, int]  # ids that are learnt: first, and the one after the last

# Two code points that are no characters and stand around what ``{% generation %}`` encloses.
_BEGIN, _END = "\ufdd0", "\ufdd1"
_OPENING = re.compile(r"\{%[-+]?\s*generation\s*(?:-%\}\s*|[+]?%\}\n?)")
_CLOSING = re.compile(r"(?:\s*\{%-|(?:(?<=\n)[ \t]*)?\{%[+]?)\s*endgeneration\s*[-+]?%\}")


@dataclass(frozen=True)
class Examples:
    """What became of conversations.

    `truncated`: examples that were cut at the end and still teach something; `dropped`: examples of which nothing that is learnt
    was left, or that no ids could be found for; `refused`: conversations that the template refuses, such as one with a system
    message.
    """

    examples: list[Example]
    truncated: int
    dropped: int
    refused: int = 0


def questions_and_answers(inputs_T: NDArray[np.integer], targets_T: NDArray[np.integer]) -> list[tuple[NDArray[Any], NDArray[Any]]]:
    """Of one packed conversation, for each answer all ids before it and the ids of the answer; `IGNORED` targets are no answer.

    >>> ask = questions_and_answers(np.array([5, 6, 7, 8, 9]), np.array([IGNORED, 7, 8, IGNORED, 3]))
    >>> [(source.tolist(), answer.tolist()) for source, answer in ask]
    [([5, 6], [7, 8]), ([5, 6, 7, 8, 9], [3])]
    """
    learnt = np.concatenate(([False], targets_T != IGNORED, [False]))
    starts, stops = np.flatnonzero(learnt[1:] & ~learnt[:-1]), np.flatnonzero(learnt[:-1] & ~learnt[1:])
    return [(inputs_T[: start + 1], targets_T[start:stop]) for start, stop in zip(starts, stops, strict=True)]


def encode_examples(
    conversations: Iterable[Messages], tokenizer: Tokenizer, *, max_tokens: int, stop_ids: frozenset[int] = frozenset()
) -> Examples:
    """Examples of at most `max_tokens` ids. `stop_ids` are those at which the model stops beside the tokenizer's own.

    Where the tokenizer brings no template its default is used: save `tokenizer.with_chat_template()` beside what is trained.

    `UsageError` if no example is left, `BadFileError` if what is learnt cannot be told under this template.
    """
    found: list[Example] = []
    truncated = dropped = refused = 0
    refusal: UsageError | None = None
    stop_ids |= tokenizer.stop_ids
    for messages in conversations:
        try:
            encoded = _encode(messages, tokenizer, stop_ids)
        except UsageError as error:
            refusal, refused = refusal or error, refused + 1
            continue
        name = hashlib.sha256(json.dumps(messages, ensure_ascii=False).encode("utf-8", "surrogatepass")).hexdigest()[:ID_DIGITS]
        for ids, spans in encoded:
            example = _example(ids[:max_tokens], spans, tokenizer, name=name)
            if example is None:
                dropped += 1
            else:
                found.append(example)
                truncated += len(ids) > max_tokens
    if not found:
        if refusal is not None and not dropped:
            raise refusal
        raise UsageError(
            f"Nothing that is learnt is within the first {max_tokens:,} tokens of any conversation.", hint="Allow longer sequences."
        )
    return Examples(found, truncated, dropped, refused)


def _example(ids: list[int], spans: list[Span], tokenizer: Tokenizer, *, name: str) -> Example | None:
    """The example, None where nothing of it is learnt."""
    learns = np.zeros(len(ids), dtype=np.uint8)
    for first, last in spans:
        learns[first:last] = 1
    learnt = [ids[place] for place in np.flatnonzero(learns)]
    if not learnt or len(ids) < 2:
        return None
    num_bytes = len(tokenizer.decode_bytes(learnt, skip_special=True))
    return Example(np.array(ids, dtype=np.uint32), learns, num_bytes, name)


def _encode(messages: Messages, tokenizer: Tokenizer, stop_ids: frozenset[int]) -> list[tuple[list[int], list[Span]]]:
    """Ids and what of them is learnt: one example, or one for each answer; one without ids for each answer that cannot be told."""
    turns: list[list[int]] = []
    spans: list[Span] = []
    for number, message in enumerate(messages):
        if message["role"] != "assistant":
            continue
        prompt = tokenizer.encode_chat(messages[:number])
        turn = tokenizer.encode_chat(messages[: number + 1], add_generation_prompt=False)
        if turn[: len(prompt)] == prompt:
            continued = turn
        elif tokenizer.decode_bytes(turn).startswith(tokenizer.decode_bytes(prompt)):
            continued = _continued(prompt, turn, tokenizer)
        else:
            return [_marked(messages, tokenizer, stop_ids)]
        ends = (place + 1 for place in range(len(prompt), len(continued)) if continued[place] in stop_ids)
        turns.append(continued)
        spans.append((len(prompt), next(ends, len(continued))))
    chained = all(turns) and all(after[: len(before)] == before for before, after in itertools.pairwise(turns))
    if not chained:
        return [_ended(turn, [span], tokenizer, stop_ids) for turn, span in zip(turns, spans, strict=True)]
    return [_ended(turns[-1], spans, tokenizer, stop_ids)] if turns else []


def _continued(prompt: list[int], turn: list[int], tokenizer: Tokenizer) -> list[int]:
    """Ids that begin with those of `prompt` and have the text of `turn`, in which one token holds the prompt's end and more.

    What it holds of the answer is encoded anew; none where the vocabulary cannot go on from there.
    """
    size = len(tokenizer.decode_bytes(prompt))
    after = next(place for place in range(len(turn) + 1) if len(tokenizer.decode_bytes(turn[:place])) >= size)
    between = tokenizer.decode_bytes(turn[:after])[size:]
    ids = [*prompt, *tokenizer.encode(between), *turn[after:]]
    return ids if tokenizer.decode_bytes(ids) == tokenizer.decode_bytes(turn) else []


def _ended(ids: list[int], spans: list[Span], tokenizer: Tokenizer, stop_ids: frozenset[int]) -> tuple[list[int], list[Span]]:
    """With each span up to the token that ends its turn; some templates leave that to what comes next, and at the end nothing comes."""
    if not ids:
        return [], []
    if ids[-1] not in stop_ids and spans[-1][1] == len(ids):
        ids = [*ids, tokenizer.end_id]
    return ids, [(first, last + (ids[last - 1] not in stop_ids and ids[last] in stop_ids)) for first, last in spans]


def _begins_alike(messages: Messages, tokenizer: Tokenizer) -> bool:
    """Whether each answer of a conversation is written as its prompt begins it."""
    answers = [number for number, message in enumerate(messages) if message["role"] == "assistant"]
    prompts = [tokenizer.decode_bytes(tokenizer.encode_chat(messages[:number])) for number in answers]
    turns = [tokenizer.decode_bytes(tokenizer.encode_chat(messages[: number + 1], add_generation_prompt=False)) for number in answers]
    return all(turn.startswith(prompt) for prompt, turn in zip(prompts, turns, strict=True))


def _marked(messages: Messages, tokenizer: Tokenizer, stop_ids: frozenset[int]) -> tuple[list[int], list[Span]]:
    """The whole conversation; learnt is what the template encloses in ``{% generation %}``."""
    template = tokenizer.chat_template or ""
    ids = tokenizer.encode_chat(messages, add_generation_prompt=False)
    marked, num_marks = _OPENING.subn(lambda match: f"{match[0]}{{{{ '{_BEGIN}' }}}}", template)
    marked = _CLOSING.sub(lambda match: f"{{{{ '{_END}' }}}}{match[0].lstrip()}", marked)
    if not num_marks and _begins_alike([{**message, "content": "x"} for message in messages], tokenizer):
        return [], []  # it is this conversation: with a special token in its text, a vocabulary may cut the prompt otherwise
    if not num_marks:
        raise BadFileError(
            tokenizer.name,
            "its chat template does not write a finished answer as it begins one, so what is to be learnt cannot be told.",
            hint="Mark what an assistant says with {% generation %} in the template, or choose another template.",
        )
    seen = Tokenizer(tokenizer.definition, {**tokenizer.config, "chat_template": marked}, name=tokenizer.name)
    text = seen.decode_bytes(seen.encode_chat(messages, add_generation_prompt=False))
    begin, end = _BEGIN.encode(), _END.encode()
    if text.replace(begin, b"").replace(end, b"") != tokenizer.decode_bytes(ids):
        return [], []  # a message holds one of the two marks, or this vocabulary has no bytes of its own
    edges: list[int] = []  # bytes where marked text begins and ends, by turns
    size = 0
    for part in re.split(begin + b"|" + end, text)[:-1]:
        size += len(part)
        edges.append(size)
    starts = [0, *itertools.accumulate(len(tokenizer.decode_bytes([number])) for number in ids)]
    places = [next(place for place, start in enumerate(starts) if start >= edge) for edge in edges]
    spans = [span for span in zip(places[::2], places[1::2], strict=False) if span[0] < span[1]]
    return _ended(ids, spans, tokenizer, stop_ids) if spans else ([], [])
