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
from collections.abc import Iterator, Mapping, Sequence
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


def write_corpus(
    folder: Path, sides: Mapping[str, Sequence[Document]], *, report: Mapping[str, Any], page: str, replace: bool = False
) -> None:
    """Write `sides` ("train", "valid") to `folder`, at once or not at all; `report` becomes report.json, `page` report.html."""
    require_pyarrow("prepare")

    def fill(temporary: Path) -> None:
        for split in SPLITS:
            for number, start in enumerate(range(0, max(len(sides[split]), 1), SHARD_DOCUMENTS)):
                _write_shard(temporary / f"{split}-{number:05d}.parquet", sides[split][start : start + SHARD_DOCUMENTS])
        write_json(temporary / "report.json", report)
        write_text(temporary / "report.html", page)

    write_folder(folder, fill, extra={"kind": KIND, **{split: asdict(measure(sides[split])) for split in SPLITS}}, replace=replace)


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


def _write_shard(path: Path, documents: Sequence[Document]) -> None:
    import pyarrow
    from pyarrow import parquet

    schema = pyarrow.schema([(name, pyarrow.string()) for name in COLUMNS])
    with parquet.ParquetWriter(path, schema, compression="zstd", use_dictionary=["language"], write_statistics=False) as writer:
        for start in range(0, len(documents), ROW_GROUP_DOCUMENTS):
            rows = documents[start : start + ROW_GROUP_DOCUMENTS]
            columns = {name: [getattr(document, name) for document in rows] for name in COLUMNS}
            writer.write_table(pyarrow.table(columns, schema=schema))


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
