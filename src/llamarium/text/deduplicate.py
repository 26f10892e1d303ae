"""Exact duplicates: the same words, whatever their case and spacing.

Takes: documents, in the order that decides which copy stays.
Gives: whether each has been seen before.
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
    """Remembers the fingerprints of texts: 32 bytes a text.

    >>> seen = Seen()
    >>> seen.before("羊驼 吃草"), seen.before("羊驼　吃草"), seen.before("It eats.")
    (False, True, False)
    """

    def __init__(self) -> None:
        self._fingerprints: set[bytes] = set()

    def before(self, text: str) -> bool:
        """Whether a text with this fingerprint came before; from now on it has."""
        mark = fingerprint(text)
        if mark in self._fingerprints:
            return True
        self._fingerprints.add(mark)
        return False
