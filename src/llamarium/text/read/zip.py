"""ZIP: many files, packed.

Takes: bytes of a .zip file.
Gives: what the readers for its members find, each piece with the name of its member; a member that cannot be read is a piece with a
`problem`, and the others are read all the same.
Does not know: folders. A name is shown and never used as a path; an archive inside the archive is not opened.
"""

from __future__ import annotations

import contextlib
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path, PurePosixPath

from llamarium.ground.errors import BadFileError, MissingExtraError
from llamarium.text.decode import decode
from llamarium.text.document import Piece, read_inner
from llamarium.text.read import _packed

SUFFIXES = (".zip",)
CONFINED = True
_UTF8_NAME = 1 << 11  # a bit of the flags


def read(data: bytes, *, path: str | Path) -> Iterator[Piece]:
    """The pieces of all members, in the order of the archive; folders and hidden files are passed over, as they are on a disk."""
    archive = _packed.open_zip(data, path=path, kind="a ZIP archive")
    left = _packed.LARGEST_TOTAL
    seen: set[str] = set()
    for member in archive.infolist():
        name = _name(member)
        if member.is_dir() or _is_hidden(name):
            continue
        if name in seen:
            yield Piece("", member=name, problem="is there twice; the first was read.")
            continue
        seen.add(name)
        try:
            unpacked = _unpacked(archive, member, name=name, path=path, left=left)
            left -= len(unpacked)
            found = read_inner(unpacked, name=name, path=f"{path}/{name}")
        except BadFileError as error:
            found = [Piece("", problem=error.reason)]
        except MissingExtraError as error:
            found = [Piece("", problem=f"cannot be read: {error.message}")]
        except MemoryError:
            found = [Piece("", problem="needs too much memory to be read.")]
        yield from (replace(piece, member=name) for piece in found)
    if not seen:
        raise BadFileError(path, "holds no files.", hint="There is nothing to read in it.")


def _unpacked(archive: zipfile.ZipFile, member: zipfile.ZipInfo, *, name: str, path: str | Path, left: int) -> bytes:
    where = f"{path}/{name}"
    if PurePosixPath(name).suffix.lower() in _packed.ARCHIVES:
        raise BadFileError(where, "is an archive inside an archive.", hint=_packed.BOMB)
    if left <= 0:
        raise BadFileError(where, f"comes after {_packed.LARGEST_TOTAL >> 20} MB of other members.", hint=_packed.BOMB)
    return _packed.unzip(archive, member, path=where, largest=min(left, _packed.LARGEST))


def _name(member: zipfile.ZipInfo) -> str:
    """The name of a member, '/' between; names that do not say they are UTF-8 often are, or were written by a Chinese Windows."""
    name = member.filename
    if not member.flag_bits & _UTF8_NAME:
        with contextlib.suppress(UnicodeError, BadFileError):
            name = decode(name.encode("cp437"), path=name)  # `zipfile` had decoded it so
    return name.replace("\\", "/")


def _is_hidden(name: str) -> bool:
    return any(part.startswith(".") and part.strip(".") for part in name.split("/")) or name.startswith("__MACOSX/")
