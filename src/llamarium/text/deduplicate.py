"""Exact duplicates: the same words, whatever their case and spacing; of documents, and of long paragraphs.

Takes: documents, or their fingerprints a partition at a time, in the order that decides which copy stays: the first.
Gives: for each document which earlier one it repeats, if any; for each long paragraph whether an earlier document has it.
Does not know: near-copies; those are found by `near`.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from llamarium.text.shingles import offsets_of

SHORTEST_PARAGRAPH = 200  # code points

_SPACES = "".join(code for code in map(chr, range(0x3001)) if code.isspace() and code != " ")  # U+3000 is the last there is
_LONG = 600
_BLANK_LINES = re.compile(r"(\n[^\S\n]*\n\s*)")

Bools = NDArray[np.bool_]
Bytes = NDArray[np.uint8]
Integers = NDArray[np.int64]


def fingerprint(text: str) -> bytes:
    r"""SHA-256 of the text with its case folded and every run of white space made one space.

    >>> fingerprint("The  llama\nEats") == fingerprint("the llama eats"), fingerprint("羊驼") == fingerprint("羊 驼")
    (True, False)
    """
    return hashlib.sha256(_plain(text.casefold()).encode("utf-8", "surrogatepass")).digest()


def first_of(fingerprints: Sequence[Bytes]) -> Integers:
    """For each document the index of the first one with the same fingerprint (n,): its own, if that is the first.

    `fingerprints`: those of each partition, in order, (m, 32) bytes; the m of all partitions add up to n.
    """
    rows = np.concatenate([np.empty((0, 32), dtype=np.uint8), *fingerprints])
    wide = np.ascontiguousarray(rows).view(np.uint64)
    # Eight bytes tell nearly all apart; where they do not, all 32 put them in order. A sort is stable, so copies stay in theirs.
    order = np.argsort(wide[:, 0], kind="stable")
    later = 1 + np.flatnonzero(wide[order[1:], 0] == wide[order[:-1], 0])
    is_copy = (wide[order[later]] == wide[order[later - 1]]).all(axis=1)
    if not is_copy.all():
        order = np.lexsort(wide.T)
        is_copy = (wide[order[later]] == wide[order[later - 1]]).all(axis=1)
    is_first = np.ones(len(order), dtype=np.bool_)
    is_first[later[is_copy]] = False
    found = np.empty(len(order), dtype=np.int64)
    found[order] = order[is_first][np.cumsum(is_first) - 1]
    return found


@dataclass(frozen=True)
class Paragraphs:
    """The long paragraphs of n documents: those of document i are `marks[offsets[i] : offsets[i + 1]]`, in order.

    `marks`: uint64, the first eight bytes of a paragraph's fingerprint. `offsets`: int64 (n + 1,).
    """

    marks: NDArray[np.uint64]
    offsets: Integers


def paragraphs(texts: Sequence[str]) -> Paragraphs:
    """Those of each text that have at least `SHORTEST_PARAGRAPH` code points; a paragraph ends at a blank line."""
    marks = [[fingerprint(part)[:8] for part in _long_ones(text)] for text in texts]
    return Paragraphs(
        np.frombuffer(b"".join(mark for found in marks for mark in found), dtype="<u8").astype(np.uint64),
        offsets_of(np.fromiter(map(len, marks), dtype=np.int64, count=len(marks))),
    )


def repeated_paragraphs(partitions: Sequence[Paragraphs]) -> list[Bools]:
    """For each partition which of its `marks` stand in an earlier document, of it or of a partition before it."""
    marks = np.concatenate([np.empty(0, dtype=np.uint64), *(one.marks for one in partitions)])
    sizes = np.concatenate([np.empty(0, dtype=np.int64), *(np.diff(one.offsets) for one in partitions)])
    owners = np.repeat(np.arange(len(sizes)), sizes)
    order = np.argsort(marks, kind="stable")
    is_first = np.ones(len(order), dtype=np.bool_)
    is_first[1:] = marks[order[1:]] != marks[order[:-1]]
    first_owners = owners[order[is_first]][np.cumsum(is_first) - 1]
    repeated = np.empty(len(order), dtype=np.bool_)
    repeated[order] = owners[order] > first_owners
    borders = offsets_of(np.array([len(one.marks) for one in partitions], dtype=np.int64))
    return np.split(repeated, borders[1:-1]) if partitions else []


def without_paragraphs(text: str, repeated: Sequence[bool] | Bools) -> str:
    r"""The text without those of its long paragraphs that `repeated` marks; the rest is unchanged. Empty, if nothing is left.

    >>> long = "The llama eats the grass of the high plains. " * 5
    >>> without_paragraphs(f"One.\n\n{long}\n\nTwo.", [True])
    'One.\n\nTwo.'
    """
    parts = _BLANK_LINES.split(text)
    marks = iter(repeated)
    kept = [
        (blank, part)
        for blank, part in zip(["", *parts[1::2]], parts[::2], strict=True)
        if len(part) < SHORTEST_PARAGRAPH or not next(marks)
    ]
    return "".join(blank + part for blank, part in kept)[len(kept[0][0]) :] if kept else ""


def _plain(text: str) -> str:
    """The text with every run of white space made one space, and none at its ends."""
    if len(text) < _LONG:
        return " ".join(text.split())
    for space in _SPACES:  # the same; twice as fast where there are many words
        if space in text:
            text = text.replace(space, " ")
    while "  " in text:
        text = text.replace("  ", " ")
    return text.strip(" ")


def _long_ones(text: str) -> Iterator[str]:
    return (part for part in _BLANK_LINES.split(text)[::2] if len(part) >= SHORTEST_PARAGRAPH)
