from __future__ import annotations

import doctest
import re
import time
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from llamarium.apps.ask import evaluation_page
from llamarium.apps.ask.answer import Answer, Citation
from llamarium.apps.ask.evaluation import NUM_RANKED, Outcome, Way, curve, measure, rank_documents, run
from llamarium.apps.ask.evaluation_page import MEANINGS, lines, render, road_lines
from llamarium.apps.ask.faq import read_faq
from llamarium.apps.ask.index import Found, Index, build_in_memory
from llamarium.apps.ask.question_sets import Posed
from llamarium.apps.ask.roads import roads, travel
from llamarium.evaluate.ask_metrics import Share
from llamarium.ground import progress
from llamarium.ground.errors import UsageError

OVEN = "# The oven\n\nThe oven is heated to 230 degrees for one hour. It has a door of glass.\n"
LLAMA = "# Llamas\n\nA llama eats hay and grass. In summer llamas stay on the mountain. In winter llamas stay in the barn.\n"
TOFU = "# 豆腐\n\n老豆腐用盐卤点浆。豆浆要煮到九十五度。\n"
QUESTIONS = [
    Posed("To how many degrees is the oven heated?", "oven.md", ("230 degrees",), kind="plain"),
    Posed("Where do llamas stay in summer?", "animals/llama.md", ("on the mountain",), kind="plain"),
    Posed("And in winter?", "animals/llama.md", ("in the barn",), after="Where do llamas stay in summer?", kind="follow_up"),
    Posed("老豆腐用什么点浆？", "豆腐.md", ("盐卤",), kind="plain"),
    Posed("Who discovered penicillin?", kind="unanswerable"),
]


@pytest.fixture
def index(tmp_path: Path) -> Iterator[Index]:
    docs = tmp_path / "docs"
    (docs / "animals").mkdir(parents=True)
    for name, text in {"oven.md": OVEN, "animals/llama.md": LLAMA, "豆腐.md": TOFU}.items():
        (docs / name).write_text(text, encoding="utf-8")
    with build_in_memory([docs]) as opened:
        yield opened


def outcome(posed: Posed, rank: int | None, answer: str, *citations: tuple[str, str], confidence: float, ms: float = 1.0) -> Outcome:
    quotes = tuple(Citation(document, 0, len(quote), quote, 0.5) for document, quote in citations)
    given = Answer(bool(answer), answer, quotes if answer else (), 0.0, nearest=() if answer else quotes, confidence=confidence)
    return Outcome(posed, posed.question, rank, given, Share(len(given.citations), len(given.citations)), {"answer": ms / 1000})


MADE = [
    # Right, and one citation too many.
    outcome(Posed("a", "a.md", ("4 hours",)), 1, "4 hours", ("a.md", "for 4 hours"), ("b.md", "4 hours"), confidence=0.9, ms=1),
    # The right document, another sentence first.
    outcome(Posed("b", "b.md", ("red",)), 3, "it is blue", ("b.md", "it is blue"), ("b.md", "or red"), confidence=0.8, ms=2),
    # Not found, and refused.
    outcome(Posed("c", "c.md", ("x",)), None, "", ("a.md", "y"), confidence=0.3, ms=3),
    # There is no answer, and it was answered.
    outcome(Posed("d"), None, "no", ("a.md", "no"), confidence=0.6, ms=4),
    # There is no answer, and that was said.
    outcome(Posed("e"), None, "", confidence=0.1, ms=5),
]


def test_examples() -> None:
    result = doctest.testmod(evaluation_page)
    assert (result.failed, result.attempted) == (0, 1)


def test_measures_by_hand() -> None:
    expected = {
        "questions": 5,
        "unanswerable": 2,
        "hit_at_1": 1 / 3,
        "hit_at_5": 2 / 3,
        "hit_at_10": 2 / 3,
        "mrr": (1 + 1 / 3) / 3,
        "exact_match": 1 / 3,
        "f1": 1 / 3,
        "answer_holds": 1 / 3,
        "citation_precision": 2 / 5,
        "first_citation_precision": 1 / 3,
        "citation_recall": 2 / 3,
        "quotes_in_place": 1.0,
        "answered": 2 / 3,
        "refusal_precision": 1 / 2,
        "refusal_recall": 1 / 2,
        "auroc": 5 / 6,
        "answer_ms": 3.0,
        "answer_ms_90": 4.6,
    }
    found = measure(MADE)
    assert list(found) == list(expected)
    assert found == pytest.approx(expected)


def test_risk_over_coverage_by_hand() -> None:
    """a is right; b and d are not; c and e are refused, and what came nearest is not right either."""
    assert curve(MADE) == [(0.2, 0.0), (0.4, 0.5), (0.6, 2 / 3), (0.8, 0.75), (1.0, 0.8)]


def test_a_quote_that_moved_is_counted() -> None:
    moved = replace(MADE[0], in_place=Share(1, 2))
    assert measure([moved, MADE[1]])["quotes_in_place"] == 3 / 4


def test_nothing_gives_no_zeros() -> None:
    found = measure([])
    assert found.pop("questions") == found.pop("unanswerable") == 0
    assert set(found.values()) == {None}


def test_questions_are_asked_of_an_index(index: Index) -> None:
    outcomes = run(index, QUESTIONS, Way("words"))
    found = measure(outcomes)
    assert (found["hit_at_1"], found["quotes_in_place"], found["refusal_recall"]) == (1.0, 1.0, 1.0)
    assert found["answer_holds"] == found["citation_recall"] == found["answered"] == 1.0
    assert [each.meant == each.posed.question for each in outcomes] == [True, True, False, True, True]
    assert all(each.seconds["answer"] > 0 and each.seconds["retrieve"] > 0 for each in outcomes)


def test_what_a_way_brings_is_used(index: Index) -> None:
    class Backwards:
        def nearest(self, question: str, *, limit: int, documents: Collection[int] | None = None) -> list[Found]:
            compared.append((question, limit))
            return [Found(2, "oven.md", "", 0, 0, 10, "", 1.0)]

        def judge(self, question: str, passages: Sequence[str]) -> list[float]:
            judged.append(question)
            return [float("oven" in passage) for passage in passages]

    compared: list[tuple[str, int]] = []
    judged: list[str] = []
    question = "Where do llamas stay, and how is the oven heated?"
    plain = rank_documents(index, question, Way(""))
    assert set(plain) == {"oven.md", "animals/llama.md"}
    assert set(rank_documents(index, question, Way("", vectors=Backwards()))) == set(plain)
    assert compared == [(question, NUM_RANKED)]
    assert set(rank_documents(index, question, Way("", judge=Backwards()))) == set(plain)
    assert judged == [question]
    phrased = run(index, QUESTIONS, Way("", phrase=lambda asked, answer: f"{asked} {len(answer.citations)}"))
    assert [each.answer.answer.startswith(each.meant) for each in phrased] == [True, True, True, True, False]
    assert [("phrase" in each.seconds) for each in phrased] == [True, True, True, True, False]


def test_a_judge_reads_once_what_it_is_asked_twice_and_its_time_counts_both_times(index: Index, said: list[str]) -> None:
    class Slow:
        def judge(self, question: str, passages: Sequence[str]) -> list[float]:
            judged.append(question)
            progress.say("judging")
            time.sleep(0.02)
            return [0.0] * len(passages)

    judged: list[str] = []
    outcomes = run(index, QUESTIONS[:2], Way("", judge=Slow()))
    assert judged == [posed.question for posed in QUESTIONS[:2]]
    assert all(min(each.seconds.values()) >= 0.02 for each in outcomes)
    assert not said  # the bar is of all questions


def test_a_document_that_is_not_there(index: Index) -> None:
    with pytest.raises(UsageError, match=r"no document oven\.txt") as caught:
        run(index, [Posed("How hot?", "oven.txt")], Way("words"))
    assert caught.value.hint == "Did you mean 'oven.md'?"


def test_roads(index: Index, tmp_path: Path) -> None:
    (tmp_path / "docs" / "oven.md").write_text("## How hot is the oven?\n\nVery.\n\n## Is it shut?\n\nYes.\n")
    faq = read_faq(tmp_path / "docs" / "oven.md")

    class Vectors:
        def nearest(self, question: str, *, limit: int, documents: Collection[int] | None = None) -> list[Found]:
            return [Found(1, "animals/llama.md", "", 0, 0, 10, "", 1.0)] if "llama" in question else []

    class Judge:
        def judge(self, question: str, passages: Sequence[str]) -> list[float]:
            return [-float(len(passage)) for passage in passages] if question else []

    questions = [
        Posed("How hot is an oven?", "oven.md"),
        Posed("Where do llamas stay in summer?", "animals/llama.md"),
        QUESTIONS[2],
        QUESTIONS[4],
    ]
    found = roads(index, faq=faq.answer, way=Way("", vectors=Vectors(), judge=Judge()))
    assert [(road.kind, road.name) for road in found] == [
        ("rules", "FAQ"),
        ("statistics", "BM25"),
        ("statistics", "BM25, wider"),
        ("learning", "vectors"),
        ("learning", "likelihood"),
        ("together", "all"),
    ]
    travelled = {each.road.name: each for each in travel(index, questions, found)}
    assert travelled["FAQ"].ranks == (1, None)
    assert travelled["FAQ"].measures["spoke"] == 0.5
    assert travelled["FAQ"].measures["right_when_it_speaks"] == 1.0
    assert travelled["vectors"].ranks == (None, 1)
    assert travelled["BM25"].ranks == travelled["all"].ranks == (1, 1)
    assert [road.name for road in roads(index)] == ["BM25", "BM25, wider"]
    table = road_lines(list(travelled.values()))
    assert len(table) == 7
    assert len({len(line) for line in table}) == 1
    assert re.search(r"rules +FAQ +50\.0 % +100\.0 % +50\.0 %", table[1])


def test_what_is_shown() -> None:
    made = {"words": MADE, "words and vectors": MADE[:2]}
    table = lines(made)
    assert len({len(line) for line in table}) == 1
    assert any(re.search(r"right document first +33\.3 % +50\.0 %", line) for line in table)
    page = render(made, documents="5 questions, 3 documents")
    for key in measure(MADE):
        assert MEANINGS[key] in page
    assert "Risk and coverage" in page
    assert "What went wrong" in page
    assert "2 questions" in page  # c was refused wrongly, d answered wrongly


def test_questions_and_documents_run_nothing_in_the_page() -> None:
    hostile = "<script>alert(1)</script>"
    made = outcome(Posed(hostile, hostile, (hostile,)), None, "no", ("<img src=x onerror=alert(1)>", hostile), confidence=0.5)
    page = render({hostile: [made]}, documents=hostile)
    assert "<script" not in page
    assert "<img" not in page
    assert "&lt;script&gt;" in page
