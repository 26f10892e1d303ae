"""Tokenizers side by side on the same texts.

Takes: tokenizers by name, and documents with their language and source.
Gives: for each tokenizer how many bytes a token holds, how many tokens a character and a word cost, for all, each language and each
    source; and how fast it encodes.
Does not know: corpora, pages, tables.
"""

from __future__ import annotations

import re
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, NamedTuple

from llamarium.ground import progress
from llamarium.tokens.tokenizer import Tokenizer

# A word is a run of letters and digits; where none are written between spaces (Han, kana), each character counts as one.
_WITHOUT_SPACES = r"\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_WORD = re.compile(rf"[{_WITHOUT_SPACES}]|[^\W_{_WITHOUT_SPACES}]+")
BATCH_CHARACTERS = 1 << 20


class Text(NamedTuple):
    """A document to measure on."""

    text: str
    language: str
    source: str


@dataclass(frozen=True)
class Measured:
    """How much some texts are, and how many tokens of them a tokenizer makes (without begin and end)."""

    num_bytes: int = 0  # of UTF-8
    num_characters: int = 0
    num_words: int = 0
    num_tokens: int = 0

    def __add__(self, other: Measured) -> Measured:
        return Measured(*(getattr(self, name) + getattr(other, name) for name in self.__dataclass_fields__))

    @property
    def bytes_per_token(self) -> float:
        """Bytes of text that one token stands for: more is better."""
        return self.num_bytes / max(1, self.num_tokens)

    @property
    def tokens_per_character(self) -> float:
        """Tokens for one Unicode character: less is better."""
        return self.num_tokens / max(1, self.num_characters)

    @property
    def fertility(self) -> float:
        """Tokens for one word, spaces and signs counted with the words (Rust et al. 2021, arXiv:2012.15613): less is better."""
        return self.num_tokens / max(1, self.num_words)

    def as_json(self) -> dict[str, float]:
        """Its figures."""
        sizes = {"bytes": self.num_bytes, "characters": self.num_characters, "words": self.num_words, "tokens": self.num_tokens}
        ratios = {name: round(getattr(self, name), 4) for name in ("bytes_per_token", "tokens_per_character", "fertility")}
        return {**sizes, **ratios}


@dataclass(frozen=True)
class Comparison:
    """One tokenizer on all texts. `num_lost`: documents that do not come back as they were."""

    name: str
    vocab_size: int
    total: Measured
    languages: Mapping[str, Measured]
    sources: Mapping[str, Measured]
    megabytes_per_second: float
    num_lost: int

    def as_json(self) -> dict[str, Any]:
        """All of it as JSON values."""
        parts = {key: {name: part.as_json() for name, part in getattr(self, key).items()} for key in ("languages", "sources")}
        return {
            "name": self.name,
            "vocab_size": self.vocab_size,
            **self.total.as_json(),
            "megabytes_per_second": round(self.megabytes_per_second, 2),
            "documents_lost": self.num_lost,
            **parts,
        }


def compare(tokenizers: Mapping[str, Tokenizer], texts: Sequence[Text]) -> list[Comparison]:
    """Measure each of `tokenizers` on `texts`, in batches that take turns, so that a machine whose speed drifts treats all alike."""
    sources = top_folders([text.source for text in texts])
    sizes = [Measured(len(each.text.encode("utf-8", "surrogatepass")), len(each.text), len(_WORD.findall(each.text))) for each in texts]
    by_language: dict[str, dict[str, Measured]] = {name: defaultdict(Measured) for name in tokenizers}
    by_source: dict[str, dict[str, Measured]] = {name: defaultdict(Measured) for name in tokenizers}
    seconds, lost = dict.fromkeys(tokenizers, 0.0), dict.fromkeys(tokenizers, 0)
    for tokenizer in tokenizers.values():
        tokenizer.encode_batch(["warm up"])
    with progress.task("comparing", sum(size.num_bytes for size in sizes) * len(tokenizers)) as work:
        for numbers in _batches(texts):
            batch = [texts[number].text for number in numbers]
            num_bytes = sum(sizes[number].num_bytes for number in numbers)
            for name, tokenizer in tokenizers.items():
                start = time.perf_counter()
                encoded = tokenizer.encode_batch(batch)
                seconds[name] += time.perf_counter() - start
                for number, text, ids in zip(numbers, batch, encoded, strict=True):
                    size = sizes[number]
                    measured = Measured(size.num_bytes, size.num_characters, size.num_words, len(ids))
                    by_language[name][texts[number].language or "unknown"] += measured
                    by_source[name][sources[number]] += measured
                    lost[name] += tokenizer.decode(ids) != text
                work.advance(num_bytes)
    total = sum(size.num_bytes for size in sizes)
    return [
        Comparison(
            name,
            tokenizer.vocab_size,
            sum(by_language[name].values(), Measured()),
            _largest_first(by_language[name]),
            _largest_first(by_source[name]),
            total / 1e6 / max(seconds[name], 1e-9),
            lost[name],
        )
        for name, tokenizer in tokenizers.items()
    ]


def top_folders(sources: Sequence[str]) -> list[str]:
    """For each source (``folder/file#record``) the first part of its path by which it differs from others.

    >>> top_folders(["docs/en/a.md#1", "docs/en/b.md", "docs/zh/c.md"])
    ['en', 'en', 'zh']
    """
    parts = [PurePosixPath(source.partition("#")[0]).parts for source in sources]
    shared = 0
    while parts and all(len(part) > shared + 1 for part in parts) and len({part[shared] for part in parts}) == 1:
        shared += 1
    return [part[shared] if len(part) > shared else "" for part in parts]


def _batches(texts: Sequence[Text]) -> Iterable[list[int]]:
    batch: list[int] = []
    size = 0
    for number, text in enumerate(texts):
        batch.append(number)
        size += len(text.text)
        if size >= BATCH_CHARACTERS:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _largest_first(parts: Mapping[str, Measured]) -> dict[str, Measured]:
    return dict(sorted(parts.items(), key=lambda item: (-item[1].num_bytes, item[0])))
