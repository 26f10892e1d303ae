"""The ladder shown: a table in the terminal, and ``report.html`` with two pictures and what every rung writes.

Takes: the results of `climb`, finished or not.
Gives: lines; the page, which without matplotlib has numbers instead of pictures.
Does not know: how anything was trained.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from llamarium.apps.ladder.climb import passed
from llamarium.ground import files
from llamarium.ground.errors import MissingExtraError
from llamarium.ground.page import Html, bar, details, element, page, picture, table, tiles
from llamarium.ground.picture import line_chart
from llamarium.ground.progress import duration

REPORT = "report.html"
WIDE, NARROW = (880, 460), (430, 420)  # pixels

Results = dict[str, Any]


def table_rows(results: Results) -> list[dict[str, Any]]:
    """Everything on the ladder, the worst first: key, name, bits per byte with the spread over seeds, size, seconds, tokens."""
    rows: list[dict[str, Any]] = [
        {**each, "bits": each["bits_per_byte"], "spread": None, "parameters": None, "tokens": None, "adds": "a compressor"}
        for each in results["references"]
    ]
    by_rung: dict[str, list[dict[str, Any]]] = {}
    for entry in results["rungs"]:
        by_rung.setdefault(entry["rung"], []).append(entry)
    for key, entries in by_rung.items():
        all_bits = [entry["bits_per_byte"] for entry in entries]
        rows.append(
            {
                **entries[0],
                "key": key,
                "bits": sum(all_bits) / len(all_bits),
                "spread": (min(all_bits), max(all_bits)) if len(all_bits) > 1 else None,
            }
        )
    top = results["catalogue"]
    if top is not None and "before" in top:
        shared = {"parameters": top.get("parameters"), "spread": None}
        as_it_is = {"key": "before", "name": top["name"], "adds": "raised on the whole web; as it is", "bits": top["before"]}
        rows.append({**shared, **as_it_is, "seconds": None, "tokens": None})
        if "after" in top:
            after = {
                "key": "after",
                "name": f"{top['name']}, after reading",
                "adds": "continued on this text with LoRA",
                "bits": top["after"],
            }
            rows.append({**shared, **after, "seconds": top["seconds"], "tokens": top["tokens"]})
    return sorted(rows, key=lambda row: -row["bits"])


def lines(results: Results) -> list[str]:
    """The ladder for a terminal."""
    found = [f"{'bits/byte':>9}  {'':<24}  {'':<30}  {'size':>6}  {'time':>10}"]
    for row in table_rows(results):
        spread = f"  ({row['spread'][0]:.4f} … {row['spread'][1]:.4f})" if row["spread"] else ""
        size, seconds = _short(row["parameters"]), "" if row["seconds"] is None else duration(row["seconds"])
        found.append(f"{row['bits']:>9.4f}  {_cells(row['bits'])}  {row['name']:<30.30}  {size:>6}  {seconds:>10}{spread}")
    return [*found, *verdicts(results)]


def verdicts(results: Results) -> list[str]:
    """When the best network went past the compressors and the counts, or that it did not."""
    networks = [entry for entry in results["rungs"] if entry["curve"]]
    if not networks:
        return []
    best = min(networks, key=lambda entry: entry["bits_per_byte"])
    levels = [(each["name"], each["bits_per_byte"]) for each in results["references"]]
    levels += [(entry["name"], entry["bits_per_byte"]) for entry in results["rungs"] if not entry["curve"]]
    found = []
    for name, level in levels:
        seconds = passed(best["curve"], level)
        when = f"went past {name} after {duration(seconds)}" if seconds is not None else f"has not gone past {name} ({level:.4f})"
        found.append(f"{best['name']} {when}.")
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
        f"Every network has about {settings['size']} weights, the same {settings['vocab_size']:,} pieces of text, and {share} on "
        f"{results['machine']['threads']} threads; all are judged on the same {validation['documents']:,} documents "
        f"({validation['bytes']:,} bytes) that none has read. A compressor's figure says how far plain repetition goes."
    )
    body = [
        element("h1", "The ladder"),
        element("p", lead, class_="lead soft"),
        tiles([(row["name"], f"{row['bits']:.3f}", "bits per byte") for row in rows[-3:]]),
        *(element("p", sentence) for sentence in verdicts(results)),
        *_pictures(results, rows),
        element("h2", "All rungs"),
        _table(rows),
        element("h2", "What they write"),
        *_samples(results),
    ]
    return page("The ladder · Llamarium", Html("\n").join(body), language="en")


def _pictures(results: Results, rows: list[dict[str, Any]]) -> list[Html]:
    networks = [entry for entry in results["rungs"] if entry["curve"] and entry["seed"] == 1]
    others = [entry for entry in results["rungs"] if entry["curve"] and entry["seed"] != 1]
    levels = {f"{row['bits']:.3f}  {row['name']}": row["bits"] for row in rows if row["key"] not in {entry["rung"] for entry in networks}}
    series = {f"{entry['bits_per_byte']:.3f}  {entry['name']}": [tuple(point) for point in entry["curve"]] for entry in networks}
    faint = {f"{entry['bits_per_byte']:.3f}  {entry['name']}, seed {entry['seed']}": [tuple(p) for p in entry["curve"]] for entry in others}
    sizes = {f"{row['bits']:.3f}  {row['name']}": [(row["parameters"], row["bits"])] for row in rows if row["parameters"]}

    def over_time(width: int, height: int) -> str:
        return line_chart(
            series | faint,
            title="Bits per byte over time",
            x_label="seconds of training",
            y_label="bits per byte",
            references=levels,
            log_x=True,
            faint=list(faint),
            width=width,
            height=height,
        )

    def over_size(width: int, height: int) -> str:
        return line_chart(
            sizes,
            title="Bits per byte over size",
            x_label="weights, or different grams that were counted",
            y_label="bits per byte",
            log_x=True,
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
        who = element("div", element("b", row["name"]), element("small", row["adds"]))
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
