"""Comparisons and pieces as lines for a terminal and as pages.

Takes: measured tokenizers; the pieces of a text.
Gives: lines, renderables of rich, HTML pages.
Does not know: where they are shown.
"""

from __future__ import annotations

import io
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from llamarium.ground import page, picture
from llamarium.ground.page import Html, element
from llamarium.tokens.compare import Comparison, Measured

MOST_PARTS = 8  # languages, sources
TONES = ("bright_green", "bright_yellow", "bright_blue", "bright_magenta", "bright_cyan", "white")  # of pieces side by side
_STYLE = """
.pieces { background: var(--card); border-radius: .5rem; padding: .8rem 1rem; white-space: pre-wrap; line-height: 2.1;
  unicode-bidi: isolate; overflow-wrap: anywhere;
  font-family: ui-monospace, "SF Mono", Menlo, Consolas, "Noto Sans CJK SC", monospace; }
.pieces span { border-radius: .25rem; padding: .2rem 0; box-shadow: inset 0 -.22rem 0 var(--tone); }
"""


def lines(comparisons: Sequence[Comparison]) -> list[str]:
    """A table for each question, as lines whose columns stand one above the other."""
    rows = [["tokenizer", "tokens", "bytes/token", "tokens/char", "tokens/word", "MB/s"]]
    for each in comparisons:
        total = each.total
        figures = [f"{total.bytes_per_token:.3f}", f"{total.tokens_per_character:.3f}", f"{total.fertility:.3f}"]
        rows.append([each.name, f"{each.vocab_size:,}", *figures, f"{each.megabytes_per_second:.1f}"])
    found = aligned(rows)
    for question in ("languages", "sources"):
        parts = _shared_parts(comparisons, question)
        found += ["", f"bytes per token, {question}:"]
        found += aligned([["", *parts], *([each.name, *_figures(each, question, parts)] for each in comparisons)])
    found += [f"{each.name} loses something of {each.num_lost:,} documents" for each in comparisons if each.num_lost]
    return found


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows as lines: the first column to the left, numbers to the right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  ".join(cell.rjust(width) if column else cell.ljust(width) for column, (cell, width) in enumerate(zip(row, widths))).rstrip()
        for row in rows
    ]


def comparison_page(comparisons: Sequence[Comparison], *, texts: str) -> str:
    """A page with the tables, bars, and bytes per token over the size of the vocabulary; `texts` says on what it was measured."""
    best = max(each.total.bytes_per_token for each in comparisons)
    header = ("tokenizer", "tokens", "bytes per token", "", "tokens per character", "tokens per word", "MB/s")
    rows = [
        (
            each.name,
            f"{each.vocab_size:,}",
            f"{each.total.bytes_per_token:.3f}",
            page.bar(each.total.bytes_per_token / best if best else 0, kind="one"),
            f"{each.total.tokens_per_character:.3f}",
            f"{each.total.fertility:.3f}",
            f"{each.megabytes_per_second:.1f}",
        )
        for each in comparisons
    ]
    parts: list[object] = [
        element("h1", "Tokenizers side by side"),
        element("p", f"Measured on {texts}. More bytes per token is better: the same text is cheaper to learn and to write."),
        page.table(rows, header, numbers=(1, 2, 4, 5, 6)),
    ]
    if len(comparisons) > 1:
        short = {each.name: Path(each.name).name for each in comparisons}  # a path leaves no room for the picture
        names = short if len(set(short.values())) == len(short) else {name: name for name in short}
        points = {names[each.name]: [(float(each.vocab_size), each.total.bytes_per_token)] for each in comparisons}
        chart = picture.line_chart(
            points, title="Bytes per token", x_label="tokens in the vocabulary", y_label="bytes per token", log_x=True
        )
        parts.append(page.picture(chart))
    for question in ("languages", "sources"):
        columns = _shared_parts(comparisons, question)
        parts.append(element("h2", f"Bytes per token: {question}"))
        table = [(each.name, *_figures(each, question, columns)) for each in comparisons]
        parts.append(page.table(table, ("tokenizer", *columns), numbers=range(1, len(columns) + 1)))
    lost = [f"{each.name} loses something of {each.num_lost:,} documents." for each in comparisons if each.num_lost]
    parts += [element("p", sentence, class_="warn") for sentence in lost]
    return page.page("Tokenizers side by side", Html().join(map(page.escape, parts)), language="en")


def change_lines(before: Comparison, after: Comparison) -> list[str]:
    """Bytes per token of a tokenizer before and after it was extended, for all and each language."""

    def row(name: str, one: Measured, other: Measured) -> list[str]:
        return [
            name,
            f"{one.bytes_per_token:.3f}",
            f"{other.bytes_per_token:.3f}",
            f"{other.bytes_per_token / one.bytes_per_token - 1:+.1%}",
        ]

    languages = list(before.languages)[:MOST_PARTS]
    rows = [row(name, before.languages[name], after.languages[name]) for name in languages]
    return aligned([["bytes per token", "before", "after", ""], row("all", before.total, after.total), *rows])


def coloured(pieces: Sequence[str]) -> str:
    """The text with a colour for each piece, for a terminal that shows colours."""
    from rich.console import Console
    from rich.text import Text

    text = Text()
    for number, piece in enumerate(pieces):
        text.append(
            _visible(piece),
            style=f"black on {TONES[number % len(TONES)]}",
        )
    target = io.StringIO()
    Console(file=target, force_terminal=True, color_system="standard", highlight=False, width=_width()).print(text)
    return target.getvalue().rstrip("\n")


def pieces_page(name: str, ids: Sequence[int], pieces: Sequence[str], *, num_bytes: int) -> str:
    """A page that shows a text's pieces in colour, with their ids under the pointer and in a table."""
    spans = [
        element("span", _visible(piece), title=str(number), style=f"--tone: var(--line-{place % picture.NUM_LINES + 1})")
        for place, (number, piece) in enumerate(zip(ids, pieces, strict=True))
    ]
    each = num_bytes / max(1, len(ids))
    body = Html().join(
        [
            element("h1", "The pieces of a text"),
            element("p", f"By {name}."),
            page.tiles([("tokens", f"{len(ids):,}", ""), ("bytes", f"{num_bytes:,}", "UTF-8"), ("bytes per token", f"{each:.2f}", "")]),
            element("div", *spans, class_="pieces"),
            page.details("Ids", page.table([(number, repr(piece)) for number, piece in zip(ids, pieces)], ("id", "piece"), numbers=(0,))),
        ]
    )
    return page.page("The pieces of a text", body, language="en", style=_STYLE)


def _visible(piece: str) -> str:
    """A line end is seen, and still ends the line."""
    return piece.replace("\r", "␍").replace("\n", "↵\n")


def _width() -> int:
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else 100


def _shared_parts(comparisons: Sequence[Comparison], question: str) -> list[str]:
    return list(getattr(comparisons[0], question))[:MOST_PARTS]


def _figures(comparison: Comparison, question: str, parts: Sequence[str]) -> list[str]:
    return [f"{getattr(comparison, question)[part].bytes_per_token:.3f}" for part in parts]
