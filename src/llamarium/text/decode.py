"""Bytes to text, and which encoding they were in; or a sentence that says what the bytes look like instead.

Takes: the bytes of a file, and what the file itself declares, where a format has a place for that.
Gives: text without byte-order mark and with CRLF turned to LF, and the name of the encoding; nothing is replaced.
Does not know: markup.

How it is decided, first that fits: a byte-order mark; UTF-8, which text in other encodings is hardly ever by chance; what
the file declares; else every candidate reads a sample, and the reading that surprises least (`surprise`) is taken, if it
surprises less than bytes without a meaning would. The candidates are UTF-16 and UTF-32 without a mark, GB18030 (so also GBK
and GB2312), Big5, and Latin-1 with Windows-1252. Encodings of Japanese, Korean and Russian, and UTF-8 with a broken byte,
compete so that they are not mistaken for one of these; they are named and refused.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO, TextIOWrapper
from pathlib import Path

from llamarium.ground.errors import BadFileError
from llamarium.text.surprise import ANY_SCRIPT, noise, surprise

# Only openings that no text would have: the tables of real formats hold more.
_OPENINGS = (
    (b"\x89PNG\r\n", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"GIF87a", "a GIF image"),
    (b"GIF89a", "a GIF image"),
    (b"%PDF-", "a PDF document"),
    (b"PK\x03\x04", "a ZIP archive or an Office document"),
    (b"PK\x05\x06", "a ZIP archive"),
    (b"\xd0\xcf\x11\xe0", "an old Office document"),
    (b"\x7fELF", "a program"),
    (b"MZ\x90\x00", "a Windows program"),
    (b"\x1f\x8b\x08", "a gzip archive"),
    (b"BZh91AY&SY", "a bzip2 archive"),
    (b"\xfd7zXZ\x00", "an xz archive"),
    (b"7z\xbc\xaf", "a 7z archive"),
    (b"\x28\xb5\x2f\xfd", "zstd-compressed data"),
    (b"SQLite format 3\x00", "a SQLite database"),
    (b"PAR1", "a Parquet table"),
    (b"GGUF\x03\x00", "a GGUF model"),
    (b"OggS\x00", "an Ogg sound file"),
    (b"fLaC\x00", "a FLAC sound file"),
)
# UTF-32 first: its little-endian mark begins with that of UTF-16.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8", "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32", "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32", "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16", "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16", "utf-16-be"),
)
# Tab, line ends, form feed and escape (coloured logs) are at home in text.
_CONTROLS = bytes({*range(1, 32), 127} - set(b"\t\n\v\f\r\x1b"))
MOST_CONTROLS = 0.02
SAVE_AS_UTF8 = "Save it as UTF-8, for example: iconv -f ENCODING -t UTF-8 FILE > NEW"
_CHUNK = 1 << 20
_SAMPLE = 1 << 16


@dataclass(frozen=True)
class Decoded:
    """A text, and the encoding that it was in: "utf-8", "gb18030", "big5", "utf-16", "latin-1", ..."""

    text: str
    encoding: str


@dataclass(frozen=True)
class Encoding:
    """How to read some bytes: the encoding's `name` for people, Python's `codec`, and the length of the byte-order `mark`."""

    name: str
    codec: str
    mark: int = 0


@dataclass(frozen=True)
class _Candidate:
    """An encoding that may be meant.

    `codecs`: Python's names; the first that fits is taken, the last fits most often. `home`: the scripts that are written
    in it. `rarity`: bits against it beforehand. `refused_as`: what such a file is called when it is refused, empty if it is read.
    """

    name: str
    codecs: tuple[str, ...]
    home: tuple[str, ...]
    rarity: float = 0.0
    refused_as: str = ""


# Microsoft's Big5 first, which the Web's standard follows for signs; Hong Kong's has characters that it lacks.
_CANDIDATES = (
    _Candidate("gb18030", ("gb18030",), ("han",)),
    _Candidate("big5", ("cp950", "big5hkscs"), ("han",), 2.0),
    _Candidate("latin-1", ("cp1252",), ("latin",)),
    _Candidate("utf-8", ("utf-8",), ANY_SCRIPT, 0.0, refused_as="UTF-8 with bytes in it that are not"),
    _Candidate("shift_jis", ("cp932",), ("han", "kana"), 8.0, refused_as="Japanese in SHIFT_JIS"),
    _Candidate("euc-jp", ("euc_jp",), ("han", "kana"), 8.0, refused_as="Japanese in EUC-JP"),
    _Candidate("euc-kr", ("euc_kr",), ("hangul",), 8.0, refused_as="Korean in EUC-KR"),
    _Candidate("windows-1251", ("cp1251",), ("cyrillic",), 8.0, refused_as="Cyrillic in WINDOWS-1251"),
    _Candidate("koi8-r", ("koi8_r",), ("cyrillic",), 8.0, refused_as="Cyrillic in KOI8-R"),
)
_WIDE = (
    _Candidate("utf-16", ("utf-16-le",), ANY_SCRIPT, 8.0),
    _Candidate("utf-16", ("utf-16-be",), ANY_SCRIPT, 8.0),
    _Candidate("utf-32", ("utf-32-le",), ANY_SCRIPT, 8.0),
    _Candidate("utf-32", ("utf-32-be",), ANY_SCRIPT, 8.0),
)
_UTF8 = Encoding("utf-8", "utf-8")
_BEYOND_ASCII = re.compile(rb"[\x80-\xff]")
_BEYOND_LATIN_1 = re.compile(rb"[\x80-\x9f]")
_SAID_FOR_LATIN_1 = frozenset(("ascii", "iso8859-1", "cp1252"))
# Python's name of what a file may declare, and the superset that reads what is called so.
_DECLARABLE = {
    **dict.fromkeys(("gb2312", "gbk", "cp936", "gb18030"), "gb18030"),
    **dict.fromkeys(("big5", "cp950"), "cp950"),
    "big5hkscs": "big5hkscs",
    **dict.fromkeys(("shift_jis", "cp932"), "cp932"),
    **dict.fromkeys(("euc_kr", "cp949"), "cp949"),
    **{name: name for name in ("euc_jp", "koi8-r", "koi8-u", "mac-roman")},
    **{f"cp{number}": f"cp{number}" for number in (1250, 1251, 1253, 1254, 1255, 1256, 1257, 1258)},
    **{f"iso8859-{number}": f"iso8859-{number}" for number in (2, 3, 4, 5, 6, 7, 8, 9, 10, 13, 14, 15, 16)},
}


def decode(data: bytes, *, path: str | Path) -> str:
    r"""The text in `data`; `BadFileError` says what else it looks like.

    >>> decode(b"\xef\xbb\xbfone\r\ntwo\rthree", path="a.txt")
    'one\ntwo\rthree'
    >>> decode("羊驼住在山上，吃草。".encode("gb18030"), path="a.txt")
    '羊驼住在山上，吃草。'
    """
    return decode_reported(data, path=path).text


def decode_reported(data: bytes, *, path: str | Path, declared: str = "") -> Decoded:
    r"""The text in `data` and the encoding that it was in; `declared` is what the file says of itself, if anything.

    >>> decode_reported(b"La for\xeat en \xe9t\xe9", path="a.txt")
    Decoded(text='La forêt en été', encoding='latin-1')
    """
    encoding = detect(data, path=path, declared=declared)
    text = str(memoryview(data)[encoding.mark :], encoding.codec)
    return Decoded(text.replace("\r\n", "\n"), encoding.name)


def lines(data: bytes, *, path: str | Path) -> tuple[str, Iterator[str]]:
    r"""The name of the encoding, and the lines of `data` one after the other, each with its line end.

    Only LF and CRLF end a line. The text is never whole in memory: two megabytes beside `data`, and the longest line.

    >>> name, each = lines(b"one\r\ntwo\rthree", path="a.jsonl")
    >>> name, list(each)
    ('utf-8', ['one\n', 'two\rthree'])
    """
    encoding = detect(data, path=path)
    file = BytesIO(data)  # shares the bytes with `data`
    file.seek(encoding.mark)
    return encoding.name, (_with_plain_end(line) for line in TextIOWrapper(file, encoding=encoding.codec, newline="\n"))


def _with_plain_end(line: str) -> str:
    return line[:-2] + "\n" if line.endswith("\r\n") else line


def detect(data: bytes, *, path: str | Path, declared: str = "") -> Encoding:
    """The encoding in which all of `data` can be read, or `BadFileError`."""
    if not data:
        raise BadFileError(path, "is empty.", hint="There is nothing to read in it.")
    for mark, name, codec in _MARKS:
        if data.startswith(mark):
            encoding = Encoding(name, codec, len(mark))
            offset = _first_fault(data, encoding, path=path)
            if offset is not None:
                reason = f"begins with the byte-order mark of {codec.upper()} and is not valid {codec.upper()}."
                raise BadFileError(path, reason, offset=offset, hint=SAVE_AS_UTF8)
            return encoding
    kind = opening(data)
    if kind:
        raise BadFileError(path, f"looks like {kind}, not like text.", offset=0, hint="Give the file its own suffix, or leave it out.")
    has_nul = b"\x00" in data
    if not has_nul:
        if _first_fault(data, _UTF8, path=path) is None:
            _refuse_controls(data, path=path)
            return _UTF8
        stated = _declared(data, declared, path=path)
        if stated:
            _refuse_controls(data, path=path)
            return stated
    return _least_surprising(data, path=path, has_nul=has_nul)


def opening(data: bytes) -> str:
    r"""What `data` is by its first bytes, where no text begins with them, else nothing.

    >>> opening(b"%PDF-1.7"), opening(b"Once upon a time")
    ('a PDF document', '')
    """
    return next((name for first, name in _OPENINGS if data.startswith(first)), "")


def _first_fault(data: bytes, encoding: Encoding, *, path: str | Path) -> int | None:
    """Where `data` stops being valid, or None; in pieces, so that no second copy of a large file is made."""
    decoder = codecs.getincrementaldecoder(encoding.codec)()
    view = memoryview(data)
    for start in range(encoding.mark, len(data), _CHUNK):
        kept, _ = decoder.getstate()
        try:
            text = decoder.decode(view[start : start + _CHUNK], start + _CHUNK >= len(data))
        except UnicodeDecodeError as error:
            return start - len(kept) + error.start
        if "\x00" in text:
            raise BadFileError(path, "looks like a binary file: it has NUL characters.", hint="Only text is read.")
    return None


def _least_surprising(data: bytes, *, path: str | Path, has_nul: bool) -> Encoding:
    """The candidate whose reading of a sample costs least beside noise."""
    sample, wide = _sample(data), data[: _SAMPLE & ~3]
    costs = [] if has_nul else [(surprise(_try(sample, c.codecs[-1]), home=c.home) + c.rarity - noise(sample), c) for c in _CANDIDATES]
    if len(data) % 2 == 0:
        costs += [(surprise(_try(wide, c.codecs[-1]), home=c.home) + c.rarity - noise(wide), c) for c in _WIDE]
    bits, best = min(costs, key=lambda each: each[0], default=(0.0, _CANDIDATES[0]))
    if has_nul and bits >= 0:
        raise BadFileError(path, "looks like a binary file: it has NUL bytes.", offset=data.find(b"\x00"), hint="Only text is read.")
    if not has_nul and best not in _WIDE:
        _refuse_controls(data, path=path)
    if bits >= 0:
        reason = "is neither UTF-8, UTF-16, GB18030, Big5 nor Latin-1."
        raise BadFileError(path, reason, offset=_first_fault(data, _UTF8, path=path), hint=SAVE_AS_UTF8)
    if best.refused_as:
        reason = f"looks like {best.refused_as}."
        hint = SAVE_AS_UTF8.replace("ENCODING", best.name.upper()) if best.name != _UTF8.name else "Correct or remove them."
        raise BadFileError(path, reason, offset=_first_fault(data, _UTF8, path=path), hint=hint)
    return _whole(data, best, path=path)


def _whole(data: bytes, candidate: _Candidate, *, path: str | Path) -> Encoding:
    """The first of a candidate's codecs that can read all of `data`."""
    offset = 0
    for codec in candidate.codecs:
        encoding = Encoding(candidate.name, codec)
        fault = _first_fault(data, encoding, path=path)
        if fault is None:
            if codec == "cp1252":
                return Encoding("windows-1252", codec) if _BEYOND_LATIN_1.search(data) else Encoding("latin-1", "latin-1")
            return encoding
        offset = max(offset, fault)
    reason = f"looks like {candidate.name.upper()}, but has bytes in it that are not."
    raise BadFileError(path, reason, offset=offset, hint="Correct or remove them.")


def _sample(data: bytes) -> bytes:
    """Up to 64 KB of the lines that have bytes beyond ASCII, each from a little before the first such byte, so at a character."""
    parts: list[bytes] = []
    budget, position = _SAMPLE, 0
    while budget > 0 and (found := _BEYOND_ASCII.search(data, position)):
        high = found.start()
        start = max(data.rfind(b"\n", position, high) + 1, position, high - 64)
        end = data.find(b"\n", high, start + budget) + 1 or min(len(data), start + budget)
        parts.append(data[start:end])
        budget, position = budget - (end - start), end
    return b"".join(parts)


def _try(data: bytes, codec: str) -> str:
    """`data` read with U+FFFD for what is invalid; a character that the sample's end cuts is left out."""
    return codecs.getincrementaldecoder(codec)("replace").decode(data, len(data) < _SAMPLE & ~3)


def _declared(data: bytes, label: str, *, path: str | Path) -> Encoding | None:
    """What a file says of itself, if all of it can be so. Latin-1 is said where nobody looked, so it must look like that, too."""
    try:
        name = codecs.lookup(label.strip()[:40]).name
    except (LookupError, ValueError):
        return None
    if name in _SAID_FOR_LATIN_1:
        sample = _sample(data)
        candidate = _CANDIDATES[2]
        if surprise(_try(sample, "cp1252"), home=candidate.home) >= noise(sample):
            return None
    elif name in _DECLARABLE:
        candidate = next((c for c in _CANDIDATES if _DECLARABLE[name] in c.codecs), _Candidate(name, (_DECLARABLE[name],), ANY_SCRIPT))
    else:
        return None
    try:
        return _whole(data, candidate, path=path)
    except BadFileError:
        return None


def _refuse_controls(data: bytes, *, path: str | Path) -> None:
    num_controls = 0
    for start in range(0, len(data), _CHUNK):
        chunk = data[start : start + _CHUNK]
        num_controls += len(chunk) - len(chunk.translate(None, _CONTROLS))
    if num_controls > MOST_CONTROLS * len(data):
        share = 100 * num_controls / len(data)
        raise BadFileError(path, f"looks like a binary file: {share:.0f} % of it are control characters.", hint="Only text is read.")
