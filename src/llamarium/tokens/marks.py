"""Tokens that stand for what was left out of a text: one mask, or a row of sentinels.

Takes: a tokenizer.
Gives: the ids of its marks; the same tokenizer with marks it did not have.
Does not know: which ids are left out, and by whom they are guessed.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

from llamarium.tokens.tokenizer import Tokenizer

MASK = "<|mask|>"
NUM_SENTINELS = 100  # as T5 has
_SENTINEL = re.compile(r"<extra_id_(\d+)>")


@dataclass(frozen=True)
class Marks:
    """Ids: `mask` stands for one token left out, the sentinels one after another for the spans of a row, `end` ends what is guessed."""

    mask: int | None
    sentinels: tuple[int, ...]
    end: int


def marks(tokenizer: Tokenizer) -> Marks:
    """The marks that a tokenizer has; sentinels are ``<extra_id_0>``, ``<extra_id_1>``, …"""
    mask = tokenizer.special("mask_token")
    numbered = {int(found[1]): number for name, number in tokenizer.specials.items() if (found := _SENTINEL.fullmatch(name))}
    return Marks(mask, tuple(numbered[key] for key in sorted(numbered)), tokenizer.end_id)


def with_marks(tokenizer: Tokenizer, *, mask: bool = False, sentinels: bool = False) -> Tokenizer:
    """The same tokenizer with a mask or sentinels behind its other tokens, where it has none; all other ids stay what they are.

    >>> from llamarium.tokens.train import bytes_tokenizer
    >>> plain = bytes_tokenizer()
    >>> plain.vocab_size, marks(with_marks(plain, mask=True)).mask
    (259, 259)
    """
    there = marks(tokenizer)
    names = [MASK] if mask and there.mask is None else []
    names += [f"<extra_id_{place}>" for place in range(NUM_SENTINELS)] if sentinels and not there.sentinels else []
    if not names:
        return tokenizer
    values = json.loads(tokenizer.definition)
    flags = {"special": True, "normalized": False, "lstrip": False, "rstrip": False, "single_word": False}
    values["added_tokens"] += [{"id": tokenizer.vocab_size + place, "content": name, **flags} for place, name in enumerate(names)]
    config = {**tokenizer.config, **({"mask_token": MASK} if MASK in names else {})}
    return Tokenizer(json.dumps(values, ensure_ascii=False), config, name=tokenizer.name)
