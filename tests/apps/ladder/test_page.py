from __future__ import annotations

import copy
import html.parser
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llamarium.apps.ladder.climb import Ladder
from llamarium.apps.ladder.page import lines, passed, render, table_rows, verdicts, write_report

Tiny = Callable[..., Ladder]


def rung(key: str, bits: float, *, curve: list[list[float]] | None = None, seed: int = 1, sample: str = "The llama") -> dict[str, Any]:
    return {
        "key": key if seed == 1 else f"{key}-seed-{seed}",
        "rung": key,
        "name": key.upper(),
        "adds": f"what {key} adds",
        "family": "gpt",
        "seed": seed,
        "parameters": 1_000_000,
        "seconds": 60.0,
        "tokens": 600_000,
        "bits_per_byte": bits,
        "curve": curve or [],
        "sample": sample,
    }


def results() -> dict[str, Any]:
    """A finished ladder as `climb` writes it; its last network goes past everything but the catalogue's model."""
    return {
        "settings": {"size": "1M", "vocab_size": 2048, "tokens": None},
        "machine": {"threads": 2},
        "pieces": 2048,
        "validation": {"documents": 76, "bytes": 236_067},
        "seconds_a_rung": 60.0,
        "references": [
            {"key": "gzip", "name": "gzip", "bits_per_byte": 2.4, "seconds": 0.2},
            {"key": "xz", "name": "xz", "bits_per_byte": 1.6, "seconds": 1.6},
        ],
        "rungs": [
            rung("bigram", 2.1),
            rung("5-gram", 1.8),
            rung("gpt", 2.0, curve=[[10, 3.0], [60, 2.0]]),
            rung("gpt", 2.3, curve=[[10, 3.1], [60, 2.3]], seed=2),
            rung("llama", 1.5, curve=[[10, 2.5], [60, 1.5]]),
        ],
        "catalogue": {
            "name": "smollm2",
            "parameters": 134_515_008,
            "before": 0.8,
            "after": 0.7,
            "seconds": 60.0,
            "tokens": 30_000,
            "sample_before": "As it is",
            "sample_after": "As it was read",
        },
        "catalogue_missing": "",
        "done": True,
    }


def pictures(page: str) -> list[str]:
    return re.findall(r"<svg.*?</svg>", page, re.DOTALL)


def test_rows_go_from_the_worst_to_the_best() -> None:
    rows = table_rows(results())
    assert [row["name"] for row in rows] == ["gzip", "GPT", "BIGRAM", "5-GRAM", "xz", "LLAMA", "smollm2", "smollm2, after reading"]
    assert [row["kind"] for row in rows] == ["compressor", "network", "counts", "counts", "compressor", "network", "catalogue", "catalogue"]


def test_several_seeds_are_a_mean_and_a_spread() -> None:
    (row,) = (row for row in table_rows(results()) if row["key"] == "gpt")
    assert row["bits"] == pytest.approx(2.15)
    assert row["spread"] == (2.0, 2.3)
    assert any(line.endswith("(2.0000 … 2.3000)") and "2.1500" in line for line in lines(results()))
    assert "2.1500 (2.0000 … 2.3000)" in render(results())


def test_the_table_says_it_all() -> None:
    found = lines(results())
    assert len([line for line in found if "█" in line]) == 8
    assert "134.5M" in next(line for line in found if "after reading" in line)
    assert "1 min 0 s" in next(line for line in found if "LLAMA" in line)


def test_when_it_went_past_what_counts_and_what_compresses() -> None:
    (sentence,) = verdicts(results())
    assert sentence == ("LLAMA, the best network, went past gzip after 15 s, BIGRAM after 30 s, 5-GRAM after 45 s, xz after 55 s.")
    (picture, *_) = pictures(render(results()))
    assert "▾ LLAMA passes xz" in picture
    assert "▾ LLAMA passes 5-GRAM" in picture
    assert "passes gzip" not in picture


def test_that_it_did_not_is_said() -> None:
    short = results()
    short["rungs"][-1] = rung("llama", 1.9, curve=[[10, 2.5], [60, 1.9]])
    assert verdicts(short) == [
        "LLAMA, the best network, went past gzip after 18 s, BIGRAM after 43 s.",
        "LLAMA, the best network, has not gone past 5-GRAM (1.8000), xz (1.6000) in this time.",
    ]
    assert "▾" not in render(short)


def test_what_was_better_before_the_end_has_learned_by_heart() -> None:
    turned = results()
    turned["rungs"][2] = rung("gpt", 2.0, curve=[[10, 3.0], [40, 1.99], [60, 2.0]])
    turned["rungs"][-1] = rung("llama", 1.5, curve=[[10, 2.5], [50, 1.496], [60, 1.5]])
    assert verdicts(turned)[-1] == (
        "Better before the end than at it: GPT (1.9900 after 40 s). They learn this text by heart: it is small for so much time."
    )


def test_pictures_have_levels_curves_and_the_other_seeds() -> None:
    over_time, narrow, over_size, _ = pictures(render(results()))
    for name in ("2.400  gzip", "1.600  xz", "2.100  BIGRAM", "1.800  5-GRAM", "0.800  smollm2", "0.700  smollm2, after reading"):
        assert name in over_time
    assert "2.150  GPT" in over_time
    assert "2.300  GPT, seed 2" in over_time
    assert "seed 2" not in over_size
    for name in ("2.400  gzip", "1.600  xz", "2.100  BIGRAM", "2.150  GPT", "1.500  LLAMA", "0.700  smollm2, after reading"):
        assert name in over_size
    assert "Bits per byte over time" in narrow


def test_a_rung_has_one_colour() -> None:
    def colour(picture: str, name: str) -> str:
        found = re.search(rf'style="[^"]*(--line-\d)[^"]*"[^>]*>{re.escape(name)}<', picture)
        assert found is not None, name
        return found[1]

    over_time, _, over_size, _ = pictures(render(results()))
    for name in ("2.150  GPT", "1.500  LLAMA"):
        assert colour(over_time, name) == colour(over_size, name)


class Looks(html.parser.HTMLParser):
    """Reads a page as a browser would and notes what it asks for."""

    VOID = ("meta", "br", "link", "img", "use", "path")

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.asked: list[str] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.asked += [value or "" for name, value in attrs if name in ("src", "href", "srcset") and not (value or "").startswith("#")]

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page_carries_everything() -> None:
    seen = Looks(render(results()))
    assert seen.asked == []
    assert not {"script", "link", "img", "iframe"} & set(seen.tags)
    assert "url(http" not in render(results())


def test_samples_are_text() -> None:
    hostile = results()
    hostile["rungs"][-1]["sample"] = "<script>alert(1)</script>\x00\ud800"
    page = render(hostile)
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    page.encode("utf-8")
    samples = re.findall(r"<summary>(.*?)</summary>", page)
    assert samples == ["BIGRAM", "5-GRAM", "GPT", "LLAMA", "smollm2, as it is", "smollm2, after reading"]


def test_what_is_missing_is_said() -> None:
    without = results() | {"catalogue": None, "catalogue_missing": "The model x is not on this machine. llamarium pull x"}
    assert "llamarium pull x" in render(without)
    assert lines(without)[-1] == without["catalogue_missing"]
    assert "smollm2" not in render(without)


def test_a_ladder_that_was_interrupted() -> None:
    for count in range(6):
        part = copy.deepcopy(results()) | {"done": False, "catalogue": {"name": "smollm2", "parameters": 1}}
        part["rungs"] = part["rungs"][:count]
        assert "--resume goes on with it" in render(part)
        assert "--resume" in lines(part)[-1]


def test_tokens_instead_of_minutes() -> None:
    by_tokens = results() | {"settings": {"size": "1M", "vocab_size": 2048, "tokens": 500_000}}
    del by_tokens["seconds_a_rung"]
    assert "500,000 tokens each" in render(by_tokens)


def test_without_matplotlib_there_are_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    page = render(results())
    assert pictures(page) == []
    assert "llamarium[plots]" in page
    assert "1.5000" in page


def test_the_page_of_a_real_ladder(tiny: Tiny, tmp_path: Path) -> None:
    climbed = tiny("bigram", "gpt").climb()
    path = write_report(tmp_path / "out", climbed)
    page = path.read_text(encoding="utf-8")
    assert len(pictures(page)) == 4
    for entry in climbed["rungs"]:
        assert f"{entry['bits_per_byte']:.4f}" in page


points = st.lists(st.tuples(st.integers(1, 1000), st.floats(0.1, 8)), min_size=1, max_size=8, unique_by=lambda point: point[0])


@given(points.map(lambda found: [list(point) for point in sorted(found)]), st.floats(0.1, 8))
def test_a_curve_that_has_passed_stays_below(curve: list[list[float]], level: float) -> None:
    seconds = passed(curve, level)
    if curve[-1][1] >= level:
        assert seconds is None
    else:
        assert seconds is not None
        assert curve[0][0] <= seconds <= curve[-1][0]
        assert all(bits < level for x, bits in curve if x > seconds + 1e-6)


def test_a_curve_that_began_as_no_number_passes_at_its_next_point() -> None:
    assert passed([[1, float("inf")], [2, 2.0]], 3.0) == 2
    assert passed([], 3.0) is None
