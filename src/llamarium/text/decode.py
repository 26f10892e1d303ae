"""Bytes to text, or a sentence that says what the bytes look like instead.

Takes: the bytes of a file.
Gives: text without byte-order mark and with CRLF turned to LF; nothing is replaced or guessed silently.
Does not know: markup. Reads UTF-8, UTF-16 and UTF-32 with a byte-order mark, and GB18030 (so also GBK and GB2312)
where the result looks like Chinese; refuses everything else.
"""

from __future__ import annotations

import codecs
import re
from pathlib import Path

from llamarium.ground.errors import BadFileError

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
    (b"GGUF\x03\x00", "a GGUF model"),
    (b"OggS\x00", "an Ogg sound file"),
    (b"fLaC\x00", "a FLAC sound file"),
)
# UTF-32 first: its little-endian mark begins with that of UTF-16.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
# Tab, line ends, form feed and escape (coloured logs) are at home in text.
_CONTROLS = bytes({*range(1, 32), 127} - set(b"\t\n\v\f\r\x1b"))
MOST_CONTROLS = 0.02
SAVE_AS_UTF8 = "Save it as UTF-8, for example: iconv -f ENCODING -t UTF-8 FILE > NEW"

_HAN = re.compile("[\u3400-\u4dbf\u4e00-\u9fff]")
_NOT_ASCII = re.compile("[^\x00-\x7f]")
_CHINESE = re.compile("[\u2010-\u2027\u3000-\u303f\u3400-\u4dbf\u4e00-\u9fff\uff00-\uffef\u00b7\u00d7]")
# The most frequent characters of modern, traditional and classical Chinese.
_FREQUENT = re.compile(
    "[的一是不了在人有我他这個个们們中来來上大为為和国國地到以说說时時要就出会會可也你对對生能而子那得于於着著下自之年过過发發后後作里用道行所然家种種事成方多"
    "经經么麼去法学學如都同现現当當没沒动動面起看定天分还還进進好小部其些主样樣理心她本前开開但因只从從想实實日月山水风風花春云雲无無何此者與与相見见长長何夜秋白知]"
)


def decode(data: bytes, *, path: str | Path) -> str:
    r"""The text in `data`; `BadFileError` says what else it looks like.

    >>> decode(b"\xef\xbb\xbfone\r\ntwo\rthree", path="a.txt")
    'one\ntwo\rthree'
    >>> decode("羊驼住在山上，吃草。".encode("gb18030"), path="a.txt")
    '羊驼住在山上，吃草。'
    """
    if not data:
        raise BadFileError(path, "is empty.", hint="There is nothing to read in it.")
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            text = _strict(data[len(mark) :], encoding, path=path)
            break
    else:
        _refuse_binary(data, path=path)
        text = _unmarked(data, path=path)
    if "\x00" in text:
        raise BadFileError(path, "looks like a binary file: it has NUL characters.", hint="Only text is read.")
    return text.replace("\r\n", "\n")


def _strict(data: bytes, encoding: str, *, path: str | Path) -> str:
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        reason = f"begins with the byte-order mark of {encoding.upper()} and is not valid {encoding.upper()}."
        raise BadFileError(path, reason, offset=error.start, hint=SAVE_AS_UTF8) from None


def _refuse_binary(data: bytes, *, path: str | Path) -> None:
    for opening, name in _OPENINGS:
        if data.startswith(opening):
            raise BadFileError(path, f"looks like {name}, not like text.", offset=0, hint="Give the file its own suffix, or leave it out.")
    nul = data.find(b"\x00")
    if nul >= 0:
        sample = data[:4096]
        if max(sample[0::2].count(0), sample[1::2].count(0)) > 0.4 * len(sample) / 2:
            raise BadFileError(path, "looks like UTF-16 without a byte-order mark.", offset=nul, hint=SAVE_AS_UTF8)
        raise BadFileError(path, "looks like a binary file: it has NUL bytes.", offset=nul, hint="Only text is read.")
    num_controls = len(data) - len(data.translate(None, _CONTROLS))
    if num_controls > MOST_CONTROLS * len(data):
        share = 100 * num_controls / len(data)
        raise BadFileError(path, f"looks like a binary file: {share:.0f} % of it are control characters.", hint="Only text is read.")


def _unmarked(data: bytes, *, path: str | Path) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        try:
            text = data.decode("gb18030")
        except UnicodeDecodeError:
            text = ""
        if looks_chinese(text):
            return text
        reason = "is neither UTF-8, nor UTF-16 with a byte-order mark, nor Chinese GB18030."
        raise BadFileError(path, reason, offset=error.start, hint=SAVE_AS_UTF8) from None


def looks_chinese(text: str) -> bool:
    """Whether text decoded as GB18030 is likely meant: that encoding accepts much that is not Chinese.

    Of the characters beyond ASCII 95 % must be Chinese characters or punctuation; 30 % of the Chinese characters must be in
    GB2312's first level (3,755 in daily use), which accented letters of Western encodings never reach; and of 20 or more,
    8 % must be among some 150 most frequent, which Korean bytes read as Chinese are not. The first 100,000 count.

    >>> looks_chinese("你好"), looks_chinese("fran鏰is")
    (True, False)
    """
    sample = text[:100_000]
    han = _HAN.findall(sample)
    num_foreign = len(_NOT_ASCII.findall(sample)) - len(_CHINESE.findall(sample))
    if not han or num_foreign > 0.05 * (num_foreign + len(han)):
        return False
    if sum(map(_in_first_level, han)) < 0.3 * len(han):
        return False
    return len(han) < 20 or len(_FREQUENT.findall(sample)) >= 0.08 * len(han)


def _in_first_level(character: str) -> bool:
    code = character.encode("gb18030")
    return len(code) == 2 and 0xB0 <= code[0] <= 0xD7 and code[1] >= 0xA1
