"""Where a text can be cut without tearing what belongs together.

Takes: an extracted text.
Gives: passages of up to 900 characters under their headings, and sentences, as code-point offsets into that text.
Does not know: files, questions, words.

Everything but white space is in exactly one passage, and within a passage in exactly one sentence.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

LARGEST = 900
SMALL = 300  # a passage of fewer characters takes the beginning of a paragraph that does not fit as a whole
LONGEST_SENTENCE = 400
LONGEST_HEADING = 120  # characters of its line
LOWEST = 99  # level of a heading that only looks like one

Span = tuple[int, int]


@dataclass(frozen=True)
class Passage:
    """``text[start:end]`` of a document.

    `body`: where the text below its own headings starts; `heading`: the headings above that text, " / " between.
    """

    start: int
    body: int
    end: int
    heading: str


# Each pattern takes time in proportion to the line: no repeat inside a repeat.
_LINE = re.compile(r"[^\n]*\n|[^\n]+")
_FENCE = re.compile(r" {0,3}(```|~~~)")
_MARKED = re.compile(r" {0,3}(#{1,6})[ \t]+(\S.*)")
_UNDERLINE = re.compile(r" {0,3}([=*~^\"'`#+.:_-])\1{2,}[ \t\r]*$")
_ITEM = re.compile(r"[ \t]*(?:[*+•·-]|[0-9]{1,3}[.)、]|[（(][0-9一二三四五六七八九十]{1,3}[)）]|[|+>]|>>>)(?=[ \t=-]|(?<=、)|(?<=[)）]))")
_NUMBERED_HEADING = re.compile(
    r"(?:[0-9]{1,3}(?:\.[0-9]{1,3})*\.?[ \t]|[一二三四五六七八九十百]{1,4}、|第[0-9一二三四五六七八九十百]{1,5}[章节篇部])\s*\S"
)
_NUMBER_OF_HEADING = re.compile(
    r"([0-9]{1,3}(?:\.[0-9]{1,3})*)\.?[ \t]|[一二三四五六七八九十百]{1,4}(、)|第[0-9一二三四五六七八九十百]{1,5}([章节篇部])"
)
_SENTENCE_INSIDE = re.compile(r"[。！？；]|[a-z]{2}[.!?] ")
_NO_HEADING_END = tuple("。！？；，、：…”」』.!?;,:)>}])=|\"'")
_SIGNATURE = re.compile(r"(?:(?:class|static|classmethod|async|def|function|method) )*[A-Za-z_][\w.]*\([^()]*(?:\([^()]*\)[^()]*)*\):?")
_NEVER_IN_HEADINGS = re.compile(r"[=*/|<>{}]|::")

_END = re.compile(r"[。！？；]+[”’」』）\"')\]]*|(?<![\"'.!?…])[.!?…]+[”’\"')\]]*(?=\s|$)")
_NUMBER = re.compile(r"[0-9]+$")
_ABBREVIATION = re.compile(
    r"(?:^|[^\w.])(?:[A-Za-z]|e\.g|i\.e|cf|vs|etc|al|Dr|Mr|Mrs|Ms|Prof|St|No|Nr|Fig|Eq|Sec|Ch|Vol|pp|approx|resp|Inc|Ltd|Co)$"
)
_BLANK = re.compile(r"\n[ \t\r\f\v]*\n\s*")
_SOFT_BREAKS = ("\n", "，", "、", ", ", "; ", " ")


def passages(text: str) -> list[Passage]:
    """The passages of `text`, in order.

    A heading begins a passage; a paragraph is cut, at sentences, only where it does not fit; what ends in a colon stays
    with what follows.

    >>> text = "Llamas\\n======\\n\\nThey eat grass.\\n\\nSheep\\n=====\\n\\nThey too."
    >>> [(text[p.start:p.end], p.heading) for p in passages(text)]
    [('Llamas\\n======\\n\\nThey eat grass.', 'Llamas'), ('Sheep\\n=====\\n\\nThey too.', 'Sheep')]
    """
    found: list[Passage] = []
    trail: list[tuple[float, str]] = []  # headings above, by level
    held: list[Span] = []
    num_headings = 0  # of those held

    def close() -> None:
        nonlocal num_headings
        if held:
            body = held[num_headings][0] if num_headings < len(held) else held[-1][1]
            found.append(Passage(held[0][0], body, held[-1][1], " / ".join(title for _, title in trail)))
            held.clear()
        num_headings = 0

    for span, level, title in _blocks(text):
        if title:
            if num_headings < len(held) or (held and span[1] - held[0][0] > LARGEST):
                close()
            while trail and trail[-1][0] >= level:
                trail.pop()
            trail.append((level, title))
            held.append(span)
            num_headings += 1
            continue
        for part in _fitting(text, span, held):
            if held and part[1] - held[0][0] > LARGEST:
                lead = num_headings + 1 < len(held) and _leads(text, held[-1]) and part[1] - held[-1][0] <= LARGEST
                moved = [held.pop()] if lead else []
                close()
                held.extend(moved)
            held.append(part)
    close()
    return found


def sentences(text: str, start: int, end: int) -> list[Span]:
    """The sentences of ``text[start:end]``: prose cut at its full stops, every list item and table row by itself.

    >>> text = "Pi is 3.14, i.e. a number. 它不是整数。真的！"
    >>> [text[a:b] for a, b in sentences(text, 0, len(text))]
    ['Pi is 3.14, i.e. a number.', '它不是整数。', '真的！']
    """
    found: list[Span] = []
    for block in _split_at(text, start, end, _BLANK):
        for piece in _items(text, *block):
            for sentence in _prose(text, *piece):
                found.extend(_cut(text, *sentence, LONGEST_SENTENCE))
    return found


def _blocks(text: str) -> Iterator[tuple[Span, float, str]]:
    """Headings, paragraphs and fenced code: span, and for a heading its level (1 is the highest) and its words."""
    spans = [match.span() for match in _LINE.finditer(text)]
    lines = [text[start:end] for start, end in spans]
    ranks: dict[str, int] = {}  # underline characters and ways of numbering in the order they appear, as reStructuredText ranks them
    fence = ""
    first = number = 0  # lines of the paragraph so far: from `first` to before `number`

    def paragraph() -> Iterator[tuple[Span, float, str]]:
        if first < number:
            yield _trim(text, spans[first][0], spans[number - 1][1]), 0, ""

    while number < len(lines):
        mark = _FENCE.match(lines[number])
        if fence:
            if mark and mark[1] == fence:
                fence = ""
                number += 1
                yield from paragraph()
                first = number
            else:
                number += 1
        elif mark:
            yield from paragraph()
            first = number
            fence = mark[1]
            number += 1
        elif not lines[number].strip():
            yield from paragraph()
            number += 1
            first = number
        elif heading := _heading(lines, number, ranks, begins=first == number):
            yield from paragraph()
            num_lines, level, title = heading
            yield _trim(text, spans[number][0], spans[number + num_lines - 1][1]), level, title
            number += num_lines
            first = number
        else:
            number += 1
    yield from paragraph()


def _heading(lines: Sequence[str], number: int, ranks: dict[str, int], *, begins: bool) -> tuple[int, float, str] | None:
    """How many lines the heading at line `number` has, its level and its words. `begins`: nothing stands right above it."""
    line = lines[number]
    if len(line) > LONGEST_HEADING:
        return None
    marked = _MARKED.match(line)
    if marked and not (len(marked[1]) == 1 and number and number + 1 < len(lines) and _is_commented(lines[number + 1])):
        return 1, len(marked[1]), marked[2].strip().rstrip("#").strip()
    if not begins or number + 1 == len(lines):
        return None
    title = " ".join(line.split())
    below = lines[number + 1]
    underline = _UNDERLINE.match(below)
    if underline and len(below) <= LONGEST_HEADING and not _UNDERLINE.match(line):
        return 2, ranks.setdefault(underline[1], len(ranks) + 1), title
    following = next((number for number in range(number + 1, len(lines)) if lines[number].strip()), None)
    if following is None:
        return None
    apart = following > number + 1
    if _SIGNATURE.fullmatch(title):
        # What is defined is told below: further in, or in words right there.
        deeper = _margin(lines[following]) > _margin(line)
        told = not apart and _margin(below) == _margin(line) and below.strip()[0].isupper() and not _SIGNATURE.fullmatch(below.strip())
        return (1, LOWEST, title) if (apart and deeper) or told else None
    return (1, _level(title, ranks), title) if apart and _looks_like_heading(title) else None


def _is_commented(line: str) -> bool:
    """Whether a line may be what a remark right above it is about: headings have a blank line below, or another heading."""
    return bool(line.strip()) and not _MARKED.match(line)


def _level(title: str, ranks: dict[str, int]) -> float:
    """By its number: 6.1.2 is below 6.1, and what has no number below all that have."""
    numbered = _NUMBER_OF_HEADING.match(title)
    if numbered is None:
        return LOWEST
    way = numbered[2] or numbered[3] or "1"
    return ranks.setdefault(way, len(ranks) + 1) + 0.1 * (numbered[1] or "").count(".")


def _looks_like_heading(title: str) -> bool:
    """A short line that does not end like a sentence, which is all that Markdown's reader leaves of a heading."""
    if not title[0].isalnum() or title.endswith(_NO_HEADING_END) or _NEVER_IN_HEADINGS.search(title) or _SENTENCE_INSIDE.search(title):
        return False
    return not _ITEM.match(title) or bool(_NUMBERED_HEADING.match(title))


def _margin(line: str) -> int:
    return len(line) - len(line.lstrip(" \t"))


def _fitting(text: str, span: Span, held: list[Span]) -> list[Span]:
    """`span`, or its sentences where it does not fit into a passage, or what is held is too small to stand alone."""
    size = span[1] - (held[0][0] if held else span[0])
    if size <= LARGEST or (span[1] - span[0] <= LARGEST and (not held or held[-1][1] - held[0][0] >= SMALL)):
        return [span]
    return sentences(text, *span)


def _leads(text: str, span: Span) -> bool:
    return text[span[1] - 1] in ":："


def _items(text: str, start: int, end: int) -> Iterator[Span]:
    """Cut before every line that begins a list item or a table row, and where a line is indented more than the one above."""
    first = start
    previous = _indentation(text, start)
    for match in _LINE.finditer(text, start, end):
        line_start = match.start()
        if line_start == start:
            item = _ITEM.match(text, line_start, end)
            previous += len(item[0]) + 4 if item else 0
            continue
        indentation = _margin(match[0])
        item = _ITEM.match(text, line_start, end)
        opened = text[line_start - 2] in ":,([{"  # code, or a sentence that goes on
        if item or (indentation > previous + 1 and not opened):
            yield from _nonempty(text, first, line_start)
            first = line_start
        previous = indentation + (len(item[0].lstrip()) + 4 if item else 0)
    yield from _nonempty(text, first, end)


def _prose(text: str, start: int, end: int) -> Iterator[Span]:
    first = start
    for match in _END.finditer(text, start, end):
        if match[0][0] in ".!?…":
            following = text[match.end() : match.end() + 80].lstrip()[:1]
            before = text[max(first, match.start() - 12) : match.start()]
            is_item_number = len(before) == match.start() - first and _NUMBER.fullmatch(before)
            if following.islower() or is_item_number or (match[0][0] == "." and _ABBREVIATION.search(before)):
                continue
        yield from _nonempty(text, first, match.end())
        first = match.end()
    yield from _nonempty(text, first, end)


def _cut(text: str, start: int, end: int, longest: int) -> Iterator[Span]:
    """Pieces of at most `longest`, cut at the last line end, comma or space there is, or hard where there is none."""
    while end - start > longest:
        places = (text.rfind(mark, start + longest // 2, start + longest) + len(mark) for mark in _SOFT_BREAKS)
        place = next((place for place in places if place >= start + longest // 2), start + longest)
        yield from _nonempty(text, start, place)
        start = _trim(text, place, end)[0]
    yield from _nonempty(text, start, end)


def _split_at(text: str, start: int, end: int, separator: re.Pattern[str]) -> Iterator[Span]:
    for match in separator.finditer(text, start, end):
        yield from _nonempty(text, start, match.start())
        start = match.end()
    yield from _nonempty(text, start, end)


def _nonempty(text: str, start: int, end: int) -> Iterator[Span]:
    start, end = _trim(text, start, end)
    if start < end:
        yield start, end


def _trim(text: str, start: int, end: int) -> Span:
    """Without white space at either end."""
    while start < end and text[start].isspace():
        start += 1
    while end > start and text[end - 1].isspace():
        end -= 1
    return start, end


def _indentation(text: str, place: int) -> int:
    """Columns before `place` on its line, where they are white space."""
    line = text.rfind("\n", 0, place) + 1
    return place - line if not text[line:place].strip() else 0
