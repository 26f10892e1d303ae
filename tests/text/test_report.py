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
    lengths={"under 100": 3, "100 to 300": 4},
    copies=(Copies(ATTACK, ATTACK, 12),),
    encodings={"utf-8": 3, ATTACK: 1},
    formats={".txt": 3, ATTACK: 1},
    licences={"": 6, ATTACK: 1},
    seconds=1.5,
)


NOTHING_FROM_FILES: dict[str, Any] = {
    **{"examples": {}, "bad_files": (), "languages": {"en": 7}, "leaks": (), "copies": ()},
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
    assert found.attributes <= {"lang", "charset", "http-equiv", "content", "name", "class", "style", "tabindex"}
    assert page(REPORT).count("&lt;script&gt;") == 14


def test_the_page_asks_nobody() -> None:
    text = page(replace(REPORT, sources=("docs",), **NOTHING_FROM_FILES))
    assert "default-src 'none'" in text
    assert not re.search(r"https?:|//|url\(|@import|src=", text)


def test_the_numbers_are_on_the_page() -> None:
    text = page(REPORT)
    for part in (
        "7 of 10 documents",
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


def test_a_long_list_of_bad_files_is_cut_and_says_so() -> None:
    text = page(replace(REPORT, bad_files=tuple(BadFile(f"{number}.png", "no reader") for number in range(MOST_LISTED + 5))))
    assert text.count("no reader") == MOST_LISTED
    assert "And 5 more in report.json" in text


def test_the_keys_of_the_command_line() -> None:
    value = json.loads(json.dumps(REPORT.as_json()))
    assert list(value) == ["documents_in", "documents_out", "characters_out", "dropped", "bad_files", "languages", "seconds"]
    assert value["bad_files"] == [{"path": ATTACK, "reason": ATTACK}]
    assert "seconds" not in REPORT.details()
