"""Partitions: the part of the work that needs to know nothing of the rest.

Takes: a folder with a plan (settings, and which files or spans of files make which partition), and the number of one partition.
Gives: a folder of its own: cleaned documents as Parquet, their fingerprints, shingles and sizes, and what was dropped and why; a pure
function of the plan and the files, so it does not matter who runs it, when, or how often.
Does not know: other partitions, duplicates, who trains and who validates.

    plan.jsonl      settings, then a line a partition: one can be taken without the rest of a million files
    part-00000/     documents.parquet (id, text, source, language), *.npy (a row a document), sketch/, part.json;
                    manifest.json comes last: a part without it is made anew
"""

from __future__ import annotations

import hashlib
import itertools
import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, astuple, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llamarium.ground.errors import BadFileError, NotFoundError
from llamarium.ground.failpoints import reached
from llamarium.ground.files import read_json, verify_manifest, write_folder, write_json
from llamarium.text.clean import Cleaning, clean
from llamarium.text.corpus import require_pyarrow, table_of
from llamarium.text.decode import Encoding
from llamarium.text.deduplicate import Paragraphs, fingerprint, paragraphs
from llamarium.text.document import Document, Piece, documents_of, read_pieces, read_span
from llamarium.text.language import guess_language
from llamarium.text.licence import licence
from llamarium.text.near import Sketch, sketch
from llamarium.text.quality import Quality
from llamarium.text.sources import SourceFile
from llamarium.text.spans import Span, spans_of

PLAN = "plan.jsonl"
QUALITY = "quality.npy"
VERSION = 2
PARTITION = 4 << 20  # bytes of input: many partitions for a few workers, and little memory for each
NUM_EXAMPLES = 3
EXAMPLE_CHARACTERS = 240

OTHER_LANGUAGE = "other_language"
LOW_QUALITY = "low_quality"

_LINE = re.compile(r"^line (\d+)")


@dataclass(frozen=True)
class Settings:
    """What is done to every document.

    `languages`: which are kept, all if empty. `quality`: the SHA-256 of the quality model beside the plan, "" where there is none;
    `lowest_quality`: the lowest score of it that is kept.
    """

    cleaning: Cleaning = field(default_factory=Cleaning)
    languages: tuple[str, ...] = ()
    quality: str = ""
    lowest_quality: float = 0.5
    column: str = ""  # the column or field that is the text, in tables and records
    paragraphs: bool = False  # whether long paragraphs are remembered, so that repeated ones can be taken out


@dataclass(frozen=True)
class Plan:
    """What all partitions are: enough to do any of them on any machine that sees the files."""

    settings: Settings
    partitions: tuple[tuple[Span, ...], ...]

    def sizes(self) -> list[int]:
        """Bytes of input of each partition."""
        return [sum(span.size for span in spans) for spans in self.partitions]

    def as_text(self) -> str:
        """The plan as `plan.jsonl` has it, in ASCII, because a file's name may be no valid Unicode; equal for equal settings and
        unchanged files."""
        head = {"version": VERSION, "settings": asdict(self.settings)}
        return "".join(f"{json.dumps(line)}\n" for line in (head, *([astuple(span) for span in spans] for spans in self.partitions)))


def _of_plan(folder: Path, number: int) -> tuple[Settings, list[Span]]:
    """The settings of the plan in `folder`, and the spans of one partition."""
    with (folder / PLAN).open(encoding="ascii") as file:
        settings = json.loads(next(file))["settings"]
        spans = json.loads(next(itertools.islice(file, number, None)))
    cleaning = settings.pop("cleaning")
    cleaning["masks"], settings["languages"] = tuple(cleaning["masks"]), tuple(settings["languages"])
    return Settings(cleaning=Cleaning(**cleaning), **settings), [Span(*span) for span in spans]


def plan(files: Sequence[SourceFile], settings: Settings, *, size: int = PARTITION) -> Plan:
    """Deal the files out, in their order, to partitions of about `size` bytes; what is greater and has lines is cut between them."""
    partitions: list[tuple[Span, ...]] = []
    waiting: list[Span] = []
    num_waiting = 0
    for file in files:
        for span in spans_of(file, longest=size):
            if waiting and num_waiting + span.size > size:
                partitions.append(tuple(waiting))
                waiting, num_waiting = [], 0
            waiting.append(span)
            num_waiting += span.size
    if waiting:
        partitions.append(tuple(waiting))
    return Plan(settings, tuple(partitions))


def part_folder(folder: Path, number: int) -> Path:
    """Where partition `number` is written."""
    return folder / f"part-{number:05d}"


def is_done(folder: Path, number: int) -> bool:
    """Whether partition `number` is there and whole."""
    try:
        verify_manifest(part_folder(folder, number))
    except BadFileError:
        return False
    return True


def run(folder: Path, number: int) -> None:
    """Do partition `number` of the plan in `folder`. What is there already is replaced."""
    require_pyarrow("prepare")
    settings, spans = _of_plan(folder, number)
    rows = _Rows(settings, Quality.open(folder / QUALITY) if settings.quality else None)
    for span in spans:
        rows.take_span(span)
    reached("before-part")
    write_folder(part_folder(folder, number), rows.write, replace=True)
    reached("after-part")


@dataclass(frozen=True)
class Part:
    """A partition that was done. Arrays have a row a document: `fingerprints` and `digests` (n, 32) bytes, `characters` int64 (n,)."""

    folder: Path
    fingerprints: NDArray[np.uint8]
    digests: NDArray[np.uint8]
    characters: NDArray[np.int64]
    report: dict[str, Any]

    @classmethod
    def open(cls, folder: Path, number: int) -> Part:
        """Part `number`; its texts and its sketch stay on the disk."""
        here = part_folder(folder, number)
        arrays = {name: np.load(here / f"{name}.npy", allow_pickle=False) for name in ("fingerprints", "digests", "characters")}
        return cls(here, **arrays, report=read_json(here / "part.json"))

    def __len__(self) -> int:
        return len(self.characters)

    @property
    def sketch(self) -> Sketch:
        """Its sketch, opened anew each time: what of a mapped file has been looked at counts as this process's memory while it is open."""
        return Sketch.open(self.folder / "sketch")

    def paragraphs(self) -> Paragraphs:
        """The long paragraphs of its documents; only where the settings asked for them."""
        return Paragraphs(*(np.load(self.folder / f"paragraph_{name}.npy", allow_pickle=False) for name in ("marks", "offsets")))

    def table(self, columns: Sequence[str] | None = None) -> Any:
        """All its documents, as a pyarrow table; with all columns, or those that are named."""
        from pyarrow import parquet

        with parquet.ParquetFile(self.folder / "documents.parquet") as file:
            return file.read(columns)

    def languages(self) -> tuple[list[str], NDArray[np.int64]]:
        """The languages there are, and for each document which of them it is in (n,)."""
        column = self.table(["language"])["language"].combine_chunks().dictionary_encode()
        return column.dictionary.to_pylist(), column.indices.to_numpy().astype(np.int64)

    def beginnings(self, rows: NDArray[np.int64]) -> list[tuple[str, str]]:
        """Source and first `EXAMPLE_CHARACTERS` of the documents `rows`."""
        from pyarrow import compute

        table = self.table(["source", "text"]).take(rows)
        texts = compute.utf8_slice_codeunits(table["text"], 0, EXAMPLE_CHARACTERS)
        return list(zip(table["source"].to_pylist(), texts.to_pylist(), strict=True))


@dataclass
class _Rows:
    """What a partition has come to so far."""

    settings: Settings
    quality: Quality | None
    documents: list[Document] = field(default_factory=list)
    num_documents: int = 0
    num_characters: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    dropped_characters: Counter[str] = field(default_factory=Counter)
    changed: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[dict[str, str]]] = field(default_factory=dict)
    bad_files: list[dict[str, str]] = field(default_factory=list)
    encodings: Counter[str] = field(default_factory=Counter)
    formats: Counter[str] = field(default_factory=Counter)
    licences: Counter[str] = field(default_factory=Counter)

    def take_span(self, span: Span) -> None:
        """Read, clean and keep the documents of one span; one that cannot be read is noted, and none of it kept."""
        if span.is_first:
            self.formats[Path(span.source).suffix.lower()] += 1
        try:
            pieces = _pieces(span, self.settings.column)
        except BadFileError as error:
            self.bad_files.append({"path": span.source, "reason": error.reason})
            return
        if span.is_first:
            self.encodings.update({span.encoding} if span.encoding else {piece.encoding for piece in pieces if piece.encoding})
        for piece in pieces:
            if piece.problem:
                self.bad_files.append({"path": f"{span.source}/{piece.member}", "reason": piece.problem})
                continue
            for document in documents_of(piece, source=span.source, span=span.number):
                self.take(document)

    def take(self, document: Document) -> None:
        """Clean a document, and keep it or say why not."""
        self.num_documents += 1
        self.num_characters += len(document.text)
        language = guess_language(document.text)
        cleaned = clean(document.text, cleaning=self.settings.cleaning, web=document.web, language=language)
        if cleaned.text is None:
            self.drop(document, cleaned.reason)
            return
        if self.settings.languages and language not in self.settings.languages:
            self.drop(document, OTHER_LANGUAGE)
            return
        if self.quality is not None and self.quality.score(cleaned.text) < self.settings.lowest_quality:
            self.drop(document, LOW_QUALITY)
            return
        self.changed.update(cleaned.changed)
        self.licences[licence(document.text)] += 1
        self.documents.append(Document(cleaned.text, document.source, language))

    def drop(self, document: Document, reason: str) -> None:
        self.dropped[reason] += 1
        self.dropped_characters[reason] += len(document.text)
        examples = self.examples.setdefault(reason, [])
        if len(examples) < NUM_EXAMPLES:
            examples.append({"source": document.source, "text": document.text[:EXAMPLE_CHARACTERS]})

    def write(self, folder: Path) -> None:
        """Write the part into `folder`."""
        from pyarrow import parquet

        texts = [document.text for document in self.documents]
        parquet.write_table(table_of(self.documents), folder / "documents.parquet", compression="lz4")
        arrays: dict[str, NDArray[Any]] = {
            "fingerprints": _rows_of([fingerprint(text) for text in texts]),
            "digests": _rows_of([hashlib.sha256(text.encode("utf-8")).digest() for text in texts]),
            "characters": np.fromiter(map(len, texts), dtype=np.int64, count=len(texts)),
        }
        if self.settings.paragraphs:
            found = paragraphs(texts)
            arrays |= {"paragraph_marks": found.marks, "paragraph_offsets": found.offsets}
        for name, values in arrays.items():
            np.save(folder / f"{name}.npy", values, allow_pickle=False)
        sketch(texts).save(folder / "sketch")
        report = {
            name: getattr(self, name)
            for name in (
                "num_documents",
                "num_characters",
                "dropped",
                "dropped_characters",
                "changed",
                "examples",
                "bad_files",
                "encodings",
                "formats",
                "licences",
            )
        }
        write_json(folder / "part.json", report)


def _pieces(span: Span, column: str) -> list[Piece]:
    """What the reader finds in a file, or in the lines of a span of one; `BadFileError` also where the file is not what was planned."""
    path = Path(span.path)
    try:
        pieces = _found(span, path, column)
        modified = path.stat().st_mtime_ns
    except BadFileError as error:
        # A reader of a span counts its lines; whoever is to mend the file wants to know the file's.
        raise BadFileError(path, _LINE.sub(lambda found: f"line {int(found[1]) + span.lines}", error.reason)) from error
    except (NotFoundError, FileNotFoundError):
        raise BadFileError(path, "was there, and is gone.") from None
    except OSError as error:
        raise BadFileError(path, f"cannot be opened ({error.strerror}).") from error
    if span.modified not in (0, modified):
        raise BadFileError(path, "was changed while the work went on.")
    return pieces


def _found(span: Span, path: Path, column: str) -> list[Piece]:
    if not span.number:
        return read_pieces(path, column=column)
    encoding = Encoding(span.encoding, span.codec) if span.codec else None
    return read_span(path, start=span.start, end=span.end, lines=span.lines, encoding=encoding, column=column)


def _rows_of(values: Sequence[bytes]) -> NDArray[np.uint8]:
    """(n, 32) bytes of n digests."""
    return np.frombuffer(b"".join(values), dtype=np.uint8).reshape(len(values), 32)
