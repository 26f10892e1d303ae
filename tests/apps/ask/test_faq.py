"""Whether a question of a file is known again, and another one is not taken for it.

``python tests/apps/ask/test_faq.py`` prints what each threshold does; it was chosen on the half "tune".
"""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llamarium.apps.ask.faq import THRESHOLD, Faq, read_faq
from llamarium.ground.errors import BadFileError, NotFoundError
from llamarium.text.document import read

HERE = Path(__file__).parent / "faq"
FILES = {"en": HERE / "workshop.md", "zh": HERE / "洗衣房.csv"}


def check(path: Path, faq: Faq) -> None:
    text = read(path).text
    assert faq.name == path.name
    for entry in faq.entries:
        answer = text[entry.start : entry.end]
        assert answer
        assert answer == answer.strip()


def measure(half: str, language: str, threshold: float) -> tuple[int, int, int]:
    """How many questions were taken for one of the file, how many of these rightly, how many should have been."""
    faq = read_faq(FILES[language])
    taken = right = wanted = 0
    for line in (HERE / "questions.jsonl").read_text(encoding="utf-8").splitlines():
        entry = json.loads(line)
        if (entry["half"], entry["language"]) == (half, language):
            hit = faq.find(entry["question"], threshold=threshold)
            wanted += bool(entry["entry"])
            taken += hit is not None
            right += hit is not None and hit.entry.question == entry["entry"]
    return taken, right, wanted


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("half", ["tune", "report"])
def test_questions_are_known_again_and_others_are_not(half: str, language: str) -> None:
    taken, right, wanted = measure(half, language, THRESHOLD)
    assert taken - right <= 1
    assert right >= 0.6 * wanted


@pytest.mark.parametrize("language", ["en", "zh"])
def test_a_lower_threshold_takes_others_for_them(language: str) -> None:
    taken, right, _ = measure("tune", language, 0.5)
    assert taken - right >= 3


@pytest.mark.parametrize("path", FILES.values(), ids=FILES)
def test_all_pairs_are_read(path: Path) -> None:
    faq = read_faq(path)
    assert len(faq.entries) == 14
    check(path, faq)
    for entry in faq.entries:
        hit = faq.find(entry.question.upper().replace("?", " ?!"), threshold=2.0)
        assert hit is not None
        assert (hit.entry, hit.likeness) == (entry, 1.0)


@pytest.mark.parametrize(
    ("name", "content", "pairs"),
    [
        ("a.md", "## Why?\n\nSo.\n\nAnd so.\n\n## How?\n\nThus.", [("Why?", "So.\n\nAnd so."), ("How?", "Thus.")]),
        ("a.md", "**Q: Why?**\nA: So.\n\nQ: How, then\nA: Thus.\nA: And so.", [("Why?", "So."), ("How, then", "Thus.\nA: And so.")]),
        ("a.txt", "问：为什么\n答：因为。\n问题2：怎么？\n答案：这样。", [("为什么", "因为。"), ("怎么？", "这样。")]),
        ("a.csv", "question,answer\nWhy?,So.\nNo mark,Thus.\n", [("Why?", "So."), ("No mark", "Thus.")]),
        ("a.csv", "问题,答案\n为什么,因为。\n怎么？,\n", [("为什么", "因为。")]),
        ("a.jsonl", '{"question": "Why?", "answer": "So.\\n\\nYes."}\n{"question": "How?", "answer": ""}\n', [("Why?", "So.\n\nYes.")]),
        ("a.txt", "Is this one?\nNo, it goes on.\n\nIs it?\n\nYes.", [("Is this one?", "No, it goes on."), ("Is it?", "Yes.")]),
    ],
)
def test_forms(name: str, content: str, pairs: list[tuple[str, str]], tmp_path: Path) -> None:
    (tmp_path / name).write_text(content, encoding="utf-8")
    faq = read_faq(tmp_path / name)
    check(tmp_path / name, faq)
    assert [(entry.question, faq.text[entry.start : entry.end]) for entry in faq.entries] == pairs


def test_a_number_that_is_another_asks_for_something_else(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text(
        "# What does code E4 mean on the drying machine behind the boiler in the cellar?\n\nThe tank is missing.\n"
    )
    faq = read_faq(tmp_path / "a.md")
    assert faq.find("What does the code E4 mean on a drying machine behind the boiler in our cellar") is not None
    assert faq.find("What does the code E5 mean on a drying machine behind the boiler in our cellar") is None


def test_who_is_not_what(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("# Who feeds the llamas?\n\nMartha does.\n\n# How hot is the oven?\n\nVery.\n")
    faq = read_faq(tmp_path / "a.md")
    assert faq.find("Who is feeding llamas?") is not None
    assert faq.find("What do llamas eat?") is None


def test_an_answer_is_a_quote() -> None:
    faq = read_faq(FILES["zh"])
    answer = faq.answer("請問如何開發票？")
    assert answer is not None
    assert (answer.found, len(answer.citations)) == (True, 1)
    [citation] = answer.citations
    assert citation.document == "洗衣房.csv"
    assert read(FILES["zh"]).text[citation.start : citation.end] == citation.quote == answer.answer
    assert "第二天发到邮箱" in citation.quote
    assert faq.answer("老板叫什么名字？") is None


@given(st.lists(st.sampled_from(["Why?", "Q: Why?", "A: So.", "So.", "", " ", "?", "# How?", "问：", "答：是", "**Q: a**"]), max_size=20))
@settings(max_examples=80, deadline=None)
def test_any_lines_give_answers_at_their_places(tmp_path_factory: pytest.TempPathFactory, lines: list[str]) -> None:
    path = tmp_path_factory.mktemp("faq") / "a.md"
    path.write_text("x\n" + "\n".join(lines), encoding="utf-8")
    try:
        faq = read_faq(path)
    except BadFileError:
        return
    check(path, faq)
    places = [(entry.start, entry.end) for entry in faq.entries]
    assert places == sorted(places)
    assert all(end <= start for (_, end), (start, _) in itertools.pairwise(places))


def test_errors(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        read_faq(tmp_path / "nowhere.md")
    (tmp_path / "a.md").write_text("Nothing is asked here.")
    with pytest.raises(BadFileError, match="no questions with answers") as caught:
        read_faq(tmp_path / "a.md")
    assert "Q:" in caught.value.hint


if __name__ == "__main__":
    for half in ("tune", "report"):
        for language in FILES:
            for threshold in (0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9):
                taken, right, wanted = measure(half, language, threshold)
                print(f"{half:6} {language} from {threshold:.2f}: {taken} taken, {right} rightly, of {wanted}")  # noqa: T201
