"""Conversations as text: the checkpoint's own Jinja template, in a sandbox.

Takes: messages, a template, the contents of special tokens.
Gives: the text of the conversation, in which no message can smuggle in a special token.
Does not know: ids.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any

import jinja2
import jinja2.ext
from jinja2.sandbox import ImmutableSandboxedEnvironment

from llamarium.ground.errors import BadFileError, UsageError

CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
PLAIN = (
    "{% for message in messages %}{{ message['role'] | capitalize + ': ' + message['content'] + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}"
)

_PRIVATE_USE = (range(0xE000, 0xF900), range(0xF0000, 0xFFFFE), range(0x100000, 0x10FFFE))


def default_template(specials: Iterable[str]) -> str:
    """The template for a checkpoint that brings none: ChatML where its tokens exist, else plain lines."""
    return CHATML if {"<|im_start|>", "<|im_end|>"} <= set(specials) else PLAIN


def guard(messages: Sequence[dict[str, Any]], specials: Iterable[str]) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """Take out of messages what a special token begins with, so that whatever a template does to them, none comes of it.

    Each such character becomes a private-use stand-in. Returns the messages, and the character of each stand-in.
    Trimming, changing case or joining messages cannot make a special token whose first character is not there.

    >>> guard([{"role": "user", "content": "hi <|x|>"}], ["<|x|>"])
    ([{'role': 'user', 'content': 'hi \\ue000|x|>'}], {'\\ue000': '<'})
    """
    specials = list(specials)
    used = set(json.dumps(messages, ensure_ascii=False, default=str))
    free = (chr(code) for codes in _PRIVATE_USE for code in codes if chr(code) not in used)
    try:
        stand_ins = {first: next(free) for first in sorted({content[0] for content in specials} & used)}
    except StopIteration:
        raise UsageError("A message holds every private-use character of Unicode.", hint="Take some of them out.") from None
    # A letter begins too much that is harmless, such as the name of a role.
    words = [content for content in specials if content[0].isalnum() and content[0] in stand_ins]
    signs = str.maketrans({first: stand_in for first, stand_in in stand_ins.items() if not first.isalnum()})

    def without(value: Any) -> Any:
        if isinstance(value, str):
            for content in words:
                value = value.replace(content, stand_ins[content[0]] + content[1:])
            return value.translate(signs)
        if isinstance(value, dict):
            return {key if isinstance(key, str) and key.isidentifier() else without(key): without(each) for key, each in value.items()}
        return [without(each) for each in value] if isinstance(value, (list, tuple)) else value

    return [without(message) for message in messages], {stand_in: first for first, stand_in in stand_ins.items()}


def render(template: str, messages: Sequence[dict[str, Any]], *, specials: dict[str, str], add_generation_prompt: bool = True) -> str:
    """The text of a conversation. `UsageError` where the template refuses it, `BadFileError` where the template is broken."""
    try:
        return _compile(template).render(messages=list(messages), add_generation_prompt=add_generation_prompt, tools=None, **specials)
    except _RefusedError as error:
        raise UsageError(f"The model's chat template refuses this conversation: {error}.") from None
    except Exception as error:  # a template is somebody else's program: what it raises can be anything
        raise BadFileError("chat template", f"cannot be rendered ({type(error).__name__}: {error}).") from error


class _RefusedError(Exception):
    """The template called raise_exception."""


def _refuse(message: str) -> None:
    raise _RefusedError(message)


def _to_json(value: Any, **options: Any) -> str:
    return json.dumps(value, ensure_ascii=False, indent=options.get("indent"))


class _Generation(jinja2.ext.Extension):
    """``{% generation %}`` marks what an assistant said, for training; here it is what it encloses."""

    tags = {"generation"}  # noqa: RUF012

    def parse(self, parser: jinja2.parser.Parser) -> list[jinja2.nodes.Node]:
        """The enclosed nodes."""
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


@lru_cache(maxsize=8)
def _compile(template: str) -> jinja2.Template:
    # Hugging Face renders templates with these two block settings and these functions.
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols", _Generation])
    environment.filters["tojson"] = _to_json
    environment.globals["raise_exception"] = _refuse
    environment.globals["strftime_now"] = lambda form: datetime.datetime.now().strftime(form)
    return environment.from_string(template)
