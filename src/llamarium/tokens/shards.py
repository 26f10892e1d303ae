"""Token shards: documents as ids in memory-mapped files, with an index that proves them.

Takes: documents as texts, and a tokenizer.
Gives: ``<split>-00000.bin`` (little-endian uint16 or uint32) and ``index.json`` (document offsets, SHA-256 of each shard
    and of the tokenizer).
Does not know: corpora, training. Each document is stored as its begin token, its tokens, its end token.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llamarium.ground import files, progress
from llamarium.ground.errors import BadFileError, UsageError
from llamarium.tokens.tokenizer import Tokenizer

INDEX = "index.json"
SHARD_TOKENS = 1 << 26
BATCH_CHARACTERS = 1 << 22


@dataclass(frozen=True)
class Shard:
    """One file of tokens. `offsets` has one more entry than documents: document i is tokens offsets[i] … offsets[i+1].

    `num_bytes` are the UTF-8 bytes of each document's text: what bits per byte divides by.
    """

    path: Path
    dtype: str
    sha256: str
    offsets: NDArray[np.int64]
    num_bytes: NDArray[np.int64]

    @cached_property
    def tokens(self) -> NDArray[np.unsignedinteger[Any]]:
        """All ids of the shard, mapped from disk."""
        if not len(self):
            return np.empty(0, dtype=self.dtype)
        return np.memmap(self.path, dtype=np.dtype(self.dtype).newbyteorder("<"), mode="r")

    def __len__(self) -> int:
        """Number of documents."""
        return len(self.offsets) - 1

    def document(self, number: int) -> NDArray[np.unsignedinteger[Any]]:
        """Ids of one document, its begin and end token included."""
        return self.tokens[self.offsets[number] : self.offsets[number + 1]]


@dataclass(frozen=True)
class Shards:
    """The token files of a corpus under one tokenizer."""

    tokenizer_sha256: str
    vocab_size: int
    splits: dict[str, list[Shard]]

    def num_tokens(self, split: str) -> int:
        """Tokens of a split, begin and end tokens included."""
        return sum(int(shard.offsets[-1]) for shard in self.splits.get(split, []))


def write_shards(
    folder: Path, texts: Mapping[str, Iterable[str]], tokenizer: Tokenizer, *, totals: Mapping[str, int] | None = None
) -> Shards:
    """Tokenize documents into `folder`: for each split its texts; `totals` are numbers of documents, for the progress.

    The index is written last: a folder without one is unfinished.
    """
    folder.mkdir(parents=True, exist_ok=True)
    dtype = "uint16" if tokenizer.vocab_size <= 1 << 16 else "uint32"
    entries: list[dict[str, Any]] = []
    for split, documents in texts.items():
        documents = progress.track(documents, f"tokenizing {split}", (totals or {}).get(split, 0))
        for number, (shard, num_bytes) in enumerate(_shards_of(documents, tokenizer, dtype)):
            name = f"{split}-{number:05d}.bin"
            data = np.concatenate(shard) if shard else np.empty(0, dtype)
            files.write_bytes(folder / name, data.astype(np.dtype(dtype).newbyteorder("<")).tobytes())
            offsets = [0, *itertools.accumulate(len(document) for document in shard)]
            entries.append({"file": name, "split": split, "sha256": files.sha256(folder / name), "offsets": offsets, "bytes": num_bytes})
    index = {
        "dtype": dtype,
        "tokenizer_sha256": tokenizer.sha256,
        "vocab_size": tokenizer.vocab_size,
        "shards": entries,
    }
    files.write_json(folder / INDEX, index)
    return read_shards(folder)


def _shards_of(texts: Iterable[str], tokenizer: Tokenizer, dtype: str) -> Iterable[tuple[list[NDArray[Any]], list[int]]]:
    """Lists of documents, each list a shard, with the UTF-8 bytes of their text; the last may be short, and there is at least one."""
    shard: list[NDArray[Any]] = []
    num_bytes: list[int] = []
    num_tokens = 0
    for batch in _batches(texts):
        for text, ids in zip(batch, tokenizer.encode_batch(batch), strict=True):
            document = np.array([tokenizer.begin_id, *ids, tokenizer.end_id], dtype=dtype)
            if shard and num_tokens + len(document) > SHARD_TOKENS:
                yield shard, num_bytes
                shard, num_bytes, num_tokens = [], [], 0
            shard.append(document)
            num_tokens += len(document)
            num_bytes.append(len(text.encode("utf-8", "surrogatepass")))
    yield shard, num_bytes


def _batches(texts: Iterable[str]) -> Iterable[list[str]]:
    batch: list[str] = []
    size = 0
    for text in texts:
        batch.append(text)
        size += len(text)
        if size >= BATCH_CHARACTERS:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def read_shards(folder: Path, *, verify: bool = False) -> Shards:
    """Open token shards. With `verify` each file's SHA-256 is checked, which reads all of it."""
    index = files.read_json(folder / INDEX)
    try:
        dtype = index["dtype"]
        splits: dict[str, list[Shard]] = {}
        for entry in index["shards"]:
            if Path(entry["file"]).name != entry["file"]:
                raise BadFileError(folder / INDEX, f"names a file outside its folder: {entry['file']!r}.")
            shard = Shard(
                folder / entry["file"], dtype, entry["sha256"], *(np.asarray(entry[key], dtype=np.int64) for key in ("offsets", "bytes"))
            )
            _check(shard, verify=verify)
            splits.setdefault(entry["split"], []).append(shard)
        return Shards(index["tokenizer_sha256"], int(index["vocab_size"]), splits)
    except (LookupError, TypeError, ValueError, OverflowError) as error:
        raise BadFileError(folder / INDEX, f"is not an index of token shards ({error!r}).") from None


def _check(shard: Shard, *, verify: bool) -> None:
    if shard.dtype not in ("uint16", "uint32"):
        raise BadFileError(shard.path.parent / INDEX, f"has tokens of type {shard.dtype!r}; uint16 and uint32 are known.")
    if not shard.path.is_file():
        raise BadFileError(shard.path, "is missing, though the index lists it.")
    size, expected = shard.path.stat().st_size, int(shard.offsets[-1]) * np.dtype(shard.dtype).itemsize
    if size != expected:
        raise BadFileError(shard.path, f"has {size} bytes; the index says {expected}.")
    if shard.offsets[0] != 0 or (np.diff(shard.offsets) < 2).any():
        raise BadFileError(shard.path.parent / INDEX, "has document offsets that do not rise.")
    if shard.num_bytes.shape != (len(shard),) or (shard.num_bytes < 0).any():
        raise BadFileError(shard.path.parent / INDEX, "has other sizes than its documents.")
    if verify and files.sha256(shard.path) != shard.sha256:
        raise BadFileError(shard.path, "does not have the SHA-256 that the index says: its tokens have changed.")


def require_split(shards: Shards, split: str) -> list[Shard]:
    """The shards of a split that must not be empty."""
    found = [shard for shard in shards.splits.get(split, []) if len(shard)]
    if not found:
        raise UsageError(f"There are no documents in the split {split!r}.", hint="`llamarium prepare` a larger text.")
    return found
