"""Text that follows a grammar: tokens that would leave it cannot be chosen.

Takes: a tokenizer, a grammar in Lark's form, the ids that end a text.
Gives: a `Constraint`: it masks logits, and is told what was chosen.
Does not know: models; what the grammar is for.

The grammar is over bytes, so any vocabulary whose tokens have bytes will do: byte-level BPE, byte fallback, Unigram, from a
folder or from GGUF. llguidance walks the grammar and the vocabulary together (Earley parser over derivatives of regular
expressions); special tokens other than the end are never allowed.
"""

from __future__ import annotations

import functools
import weakref
from typing import Any, Protocol

import torch
from torch import Tensor

from llamarium.ground.errors import MissingExtraError, UsageError
from llamarium.tokens.tokenizer import Tokenizer


class Constraint(Protocol):
    """What stands between logits and the choice of the next id."""

    def mask(self, logits_V: Tensor) -> Tensor:
        """The logits, with minus infinity for every id that must not come next."""

    def take(self, number: int) -> None:
        """The id that was chosen; the next call of `mask` is for what follows it."""


class Grammar:
    """A `Constraint`: what is written follows a Lark grammar whose first rule is ``start``, and ends where that may end.

    `UsageError` for a grammar that is none, and for a vocabulary whose tokens have no bytes (WordPiece);
    `MissingExtraError` without llguidance.
    """

    def __init__(self, lark: str, tokenizer: Tokenizer, *, stop_ids: frozenset[int]) -> None:
        package = _package()
        vocabulary = _vocabulary(tokenizer, stop_ids or tokenizer.stop_ids)
        self._stop_ids = sorted(stop_ids or tokenizer.stop_ids)
        self._matcher = package.LLMatcher(vocabulary, package.LLMatcher.grammar_from_lark(lark), log_level=0)
        self._check()

    def mask(self, logits_V: Tensor) -> Tensor:
        """(V,) -> (V,): what may not come next is at minus infinity. Ids beyond the vocabulary, which pad a matrix, never may."""
        allowed = torch.frombuffer(bytearray(self._matcher.compute_logit_bias()), dtype=torch.uint8)[: len(logits_V)] > 0
        self._check()
        if len(allowed) < len(logits_V):
            allowed = torch.cat([allowed, torch.zeros(len(logits_V) - len(allowed), dtype=torch.bool)])
        # Any of the ids that end a text may end this one, where one of them may.
        ends = [number for number in self._stop_ids if number < len(logits_V)]
        if allowed[ends].any():
            allowed[ends] = True
        return logits_V.masked_fill(~allowed.to(logits_V.device), float("-inf"))

    def take(self, number: int) -> None:
        """Go on behind this id, which `mask` allowed."""
        self._matcher.consume_token(number)
        self._check()

    def _check(self) -> None:
        if self._matcher.is_error():
            reason = " ".join(str(self._matcher.get_error()).split())
            raise UsageError(f"The text cannot follow this grammar: {reason[:200]}", hint="Lark's form, the first rule called start.")


def _package() -> Any:
    try:
        import llguidance
    except ImportError:
        raise MissingExtraError("Text that follows a grammar", extra="ask", package="llguidance") from None
    return llguidance


_SAMPLE = "Unbelievably, one of two."  # WordPiece joins what it decodes with spaces and marks

_vocabularies: weakref.WeakKeyDictionary[Tokenizer, dict[frozenset[int], Any]] = weakref.WeakKeyDictionary()


def _vocabulary(tokenizer: Tokenizer, stop_ids: frozenset[int]) -> Any:
    """llguidance's view of a tokenizer, made once: it takes longer than an answer's first token."""
    known = _vocabularies.setdefault(tokenizer, {})
    if stop_ids not in known:
        package = _package()
        known[stop_ids] = package.LLTokenizer(package.TokenizerWrapper(_Wrapped(tokenizer, sorted(stop_ids))), eos_token=sorted(stop_ids))
    return known[stop_ids]


class _Wrapped:
    """A tokenizer as llguidance asks for it."""

    def __init__(self, tokenizer: Tokenizer, stop_ids: list[int]) -> None:
        ids = tokenizer.encode(_SAMPLE)
        if b"".join(tokenizer.decode_bytes([number]) for number in ids) != tokenizer.decode_bytes(ids):
            raise UsageError("This vocabulary's tokens have no bytes of their own.", hint="Use a model such as a LLaMA.")
        pieces = [tokenizer.decode_bytes([number]) for number in range(tokenizer.vocab_size)]
        # An id without bytes would be one that changes nothing, and could be chosen for ever.
        self.tokens = [piece or f"<unused {number}>".encode() for number, piece in enumerate(pieces)]
        unused = [number for number, piece in enumerate(pieces) if not piece]
        self.special_token_ids = sorted({*tokenizer.specials.values(), *stop_ids, *unused})
        self.eos_token_id, self.bos_token_id = stop_ids[0], None
        self._encode = functools.partial(tokenizer.encode, add_special=False)

    def __call__(self, text: bytes | str) -> list[int]:
        return self._encode(text)
