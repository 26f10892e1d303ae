"""``llamarium prepare``: files to a corpus."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from llamarium.cli._options import parse_bytes
from llamarium.cli._output import Json, print_json, print_text

if TYPE_CHECKING:
    from llamarium.text.report import PrepareReport

MOST_LISTED = 20


def command(
    sources: Annotated[list[str], typer.Argument(metavar="SRC", help="Files, folders, or python:docs.")],
    *,
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Where the corpus goes.")],
    engine: Annotated[str, typer.Option("--engine", help="What the work runs on: local, or ray.")] = "local",
    address: Annotated[str, typer.Option("--address", help="With --engine ray: the cluster to join; without, one on this machine.")] = "",
    workers: Annotated[int, typer.Option("--workers", min=0, help="Processes at a time; 0: as many as cores and memory allow.")] = 0,
    memory: Annotated[str, typer.Option("--memory", help="What the workers may use together.")] = "2GB",
    strict: Annotated[bool, typer.Option("--strict", help="Stop where a file cannot be read.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace a corpus at DIR.")] = False,
    near: Annotated[
        float, typer.Option("--near", help="Similarity from which documents are near-duplicates, 0.5 to 1; 0: keep them.")
    ] = 0.8,
    column: Annotated[str, typer.Option("--column", help="The column or field that is the text, in tables and records.")] = "",
    paragraphs: Annotated[bool, typer.Option("--paragraphs", help="Take out long paragraphs that an earlier document has.")] = False,
    web: Annotated[
        bool | None, typer.Option("--web/--no-web", help="The rules for web pages on all, or no, documents; else on pages.")
    ] = None,
    simplified: Annotated[bool, typer.Option("--simplified", help="Traditional Chinese characters to simplified ones.")] = False,
    mask: Annotated[list[str] | None, typer.Option("--mask", help="Mask what is personal: email, phone, identity_card, card.")] = None,
    segment: Annotated[bool, typer.Option("--segment", help="Spaces between Chinese words (for n-grams).")] = False,
    stop_words: Annotated[bool, typer.Option("--stop-words/--keep-stop-words", help="Take stop words out (for n-grams).")] = False,
    language: Annotated[list[str] | None, typer.Option("--language", help="Keep this language only; may be repeated.")] = None,
    like: Annotated[list[Path] | None, typer.Option("--like", help="Files like what is wanted; needs --unlike.")] = None,
    unlike: Annotated[list[Path] | None, typer.Option("--unlike", help="Files like what is not wanted.")] = None,
    quality: Annotated[float, typer.Option("--quality", help="With --like: the lowest score that is kept, 0 to 1.")] = 0.5,
    evaluation: Annotated[
        list[Path] | None, typer.Option("--evaluation", help="What is to judge models: documents that hold it go.")
    ] = None,
    valid_share: Annotated[float, typer.Option("--valid-share", help="Share of the characters that validates.")] = 0.1,
    json: Json = False,
) -> None:
    """Read, clean, deduplicate and split text into a corpus, and report what was dropped and why."""
    from llamarium.text.clean import Cleaning
    from llamarium.text.engine import Options
    from llamarium.text.partition import Settings
    from llamarium.text.prepare import Wanted, prepare

    report = prepare(
        sources,
        out,
        strict=strict,
        force=force,
        engine=engine,
        options=Options(workers=workers, memory=parse_bytes(memory, least=0), address=address),
        settings=Settings(
            cleaning=Cleaning(web=web, simplified=simplified, masks=tuple(mask or ()), segment=segment, stop_words=stop_words),
            languages=tuple(language or ()),
            lowest_quality=quality,
            column=column,
            paragraphs=paragraphs,
        ),
        wanted=Wanted(near=near or None, evaluations=tuple(evaluation or ()), valid_share=valid_share),
        like=like or (),
        unlike=unlike or (),
    )
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
