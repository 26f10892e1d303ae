"""From files to a corpus: read, clean, deduplicate, split, write.

Takes: files, folders or ``python:docs``.
Gives: a corpus folder and a report of what was kept, what was not, and why; the same bytes for the same input.
Does not know: tokens. Everything is in memory at once, which suits what one machine's folder of text holds.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from llamarium.ground import progress
from llamarium.ground.errors import BadFileError, ExistsError, UsageError, nearest
from llamarium.text.clean import clean
from llamarium.text.corpus import is_corpus, measure, require_pyarrow, write_corpus
from llamarium.text.deduplicate import REASON as DUPLICATE
from llamarium.text.deduplicate import Seen
from llamarium.text.document import Document, read_documents, readers
from llamarium.text.language import guess_language
from llamarium.text.report import CHANGES, EXAMPLE_CHARACTERS, NUM_EXAMPLES, REASONS, BadFile, Example, PrepareReport, page
from llamarium.text.sources import SourceFile, list_files
from llamarium.text.split import split

ENGINES = ("local",)
MOST_SAID = 20


def prepare(
    sources: Sequence[str | Path], out: str | Path, *, strict: bool = False, force: bool = False, engine: str = "local"
) -> PrepareReport:
    """Make a corpus at `out` from `sources`.

    Files that cannot be read are listed in the report and left out; with `strict` they stop the work with a `BadFileError`,
    as it stops where nothing good is left; then nothing is written. `ExistsError` if something is at `out`; `force`
    replaces a corpus there, and nothing but a corpus.
    """
    start = time.monotonic()
    out = Path(out).resolve() if Path(out).is_symlink() else Path(out)
    if engine not in ENGINES:
        raise UsageError(f"Unknown engine {engine!r}.", hint=nearest(engine, ENGINES))
    if not sources:
        raise UsageError("There is nothing to prepare.", hint="Name a file, a folder or python:docs.")
    require_pyarrow("prepare")
    replace = _may_replace(out, force=force)
    names = [_name(source) for source in sources]
    files = sorted((file for source in sources for file in list_files(source, leave_out=out)), key=lambda file: file.source)
    state = _Preparation()
    _read_all(files, state)
    _require_good(", ".join(names), files, state, strict=strict)

    chosen = split([document.text for document in state.documents])
    validating = set(chosen.valid)
    sides: dict[str, list[Document]] = {"train": [], "valid": []}
    for number, document in enumerate(state.documents):
        sides["valid" if number in validating else "train"].append(document)
    train, valid = measure(sides["train"]), measure(sides["valid"])
    report = PrepareReport(
        sources=tuple(names),
        documents_in=state.documents_in,
        documents_out=len(state.documents),
        characters_in=state.characters_in,
        characters_out=train.characters + valid.characters,
        dropped=dict(state.dropped),
        changed=dict(state.changed),
        examples={reason: tuple(examples) for reason, examples in state.examples.items() if examples},
        bad_files=tuple(state.bad_files),
        languages=dict(sorted(Counter(document.language for document in state.documents).items())),
        train=train,
        valid=valid,
        near_copies=chosen.num_near_copies,
        held_back=chosen.num_held_back,
        leak=chosen.leak,
        seconds=round(time.monotonic() - start, 3),
    )
    write_corpus(out, sides, report=report.details(), page=page(report), replace=replace)
    return report


@dataclass
class _Preparation:
    """What has been seen so far."""

    documents: list[Document] = field(default_factory=list)
    documents_in: int = 0
    characters_in: int = 0
    dropped: dict[str, int] = field(default_factory=lambda: dict.fromkeys(REASONS, 0))
    changed: dict[str, int] = field(default_factory=lambda: dict.fromkeys(CHANGES, 0))
    examples: dict[str, list[Example]] = field(default_factory=lambda: {reason: [] for reason in REASONS})
    bad_files: list[BadFile] = field(default_factory=list)
    seen: Seen = field(default_factory=Seen)

    def take(self, document: Document) -> None:
        self.documents_in += 1
        self.characters_in += len(document.text)
        cleaned = clean(document.text)
        if cleaned.text is None:
            self._drop(document, cleaned.reason)
            return
        first = self.seen.before(cleaned.text, document.source)
        if first is not None:
            self._drop(document, DUPLICATE, same_as=first)
            return
        for step in cleaned.changed:
            self.changed[step] += 1
        self.documents.append(Document(cleaned.text, document.source, guess_language(cleaned.text)))

    def _drop(self, document: Document, reason: str, *, same_as: str | None = None) -> None:
        self.dropped[reason] += 1
        if len(self.examples[reason]) < NUM_EXAMPLES:
            self.examples[reason].append(Example(document.source, document.text[:EXAMPLE_CHARACTERS], same_as))


def _read_all(files: Sequence[SourceFile], state: _Preparation) -> None:
    sizes = [file.path.stat().st_size for file in files]
    with progress.task("Reading and cleaning", sum(sizes)) as work:
        for file, size in zip(files, sizes, strict=True):
            try:
                documents = read_documents(file.path, source=file.source)
            except BadFileError as error:
                state.bad_files.append(BadFile(file.source, error.reason))
            else:
                for document in documents:
                    state.take(document)
            work.advance(size)


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


def _require_good(where: str, files: Sequence[SourceFile], state: _Preparation, *, strict: bool) -> None:
    known = f"Files that can be read: {', '.join(sorted(readers()))}."
    bad = state.bad_files
    if not files:
        raise BadFileError(where, "there are no files in it.", hint=known)
    if bad and (strict or len(bad) == len(files)):
        for one in bad[1:MOST_SAID]:
            progress.say(f"{one.path}: {one.reason}")
        hint = "Without --strict such files are listed and left out." if len(bad) < len(files) else known
        one = bad[0]
        raise BadFileError(where, f"{len(bad)} of {len(files)} files cannot be read; the first is {one.path}: {one.reason}", hint=hint)
    if not state.documents:
        why = ", ".join(f"{reason} {count}" for reason, count in state.dropped.items() if count) or "no text in them"
        raise BadFileError(where, f"nothing is left of {state.documents_in} documents ({why}).", hint=known)


def _name(source: str | Path) -> str:
    """A source's own name without the place it is in, which would make reports differ from machine to machine."""
    return Path(source).name or Path(source).resolve().name
