"""``llamarium prepare``: files to a corpus."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from llamarium.cli._output import Json, print_json, print_text

if TYPE_CHECKING:
    from llamarium.text.report import PrepareReport

MOST_LISTED = 20


def command(
    sources: Annotated[list[str], typer.Argument(metavar="SRC", help="Files, folders, or python:docs.")],
    *,
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Where the corpus goes.")],
    engine: Annotated[str, typer.Option("--engine", help="What the work runs on: local.")] = "local",
    strict: Annotated[bool, typer.Option("--strict", help="Stop where a file cannot be read.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace a corpus at DIR.")] = False,
    json: Json = False,
) -> None:
    """Read, clean, deduplicate and split text into a corpus, and report what was dropped and why."""
    from llamarium.text.prepare import prepare

    report = prepare(sources, out, strict=strict, force=force, engine=engine)
    if json:
        print_json(report.as_json())
    else:
        print_text("\n".join(_lines(report, out)))


def _lines(report: PrepareReport, out: Path) -> list[str]:
    lines = [
        f"{report.documents_out:,} of {report.documents_in:,} documents, {report.characters_out:,} characters: {out}",
        f"train {report.train.documents:,}, valid {report.valid.documents:,} documents; leak {100 * report.leak:.1f} %",
        f"languages: {_counts(report.languages)}",
        f"dropped: {_counts(report.dropped) or 'none'}",
    ]
    if report.bad_files:
        lines.append(f"files that could not be read: {len(report.bad_files):,}")
        lines += [f"  {bad.path}: {bad.reason}" for bad in report.bad_files[:MOST_LISTED]]
        if len(report.bad_files) > MOST_LISTED:
            lines.append("  the others are in report.json")
    return [*lines, f"report: {out / 'report.html'}"]


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counts.items() if count)
