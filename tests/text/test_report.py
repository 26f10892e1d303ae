from __future__ import annotations

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

from llamarium.text.corpus import Side
from llamarium.text.report import MOST_LISTED, BadFile, Copies, Example, Leak, PrepareReport, page

ATTACK = "\"><script>alert(1)</script><img src=https://e.org/x onerror=alert(1)>&'"

REPORT = PrepareReport(
    sources=(ATTACK,),
    documents_in=10,
    documents_out=7,
    characters_in=1000,
    characters_out=700,
    dropped={"blank": 0, "too_short": 1, "duplicate_exact": 2},
    dropped_characters={"blank": 0, "too_short": 3, "duplicate_exact": 200},
    changed={"controls": 3, "whitespace": 0},
    examples={"too_short": (Example(ATTACK, ATTACK),), "duplicate_exact": (Example("b.txt", "羊驼", ATTACK),)},
    bad_files=(BadFile(ATTACK, ATTACK),),
    languages={"zh": 5, ATTACK: 2},
    train=Side(6, 600, 1200),
    valid=Side(1, 100, 200),
    near_copies=2,
    held_back=1,
    leak=0.0,
    leaks=(Leak(ATTACK, ATTACK),),
    lengths={"zh": {"under 100": 3, "100 to 300": 2}, ATTACK: {"under 100": 0, "100 to 300": 2}},
    copies=(Copies(ATTACK, ATTACK, 12),),
    groups={"2": 5, "3": 0, "4 to 9": 31, "10 to 99": 0},
    encodings={"utf-8": 3, ATTACK: 1},
    formats={".txt": 3, ATTACK: 1},
    licences={"": 6, ATTACK: 1},
    seconds=1.5,
)


NOTHING_FROM_FILES: dict[str, Any] = {
    **{"examples": {}, "bad_files": (), "languages": {"en": 6, "zh": 1}, "leaks": (), "copies": ()},
    **{"lengths": {"en": {"under 100": 6}, "zh": {"under 100": 1}}},
    **{"encodings": {"utf-8": 4}, "formats": {".txt": 4}, "licences": {}},
}


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: set[str] = set()
        self.attributes: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.add(tag)
        self.attributes |= {name for name, _ in attrs}
        if tag not in ("meta",):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def tags(text: str) -> Tags:
    found = Tags()
    found.feed(text)
    found.close()
    assert not found.open
    return found


def test_nothing_that_a_file_says_becomes_markup() -> None:
    found = tags(page(REPORT))
    assert not found.seen & {"script", "img", "a", "link", "iframe"}
    of_pictures = {"viewbox", "role", "aria-label", "fill", "fill-opacity", "shape-rendering", "d", "x", "y"}
    assert found.attributes <= {"lang", "charset", "http-equiv", "content", "name", "class", "style", "tabindex"} | of_pictures
    assert page(REPORT).count("&lt;script&gt;") == 16


def test_the_page_asks_nobody() -> None:
    text = page(replace(REPORT, sources=("docs",), **NOTHING_FROM_FILES))
    assert "default-src 'none'" in text
    assert not re.search(r"https?:|//|url\(|@import|src=", text)


def test_the_numbers_are_on_the_page() -> None:
    text = page(REPORT)
    for part in (
        "4 files held 10 documents; 7 of them (70.0 %) are kept.",
        "Of the other 3, 2 repeat another document and 1 is no text to learn from. 1 file could not be read.",
        "<small>to validate</small><strong>200 B</strong><small>1 document</small>",
        "of 1,000",
        "1.2 kB",
        "200 B",
        "fewer than four letters",
        "14.3 %",
        "Leak: 0.0 %",
        "same as",
        "-200",
        "100 to 300",
        "none stated",
        "12",
    ):
        assert part in text, part
    assert "No document was dropped" in page(replace(REPORT, dropped={"blank": 0}))
    assert "Nothing validates" in page(replace(REPORT, valid=Side(0, 0, 0)))


def test_pictures_show_what_is_counted_and_long_tables_are_folded() -> None:
    text = page(replace(REPORT, formats={f".{number}": 1 for number in range(30)}))
    heights = re.findall(r"<div>([0-9,]+)(?:<i style=\"height: ([0-9.]+)rem\"></i>)?<small>([^<]+)</small></div>", text)
    assert heights == [
        *[("5", "1.29", "2"), ("0", "", "3"), ("31", "8.00", "4 to 9")],
        *[("3", "6.00", "under 100"), ("4", "8.00", "100 to 300")],
    ]
    assert text.count("Documents by language and length</text>") == 2, "wide and narrow"
    assert text.count("<svg") == 2
    assert "20 more" in text
    assert "<svg" not in page(replace(REPORT, languages={"zh": 7}))


def test_a_long_list_of_bad_files_is_cut_and_says_so() -> None:
    text = page(replace(REPORT, bad_files=tuple(BadFile(f"{number}.png", "no reader") for number in range(MOST_LISTED + 5))))
    assert text.count("no reader") == MOST_LISTED
    assert "And 5 more in report.json" in text


def test_the_keys_of_the_command_line() -> None:
    value = json.loads(json.dumps(REPORT.as_json()))
    assert list(value) == ["documents_in", "documents_out", "characters_out", "dropped", "bad_files", "languages", "seconds"]
    assert value["bad_files"] == [{"path": ATTACK, "reason": ATTACK}]
    assert "seconds" not in REPORT.details()
