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


def default_template(specials: Iterable[str]) -> str:
    """The template for a checkpoint that brings none: ChatML where its tokens exist, else plain lines."""
    return CHATML if {"<|im_start|>", "<|im_end|>"} <= set(specials) else PLAIN


def guard(messages: Sequence[dict[str, Any]], specials: Iterable[str]) -> tuple[list[dict[str, Any]], tuple[str, str] | None]:
    """Break up special tokens inside messages, so that a template cannot tell them from its own.

    The first character of each becomes a private-use stand-in. Returns the messages and how to undo it:
    ``(stand-in, character)``, or None where no message holds a special token.

    >>> guard([{"role": "user", "content": "hi <|x|>"}], ["<|x|>"])
    ([{'role': 'user', 'content': 'hi \\ue000|x|>'}], ('\\ue000', '<'))
    """
    texts = [str(value) for message in messages for value in message.values()]
    found = sorted({content for content in specials if any(content in text for text in texts)}, key=len, reverse=True)
    if not found:
        return [dict(message) for message in messages], None
    stand_in = next(chr(code) for code in range(0xE000, 0xF8FF) if not any(chr(code) in text for text in texts))
    first = {content[0] for content in found}
    if len(first) > 1:
        raise UsageError(f"A message holds special tokens of several kinds: {', '.join(found)}.", hint="Take them out of the message.")

    def break_up(value: Any) -> Any:
        if isinstance(value, str):
            for content in found:
                value = value.replace(content, stand_in + content[1:])
        return value

    return [{key: break_up(value) for key, value in message.items()} for message in messages], (stand_in, first.pop())


def render(template: str, messages: Sequence[dict[str, Any]], *, specials: dict[str, str], add_generation_prompt: bool = True) -> str:
    """The text of a conversation. `UsageError` where the template refuses it, `BadFileError` where the template is broken."""
    try:
        return _compile(template).render(messages=list(messages), add_generation_prompt=add_generation_prompt, tools=None, **specials)
    except _RefusedError as error:
        raise UsageError(f"The model's chat template refuses this conversation: {error}.") from None
    except (jinja2.TemplateError, TypeError, ValueError, KeyError, ArithmeticError, RecursionError, OverflowError) as error:
        raise BadFileError("chat template", f"cannot be rendered ({type(error).__name__}: {error}).") from error


class _RefusedError(Exception):
    """The template called raise_exception."""


def _refuse(message: str) -> None:
    raise _RefusedError(message)


def _to_json(value: Any, **options: Any) -> str:
    return json.dumps(value, ensure_ascii=False, indent=options.get("indent"))


@lru_cache(maxsize=8)
def _compile(template: str) -> jinja2.Template:
    # Hugging Face renders templates with these two block settings and these functions.
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"])
    environment.filters["tojson"] = _to_json
    environment.globals["raise_exception"] = _refuse
    environment.globals["strftime_now"] = lambda form: datetime.datetime.now().strftime(form)
    return environment.from_string(template)
