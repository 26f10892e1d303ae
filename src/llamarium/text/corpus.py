"""A corpus on the disk: Parquet shards for training and validation, with a manifest.

Takes: documents for each side, in order, and a report.
Gives: a folder that is whole or not there, the same bytes for the same documents; and its documents back, checked.
Does not know: how documents were cleaned or chosen.

    train-00000.parquet ...   zstd, columns id, text, source, language; 100,000 documents a shard, 1,000 a row group
    valid-00000.parquet ...   the same; an empty side is one shard without rows
    report.html, report.json  what was kept and what was not
    manifest.json             size and SHA-256 of each of them, and the sums for each side; written last
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from llamarium.ground.errors import BadFileError, MissingExtraError, NotFoundError, UsageError, nearest
from llamarium.ground.files import MANIFEST, read_json, verify_manifest, write_folder, write_json, write_text
from llamarium.text.document import Document

KIND = "corpus"
SPLITS = ("train", "valid")
COLUMNS = ("id", "text", "source", "language")
SHARD_DOCUMENTS = 100_000
ROW_GROUP_DOCUMENTS = 1_000


@dataclass(frozen=True)
class Side:
    """How much there is on one side of the split; `bytes` are those of the texts in UTF-8."""

    documents: int
    characters: int
    bytes: int


@dataclass(frozen=True)
class Corpus:
    """A corpus whose manifest has been checked."""

    folder: Path
    sides: Mapping[str, Side]
    digest: str

    def documents(self, split: str) -> Iterator[Document]:
        """The documents of "train" or "valid", in order, one row group in memory at a time."""
        self._side(split)
        for path in sorted(self.folder.glob(f"{split}-*.parquet")):
            yield from _read_shard(path)

    def num_documents(self, split: str) -> int:
        """How many documents there are in "train" or "valid"."""
        return self._side(split).documents

    def num_bytes(self, split: str) -> int:
        """UTF-8 bytes of the texts in "train" or "valid": the divisor of bits per byte."""
        return self._side(split).bytes

    def _side(self, split: str) -> Side:
        if split not in self.sides:
            raise UsageError(f"A corpus has no split {split!r}.", hint=nearest(split, SPLITS))
        return self.sides[split]


def measure(documents: Sequence[Document]) -> Side:
    """How much these documents are."""
    return Side(len(documents), sum(len(d.text) for d in documents), sum(len(d.text.encode("utf-8")) for d in documents))


class SideWriter:
    """Writes one side of a corpus: tables of any length become row groups of 1,000 and shards of 100,000 documents.

    The same rows make the same bytes, however they are dealt out to `write`.
    """

    def __init__(self, folder: Path, split: str) -> None:
        self._folder, self._split = folder, split
        self._waiting: list[Any] = []
        self._num_waiting = self._num_written = self._num_shards = 0
        self._writer: Any = None
        self._characters = self._bytes = 0

    def write(self, table: Any) -> None:
        """Take the rows of a pyarrow table with the columns of `COLUMNS`."""
        from pyarrow import compute

        self._characters += compute.sum(compute.utf8_length(table["text"])).as_py() or 0
        self._bytes += compute.sum(compute.binary_length(table["text"])).as_py() or 0
        self._waiting.append(table.select(COLUMNS))
        self._num_waiting += len(table)
        self._flush()

    def close(self) -> Side:
        """Write what is still waiting, and say how much all of it was. A side without documents is one shard without rows."""
        self._flush(all_of_it=True)
        if self._num_shards == 0:
            self._open()
        self._end_shard()
        return Side(self._num_written, self._characters, self._bytes)

    def _flush(self, *, all_of_it: bool = False) -> None:
        import pyarrow

        if not self._waiting:
            return
        rows = pyarrow.concat_tables(self._waiting)
        start = 0
        while self._num_waiting >= (1 if all_of_it else self._group()):
            if self._writer is None:
                self._open()
            length = min(self._group(), self._num_waiting)
            # In one chunk, because where chunks end decides where pages end.
            self._writer.write_table(rows.slice(start, length).combine_chunks())
            start += length
            self._num_waiting -= length
            self._num_written += length
            if self._num_written % SHARD_DOCUMENTS == 0:
                self._end_shard()
        self._waiting = [rows.slice(start)] if self._num_waiting else []

    def _group(self) -> int:
        """How many documents the next row group has: 1,000, or what the shard has room for."""
        return min(ROW_GROUP_DOCUMENTS, SHARD_DOCUMENTS - self._num_written % SHARD_DOCUMENTS)

    def _open(self) -> None:
        from pyarrow import parquet

        path = self._folder / f"{self._split}-{self._num_shards:05d}.parquet"
        self._num_shards += 1
        self._writer = parquet.ParquetWriter(path, schema(), compression="zstd", use_dictionary=["language"], write_statistics=False)

    def _end_shard(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None


def schema() -> Any:
    """The columns of a shard, as pyarrow has them."""
    import pyarrow

    return pyarrow.schema([(name, pyarrow.string()) for name in COLUMNS])


def table_of(documents: Sequence[Document]) -> Any:
    """Documents as a pyarrow table with the columns of a shard."""
    import pyarrow

    return pyarrow.table({name: [getattr(document, name) for document in documents] for name in COLUMNS}, schema=schema())


def write_corpus(
    folder: Path, sides: Mapping[str, Sequence[Document]], *, report: Mapping[str, Any], page: str, replace: bool = False
) -> None:
    """Write `sides` ("train", "valid") to `folder`, at once or not at all; `report` becomes report.json, `page` report.html."""
    require_pyarrow("prepare")

    def tables(split: str) -> Iterator[Any]:
        for start in range(0, len(sides[split]), ROW_GROUP_DOCUMENTS):
            yield table_of(sides[split][start : start + ROW_GROUP_DOCUMENTS])

    write_sides(folder, {split: tables(split) for split in SPLITS}, report=lambda _: (report, page), replace=replace)


def write_sides(
    folder: Path,
    sides: Mapping[str, Iterable[Any]],
    *,
    report: Callable[[Mapping[str, Side]], tuple[Mapping[str, Any], str]],
    replace: bool = False,
) -> None:
    """Write the pyarrow tables of each side to `folder`, at once or not at all; `report` is told how much they were, and gives
    what becomes report.json and report.html."""

    measured: dict[str, Side] = {}
    extra: dict[str, Any] = {"kind": KIND}

    def fill(temporary: Path) -> None:
        for split in SPLITS:
            writer = SideWriter(temporary, split)
            for table in sides[split]:
                writer.write(table)
            measured[split] = writer.close()
        extra.update({split: asdict(measured[split]) for split in SPLITS})
        details, page = report(measured)
        write_json(temporary / "report.json", details)
        write_text(temporary / "report.html", page)

    write_folder(folder, fill, extra=extra, replace=replace)


def is_corpus(folder: Path) -> bool:
    """Whether `folder` says that it is a corpus, whole or not."""
    if not (folder / MANIFEST).is_file():
        return False
    try:
        manifest = read_json(folder / MANIFEST)
    except BadFileError:
        return False
    return isinstance(manifest, dict) and manifest.get("kind") == KIND


def open_corpus(path: str | Path) -> Corpus:
    """The corpus in a folder, after every file was checked against the manifest.

    `NotFoundError` if there is no such folder; `BadFileError` if it is not a corpus or not as it was written.
    `digest` is the SHA-256 of the shards' names and sums: another look of the report is not another corpus.
    """
    folder = Path(path)
    if not folder.is_dir():
        problem = "is a file, not a corpus folder" if folder.exists() else "does not exist"
        raise NotFoundError(f"{folder} {problem}.", hint="`llamarium prepare` makes a corpus.")
    manifest = verify_manifest(folder)
    if manifest.get("kind") != KIND:
        raise BadFileError(folder, "has a manifest, but not that of a corpus.", hint="`llamarium prepare` makes a corpus.")
    shards = {name: entry["sha256"] for name, entry in sorted(manifest["files"].items()) if name.endswith(".parquet")}
    on_disk = {file.name for file in folder.glob("*.parquet")}
    if on_disk != set(shards):
        raise BadFileError(folder, f"has other shards than its manifest says: {', '.join(sorted(on_disk ^ set(shards)))}.")
    digest = hashlib.sha256("".join(f"{name} {digest}\n" for name, digest in shards.items()).encode("utf-8")).hexdigest()
    return Corpus(folder, {split: _read_side(folder, manifest.get(split)) for split in SPLITS}, digest)


def require_pyarrow(verb: str) -> None:
    """Stop before any work where Parquet cannot be written."""
    try:
        import pyarrow.parquet  # noqa: F401
    except ImportError:
        raise MissingExtraError(verb, extra="text", package="pyarrow") from None


def _read_side(folder: Path, value: Any) -> Side:
    names = ("documents", "characters", "bytes")
    if not isinstance(value, dict) or not all(type(value.get(name)) is int and value[name] >= 0 for name in names):
        raise BadFileError(folder / MANIFEST, "does not say how much there is to train and to validate.")
    return Side(*(value[name] for name in names))


def _read_shard(path: Path) -> Iterator[Document]:
    require_pyarrow("Reading a corpus")
    import pyarrow
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(path) as file:
            columns = {field.name: field.type for field in file.schema_arrow}
            for name in COLUMNS:
                if columns.get(name) not in (pyarrow.string(), pyarrow.large_string()):
                    raise BadFileError(path, f"has no column of strings {name!r}.")
            for batch in file.iter_batches(batch_size=ROW_GROUP_DOCUMENTS, columns=list(COLUMNS)):
                for row in batch.to_pylist():
                    if any(row[name] is None for name in COLUMNS):
                        raise BadFileError(path, "has a row with an empty field.")
                    yield Document(row["text"], row["source"], row["language"])
    except (pyarrow.ArrowException, OSError) as error:
        raise BadFileError(path, f"is not readable Parquet ({str(error).splitlines()[0]}).") from error
