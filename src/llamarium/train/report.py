"""``report.html`` of a run: how it went, as pictures, samples and the recipe, on one page.

Takes: a run's folder: ``log.jsonl``, and ``recipe.yaml`` where it is there.
Gives: the page, also for a run that is not finished, and without matplotlib: then numbers stand for the pictures.
Does not know: models or data; it reads the log like anyone could.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from llamarium.ground import files
from llamarium.ground.config import read_yaml
from llamarium.ground.errors import BadFileError, MissingExtraError, RecipeError
from llamarium.ground.page import Html, details, element, page, picture, table, tiles
from llamarium.ground.picture import WIDTH, line_chart
from llamarium.ground.progress import duration
from llamarium.train import log

REPORT, LOG, RECIPE = "report.html", "log.jsonl", "recipe.yaml"
MOST_ROWS = 40
MOST_SAMPLES = 60
MOST_EVENTS = 300
SMALL = (400, 280)  # pixels

Line = dict[str, Any]
Points = list[tuple[float, float]]


def write_report(folder: Path) -> Path | None:
    """Write ``report.html`` into the run's `folder` and return its path; None where the log holds no line yet."""
    lines = log.read(folder / LOG)
    if not lines:
        return None
    path = folder / REPORT
    files.write_text(path, render(folder.resolve().name, lines, _recipe_text(folder / RECIPE), _recipe(folder / RECIPE)))
    return path


def render(name: str, lines: Sequence[Line], recipe_text: str, recipe: Line) -> str:
    """The page for a run's log: `lines` as `log.read` gives them, the recipe as text and as a mapping (empty if there is none)."""
    events = [line for line in lines if "event" in line]
    steps = [line for line in lines if "event" not in line]
    title = recipe.get("name", name)
    body = [
        element("h1", title),
        element("p", _state(steps, recipe), class_="lead soft"),
        tiles(_tiles(steps)),
        *_pictures(steps),
        *_numbers(steps),
        *_samples([event for event in events if event["event"] == "sample"]),
        *_events([event for event in events if event["event"] != "sample"]),
        *((element("h2", "Recipe"), element("pre", recipe_text)) if recipe_text else ()),
    ]
    return page(f"{title} · Llamarium", Html("\n").join(body), language="en")


def _recipe_text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""


def _recipe(path: Path) -> Line:
    """The recipe's values. A report of a run does not fail because somebody's editor broke the recipe: its text is shown as it is."""
    try:
        return read_yaml(path) if path.is_file() else {}
    except (RecipeError, BadFileError):
        return {}


def _state(steps: Sequence[Line], recipe: Line) -> str:
    """One sentence: how far the run is."""
    if not steps:
        return "No step is logged yet."
    last = steps[-1]
    seconds = _number(last.get("seconds")) or 0.0
    train = recipe.get("train")
    train = train if isinstance(train, dict) else {}
    planned = (
        ("step", "steps", last["step"], _number(train.get("steps"))),
        ("token", "tokens", _number(last.get("tokens")) or 0.0, _number(train.get("tokens"))),
        ("minute", "minutes", seconds / 60, _number(train.get("minutes"))),
    )
    for _, unit, done, wanted in planned:
        if wanted:
            if done >= wanted:
                return f"Finished: {wanted:,.6g} {unit}, in {duration(seconds)}."
            return f"Not finished: {100 * done / wanted:.0f} % of {wanted:,.6g} {unit}, after {duration(seconds)}."
    return f"At step {last['step']:,}, after {duration(seconds)}."


def _tiles(steps: Sequence[Line]) -> list[tuple[str, str, str]]:
    loss, bits, speeds = _points(steps, "loss"), _points(steps, "bits_per_byte"), _speeds(steps)
    last = steps[-1] if steps else {}
    result = [("steps", f"{last.get('step', 0):,}", "")]
    if tokens := _number(last.get("tokens")):
        result.append(("tokens", _short(tokens), f"{tokens:,.0f}"))
    if loss:
        result.append(("loss", f"{loss[-1][1]:.3f}", f"at first {loss[0][1]:.3f}"))
    if bits:
        step, best = min(bits, key=lambda point: point[1])
        result.append(("bits per byte", f"{best:.3f}", f"the best, at step {step:,.0f}"))
    if speeds:
        middle = sorted(speed for _, speed in speeds)[len(speeds) // 2]
        result.append(("tokens a second", f"{middle:,.0f}", "the median"))
    return result


def _pictures(steps: Sequence[Line]) -> list[Html]:
    """The charts, or one sentence that says how to get them."""
    loss, bits = _points(steps, "loss"), _points(steps, "bits_per_byte")
    window = max(1, len(loss) // 50)
    large: dict[str, Points] = {"each step": loss}
    if window > 1:
        large[f"mean of {window} steps"] = _smooth(loss, window)
    small: list[tuple[Points, str, str, bool]] = [
        (bits, "Bits per byte", "on validation text, less is better", False),
        (_speeds(steps), "Speed", "tokens a second, saving and validating included", True),
        (_points(steps, "learning_rate"), "Learning rate", "", True),
        (_points(steps, "gradient_norm"), "Gradient norm", "before it is clipped", False),
    ]

    def loss_chart(width: int, height: int) -> str:
        faint = ["each step"] if window > 1 else []
        unit = "nats per token, less is better"
        return line_chart(large, title="Loss", x_label="step", y_label=unit, faint=faint, width=width, height=height)

    try:
        first = [picture(loss_chart(WIDTH, 340), loss_chart(*SMALL))] if loss else []
        width, height = SMALL
        others = [
            picture(line_chart({title: points}, title=title, x_label="step", y_label=unit, from_zero=zero, width=width, height=height))
            for points, title, unit, zero in small
            if points
        ]
    except MissingExtraError as error:
        return [element("p", f"There are no pictures here. {error.message} {error.hint}", class_="warn")]
    return [*first, element("div", *others, class_="pictures")] if first or others else []


def _numbers(steps: Sequence[Line]) -> list[Html]:
    """Validations, and some of the steps, as tables."""
    columns = ("step", "tokens", "loss", "bits_per_byte", "learning_rate", "gradient_norm", "seconds")
    header = ("step", "tokens", "loss", "bits per byte", "learning rate", "gradient norm", "seconds")

    def rows(lines: Sequence[Line]) -> Html:
        return table([[_cell(line.get(column)) for column in columns] for line in _some(lines)], header, numbers=range(len(columns)))

    validated = [line for line in steps if _number(line.get("bits_per_byte")) is not None]
    parts = [element("h2", "Numbers")] if steps else []
    if validated:
        parts.append(details(f"Validations ({_count(validated)})", rows(validated), open=len(validated) <= 12))
    if steps:
        parts.append(details(f"Steps ({_count(steps)})", rows(steps), open=not validated and len(steps) <= 12))
    return parts


def _samples(samples: Sequence[Line]) -> list[Html]:
    if not samples:
        return []
    shown = _some(samples, most=MOST_SAMPLES)
    note = f"What the model wrote on the way, the latest first{f', {len(shown)} of {len(samples):,}' if len(shown) < len(samples) else ''}."
    parts = [element("h2", "Samples"), element("p", note, class_="soft")]
    for number, sample in enumerate(reversed(shown)):
        text = element("blockquote", _text(sample.get("detail")))
        summary = f"Step {sample['step']:,}"
        parts.append(details(summary, text, open=number < 3))
    return parts


def _events(events: Sequence[Line]) -> list[Html]:
    if not events:
        return []
    shown = events[-MOST_EVENTS:]
    more = len(events) - len(shown)
    return [
        element("h2", "Events"),
        *([element("p", f"The last {len(shown)}; {more:,} earlier ones are in {LOG}.", class_="soft")] if more else []),
        table([(f"{event['step']:,}", event["event"], _text(event.get("detail"))) for event in shown], ("step", "event", ""), numbers=(0,)),
    ]


def _number(value: object) -> float | None:
    """A finite number, or None: NaN stands in the log of a run that came apart."""
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) else None


def _points(steps: Sequence[Line], key: str) -> Points:
    return [(float(line["step"]), number) for line in steps if (number := _number(line.get(key))) is not None]


def _speeds(steps: Sequence[Line]) -> Points:
    """Tokens a second between lines of the log, over stretches long enough for the clock; validation's time is in it."""
    stretch = max(1, len(steps) // 200)
    result = []
    for before, after in zip(steps[::stretch], steps[stretch::stretch]):
        values = [_number(line.get(key)) for line in (before, after) for key in ("tokens", "seconds")]
        if None in values:
            continue
        tokens, seconds, more_tokens, more_seconds = (value or 0.0 for value in values)
        if more_seconds > seconds:
            result.append((float(after["step"]), (more_tokens - tokens) / (more_seconds - seconds)))
    return result


def _smooth(points: Points, window: int) -> Points:
    """The mean of each `window` neighbours, at the middle one: at the last one it would lag behind a falling curve."""
    total, result = 0.0, []
    for index, (_, y) in enumerate(points):
        total += y
        if index >= window:
            total -= points[index - window][1]
        if index >= window - 1:
            result.append((points[index - window // 2][0], total / window))
    return result


def _some(lines: Sequence[Line], *, most: int = MOST_ROWS) -> Sequence[Line]:
    """At most `most` lines, evenly chosen, the last one among them."""
    if len(lines) <= most:
        return lines
    return [lines[round((index + 1) * len(lines) / most) - 1] for index in range(most)]


def _count(lines: Sequence[Line]) -> str:
    return f"{len(lines):,}" if len(lines) <= MOST_ROWS else f"{MOST_ROWS} of {len(lines):,}"


def _cell(value: object) -> str:
    number = _number(value)
    if number is None:
        return "" if value is None else _text(value)
    return f"{number:,.0f}" if number == int(number) and abs(number) < 1e15 else f"{number:.4g}"


def _short(number: float) -> str:
    for unit, name in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if number >= unit:
            return f"{number / unit:.3g}{name}"
    return f"{number:,.0f}"


def _text(value: object) -> str:
    return value if isinstance(value, str) else "" if value is None else json.dumps(value, ensure_ascii=False)
