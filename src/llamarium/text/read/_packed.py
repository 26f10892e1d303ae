"""What may be unpacked, and how far: the bounds that archives and documents made of archives share.

Takes: packed bytes.
Gives: unpacked bytes, or an error before they are too many.
Does not know: what they mean.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterable, Iterator
from io import BytesIO
from pathlib import Path

from llamarium.ground.errors import BadFileError
from llamarium.text.decode import opening

LARGEST = 128 << 20  # bytes of one unpacked file: its text, its lines and its records must fit into a child's memory beside it
LARGEST_TOTAL = 512 << 20  # bytes of all members of one archive
MOST_MEMBERS = 10_000
RATIO = 250  # text shrinks to a third or a tenth, a log of one repeated line to a hundredth
RATIO_FROM = 4 << 20  # bytes; below, a high ratio harms nobody
ARCHIVES = (".zip", ".gz", ".tgz", ".zst", ".tar", ".bz2", ".tbz2", ".xz", ".txz", ".7z", ".rar", ".jar")
BOMB = "Unpack it with care, and name what is in it."

_CHUNK = 1 << 20


def joined(chunks: Iterable[bytes], *, packed: int, path: str | Path, largest: int | None = None) -> bytes:
    """All `chunks`, unpacked from `packed` bytes; `BadFileError` as soon as they pass a bound (`largest`: `LARGEST` by default)."""
    largest = LARGEST if largest is None else largest
    found: list[bytes] = []
    size = 0
    for chunk in chunks:
        size += len(chunk)
        if size > largest:
            raise BadFileError(path, f"unpacks to more than {largest >> 20} MB.", hint=BOMB)
        if size > max(RATIO_FROM, RATIO * packed):
            raise BadFileError(path, f"unpacks to more than {RATIO} times its size.", hint=BOMB)
        found.append(chunk)
    return b"".join(found)


def inflated(data: bytes) -> Iterator[bytes]:
    """The chunks of gzip data, of all its members; `zlib.error` where it is broken, `EOFError` where it is cut off."""
    rest = data
    while rest:
        machine = zlib.decompressobj(wbits=31)
        while not machine.eof:
            chunk = machine.decompress(rest, _CHUNK)
            rest = machine.unconsumed_tail
            if chunk:
                yield chunk
            elif not machine.eof and not rest:
                raise EOFError
        rest = machine.unused_data.lstrip(b"\0")  # tapes and some writers fill up with NULs


def require_opening(data: bytes, openings: tuple[bytes, ...], *, path: str | Path, kind: str) -> None:
    """`BadFileError` where `data` does not begin as `kind` ("a ZIP archive") does; it says what else it looks like."""
    if data.startswith(openings):
        return
    if not data:
        raise BadFileError(path, "is empty.", hint="There is nothing to read in it.")
    what = opening(data)
    raise BadFileError(path, f"looks like {what}, not like {kind}." if what else f"is not {kind}.", offset=0)


def require_inner(path: str | Path) -> None:
    """`BadFileError` where what ``path`` packs, by its name, is an archive again."""
    inner = Path(path).with_suffix("").suffix.lower()
    if inner == ".tar" or Path(path).suffix.lower() == ".tgz":
        raise BadFileError(path, "is a tar archive; its files are not read.", hint="Unpack it (tar -xf), and name the folder.")
    if inner in ARCHIVES:
        raise BadFileError(path, "is an archive inside an archive.", hint=BOMB)
    if not inner:
        raise BadFileError(path, "does not say what it holds.", hint="Name it after what is in it, such as notes.txt.gz.")


def open_zip(data: bytes, *, path: str | Path, kind: str) -> zipfile.ZipFile:
    """The archive in `data`; its list of members has been read, and is not too long."""
    require_opening(data, (b"PK\x03\x04", b"PK\x05\x06"), path=path, kind=kind)
    try:
        archive = zipfile.ZipFile(BytesIO(data))
    except (zipfile.BadZipFile, NotImplementedError, ValueError, EOFError, OSError) as error:
        raise BadFileError(path, f"is not {kind}, or a damaged one ({error}).") from None
    if len(archive.infolist()) > MOST_MEMBERS:
        raise BadFileError(path, f"has {len(archive.infolist()):,} members; {MOST_MEMBERS:,} are read at most.", hint=BOMB)
    return archive


def unzip(archive: zipfile.ZipFile, member: zipfile.ZipInfo, *, path: str | Path, largest: int | None = None) -> bytes:
    """The bytes of one member, or `BadFileError` that names `path`."""
    if member.flag_bits & 1:
        raise BadFileError(path, "is encrypted.", hint="Save it without a password.")
    try:
        with archive.open(member) as file:
            return joined(iter(lambda: file.read(_CHUNK), b""), packed=member.compress_size, path=path, largest=largest)
    except (zipfile.BadZipFile, NotImplementedError, zlib.error, ValueError, EOFError, OSError) as error:
        raise BadFileError(path, f"is damaged in its archive ({error or 'it ends too early'}).") from None


def part(archive: zipfile.ZipFile, name: str, *, path: str | Path) -> bytes | None:
    """The bytes of the member `name` of a document that is an archive, None where it has none."""
    try:
        member = archive.getinfo(name)
    except KeyError:
        return None
    return unzip(archive, member, path=path)
