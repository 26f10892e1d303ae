from __future__ import annotations

import doctest
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llamarium.apps.ask import conversation as module
from llamarium.apps.ask.answer import Answer, Citation, ask
from llamarium.apps.ask.conversation import LONGEST_MEANT, Conversation, meant
from llamarium.apps.ask.index import Index, build_in_memory
from llamarium.ground.errors import UsageError

DATA = Path(__file__).parent / "data"


@pytest.fixture(scope="module")
def invented() -> Iterator[Index]:
    with build_in_memory([DATA / "documents"]) as index:
        yield index


@pytest.fixture
def museums(tmp_path: Path) -> Iterator[Index]:
    (tmp_path / "kiln.md").write_text(
        "# The kiln museum\n\nIn summer the kiln museum opens at nine. In winter it opens at eleven.\n\n"
        "It was founded by Ada Prowse in 1931. Adults pay six crowns. Students pay four crowns.\n",
        encoding="utf-8",
    )
    (tmp_path / "clock.md").write_text(
        "# The clock museum\n\nThe clock museum opens at ten in winter. It was founded by Udo Lent.\n", encoding="utf-8"
    )
    (tmp_path / "陶馆.md").write_text(
        "# 陶馆须知\n\n陶馆夏天九点开门，冬天十一点开门。月卡三十元，季卡八十元。陶馆由沈一舟创办。\n", encoding="utf-8"
    )
    with build_in_memory([tmp_path]) as index:
        yield index


def test_examples() -> None:
    result = doctest.testmod(module)
    assert (result.failed, result.attempted) == (0, 3)


@pytest.mark.parametrize(
    ("question", "before", "expected"),
    [
        ("And E1?", "What does code E4 mean?", "What does code E1 mean?"),
        ("and on Sundays?", "When is the library open on weekdays?", "When is the library open on Sundays?"),
        ("What about 2024?", "How many members were there in 2023?", "How many members were there in 2024?"),
        ("What about films?", "How many books may I borrow?", "films? How many books may I borrow?"),
        ("Who founded it?", "When does the kiln museum open?", "Who founded  ? When does the kiln museum open?"),
        ("Why?", "Can games be put into the box?", "Why? Can games be put into the box?"),
        ("And in August?", "When is the library open in winter?", "When is the library open in August?"),
        ("学生呢？", "成人一年多少钱？", "学生一年多少钱？"),
        ("那季卡呢？", "月卡多少钱？", "季卡多少钱？"),
        ("為什麼？", "桌游可以放进还书箱吗？", "為什麼？ 桌游可以放进还书箱吗？"),
        ("他是哪年出生的？", "馆长是谁？", "是哪年出生的？ 馆长是谁？"),
    ],
)
def test_what_leans_on_the_question_before(question: str, before: str, expected: str) -> None:
    taken = meant(question, before)
    assert taken is not None
    assert (" ".join(taken.question.split()), taken.certain) == (" ".join(expected.split()), True)


@pytest.mark.parametrize(
    "question",
    [
        "When does the library open?",
        "Is there a pump in the box?",
        "How do I get a refund for the yearly card that I bought in May?",
        "那座山上的茶厂是哪一年停产的，后来改成了什么地方？",
        "What does it cost to send a parcel of five kilograms to Norway?",
    ],
)
def test_what_stands_by_itself(question: str) -> None:
    assert meant(question, "What does code E4 mean?") is None


@given(st.text(max_size=80) | st.text("那呢它 and it?E4季卡0", max_size=30), st.text(max_size=500))
def test_any_two_texts_give_something_bounded(question: str, before: str) -> None:
    taken = meant(question, before)
    assert taken is None or len(taken.question) <= LONGEST_MEANT


@pytest.mark.parametrize("question", ["And E1?", "And in winter?", "Why?", "Who made it?"])
def test_a_long_conversation_is_no_long_question(question: str) -> None:
    taken = meant(question, "What does code E4 mean in summer? " * 50)
    assert taken is not None
    assert len(taken.question) <= LONGEST_MEANT


def test_quotes_of_the_subject_come_first() -> None:
    def answer(*documents: str) -> Answer:
        quotes = tuple(Citation(document, 0, 1, document[0], 0.5) for document in documents)
        return Answer(found=bool(quotes), answer=quotes[0].quote if quotes else "", citations=quotes, seconds=0.0)

    stayed = module._staying(answer("b.md", "c.md", "a.md"), answer("a.md", "b.md"))
    assert [citation.document for citation in stayed.citations] == ["a.md", "b.md", "c.md"]
    assert stayed.answer == "a"
    for before in (answer("b.md", "a.md"), answer("d.md"), answer()):  # it is there already, it is not among them, there was none
        assert module._staying(answer("b.md", "a.md"), before) == answer("b.md", "a.md")


def test_a_conversation_goes_on_with_its_subject(museums: Index) -> None:
    talk = Conversation(lambda question: ask(museums, question))
    for question, document, quote in [
        ("When does the kiln museum open in summer?", "kiln.md", "at nine"),
        ("And in winter?", "kiln.md", "at eleven"),
        ("Who founded it?", "kiln.md", "Ada Prowse"),
        ("陶馆夏天几点开门？", "陶馆.md", "九点"),
        ("谁创办的？", "陶馆.md", "沈一舟"),
    ]:
        turn = talk.ask(question)
        assert turn.answer.found, question
        assert (turn.answer.citations[0].document, quote in turn.answer.answer) == (document, True)
    assert [turn.question == turn.meant for turn in talk.turns] == [True, False, False, True, True]


def test_without_the_question_before_it_is_about_another_document(museums: Index) -> None:
    """The control of the test above: alone, neither the words nor the document hold to the kiln museum."""
    alone = ask(museums, "And in winter?")
    assert not alone.found or alone.answer != "In winter it opens at eleven."
    talk = Conversation(lambda question: ask(museums, question))
    talk.ask("Who founded the clock museum?")
    assert talk.ask("And in winter?").answer.citations[0].document == "clock.md"


def test_a_question_that_fails_is_forgotten(museums: Index) -> None:
    talk = Conversation(lambda question: ask(museums, question))
    talk.ask("When does the kiln museum open in summer?")
    with pytest.raises(UsageError):
        Conversation(lambda question: ask(museums, question)).ask("?!")
    assert len(talk.turns) == 1
    assert talk.ask("And in winter?").answer.found


def follow_ups(index: Index, half: int) -> tuple[int, int, int]:
    """How many there are, how many are answered from the right document, and how many would be if they were asked alone."""
    entries = [json.loads(line) for line in (DATA / "questions.jsonl").read_text(encoding="utf-8").splitlines()]
    entries = [entry for entry in entries if entry["kind"] == "follow_up" and int(entry["id"][-1]) % 2 == half]

    def right(answer: Answer, entry: dict[str, str]) -> bool:
        return answer.found and answer.citations[0].document == entry["document"]

    together = alone = 0
    for entry in entries:
        talk = Conversation(lambda question: ask(index, question))
        talk.ask(entry["after"])
        together += right(talk.ask(entry["question"]).answer, entry)
        alone += right(ask(index, entry["question"]), entry)
    return len(entries), together, alone


@pytest.mark.parametrize("half", [0, 1])
def test_follow_ups_of_someone_who_did_not_see_the_rules(half: int, invented: Index) -> None:
    """Measured as of 2026-11-25: 13 of 15 (9 alone) where nothing was looked at, 5 of 5 (3 alone) where it was."""
    num, together, alone = follow_ups(invented, half)
    assert num == (15, 5)[half]
    assert together >= 0.8 * num
    assert together > alone


if __name__ == "__main__":
    with build_in_memory([DATA / "documents"]) as opened:
        for half in (0, 1):
            print("even" if half == 0 else "odd", "follow-ups, right document, alone:", follow_ups(opened, half))  # noqa: T201
