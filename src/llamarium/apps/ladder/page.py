"""The ladder shown: a table in the terminal, and ``report.html`` with two pictures and what every rung writes.

Takes: the results of `climb`, finished or not.
Gives: lines; the page, which without matplotlib has numbers instead of pictures.
Does not know: how anything was trained.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llamarium.ground import files
from llamarium.ground.errors import MissingExtraError
from llamarium.ground.page import Html, bar, details, element, page, picture, table, tiles
from llamarium.ground.picture import line_chart
from llamarium.ground.progress import duration

REPORT = "report.html"
WIDE, NARROW = (880, 460), (430, 420)  # pixels
CLEARLY = 0.005  # bits per byte

Results = dict[str, Any]


def table_rows(results: Results) -> list[dict[str, Any]]:
    """Everything on the ladder, the worst first: kind, name, bits per byte (with several seeds their mean, and the spread), size, time.

    Kinds: compressor, counts, network, catalogue. Of several seeds the first gives the curve and all that is not a mean.
    """
    nothing = {"spread": None, "parameters": None, "tokens": None, "seconds": None}
    rows: list[dict[str, Any]] = [
        {**nothing, **each, "kind": "compressor", "bits": each["bits_per_byte"], "adds": "a compressor"} for each in results["references"]
    ]
    by_rung: dict[str, list[dict[str, Any]]] = {}
    for entry in results["rungs"]:
        by_rung.setdefault(entry["rung"], []).append(entry)
    for key, entries in by_rung.items():
        all_bits = [entry["bits_per_byte"] for entry in entries]
        spread = (min(all_bits), max(all_bits)) if len(all_bits) > 1 else None
        kind = "network" if entries[0]["curve"] else "counts"
        rows.append({**entries[0], "key": key, "kind": kind, "bits": sum(all_bits) / len(all_bits), "spread": spread})
    top = results["catalogue"] or {}
    for key, words, adds in (
        ("before", "", "raised on the whole web; as it is"),
        ("after", ", after reading", "continued on this text with LoRA"),
    ):
        if key in top:
            row = {**nothing, "key": key, "kind": "catalogue", "name": f"{top['name']}{words}", "adds": adds, "bits": top[key]}
            read = {"seconds": top["seconds"], "tokens": top["tokens"]} if key == "after" else {}
            rows.append({**row, "parameters": top["parameters"], **read})
    return sorted(rows, key=lambda row: -row["bits"])


def lines(results: Results) -> list[str]:
    """The ladder for a terminal."""
    found = [f"{'bits/byte':>9}  {'':<24}  {'':<30}  {'size':>6}  {'time':>10}"]
    for row in table_rows(results):
        spread = f"  ({row['spread'][0]:.4f} … {row['spread'][1]:.4f})" if row["spread"] else ""
        size, seconds = _short(row["parameters"]), "" if row["seconds"] is None else duration(row["seconds"])
        found.append(f"{row['bits']:>9.4f}  {_cells(row['bits'])}  {row['name']:<30.30}  {size:>6}  {seconds:>10}{spread}")
    return [*found, *verdicts(results)]


@dataclass(frozen=True)
class Crossing:
    """The best network and a level reached without gradients: after how many seconds it went past it, None if it has not."""

    over: dict[str, Any]
    seconds: float | None


def crossings(results: Results) -> tuple[str, list[Crossing]]:
    """The name of the best network, and when it went past each compressor and each model that counts; without one nothing."""
    rows = table_rows(results)
    networks = [row for row in rows if row["kind"] == "network"]
    if not networks:
        return "", []
    best = networks[-1]
    return best["name"], [Crossing(row, passed(best["curve"], row["bits"])) for row in rows if row["kind"] in ("compressor", "counts")]


def passed(curve: list[list[float]], level: float) -> float | None:
    """Seconds after which a curve [(seconds, bits per byte), …] is below `level` and stays there, drawn straight between its points.

    >>> passed([[1, 3.0], [3, 2.0]], 2.5), passed([[1, 3.0], [3, 2.0]], 1.0), passed([[1, 3.0]], 4.0)
    (2.0, None, 1)
    """
    above = [place for place, (_, bits) in enumerate(curve) if bits >= level or not math.isfinite(bits)]
    if not above:
        return curve[0][0] if curve else None
    if above[-1] == len(curve) - 1:
        return None
    (x, y), (later, lower) = curve[above[-1]], curve[above[-1] + 1]
    return x + (later - x) * (y - level) / (y - lower) if math.isfinite(y) else later


def turned_back(results: Results) -> list[tuple[str, float, float]]:
    """Networks that were clearly better before the end than at it, and when: (name, seconds, bits per byte)."""
    found = []
    for row in table_rows(results):
        if row["kind"] == "network" and row["curve"]:
            seconds, bits = min(row["curve"], key=lambda point: point[1])
            if bits < row["curve"][-1][1] - CLEARLY:
                found.append((row["name"], seconds, bits))
    return found


def verdicts(results: Results) -> list[str]:
    """When the best network went past the compressors and the counts, or that it did not; and what is not there, and why."""
    found = []
    best, levels = crossings(results)
    went = [f"{each.over['name']} after {duration(each.seconds)}" for each in levels if each.seconds is not None]
    stays = [f"{each.over['name']} ({each.over['bits']:.4f})" for each in levels if each.seconds is None]
    if went:
        found.append(f"{best}, the best network, went past {', '.join(went)}.")
    if stays:
        found.append(f"{best}, the best network, has not gone past {', '.join(stays)} in this time.")
    if turned := [f"{name} ({bits:.4f} after {duration(seconds)})" for name, seconds, bits in turned_back(results)]:
        found.append(f"Better before the end than at it: {', '.join(turned)}. They learn this text by heart: it is small for so much time.")
    if results.get("catalogue_missing"):
        found.append(results["catalogue_missing"])
    if not results["done"]:
        found.append("The ladder was interrupted; --resume goes on with it.")
    return found


def write_report(out: Path, results: Results) -> Path:
    """Write ``report.html`` into `out`."""
    files.write_text(out / REPORT, render(results))
    return out / REPORT


def render(results: Results) -> str:
    """The page."""
    settings, validation = results["settings"], results["validation"]
    per_rung = results.get("seconds_a_rung")
    share = f"{duration(per_rung)} each" if per_rung else f"{settings['tokens']:,} tokens each"
    rows = table_rows(results)
    lead = (
        f"Every network has about {settings['size']} weights, the same {results['pieces']:,} pieces of text, and {share} on "
        f"{results['machine']['threads']} threads; all are judged on the same {validation['documents']:,} documents "
        f"({validation['bytes']:,} bytes) that none has read. A compressor's figure says how far plain repetition goes."
    )
    body = [
        element("h1", "The ladder"),
        element("p", lead, class_="lead soft"),
        _tiles(rows),
        *(element("p", sentence) for sentence in verdicts(results)),
        *_pictures(results, rows),
        element("h2", "All rungs"),
        _table(rows),
        element("h2", "What they write"),
        *_samples(results),
    ]
    return page("The ladder · Llamarium", Html("\n").join(body), language="en")


def _best(rows: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    """The best row of a kind, in a list that may be empty."""
    return [row for row in rows if row["kind"] == kind][-1:]


def _tiles(rows: list[dict[str, Any]]) -> Html:
    """What is seen first: the best of each kind."""
    notes = {
        "compressor": "the best compressor",
        "counts": "the best that counts",
        "network": "the best network from nothing",
        "catalogue": "raised elsewhere",
    }
    return tiles((row["name"], f"{row['bits']:.3f}", notes[kind]) for kind in notes for row in _best(rows, kind))


def _pictures(results: Results, rows: list[dict[str, Any]]) -> list[Html]:
    def named(row: dict[str, Any]) -> str:
        return f"{row['bits']:.3f}  {row['name']}"

    by_key = {row["key"]: row for row in rows}
    story = [by_key[entry["key"]] for entry in results["rungs"] if entry["seed"] == 1]  # a rung has the same colour in both pictures
    networks, counts = ([row for row in story if row["kind"] == kind] for kind in ("network", "counts"))
    others = [row for row in rows if row["kind"] in ("compressor", "catalogue")]
    curves = {named(row): row["curve"] for row in networks}
    faint = {
        f"{entry['bits_per_byte']:.3f}  {entry['name']}, seed {entry['seed']}": entry["curve"]
        for entry in results["rungs"]
        if entry["seed"] != 1
    }
    best, levels = crossings(results)
    marked = [row["key"] for row in [*(row for row in others if row["key"] == "xz"), *_best(rows, "counts")]]
    marks = {
        f"{best} passes {each.over['name']}": [each.seconds] for each in levels if each.over["key"] in marked and each.seconds is not None
    }

    def over_time(width: int, height: int) -> str:
        return line_chart(
            curves | faint,
            title="Bits per byte over time",
            x_label="seconds of training",
            y_label="bits per byte",
            references={named(row): row["bits"] for row in [*counts, *others]},
            marks=marks,
            log_x=True,
            faint=list(faint),
            width=width,
            height=height,
        )

    def over_size(width: int, height: int) -> str:
        return line_chart(
            {named(row): [(row["parameters"], row["bits"])] for row in [*networks, *counts]},
            title="Bits per byte over size",
            x_label="weights, or different grams that were counted",
            y_label="bits per byte",
            references={named(row): row["bits"] for row in others},
            log_x=True,
            faint=[named(row) for row in counts],
            width=width,
            height=height,
        )

    try:
        return [picture(draw(*WIDE), draw(*NARROW)) for draw in (over_time, over_size)]
    except MissingExtraError as error:
        return [element("p", f"{error.message} {error.hint}", class_="warn")]


def _table(rows: list[dict[str, Any]]) -> Html:
    most = max(row["bits"] for row in rows) or 1.0
    cells = []
    for row in rows:
        bits = f"{row['bits']:.4f}" + (f" ({row['spread'][0]:.4f} … {row['spread'][1]:.4f})" if row["spread"] else "")
        who = element("div", element("b", row["name"]), " ", element("small", row["adds"]))
        seconds = "" if row["seconds"] is None else duration(row["seconds"])
        cells.append((who, bits, bar(row["bits"] / most), _short(row["parameters"]), _short(row["tokens"]), seconds))
    return table(cells, ("who", "bits per byte", "", "size", "tokens read", "time"), numbers=(1, 3, 4, 5))


def _samples(results: Results) -> list[Html]:
    found = [(entry["name"], entry["sample"]) for entry in results["rungs"] if entry["seed"] == 1]
    top = results["catalogue"] or {}
    found += [
        (f"{top.get('name')}, {when}", top[key])
        for key, when in (("sample_before", "as it is"), ("sample_after", "after reading"))
        if key in top
    ]
    return [details(name, element("pre", text), open=True) for name, text in found]


def _short(number: float | None) -> str:
    """A number of weights or tokens for people.

    >>> _short(1_234_567), _short(980), _short(None)
    ('1.2M', '980', '')
    """
    if number is None:
        return ""
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if number >= size:
            return f"{number / size:.1f}{unit}"
    return f"{number:.0f}"


def _cells(bits: float) -> str:
    """A bar of up to 24 cells: eight bits a byte is no compression at all."""
    return ("█" * round(3 * min(8.0, bits))).ljust(24)
