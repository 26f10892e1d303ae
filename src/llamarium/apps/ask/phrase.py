"""An answer in a model's words, where the quotes bear every sentence of it.

Takes: a model that chats, a question and the verified quotes.
Gives: the model's answer, or nothing where a plain check finds a sentence that no quote bears.
Does not know: where the quotes come from, what a model is.

The check is about words, not about truth: it refuses numbers, names and negations that the quote does not have, and
sentences of other words. It cannot see that words of a quote were put together to say something else, so the quotes are
always shown with the answer.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Protocol

from llamarium.apps.ask.passages import sentences
from llamarium.apps.ask.words import held_in, question_words, terms_of, words

SHARE_OF_WORDS = 0.8  # at 0.6 a small model's invention was let through that used a quote's words for something else
MOST_TOKENS = 160

_NUMBER = re.compile(r"[0-9]+(?:[.,:][0-9]+)*|[零〇一二两三四五六七八九十百千万亿半]{2,}|[零〇二两三四五六七八九十百千万亿半]")
_ENGLISH_NUMBERS = (
    "zero two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen twenty "
    "thirty forty fifty sixty seventy eighty ninety hundred thousand million billion first second third half twice double"
)
_NUMBER_WORDS = frozenset(_ENGLISH_NUMBERS.split())
_NEGATION = re.compile(r"\b(?:not|no|never|none|nor|neither|without|cannot)\b|n['’]t\b|[不没无非勿未]", re.IGNORECASE)


class _Generation(Protocol):
    text: str


class Chats(Protocol):
    """What can answer a conversation, as ``llamarium.load`` returns it."""

    def chat(self, messages: Sequence[dict[str, Any]], *, max_tokens: int, temperature: float) -> _Generation:
        """Answer the last message."""


def phrase(model: Chats, question: str, quotes: Sequence[str]) -> str | None:
    """The model's answer to `question` if a quote bears every sentence of it, else None."""
    # The quotes come first and bare: a small model takes numbers and marks around them for part of what it should say.
    prompt = "\n\n".join([*quotes, f"Answer from this text only, in one short sentence and in its words: {question}"])
    answer = model.chat([{"role": "user", "content": prompt}], max_tokens=MOST_TOKENS, temperature=0.0).text.strip()
    spans = sentences(answer, 0, len(answer))
    return answer if spans and all(any(bears(quote, answer[start:end]) for quote in quotes) for start, end in spans) else None


def bears(quote: str, sentence: str) -> bool:
    """Whether one quote has all numbers and names of a sentence, most of its other words, and says no where it says no.

    >>> bears("The oven is heated to 230 degrees.", "Heat the oven to 230 degrees.")
    True
    >>> bears("The oven is heated to 230 degrees.", "Heat the oven to 250 degrees.")
    False
    """
    wanted = question_words(sentence).wanted
    if not wanted or _facts(sentence) - _facts(quote) - terms_of(quote):
        return False
    parts = [quote[start:end] for start, end in sentences(quote, 0, len(quote))]
    closest = max(parts, key=lambda part: len(held_in(wanted, terms_of(part))), default="")
    if bool(_NEGATION.search(sentence)) != bool(_NEGATION.search(closest)):
        return False
    return len(held_in(wanted, terms_of(quote))) >= SHARE_OF_WORDS * len(wanted)


def _facts(text: str) -> set[str]:
    """Numbers, and the terms of names: what has a capital within a sentence, a digit, or is put together."""
    facts = set(_NUMBER.findall(text))
    for number, word in enumerate(words(text)):
        written = text[word.start : word.end]
        is_name = (number > 0 and written[0].isupper()) or (len(word.terms) > 1 and written.isascii()) or any(c.isdigit() for c in written)
        if is_name or written.lower() in _NUMBER_WORDS:
            facts.add(word.terms[0])
    return facts
