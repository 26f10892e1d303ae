"""The English text that is on every machine with Python: its own documentation.

Takes: nothing.
Gives: the files of the running Python that hold documentation: `pydoc_data.topics` and the standard library's modules,
about 2.3 MB of text when read. Nothing is imported; the reader for .py parses them.
Does not know: what other packages are installed.
"""

from __future__ import annotations

import os
import sysconfig
from pathlib import Path

from llamarium.ground.errors import NotFoundError

WORD = "python:docs"

# Tests and their data, programs that live in the library, and what does not belong to it.
_LEFT_OUT = {"__pycache__", "test", "tests", "idlelib", "lib2to3", "turtledemo", "site-packages", "dist-packages"}


def root() -> Path:
    """The folder of the standard library."""
    return Path(sysconfig.get_path("stdlib"))


def files() -> list[Path]:
    """The files, sorted by their path; `NotFoundError` where this Python came without its library's source."""
    found: list[Path] = []
    for folder, below, names in os.walk(root()):
        below[:] = [name for name in below if name not in _LEFT_OUT]  # not walked: other packages can be many
        found += [Path(folder, name) for name in names if name.endswith(".py")]
    if not found:
        raise NotFoundError(f"The standard library's source is not in {root()}.", hint="Give a folder of your own text instead.")
    return sorted(found)
