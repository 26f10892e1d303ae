from __future__ import annotations

import doctest
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llamarium.apps.ask import patterns as module
from llamarium.apps.ask.index import Index, build_in_memory
from llamarium.apps.ask.patterns import Pattern, read_patterns
from llamarium.ground.errors import BadFileError, NotFoundError
from llamarium.text.document import read

RULES = """
patterns:
  - pattern: what does code {code} mean
    document: manual.md
  - pattern: ["how much is {thing}", "{thing}多少钱"]
    document: prices.md
    find: "{thing} price"
  - pattern: who made it
    document: manual.md
    find: maker
"""


@pytest.fixture
def index(tmp_path: Path) -> Iterator[Index]:
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "manual.md").write_text("# Codes\n\nE1 means no water. E4 means a full tank. The maker is Rill.\n")
    (docs / "prices.md").write_text("# Price list\n\nA kettle is 9 crowns. A bowl is 4 crowns. 茶壶是九元。\n", encoding="utf-8")
    with build_in_memory([docs]) as opened:
        yield opened


def write(tmp_path: Path, text: str) -> Path:
    (tmp_path / "rules.yaml").write_text(text, encoding="utf-8")
    return tmp_path / "rules.yaml"


def test_examples() -> None:
    result = doctest.testmod(module)
    assert (result.failed, result.attempted) == (0, 1)


@pytest.mark.parametrize(
    ("question", "quote"),
    [
        ("What does code E4 mean?", "E4 means a full tank."),
        ("WHAT does  code Ｅ１ mean", "E1 means no water."),
        ("How much is a kettle?", "A kettle is 9 crowns."),
        ("茶壺多少錢？", "茶壶是九元。"),
        ("Who made it?", "The maker is Rill."),
        ("What does code E9 mean?", None),  # the document does not have it
        ("What does code mean?", None),
        ("And what does code E4 mean?", None),
        ("", None),
    ],
)
def test_a_rule_leads_to_a_sentence(question: str, quote: str | None, index: Index, tmp_path: Path) -> None:
    answer = read_patterns(write(tmp_path, RULES), index).answer(question)
    assert (answer and answer.answer) == quote
    if answer is not None:
        [citation] = answer.citations
        assert read(tmp_path / "docs" / citation.document).text[citation.start : citation.end] == citation.quote == quote


@given(st.lists(st.text("abc 你", min_size=1, max_size=6).map(str.strip), min_size=3, max_size=3), st.text("xyz", min_size=1, max_size=5))
def test_what_is_put_into_slots_comes_out(words: list[str], value: str) -> None:
    """Against the plain definition: pieces around the slots."""
    first, middle, last = (" ".join(word.split()) or "a" for word in words)
    text = f"{first} {{one}} {middle} {{two}} {last}"
    found = Pattern.parse(text).match(f"{first} {value} {middle} {value} {last}".strip())
    assert found == {"one": value, "two": value}


@given(st.text(max_size=40), st.text(max_size=60))
def test_any_pattern_is_refused_or_matches_something_or_nothing(pattern: str, question: str) -> None:
    try:
        parsed = Pattern.parse(pattern)
    except ValueError:
        return
    found = parsed.match(question)
    assert found is None or (set(found) == set(parsed.slots) and all(found.values()))


def test_no_pattern_takes_long() -> None:
    pattern = Pattern.parse("".join(f"{{s{number}}}a" for number in range(7)) + "c{s7}b")
    begin = time.perf_counter()
    for _ in range(100):
        assert pattern.match("a" * 499 + "b") is None
    assert time.perf_counter() - begin < 1
    assert pattern.match("xa" * 7 + "cxb") is not None
    assert pattern.match("xa" * 7 + "cb") is None  # a slot is not empty
    assert Pattern.parse("{a}x{b}").match("ax" * 300) is None  # longer than questions are


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "empty"),
        ("patterns: []", "at least 1"),
        ("patterns: [{pattern: a, document: nowhere.md}]", "nowhere.md, which is not among"),
        ("patterns: [{pattern: a}]", "document"),
        ("patterns: [{pattern: a, document: manual.md, regex: b}]", "unknown key"),
        ("patterns: [{pattern: '{a}{b}', document: manual.md}]", "between two slots"),
        ("patterns: [{pattern: '{a}', document: manual.md}]", "between two slots"),
        ("patterns: [{pattern: 'x {a', document: manual.md}]", "a slot is a word in braces"),
        ("patterns: [{pattern: '{a} x {a}', document: manual.md}]", "of its own name"),
        (f"patterns: [{{pattern: {'x' * 201}, document: manual.md}}]", "1 to 200"),
        ("patterns: {", "not valid YAML"),
        ("a: &a [x, x]\nb: &b [*a, *a]\npatterns: [*b, *b]", "patterns"),
    ],
)
def test_what_is_no_file_of_patterns(text: str, reason: str, index: Index, tmp_path: Path) -> None:
    with pytest.raises(BadFileError, match=reason) as caught:
        read_patterns(write(tmp_path, text), index)
    assert caught.value.hint
    assert "recipe" not in caught.value.hint


def test_no_file(index: Index, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        read_patterns(tmp_path / "nowhere.yaml", index)
