"""Training and validation, without the second leaking from the first.

Takes: the texts of all documents.
Gives: which are for validation, and the leak that is left, measured.
Does not know: where the texts came from.

A document's shingles are its runs of 5 words; a Chinese, Japanese or Korean-in-hanja character is a word, so there they
are 5 characters (Broder, "On the resemblance and containment of documents", 1997). They are compared as 64-bit hashes.

1. **Groups.** Two documents that share more than half of the shingles of the shorter one are near-copies, and a group is
   what near-copies connect. A shingle links each document with the next 16 that have it, so a licence that stands in every
   file costs 16 pairs a file instead of all; only what is shared through shingles in more than 17 documents can be counted
   too low. A document of fewer than 10 shingles connects nothing: a phrase found everywhere would join everything.
2. **Held back.** A document of which more than 40 % is found outside its group stays in training, with its whole group:
   wherever that outside falls, it cannot leak. 40, not 50, leaves room for other ways of counting words.
3. **Choice.** The other groups, ordered by the SHA-256 of their texts, join validation as long as each brings it nearer to
   its share of the characters. Nothing is random and the order of documents plays no part.
4. **Leak**, measured afterwards and on another path: the share of validation documents that have more than half of their
   shingles in the training text as a whole.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

WIDTH = 5
CLOSE = 0.5
HOLD_BACK = 0.4
NEIGHBOURS = 16
FEWEST_SHINGLES = 10
VALID_SHARE = 0.1

_CJK = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_WORD = re.compile(f"[{_CJK}]|[^\\W{_CJK}]+")
_SLICE = 1 << 20
_MIX = np.uint64(0x9E3779B97F4A7C15)  # odd, so multiplying by it loses nothing

Hashes = NDArray[np.uint64]


@dataclass(frozen=True)
class Split:
    """Which documents validate, by index and ascending; the rest trains.

    `num_near_copies`: documents in groups of more than one. `num_held_back`: documents that may not validate because they
    would leak. `leak`: share of validation documents with more than half of their shingles in the training text.
    """

    valid: tuple[int, ...]
    num_near_copies: int
    num_held_back: int
    leak: float


def split(texts: Sequence[str], *, valid_share: float = VALID_SHARE) -> Split:
    """Choose about `valid_share` of the characters for validation; at least one document, where one can without leaking."""
    sets = list(shingles(texts))
    groups = near_copies(sets)
    held_back = leaky(sets, groups)
    valid = choose(texts, groups, held_back, valid_share=valid_share)
    return Split(
        valid=tuple(valid),
        num_near_copies=int((np.bincount(groups, minlength=1)[groups] > 1).sum()),
        num_held_back=int(held_back.sum()),
        leak=leak(sets, valid),
    )


def shingles(texts: Sequence[str]) -> Iterator[Hashes]:
    """For each text the sorted hashes of its runs of 5 words; a text of 1 to 4 words is one shingle, of none has none."""
    words = _WordHashes()
    for text in texts:
        lowered = text.lower()
        # In slices, because a list of all words of a 100 MB text would take gigabytes.
        slices = (lowered[start : start + _SLICE] for start in range(0, len(lowered), _SLICE))
        arrays = [np.fromiter(map(words.__getitem__, _WORD.findall(part)), dtype=np.uint64) for part in slices]
        sequence = np.concatenate(arrays) if arrays else np.empty(0, dtype=np.uint64)
        width = min(WIDTH, len(sequence))
        if width == 0:
            yield sequence
            continue
        mixed = np.zeros(len(sequence) - width + 1, dtype=np.uint64)
        for place in range(width):
            mixed = (mixed + sequence[place : len(sequence) - width + 1 + place]) * _MIX
        yield np.unique(mixed)


def near_copies(sets: Sequence[Hashes]) -> NDArray[np.int64]:
    """The group of each document, named by the smallest index in it."""
    parents = list(range(len(sets)))

    def root(document: int) -> int:
        while parents[document] != document:
            parents[document] = parents[parents[document]]
            document = parents[document]
        return document

    for first, second in _close_pairs(sets):
        low, high = sorted((root(first), root(second)))
        parents[high] = low
    return np.array([root(document) for document in range(len(sets))], dtype=np.int64)


def leaky(sets: Sequence[Hashes], groups: NDArray[np.int64]) -> NDArray[np.bool_]:
    """For each document, whether it or one of its group has more than `HOLD_BACK` of its shingles outside the group."""
    hashes, owners = _postings(sets)
    if not len(hashes):
        return np.zeros(len(sets), dtype=np.bool_)
    starts = np.flatnonzero(np.concatenate([[True], hashes[1:] != hashes[:-1]]))
    lengths = np.diff(np.append(starts, len(hashes)))
    found_in = groups[owners]
    shared = np.repeat(np.minimum.reduceat(found_in, starts) != np.maximum.reduceat(found_in, starts), lengths)
    num_shared = np.bincount(owners, weights=shared, minlength=len(sets))
    alone = num_shared > HOLD_BACK * _sizes(sets)
    in_group = np.zeros(len(sets), dtype=np.bool_)
    np.logical_or.at(in_group, groups, alone)
    return in_group[groups]


def choose(texts: Sequence[str], groups: NDArray[np.int64], held_back: NDArray[np.bool_], *, valid_share: float = VALID_SHARE) -> list[int]:
    """Indices of the validation documents: whole groups that are not held back, by hash, up to the share of characters."""
    members: dict[int, list[int]] = {}
    for document, group in enumerate(groups.tolist()):
        members.setdefault(group, []).append(document)
    if len(members) < 2:
        return []
    keys = {group: min(hashlib.sha256(texts[d].encode("utf-8")).digest() for d in found) for group, found in members.items()}
    sizes = {group: sum(len(texts[d]) for d in found) for group, found in members.items()}
    free = sorted((group for group in members if not held_back[group]), key=keys.__getitem__)
    target = valid_share * sum(sizes.values())
    taken = 0
    chosen: list[int] = []
    for group in free:
        if taken + sizes[group] / 2 < target:  # nearer with it than without it
            chosen += members[group]
            taken += sizes[group]
    if free and not chosen:
        chosen = members[min(free, key=lambda group: (sizes[group], keys[group]))]
    return sorted(chosen)


def leak(sets: Sequence[Hashes], valid: Sequence[int]) -> float:
    """Share of the `valid` documents that have more than half of their shingles in all the others together."""
    chosen = set(valid)
    rest = [found for document, found in enumerate(sets) if document not in chosen]
    if not valid or not rest:
        return 0.0  # nothing to leak, or nothing to leak from
    training = np.unique(np.concatenate(rest))
    if not len(training):
        return 0.0
    num_leaking = 0
    for document in valid:
        found = sets[document]
        places = np.minimum(np.searchsorted(training, found), len(training) - 1)
        num_leaking += int((training[places] == found).sum()) > CLOSE * len(found)
    return num_leaking / len(valid)


def _close_pairs(sets: Sequence[Hashes]) -> list[tuple[int, int]]:
    """Pairs of documents that share more than half of the shingles of the shorter one."""
    hashes, owners = _postings([found if len(found) >= FEWEST_SHINGLES else found[:0] for found in sets])
    counted = []
    for lag in range(1, NEIGHBOURS + 1):
        same = hashes[lag:] == hashes[:-lag]
        if not same.any():
            break
        counted.append(np.unique(owners[:-lag][same] * len(sets) + owners[lag:][same], return_counts=True))
    if not counted:
        return []
    pairs, where = np.unique(np.concatenate([pairs for pairs, _ in counted]), return_inverse=True)
    num_shared = np.bincount(where, weights=np.concatenate([counts for _, counts in counted]))
    first, second = np.divmod(pairs, len(sets))
    sizes = _sizes(sets)
    close = num_shared > CLOSE * np.minimum(sizes[first], sizes[second])
    return list(zip(first[close].tolist(), second[close].tolist(), strict=True))


def _postings(sets: Sequence[Hashes]) -> tuple[Hashes, NDArray[np.int64]]:
    """All shingles in order with the documents that have them, ascending within a shingle."""
    if not sets:
        return np.empty(0, dtype=np.uint64), np.empty(0, dtype=np.int64)
    hashes = np.concatenate(sets)
    order = np.argsort(hashes, kind="stable")
    return hashes[order], np.repeat(np.arange(len(sets)), _sizes(sets))[order]


def _sizes(sets: Sequence[Hashes]) -> NDArray[np.int64]:
    return np.array([len(found) for found in sets], dtype=np.int64)


class _WordHashes(dict[str, int]):
    """64-bit BLAKE2 hashes of words, made once each: the same on every machine, unlike Python's own."""

    def __missing__(self, word: str) -> int:
        value = self[word] = int.from_bytes(hashlib.blake2b(word.encode("utf-8"), digest_size=8).digest(), "little")
        return value
