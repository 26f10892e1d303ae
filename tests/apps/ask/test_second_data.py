"""The second and the third set that judge `ask` are what their README says.

Takes: tests/apps/ask/data/second and third. Gives: a failure for every broken line. Does not know: the code that the sets judge.
"""

import json
import re
from collections import Counter
from pathlib import Path

import pytest

DATA = Path(__file__).parent / "data" / "second"
TEXTS = {path.name: path.read_text(encoding="utf-8") for path in sorted((DATA / "documents").iterdir())}
VERIFIER, QUESTIONS = (
    [json.loads(line) for line in (DATA / name).read_text(encoding="utf-8").splitlines()] for name in ("verifier.jsonl", "questions.jsonl")
)
THIRD, PARAPHRASES = (
    [json.loads(line) for line in (DATA.parent / "third" / name).read_text(encoding="utf-8").splitlines()]
    for name in ("verifier.jsonl", "trial-paraphrases.jsonl")
)


def test_questions() -> None:
    assert len(TEXTS) == 48
    assert Counter((row["language"], row["kind"]) for row in QUESTIONS) == {
        (language, kind): count for language in ("en", "zh") for kind, count in {"plain": 48, "paraphrase": 120, "unanswerable": 60}.items()
    }
    asked = Counter((row["document"], row["kind"]) for row in QUESTIONS if row["document"])
    assert asked == {(name, kind): count for name in TEXTS for kind, count in {"plain": 2, "paraphrase": 5}.items()}


def test_every_answer_stands_in_its_document() -> None:
    for row in QUESTIONS:
        assert (row["kind"] == "unanswerable") == (row["document"] == "") == (row["answer"] == ""), row["id"]
        assert not row["document"] or row["answer"] in TEXTS[row["document"]], row["id"]


def test_verifier() -> None:
    assert Counter((row["language"], row["label"], row["change"]) for row in VERIFIER) == {
        (language, "supported" if change in ("none", "paraphrase") else "unsupported", change): count
        for language in ("en", "zh")
        for change, count in {"none": 55, "paraphrase": 105, "number": 40, "name": 40, "negation": 40, "entity": 40}.items()
    }
    assert set(Counter(row["passage"] for row in VERIFIER).values()) == {4}
    for row in VERIFIER:
        assert row["label"] == "supported" or row["sentence"].rstrip(".。") not in row["passage"], row["id"]


def test_third_verifier() -> None:
    assert Counter((row["language"], row["label"], row["change"]) for row in THIRD) == {
        (language, "supported" if change in ("none", "paraphrase") else "unsupported", change): count
        for language in ("en", "zh")
        for change, count in {"none": 70, "paraphrase": 130, "number": 50, "name": 50, "negation": 50, "entity": 50}.items()
    }
    assert set(Counter(row["passage"] for row in THIRD).values()) == {4}
    for row in THIRD:
        assert row["label"] == "supported" or row["sentence"].rstrip(".。") not in row["passage"], row["id"]


def test_paraphrases_of_the_trial() -> None:
    assert len(PARAPHRASES) == 200
    assert all(re.fullmatch(r"TRIAL_\d+_QUERY_\d+", row["id"]) for row in PARAPHRASES)


@pytest.mark.parametrize(
    ("kept", "text"),
    [(VERIFIER, "sentence"), (QUESTIONS, "question"), (THIRD, "sentence"), (PARAPHRASES, "question")],
    ids=["verifier", "questions", "third", "paraphrases"],
)
def test_nothing_occurs_twice(kept: list[dict[str, str]], text: str) -> None:
    assert not [row for row, count in Counter(row["id"] for row in kept).items() if count > 1]
    assert not [row for row, count in Counter(row[text].casefold() for row in kept).items() if count > 1]
