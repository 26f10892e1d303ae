"""What preparation did, as numbers and as a page.

Takes: counts, examples and the split.
Gives: the object that ``prepare --json`` prints, ``report.json``, and ``report.html``: one page that asks nobody for anything.
Does not know: how the numbers came about. Neither file holds a time or a place on the machine, so both repeat to the byte.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from llamarium.ground.page import Html, bar, details, element, picture, table, tiles
from llamarium.ground.page import page as whole_page
from llamarium.ground.picture import heat_map
from llamarium.ground.progress import size
from llamarium.text import clean
from llamarium.text.corpus import Side

NUM_EXAMPLES = 3
EXAMPLE_CHARACTERS = 240
MOST_LISTED = 500
SHOWN = 100  # characters of a document that stands in a table

REASONS = {
    **clean.REASONS,
    "other_language": "in a language that was not asked for",
    "low_quality": "less like the examples of what is wanted than like those of what is not",
    "duplicate_exact": "the words of an earlier document, but for case and spacing",
    "duplicate_near": "nearly the words of another document, of which the longest stays",
    "leak_evaluation": "holds more than half of a text that is to judge models",
    "duplicate_paragraphs": "nothing but paragraphs of earlier documents",
    "leak_validation": "was to validate, and more than half of it stands in the training text",
}
CHANGES = clean.CHANGES
# What became of documents, for the sentence at the top: the reasons in one breath, and the words for one and for many.
_FATES = (
    (("duplicate_exact", "duplicate_near", "duplicate_paragraphs"), "repeats another document", "repeat another document"),
    (("leak_evaluation", "leak_validation"), "would give away what is to judge models", "would give away what is to judge models"),
    (("other_language",), "is in a language that was not asked for", "are in languages that were not asked for"),
    (("low_quality",), "is unlike what is wanted", "are unlike what is wanted"),
)
_NO_TEXT = ("is no text to learn from", "are no text to learn from")
_MOST_LANGUAGES = 20  # in the picture
_MOST_ROWS = 10  # of a table of counts, before the rest is folded
_STYLE = """\
.columns { display: flex; align-items: flex-end; gap: .4rem; margin: 1rem 0; max-width: 44rem; }
.columns > div { flex: 0 1 6rem; min-width: 0; text-align: center; font-variant-numeric: tabular-nums; }
.columns i { display: block; min-height: 2px; margin: .15rem auto; border-radius: .3rem .3rem 0 0; background: var(--line-1); }
.columns small { display: block; min-height: 2.9em; line-height: 1.4; overflow-wrap: break-word; }
"""


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
class Copies:
    """A document that stays, and how many exact and near copies of it did not."""

    source: str
    text: str
    count: int


@dataclass(frozen=True)
class Leak:
    """A document that was taken out because it leaks, and the text of the evaluation set that it holds ("" for validation)."""

    source: str
    holds: str


@dataclass(frozen=True)
class PrepareReport:
    """What went in, what came out, and why the rest did not.

    `dropped` counts documents by reason, `dropped_characters` their code points, `changed` documents that a cleaning step altered,
    `languages` those that are left, `lengths` them by language and class of length, `groups` groups of duplicates by their size, the one
    that stays among them; `encodings` and `formats` count files, `licences` what documents that cleaning left say of themselves.
    `near_copies`: documents with more than half in common, kept on one side. `held_back`: documents kept from validation because most
    of them is found elsewhere. `leak`: share of the documents chosen to validate with more than half of their 5-grams in the training
    text; those are taken out. `copies`: the documents with the most copies.
    """

    sources: tuple[str, ...]
    documents_in: int
    documents_out: int
    characters_in: int
    characters_out: int
    dropped: Mapping[str, int]
    dropped_characters: Mapping[str, int]
    changed: Mapping[str, int]
    examples: Mapping[str, tuple[Example, ...]]
    bad_files: tuple[BadFile, ...]
    languages: Mapping[str, int]
    train: Side
    valid: Side
    near_copies: int
    held_back: int
    leak: float
    leaks: tuple[Leak, ...]
    lengths: Mapping[str, Mapping[str, int]]
    copies: tuple[Copies, ...]
    groups: Mapping[str, int]
    encodings: Mapping[str, int]
    formats: Mapping[str, int]
    licences: Mapping[str, int]
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
    body = [
        element("h1", " · ".join(report.sources)),
        element("p", _story(report), class_="lead"),
        tiles(
            [
                ("documents", f"{report.documents_out:,}", f"of {report.documents_in:,}"),
                ("characters", f"{report.characters_out:,}", f"of {report.characters_in:,}"),
                ("to train", size(report.train.bytes), _many(report.train.documents, "document")),
                ("to validate", size(report.valid.bytes), _many(report.valid.documents, "document")),
            ]
        ),
        *_way(report),
        *_dropped(report),
        *_copies(report),
        *_changed(report),
        *_left(report),
        *_origin(report),
        *_split(report),
        *_bad_files(report),
    ]
    return whole_page("Corpus report", Html().join(body), language="en", style=_STYLE)


def _story(report: PrepareReport) -> str:
    """What happened, in words."""
    num_files, dropped = sum(report.formats.values()), Counter(report.dropped)
    fates = [(sum(dropped.pop(reason, 0) for reason in reasons), one, many) for reasons, one, many in _FATES]
    fates.append((dropped.total(), *_NO_TEXT))
    told = [f"{count:,} {one if count == 1 else many}" for count, one, many in sorted(fates, reverse=True) if count]
    share = _share(report.documents_out, report.documents_in)
    sentences = [
        f"{_many(num_files, 'file')} held {_many(report.documents_in, 'document')}; {report.documents_out:,} of them ({share}) are kept."
    ]
    if told:
        others = sum(report.dropped.values())
        sentences.append(f"Of the other {others:,}, {', '.join(told[:-1])}{' and ' if len(told) > 1 else ''}{told[-1]}.")
    if report.bad_files:
        sentences.append(f"{_many(len(report.bad_files), 'file')} could not be read.")
    return " ".join(sentences)


def _left(report: PrepareReport) -> list[Html]:
    """Languages and lengths of the documents that are kept."""
    lengths: Counter[str] = Counter()
    for counts in report.lengths.values():
        lengths.update(counts)
    found = [
        element("h2", "What is left"),
        element("h3", "Languages"),
        element("p", "Told by script, and for scripts that many languages share by their letters' habits."),
        _counts(report.languages, {}),
        element("h3", "Lengths"),
        element("p", "Documents by their code points."),
        _columns(lengths),
    ]
    if len(report.languages) > 1:
        found.append(picture(*(_lengths_of_languages(report, width=width) for width in (760, 390))))
    return found


def _lengths_of_languages(report: PrepareReport, *, width: int) -> str:
    most = sorted(report.languages, key=lambda language: (-report.languages[language], language))[:_MOST_LANGUAGES]
    rows = {}
    for language in most:
        counts = report.lengths[language].items()  # "under 100", "100 to 300", ...; a column begins at the number in its name
        rows[language] = [
            (0.0 if name.startswith("under") else float(name.split()[0].replace(",", "")), count or math.nan) for name, count in counts
        ]
    return heat_map(
        rows,
        title="Documents by language and length",
        x_label="code points, from",
        y_label="language",
        log=True,
        ends={language: f"{report.languages[language]:,}" for language in most},
        width=width,
    )


def _way(report: PrepareReport) -> list[Html]:
    """From all that was read to what is left: what each rule took, as documents and as characters."""
    rows = [("read", "", report.documents_in, report.characters_in)]
    rows += [
        (reason, REASONS.get(reason, ""), -count, -report.dropped_characters[reason]) for reason, count in report.dropped.items() if count
    ]
    shortened = report.characters_in - sum(report.dropped_characters.values()) - report.characters_out
    if shortened > 0:
        rows.append(("cleaned", "characters taken out of documents that stay", 0, -shortened))
    rows.append(("kept", "", report.documents_out, report.characters_out))
    cells = [
        (
            Html(" ").join([element("b", name), element("small", note)]),
            f"{documents:,}",
            f"{characters:,}",
            bar(abs(characters) / max(1, report.characters_in), kind="two" if characters < 0 else "one"),
        )
        for name, note, documents, characters in rows
    ]
    return [element("h2", "The way of the text"), table(cells, ["", "documents", "characters", ""], numbers=[1, 2])]


def _dropped(report: PrepareReport) -> list[Html]:
    total = sum(report.dropped.values())
    if not total:
        return [element("h2", "Dropped"), element("p", "No document was dropped.")]
    return [
        element("h2", "Dropped"),
        element(
            "p", f"{total:,} documents ({_share(total, report.documents_in)}); some of each rule, to see whether it is right for your text."
        ),
        *(
            details(
                f"{reason}: {len(examples)} of {report.dropped[reason]:,}", element("p", REASONS.get(reason, "")), *map(_figure, examples)
            )
            for reason, examples in report.examples.items()
        ),
    ]


def _copies(report: PrepareReport) -> list[Html]:
    if not report.copies:
        return []
    most = report.copies[0].count
    rows = [
        (
            Html(" ").join([element("b", one.source), element("small", " ".join(one.text.split())[:SHOWN])]),
            f"{one.count:,}",
            bar(one.count / most),
        )
        for one in report.copies
    ]
    return [
        element("h2", "Duplicates"),
        element("p", "Groups of documents that repeat each other, exactly or nearly, by how many each has; one of each stays."),
        _columns(report.groups),
        element("h3", "Most copied"),
        element("p", "Documents that stay, and how many copies of each do not."),
        table(rows, ["", "copies", ""], numbers=[1]),
    ]


def _origin(report: PrepareReport) -> list[Html]:
    licences = {name or "none stated": count for name, count in report.licences.items()}
    return [
        element("h2", "Where it comes from"),
        element("h3", "Formats"),
        element("p", "Files by their suffix."),
        _counts({name or "(none)": count for name, count in report.formats.items()}, {}),
        element("h3", "Encodings"),
        element("p", "Files by how their bytes were read; look at those that are not UTF-8."),
        _counts(report.encodings, {}),
        element("h3", "Licences"),
        element("p", "What documents that cleaning left say about themselves at their start or end: a count of words, no legal advice."),
        _counts(licences, {}),
    ]


def _figure(example: Example) -> Html:
    caption = example.source if example.same_as is None else f"{example.source}, the same as {example.same_as}"
    return element("figure", element("figcaption", caption), element("pre", example.text))


def _changed(report: PrepareReport) -> list[Html]:
    if not any(report.changed.values()):
        return [element("h2", "Cleaned"), element("p", "No kept document needed a change.")]
    return [
        element("h2", "Cleaned"),
        element("p", "Documents that a step changed, and that stay unless a later rule took them."),
        _counts(report.changed, CHANGES),
    ]


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
    found = [element("h2", "Split"), element("p", " ".join(sentences))]
    if report.leaks:
        rows = [(leak.source, leak.holds or "training text") for leak in report.leaks[:MOST_LISTED]]
        found.append(details(f"Taken out because they leak: {len(report.leaks):,}", table(rows, ["document", "holds"])))
    return found


def _bad_files(report: PrepareReport) -> list[Html]:
    heading = element("h2", "Files that could not be read")
    if not report.bad_files:
        return [heading, element("p", "None.")]
    shown = report.bad_files[:MOST_LISTED]
    more = len(report.bad_files) - len(shown)
    rest = [element("p", f"And {more:,} more in report.json.")] if more else []
    return [heading, table([(bad.path, bad.reason) for bad in shown], ["file", "why"]), *rest]


def _counts(counts: Mapping[str, int], notes: Mapping[str, str]) -> Html:
    """Names with their counts and bars, the greatest first, all but the first `_MOST_ROWS` folded; what does not occur is left out."""
    found = sorted(((name, count) for name, count in counts.items() if count), key=lambda entry: (-entry[1], entry[0]))
    most = max((count for _, count in found), default=1)
    rows = [
        (Html(" ").join([element("b", name), element("small", notes.get(name, ""))]), f"{count:,}", bar(count / most))
        for name, count in found
    ]
    first, rest = rows[:_MOST_ROWS], rows[_MOST_ROWS:]
    shown = table(first, ["", "", ""], numbers=[1])
    return Html().join([shown, details(f"{len(rest):,} more", table(rest, ["", "", ""], numbers=[1]))]) if rest else shown


def _columns(counts: Mapping[str, int]) -> Html:
    """Counts as columns side by side, in their order; empty ones at both ends are left out."""
    entries = list(counts.items())
    some = [place for place, (_, count) in enumerate(entries) if count] or [0]
    entries = entries[some[0] : some[-1] + 1]
    most = max([1, *(count for _, count in entries)])
    return element(
        "div",
        *(
            element("div", f"{count:,}", element("i", style=f"height: {8 * count / most:.2f}rem") if count else "", element("small", name))
            for name, count in entries
        ),
        class_="columns",
    )


def _many(count: int, name: str) -> str:
    return f"{count:,} {name}" if count == 1 else f"{count:,} {name}s"


def _share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f} %" if whole else "0 %"
