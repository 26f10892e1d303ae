"""Which files a source holds.

Takes: a file, a folder, or the word ``python:docs``.
Gives: the files in it with the names they have in citations: relative to the folder, '/' between.
Does not know: which of them can be read.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from llamarium.ground.errors import BadFileError, NotFoundError
from llamarium.text import python_documentation
from llamarium.text.document import whole_characters


@dataclass(frozen=True)
class SourceFile:
    """A file to read, and its name in citations."""

    path: Path
    source: str


def list_files(source: str | Path, *, leave_out: Path | None = None) -> list[SourceFile]:
    """The files of one source, sorted by name; an existing path wins over a word.

    Hidden files and folders, what is neither file nor folder, the folder `leave_out`, and folders that were visited
    already (a link to a parent would never end) are passed over. `NotFoundError` if there is nothing of that name.
    """
    path = Path(source)
    if path.is_dir():
        return _walk(path, leave_out)
    if path.exists():
        return [SourceFile(path, whole_characters(path.name))]
    if str(source) == python_documentation.WORD:
        root = python_documentation.root()
        return [SourceFile(file, file.relative_to(root).as_posix()) for file in python_documentation.files()]
    hint = f"Name a file, a folder or {python_documentation.WORD}, the documentation inside this Python."
    raise NotFoundError(f"{source} does not exist.", hint=hint)


def _walk(root: Path, leave_out: Path | None) -> list[SourceFile]:
    visited = set() if leave_out is None else {leave_out.resolve()}
    found = []
    folders = [root]
    while folders:
        folder = folders.pop()
        real = folder.resolve()
        if real in visited:
            continue
        visited.add(real)
        try:
            entries = sorted(folder.iterdir())
        except OSError as error:
            raise BadFileError(folder, f"cannot be opened ({error.strerror}).") from error
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_dir():
                folders.append(entry)
            elif entry.is_file():
                found.append(SourceFile(entry, whole_characters(entry.relative_to(root).as_posix())))
    return sorted(found, key=lambda file: file.source)
