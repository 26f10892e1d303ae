"""The errors a user can meet, drawn as a tree.

Takes: one sentence that says what is wrong and where, and a hint that says what to do.
Gives: exceptions that carry an exit code; the command line prints them without a traceback.
Does not know: how or where they are shown.

    LlamariumError                 1  it failed
    ├── NetworkError               1  a download did not come through
    ├── TrainingError              1  a run stopped itself
    ├── UsageError                 2  wrong use
    │   ├── NotFoundError          2  no such file, model, name
    │   ├── ExistsError            2  would overwrite
    │   ├── RecipeError            2  a recipe that cannot be read as one
    │   └── MissingExtraError      2  a package that is not installed
    ├── BadFileError               3  content that cannot be read
    ├── ResourceError              4  memory or disk is out
    └── Interrupted              130  stopped by the user, work saved
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path


class LlamariumError(Exception):
    """Base of all errors that a user can meet.

    `message` is one sentence: what is wrong, and where. `hint` is what to do about it.
    `shown_elsewhere`: in a group that knows of it, whether another process shows it; None while only this one knows.
    """

    exit_code = 1
    shown_elsewhere: bool | None = None

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class NetworkError(LlamariumError):
    """A download did not come through."""


class TrainingError(LlamariumError):
    """A run stopped itself; the last good checkpoint is untouched."""


class UsageError(LlamariumError):
    """Wrong use: an option, a name or a combination that makes no sense."""

    exit_code = 2


class NotFoundError(UsageError):
    """A file, folder, model or name that does not exist."""


class ExistsError(UsageError):
    """Something is there already and would be overwritten."""


class RecipeError(UsageError):
    """A recipe that cannot be read as one."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message, hint=hint or "`recipes/` has examples of every section.")


class MissingExtraError(UsageError):
    """A package that this verb needs is not installed."""

    def __init__(self, verb: str, *, extra: str, package: str) -> None:
        super().__init__(
            f"{verb} needs the package {package}, which is not installed.",
            hint=f"pip install 'llamarium[{extra}]'",
        )


class BadFileError(LlamariumError):
    """A file that exists and cannot be read as what it should be.

    `offset` is the byte where reading failed, where it is known.
    """

    exit_code = 3

    def __init__(self, path: str | Path, reason: str, *, offset: int | None = None, hint: str = "") -> None:
        where = f"{path}" if offset is None else f"{path}, byte {offset}"
        super().__init__(f"{where}: {reason}", hint=hint or "Restore the file from a copy, or make or fetch it again.")
        self.path = str(path)
        self.reason = reason
        self.offset = offset


class ResourceError(LlamariumError):
    """Memory or disk is out."""

    exit_code = 4


class Interrupted(LlamariumError):  # noqa: N818  it is what happened, not a fault
    """Stopped by the user; what was done is saved."""

    exit_code = 130


def nearest(name: str, known: Iterable[str]) -> str:
    """Return ``Did you mean 'x'?`` for the closest known name, or the list of them all.

    >>> nearest("lama", ["llama", "gpt"])
    "Did you mean 'llama'?"
    >>> nearest("zebra", ["llama", "gpt"])
    'Known: gpt, llama.'
    """
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    if close:
        return f"Did you mean '{close[0]}'?"
    return f"Known: {', '.join(names)}." if names else ""
