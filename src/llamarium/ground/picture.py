"""A line chart as SVG that stands in a page: its text is text, its colours suit a light and a dark page.

Takes: named curves, named levels, words in any language.
Gives: one SVG string, the same for the same input; needs the extra ``plots``.
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
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from llamarium.ground.errors import MissingExtraError

Points = Sequence[tuple[float, float]]

WIDTH, HEIGHT = 760, 400  # pixels
FONT = 12.0
LINE_HEIGHT = 1.45 * FONT  # least distance between two names at the right edge
MOST_POINTS = 600  # of a curve; no screen shows more
MOST_MARKED = 12  # points that are few enough to be marked one by one
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
    places = [x for points in curves.values() for x, _ in points]
    x_range = _range(places, log=log_x, margin=0, from_zero=from_zero)
    y_range = _range(heights, log=False, margin=0.06, from_zero=from_zero)
    names = [*curves, *levels]
    right = min(0.44 * width, 26 + max(map(_text_width, names))) if len(names) > 1 else 16.0  # a curve alone needs no name

    salt = hashlib.sha256(repr((series, references, title, x_label, y_label, log_x, width, height)).encode("utf-8", "replace")).hexdigest()
    file, words = io.StringIO(), _Words()
    with mpl.rc_context():  # gives back whatever the caller had set
        mpl.rcdefaults()
        mpl.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": salt, "font.size": FONT})
        figure = Figure(figsize=(width / 72, height / 72), dpi=72)
        sheet = _Sheet(figure, words, size=(width, height), right=right, x_range=x_range, y_range=y_range)
        sheet.frame(title, x_label, y_label, log_x=log_x)
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


class _Words(list[str]):
    """Words for the picture. They never go through matplotlib: its font knows no Chinese, and it reads a dollar sign as mathematics."""

    def place(self, text: str) -> str:
        """Keep `text`, and return what matplotlib writes in its stead."""
        self.append(text)
        return f"@{len(self) - 1}@"


class _Sheet:
    """The paper of one picture: axes with room for names at the right edge."""

    LEFT, TOP, BOTTOM = 52.0, 58.0, 44.0

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
        self.inner = (self.edge - self.LEFT, height - self.TOP - self.BOTTOM)
        self.axes = figure.add_axes((self.LEFT / width, self.BOTTOM / height, self.inner[0] / width, self.inner[1] / height))
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
        y_ticks = _ticks(*self.y_range, most=self.inner[1] / 40)
        axes.set_xticks(x_ticks, [self.words.place(word) for word in _tick_words(x_ticks, log=log_x)])
        axes.set_yticks(y_ticks, [self.words.place(word) for word in _tick_words(y_ticks)])
        for tick in y_ticks:
            self._across(self.x_range[0], tick, COLOURS["line"], linewidth=0.6, alpha=0.75, zorder=0)
        self._text(4, self.height - 20, title, weight="bold", color=COLOURS["ink"], fontsize=FONT + 1.5)
        self._text(4, self.height - 40, y_label, color=COLOURS["soft"])
        self._text(self.edge, 6, x_label, color=COLOURS["soft"], ha="right")

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
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" aria-label="{html.escape(_plain(title))}" '
        f'style="font-family: {FAMILY}; stroke-linejoin: round">'
    )
    return head + body.strip() + "\n"


def _plain(text: str) -> str:
    """Without what XML cannot hold."""
    return "".join(letter if letter.isprintable() else "\ufffd" if unicodedata.category(letter) == "Cs" else " " for letter in text)
