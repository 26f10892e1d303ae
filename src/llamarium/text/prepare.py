"""From files to a corpus: read and clean in partitions, then what only all together can tell: duplicates, leaks, the split.

Takes: files, folders or ``python:docs``.
Gives: a corpus folder and a report of what was kept, what was not, and why; the same bytes for the same input, whatever engine did the
work, with how many workers, and whether it was interrupted.
Does not know: tokens.

Partitions are written beside the corpus as ``.NAME.preparing``. What was interrupted is gone on with by the same command, where the
settings and the files (by size and time) are the same; the folder goes when the corpus is there, and when the input was at fault.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import os
import re
import shutil
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llamarium.ground import progress, registry
from llamarium.ground.errors import BadFileError, ExistsError, UsageError
from llamarium.ground.files import disk_errors, write_text
from llamarium.text.corpus import SPLITS, Side, is_corpus, require_pyarrow, table_of, write_sides
from llamarium.text.deduplicate import Paragraphs, first_of, repeated_paragraphs, without_paragraphs
from llamarium.text.document import Document, read_documents, readers, whole_characters
from llamarium.text.engine import Options
from llamarium.text.items import items
from llamarium.text.leaks import holding, leaking
from llamarium.text.near import near_duplicates
from llamarium.text.partition import NUM_EXAMPLES, PLAN, QUALITY, Part, Settings, is_done, plan
from llamarium.text.quality import Quality, train
from llamarium.text.report import REASONS, BadFile, Copies, Example, Leak, PrepareReport, page
from llamarium.text.shingles import Shingles, offsets_of, shingles
from llamarium.text.sources import SourceFile, list_files
from llamarium.text.split import VALID_SHARE, Split, sampled, split

ENGINES = "llamarium.text.engine"
MOST_SAID = 20
NUM_COPIES = 10
MOST_JUDGED = 8_000_000  # shingles of validation documents that are looked for at a time
ALWAYS_SAID = ("duplicate_exact", "duplicate_near")
KEPT, EXACT, NEAR, IN_EVALUATION, IN_TRAINING, PARAGRAPHS = range(6)  # what became of a document that cleaning left
VERDICTS = ("", "duplicate_exact", "duplicate_near", "leak_evaluation", "leak_validation", "duplicate_paragraphs")


@dataclass(frozen=True)
class Wanted:
    """What is to become of documents when all are known. `near`: Jaccard similarity from which two are near-duplicates, None for never.

    `evaluations`: files whose texts may not stand in the corpus. `valid_share`: of the characters.
    """

    near: float | None = 0.8
    evaluations: tuple[Path, ...] = ()
    valid_share: float = VALID_SHARE


def prepare(
    sources: Sequence[str | Path],
    out: str | Path,
    *,
    strict: bool = False,
    force: bool = False,
    engine: str = "local",
    options: Options = Options(),  # noqa: B008  frozen
    settings: Settings = Settings(),  # noqa: B008
    wanted: Wanted = Wanted(),
    like: Sequence[Path] = (),
    unlike: Sequence[Path] = (),
) -> PrepareReport:
    """Make a corpus at `out` from `sources`. `like` and `unlike`: files of examples of what is wanted and what is not (`quality`).

    Files that cannot be read are listed in the report and left out; with `strict` they stop the work with a `BadFileError`,
    as it stops where nothing good is left; then nothing is written. `ExistsError` if something is at `out`; `force`
    replaces a corpus there, and nothing but a corpus. `ResourceError` for a full disk or workers that are killed again and again;
    what was done is kept then, and after Ctrl-C.
    """
    start = time.monotonic()
    out = Path(out)
    if out.is_symlink() or out.name in ("", ".."):
        out = out.resolve()
    if engine not in registry.names(ENGINES):
        registry.find(ENGINES, engine)
    if not sources:
        raise UsageError("There is nothing to prepare.", hint="Name a file, a folder or python:docs.")
    if wanted.near is not None and not 0.5 <= wanted.near <= 1:
        raise UsageError(f"Near-duplicates can be found from a similarity of 0.5 to 1, not {wanted.near}.", hint="0.8 is usual.")
    if not 0 <= wanted.valid_share <= 0.5:
        raise UsageError(f"A share of {wanted.valid_share} cannot validate.", hint="From 0 to 0.5; 0.1 is usual.")
    if not 0 <= settings.lowest_quality <= 1:
        raise UsageError(f"Quality goes from 0 to 1; nothing reaches {settings.lowest_quality}.", hint="0.5 is usual.")
    for language in settings.languages:
        if not re.fullmatch("[a-z]{2,3}", language):
            raise UsageError(f"{language!r} is no code of a language.", hint="Codes are those of ISO 639-1: en, zh, fr.")
    require_pyarrow("prepare")
    may_replace = _may_replace(out, force=force)
    names = [_name(source) for source in sources]
    files = _files(sources, out)
    judges = _judges(wanted.evaluations)
    quality = _quality(like, unlike)
    work = out.absolute().with_name(f".{out.name}.preparing")
    new_folders = [folder for folder in work.parents if not folder.exists()]
    try:
        parts = _do_parts(work, files, settings, quality, engine=engine, options=options)
        found = _Found(parts)
        _require_good(", ".join(names), files, found, strict=strict)
        verdicts, copies = found.judge(wanted.near, judges)
        chosen, verdicts = _choose(found, verdicts, wanted.valid_share)
        if not (verdicts == KEPT).any():
            raise _nothing_left(", ".join(names), found, verdicts)
        told: list[PrepareReport] = []

        def tell(sides: Mapping[str, Side]) -> tuple[dict[str, Any], str]:
            told.append(_Report(found, verdicts, copies, chosen, judges).made(tuple(names), sides))
            return told[0].details(), page(told[0])

        repeated = _repeated(found, verdicts) if settings.paragraphs else None
        sides = {side: _rows(found, mask, repeated, verdicts) for side, mask in chosen.sides(verdicts).items()}
        write_sides(out, sides, report=tell, replace=may_replace)
    except BadFileError:
        shutil.rmtree(work, ignore_errors=True)
        for folder in new_folders:
            with contextlib.suppress(OSError):
                folder.rmdir()
        raise
    except KeyboardInterrupt:
        progress.say("What is done is kept; the same command goes on.")
        raise
    shutil.rmtree(work, ignore_errors=True)
    return replace(told[0], seconds=round(time.monotonic() - start, 3))


def _do_parts(
    work: Path, files: Sequence[SourceFile], settings: Settings, quality: Quality | None, *, engine: str, options: Options
) -> list[Part]:
    """Every part of the plan, done by the engine where it is not there from an earlier try."""
    if quality is not None:
        settings = replace(settings, quality=hashlib.sha256(quality.weights.tobytes()).hexdigest())
    its_plan = plan(files, settings)
    sizes = its_plan.sizes()
    written = its_plan.as_text()
    with disk_errors(work):
        if work.exists() and not ((work / PLAN).is_file() and (work / PLAN).read_text(encoding="ascii") == written):
            shutil.rmtree(work)
        try:
            work.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError) as error:
            raise UsageError(f"{work.parent} is no folder, and nothing can be made in it.", hint="Choose another --out.") from error
        if quality is not None:
            quality.save(work / QUALITY)
        write_text(work / PLAN, written)
    with progress.task("Reading and cleaning", max(1, sum(sizes))) as task:
        missing = []
        for number, size in enumerate(sizes):
            if is_done(work, number):
                task.advance(size)
            else:
                missing.append(number)
        if len(missing) < len(sizes):
            progress.say(f"Going on: {len(sizes) - len(missing):,} of {len(sizes):,} parts are there from before.")
        with contextlib.closing(registry.find(ENGINES, engine).run(work, missing, sizes=sizes, options=options)) as numbers:
            for number in numbers:
                task.advance(sizes[number])
    return [Part.open(work, number) for number in range(len(sizes))]


class _Found:
    """All documents that cleaning left, as columns; a row a document, in the order of the corpus."""

    def __init__(self, parts: Sequence[Part]) -> None:
        self.parts = list(parts)
        self.starts = np.concatenate([[0], np.cumsum([len(part) for part in parts])]).astype(np.int64)
        self.documents_in = sum(part.report["num_documents"] for part in parts)
        self.characters_in = sum(part.report["num_characters"] for part in parts)
        self.bad_files = tuple(BadFile(bad["path"], bad["reason"]) for part in parts for bad in part.report["bad_files"])

    def __len__(self) -> int:
        return int(self.starts[-1])

    @cached_property
    def digests(self) -> NDArray[np.uint8]:
        return np.concatenate([part.digests for part in self.parts])

    @cached_property
    def characters(self) -> NDArray[np.int64]:
        return np.concatenate([part.characters for part in self.parts])

    def lengths(self, mask: NDArray[np.bool_]) -> dict[str, NDArray[np.int64]]:
        """How many of the documents in `mask` are in each language, by the class of their length (`LENGTHS`)."""
        total: dict[str, NDArray[np.int64]] = {}
        for part, (start, end) in zip(self.parts, itertools.pairwise(self.starts.tolist()), strict=True):
            names, numbers = part.languages()
            classes = numbers * (len(LENGTHS) + 1) + np.searchsorted(LENGTHS, part.characters, side="right")
            counts = np.bincount(classes[mask[start:end]], minlength=len(names) * (len(LENGTHS) + 1)).reshape(len(names), len(LENGTHS) + 1)
            for name, its in zip(names, counts, strict=True):
                total[name] = total.get(name, 0) + its
        return {name: counts for name, counts in sorted(total.items()) if counts.any()}

    def counts(self, name: str) -> Counter[str]:
        """A count of all parts together."""
        total: Counter[str] = Counter()
        for part in self.parts:
            total.update(part.report[name])
        return total

    @cached_property
    def sizes(self) -> NDArray[np.int64]:
        """How many shingles each document has."""
        return np.concatenate([part.sketch.shingles.sizes for part in self.parts])

    def num_shingles(self, mask: NDArray[np.bool_]) -> int:
        """How many shingles the documents in `mask` have together."""
        return int(self.sizes[mask].sum())

    def shingles(self, mask: NDArray[np.bool_]) -> Iterator[Shingles]:
        """The shingles of the documents in `mask`, part by part."""
        for part, (start, end) in zip(self.parts, itertools.pairwise(self.starts.tolist()), strict=True):
            yield part.sketch.shingles.of(np.flatnonzero(mask[start:end]))

    def beginnings(self, rows: Iterable[int]) -> dict[int, tuple[str, str]]:
        """Source and first words of some documents; a part is read once, however many of them it has."""
        wanted = np.unique(np.fromiter(rows, dtype=np.int64))
        borders = np.searchsorted(wanted, self.starts).tolist()
        found: dict[int, tuple[str, str]] = {}
        for part, first, (low, high) in zip(self.parts, self.starts[:-1], itertools.pairwise(borders), strict=True):
            if low < high:
                found.update(zip(wanted[low:high].tolist(), part.beginnings(wanted[low:high] - first), strict=True))
        return found

    def judge(self, near: float | None, judges: _Judges) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        """What becomes of each document, and which one it repeats (itself where none)."""
        verdicts = np.zeros(len(self), dtype=np.uint8)
        copies = first_of([part.fingerprints for part in self.parts])
        verdicts[copies != np.arange(len(self))] = EXACT
        if near is not None:
            # What is an exact copy stands for nothing: the group's choice is made among the others.
            lengths = np.where(verdicts == KEPT, self.characters, -1)
            groups = near_duplicates([part.sketch for part in self.parts], lengths, threshold=near)
            is_near = (groups != np.arange(len(self))) & (verdicts == KEPT)
            verdicts[is_near] = NEAR
            copies = np.where(is_near, groups, copies)
        if not judges.sources:
            return verdicts, copies
        pairs = holding((part.sketch.shingles for part in self.parts), judges.shingles)
        for start, (rows, texts) in zip(self.starts[:-1].tolist(), pairs, strict=True):
            for row, text in zip(rows, texts, strict=True):
                if verdicts[start + row] == KEPT:
                    verdicts[start + row] = IN_EVALUATION
                    copies[start + row] = text
        return verdicts, copies


@dataclass(frozen=True)
class _Judges:
    """Texts that may not stand in the corpus, with their shingles."""

    sources: tuple[str, ...]
    shingles: Shingles


def _quality(like: Sequence[Path], unlike: Sequence[Path]) -> Quality | None:
    """A model of what is wanted, where there are examples of it."""
    if not like and not unlike:
        return None
    model = train(*([document.text for document in _examples_in(paths)] for paths in (like, unlike)))
    progress.say(f"Quality: examples that were held out are told apart with an AUROC of {model.auroc:.3f} (0.5 is chance).")
    return model


def _examples_in(paths: Sequence[Path]) -> Iterator[Document]:
    """The documents of files, and of the files in folders, that show what is wanted or is not."""
    for file in (file for path in paths for file in list_files(path)):
        yield from read_documents(file.path, source=file.source)


def _judges(paths: Sequence[Path]) -> _Judges:
    documents = [document for path in paths for file in list_files(path) for document in items(file.path, source=file.source)]
    return _Judges(tuple(document.source for document in documents), shingles([document.text for document in documents]))


@dataclass(frozen=True)
class _Choice:
    split: Split
    valid: NDArray[np.bool_]
    leak: float

    def sides(self, verdicts: NDArray[np.uint8]) -> dict[str, NDArray[np.bool_]]:
        kept = verdicts == KEPT
        return {"train": kept & ~self.valid, "valid": kept & self.valid}


def _choose(found: _Found, verdicts: NDArray[np.uint8], valid_share: float) -> tuple[_Choice, NDArray[np.uint8]]:
    """Who validates; a validation document that leaks all the same is taken out."""
    kept = verdicts == KEPT
    rows = np.flatnonzero(kept)
    sample, one_in = sampled(found.shingles(kept), total=found.num_shingles(kept))
    chosen = split(sample, found.digests[rows], found.characters[rows], one_in=one_in, valid_share=valid_share)
    del sample
    valid = np.zeros(len(found), dtype=np.bool_)
    valid[rows[chosen.valid]] = True
    leaks = _leaking(found, valid, kept & ~valid)
    verdicts = verdicts.copy()
    verdicts[leaks] = IN_TRAINING
    return _Choice(chosen, valid, len(leaks) / max(1, len(chosen.valid))), verdicts


def _leaking(found: _Found, valid: NDArray[np.bool_], training: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Which validation documents leak from all training documents together; so many at a time as memory allows."""
    rows = np.flatnonzero(valid)
    leaks = [np.empty(0, dtype=np.int64)]
    for some in np.array_split(rows, max(1, -(-found.num_shingles(valid) // MOST_JUDGED))):
        mask = np.zeros(len(found), dtype=np.bool_)
        mask[some] = True
        judges = Shingles.joined(found.shingles(mask))
        leaks.append(some[leaking(judges, (part.hashes for part in found.shingles(training)))])
    return np.concatenate(leaks)


def _repeated(found: _Found, verdicts: NDArray[np.uint8]) -> list[_Marked]:
    """For each part which long paragraphs of its documents that stay are repeated from earlier ones that stay."""
    kept = []
    for part, (start, end) in zip(found.parts, itertools.pairwise(found.starts.tolist()), strict=True):
        its, stays = part.paragraphs(), verdicts[start:end] == KEPT
        sizes = np.diff(its.offsets)
        kept.append(Paragraphs(its.marks[np.repeat(stays, sizes)], offsets_of(np.where(stays, sizes, 0))))
    return [_Marked(marks, its.offsets) for its, marks in zip(kept, repeated_paragraphs(kept), strict=True)]


@dataclass(frozen=True)
class _Marked:
    """Of each of n documents the long paragraphs, marked where they are repeated: `marks[offsets[i] : offsets[i + 1]]` for document i."""

    marks: NDArray[np.bool_]
    offsets: NDArray[np.int64]

    def __getitem__(self, row: int) -> NDArray[np.bool_]:
        return self.marks[self.offsets[row] : self.offsets[row + 1]]


def _rows(found: _Found, mask: NDArray[np.bool_], repeated: Sequence[_Marked] | None, verdicts: NDArray[np.uint8]) -> Iterator[Any]:
    """Tables of the documents in `mask`, part by part. A document of which repeated paragraphs leave nothing gets its verdict."""
    import pyarrow

    for number, (part, (start, end)) in enumerate(zip(found.parts, itertools.pairwise(found.starts.tolist()), strict=True)):
        if mask[start:end].any():
            table = part.table().filter(pyarrow.array(mask[start:end]))
            if repeated is not None and repeated[number].marks.any():
                table = _without(table, np.flatnonzero(mask[start:end]).tolist(), repeated[number], verdicts[start:end])
            yield table


def _without(table: Any, rows: Sequence[int], repeated: _Marked, verdicts: NDArray[np.uint8]) -> Any:
    """A table whose documents, the `rows` of their part, have lost their repeated paragraphs."""
    documents = []
    for row, its in zip(rows, table.to_pylist(), strict=True):
        marks = repeated[row]
        text = without_paragraphs(its["text"], marks).strip("\n") if marks.any() else its["text"]
        if text.strip():
            documents.append(Document(text, its["source"], its["language"]))
        else:
            verdicts[row] = PARAGRAPHS
    return table_of(documents)


@dataclass(frozen=True)
class _Report:
    """Puts the report together."""

    found: _Found
    verdicts: NDArray[np.uint8]
    copies: NDArray[np.int64]
    chosen: _Choice
    judges: _Judges

    def made(self, names: tuple[str, ...], sides: Mapping[str, Side]) -> PrepareReport:
        """The report, but for the time that all of it took."""
        found, kept = self.found, self.verdicts == KEPT
        late = {VERDICTS[verdict]: self.verdicts == verdict for verdict in range(EXACT, PARAGRAPHS + 1)}
        dropped = found.counts("dropped")
        characters = found.counts("dropped_characters")
        for reason, mask in late.items():
            dropped[reason] = int(mask.sum())
            characters[reason] = int(found.characters[mask].sum())
        train, valid = (sides[split] for split in SPLITS)
        lengths = found.lengths(kept)
        copied, copies = self._copied()
        leaks = np.flatnonzero((self.verdicts == IN_EVALUATION) | (self.verdicts == IN_TRAINING))
        some = {reason: np.flatnonzero(mask)[:NUM_EXAMPLES] for reason, mask in late.items() if mask.any()}
        shown = np.concatenate([leaks, copied[:NUM_COPIES], *some.values()])
        repeated = shown[(self.verdicts[shown] == EXACT) | (self.verdicts[shown] == NEAR)]
        beginnings = found.beginnings([*shown.tolist(), *self.copies[repeated].tolist()])
        return PrepareReport(
            sources=names,
            documents_in=found.documents_in,
            documents_out=int(kept.sum()),
            characters_in=found.characters_in,
            characters_out=train.characters + valid.characters,
            dropped=_in_order(dropped),
            dropped_characters=_in_order(characters),
            changed=dict(sorted(found.counts("changed").items())),
            examples=self._examples(some, beginnings),
            bad_files=found.bad_files,
            languages={language: int(counts.sum()) for language, counts in lengths.items()},
            train=train,
            valid=valid,
            near_copies=self.chosen.split.num_near_copies,
            held_back=self.chosen.split.num_held_back,
            leak=self.chosen.leak,
            leaks=tuple(Leak(beginnings[row][0], self._same_as(row, beginnings) or "") for row in leaks.tolist()),
            lengths={language: dict(zip(_classes(), counts.tolist(), strict=True)) for language, counts in lengths.items()},
            copies=tuple(
                Copies(*beginnings[row], count)
                for row, count in zip(copied[:NUM_COPIES].tolist(), copies[:NUM_COPIES].tolist(), strict=True)
            ),
            groups=_group_sizes(copies + 1),
            encodings=dict(found.counts("encodings").most_common()),
            formats=dict(found.counts("formats").most_common()),
            licences=dict(found.counts("licences").most_common()),
            seconds=0.0,
        )

    def _examples(self, late: Mapping[str, NDArray[np.int64]], beginnings: _Beginnings) -> dict[str, tuple[Example, ...]]:
        """Three of each reason, from the parts and from what was dropped after them."""
        examples: dict[str, list[Example]] = {}
        for part in self.found.parts:
            for reason, some in part.report["examples"].items():
                held = examples.setdefault(reason, [])
                held += [Example(one["source"], one["text"]) for one in some][: NUM_EXAMPLES - len(held)]
        for reason, rows in late.items():
            examples[reason] = [Example(*beginnings[row], self._same_as(row, beginnings)) for row in rows.tolist()]
        return {reason: tuple(some) for reason, some in sorted(examples.items())}

    def _same_as(self, row: int, beginnings: _Beginnings) -> str | None:
        verdict, other = self.verdicts[row], int(self.copies[row])
        if verdict in (IN_TRAINING, PARAGRAPHS):
            return None
        return self.judges.sources[other] if verdict == IN_EVALUATION else beginnings[other][0]

    def _copied(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Documents that stay and have copies that do not, exact or near, and how many each has; the most copied first."""
        rows = self.copies[(self.verdicts == EXACT) | (self.verdicts == NEAR)]
        # A copy of what is itself a near-duplicate counts for the one that stands.
        roots = np.where(self.verdicts[rows] == NEAR, self.copies[rows], rows)
        found, counts = np.unique(roots[self.verdicts[roots] == KEPT], return_counts=True)
        order = np.lexsort((found, -counts))
        return found[order], counts[order]


_Beginnings = Mapping[int, tuple[str, str]]  # source and first words of a document, by its row
LENGTHS = (100, 300, 1_000, 3_000, 10_000, 30_000, 100_000)
GROUPS = (3, 4, 10, 100, 1_000)


def _classes() -> list[str]:
    """Names of the classes that `LENGTHS` parts documents into: fewer code points than each border, and not fewer than the one before."""
    between = [f"{low:,} to {high:,}" for low, high in itertools.pairwise(LENGTHS)]
    return [f"under {LENGTHS[0]:,}", *between, f"{LENGTHS[-1]:,} or more"]


def _group_sizes(sizes: NDArray[np.int64]) -> dict[str, int]:
    """How many groups of duplicates there are by how many documents each has, the one that stays among them."""
    counts = np.bincount(np.searchsorted(GROUPS, sizes, side="right"), minlength=len(GROUPS) + 1).tolist()
    between = [f"{low:,}" if high == low + 1 else f"{low:,} to {high - 1:,}" for low, high in itertools.pairwise((2, *GROUPS))]
    return dict(zip([*between, f"{GROUPS[-1]:,} or more"], counts, strict=True))


def _in_order(counts: Counter[str]) -> dict[str, int]:
    """Reasons in the order in which they are looked at: those that there were, and both kinds of duplicates."""
    return {reason: counts[reason] for reason in REASONS if counts[reason] or reason in ALWAYS_SAID}


def _may_replace(out: Path, *, force: bool) -> bool:
    """Whether there is something at `out` that may go; `ExistsError` if there is something that may not."""
    if not out.exists():
        return False
    if out.is_dir() and not any(out.iterdir()):
        return True
    if not is_corpus(out):
        raise ExistsError(f"{out} is there already and is not a corpus.", hint="Choose another --out; only a corpus is ever replaced.")
    if not force:
        raise ExistsError(f"There is a corpus at {out} already.", hint="Choose another --out, or replace it with --force.")
    return True


def _require_good(where: str, files: Sequence[SourceFile], found: _Found, *, strict: bool) -> None:
    known = f"Files that can be read: {', '.join(sorted(readers()))}."
    bad = found.bad_files
    if not files:
        raise BadFileError(where, "there are no files in it.", hint=known)
    if bad and (strict or not found.documents_in):
        for one in bad[1:MOST_SAID]:
            progress.say(f"{one.path}: {one.reason}")
        hint = "Without --strict such files are listed and left out." if found.documents_in else known
        first = f"{bad[0].path}: {bad[0].reason}"
        sentence = f"a file cannot be read, {first}" if len(bad) == 1 else f"{len(bad):,} files cannot be read; the first is {first}"
        raise BadFileError(where, sentence, hint=hint)
    if not len(found):
        raise _nothing_left(where, found, np.empty(0))


def _nothing_left(where: str, found: _Found, verdicts: NDArray[Any]) -> BadFileError:
    reason = f"nothing is left of {found.documents_in:,} documents ({_why(found, verdicts)})."
    return BadFileError(where, reason, hint="Take other text, or other rules: `llamarium prepare --help`.")


def _why(found: _Found, verdicts: NDArray[Any]) -> str:
    counts = found.counts("dropped")
    counts.update({VERDICTS[verdict]: int((verdicts == verdict).sum()) for verdict in range(EXACT, PARAGRAPHS + 1)})
    return ", ".join(f"{reason} {count}" for reason, count in _in_order(counts).items() if count) or "no text in them"


def _name(source: str | Path) -> str:
    """A source's own name without the place it is in, which would make reports differ from machine to machine."""
    return Path(source).name or Path(source).resolve().name


def _files(sources: Sequence[str | Path], out: Path) -> list[SourceFile]:
    """All files of all sources, each once, in the order of their names. Where two sources have files of one name, the name of the
    folder comes before it, and a number after that where the folders' names are the same, too."""
    labels = [_label(source) for source in sources]
    labels = [label if labels.count(label) == 1 else f"{label}-{number}" for number, label in enumerate(labels, 1)]
    found: dict[str, tuple[str, SourceFile]] = {}
    for source, label in zip(sources, labels, strict=True):
        if Path(source).exists() and Path(source).resolve().is_relative_to(out.resolve()):
            raise UsageError(f"{source} is what --out would replace.", hint="Choose another --out.")
        for file in _without_reports(list_files(source, leave_out=out)):
            found.setdefault(os.path.abspath(file.path), (label, file))  # noqa: PTH100  links stay as they are
    names = Counter(file.source for _, file in found.values())
    named = [replace(file, source=f"{label}/{file.source}") if names[file.source] > 1 else file for label, file in found.values()]
    return sorted(named, key=lambda file: file.source)


def _without_reports(files: Sequence[SourceFile]) -> Iterator[SourceFile]:
    """The files, but of a corpus its text alone: the report on it is no text of it."""
    corpora = {folder for folder in {file.path.parent for file in files} if is_corpus(folder)}
    return (file for file in files if file.path.parent not in corpora or file.path.suffix == ".parquet")


def _label(source: str | Path) -> str:
    """The name of the folder that a source is, or is in."""
    path = Path(source).resolve()
    return whole_characters(path.name if path.is_dir() else path.parent.name) if path.exists() else str(source)
