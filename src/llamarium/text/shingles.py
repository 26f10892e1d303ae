"""Shingles: a text as the set of its runs of five words, each a 64-bit hash.

Takes: texts.
Gives: the hashes of each text's shingles, ascending, without repeats; the same on every machine.
Does not know: which texts are compared, or for what.

Two texts are as near as their sets of shingles are (Broder, "On the resemblance and containment of documents", 1997). A Chinese,
Japanese or Korean-in-hanja character is a word, so there a shingle is 5 characters; elsewhere a word is a run of letters, digits and
underscores, without its case. A text of 1 to 4 words is one shingle, one of nothing but signs has none.

All texts of a block are one array of code points, and every step is one pass over it:

1. A table gives each code point a random number v (0 where it is no part of a word) and says what kind it is; where a word starts follows
   from the kinds of two neighbours.
2. A word w is hashed by a polynomial, sum of v_j r^(j - start) mod 2^64 (Karp and Rabin, 1987), as a difference of prefix sums of v_j r^j,
   times r^(-start). It is mixed, because sums of sums would cancel.
3. A shingle is (((w_1 k + w_2) k + w_3) k + w_4) k + w_5 mod 2^64, mixed.
"""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

WIDTH = 5
LONGEST_WORD = 1_000

Hashes = NDArray[np.uint64]
Integers = NDArray[np.int64]

_CJK = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_CHARACTER = re.compile(f"[{_CJK}]+")
_WORD = re.compile(r"\w+")
_BLOCK = 1 << 15  # code points: the arrays of one block stay in a core's cache
_NUM_CODES = 0x110000
_LAST_CASED = 0x20000  # no code point from here on has a case
_SIGN, _LETTER, _ALONE = 0, 1, 2  # kinds of code points: between words, part of one, a word by itself

# Odd, so multiplying by them loses nothing.
_STEP = 0x9E3779B97F4A7C15
_FIRST = np.uint64(0xBF58476D1CE4E5B9)
_SECOND = np.uint64(0x94D049BB133111EB)
_BASE = 0xD1342543DE82EF95
_RUN = np.uint64(0xAEF17502108EF2D9)


@dataclass(frozen=True)
class Shingles:
    """The shingles of n texts: those of text i are `hashes[offsets[i] : offsets[i + 1]]`, ascending. Offsets are int64 (n + 1,)."""

    hashes: Hashes
    offsets: Integers

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, text: int) -> Hashes:
        return self.hashes[self.offsets[text] : self.offsets[text + 1]]

    def __iter__(self) -> Iterator[Hashes]:
        return map(self.__getitem__, range(len(self)))

    @property
    def sizes(self) -> Integers:
        """How many shingles each text has (n,)."""
        return np.diff(self.offsets)

    def below(self, limit: np.uint64) -> Shingles:
        """Of every text the shingles up to `limit`: the same ones in every text, so a fair sample of what texts share."""
        kept = self.hashes <= limit
        return Shingles(self.hashes[kept], np.concatenate([[0], np.cumsum(kept, dtype=np.int64)])[self.offsets])

    def of(self, texts: Integers) -> Shingles:
        """The shingles of some of the texts, in the order in which they are named (m,)."""
        sizes = self.sizes[texts]
        offsets = offsets_of(sizes)
        places = np.arange(offsets[-1]) + np.repeat(self.offsets[:-1][texts] - offsets[:-1], sizes)
        return Shingles(self.hashes[places], offsets)

    @classmethod
    def joined(cls, parts: Iterable[Shingles]) -> Shingles:
        """The texts of all parts, in order."""
        parts = list(parts)
        sizes = [part.sizes for part in parts]
        return cls(
            np.concatenate([part.hashes for part in parts]) if parts else np.empty(0, dtype=np.uint64),
            offsets_of(np.concatenate(sizes) if sizes else np.empty(0, dtype=np.int64)),
        )


def shingles(texts: Sequence[str]) -> Shingles:
    """The shingles of each text.

    >>> [len(found) for found in shingles(["春眠不觉晓处处", "one two three four five six", "LLaMA 是羊驼", "。", ""])]
    [3, 2, 1, 0, 0]
    """
    hashes, sizes = [], []
    for block in _blocks(texts):
        words, offsets = _words_of_one(block[0]) if len(block) == 1 else _words(block)
        found, counts = _runs(words, offsets)
        hashes.append(found)
        sizes.append(counts)
    if not hashes:
        return Shingles(np.empty(0, dtype=np.uint64), np.zeros(1, dtype=np.int64))
    return Shingles(np.concatenate(hashes), offsets_of(np.concatenate(sizes)))


def word_hashes(text: str) -> Hashes:
    """The hash of each word of a text, in order, by the same rule of what a word is.

    >>> len(word_hashes("LLaMA 是羊驼")), bool((word_hashes("The llama") == word_hashes("the, LLAMA!")).all())
    (4, True)
    """
    return _words_of_one(text)[0]


def offsets_of(sizes: Integers) -> Integers:
    """Where each of n parts starts, and where the last ends (n + 1,).

    >>> offsets_of(np.array([2, 0, 3])).tolist()
    [0, 2, 2, 5]
    """
    offsets = np.zeros(len(sizes) + 1, dtype=np.int64)
    np.cumsum(sizes, out=offsets[1:])
    return offsets


def mixed(values: Hashes) -> Hashes:
    """Each number shuffled so that every bit depends on every other: SplitMix64's finaliser (Steele, Lea and Flood, 2014)."""
    values = (values ^ (values >> np.uint64(30))) * _FIRST
    values = (values ^ (values >> np.uint64(27))) * _SECOND
    return values ^ (values >> np.uint64(31))


def _blocks(texts: Sequence[str]) -> Iterator[Sequence[str]]:
    """Neighbouring texts of about `_BLOCK` code points together; a longer one is alone."""
    start = size = 0
    for number, text in enumerate(texts):
        if size and size + len(text) > _BLOCK:
            yield texts[start:number]
            start, size = number, 0
        size += len(text) + 1
    if start < len(texts):
        yield texts[start:]


def _words(texts: Sequence[str]) -> tuple[Hashes, Integers]:
    """The hash of each word of all `texts` in order, and where the words of each text start and end (n + 1,)."""
    numbers, kinds = _tables()
    joined = "\n".join(texts)
    codes = np.frombuffer(joined.encode("utf-32-le", "surrogatepass"), dtype="<u4").astype(np.intp)
    kind = kinds.take(codes)
    # A word starts at what is no sign where it is a character, or comes after one, or after a sign.
    is_start = kind == _ALONE
    is_letter = kind == _LETTER
    is_start[:1] |= is_letter[:1]
    is_start[1:] |= is_letter[1:] & ~is_letter[:-1]
    starts = is_start.nonzero()[0]

    powers, inverses = _powers()
    sums = np.zeros(len(codes) + 1, dtype=np.uint64)
    np.cumsum(numbers.take(codes) * powers[: len(codes)], out=sums[1:])
    before = sums.take(starts)
    words = np.empty(len(starts), dtype=np.uint64)
    if len(starts):
        words[:-1] = before[1:]
        words[-1] = sums[-1]
    words = mixed((words - before) * inverses.take(starts))
    ends = np.cumsum(np.fromiter(map(len, texts), dtype=np.int64, count=len(texts)) + 1)
    return words, np.concatenate([[0], np.searchsorted(starts, ends)])


def _words_of_one(text: str) -> tuple[Hashes, Integers]:
    """As `_words`, for one text of any length: a piece at a time, so that arrays stay small."""
    words = np.concatenate([_words([piece])[0] for piece in _pieces(text)])
    return words, np.array([0, len(words)], dtype=np.int64)


def _pieces(text: str) -> Iterator[str]:
    """A text in pieces that no word lies across, unless it has more than `LONGEST_WORD` letters."""
    start = 0
    while len(text) - start > _BLOCK:
        end = start + _BLOCK
        for place in range(end, end - LONGEST_WORD, -1):
            if not (_is_letter(text[place - 1]) and _is_letter(text[place])):
                end = place
                break
        yield text[start:end]
        start = end
    yield text[start:]


def _is_letter(code: str) -> bool:
    return bool(_tables()[1][ord(code)] == _LETTER)


def _runs(words: Hashes, offsets: Integers) -> tuple[Hashes, Integers]:
    """The shingles of each text from the hashes of its words, ascending and without repeats; and how many each text has (n,)."""
    num_words = np.diff(offsets)
    hashes = np.zeros(len(words), dtype=np.uint64)
    num_runs = max(0, len(words) - WIDTH + 1)
    hashes[:num_runs] = _run([words[place : num_runs + place] for place in range(WIDTH)])
    # The last 4 words of a text start no run, unless it has no more than those: then the first starts one, which ends in zeros.
    some = num_words > 0
    starts, ends = offsets[:-1][some], offsets[1:][some]
    late = np.maximum(ends[:, None] - np.arange(1, WIDTH), starts[:, None] + 1)
    is_run = np.ones(len(words), dtype=np.bool_)
    is_run[late[late < ends[:, None]]] = False
    few = ends - starts < WIDTH
    places = starts[few, None] + np.arange(WIDTH)
    inside = places < ends[few, None]
    hashes[starts[few]] = _run(np.where(inside, words[np.minimum(places, ends[few, None] - 1)], np.uint64(0)).T)
    runs = mixed(hashes[is_run])

    bounds = offsets_of(np.where(num_words >= WIDTH, num_words - WIDTH + 1, np.minimum(num_words, 1)))
    limits = bounds.tolist()
    for start, end in itertools.pairwise(limits):
        if end - start > 1:
            runs[start:end].sort()
    is_new = np.ones(len(runs), dtype=np.bool_)
    np.not_equal(runs[1:], runs[:-1], out=is_new[1:])
    is_new[bounds[:-1][bounds[:-1] < len(runs)]] = True
    counts = np.diff(np.concatenate([[0], np.cumsum(is_new, dtype=np.int64)])[bounds])
    return runs[is_new], counts


def _run(words: Sequence[Hashes] | Hashes) -> Hashes:
    """One hash of words that follow each other: the first of all runs, the second of all runs, ..."""
    total = words[0].copy()
    for following in words[1:]:
        total *= _RUN
        total += following
    return total


@functools.cache
def _tables() -> tuple[Hashes, NDArray[np.uint8]]:
    """Of each code point the number that stands for it in a word, 0 if it is a sign; and its kind."""
    everything = np.arange(_NUM_CODES, dtype="<u4").tobytes().decode("utf-32-le", "surrogatepass")
    kinds = np.zeros(_NUM_CODES, dtype=np.uint8)
    for kind, pattern in ((_LETTER, _WORD), (_ALONE, _CHARACTER)):
        for found in pattern.finditer(everything):
            kinds[found.start() : found.end()] = kind
    folded = np.arange(_NUM_CODES, dtype=np.uint64)
    folded[:_LAST_CASED] = [ord(fold(character)) for character in everything[:_LAST_CASED]]
    numbers = mixed((folded + np.uint64(1)) * np.uint64(_STEP))
    numbers[kinds == _SIGN] = 0
    return numbers, kinds


def fold(character: str) -> str:
    """One code point without its case, where that is one code point ("ß" would be two, and stays).

    >>> fold("A"), fold("Σ"), fold("ς"), fold("ß"), fold("驼")
    ('a', 'σ', 'σ', 'ß', '驼')
    """
    folded = character.casefold()
    return folded if len(folded) == 1 else character


@functools.cache
def _powers() -> tuple[Hashes, Hashes]:
    """r^j and r^(-j) mod 2^64 for each place j in a block."""
    return _powers_of(_BASE), _powers_of(pow(_BASE, -1, 1 << 64))


def _powers_of(base: int) -> Hashes:
    factors = np.full(_BLOCK + 1, base, dtype=np.uint64)
    factors[0] = 1
    return np.multiply.accumulate(factors)
