"""What preparation did, as numbers and as a page.

Takes: counts, examples and the split.
Gives: the object that ``prepare --json`` prints, ``report.json``, and ``report.html``: one page that asks nobody for anything.
Does not know: how the numbers came about. Neither file holds a time or a place on the machine, so both repeat to the byte.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from llamarium.ground.page import Html, bar, details, element, table, tiles
from llamarium.ground.page import page as whole_page
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
    """``report.html``. Whatever came from a file is escaped by the page's elements; there is no script and no request."""
    kept = _share(report.documents_out, report.documents_in)
    body = [
        element("h1", " · ".join(report.sources)),
        element("p", f"{report.documents_out:,} of {report.documents_in:,} documents are kept ({kept}).", class_="lead"),
        tiles(
            [
                ("documents", f"{report.documents_out:,}", f"of {report.documents_in:,}"),
                ("characters", f"{report.characters_out:,}", f"of {report.characters_in:,}"),
                ("to train", size(report.train.bytes), f"{report.train.documents:,} documents"),
                ("to validate", size(report.valid.bytes), f"{report.valid.documents:,} documents"),
            ]
        ),
        *_dropped(report),
        *_changed(report),
        element("h2", "Languages"),
        element("p", "Guessed from the script of each document."),
        _counts(report.languages, {}),
        *_split(report),
        *_bad_files(report),
    ]
    return whole_page("Corpus report", Html().join(body), language="en")


def _dropped(report: PrepareReport) -> list[Html]:
    total = sum(report.dropped.values())
    if not total:
        return [element("h2", "Dropped"), element("p", "No document was dropped.")]
    return [
        element("h2", "Dropped"),
        element("p", f"{total:,} documents ({_share(total, report.documents_in)}), by reason."),
        _counts(report.dropped, REASONS),
        *(
            details(f"{reason}: {len(examples)} of {report.dropped[reason]:,}", *map(_figure, examples))
            for reason, examples in report.examples.items()
        ),
    ]


def _figure(example: Example) -> Html:
    caption = example.source if example.same_as is None else f"{example.source}, the same as {example.same_as}"
    return element("figure", element("figcaption", caption), element("pre", example.text))


def _changed(report: PrepareReport) -> list[Html]:
    if not any(report.changed.values()):
        return [element("h2", "Cleaned"), element("p", "No kept document needed a change.")]
    return [element("h2", "Cleaned"), element("p", "Documents that a step changed."), _counts(report.changed, CHANGES)]


def _split(report: PrepareReport) -> list[Html]:
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
    return [element("h2", "Split"), element("p", " ".join(sentences))]


def _bad_files(report: PrepareReport) -> list[Html]:
    heading = element("h2", "Files that could not be read")
    if not report.bad_files:
        return [heading, element("p", "None.")]
    shown = report.bad_files[:MOST_LISTED]
    more = len(report.bad_files) - len(shown)
    rest = [element("p", f"And {more:,} more in report.json.")] if more else []
    return [heading, table([(bad.path, bad.reason) for bad in shown], ["file", "why"]), *rest]


def _counts(counts: Mapping[str, int], notes: Mapping[str, str]) -> Html:
    """Names with their counts and bars, the greatest first; what does not occur is left out."""
    found = sorted(((name, count) for name, count in counts.items() if count), key=lambda entry: (-entry[1], entry[0]))
    rows = [
        (Html(" ").join([element("b", name), element("small", notes.get(name, ""))]), f"{count:,}", bar(count / found[0][1]))
        for name, count in found
    ]
    return table(rows, ["", "", ""], numbers=[1])


def _share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f} %" if whole else "0 %"
