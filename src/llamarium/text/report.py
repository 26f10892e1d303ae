"""What preparation did, as numbers and as a page.

Takes: counts, examples and the split.
Gives: the object that ``prepare --json`` prints, ``report.json``, and ``report.html``: one page that asks nobody for anything.
Does not know: how the numbers came about. Neither file holds a time or a place on the machine, so both repeat to the byte.
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from llamarium.ground.progress import size
from llamarium.text.corpus import Side

NUM_EXAMPLES = 3
EXAMPLE_CHARACTERS = 240
MOST_LISTED = 500

REASONS = {
    "blank": "nothing but white space",
    "too_short": "fewer than four letters or digits",
    "duplicate_exact": "the words of an earlier document, but for case and spacing",
}
CHANGES = {
    "controls": "control, zero-width or direction characters removed, line ends made plain",
    "unicode_form": "composed into Unicode's form NFC",
    "whitespace": "unusual spaces made plain, spaces at line ends and repeated blank lines removed",
}


@dataclass(frozen=True)
class BadFile:
    """A file that gave nothing, by its name relative to its source, and why."""

    path: str
    reason: str


@dataclass(frozen=True)
class Example:
    """The beginning of a document that was dropped, and the source of the one that it repeats, if it does."""

    source: str
    text: str
    same_as: str | None = None


@dataclass(frozen=True)
class PrepareReport:
    """What went in, what came out, and why the rest did not.

    `dropped` counts documents by reason, `changed` those that a cleaning step altered, `languages` those that are left.
    `near_copies`: documents with a near-copy, kept on its side. `held_back`: documents kept from validation because most of
    them is found elsewhere. `leak`: share of validation documents with more than half of their 5-grams in the training text.
    """

    sources: tuple[str, ...]
    documents_in: int
    documents_out: int
    characters_in: int
    characters_out: int
    dropped: Mapping[str, int]
    changed: Mapping[str, int]
    examples: Mapping[str, tuple[Example, ...]]
    bad_files: tuple[BadFile, ...]
    languages: Mapping[str, int]
    train: Side
    valid: Side
    near_copies: int
    held_back: int
    leak: float
    seconds: float

    def as_json(self) -> dict[str, Any]:
        """The keys of ``prepare --json``."""
        names = ("documents_in", "documents_out", "characters_out", "dropped", "bad_files", "languages", "seconds")
        return {name: value for name, value in asdict(self).items() if name in names}

    def details(self) -> dict[str, Any]:
        """Everything but the time it took: ``report.json``."""
        return {name: value for name, value in asdict(self).items() if name != "seconds"}


def page(report: PrepareReport) -> str:
    """``report.html``. Whatever came from a file is escaped; there is no script, and the policy forbids every request."""
    kept = _share(report.documents_out, report.documents_in)
    parts = [
        f"<h1>{' · '.join(map(_escape, report.sources))}</h1>",
        f"<p class=lead>{report.documents_out:,} of {report.documents_in:,} documents are kept ({kept}).</p>",
        "<div class=tiles>",
        _tile("documents", f"{report.documents_out:,}", f"of {report.documents_in:,}"),
        _tile("characters", f"{report.characters_out:,}", f"of {report.characters_in:,}"),
        _tile("to train", size(report.train.bytes), f"{report.train.documents:,} documents"),
        _tile("to validate", size(report.valid.bytes), f"{report.valid.documents:,} documents"),
        "</div>",
        *_dropped(report),
        *_changed(report),
        "<h2>Languages</h2><p>Guessed from the script of each document.</p>",
        _bars((code, "", count) for code, count in report.languages.items()),
        *_split(report),
        *_bad_files(report),
    ]
    return _PAGE.replace("{body}", "\n".join(parts))


def _dropped(report: PrepareReport) -> list[str]:
    total = sum(report.dropped.values())
    if not total:
        return ["<h2>Dropped</h2><p>No document was dropped.</p>"]
    parts = [f"<h2>Dropped</h2><p>{total:,} documents ({_share(total, report.documents_in)}), by reason.</p>"]
    parts.append(_bars((reason, REASONS.get(reason, ""), count) for reason, count in report.dropped.items() if count))
    for reason, examples in report.examples.items():
        figures = "".join(map(_figure, examples))
        summary = f"{_escape(reason)}: {len(examples)} of {report.dropped[reason]:,}"
        parts.append(f"<details><summary>{summary}</summary>{figures}</details>")
    return parts


def _figure(example: Example) -> str:
    caption = example.source if example.same_as is None else f"{example.source}, the same as {example.same_as}"
    return f"<figure><figcaption>{_escape(caption)}</figcaption><pre>{_escape(example.text)}</pre></figure>"


def _changed(report: PrepareReport) -> list[str]:
    rows = [(step, CHANGES.get(step, ""), count) for step, count in report.changed.items() if count]
    if not rows:
        return ["<h2>Cleaned</h2><p>No kept document needed a change.</p>"]
    return ["<h2>Cleaned</h2><p>Documents that a step changed.</p>", _bars(rows)]


def _split(report: PrepareReport) -> list[str]:
    share = _share(report.valid.characters, report.characters_out)
    sentences = [f"{share} of the characters validate. The choice depends on the texts alone, so it repeats."]
    if report.near_copies:
        sentences.append(f"{report.near_copies:,} documents are near-copies of others and stand on the side of those.")
    if report.held_back:
        sentences.append(f"{report.held_back:,} were kept from validation (leak): too much of each, or of its group, stands elsewhere too.")
    if report.valid.documents:
        sentences.append(f"Leak: {100 * report.leak:.1f} % of the validation documents share over half of their 5-grams with training.")
    else:
        sentences.append("Nothing validates: no document stands apart enough from the others.")
    return ["<h2>Split</h2>", f"<p>{' '.join(sentences)}</p>"]


def _bad_files(report: PrepareReport) -> list[str]:
    if not report.bad_files:
        return ["<h2>Files that could not be read</h2><p>None.</p>"]
    shown = report.bad_files[:MOST_LISTED]
    rows = "".join(f"<tr><td>{_escape(bad.path)}</td><td>{_escape(bad.reason)}</td></tr>" for bad in shown)
    more = len(report.bad_files) - len(shown)
    rest = f"<p>And {more:,} more in report.json.</p>" if more else ""
    return [f"<h2>Files that could not be read</h2><table><tr><th>file</th><th>why</th></tr>{rows}</table>{rest}"]


def _bars(rows: Iterable[tuple[str, str, int]]) -> str:
    rows = sorted(rows, key=lambda row: (-row[2], row[0]))
    most = max((count for _, _, count in rows), default=1)
    cells = (
        f"<tr><td><b>{_escape(name)}</b> <small>{_escape(note)}</small></td><td class=number>{count:,}</td>"
        f'<td class=bar><i style="width:{100 * count / most:.1f}%"></i></td></tr>'
        for name, note, count in rows
    )
    return f"<table>{''.join(cells)}</table>"


def _tile(name: str, value: str, note: str) -> str:
    return f"<div><small>{name}</small><strong>{value}</strong><small>{note}</small></div>"


def _share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f} %" if whole else "0 %"


def _escape(text: str) -> str:
    return html.escape(text, quote=True)


_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Corpus report</title>
<style>
:root { --ink: #22262b; --soft: #6b7280; --paper: #fcfbf8; --line: #e5e2da; --accent: #4d7c6f; color-scheme: light dark; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e4df; --soft: #9aa0a8; --paper: #1a1c1f; --line: #33363b; --accent: #7fb3a3; }
}
body { margin: 3rem auto; max-width: 46rem; padding: 0 1.25rem; background: var(--paper); color: var(--ink);
  font: 1rem/1.6 system-ui, "Noto Sans CJK SC", "PingFang SC", "Microsoft YaHei", sans-serif; }
h1 { font-size: 1.6rem; font-weight: 600; margin: 0; overflow-wrap: anywhere; }
h2 { font-size: 1.1rem; font-weight: 600; margin: 2.5rem 0 .25rem; }
p { margin: .25rem 0 .75rem; } .lead, small, figcaption { color: var(--soft); }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(9rem, 1fr)); gap: 1px; margin-top: 1.5rem;
  background: var(--line); border: 1px solid var(--line); border-radius: .5rem; overflow: hidden; }
.tiles div { background: var(--paper); padding: .75rem 1rem; } .tiles strong { display: block; font-size: 1.35rem; font-weight: 600; }
table { border-collapse: collapse; width: 100%; }
td, th { border-top: 1px solid var(--line); padding: .4rem .75rem .4rem 0; text-align: left; vertical-align: top; overflow-wrap: anywhere; }
th { color: var(--soft); font-weight: 400; } .number { text-align: right; font-variant-numeric: tabular-nums; }
.bar { width: 30%; }
.bar i { display: block; height: .5rem; margin-top: .55rem; background: var(--accent); border-radius: .25rem; min-width: 2px; }
details { margin: .5rem 0; } summary { cursor: pointer; } figure { margin: .75rem 0 .75rem 1rem; } figcaption { font-size: .85rem; }
pre { margin: .15rem 0; padding: .5rem .75rem; border-left: 3px solid var(--line); font-size: .9rem;
  white-space: pre-wrap; overflow-wrap: anywhere; }
</style>
</head>
<body>
{body}
</body>
</html>
"""
