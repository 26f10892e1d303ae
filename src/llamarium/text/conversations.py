"""Instruction data: the conversations in .json and .jsonl files, whichever of the three usual shapes a record has.

Takes: a file or a folder.
Gives: conversations of a system message, questions and answers; the records that are none, by number; a split.
Does not know: templates, ids, what will be learnt.

    messages        [{role, content}]                          OpenAI
    conversations   [{from, value}] or [{role, content}]       ShareGPT
    instruction, [input], output, [history]                    Alpaca; history holds [question, answer] pairs

A `system` beside any of them is the system message. Questions and answers take turns, a question first: two questions in a
row mean that an answer is missing, and many templates refuse them. A last question without an answer teaches nothing and is
left out; an empty system message is none; an input of null is empty.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llamarium.ground.errors import BadFileError, UsageError
from llamarium.text.decode import decode
from llamarium.text.document import whole_characters
from llamarium.text.read import json, jsonl
from llamarium.text.read._records import parse, records_of
from llamarium.text.sources import SourceFile, list_files

ROLES = {"system": "system", "user": "user", "human": "user", "assistant": "assistant", "gpt": "assistant", "chatgpt": "assistant"}
SHAPES = "Records hold messages, conversations, or instruction and output."
VALID_SHARE = 0.05
FEWEST_TO_SPLIT = 20


@dataclass(frozen=True)
class Conversation:
    """Messages of ``role`` (system, user, assistant) and ``content``; the last one is an answer.

    `line`: number of its line in a .jsonl file, of its record in a .json file, from 1. `source`: name of that file.
    """

    messages: list[dict[str, str]]
    line: int
    source: str = ""

    @property
    def question(self) -> str:
        """The first question."""
        return next(message["content"] for message in self.messages if message["role"] == "user")


@dataclass(frozen=True)
class BadRecord:
    """A record that is no conversation, and why; `line` is 0 where the whole file cannot be read."""

    source: str
    line: int
    reason: str


@dataclass(frozen=True)
class Conversations:
    """What a source holds, in order."""

    good: list[Conversation]
    bad: list[BadRecord]


class _NoConversationError(Exception):
    """Why a record is none."""


def read_conversations(source: str | Path) -> Conversations:
    """The conversations in a file or in the .json and .jsonl files of a folder.

    `NotFoundError` if it does not exist, `UsageError` if no such file is there, `BadFileError` if none holds a conversation.
    """
    suffixes = (*json.SUFFIXES, *jsonl.SUFFIXES)
    files = [file for file in list_files(source) if file.path.suffix.lower() in suffixes]
    if not files:
        raise UsageError(f"{source} holds no instruction data.", hint=f"Name a file or a folder of {', '.join(suffixes)} files.")
    found = Conversations([], [])
    for file in files:
        try:
            for line, record in _records(file):
                _place(found, record, file.source, line)
        except BadFileError as error:
            found.bad.append(BadRecord(file.source, 0, error.reason))
    if not found.good:
        first = found.bad[0] if found.bad else BadRecord(files[0].source, 0, "it holds no records.")
        where = f"{first.source}, record {first.line}" if first.line else first.source
        raise BadFileError(source, f"holds no conversation ({where}: {first.reason.removesuffix('.')}).", hint=SHAPES)
    return found


def split(conversations: Sequence[Conversation], *, share: float = VALID_SHARE) -> tuple[list[Conversation], list[Conversation]]:
    """Training and validation, each in the order given: about `share` of the conversations validate.

    Those with the same first question stay together; such groups, in the order of the SHA-256 of their question, join validation
    as long as each brings it nearer to its share. Of 20 or more conversations at least one validates, if not all ask the same.
    """
    groups: dict[str, list[int]] = {}
    for place, conversation in enumerate(conversations):
        groups.setdefault(conversation.question.strip(), []).append(place)
    ordered = sorted(groups, key=lambda question: hashlib.sha256(question.encode("utf-8")).digest())
    valid: set[int] = set()
    for question in ordered:
        if len(valid) + len(groups[question]) / 2 < share * len(conversations):
            valid.update(groups[question])
    if not valid and share > 0 and len(groups) > 1 and len(conversations) >= FEWEST_TO_SPLIT:
        valid.update(groups[min(ordered, key=lambda question: len(groups[question]))])
    sides: tuple[list[Conversation], list[Conversation]] = ([], [])
    for place, conversation in enumerate(conversations):
        sides[place in valid].append(conversation)
    return sides


def _records(file: SourceFile) -> Iterator[tuple[int, Any]]:
    """The values in a file with their numbers; a line that is no JSON is an error in the place of its value."""
    try:
        data = file.path.read_bytes()
    except OSError as error:
        raise BadFileError(file.path, f"cannot be opened ({error.strerror}).") from None
    text = decode(data, path=file.path)
    if file.path.suffix.lower() in json.SUFFIXES:
        value = parse(text, path=file.path)
        whole = isinstance(value, dict) and _shape(value) is not None
        yield from enumerate([value] if whole else records_of(value), 1)
        return
    for number, line in enumerate(text.split("\n"), 1):
        if line and not line.isspace():
            try:
                value = parse(line, path=file.path, where="it ")
            except BadFileError as error:
                value = error
            yield number, value


def _place(found: Conversations, record: Any, source: str, line: int) -> None:
    try:
        if isinstance(record, BadFileError):
            raise _NoConversationError(record.reason)
        found.good.append(Conversation(_checked(_messages(record)), line, source))
    except _NoConversationError as error:
        found.bad.append(BadRecord(source, line, str(error)))


def _shape(record: dict[str, Any]) -> str | None:
    """The field that tells the shape of a record."""
    for name in ("messages", "conversations"):
        if name in record:
            return name
    return "instruction" if {"instruction", "output"} <= record.keys() else None


def _messages(record: Any) -> list[tuple[str, str]]:
    """Roles and contents of a record, as they stand there."""
    if not isinstance(record, dict):
        raise _NoConversationError("it is not an object.")
    shape = _shape(record)
    if shape is None:
        has = ", ".join(map(repr, list(record)[:8])) or "nothing"
        raise _NoConversationError(f"it has no messages, no conversations, and no instruction with an output (it has {has}).")
    before = [("system", _text(record.get("system"), "its system message"))]
    if shape == "instruction":
        instruction, more, output = (_text(record.get(name), f"its {name}") for name in ("instruction", "input", "output"))
        question = "\n".join(text for text in (instruction, more) if text.strip())
        return [*before, *_history(record.get("history")), ("user", question), ("assistant", output)]
    if not isinstance(record[shape], list):
        raise _NoConversationError(f"its {shape} are not a list.")
    return [*before, *(_message(message, number) for number, message in enumerate(record[shape], 1))]


def _history(history: Any) -> Iterator[tuple[str, str]]:
    turns = history or []
    if not isinstance(turns, list):
        raise _NoConversationError("its history is not a list.")
    for turn in turns:
        if not isinstance(turn, list) or len(turn) != 2:
            raise _NoConversationError("its history is not a list of questions with answers.")
        yield from zip(("user", "assistant"), (_text(each, "its history") for each in turn), strict=True)


def _message(message: Any, number: int) -> tuple[str, str]:
    if not isinstance(message, dict):
        raise _NoConversationError(f"message {number} is not an object.")
    role = message.get("role", message.get("from"))
    if not isinstance(role, str) or role not in ROLES:
        raise _NoConversationError(f"message {number} has the role {role!r:.50}, which is not one of {', '.join(ROLES)}.")
    # What such a record asks for would be lost without a word.
    for name in ("tool_calls", "function_call"):
        if message.get(name):
            raise _NoConversationError(f"message {number} has {name}, which is not supported.")
    if message.get("weight", 1) != 1:
        raise _NoConversationError(f"message {number} has a weight other than 1, which is not supported.")
    return ROLES[role], _text(message.get("content", message.get("value")), f"message {number}")


def _text(value: Any, name: str) -> str:
    if not isinstance(value, str | None):
        raise _NoConversationError(f"{name} is not a text.")
    return whole_characters(value or "")


def _checked(messages: list[tuple[str, str]]) -> list[dict[str, str]]:
    """Messages that take turns and are not empty, the last one an answer."""
    kept = [(role, content) for role, content in messages if role != "system" or content.strip()]
    if kept and kept[-1][0] == "user":
        kept.pop()
    if not any(role == "assistant" for role, _ in kept):
        raise _NoConversationError("it has no answer.")
    turns = kept[1:] if kept[0][0] == "system" else kept
    for number, (role, content) in enumerate(turns):
        if role == "system":
            raise _NoConversationError("it has a system message that is not the first message.")
        if (role == "user") != (number % 2 == 0):
            wrong = "an answer without a question" if role == "assistant" else "a question without an answer"
            raise _NoConversationError(f"it has {wrong}.")
        if not content.strip():
            raise _NoConversationError(f"it has an empty {'answer' if role == 'assistant' else 'question'}.")
    return [{"role": role, "content": content} for role, content in kept]
