from __future__ import annotations

import time
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llamarium.text.clean import CHANGES, CLEANERS, REASONS, clean, controls, too_short, unicode_form, whitespace

ODD = st.sampled_from(
    "ab羊e\u0301\u0316\u0915\u094d"
    "👩🌾🏴\u200d\u200c\ufe0f\U000e0067\U000e007f"
    "\u00a0\u3000 \t\n\r\x0b\x85\u2028"
    "\x00\x1f\x7f\u200b\ufeff\u202e"
)


@settings(deadline=None)
@given(st.text(ODD | st.characters(exclude_categories=["Cs"])))
def test_cleaning_twice_is_cleaning_once(text: str) -> None:
    once = clean(text)
    if once.text is not None:
        assert clean(once.text).text == once.text
        assert clean(once.text).changed == ()


@settings(deadline=None)
@given(st.text(ODD | st.characters(exclude_categories=["Cs"])))
def test_what_is_left_is_plain(text: str) -> None:
    cleaned = clean(text).text
    if cleaned is not None:
        assert unicodedata.is_normalized("NFC", cleaned)
        assert not any(unicodedata.category(c) == "Cc" and c not in "\n\t" for c in cleaned)
        assert not any(c in cleaned for c in "\u200b\ufeff\u2060\u00ad\u202e\u00a0\r")
        assert "\n\n\n" not in cleaned
        assert all(line == line.rstrip(" \t\u3000") for line in cleaned.split("\n"))


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("👨\u200d👩\u200d👧 and 🏳️\u200d🌈", "👨\u200d👩\u200d👧 and 🏳️\u200d🌈"),  # joiners inside emoji stay
        (
            "🏴\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f",
            "🏴\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f",
        ),
        ("hid\U000e0068\U000e0069den", "hidden"),  # text hidden in tags goes
        ("ligature\u200d", "ligature"),
        (
            "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645",
            "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645",
        ),  # Persian needs its non-joiner
        ("羊\u200d驼", "羊驼"),
        ("a\u202eb\u202cc", "abc"),
        ("one\u2028two\x0bthree\r\nfour\rfive", "one\ntwo\nthree\nfour\nfive"),
        ("tab\tstays\nhere", "tab\tstays\nhere"),
    ],
)
def test_controls(text: str, cleaned: str) -> None:
    assert controls(text) == cleaned


def test_whitespace_keeps_indentation() -> None:
    assert whitespace("def f():\n    pass   \n\n\n\n    end\n\n") == "def f():\n    pass\n\n    end"
    assert whitespace("　　床前明月光，\n　　疑是地上霜。　") == "　　床前明月光，\n　　疑是地上霜。"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "blank"),
        (" \u3000\n\t", "blank"),
        ("\u200b\ufeff", "blank"),
        ("。", "too_short"),
        ("OK!", "too_short"),
        ("— — 12 — —", "too_short"),
    ],
)
def test_what_is_dropped_and_why(text: str, reason: str) -> None:
    assert clean(text).text is None
    assert clean(text).reason == reason


def test_long_runs_take_time_in_proportion() -> None:
    # The first two took minutes with the obvious way to write it.
    for text in ("a" + "\u0316\u0301" * 100_000, "x" + " " * 500_000 + "x", "\u200b" * 300_000, "-" * 500_000, "🌾\u200d" * 100_000):
        start = time.process_time()
        clean(text)
        assert time.process_time() - start < 3


def test_a_pile_of_marks_is_cut_to_thirty() -> None:
    assert unicode_form("q" + "\u0316" * 100) == "q" + "\u0316" * 30


def test_every_reason_is_explained_to_the_reader() -> None:
    assert {cleaner.reason for cleaner in CLEANERS} == set(REASONS) | set(CHANGES)
    assert all(REASONS.values())
    assert all(CHANGES.values())
    assert too_short("12345") == "12345"
