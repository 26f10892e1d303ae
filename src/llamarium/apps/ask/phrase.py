"""An answer in a model's words, each sentence with the quote that bears it.

Takes: a model that chats and follows a grammar, a question and the verified quotes.
Gives: sentences, each with its citation: those of the model that a quote bears, or where it has none, the quotes.
Does not know: where the quotes come from, what a model is.

What is retrieved is data: it stands in the prompt as numbered text, and the grammar leaves the model no way to say anything
but sentences that end in the number of one of these quotes, without brackets, markup or links of their own. Whether the
quote says what the sentence says is then looked at by `verify`, which is about words and no judge of truth: the quotes are
always shown with the answer.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from llamarium.apps.ask.passages import sentences
from llamarium.apps.ask.verify import verify
from llamarium.apps.ask.words import held_in, question_words, terms_of

MOST_TOKENS = 120
MOST_SENTENCES = 2
LONGEST_SENTENCE = 240  # characters
FEWEST_SHARED = 0.85  # of a sentence's words: what a small model adds of its own is seldom a paraphrase

_CITED = re.compile(r"\s*\[([0-9]{1,3})\]")
# What a browser or a terminal could make something to click on, or fetch.
_ACTIVE = re.compile(r"[\w+.-]+://|\b(?:www\.|mailto:|javascript:|data:)|[<>`|\[\]]|[\w.+-]+@[\w-]+\.\w", re.IGNORECASE)

_BROKEN = re.compile(r"(?:[,;:]|\b(?:and|or|but|the|a|an|of|to|with|in|is|are|was|that|which|from))\s*[.!]$|[，、：][。！]$", re.IGNORECASE)
_MARK = re.compile(r"^(?:[*•·+-]|[0-9]{1,2}[.)])\s+")  # of an item in a list


class _Generation(Protocol):
    text: str


class Chats(Protocol):
    """What can answer a conversation, as ``llamarium.load`` returns it."""

    def chat(self, messages: Sequence[dict[str, Any]], *, max_tokens: int, temperature: float) -> _Generation:
        """Answer the last message."""


class Follows(Protocol):
    """What can answer a conversation in a given form, as ``llamarium.load`` returns it."""

    def chat(self, messages: Sequence[dict[str, Any]], *, max_tokens: int, temperature: float, grammar: str) -> _Generation:
        """Answer the last message with a text that follows `grammar` (Lark's form)."""


@dataclass(frozen=True)
class Sentence:
    """A sentence of an answer. `citation`: which of the quotes bears it, from 0; `phrased`: in the model's words, else the quote's."""

    text: str
    citation: int
    phrased: bool


@dataclass(frozen=True)
class Phrased:
    """What became of a model's answer. `refused`: what it said that no quote bears, with the first reason."""

    sentences: tuple[Sentence, ...]
    refused: tuple[tuple[str, str], ...] = ()

    @property
    def phrased(self) -> bool:
        """Whether a sentence of the model is left."""
        return any(sentence.phrased for sentence in self.sentences)

    @property
    def text(self) -> str:
        """The sentences, each with the number of its quote, from 1."""
        return " ".join(f"{sentence.text} [{sentence.citation + 1}]" for sentence in self.sentences)


def phrased_answer(model: Follows, question: str, quotes: Sequence[str]) -> Phrased:
    """Let `model` answer `question` from `quotes`, of which there is at least one.

    A sentence that neither its quote nor another one bears is dropped; where none is left, the quotes are the answer.
    """
    said = model.chat(prompt(question, quotes), max_tokens=MOST_TOKENS, temperature=0.0, grammar=grammar(len(quotes))).text
    return judged(said, question, quotes)


def phrase(model: Chats, question: str, quotes: Sequence[str]) -> str | None:
    """The same for a model that follows no grammar: its answer with citations, or None where no quote bears a sentence of it."""
    said = model.chat(prompt(question, quotes), max_tokens=MOST_TOKENS, temperature=0.0).text
    answer = judged(said, question, quotes)
    return answer.text if answer.phrased else None


def prompt(question: str, quotes: Sequence[str]) -> list[dict[str, str]]:
    """The conversation that asks for an answer: the quotes, numbered from 1, and the question."""
    numbered = "\n\n".join(f"[{number}] {quote}" for number, quote in enumerate(quotes, 1))
    # The text first: what a small model has read last it keeps to.
    content = f"{numbered}\n\nQuestion: {question}\n\nAnswer the question with one sentence of the text above."
    return [{"role": "user", "content": content}]


def grammar(num_quotes: int) -> str:
    """One or two sentences, each with the number of a quote behind it, in Lark's form."""
    numbers = " | ".join(f'"{number}"' for number in range(1, num_quotes + 1))
    plain = r"[^\s\[\]<>`|.!?。！？]"
    inner = r"[^\[\]<>`|\n\r\t.!?。！？]|[.][0-9A-Za-z_]"
    return (
        f'start: sentence (" " sentence){{0,{MOST_SENTENCES - 1}}}\n'
        f'sentence: TEXT " [" number "]"\n'
        f"number: {numbers}\n"
        f"TEXT: /{plain}({inner}){{3,{LONGEST_SENTENCE}}}[.!。！]/\n"
    )


def judged(said: str, question: str, quotes: Sequence[str]) -> Phrased:
    """What of a text can stand: sentences that a quote bears; the quotes themselves where there is none.

    >>> said = "Heat the oven to 230 degrees. [1] Bake for an hour. [1]"
    >>> judged(said, "How hot is the oven?", ["The oven is heated to 230 degrees."]).text
    'Heat the oven to 230 degrees. [1]'
    """
    wanted = question_words(question).wanted
    kept: list[Sentence] = []
    refused: list[tuple[str, str]] = []
    for text, cited in _cited_sentences(said):
        order = sorted(range(len(quotes)), key=lambda number: number != cited)  # the one that it names first
        off = _asks(text, question) or not held_in(wanted, terms_of(text))
        reasons = ["question"] if off else [_reason(quotes[number], text) for number in order]
        if "" in reasons:
            kept.append(Sentence(text, order[reasons.index("")], phrased=True))
        else:
            refused.append((text, reasons[0]))
    if not kept:
        kept = [Sentence(quote, number, phrased=False) for number, quote in enumerate(quotes)]
    return Phrased(tuple({sentence.text: sentence for sentence in kept}.values()), tuple(refused))


def _asks(sentence: str, question: str) -> bool:
    """Whether a sentence is the question once more, with a full stop: a small model likes to begin so."""
    return sentence.lower().split()[:2] == question.lower().split()[:2] or question.rstrip("?？.。 ") in sentence


def _cited_sentences(said: str) -> list[tuple[str, int | None]]:
    """The sentences of a text with the quote that each names, from 0; the last is left out where the text broke off in it."""
    found: list[tuple[str, int | None]] = []
    place = 0
    while place < len(said):
        mark = _CITED.search(said, place)
        part = said[place : mark.start() if mark else len(said)]
        place = mark.end() if mark else len(said)
        spans = [_MARK.sub("", part[start:end]) for start, end in sentences(part, 0, len(part))]
        found += [(text, int(mark[1]) - 1 if mark else None) for text in spans if mark or text[-1] in ".!。！"]
    return found


def _reason(quote: str, sentence: str) -> str:
    """Why a quote does not bear a sentence; empty where it does."""
    if _ACTIVE.search(sentence):
        return "link"
    if _BROKEN.search(sentence):
        return "broken"
    verdict = verify(quote, sentence, fewest_shared=FEWEST_SHARED)
    return "" if verdict.accepted else verdict.reasons[0][0]
