"""From files to a corpus: read and clean in partitions, then what only all together can tell: duplicates, leaks, the split.

Takes: files, folders or ``python:docs``.
Gives: a corpus folder and a report of what was kept, what was not, and why; the same bytes for the same input, whatever engine did the
work, with how many workers, and whether it was interrupted.
Does not know: tokens.

Partitions are written beside the corpus as ``.NAME.preparing``. What was interrupted is gone on with by the same command, where the
settings and the files (by size and time) are the same; the folder goes when the corpus is there, and when the input was at fault.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import shutil
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
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
from llamarium.text.document import Document, read_documents, readers
from llamarium.text.engine import Options
from llamarium.text.leaks import holding, leaking
from llamarium.text.near import near_duplicates
from llamarium.text.partition import EXAMPLE_CHARACTERS, NUM_EXAMPLES, PLAN, QUALITY, Part, Settings, is_done, plan
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
    out = Path(out).resolve() if Path(out).is_symlink() else Path(out)
    if engine not in registry.names(ENGINES):
        registry.find(ENGINES, engine)
    if not sources:
        raise UsageError("There is nothing to prepare.", hint="Name a file, a folder or python:docs.")
    if wanted.near is not None and not 0.5 <= wanted.near <= 1:
        raise UsageError(f"Near-duplicates can be found from a similarity of 0.5 to 1, not {wanted.near}.", hint="0.8 is usual.")
    if not 0 <= wanted.valid_share <= 0.5:
        raise UsageError(f"A share of {wanted.valid_share} cannot validate.", hint="From 0 to 0.5; 0.1 is usual.")
    require_pyarrow("prepare")
    may_replace = _may_replace(out, force=force)
    names = [_name(source) for source in sources]
    judges = _judges(wanted.evaluations)
    quality = _quality(like, unlike)
    work = out.absolute().with_name(f".{out.name}.preparing")
    files = sorted((file for source in sources for file in list_files(source, leave_out=out)), key=lambda file: file.source)
    files = [file for file in files if work not in file.path.absolute().parents]
    try:
        parts = _do_parts(work, files, settings, quality, engine=engine, options=options)
        found = _Found(parts)
        _require_good(", ".join(names), files, found, strict=strict)
        verdicts, copies = found.judge(wanted.near, judges)
        chosen, verdicts = _choose(found, verdicts, wanted.valid_share)
        if not (verdicts == KEPT).any():
            raise BadFileError(", ".join(names), f"nothing is left of {found.documents_in} documents ({_why(found, verdicts)}).")
        told: list[PrepareReport] = []

        def tell(sides: Mapping[str, Side]) -> tuple[dict[str, Any], str]:
            told.append(_Report(found, verdicts, copies, chosen, judges).made(tuple(names), sides))
            return told[0].details(), page(told[0])

        repeated = _repeated(found, verdicts) if settings.paragraphs else None
        sides = {side: _rows(found, mask, repeated, verdicts) for side, mask in chosen.sides(verdicts).items()}
        write_sides(out, sides, report=tell, replace=may_replace)
    except BadFileError:
        shutil.rmtree(work, ignore_errors=True)
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
    written = json.dumps(its_plan.as_json())  # in ASCII, because a file's name may be no valid Unicode
    with disk_errors(work):
        if work.exists() and not ((work / PLAN).is_file() and (work / PLAN).read_text(encoding="utf-8") == written):
            shutil.rmtree(work)
        work.mkdir(parents=True, exist_ok=True)
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
        for number in registry.find(ENGINES, engine).run(work, missing, sizes=sizes, options=options):
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

    @cached_property
    def languages(self) -> list[str]:
        return [language for part in self.parts for language in part.languages()]

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

    def document(self, row: int) -> tuple[str, str]:
        """Source and text of one document."""
        number = int(np.searchsorted(self.starts, row, side="right")) - 1
        found = self.parts[number].table().slice(row - int(self.starts[number]), 1).to_pylist()[0]
        return found["source"], found["text"]

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
        for part, start in zip(self.parts, self.starts[:-1].tolist(), strict=True):
            for row, text in zip(*holding(part.sketch.shingles, judges.shingles), strict=True):
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
    model = train(*([document.text for path in paths for document in read_documents(path, source=path.name)] for paths in (like, unlike)))
    progress.say(f"Quality: examples that were held out are told apart with an AUROC of {model.auroc:.3f} (0.5 is chance).")
    return model


def _judges(paths: Sequence[Path]) -> _Judges:
    documents = [document for path in paths for document in read_documents(path, source=path.name)]
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


def _repeated(found: _Found, verdicts: NDArray[np.uint8]) -> dict[int, NDArray[np.bool_]]:
    """For each document that stays and repeats long paragraphs of earlier ones that stay, which of its long paragraphs those are."""
    rows, kept = [], []
    for part, start in zip(found.parts, found.starts[:-1].tolist(), strict=True):
        its = part.paragraphs()
        stays = np.flatnonzero(verdicts[start : start + len(part)] == KEPT)
        sizes = np.diff(its.offsets)[stays]
        marks = [its.marks[its.offsets[row] : its.offsets[row + 1]] for row in stays.tolist()]
        kept.append(Paragraphs(np.concatenate([np.empty(0, dtype=np.uint64), *marks]), offsets_of(sizes)))
        rows.append((start + stays).tolist())
    repeated: dict[int, NDArray[np.bool_]] = {}
    for its, marked, numbers in zip(kept, repeated_paragraphs(kept), rows, strict=True):
        for row, (start, end) in zip(numbers, itertools.pairwise(its.offsets.tolist()), strict=True):
            if marked[start:end].any():
                repeated[row] = marked[start:end]
    return repeated


def _rows(
    found: _Found, mask: NDArray[np.bool_], repeated: Mapping[int, NDArray[np.bool_]] | None, verdicts: NDArray[np.uint8]
) -> Iterator[Any]:
    """Tables of the documents in `mask`, part by part. A document of which repeated paragraphs leave nothing gets its verdict."""
    import pyarrow

    for part, (start, end) in zip(found.parts, itertools.pairwise(found.starts.tolist()), strict=True):
        if mask[start:end].any():
            table = part.table().filter(pyarrow.array(mask[start:end]))
            rows = (start + np.flatnonzero(mask[start:end])).tolist()
            yield _without(table, rows, repeated, verdicts) if repeated else table


def _without(table: Any, rows: Sequence[int], repeated: Mapping[int, NDArray[np.bool_]], verdicts: NDArray[np.uint8]) -> Any:
    """A table whose documents, the `rows` of the corpus, have lost their repeated paragraphs."""
    documents = []
    for row, its in zip(rows, table.to_pylist(), strict=True):
        text = without_paragraphs(its["text"], repeated[row]).strip("\n") if row in repeated else its["text"]
        if not text.strip():
            verdicts[row] = PARAGRAPHS
            continue
        documents.append(Document(text, its["source"], its["language"]))
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
        languages = Counter(language for language, keep in zip(found.languages, kept.tolist(), strict=True) if keep)
        train, valid = (sides[split] for split in SPLITS)
        return PrepareReport(
            sources=names,
            documents_in=found.documents_in,
            documents_out=int(kept.sum()),
            characters_in=found.characters_in,
            characters_out=train.characters + valid.characters,
            dropped=_in_order(dropped),
            dropped_characters=_in_order(characters),
            changed=dict(sorted(found.counts("changed").items())),
            examples=self._examples(late),
            bad_files=found.bad_files,
            languages=dict(sorted(languages.items())),
            train=train,
            valid=valid,
            near_copies=self.chosen.split.num_near_copies,
            held_back=self.chosen.split.num_held_back,
            leak=self.chosen.leak,
            leaks=self._leaks(),
            lengths=_histogram(found.characters[kept]),
            copies=self._copies(),
            encodings=dict(found.counts("encodings").most_common()),
            formats=dict(found.counts("formats").most_common()),
            licences=dict(found.counts("licences").most_common()),
            seconds=0.0,
        )

    def _examples(self, late: dict[str, NDArray[np.bool_]]) -> dict[str, tuple[Example, ...]]:
        """Three of each reason, from the parts and from what was dropped after them."""
        examples: dict[str, list[Example]] = {}
        for part in self.found.parts:
            for reason, some in part.report["examples"].items():
                held = examples.setdefault(reason, [])
                held += [Example(one["source"], one["text"]) for one in some][: NUM_EXAMPLES - len(held)]
        for reason, mask in late.items():
            for row in np.flatnonzero(mask)[:NUM_EXAMPLES].tolist():
                source, text = self.found.document(row)
                examples.setdefault(reason, []).append(Example(source, text[:EXAMPLE_CHARACTERS], self._same_as(row)))
        return {reason: tuple(some) for reason, some in sorted(examples.items())}

    def _same_as(self, row: int) -> str | None:
        verdict = self.verdicts[row]
        if verdict in (IN_TRAINING, PARAGRAPHS):
            return None
        return self.judges.sources[self.copies[row]] if verdict == IN_EVALUATION else self.found.document(int(self.copies[row]))[0]

    def _leaks(self) -> tuple[Leak, ...]:
        rows = np.flatnonzero((self.verdicts == IN_EVALUATION) | (self.verdicts == IN_TRAINING))
        return tuple(Leak(self.found.document(row)[0], self._same_as(row) or "") for row in rows.tolist())

    def _copies(self) -> tuple[Copies, ...]:
        """The documents with the most copies, exact and near."""
        rows = self.copies[(self.verdicts == EXACT) | (self.verdicts == NEAR)]
        # A copy of what is itself a near-duplicate counts for the one that stands.
        roots = np.where(self.verdicts[rows] == NEAR, self.copies[rows], rows)
        found, counts = np.unique(roots, return_counts=True)
        order = np.lexsort((found, -counts))[:NUM_COPIES]
        return tuple(
            Copies(source, text[:EXAMPLE_CHARACTERS], int(count))
            for (source, text), count in (
                (self.found.document(int(row)), count) for row, count in zip(found[order], counts[order], strict=True)
            )
        )


LENGTHS = (100, 300, 1_000, 3_000, 10_000, 30_000, 100_000)


def _histogram(characters: NDArray[np.int64]) -> dict[str, int]:
    """How many documents have fewer code points than each border, and not fewer than the one before."""
    counts = np.bincount(np.searchsorted(LENGTHS, characters, side="right"), minlength=len(LENGTHS) + 1).tolist()
    names = [
        f"under {LENGTHS[0]:,}",
        *(f"{low:,} to {high:,}" for low, high in itertools.pairwise(LENGTHS)),
        f"{LENGTHS[-1]:,} or more",
    ]
    return dict(zip(names, counts, strict=True))


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
    all_bad = {file.source for file in files} <= {one.path for one in bad}
    if bad and (strict or all_bad):
        for one in bad[1:MOST_SAID]:
            progress.say(f"{one.path}: {one.reason}")
        hint = known if all_bad else "Without --strict such files are listed and left out."
        one = bad[0]
        raise BadFileError(where, f"{len(bad)} of {len(files)} files cannot be read; the first is {one.path}: {one.reason}", hint=hint)
    if not len(found):
        raise BadFileError(where, f"nothing is left of {found.documents_in} documents ({_why(found, np.empty(0))}).", hint=known)


def _why(found: _Found, verdicts: NDArray[Any]) -> str:
    counts = found.counts("dropped")
    counts.update({VERDICTS[verdict]: int((verdicts == verdict).sum()) for verdict in range(EXACT, PARAGRAPHS + 1)})
    return ", ".join(f"{reason} {count}" for reason, count in _in_order(counts).items() if count) or "no text in them"


def _name(source: str | Path) -> str:
    """A source's own name without the place it is in, which would make reports differ from machine to machine."""
    return Path(source).name or Path(source).resolve().name
