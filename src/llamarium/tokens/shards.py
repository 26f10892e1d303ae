"""Token shards: documents as ids in memory-mapped files, with an index that proves them.

Takes: documents as texts, and a tokenizer; or examples that are ids already, with a mask of what is learnt.
Gives: ``<split>-00000.bin`` (little-endian uint16 or uint32), ``<split>-00000.learns`` (one byte a token, where there is a
    mask) and ``index.json`` (document offsets, SHA-256 of each shard, of its 1 MiB blocks and of the tokenizer).
Does not know: corpora, training. Each text is stored as its begin token, its tokens, its end token.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
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
BATCH_CHARACTERS = 1 << 19
BLOCK_BYTES = 1 << 20
ID_DIGITS = 16
_AN_ID = re.compile(f"[0-9a-f]{{{ID_DIGITS}}}")

Ids = NDArray[np.unsignedinteger[Any]]
Text = str | tuple[str, str]  # a document's text, or its id (16 hex digits) and its text


@dataclass(frozen=True)
class Example:
    """A document made of ids, stored as it is: it brings its own begin and end. At least two ids.

    `learns` is 0 where an id is only read and never predicted (None: all is learnt); `num_bytes` are the UTF-8 bytes of what is
    learnt; `id` is that of the document it was made from (16 hex digits), where there is one.
    """

    ids: NDArray[Any]
    learns: NDArray[np.uint8] | None
    num_bytes: int
    id: str = ""


@dataclass(frozen=True)
class Shard:
    """One file of tokens. `offsets` has one more entry than documents: document i is tokens offsets[i] … offsets[i+1].

    `num_bytes` are the UTF-8 bytes of each document's text: what bits per byte divides by. `blocks` are the SHA-256 of each MiB
    (`learns_blocks` those of the mask), `ids` the documents' ids one after the other, 16 hex digits each; an index need not have them.
    """

    path: Path
    dtype: str
    sha256: str
    offsets: NDArray[np.int64]
    num_bytes: NDArray[np.int64]
    blocks: tuple[str, ...] = ()
    ids: str | None = None
    learns_path: Path | None = None
    learns_sha256: str = ""
    learns_blocks: tuple[str, ...] = ()

    @cached_property
    def tokens(self) -> Ids:
        """All ids of the shard, mapped from disk."""
        if not len(self):
            return np.empty(0, dtype=self.dtype)
        return np.memmap(self.path, dtype=np.dtype(self.dtype).newbyteorder("<"), mode="r")

    @cached_property
    def learns(self) -> NDArray[np.uint8] | None:
        """For each id, 0 where it is only read; mapped from disk. None where all is learnt."""
        if self.learns_path is None or not len(self):
            return None
        return np.memmap(self.learns_path, dtype=np.uint8, mode="r")

    @property
    def digest(self) -> str:
        """SHA-256 of what the shard teaches: its tokens, where documents begin, and its learning mask."""
        return hashlib.sha256(self.sha256.encode() + self.offsets.tobytes() + self.learns_sha256.encode()).hexdigest()

    def __len__(self) -> int:
        """Number of documents."""
        return len(self.offsets) - 1

    def document(self, number: int) -> Ids:
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

    def document_ids(self, split: str) -> set[str] | None:
        """Ids of the documents that a split was made from; None where they were not all written down."""
        found: set[str] = set()
        for shard in self.splits.get(split, []):
            if shard.ids is None:
                return None
            found.update(shard.ids[start : start + ID_DIGITS] for start in range(0, len(shard.ids), ID_DIGITS))
        return found


def write_shards(
    folder: Path, texts: Mapping[str, Iterable[Text]], tokenizer: Tokenizer, *, totals: Mapping[str, int] | None = None
) -> Shards:
    """Tokenize documents into `folder`: for each split its texts; `totals` are numbers of documents, for the progress.

    The index is written last: a folder without one is unfinished. It keeps the ids of documents that come with one.
    """
    return write_examples(folder, {split: _tokenized(items, tokenizer) for split, items in texts.items()}, tokenizer, totals=totals)


def write_examples(
    folder: Path, examples: Mapping[str, Iterable[Example]], tokenizer: Tokenizer, *, totals: Mapping[str, int] | None = None
) -> Shards:
    """Write to `folder` documents that `tokenizer` has already made ids of: for each split its examples."""
    index: dict[str, Any] = {
        "dtype": "uint16" if tokenizer.vocab_size <= 1 << 16 else "uint32",
        "tokenizer_sha256": tokenizer.sha256,
        "vocab_size": tokenizer.vocab_size,
        "shards": [],
    }
    return _extend(folder, index, examples, totals or {})


def append_shards(
    folder: Path, texts: Mapping[str, Iterable[Text]], tokenizer: Tokenizer, *, totals: Mapping[str, int] | None = None
) -> Shards:
    """Tokenize more documents into new shards behind those of each split in `folder`; the shards that are there stay as they are.

    What is stopped half-way has added nothing: the index is replaced last, at once.
    """
    if read_shards(folder).tokenizer_sha256 != tokenizer.sha256:
        raise UsageError(f"The tokens in {folder} were made with another tokenizer.", hint="Append with the tokenizer they were made with.")
    added = {split: _tokenized(items, tokenizer) for split, items in texts.items()}
    return _extend(folder, files.read_json(folder / INDEX), added, totals or {})


def _extend(folder: Path, index: dict[str, Any], examples: Mapping[str, Iterable[Example]], totals: Mapping[str, int]) -> Shards:
    """Write `examples` as shards that `index` does not yet list, then the index with them."""
    folder.mkdir(parents=True, exist_ok=True)
    entries = list(index["shards"])
    for split, documents in examples.items():
        listed = {entry["file"]: entry["split"] for entry in entries}
        names = (name for number in itertools.count() if (name := f"{split}-{number:05d}.bin") not in listed)
        for shard in _full_shards(progress.track(documents, f"tokenizing {split}", totals.get(split, 0))):
            if shard or split not in listed.values():  # a split without documents is one empty shard
                entries.append(_write(folder, split, next(names), shard, index["dtype"]))
    # Without indents: it holds two numbers a document, and Python writes those many times faster in one line.
    files.write_text(folder / INDEX, json.dumps({**index, "shards": entries}, ensure_ascii=False) + "\n")
    return read_shards(folder)


def _write(folder: Path, split: str, name: str, shard: list[Example], dtype: str) -> dict[str, Any]:
    """Write one file of tokens, and that of its mask where there is one; its entry in the index."""
    ids = np.concatenate([example.ids for example in shard]) if shard else np.empty(0)
    data = ids.astype(np.dtype(dtype).newbyteorder("<")).tobytes()
    files.write_bytes(folder / name, data)
    entry: dict[str, Any] = {
        "file": name,
        "split": split,
        "sha256": hashlib.sha256(data).hexdigest(),
        "offsets": [0, *itertools.accumulate(len(example.ids) for example in shard)],
        "bytes": [example.num_bytes for example in shard],
        "blocks": _blocks(data),
    }
    if all(example.id for example in shard):
        entry["ids"] = "".join(example.id for example in shard)
    if any(example.learns is not None for example in shard):
        masks = [np.ones(len(example.ids), np.uint8) if example.learns is None else example.learns for example in shard]
        mask = np.concatenate(masks).astype(np.uint8).tobytes()
        learns = Path(name).with_suffix(".learns").name
        files.write_bytes(folder / learns, mask)
        entry["learns"] = {"file": learns, "sha256": hashlib.sha256(mask).hexdigest(), "blocks": _blocks(mask)}
    return entry


def _blocks(data: bytes) -> list[str]:
    """SHA-256 of each block."""
    return [hashlib.sha256(memoryview(data)[start : start + BLOCK_BYTES]).hexdigest() for start in range(0, len(data), BLOCK_BYTES)]


def _full_shards(examples: Iterable[Example]) -> Iterator[list[Example]]:
    """Lists of documents, each list a shard; the last may be short, and there is at least one."""
    shard: list[Example] = []
    num_tokens = 0
    for example in examples:
        assert len(example.ids) >= 2, "a document has no less than a begin and an end"
        assert example.learns is None or len(example.learns) == len(example.ids), "a mask has another length than its ids"
        assert not example.id or _AN_ID.fullmatch(example.id), f"{example.id!r} is no document's id"
        if shard and num_tokens + len(example.ids) > SHARD_TOKENS:
            yield shard
            shard, num_tokens = [], 0
        shard.append(example)
        num_tokens += len(example.ids)
    yield shard


def _tokenized(texts: Iterable[Text], tokenizer: Tokenizer) -> Iterator[Example]:
    """Documents as ids. While one batch becomes arrays here, the next is encoded elsewhere: the library needs no lock of Python's."""
    dtype = np.uint16 if tokenizer.vocab_size <= 1 << 16 else np.uint32
    begin, end = tokenizer.begin_id, tokenizer.end_id
    for batch, encoded in _encoded(_batches(("", item) if isinstance(item, str) else item for item in texts), tokenizer):
        row: list[int] = []  # one array for all of them: many small ones cost more than the numbers in them
        for ids in encoded:
            row.append(begin)
            row += ids
            row.append(end)
        tokens, start = np.array(row, dtype=dtype), 0
        for (name, text), ids in zip(batch, encoded, strict=True):
            stop = start + len(ids) + 2
            yield Example(tokens[start:stop], None, len(text.encode("utf-8", "surrogatepass")), name)
            start = stop


def _encoded(batches: Iterable[list[tuple[str, str]]], tokenizer: Tokenizer) -> Iterator[tuple[list[tuple[str, str]], list[list[int]]]]:
    with ThreadPoolExecutor(1) as elsewhere:
        waiting: tuple[list[tuple[str, str]], Future[list[list[int]]]] | None = None
        for batch in batches:
            begun = (batch, elsewhere.submit(tokenizer.encode_batch, [text for _, text in batch]))
            if waiting is not None:
                yield waiting[0], waiting[1].result()
            waiting = begun
        if waiting is not None:
            yield waiting[0], waiting[1].result()


def _batches(texts: Iterable[tuple[str, str]]) -> Iterator[list[tuple[str, str]]]:
    batch: list[tuple[str, str]] = []
    size = 0
    for name, text in texts:
        batch.append((name, text))
        size += len(text)
        if size >= BATCH_CHARACTERS:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def read_shards(folder: Path, *, verify: bool = False) -> Shards:
    """Open token shards. With `verify` each file's SHA-256 is checked, which reads all of it.

    `BadFileError` names a file that is not what the index says, and between which bytes it differs where the index knows its blocks.
    """
    index = files.read_json(folder / INDEX)
    try:
        splits: dict[str, list[Shard]] = {}
        for entry in index["shards"]:
            shard = _open(folder, entry, index["dtype"])
            _check(shard)
            if verify:
                _verify(shard)
            splits.setdefault(entry["split"], []).append(shard)
        return Shards(index["tokenizer_sha256"], int(index["vocab_size"]), splits)
    except (LookupError, TypeError, ValueError, OverflowError, AttributeError) as error:
        raise BadFileError(folder / INDEX, f"is not an index of token shards ({error!r}).") from None


def _open(folder: Path, entry: dict[str, Any], dtype: str) -> Shard:
    learns = entry.get("learns")
    return Shard(
        _inside(folder, entry["file"]),
        dtype,
        entry["sha256"],
        np.asarray(entry["offsets"], dtype=np.int64),
        np.asarray(entry["bytes"], dtype=np.int64),
        blocks=tuple(entry.get("blocks", ())),
        ids=entry.get("ids"),
        learns_path=None if learns is None else _inside(folder, learns["file"]),
        learns_sha256="" if learns is None else learns["sha256"],
        learns_blocks=() if learns is None else tuple(learns.get("blocks", ())),
    )


def _inside(folder: Path, name: str) -> Path:
    if Path(name).name != name:
        raise BadFileError(folder / INDEX, f"names a file outside its folder: {name!r}.")
    return folder / name


def _check(shard: Shard) -> None:
    """Whether the index agrees with itself and with the sizes of the files."""
    index = shard.path.parent / INDEX
    if shard.dtype not in ("uint16", "uint32"):
        raise BadFileError(index, f"has tokens of type {shard.dtype!r}; uint16 and uint32 are known.")
    num_tokens = int(shard.offsets[-1])
    size = num_tokens * np.dtype(shard.dtype).itemsize
    _check_size(shard.path, size)
    if shard.learns_path is not None:
        _check_size(shard.learns_path, num_tokens)
    if shard.offsets[0] != 0 or (np.diff(shard.offsets) < 2).any():
        raise BadFileError(index, "has document offsets that do not rise.")
    if shard.num_bytes.shape != (len(shard),) or (shard.num_bytes < 0).any():
        raise BadFileError(index, "has other sizes than its documents.")
    for blocks, length in ((shard.blocks, size), (shard.learns_blocks, num_tokens)):
        if blocks and len(blocks) != -(-length // BLOCK_BYTES):
            raise BadFileError(index, f"has {len(blocks)} blocks of a file of {length} bytes.")
    if shard.ids is not None and not re.fullmatch(f"[0-9a-f]{{{ID_DIGITS * len(shard)}}}", shard.ids):
        raise BadFileError(index, "has other ids than its documents.")


def _check_size(path: Path, expected: int) -> None:
    if not path.is_file():
        raise BadFileError(path, "is missing, though the index lists it.")
    if (size := path.stat().st_size) != expected:
        raise BadFileError(path, f"has {size} bytes; the index says {expected}.")


def _verify(shard: Shard) -> None:
    """Whether the files have the SHA-256 of the index."""
    _verify_file(shard.path, shard.sha256, shard.blocks, "its tokens have changed")
    if shard.learns_path is not None:
        _verify_file(shard.learns_path, shard.learns_sha256, shard.learns_blocks, "what is learnt has changed")


def _verify_file(path: Path, sha256: str, blocks: tuple[str, ...], meaning: str) -> None:
    """Whether a file has this SHA-256. Its blocks are looked at only where it has not: a good file is hashed once."""
    if files.sha256(path) == sha256:
        return
    where, offset = "", None
    with path.open("rb") as file:
        changed = [number for number, block in enumerate(blocks) if hashlib.sha256(file.read(BLOCK_BYTES)).hexdigest() != block]
    if changed:
        offset = changed[0] * BLOCK_BYTES
        where = f" between byte {offset} and byte {min((changed[-1] + 1) * BLOCK_BYTES, path.stat().st_size)}"
    raise BadFileError(path, f"does not have the SHA-256 that the index says{where}: {meaning}.", offset=offset)


def require_split(shards: Shards, split: str) -> list[Shard]:
    """The shards of a split that must not be empty."""
    found = [shard for shard in shards.splits.get(split, []) if len(shard)]
    if not found:
        raise UsageError(f"There are no documents in the split {split!r}.", hint="`llamarium prepare` a larger text.")
    return found
