"""Measured answers shown: a table in the terminal, and one page with a picture and the questions that went wrong.

Takes: the outcomes of one or more ways to ask, or of the roads.
Gives: lines; the page, which without matplotlib has words instead of the picture.
Does not know: how anything was asked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from llamarium.apps.ask.evaluation import Measures, Outcome, curve, measure
from llamarium.apps.ask.roads import Travelled
from llamarium.evaluate.ask_metrics import Share
from llamarium.ground.errors import MissingExtraError
from llamarium.ground.page import Html, details, element, page, picture, table, tiles
from llamarium.ground.picture import line_chart

WIDE, NARROW = (880, 420), (430, 400)  # pixels
MOST_LISTED = 200  # questions that went wrong

Outcomes = Mapping[str, Sequence[Outcome]]

MEANINGS = {
    "questions": "questions",
    "unanswerable": "of them without an answer",
    "hit_at_1": "right document first",
    "hit_at_5": "right document among five",
    "hit_at_10": "right document among ten",
    "mrr": "mean reciprocal rank",
    "exact_match": "answer is the expected one",
    "f1": "answer shares its words (F1)",
    "answer_holds": "answer holds the expected one",
    "citation_precision": "citations that are right",
    "first_citation_precision": "first citations that are right",
    "citation_recall": "answerable ones with a right citation",
    "quotes_in_place": "quotes that stand where they say",
    "answered": "answerable ones that are answered",
    "refusal_precision": "refusals that are right",
    "refusal_recall": "unanswerable ones that are refused",
    "auroc": "confidence tells them apart (AUROC)",
    "retrieve_ms": "retrieval, median",
    "retrieve_ms_90": "retrieval, 90 % within",
    "answer_ms": "answer with retrieval, median",
    "answer_ms_90": "answer with retrieval, 90 % within",
    "phrase_ms": "phrasing, median",
    "phrase_ms_90": "phrasing, 90 % within",
}
ROAD_COLUMNS = {
    "spoke": "speaks",
    "right_when_it_speaks": "right when it speaks",
    "hit_at_1": "hit@1",
    "hit_at_5": "hit@5",
    "mrr": "MRR",
    "ms": "median",
}
_COUNTS = ("questions", "unanswerable")


def lines(outcomes: Outcomes) -> list[str]:
    """The measures for a terminal, a column for each way."""
    measures = {name: measure(each) for name, each in outcomes.items()}
    width = max(map(len, MEANINGS.values()))
    columns = [max(10, len(name)) for name in measures]
    found = ["  ".join([" " * width, *(name.rjust(room) for name, room in zip(measures, columns, strict=True))])]
    for key in _keys(measures):
        cells = [_shown(key, each.get(key)).rjust(room) for each, room in zip(measures.values(), columns, strict=True)]
        found.append("  ".join([MEANINGS[key].ljust(width), *cells]))
    return found


def road_lines(travelled: Sequence[Travelled]) -> list[str]:
    """The roads for a terminal, a line for each."""
    width = max(len(each.road.name) for each in travelled)
    found = ["  ".join([" " * 10, " " * width, *(title.rjust(max(8, len(title))) for title in ROAD_COLUMNS.values())])]
    for each in travelled:
        cells = [_shown(key, each.measures[key]).rjust(max(8, len(title))) for key, title in ROAD_COLUMNS.items()]
        found.append("  ".join([each.road.kind.ljust(10), each.road.name.ljust(width), *cells]))
    return found


def _keys(measures: Mapping[str, Measures]) -> list[str]:
    return [key for key in MEANINGS if any(key in each for each in measures.values())]


def _shown(key: str, value: float | None) -> str:
    """A measure for people.

    >>> _shown("hit_at_1", 0.9834), _shown("mrr", 0.5), _shown("answer_ms", 12.34), _shown("questions", 240), _shown("f1", None)
    ('98.3 %', '0.500', '12.3 ms', '240', '–')
    """
    if value is None:
        return "–"
    if key in _COUNTS:
        return f"{value:,.0f}"
    if key == "ms" or "_ms" in key:
        return f"{value:,.1f} ms"
    return f"{value:.3f}" if key in ("mrr", "auroc") else f"{100 * value:.1f} %"


def render(outcomes: Outcomes, travelled: Sequence[Travelled] = (), *, documents: str) -> str:
    """The page. `documents`: a sentence that says how many questions were asked, of what."""
    body: list[Html] = [element("h1", "Questions and answers, measured"), element("p", documents, class_="lead soft")]
    if outcomes:
        measures = {name: measure(each) for name, each in outcomes.items()}
        first = next(iter(outcomes.values()))
        body += [
            _tiles(next(iter(measures.values()))),
            element("h2", "All measures"),
            table(
                [(MEANINGS[key], *(_shown(key, each.get(key)) for each in measures.values())) for key in _keys(measures)],
                ("", *measures),
                numbers=range(1, len(measures) + 1),
            ),
            *_picture(outcomes),
            *_kinds(first),
            *_wrong(first),
        ]
    if travelled:
        rows = [(each.road.kind, each.road.name, *(_shown(key, each.measures[key]) for key in ROAD_COLUMNS)) for each in travelled]
        body += [
            element("h2", "Rules, statistics, learning"),
            element("p", "The same questions by every road: how often it says anything, and whether the right document comes first then."),
            table(rows, ("", "road", *ROAD_COLUMNS.values()), numbers=range(2, 8)),
        ]
    return page("Questions and answers · Llamarium", Html("\n").join(body), language="en")


def _tiles(measures: Measures) -> Html:
    notes = {
        "hit_at_1": "right document first",
        "answer_holds": "answers that hold the expected one",
        "quotes_in_place": "quotes that stand where they say",
        "refusal_recall": "unanswerable ones refused",
        "answer_ms": "a question, median",
    }
    return tiles((note, _shown(key, measures.get(key)), "") for key, note in notes.items() if measures.get(key) is not None)


def _picture(outcomes: Outcomes) -> list[Html]:
    """Risk over coverage of every way, and how many questions the frozen threshold lets through."""
    first = next(iter(outcomes.values()))
    answered = Share(sum(outcome.answer.found for outcome in first), len(first)).value or 0.0

    def draw(width: int, height: int) -> str:
        return line_chart(
            {name: curve(each) for name, each in outcomes.items()},
            title="Risk and coverage",
            x_label="share of the questions that are answered, the surest first",
            y_label="share of the answers whose first citation is wrong",
            marks={"the threshold": [answered]},
            from_zero=True,
            width=width,
            height=height,
        )

    words = "Were only the surest questions answered, fewer answers would be wrong. The hair is where the threshold stands."
    try:
        return [element("h2", "When to say nothing"), element("p", words), picture(draw(*WIDE), draw(*NARROW))]
    except MissingExtraError as error:
        return [element("p", f"{error.message} {error.hint}", class_="warn")]


def _kinds(outcomes: Sequence[Outcome]) -> list[Html]:
    kinds = list(dict.fromkeys(outcome.posed.kind for outcome in outcomes))
    if len(kinds) < 2:
        return []
    names = {
        "questions": "questions",
        "hit_at_1": "hit@1",
        "answered": "answered",
        "answer_holds": "answer holds",
        "refusal_recall": "refused",
    }
    rows = []
    for kind in kinds:
        measures = measure([outcome for outcome in outcomes if outcome.posed.kind == kind])
        rows.append((kind or "(none)", *(_shown(key, measures[key]) for key in names)))
    return [element("h2", "By kind"), table(rows, ("", *names.values()), numbers=range(1, 6))]


def _wrong(outcomes: Sequence[Outcome]) -> list[Html]:
    """The questions to look at: answered without a right citation, or refused where there is an answer."""
    rows = []
    for outcome in outcomes:
        first = outcome.answer.citations[0] if outcome.answer.citations else None
        if not outcome.right_citations and (first is not None or outcome.posed.document):
            asked = outcome.posed.question if outcome.meant == outcome.posed.question else f"{outcome.posed.question} → {outcome.meant}"
            expected = f"{outcome.posed.document or 'nothing'}: {' / '.join(outcome.posed.answers)}".removesuffix(": ")
            rows.append((asked, expected, f"{first.document}: {first.quote}" if first else "refused"))
    if not rows:
        return []
    shown = table(rows[:MOST_LISTED], ("question", "expected", "given"))
    more = [element("p", f"and {len(rows) - MOST_LISTED:,} more", class_="soft")] if len(rows) > MOST_LISTED else []
    return [element("h2", "What went wrong"), details(f"{len(rows):,} questions", shown, *more)]
