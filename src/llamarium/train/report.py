"""``report.html`` of a run: how it went, as pictures, samples and the recipe, on one page.

Takes: a run's folder: ``log.jsonl``, and where they are there ``machine.jsonl`` and ``recipe.yaml``.
Gives: the page, also for a run that is not finished, and without matplotlib: then numbers stand for the pictures.
Does not know: models or data; it reads the log like anyone could.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from llamarium.ground import files
from llamarium.ground.config import read_yaml
from llamarium.ground.errors import BadFileError, MissingExtraError, RecipeError
from llamarium.ground.page import Html, details, element, page, picture, table, tiles
from llamarium.ground.picture import WIDTH, heat_map, line_chart
from llamarium.ground.progress import duration
from llamarium.train import log

REPORT, LOG, MACHINE, RECIPE = "report.html", "log.jsonl", "machine.jsonl", "recipe.yaml"
MOST_ROWS = 40
MOST_SAMPLES, OPEN_SAMPLES = 60, 4
MOST_EVENTS = 300
SMALL = (400, 280)  # pixels
LAYERS = (400, 400)  # at most
SHOWN = ("sample", "norms", "memory")  # events that are not in the table of events: they have their own place
MARKED = ("skip", "roll-back")
# What a validation may have measured, and what its axis says: a model that fills gaps gives a text no probability.
SCALES = {
    "bits_per_byte": "on validation text, less is better",
    "validation_loss": "nats per token that was left out, on validation text, less is better",
}

Line = dict[str, Any]
Points = list[tuple[float, float]]


def write_report(folder: Path) -> Path | None:
    """Write ``report.html`` into the run's `folder` and return its path; None where the log holds no line yet."""
    lines = log.read(folder / LOG)
    if not lines:
        return None
    path = folder / REPORT
    recipe_text, recipe = _recipe_text(folder / RECIPE), _recipe(folder / RECIPE)
    files.write_text(path, render(folder.resolve().name, lines, recipe_text, recipe, log.read(folder / MACHINE)))
    return path


def render(name: str, lines: Sequence[Line], recipe_text: str, recipe: Line, machine: Sequence[Line] = ()) -> str:
    """The page for a run's log: `lines`, and those of its `machine`, as `log.read` gives them.

    The recipe comes as text and as a mapping, both empty if there is none.
    """
    events = [line for line in lines if "event" in line]
    steps = [line for line in lines if "event" not in line]
    told = sorted([*machine, *events], key=lambda line: line["step"])  # in step 0 the start, at a later step its resume first
    title = recipe.get("name", name)
    body = [
        element("h1", title),
        element("p", _state(steps, recipe), class_="lead soft"),
        tiles(_tiles(steps)),
        *_pictures(steps, events, machine),
        *_events([event for event in told if event.get("event") not in SHOWN]),
        *_samples([event for event in events if event["event"] == "sample"], steps),
        *_numbers(steps),
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
    loss, scores, speeds = _points(steps, "loss"), _points(steps, _scale(steps)), _speeds(steps)
    last = steps[-1] if steps else {}
    result = [("steps", f"{last.get('step', 0):,}", "")]
    if tokens := _number(last.get("tokens")):
        result.append(("tokens", _short(tokens), f"{tokens:,.0f}"))
    if loss:
        result.append(("loss", f"{loss[-1][1]:.3f}", f"at first {loss[0][1]:.3f}"))
    if scores:
        step, best = min(scores, key=lambda point: point[1])
        result.append((_words(_scale(steps)), f"{best:.3f}", f"the best, at step {step:,.0f}"))
    if speeds:
        middle = sorted(speed for _, speed in speeds)[len(speeds) // 2]
        result.append(("tokens a second", f"{middle:,.0f}", "the median"))
    return result


def _pictures(steps: Sequence[Line], events: Sequence[Line], machine: Sequence[Line]) -> list[Html]:
    """The charts, or one sentence that says how to get them."""
    scale = _scale(steps)
    loss, scores = _points(steps, "loss"), _points(steps, scale)
    window = max(1, len(loss) // 50)
    large: dict[str, Points] = {"each step": loss}
    if window > 1:
        large[f"mean of {window} steps"] = _smooth(loss, window)
    marks = {kind: [float(event["step"]) for event in events if event["event"] == kind] for kind in MARKED}
    used, unit = _memory(machine)
    small: list[tuple[Mapping[str, Points], str, str, bool]] = [
        ({"": _points(steps, "learning_rate")}, "Learning rate", "", True),
        ({"": _points(steps, "gradient_norm")}, "Gradient norm", "before it is clipped", False),
        ({"": _speeds(steps)}, "Speed", "tokens a second, saving and validating included", True),
        (used, "Memory", f"{unit}, of the first process", True),
    ]

    def loss_chart(width: int, height: int) -> str:
        faint = ["each step"] if window > 1 else []
        unit = "nats per token, less is better"
        return line_chart(large, title="Loss", x_label="step", y_label=unit, marks=marks, faint=faint, width=width, height=height)

    def scores_chart(width: int, height: int) -> str:
        title = _words(scale).capitalize()
        return line_chart({"": scores}, title=title, x_label="step", y_label=SCALES[scale], width=width, height=height)

    try:
        first = [picture(loss_chart(WIDTH, 340), loss_chart(*SMALL))] if loss else []
        first += [picture(scores_chart(WIDTH, 260), scores_chart(*SMALL))] if scores else []
        width, height = SMALL
        others = [
            picture(line_chart(curves, title=title, x_label="step", y_label=unit, from_zero=zero, width=width, height=height))
            for curves, title, unit, zero in small
            if any(curves.values())
        ]
    except MissingExtraError as error:
        return [element("p", f"There are no pictures here. {error.message} {error.hint}", class_="warn"), *_layers(events)]
    return [*first, *([element("div", *others, class_="pictures")] if others else []), *_layers(events)]


def _layers(events: Sequence[Line]) -> list[Html]:
    """Norms of the weights and of the gradients, layer by layer."""
    weights, gradients = (_norms(events, side) for side in (0, 1))
    if not weights:
        return []
    width, height = LAYERS
    first = {name: next((norm for _, norm in points if norm > 0), math.nan) for name, points in weights.items()}
    growth = {name: [(step, norm / first[name]) for step, norm in points] for name, points in weights.items()}
    ends = (
        {name: f"{points[-1][1]:.3g}  ×{growth[name][-1][1]:.3g}" for name, points in weights.items()},
        {name: f"{points[-1][1]:.3g}" for name, points in gradients.items()},
    )

    def chart(rows: Mapping[str, Points], title: str, y_label: str, *, side: int) -> Html:
        words = {"title": title, "x_label": "step", "y_label": f"{y_label}; right: the last"}
        return picture(heat_map(rows, **words, log=True, ends=ends[side], width=width, height=height))

    drawn = (
        chart(growth, "Weights", "norm as a multiple of its first", side=0),
        chart(gradients, "Gradients", "norm before it is clipped", side=1),
    )
    return [element("h2", "Layers"), element("div", *drawn, class_="pictures")]


def _norms(events: Sequence[Line], side: int) -> dict[str, Points]:
    """By layer, (step, norm) of the weights (side 0) or the gradients (1) at validations."""
    found: dict[str, Points] = {}
    for event in events:
        detail = event.get("detail")
        if event["event"] != "norms" or not isinstance(detail, dict):
            continue
        for name, norms in detail.items():
            norm = _number(norms[side]) if isinstance(norms, list) and len(norms) == 2 else None
            if norm is not None:
                found.setdefault(name, []).append((float(event["step"]), norm))
    return found


def _memory(machine: Sequence[Line]) -> tuple[dict[str, Points], str]:
    """Memory by what it is called, over the steps, and its unit. Steps that a resume took back are not shown twice."""
    found: dict[str, Points] = {}
    for line in machine:
        detail = line.get("detail")
        if line.get("event") == "resumed":
            found = {name: [point for point in points if point[0] <= line["step"]] for name, points in found.items()}
        if line.get("event") != "memory" or not isinstance(detail, dict):
            continue
        for name, size in detail.items():
            if (number := _number(size)) is not None:
                found.setdefault(name, []).append((float(line["step"]), number))
    unit, name = (2**30, "GiB") if max((size for points in found.values() for _, size in points), default=0.0) >= 2**30 else (2**20, "MiB")
    return {key: [(step, size / unit) for step, size in points] for key, points in found.items()}, name


def _numbers(steps: Sequence[Line]) -> list[Html]:
    """Validations, and some of the steps, as tables."""
    columns = ("step", "tokens", "loss", _scale(steps), "learning_rate", "gradient_norm", "seconds")
    header = tuple(map(_words, columns))

    def rows(lines: Sequence[Line]) -> Html:
        return table([[_cell(line.get(column)) for column in columns] for line in _some(lines)], header, numbers=range(len(columns)))

    validated = [line for line in steps if _number(line.get(columns[3])) is not None]
    parts = [element("h2", "Numbers")] if steps else []
    if validated:
        parts.append(details(f"Validations ({_count(validated)})", rows(validated), open=len(validated) <= 12))
    if steps:
        parts.append(details(f"Steps ({_count(steps)})", rows(steps), open=not validated and len(steps) <= 12))
    return parts


def _samples(samples: Sequence[Line], steps: Sequence[Line]) -> list[Html]:
    if not samples:
        return []
    shown = _some(samples, most=MOST_SAMPLES)
    scale = _scale(steps)
    scores = dict(_points(steps, scale))
    note = f"What the model wrote on the way, the latest first{f', {len(shown)} of {len(samples):,}' if len(shown) < len(samples) else ''}."
    entries = []
    for sample in reversed(shown):
        step = sample["step"]
        said = f"Step {step:,}{f', {scores[step]:.3f} {_words(scale)}' if step in scores else ''}"
        entries.append(Html().join([element("h3", said), element("blockquote", _text(sample.get("detail")))]))
    parts = [element("h2", "Samples"), element("p", note, class_="soft"), *entries[:OPEN_SAMPLES]]
    if len(entries) > OPEN_SAMPLES:
        parts.append(details(f"Earlier samples ({len(entries) - OPEN_SAMPLES})", *entries[OPEN_SAMPLES:]))
    return parts


def _events(events: Sequence[Line]) -> list[Html]:
    if not events:
        return []
    shown = events[-MOST_EVENTS:]
    more = len(events) - len(shown)
    rows = [(f"{event['step']:,}", _text(event["event"]), _said(event.get("detail"))) for event in shown]
    note = element("p", f"The last {len(shown)}; {more:,} earlier ones are in {LOG} and {MACHINE}.", class_="soft")
    return [element("h2", "Events"), *([note] if more else []), table(rows, ("step", "event", ""), numbers=(0,))]


def _number(value: object) -> float | None:
    """A finite number, or None: NaN stands in the log of a run that came apart."""
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) else None


def _scale(steps: Sequence[Line]) -> str:
    """What the validations of this log measured; a run has one objective, and so one scale."""
    return next((scale for scale in SCALES if any(scale in line for line in steps)), "bits_per_byte")


def _words(key: str) -> str:
    return key.replace("_", " ")


def _points(steps: Sequence[Line], key: str) -> Points:
    return [(float(line["step"]), number) for line in steps if (number := _number(line.get(key))) is not None]


def _speeds(steps: Sequence[Line]) -> Points:
    """Tokens a second over stretches between lines of the log, each from one validation to the next or several of these.

    Shorter stretches would show only which of them held a validation. Without validations: long enough for the clock.
    """
    validations = len(_points(steps, _scale(steps)))
    between = len(steps) // validations if validations > 1 else 1
    stretch = between * max(1, len(steps) // (200 * between))
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


def _said(detail: object) -> str:
    """What an event tells, for people."""
    if not isinstance(detail, dict):
        return _text(detail)
    return "; ".join(f"{key}: {', '.join(map(_text, value)) if isinstance(value, list) else _text(value)}" for key, value in detail.items())


def _text(value: object) -> str:
    return value if isinstance(value, str) else "" if value is None else json.dumps(value, ensure_ascii=False)
