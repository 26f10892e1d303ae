"""Files that are whole or not there: temporary name, fsync, rename; folders with a manifest written last.

Takes: bytes, JSON values, or a function that fills a folder.
Gives: a file or folder that a crash at any moment leaves either old or new, and SHA-256 sums to check it by.
Does not know: what the files mean.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import hashlib
import json
import os
import re
import shutil
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from llamarium.ground.errors import BadFileError, NotFoundError, ResourceError
from llamarium.ground.failpoints import reached

MANIFEST = "manifest.json"
TEMPORARY = ".tmp-"
OLD = f"{TEMPORARY}old-"  # eight hexadecimal digits follow TEMPORARY elsewhere, so this cannot be read as another's


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


NO_ROOM = {errno.ENOSPC: "The disk is full", errno.EDQUOT: "The disk quota is used up", errno.EFBIG: "A limit on file sizes is reached"}


@contextlib.contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn a full disk into a `ResourceError` that names the place."""
    try:
        yield
    except Exception as error:
        number = getattr(error, "errno", None)
        if number is None:
            # What is written in Rust (safetensors, tokenizers) has errors of its own, with the number in their text.
            match = re.search(r"\(os error (\d+)\)", str(error))
            number = int(match[1]) if match else None
            if re.fullmatch(r"\d+ requested and \d+ written", str(error)):  # numpy, which does not tell the number
                number = errno.ENOSPC
        if number not in NO_ROOM:
            raise
        raise ResourceError(
            f"{NO_ROOM[number]}: {path} could not be written.", hint="Free some space and run the command again."
        ) from error


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
        if path.is_dir():
            fsync(path)
        elif path.is_file() and path != folder / MANIFEST:
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
        if not isinstance(expected, dict) or not _is_inside(file, folder):
            raise BadFileError(path, f"has a malformed entry {name!r:.100}.")
        if not os.path.isfile(file):  # noqa: PTH113  it returns False for a name that is too long, where is_file raises
            raise BadFileError(file, "is missing, though the manifest lists it.")
        if file.stat().st_size != expected.get("size"):
            raise BadFileError(file, f"has {file.stat().st_size} bytes; the manifest says {expected.get('size')}.")
        if sha256(file) != expected.get("sha256"):
            raise BadFileError(file, "does not have the SHA-256 that the manifest says.")
    return manifest


def _is_inside(file: Path, folder: Path) -> bool:
    """Whether `file` is below `folder`, links followed. A name that can be no file is not."""
    try:
        return file.resolve().is_relative_to(folder.resolve())
    except (ValueError, OSError, RuntimeError):  # a NUL byte or half a character; a loop of links
        return False


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
        try:
            fill(temporary)
            write_manifest(temporary, extra)
            put_in_place(temporary, folder, replace=replace)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise


def put_in_place(temporary: Path, folder: Path, *, replace: bool = False) -> None:
    """Give the complete folder `temporary` the name `folder`; with `replace` what has that name gives way, where possible in one step."""
    fsync(temporary)
    reached("before-rename")
    old = None
    try:
        if replace and folder.exists():
            old = temporary
            if not _exchange(temporary, folder):
                old = folder.with_name(f"{OLD}{uuid.uuid4().hex[:8]}-{folder.name}")
                folder.rename(old)
                reached("between-renames")
                temporary.rename(folder)
        else:
            temporary.rename(folder)
        reached("after-rename")
    except BaseException:
        if old is not None and not folder.exists():
            old.rename(folder)
        raise
    fsync(folder.parent)
    if old is not None:
        shutil.rmtree(old, ignore_errors=True)


def _exchange(one: Path, other: Path) -> bool:
    """Let two names change places in one step; False where the system or the file system cannot.

    Between two plain renames there would be a moment without either folder.
    """
    try:
        library = ctypes.CDLL(None)
        if sys.platform == "darwin":
            result = library.renamex_np(os.fsencode(one), os.fsencode(other), 2)  # RENAME_SWAP
        else:
            here = -100  # AT_FDCWD: relative paths start at the working folder
            result = library.renameat2(here, os.fsencode(one), here, os.fsencode(other), 2)  # RENAME_EXCHANGE
    except (AttributeError, OSError, TypeError):
        return False
    return bool(result == 0)


def remove_leftovers(parent: Path) -> None:
    """Remove temporary files and folders that a killed process left in `parent`.

    A folder that was set aside and whose successor never came gets its name back.
    """
    if not parent.is_dir():
        return
    for path in parent.iterdir():
        if path.name.startswith(OLD) and not (successor := path.with_name(path.name[len(OLD) + 9 :])).exists():
            path.rename(successor)
        elif path.name.startswith(TEMPORARY):
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)
