r"""Markdown: the words without the marks.

Takes: bytes of a .md file.
Gives: its text. Kept: headings' words, list markers, table rows, code as it stands, the words of links and images.
Taken away: heading marks and underlines, fences, emphasis, link targets, quote marks, rules, tags, comments, escapes.
Does not know: the whole of CommonMark; a line is looked at by itself, and what is not clearly markup stays.

>>> strip("# The *llama*\n\nEats [grass](https://example.org 'why') and `**hay**`.")
'The llama\n\nEats grass and **hay**.'
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from pathlib import Path

from llamarium.text.decode import decode_reported
from llamarium.text.document import Piece

SUFFIXES = (".md", ".markdown")

# Every pattern takes time in proportion to the line: no repeat inside a repeat, and each start stops at the next mark.
_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})")
_HEADING = re.compile(r" {0,3}#{1,6}(?:[ \t]+|$)")
_HEADING_END = re.compile(r"(?<![ \t#])[ \t]+#+[ \t]*$")
_UNDERLINE = re.compile(r" {0,3}(?:=+|-+)[ \t]*$")
_RULE = re.compile(r" {0,3}([-*_])(?:[ \t]*\1){2,}[ \t]*$")
_TABLE_RULE = "|:- \t"
_DEFINITION = re.compile(r" {0,3}\[(?!\^)[^\[\]]+\]:[ \t]*\S")
_QUOTE = re.compile(r"(?: {0,3}> ?)+")
_ITEM = re.compile(r"[ \t]*(?:[*+-]|[0-9]{1,9}[.)])[ \t]+(?:\[[ xX]\] )?")
_BACKTICKS = re.compile(r"`+")
_HELD = re.compile("\x00([0-9]+)\x00")
_TARGET = r"\([^()\s]*(?:\([^()\s]*\)[^()\s]*)?(?:[ \t]+(?:\"[^\"]*\"|'[^']*'))?\)"
_IMAGE = re.compile(r"!\[([^\[\]]*)\](?:" + _TARGET + r"|\[[^\[\]]*\])")
_LINK = re.compile(r"(?<!\\)\[([^\[\]]*)\](?:" + _TARGET + r"|\[[^\[\]]*\])")
_AUTOLINK = re.compile(r"<([a-zA-Z][a-zA-Z0-9+.-]{1,30}:[^<>\s]*|[^<>\s@]+@[^<>\s@]+)>")
_TAG = re.compile(r"</?[a-zA-Z](?:[^<>\"']|\"[^\"<]*\"|'[^'<]*')*+>")
_EMPHASIS = (
    re.compile(r"(?<![\\*])\*\*\*(?=[^\s*])([^*]+)(?<=[^\s\\])\*\*\*(?!\*)"),
    re.compile(r"(?<![\\*])\*(?=[^\s*])([^*]+)(?<=[^\s\\])\*(?!\*)"),
    re.compile(r"(?<![\\*])\*\*(?=[^\s*])([^*]+)(?<=[^\s\\])\*\*(?!\*)"),
    re.compile(r"(?<![\\*])\*(?=[^\s*])([^*]+)(?<=[^\s\\])\*(?!\*)"),
    re.compile(r"(?<![\\\w])__(?=[^\s_])([^_]+)(?<=[^\s\\])__(?!\w)"),
    re.compile(r"(?<![\\\w])_(?=[^\s_])([^_]+)(?<=[^\s\\])_(?!\w)"),
    re.compile(r"(?<![\\~])~~(?=[^\s~])([^~]+)(?<=[^\s\\])~~(?!~)"),
)
_ESCAPE = re.compile(r"\\([!-/:-@\[-`{-~])")
_ENTITY = re.compile(r"&(?:#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6}|[a-zA-Z][a-zA-Z0-9]{1,31});")


def read(data: bytes, *, path: str | Path) -> Iterator[Piece]:
    """The whole text as one piece."""
    decoded = decode_reported(data, path=path)
    yield Piece(strip(decoded.text), encoding=decoded.encoding)


def strip(text: str) -> str:
    """The words of a Markdown text; lines of nothing but marks are taken away with their line end."""
    lines: list[str] = []
    fence = ""
    in_comment = in_list = False
    for line in text.split("\n"):
        if not in_comment:
            mark = _FENCE.match(line)
            if fence:
                if mark and mark[1].startswith(fence) and not line[mark.end() :].strip():
                    fence = ""
                else:
                    lines.append(line)
                continue
            if mark and (mark[1][0] == "~" or "`" not in line[mark.end() :]):
                fence = mark[1]
                continue
            indented = line.startswith(("    ", "\t"))
            if line.strip() and not indented:
                in_list = bool(_ITEM.match(line))
            if indented and not in_list:
                lines.append(line)  # code
                continue
        line, in_comment, had_comment = _without_comments(line, in_comment)
        if had_comment and not line.strip():
            continue
        words = _line(line, below=lines[-1] if lines else "")
        if words is not None:
            lines.append(words)
    return "\n".join(lines)


def _line(line: str, *, below: str) -> str | None:
    """One line without its marks, or None where it was nothing else. `below`: the words of the line that it is below."""
    quote = _QUOTE.match(line)
    line = line[quote.end() :] if quote else line
    is_table_rule = "|" in line and "-" in line and not line.strip(_TABLE_RULE)
    if is_table_rule or _RULE.match(line) or _DEFINITION.match(line) or (below.strip() and _UNDERLINE.match(line)):
        return None
    heading = _HEADING.match(line)
    if heading:
        return _inline(_HEADING_END.sub("", line[heading.end() :]).rstrip())
    item = _ITEM.match(line)
    start = item.end() if item else 0
    return line[:start] + _inline(line[start:])


def _inline(words: str) -> str:
    """Words without marks; what stands in backticks waits outside meanwhile, each span held by a numbered NUL pair."""
    if "`" not in words:
        return _unmarked(words)
    codes: list[str] = []
    around: list[str] = []
    position = 0
    for start, code_start, code_end, end in _code_spans(words):
        around += [words[position:start], f"\x00{len(codes)}\x00"]
        code = words[code_start:code_end]
        codes.append(code.strip(" ") or code)
        position = end
    held = "".join([*around, words[position:]])
    return _HELD.sub(lambda number: codes[int(number[1])], _unmarked(held))


def _code_spans(words: str) -> Iterator[tuple[int, int, int, int]]:
    """Where each span of code starts, its inside starts and ends, and it ends: between two runs of as many backticks."""
    runs = [run.span() for run in _BACKTICKS.finditer(words)]
    closing: dict[int, int] = {}
    partners: list[int | None] = [None] * len(runs)
    for number in range(len(runs) - 1, -1, -1):
        length = runs[number][1] - runs[number][0]
        partners[number] = closing.get(length)
        closing[length] = number
    number = 0
    while number < len(runs):
        (start, inside), partner = runs[number], partners[number]
        if partner is None or words[start - 1 : start] == "\\":
            number += 1
        else:
            yield start, inside, *runs[partner]
            number = partner + 1


def _unmarked(words: str) -> str:
    if words.isalnum():
        return words
    words = _LINK.sub(r"\1", _IMAGE.sub(r"\1", words))
    words = _TAG.sub("", _AUTOLINK.sub(r"\1", words))
    for mark in _EMPHASIS:
        words = mark.sub(r"\1", words)
    return _ESCAPE.sub(r"\1", _ENTITY.sub(lambda entity: html.unescape(entity[0]), words))


def _without_comments(line: str, in_comment: bool) -> tuple[str, bool, bool]:
    """The line without ``<!-- -->``, whether a comment goes on after it, and whether there was one."""
    if not in_comment and "<!--" not in line:
        return line, False, False
    kept: list[str] = []
    position = 0
    while True:
        if in_comment:
            end = line.find("-->", position)
            if end < 0:
                return "".join(kept), True, True
            position, in_comment = end + 3, False
        start = line.find("<!--", position)
        if start < 0:
            kept.append(line[position:])
            return "".join(kept), False, True
        kept.append(line[position:start])
        position, in_comment = start + 4, True
