"""Files that are whole or not there: temporary name, fsync, rename; folders with a manifest written last.

Takes: bytes, JSON values, or a function that fills a folder.
Gives: a file or folder that a crash at any moment leaves either old or new, and SHA-256 sums to check it by.
Does not know: what the files mean.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from llamarium.ground.errors import BadFileError, NotFoundError, ResourceError
from llamarium.ground.failpoints import reached

MANIFEST = "manifest.json"
TEMPORARY = ".tmp-"


def sha256(path: Path) -> str:
    """Hex SHA-256 of a file, read in 1 MiB pieces."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


def fsync(path: Path) -> None:
    """Ask the disk to keep what `path` (a file or a folder) holds. A platform that cannot open folders skips those."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except PermissionError:
        if path.is_dir():
            return
        raise
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn a full disk into a `ResourceError` that names the place."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise ResourceError(
                f"The disk is full: {path} could not be written.", hint="Free some space and run the command again."
            ) from error
        raise


def write_bytes(path: Path, data: bytes) -> None:
    """Replace `path` by `data`, at once or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{TEMPORARY}{uuid.uuid4().hex[:8]}-{path.name}")
    with disk_errors(path):
        try:
            with temporary.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    fsync(path.parent)


def write_text(path: Path, text: str) -> None:
    """Replace `path` by `text` in UTF-8, at once or not at all."""
    write_bytes(path, text.encode("utf-8"))


def write_json(path: Path, value: Any) -> None:
    """Replace `path` by `value` as indented JSON, at once or not at all."""
    write_text(path, json.dumps(value, ensure_ascii=False, indent=2) + "\n")


def read_json(path: Path) -> Any:
    """The JSON value in `path`; `NotFoundError` if it is missing, `BadFileError` if it is not JSON."""
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError:
        raise NotFoundError(f"{path} does not exist.") from None
    except (ValueError, RecursionError) as error:
        raise BadFileError(path, f"is not valid JSON ({error}).", offset=getattr(error, "pos", None)) from error


def write_manifest(folder: Path, extra: dict[str, Any] | None = None) -> None:
    """Write ``manifest.json``: size and SHA-256 of every file below `folder`, each fsynced first.

    It is the last file of a folder: one without a valid manifest does not exist for the loader.
    """
    files = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.name != MANIFEST:
            reached("before-fsync")
            fsync(path)
            reached("after-fsync")
            files[path.relative_to(folder).as_posix()] = {"size": path.stat().st_size, "sha256": sha256(path)}
    reached("before-manifest")
    write_json(folder / MANIFEST, {**(extra or {}), "files": files})
    reached("after-manifest")


def verify_manifest(folder: Path) -> dict[str, Any]:
    """Return the manifest of `folder` after checking every file against it.

    `BadFileError` names the first file that is missing, has another size or another SHA-256.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise BadFileError(folder, "has no manifest.json: it was not finished.")
    manifest = read_json(path)
    if not isinstance(manifest, dict):
        raise BadFileError(path, "is not a manifest.")
    files = manifest.get("files")
    if not isinstance(files, dict) or not files:
        raise BadFileError(path, "lists no files.")
    for name, expected in files.items():
        file = folder / name
        if not isinstance(expected, dict) or not file.resolve().is_relative_to(folder.resolve()):
            raise BadFileError(path, f"has a malformed entry {name!r}.")
        if not file.is_file():
            raise BadFileError(file, "is missing, though the manifest lists it.")
        if file.stat().st_size != expected.get("size"):
            raise BadFileError(file, f"has {file.stat().st_size} bytes; the manifest says {expected.get('size')}.")
        if sha256(file) != expected.get("sha256"):
            raise BadFileError(file, "does not have the SHA-256 that the manifest says.")
    return manifest


def write_folder(folder: Path, fill: Callable[[Path], None], *, extra: dict[str, Any] | None = None, replace: bool = False) -> None:
    """Make `folder` with what `fill(temporary_folder)` writes and a manifest, at once or not at all.

    With `replace` an old folder gives way only when the new one is complete.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = folder.with_name(f"{TEMPORARY}{uuid.uuid4().hex[:8]}-{folder.name}")
    with disk_errors(folder):
        reached("before-temporary")
        temporary.mkdir()
        reached("after-temporary")
        old = None
        try:
            fill(temporary)
            write_manifest(temporary, extra)
            fsync(temporary)
            if replace and folder.exists():
                old = folder.with_name(f"{TEMPORARY}{uuid.uuid4().hex[:8]}-old-{folder.name}")
                folder.rename(old)
            reached("before-rename")
            temporary.rename(folder)
            reached("after-rename")
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            if old is not None and not folder.exists():
                old.rename(folder)
            raise
    fsync(folder.parent)
    if old is not None:
        shutil.rmtree(old, ignore_errors=True)


def remove_leftovers(parent: Path) -> None:
    """Remove temporary files and folders that a killed process left in `parent`."""
    if not parent.is_dir():
        return
    for path in parent.iterdir():
        if path.name.startswith(TEMPORARY):
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)
