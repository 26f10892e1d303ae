"""Line charts and heat maps: text stays text, the same input gives the same bytes, nothing of matplotlib's state is left changed."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Mapping, Sequence
from itertools import pairwise
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llamarium.ground.errors import MissingExtraError
from llamarium.ground.picture import COLOURS, LINE_HEIGHT, MOST_COLUMNS, MOST_POINTS, SHADES, heat_map, line_chart, spread

SVG = "{http://www.w3.org/2000/svg}"
Series = Mapping[str, Sequence[tuple[float, float]]]
FALLING = [(float(step), 9 / step**0.3) for step in range(1, 60)]


def chart(
    series: Series | None = None, *, references: Mapping[str, float] | None = None, log_x: bool = False, **options: int | bool
) -> str:
    words = {"title": "Loss", "x_label": "step", "y_label": "nats"}
    return line_chart(series or {"own": FALLING}, **words, references=references, log_x=log_x, **options)  # type: ignore[arg-type]


def texts(svg: str) -> list[str]:
    return [element.text or "" for element in ElementTree.fromstring(svg).iter(f"{SVG}text")]


def points(svg: str, colour: str = COLOURS["line-1"]) -> list[tuple[float, float]]:
    """Places of the curve in `colour`, in pixels of the picture; y grows downwards."""
    found = re.findall(rf'<path d="([^"]*)"\s+style="fill: none; stroke: var\([^)]*{colour}\); stroke-width: 2', svg)
    return [(float(x), float(y)) for path in found for x, y in re.findall(r"[ML] (\S+) (\S+)", path)]


def test_words_are_text_in_any_language() -> None:
    svg = line_chart(
        {"您自己的 LLaMA": FALLING, "$x^2$ & <b>": FALLING, "half \ud800 \x00": FALLING},
        title="每字节比特数 @0@",
        x_label="分钟",
        y_label="越少越好",
        references={"gzip 2.61": 2.61},
    )
    for word in ("您自己的 LLaMA", "$x^2$ & <b>", "每字节比特数 @0@", "分钟", "越少越好", "gzip 2.61"):
        assert word in texts(svg), word
    assert "<b>" not in svg
    svg.encode("utf-8")


def test_same_input_same_bytes_and_nothing_of_the_page_is_touched() -> None:
    svg = chart(references={"gzip": 2.0})
    assert svg == chart(references={"gzip": 2.0})
    assert "<style" not in svg  # it would reach beyond the picture
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)|DOCTYPE|<metadata|\d{4}-\d\d-\d\d", svg)
    assert all(match.startswith("#") for match in re.findall(r'href="([^"]*)"', svg))


def test_pictures_on_one_page_do_not_share_names() -> None:
    one, other = (set(re.findall(r' id="([^"]*)"', chart({"own": [(0, 1), (1, top)]}))) for top in (2, 3))
    assert one
    assert not one & other


def test_callers_matplotlib_is_left_as_it_was() -> None:
    import matplotlib as mpl

    before = dict(mpl.rcParams)
    with mpl.rc_context({"lines.linewidth": 17.0, "svg.fonttype": "path", "axes.grid": True}):
        plain = chart()
        assert mpl.rcParams["lines.linewidth"] == 17.0
        assert mpl.rcParams["svg.fonttype"] == "path"
    assert dict(mpl.rcParams) == before
    assert plain == chart()  # a caller's taste does not reach the picture


def test_pyplot_is_not_needed() -> None:
    import subprocess

    program = "import sys; from llamarium.ground.picture import line_chart\n"
    program += "line_chart({'a': [(0, 1), (1, 2)]}, title='', x_label='', y_label='')\nassert 'matplotlib.pyplot' not in sys.modules"
    subprocess.run([sys.executable, "-W", "error", "-c", program], check=True, timeout=60)


def test_without_matplotlib_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingExtraError) as caught:
        chart()
    assert "llamarium[plots]" in caught.value.hint


def luminance(colour: str) -> float:
    channels = [int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)]
    return sum(
        weight * (value / 12.92 if value <= 0.03928 else ((value + 0.055) / 1.055) ** 2.4)
        for weight, value in zip((0.2126, 0.7152, 0.0722), channels, strict=True)
    )


@pytest.mark.parametrize("name", COLOURS)
def test_colours_are_seen_on_white_and_on_black(name: str) -> None:
    """WCAG 2.1: text of the chart's size wants a contrast of 4.5 on one ground and 3 on the other at least, graphics 3."""
    light = luminance(COLOURS[name])
    on_white, on_black = 1.05 / (light + 0.05), (light + 0.05) / 0.05
    assert min(on_white, on_black) >= 3
    assert COLOURS[name] in chart(dict.fromkeys("abcdef", FALLING), references={"level": 2.0})


@given(st.lists(st.floats(0, 300), max_size=12), st.floats(1, 20))
def test_spread_names_never_overlap(wanted: list[float], gap: float) -> None:
    places = spread(wanted, gap=gap, low=0.0, high=300.0)
    order = sorted(range(len(wanted)), key=lambda index: wanted[index])
    assert all(places[b] - places[a] >= gap - 1e-6 for a, b in pairwise(order))
    assert all(-1e-6 <= place <= 300 + 1e-6 for place in places)
    if all(b - a >= gap for a, b in pairwise(sorted(wanted))):
        assert places == pytest.approx([min(max(place, 0), 300) for place in wanted], abs=gap * len(wanted))


def test_names_at_the_right_edge_are_apart() -> None:
    svg = chart({"own": [(0, 4.0), (2, 2.0)]}, references={"gzip": 2.01, "xz": 2.0, "ngram": 1.99, "far": 3.5})
    heights = sorted(
        float(element.attrib["y"])
        for element in ElementTree.fromstring(svg).iter(f"{SVG}text")
        if element.text in ("own", "gzip", "xz", "ngram")
    )
    assert all(b - a >= 12 for a, b in pairwise(heights))


def test_one_curve_alone_needs_no_name() -> None:
    assert "own" not in texts(chart())
    assert "own" in texts(chart(references={"gzip": 2.0}))


def test_a_name_that_is_too_long_is_cut_and_its_value_stays() -> None:
    svg = chart({"0.734  " + "a model with a very long name " * 5: FALLING}, references={"x": 1.0}, width=400)
    (name,) = (text for text in texts(svg) if text.startswith("0.734"))
    assert name.endswith("…")


def test_curve_is_where_its_numbers_are() -> None:
    svg = chart({"own": [(0.0, 1.0), (1.0, 3.0), (2.0, 2.0)]}, from_zero=True)
    first, second, third = points(svg)
    assert second[0] - first[0] == pytest.approx(third[0] - second[0], abs=0.01)
    assert (second[1] - first[1]) / (second[1] - third[1]) == pytest.approx(2.0, abs=0.01)
    assert second[1] < third[1] < first[1]


def test_log_axis_makes_decades_equal() -> None:
    svg = chart({"own": [(-1.0, 9.0), (0.0, 9.0), (1.0, 1.0), (10.0, 2.0), (100.0, 3.0)]}, log_x=True)
    first, second, third = points(svg)
    assert second[0] - first[0] == pytest.approx(third[0] - second[0], abs=0.01)
    assert {"1", "10", "100"} <= set(texts(svg))


@pytest.mark.parametrize("log_x", [False, True])
def test_a_long_curve_is_thinned_and_keeps_its_spike(log_x: bool) -> None:
    series = [(float(step), 9 / step**0.2 + math.sin(step * step)) for step in range(1, 100_001)]  # a rough curve, as losses are
    series[73_456] = (73_457.0, 50.0)
    svg = chart({"own": series}, log_x=log_x)
    assert len(svg) < 40_000
    drawn = points(svg)
    assert len(drawn) <= MOST_POINTS + 4
    height = [y for _, y in drawn]
    assert min(height) < sorted(height)[1] - 50  # the spike stands out upwards


@pytest.mark.parametrize(
    "series",
    [
        {},
        {"none": []},
        {"one": [(3.0, 0.001)]},
        {"zero": [(0.0, 0.0)]},
        {"flat": [(0.0, 2.0), (1.0, 2.0)]},
        {"gaps": [(0.0, math.nan), (1.0, 2.0), (2.0, math.inf), (3.0, 1.0), (math.nan, 1.0)]},
        {"apart": [(0.0, 1e300), (1.0, -1e300), (2.0, 1.0)]},
        {"nothing finite": [(0.0, math.nan)] * 2000},
        {"small": [(0.0, 1e-9), (1.0, 2e-9)]},
        {"large": [(0.0, 1e9), (1e9, 3e9)]},
        {"wide": [(0.0, 1e-9), (1.0, 1e29)]},
        {"below": [(0.0, -3.0), (1.0, -1.0)]},
    ],
    ids=str,
)
@pytest.mark.parametrize("log_x", [False, True])
@pytest.mark.parametrize("from_zero", [False, True])
def test_odd_input_is_drawn(series: Series, log_x: bool, from_zero: bool) -> None:
    svg = line_chart(series, title="", x_label="", y_label="", references={"nan": math.nan}, log_x=log_x, from_zero=from_zero)
    ElementTree.fromstring(svg)
    assert "nan" not in svg.replace("nothing finite", "")


@settings(max_examples=20, deadline=None)
@given(
    st.dictionaries(st.text(max_size=8), st.lists(st.tuples(st.floats(), st.floats()), max_size=6), max_size=3),
    st.dictionaries(st.text(max_size=8), st.floats(), max_size=3),
    st.booleans(),
)
def test_any_input_is_drawn(series: dict[str, list[tuple[float, float]]], references: dict[str, float], log_x: bool) -> None:
    ordered = {name: sorted(points, key=lambda point: (math.isnan(point[0]), point[0])) for name, points in series.items()}
    svg = line_chart(ordered, title="t", x_label="x", y_label="y", references=references, log_x=log_x)
    ElementTree.fromstring(svg)
    svg.encode("utf-8")


@pytest.mark.parametrize(
    ("low", "high", "words"),
    [
        (0.0, 3.0, "2.5"),
        (2.0001, 2.0004, "2.00020"),
        (0.0, 2_500_000.0, "2M"),
        (0.0, 12_000.0, "10,000"),
        (-2.0, 2.0, "−2"),
        (0.0, 4e-4, "0.0002"),
    ],
)
def test_tick_words_have_the_digits_they_need(low: float, high: float, words: str) -> None:
    found = texts(chart({"own": [(100.1, low), (100.4, high)]}))
    assert words in found
    assert len(found) == len(set(found))


def test_an_axis_has_room_for_its_numbers() -> None:
    """The words at the left edge end before the picture, and begin inside it."""
    for top in (1.0, 100_000.0, 999_999.0, 0.00001):
        svg = chart({"own": [(0.0, 0.0), (1.0, top)]}, from_zero=True, width=400)
        for element in ElementTree.fromstring(svg).iter(f"{SVG}text"):
            if "end" in element.attrib["style"] and element.text not in ("step", None):
                assert float(element.attrib["x"]) >= 0.58 * 12 * len(element.text or "")


# --- Marks ------------------------------------------------------------------------------------------------------------


def hairs(svg: str, colour: str) -> list[float]:
    """Where hairs from top to bottom stand."""
    paths = re.findall(r'<path d="([^"]*)"[^>]*style="fill: none; stroke: var\([^)]*' + colour, svg)
    ends = [pair for path in paths for pair in re.findall(r"M (\S+) \S+\s+L (\S+) \S+", path)]
    return sorted(float(one) for one, other in ends if one == other)


def marked(marks: Mapping[str, Sequence[float]], **options: bool) -> str:
    words = {"title": "Loss", "x_label": "step", "y_label": "nats"}
    return line_chart({"own": [(1.0, 1.0), (100.0, 2.0)]}, **words, marks=marks, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("log_x", [False, True])
def test_marks_stand_where_something_happened(log_x: bool) -> None:
    svg = marked({"skip": [1.0, 10.0, 100.0], "back": [50.5]}, log_x=log_x)
    left, middle, right = hairs(svg, COLOURS["line-2"])
    (own_left, _), (own_right, _) = points(svg)
    assert [left, right] == pytest.approx([own_left, own_right], abs=0.01)
    assert (middle - left) / (right - left) == pytest.approx(0.5 if log_x else 9 / 99, abs=0.002)
    assert len(hairs(svg, COLOURS["line-3"])) == 1
    assert {"▾ skip", "▾ back"} <= set(texts(svg))


def test_a_kind_that_never_happened_has_no_name() -> None:
    assert "skip" not in marked({"skip": [], "back": [3.0]})
    assert "▾" not in marked({"skip": []})


def test_a_mark_beyond_the_curve_has_its_place() -> None:
    svg = marked({"skip": [120.0]})
    (x,) = hairs(svg, COLOURS["line-2"])
    assert x > points(svg)[-1][0]


@pytest.mark.parametrize("log_x", [False, True])
def test_very_many_marks_are_one_a_pixel(log_x: bool) -> None:
    places = hairs(marked({"skip": [1 + number / 1000 for number in range(99_000)]}, log_x=log_x), COLOURS["line-2"])
    assert 300 < len(places) < 760
    assert all(b - a < 3 for a, b in pairwise(places))


# --- Heat maps --------------------------------------------------------------------------------------------------------


def heat(rows: Series, **options: object) -> str:
    return heat_map(rows, title="Norms", x_label="step", y_label="norm", **options)  # type: ignore[arg-type]


def cells(svg: str) -> dict[tuple[int, int], float]:
    """Opacity by the pixel (x, y) of a cell's upper left corner; a stretch counts as one. Without those of the legend."""
    found = {}
    for opacity, path in re.findall(r'fill-opacity="([\d.]+)"[^>]* d="([^"]*)"', svg):
        for x, y in re.findall(r"M(\S+) (\S+?)H", path):
            if float(y) > 30:
                found[round(float(x)), round(float(y))] = float(opacity)
    return found


def test_larger_numbers_are_stronger_and_rows_keep_their_order() -> None:
    svg = heat({"first": [(1, 1.0), (2, 2.0), (3, 3.0)], "second": [(1, 3.0), (2, 2.0), (3, 1.0)]})
    found = cells(svg)
    above, below = sorted({y for _, y in found})
    first, second = ([found[place] for place in sorted(found) if place[1] == y] for y in (above, below))
    assert first == sorted(set(first))
    assert first == second[::-1]
    heights = {element.text: float(element.attrib["y"]) for element in ElementTree.fromstring(svg).iter(f"{SVG}text")}
    assert heights["first"] < heights["second"]
    assert {"1", "2", "3"} <= set(texts(svg))


def test_neighbours_leave_no_gap() -> None:
    svg = heat({f"row {n}": [(step, float((n * 7 + step * 5) % 11)) for step in range(37)] for n in range(53)}, width=400)
    corners = [tuple(map(float, found)) for found in re.findall(r"M([\d.]+) ([\d.]+)H([\d.]+)V([\d.]+)", svg)]
    begins, ends = ({(corner[place], corner[1]) for corner in corners if corner[1] > 30} for place in (0, 2))
    rows = len({y for _, y in begins})
    assert rows == 53
    assert len(begins - ends) == len(ends - begins) == rows  # only the outermost stand alone


def test_shades_go_by_the_logarithm_where_asked() -> None:
    rows = {"only": [(1, 1.0), (2, 10.0), (3, 100.0)]}
    plain, by_log = ([*cells(heat(rows, log=log)).values()] for log in (False, True))
    assert plain[1] - plain[0] < 0.1
    assert by_log[1] - by_log[0] == pytest.approx(by_log[2] - by_log[1], abs=0.1)


def test_a_gap_stays_empty() -> None:
    found = cells(heat({"a": [(1, 1.0), (2, math.nan), (3, math.inf), (4, 2.0)], "b": [(1, 1.5), (2, 2.0), (3, 1.0), (4, 1.2)]}))
    above = min(y for _, y in found)
    assert len([place for place in found if place[1] == above]) == 2
    assert len(found) == 6


def test_a_spike_among_very_many_columns_is_seen() -> None:
    rows = {f"row {n}": [(step, 1.0 + n / 100) for step in range(10_000)] for n in range(3)}
    rows["row 1"][5_432] = (5_432, 100.0)
    svg = heat(rows, log=True)
    assert len(svg) < 20_000
    found = cells(svg)
    (spike,) = (place for place, opacity in found.items() if opacity == max(found.values()))
    assert sorted({y for _, y in found}).index(spike[1]) == 1


@pytest.mark.parametrize(("count", "width"), [(1, 400), (2, 400), (4, 760), (83, 400), (200, 400)])
def test_rows_of_any_number_have_words_that_do_not_overlap(count: int, width: int) -> None:
    rows = {f"blocks.{n}": [(step, math.sin(n * step) + 2) for step in range(1, 41)] for n in range(count)}
    svg = heat(rows, ends={name: f"{n}!" for n, name in enumerate(rows)}, width=width, height=400)
    tree = ElementTree.fromstring(svg)
    assert float(tree.attrib["viewBox"].split()[3]) <= 400
    assert len(svg) < 250_000
    heights = sorted(float(element.attrib["y"]) for element in tree.iter(f"{SVG}text") if (element.text or "").startswith("blocks"))
    assert all(b - a >= LINE_HEIGHT - 0.1 for a, b in pairwise(heights))
    assert {"blocks.0", f"blocks.{count - 1}", "0!", f"{count - 1}!"} <= set(texts(svg))
    places = sorted(float(element.attrib["x"]) for element in tree.iter(f"{SVG}text") if "middle" in element.attrib["style"])
    assert places
    assert all(b - a >= 60 for a, b in pairwise(places))


def test_a_heat_map_needs_no_matplotlib_and_is_safe_in_a_page(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = {"<b>&": [(1, 1.0), (2, 2.0)], "half \ud800 \x00": [(1, 2.0)]}
    with_it = heat(rows)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    svg = heat(rows)
    assert svg == with_it
    assert "<b>" not in svg
    assert not re.search(r"<style|https?://(?!www\.w3\.org/2000/svg)", svg)
    svg.encode("utf-8")


@settings(max_examples=50, deadline=None)
@given(st.dictionaries(st.text(max_size=8), st.lists(st.tuples(st.floats(), st.floats()), max_size=80), max_size=5), st.booleans())
def test_any_heat_map_is_drawn(rows: dict[str, list[tuple[float, float]]], log: bool) -> None:
    svg = heat(rows, log=log)
    ElementTree.fromstring(svg)
    found = cells(svg)
    assert len(found) <= MOST_COLUMNS * len(rows)
    assert len({*found.values()}) <= SHADES
    assert not re.search(r'd="[^"]*(nan|inf)', svg)
