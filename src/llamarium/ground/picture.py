"""Line charts and heat maps as SVG that stands in a page: text is text, colours suit a light and a dark page.

Takes: named curves, named levels, marks, words in any language.
Gives: one SVG string, the same for the same input; a line chart needs the extra ``plots``.
Does not know: what the curves mean, or where the picture is shown.
"""

from __future__ import annotations

import hashlib
import html
import io
import itertools
import math
import re
import unicodedata
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

from llamarium.ground.errors import MissingExtraError

Points = Sequence[tuple[float, float]]

WIDTH, HEIGHT = 760, 400  # pixels
FONT = 12.0
LINE_HEIGHT = 1.45 * FONT  # least distance between two names at the right edge
MOST_POINTS = 600  # of a curve; no screen shows more
MOST_MARKED = 12  # points that are few enough to be marked one by one
MOST_COLUMNS = 60  # of a heat map
SHADES = 12  # more are not told apart
LARGEST = 1e30  # beyond it a number is a gap: it is a run that came apart, and would flatten the rest

# A page may define the variables; without them these middle tones are read on white and on black.
COLOURS = {
    "ink": "#737880",
    "soft": "#757c86",
    "line": "#8b919a",
    "line-1": "#47806f",
    "line-2": "#b1641f",
    "line-3": "#4a78b8",
    "line-4": "#b4527a",
    "line-5": "#7d66b5",
    "line-6": "#6d7b2e",
}
NUM_LINES = sum(name.startswith("line-") for name in COLOURS)
FAMILY = "system-ui, 'PingFang SC', 'Microsoft YaHei', 'Noto Sans CJK SC', sans-serif"


def line_chart(
    series: Mapping[str, Points],
    *,
    title: str,
    x_label: str,
    y_label: str,
    references: Mapping[str, float] | None = None,
    marks: Mapping[str, Sequence[float]] | None = None,
    log_x: bool = False,
    from_zero: bool = False,
    faint: Collection[str] = (),
    width: int = WIDTH,
    height: int = HEIGHT,
) -> str:
    """Draw the curves of `series`, each named at its right end, over dashed levels (`references`).

    `series`: name -> (x, y) pairs, x rising. A number that is not finite is a gap; with `log_x` so is an x that is not above 0.
    `from_zero` lets both axes begin at 0, where nothing is below it.
    Curves named in `faint` are drawn thin, in the page's soft colour, below the others.
    `marks`: name -> values of x at which something happened, each a hair from top to bottom with a point on it.
    A curve of few points has them marked. `width`, `height`: pixels. `MissingExtraError` without matplotlib.
    """
    try:
        import matplotlib as mpl
        from matplotlib.figure import Figure
    except ImportError:
        raise MissingExtraError("A picture", extra="plots", package="matplotlib") from None

    levels = {name: float(level) for name, level in (references or {}).items() if _drawable(level)}
    curves = {name: _thin(_clean(points, log_x=log_x), log_x=log_x) for name, points in series.items()}
    heights = [y for points in curves.values() for _, y in points if math.isfinite(y)] + list(levels.values())
    spots = {name: [x for x, _ in _clean([(x, 0.0) for x in xs], log_x=log_x)] for name, xs in (marks or {}).items()}
    places = [x for points in curves.values() for x, _ in points] + [x for xs in spots.values() for x in xs]
    x_range = _range(places, log=log_x, margin=0, from_zero=from_zero)
    y_range = _range(heights, log=False, margin=0.06, from_zero=from_zero)
    names = [*curves, *levels]
    right = min(0.44 * width, 26 + max(map(_text_width, names))) if len(names) > 1 else 16.0  # a curve alone needs no name

    everything = repr((series, references, marks, title, x_label, y_label, log_x, width, height))
    salt = hashlib.sha256(everything.encode("utf-8", "replace")).hexdigest()
    file, words = io.StringIO(), _Words()
    with mpl.rc_context():  # gives back whatever the caller had set
        mpl.rcdefaults()
        mpl.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": salt, "font.size": FONT})
        figure = Figure(figsize=(width / 72, height / 72), dpi=72)
        sheet = _Sheet(figure, words, size=(width, height), right=right, x_range=x_range, y_range=y_range)
        sheet.frame(title, x_label, y_label, log_x=log_x)
        sheet.marks({name: xs for name, xs in spots.items() if xs}, log_x=log_x)
        for name, level in levels.items():
            sheet.level(name, level)
        strong = [name for name in curves if name not in faint]
        for name, points in curves.items():
            if any(math.isfinite(y) for _, y in points):
                sheet.curve(name, points, number=None if name in faint else strong.index(name))
        if len(names) > 1:
            sheet.name_ends()
        figure.savefig(file, format="svg", transparent=True, metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    return _finish(file.getvalue(), words, title=title, width=width, height=height)


def heat_map(
    rows: Mapping[str, Points],
    *,
    title: str,
    x_label: str,
    y_label: str,
    log: bool = False,
    ends: Mapping[str, str] | None = None,
    width: int = WIDTH,
    height: int = HEIGHT,
) -> str:
    """Draw each row as a band of cells, the darker (on a dark page the lighter) the larger its number.

    `rows`: name, from top to bottom -> (x, y) pairs. Where there are more columns than can be seen, a cell is the largest of its numbers.
    With `log` shades go by the logarithm, and what is not above 0 has the faintest. A number that is not finite is a gap.
    `ends`: name -> words at the row's right end. Rows too thin for words show those of as many as there is room for.
    `width`, `height`: pixels; few rows need less height and take it.
    """
    left = min(0.25 * width, 14 + max(map(_text_width, rows), default=0.0))
    right = min(0.25 * width, 14 + max(map(_text_width, (ends or {}).values()), default=0.0))
    top, bottom = _Sheet.TOP, _Sheet.BOTTOM
    tall = min(1.5 * LINE_HEIGHT, (height - top - bottom) / max(1, len(rows)))
    height = round(top + bottom + tall * len(rows))
    columns, cells = _columns(rows)
    wide = (width - left - right) / max(1, len(columns))
    shade, low, high = _shading([number for row in cells for number in row], log=log)

    paths: dict[int, list[str]] = {}
    for number, row in enumerate(cells):
        for start, level, length in _stretches([shade(value) for value in row]):
            if level is not None:
                x, y, x_end, y_end = left + start * wide, top + number * tall, left + (start + length) * wide, top + (number + 1) * tall
                # Corners, not lengths: neighbours round them alike, and no gap is left between.
                path = f"M{x:.1f} {y:.1f}H{x_end:.1f}V{y_end:.1f}H{x:.1f}z"
                paths.setdefault(level, []).append(path)
    colour = f"var(--line-1, {COLOURS['line-1']})"

    def filled(level: int, path: str) -> str:
        return f'<path fill="{colour}" fill-opacity="{_opacity(level):.2f}" shape-rendering="crispEdges" d="{path}"/>'

    parts = [filled(level, "".join(paths[level])) for level in sorted(paths)]

    def words(x: float, y: float, text: str, *, anchor: str = "start", kind: str = "soft", more: str = "") -> None:
        style = f"fill: var(--{kind}, {COLOURS[kind]}); font-size: {FONT:g}px; text-anchor: {anchor}{more}"
        parts.append(f'<text x="{x:.1f}" y="{y:.1f}" style="{style}">{html.escape(_plain(text))}</text>')

    words(4, 20, title, kind="ink", more="; font-weight: bold; font-size: 13.5px")
    words(4, 40, y_label)
    words(width - right, height - 6, x_label, anchor="end")
    names = list(rows)
    for number in _with_room(len(names), tall):
        middle = top + (number + 0.5) * tall + 0.36 * FONT
        words(left - 8, middle, _shorten(names[number], left - 10), anchor="end")
        words(width - right + 8, middle, _shorten((ends or {}).get(names[number], ""), right - 10))
    step = max(1, math.ceil(85 / wide))
    for number in range(len(columns) - 1, -1, -step):  # from the right: the latest is what one asks for
        if left + (number + 0.5) * wide >= 30:
            words(left + (number + 0.5) * wide, height - bottom + 16, f"{columns[number]:,.6g}", anchor="middle")
    if low < high:
        x = width - 10.0 - _text_width(f"{high:.3g}")
        words(width - 4, 20, f"{high:.3g}", anchor="end")
        for level in range(SHADES - 1, -1, -1):
            x -= 7
            parts.append(filled(level, f"M{x:.1f} 10H{x + 7:.1f}V21H{x:.1f}z"))
        words(x - 6, 20, f"{low:.3g}", anchor="end")
    return _head(title, width, height) + "\n".join(parts) + "\n</svg>\n"


def _columns(rows: Mapping[str, Points]) -> tuple[list[float], list[list[float]]]:
    """The columns of a heat map by their last x, and for each row a number for each of them."""
    xs = sorted({float(x) for points in rows.values() for x, _ in points if _drawable(x)})
    count = min(len(xs), MOST_COLUMNS)
    stops = [len(xs) * (number + 1) // count for number in range(count)]
    place = {x: number for number, (start, stop) in enumerate(itertools.pairwise([0, *stops])) for x in xs[start:stop]}
    cells = [[math.nan] * count for _ in rows]
    for row, points in zip(cells, rows.values()):
        for x, y in points:
            if x in place and _drawable(y):
                before = row[place[x]]
                row[place[x]] = float(y) if math.isnan(before) else max(before, float(y))
    return [xs[stop - 1] for stop in stops], cells


def _shading(numbers: Sequence[float], *, log: bool) -> tuple[Callable[[float], int | None], float, float]:
    """Which shade a number has, None for a gap, and the numbers that the faintest and the strongest begin and end with."""
    finite = [number for number in numbers if math.isfinite(number) and (number > 0 or not log)]
    low, high = min(finite, default=0.0), max(finite, default=0.0)
    place: Callable[[float], float] = math.log if log else float

    def shade(number: float) -> int | None:
        if not math.isfinite(number):
            return None
        if not low < high:
            return SHADES // 2
        share = 0.0 if number <= low else (place(number) - place(low)) / (place(high) - place(low))
        return min(SHADES - 1, int(share * SHADES))

    return shade, low, high


def _opacity(shade: int) -> float:
    return 0.07 + 0.93 * shade / (SHADES - 1)


def _stretches(row: Sequence[int | None]) -> Iterator[tuple[int, int | None, int]]:
    """Neighbours of one shade as (start, shade, length)."""
    start = 0
    for shade, group in itertools.groupby(row):
        length = len(list(group))
        yield start, shade, length
        start += length


def _with_room(count: int, tall: float) -> list[int]:
    """Rows that have room for words: the first, the last, and between them every so many."""
    step = max(1, math.ceil(LINE_HEIGHT / tall))
    found = [*range(0, max(0, count - step), step), count - 1]
    return [number for number in found if number >= 0]


class _Words(list[str]):
    """Words for the picture. They never go through matplotlib: its font knows no Chinese, and it reads a dollar sign as mathematics."""

    def place(self, text: str) -> str:
        """Keep `text`, and return what matplotlib writes in its stead."""
        self.append(text)
        return f"@{len(self) - 1}@"


class _Sheet:
    """The paper of one picture: axes with room for names at the right edge."""

    LEFT, TOP, BOTTOM = 52.0, 58.0, 44.0  # LEFT: at least

    def __init__(
        self,
        figure: Any,
        words: _Words,
        *,
        size: tuple[int, int],
        right: float,
        x_range: tuple[float, float],
        y_range: tuple[float, float],
    ) -> None:
        self.figure, self.words = figure, words
        self.width, self.height = width, height = size
        self.edge = width - right
        self.x_range, self.y_range = x_range, y_range
        tall = height - self.TOP - self.BOTTOM
        self.y_ticks = _ticks(*y_range, most=tall / 40)
        self.y_words = _tick_words(self.y_ticks)
        left = max(self.LEFT, 14 + max(map(_text_width, self.y_words), default=0.0))
        self.inner = (self.edge - left, tall)
        self.axes = figure.add_axes((left / width, self.BOTTOM / height, self.inner[0] / width, self.inner[1] / height))
        self.ends: list[tuple[float, str, str]] = []  # what is to be named at the right edge: its height, its name, its colour

    def frame(self, title: str, x_label: str, y_label: str, *, log_x: bool) -> None:
        """Scales, the lines behind everything, and the words around them."""
        axes = self.axes
        axes.set_xlim(*self.x_range)
        axes.set_ylim(*self.y_range)
        if log_x:
            axes.set_xscale("log")
            axes.minorticks_off()
        axes.spines[["top", "left", "right"]].set_visible(False)
        axes.spines["bottom"].set_color(COLOURS["line"])
        axes.tick_params(left=False, bottom=False, labelcolor=COLOURS["soft"], pad=6)
        x_ticks = (_log_ticks if log_x else _ticks)(*self.x_range, most=self.inner[0] / 85)
        axes.set_xticks(x_ticks, [self.words.place(word) for word in _tick_words(x_ticks, log=log_x)])
        axes.set_yticks(self.y_ticks, [self.words.place(word) for word in self.y_words])
        for tick in self.y_ticks:
            self._across(self.x_range[0], tick, COLOURS["line"], linewidth=0.6, alpha=0.75, zorder=0)
        self._text(4, self.height - 20, title, weight="bold", color=COLOURS["ink"], fontsize=FONT + 1.5)
        self._text(4, self.height - 40, y_label, color=COLOURS["soft"])
        self._text(self.edge, 6, x_label, color=COLOURS["soft"], ha="right")

    def marks(self, marks: Mapping[str, Sequence[float]], *, log_x: bool) -> None:
        """Hairs where something happened, and above the picture what their colours stand for."""
        room = self.width - 4.0
        for number, (name, xs) in reversed(list(enumerate(marks.items()))):
            colour = COLOURS[f"line-{(number + 1) % NUM_LINES + 1}"]  # the first colour is a curve's
            place = math.log if log_x else float
            low, high = (place(end) for end in self.x_range)
            apart = {round(self.inner[0] * (place(x) - low) / (high - low)): x for x in xs}  # one a pixel is all that is seen
            xs = [x for x in apart.values() for _ in range(3)]
            ys = [*self.y_range, math.nan] * len(apart)
            self.axes.plot(xs, ys, color=colour, linewidth=1.0, alpha=0.55, zorder=1 + number / 10)
            top = [self.y_range[1]] * len(apart)
            self.axes.plot([*apart.values()], top, "v", color=colour, markersize=6.0, clip_on=False, zorder=4 + number / 10)
            words = f"▾ {name}"
            self._text(room, self.height - 20, words, color=colour, ha="right")
            room -= _text_width(words) + FONT

    def level(self, name: str, level: float) -> None:
        """A dashed line from edge to edge."""
        self._across(self.x_range[0], level, COLOURS["soft"], linewidth=1.0, linestyle=(0, (4, 3)), zorder=1)
        self.ends.append((level, name, COLOURS["soft"]))

    def curve(self, name: str, points: Sequence[tuple[float, float]], *, number: int | None) -> None:
        """A curve in the colour `number`; faint with None. A dotted line leads from its last point to its name."""
        colour = COLOURS["soft"] if number is None else COLOURS[f"line-{number % NUM_LINES + 1}"]
        look = {"linewidth": 0.8, "alpha": 0.6, "zorder": 2} if number is None else {"linewidth": 2.0, "zorder": 3}
        marker = "o" if len(points) <= MOST_MARKED else None
        self.axes.plot(*zip(*points), color=colour, marker=marker, markersize=4.5, clip_on=False, **look)
        x, y = next((x, y) for x, y in reversed(points) if math.isfinite(y))
        if x < self.x_range[1]:
            self._across(x, y, colour, linewidth=1.0, linestyle=(0, (1, 3)), zorder=2)
        self.ends.append((y, name, colour))

    def name_ends(self) -> None:
        """Name every line at the right edge, at its height or as near as the other names let it, with a hair between the two."""
        from matplotlib.lines import Line2D

        low, high = self.y_range
        heights = [self.BOTTOM + self.inner[1] * (level - low) / (high - low) for level, _, _ in self.ends]
        places = spread(heights, gap=LINE_HEIGHT, low=self.BOTTOM, high=self.height - self.TOP + 6)
        for place, end, (_, name, colour) in zip(places, heights, self.ends):
            self._text(self.edge + 18, place, _shorten(name, self.width - self.edge - 22), color=colour, va="center_baseline")
            xs, ys = [(self.edge + 2) / self.width, (self.edge + 14) / self.width], [end / self.height, place / self.height]
            self.figure.add_artist(Line2D(xs, ys, color=colour, linewidth=0.8, alpha=0.7))

    def _across(self, x: float, y: float, colour: str, **look: Any) -> None:
        self.axes.plot([x, self.x_range[1]], [y, y], color=colour, clip_on=False, **look)

    def _text(self, x: float, y: float, words: str, **look: Any) -> None:
        self.figure.text(x / self.width, y / self.height, self.words.place(words), **look)


def spread(wanted: Sequence[float], *, gap: float, low: float, high: float) -> list[float]:
    """Move places apart so that neighbours are at least `gap` apart, in their order, as near to `wanted` as squares measure.

    All within `low` … `high`, where they fit there at all; else they start at `low`. (Isotonic regression by pooling neighbours.)

    >>> spread([5.0, 5.0, 20.0], gap=2.0, low=0.0, high=30.0)
    [4.0, 6.0, 20.0]
    """
    order = sorted(range(len(wanted)), key=lambda index: wanted[index])
    pools: list[tuple[float, int]] = []  # mean of (wanted - rank · gap), how many
    for rank, index in enumerate(order):
        mean, count = wanted[index] - rank * gap, 1
        while pools and pools[-1][0] > mean:
            other, others = pools.pop()
            mean, count = (mean * count + other * others) / (count + others), count + others
        pools.append((mean, count))
    bases = [mean for mean, count in pools for _ in range(count)]
    ceiling = max(low, high - (len(wanted) - 1) * gap)
    result = [0.0] * len(wanted)
    for rank, (index, base) in enumerate(zip(order, bases)):
        result[index] = min(max(base, low), ceiling) + rank * gap
    return result


def _drawable(value: float) -> bool:
    return math.isfinite(value) and abs(value) <= LARGEST


def _clean(points: Points, *, log_x: bool) -> list[tuple[float, float]]:
    """Points with a place on the x axis; a height that cannot be drawn becomes a gap."""
    return [(float(x), float(y) if _drawable(y) else math.nan) for x, y in points if _drawable(x) and not (log_x and x <= 0)]


def _thin(points: list[tuple[float, float]], *, log_x: bool) -> list[tuple[float, float]]:
    """At most about `MOST_POINTS`: of each strip of the picture the lowest and the highest, so that no spike is lost.

    A strip without any finite height stays a gap.
    """
    if len(points) <= MOST_POINTS:
        return points
    places = [math.log(x) if log_x else x for x, _ in points]
    low, width = places[0], (places[-1] - places[0]) or 1.0
    kept = {0, len(points) - 1}
    for _, strip in itertools.groupby(range(len(points)), key=lambda index: int((places[index] - low) / width * MOST_POINTS / 2)):
        indices = list(strip)
        finite = [index for index in indices if math.isfinite(points[index][1])] or indices[:1]
        kept |= {min(finite, key=lambda index: points[index][1]), max(finite, key=lambda index: points[index][1])}
    return [points[index] for index in sorted(kept)]


def _range(values: Sequence[float], *, log: bool, margin: float, from_zero: bool) -> tuple[float, float]:
    """Ends of an axis that holds `values`, with a `margin` (share) at both ends; 0 … 1 where there is nothing."""
    if not values:
        return (1.0, 10.0) if log else (0.0, 1.0)
    low, high = min(values), max(values)
    alone = high - low <= 1e-9 * max(abs(low), abs(high))
    if log:
        return (low / 2, high * 2) if alone else (low, high)
    pad = (abs(low) / 2 or 0.5) if alone else margin * (high - low)
    return (0.0 if from_zero and low >= 0 else low - pad), high + pad


def _ticks(low: float, high: float, *, most: float) -> list[float]:
    from matplotlib.ticker import MaxNLocator

    values = MaxNLocator(nbins=max(2, int(most)), steps=[1, 2, 5, 10]).tick_values(low, high)
    slack = 1e-9 * (high - low)
    return [float(value) for value in values if low - slack <= value <= high + slack]


def _log_ticks(low: float, high: float, *, most: float) -> list[float]:
    """1, 2, 5 of every decade while there is room, else 1 of every decade, or of every few."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for digits, step in (((1, 2, 5), 1), *(((1,), step) for step in range(1, len(decades) + 1))):
        values = [digit * 10.0**decade for decade in decades[::step] for digit in digits]
        inside = [value for value in values if low * (1 - 1e-9) <= value <= high * (1 + 1e-9)]
        if len(inside) <= max(2, most):
            break
    return inside or [low, high]


def _tick_words(ticks: Sequence[float], *, log: bool = False) -> list[str]:
    """Numbers with just the digits that tell them apart."""
    step = min(ticks) if log else (ticks[1] - ticks[0] if len(ticks) > 1 else abs(ticks[0])) if ticks else 1.0
    digits = max(0, -math.floor(math.log10(step) + 1e-9)) if step > 0 else 0
    largest = max(map(abs, ticks), default=0.0)
    if digits > 5 or largest >= 1e15:
        words = [f"{value:.4g}" for value in ticks]
    elif largest >= 1e6 and step >= 1e4:
        unit, name = (1e9, "G") if largest >= 1e9 and step >= 1e7 else (1e6, "M")
        words = [f"{value / unit:g}{name}" if value else "0" for value in ticks]
    elif log:
        words = [f"{value:,.0f}" if value >= 1 else f"{value:g}" for value in ticks]
    else:
        words = [f"{value:,.{digits}f}" for value in ticks]
    return [word.replace("-", "\u2212") for word in words]


def _text_width(text: str) -> float:
    """Pixels, about: a browser chooses the font, so this is an upper middle."""
    return sum(FONT if unicodedata.east_asian_width(letter) in "WF" else 0.58 * FONT for letter in text)


def _shorten(text: str, room: float) -> str:
    if _text_width(text) <= room + 1:
        return text
    while text and _text_width(text) > room - FONT:
        text = text[:-1]
    return f"{text}…"


def _finish(svg: str, words: Sequence[str], *, title: str, width: int, height: int) -> str:
    """What a page needs of matplotlib's SVG: no style sheet (it would reach the whole page), no fixed size, no names of groups."""
    body = svg[svg.index("<svg") :]
    body = re.sub(r"<svg[^>]*>", "", body, count=1)
    body = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>", "", body, flags=re.DOTALL)
    body = re.sub(r"<metadata>.*?</metadata>", "", body, flags=re.DOTALL)
    used = set(re.findall(r"#([\w.-]+)[\")]", body))
    body = re.sub(r' id="([\w.-]+)"', lambda match: match[0] if match[1] in used else "", body)
    body = body.replace("xlink:href", "href")
    body = re.sub(r' transform="rotate\(-0 [^"]*\)"', "", body)
    body = re.sub(r"font-family: [^;\"]*; ?", "", body)
    for name, colour in COLOURS.items():
        body = body.replace(colour, f"var(--{name}, {colour})")
    body = re.sub(r"\s*\n\s*", "\n", body)
    body = re.sub(r"@(\d+)@", lambda match: html.escape(_plain(words[int(match[1])])), body)
    return _head(title, width, height) + body.strip() + "\n"


def _head(title: str, width: int, height: int) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" aria-label="{html.escape(_plain(title))}" '
        f'style="font-family: {FAMILY}; stroke-linejoin: round">'
    )


def _plain(text: str) -> str:
    """Without what XML cannot hold."""
    return "".join(letter if letter.isprintable() else "\ufffd" if unicodedata.category(letter) == "Cs" else " " for letter in text)
