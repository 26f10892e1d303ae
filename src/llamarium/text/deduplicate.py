"""Exact duplicates: the same words, whatever their case and spacing.

Takes: documents, in the order that decides which copy stays.
Gives: for each, which earlier one it repeats, if any.
Does not know: near-copies; those stay, and `split` keeps them on one side.
"""

from __future__ import annotations

import hashlib

REASON = "duplicate_exact"


def fingerprint(text: str) -> bytes:
    r"""SHA-256 of the text with its case folded and every run of white space made one space.

    >>> fingerprint("The  llama\nEats") == fingerprint("the llama eats"), fingerprint("羊驼") == fingerprint("羊 驼")
    (True, False)
    """
    return hashlib.sha256(" ".join(text.casefold().split()).encode("utf-8")).digest()


class Seen:
    """Remembers the fingerprint of each text and where it was first.

    >>> seen = Seen()
    >>> seen.before("羊驼 吃草", "a.txt"), seen.before("羊驼　吃草", "b.txt"), seen.before("It eats.", "c.txt")
    (None, 'a.txt', None)
    """

    def __init__(self) -> None:
        self._first: dict[bytes, str] = {}

    def before(self, text: str, source: str) -> str | None:
        """The source of the first text like this one, or None if this is it."""
        mark = fingerprint(text)
        if mark in self._first:
            return self._first[mark]
        self._first[mark] = source
        return None
