"""New pieces for a BPE vocabulary that a model knows already.

Takes: a tokenizer of the BPE kind, texts, how many pieces to add.
Gives: a tokenizer whose old ids mean what they meant, and of which old pieces each new one is made.
Does not know: models; what becomes of the rows of an embedding (`adapt.vocabulary`).

BPE (Sennrich et al. 2016) goes on where the old merges end: words are cut as the old tokenizer cuts them and encoded by it, and
neighbours are joined from there. The new merges stand behind the old ones and make no token that was there before, so they are
tried when no old merge is left to do, and never open the way for one: a text in which no new piece occurs keeps its ids.
"""

from __future__ import annotations

import heapq
import itertools
import json
import re
from array import array
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import tokenizers
from numpy.typing import NDArray

from llamarium.ground import progress
from llamarium.ground.errors import UsageError
from llamarium.tokens.tokenizer import Tokenizer
from llamarium.tokens.train import valid

MOST = 1 << 20  # pieces that can be added
LONGEST_WORD = 128  # characters; nothing is learnt from longer ones: they are no words, and each join would walk through all of them
# Where the old tokenizer does not cut words (SentencePiece does so only while it learns): letters with the space before them,
# digits one by one, runs of signs.
_WORD = re.compile(r"\u2581*[^\W\d_]+|\u2581*\d|\u2581*(?:(?!\u2581)[\W_])+|\u2581+")

_HALF, _RIGHT, _GONE = 32, (1 << 32) - 1, -(1 << 40)


@dataclass(frozen=True)
class Extension:
    """A tokenizer with more pieces. `made_of`: id of each new piece -> the old ids that its text had been, at least one."""

    tokenizer: Tokenizer
    made_of: dict[int, tuple[int, ...]]


def extend_bpe(base: Tokenizer, texts: Iterable[str], *, num_pieces: int) -> Extension:
    """Add to `base` at most `num_pieces` pieces that occur in `texts` at least twice; new ids begin at ``base.vocab_size``.

    Each step takes what saves the most tokens: a join of two neighbours saves one wherever they stand side by side; a character that
    `base` spells in bytes saves all but one of them. `UsageError` for a tokenizer that is not BPE.
    """
    if not 1 <= num_pieces <= MOST:
        raise UsageError(f"{num_pieces:,} pieces cannot be added.", hint=f"Add 1 to {MOST:,}.")
    values = json.loads(base.definition)
    model = values["model"]
    if model.get("type") != "BPE" or model.get("continuing_subword_prefix") or model.get("end_of_word_suffix"):
        raise UsageError(f"{base.name} is not a plain BPE vocabulary, so it cannot be extended.", hint="LLaMA's vocabularies are BPE.")
    rust = tokenizers.Tokenizer.from_str(base.definition)
    # A token outside the model's own table would be numbered anew, after the new pieces, when the file is read again.
    vocabulary = {**model["vocab"], **{token["content"]: token["id"] for token in values.get("added_tokens", ())}}
    words = Counter(_words(rust, texts, whole="ByteLevel" in json.dumps(values.get("pre_tokenizer"))))
    learner = _Learner(rust, vocabulary, base.vocab_size)
    for word, count in sorted(words.items()):
        learner.add(word, count)
    made_of = learner.learn(num_pieces)
    merges = [tuple(merge) if isinstance(merge, list) else tuple(merge.split(" ", 1)) for merge in model["merges"]]
    model |= {"vocab": vocabulary | learner.new, "merges": merges + learner.merges}
    # A class of transformers that builds a tokenizer from parts of this file would leave some of it out.
    config = {**base.config, "tokenizer_class": "PreTrainedTokenizerFast"}
    return Extension(Tokenizer(json.dumps(values, ensure_ascii=False), config, name=f"{base.name}, extended"), made_of)


def _words(rust: tokenizers.Tokenizer, texts: Iterable[str], *, whole: bool) -> Iterator[str]:
    """What the tokenizer encodes for itself; with `whole` that is a word, else words are cut out of it."""
    normalize = rust.normalizer.normalize_str if rust.normalizer else str
    for text in texts:
        normal = normalize(valid(text))
        for part in [part for part, _ in rust.pre_tokenizer.pre_tokenize_str(normal)] if rust.pre_tokenizer else [normal]:
            for word in [part] if whole else _WORD.findall(part):
                if len(word) <= LONGEST_WORD:
                    yield word


class _Learner:
    """All words as one row of symbols, how often symbols stand side by side in a word, and where.

    A symbol is an id. A character that the vocabulary lacks is a negative number: it joins nothing before it is a piece of its own.
    A key is what can become a piece: such a character, or two neighbours (a, b) as a · 2³² + b.
    """

    def __init__(self, rust: tokenizers.Tokenizer, old: dict[str, int], first: int) -> None:
        self.rust, self.old, self.first = rust, old, first  # `first`: id of the first new piece
        self.new: dict[str, int] = {}
        self.merges: list[tuple[str, str]] = []
        self._texts = {number: text for text, number in old.items()}
        self._made_of: dict[int, tuple[int, ...]] = {}
        self._characters: dict[str, int] = {}  # that are no pieces -> their symbol
        self._worth: dict[int, int] = {}  # tokens that such a character saves wherever it stands
        self._row, self._lengths, self._times = array("q"), array("q"), array("q")

    def add(self, word: str, count: int) -> None:
        """Take in a word that occurs `count` times."""
        before = len(self._row)
        for known, characters in itertools.groupby(word, key=self.old.__contains__):
            if known:
                self._row.extend(token.id for token in self.rust.model.tokenize("".join(characters)))
            else:
                self._row.extend(map(self._character, characters))
        self._lengths.append(len(self._row) - before)
        self._times.append(count)

    def learn(self, num_pieces: int) -> dict[int, tuple[int, ...]]:
        """Make up to `num_pieces` pieces; of which old ids each is made."""
        self._link()
        heap = [(-self._saves(key), key) for key in self._counts if self._may(key)]
        heapq.heapify(heap)
        with progress.task("learning pieces", num_pieces) as work:
            while heap and len(self.new) < num_pieces:
                saves, key = heapq.heappop(heap)
                if self._counts[key] < 2:
                    continue
                if -saves > (now := self._saves(key)):  # other pieces took some of its places
                    heapq.heappush(heap, (-now, key))
                    continue
                before = len(self.new)
                for changed in self._take(key):
                    if self._counts[changed] > 1 and self._may(changed):
                        heapq.heappush(heap, (-self._saves(changed), changed))
                work.advance(len(self.new) - before)
        return {number: self._made_of[number] for number in self.new.values()}

    def _character(self, character: str) -> int:
        if character not in self._characters:
            symbol = self._characters[character] = -1 - len(self._characters)
            spelled = self.rust.model.tokenize(character)
            self._texts[symbol], self._made_of[symbol] = character, tuple(token.id for token in spelled)
            # At least 1, also where one byte becomes one piece: a line end must be a piece before a sign can be joined with it.
            self._worth[symbol] = max(1, len(spelled) - 1)
        return self._characters[character]

    def _saves(self, key: int) -> int:
        return self._counts[key] * (self._worth[key] if key < 0 else 1)

    def _may(self, key: int) -> bool:
        if key < 0:
            return bool(self._made_of[key])  # a vocabulary without bytes may drop what it does not know
        return self._texts[key >> _HALF] + self._texts[key & _RIGHT] not in self.old

    def _link(self) -> None:
        """Neighbours of each place, and the keys that are there."""
        self._symbols = np.frombuffer(self._row, dtype=np.int64).copy() if self._row else np.empty(0, np.int64)
        lengths = np.array(self._lengths, dtype=np.int64)
        self._weights = np.repeat(np.array(self._times, dtype=np.int64), lengths)  # how often the word of each place occurs
        ends = np.cumsum(lengths)[lengths > 0]
        places = np.arange(len(self._symbols), dtype=np.int64)
        self._after, self._before = places + 1, places - 1
        self._after[ends - 1] = -1
        self._before[ends[:-1]] = -1
        self._marks = np.zeros(len(places), dtype=bool)
        self._counts: defaultdict[int, int] = defaultdict(int)
        self._places: defaultdict[int, list[NDArray[np.int64]]] = defaultdict(list)  # some no longer hold their key
        self._count(places, sign=1)
        unknown = np.flatnonzero(self._symbols < 0)
        self._file(self._symbols[unknown], unknown, sign=1)

    def _count(self, starts: NDArray[np.int64], *, sign: int) -> list[int]:
        """Count the pairs that begin at `starts`, or with -1 no longer do; their keys."""
        starts = starts[self._after[starts] >= 0]
        left, right = self._symbols[starts], self._symbols[self._after[starts]]
        both = (left >= 0) & (right >= 0)
        return self._file((left[both] << _HALF) + right[both], starts[both], sign=sign)

    def _file(self, keys: NDArray[np.int64], places: NDArray[np.int64], *, sign: int) -> list[int]:
        """Count keys by their places, and note the places of those that are new there; the keys, each once."""
        order = np.argsort(keys, kind="stable")
        keys, places = keys[order], places[order]
        firsts = np.flatnonzero(np.diff(keys, prepend=-(1 << 62)))
        if not len(firsts):
            return []
        found: list[int] = keys[firsts].tolist()
        for key, amount in zip(found, np.add.reduceat(self._weights[places], firsts).tolist(), strict=True):
            self._counts[key] += sign * amount
        if sign > 0:
            bounds = [*firsts.tolist(), len(places)]
            for key, start, stop in zip(found, bounds, bounds[1:]):
                self._places[key].append(places[start:stop])
        return found

    def _take(self, key: int) -> list[int]:
        """Make a piece of a pair or of a character, everywhere; the pairs that the piece is now part of."""
        first = np.unique(np.concatenate(self._places.pop(key)))
        if key < 0:
            text, parts = self._texts[key], self._made_of[key]
            first = first[self._symbols[first] == key]
            last = first
        else:
            left, right = key >> _HALF, key & _RIGHT
            text = self._texts[left] + self._texts[right]
            parts = tuple(old for symbol in (left, right) for old in self._made_of.get(symbol, (symbol,)))
            self.merges.append((self._texts[left], self._texts[right]))
            first = first[(self._symbols[first] == left) & (self._after[first] >= 0)]
            first = first[self._symbols[self._after[first]] == right]
            if left == right:
                first = self._apart(first)
            last = self._after[first]
        number = self.new.setdefault(text, self.first + len(self.new))
        self._texts[number] = text
        self._made_of.setdefault(number, parts)

        self._count(np.concatenate((self._outside(first, last), first[first != last], last)), sign=-1)
        self._symbols[last] = _GONE
        self._symbols[first] = number
        beyond = self._after[last]
        self._after[first] = beyond
        self._before[beyond[beyond >= 0]] = first[beyond >= 0]
        return self._count(np.concatenate((self._outside(first, first), first)), sign=1)

    def _outside(self, first: NDArray[np.int64], last: NDArray[np.int64]) -> NDArray[np.int64]:
        """The places before `first`, without those that are in `last`: what begins there is counted with them."""
        before = self._before[first]
        before = before[before >= 0]
        self._marks[last] = True
        outside = before[~self._marks[before]]
        self._marks[last] = False
        return outside

    def _apart(self, places: NDArray[np.int64]) -> NDArray[np.int64]:
        """Of places that may be neighbours, from the left every other one."""
        kept, taken = [], -1
        for place, after in zip(places.tolist(), self._after[places].tolist(), strict=True):
            if place != taken:
                kept.append(place)
                taken = after
        return np.array(kept, dtype=np.int64)


def describe(extension: Extension, base: Tokenizer) -> list[dict[str, Any]]:
    """Each new piece with its id, its text, and the old pieces whose mean its rows become."""
    return [
        {
            "id": number,
            "piece": extension.tokenizer.decode_bytes([number]).decode("utf-8", "replace"),
            "made_of": [base.decode_bytes([part]).decode("utf-8", "replace") for part in parts],
        }
        for number, parts in extension.made_of.items()
    ]
