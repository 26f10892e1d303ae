"""Instruction data in its three shapes: every conversation found, every other record named, and no question on both sides."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llamarium.ground.errors import BadFileError, NotFoundError, UsageError
from llamarium.text.conversations import BadRecord, Conversation, read_conversations, split

ALPACA = {"instruction": "Add.", "input": "1 and 1", "output": "2"}
EXPECTED = [{"role": "user", "content": "Add.\n1 and 1"}, {"role": "assistant", "content": "2"}]


def system(content: str) -> dict[str, str]:
    return {"role": "system", "content": content}


def user(content: str) -> dict[str, str]:
    return {"role": "user", "content": content}


def assistant(content: str) -> dict[str, str]:
    return {"role": "assistant", "content": content}


def lines(path: Path, *records: Any) -> Path:
    path.write_text("".join(f"{record if isinstance(record, str) else json.dumps(record)}\n" for record in records), encoding="utf-8")
    return path


def one(tmp_path: Path, record: Any) -> list[dict[str, str]]:
    return read_conversations(lines(tmp_path / "one.jsonl", record)).good[0].messages


# --- shapes ---


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        (ALPACA, EXPECTED),
        ({"instruction": "Add.", "output": "2"}, [user("Add."), assistant("2")]),
        ({"instruction": "Add.", "input": None, "output": "2"}, [user("Add."), assistant("2")]),
        ({"instruction": "", "input": "1 and 1", "output": " 2\n"}, [user("1 and 1"), assistant(" 2\n")]),
        ({**ALPACA, "system": "Be brief."}, [system("Be brief."), *EXPECTED]),
        ({**ALPACA, "system": "", "history": []}, EXPECTED),
        ({**ALPACA, "history": [["a", "b"], ["c", "d"]]}, [user("a"), assistant("b"), user("c"), assistant("d"), *EXPECTED]),
        ({"conversations": [{"from": "human", "value": "羊"}, {"from": "gpt", "value": "驼"}]}, [user("羊"), assistant("驼")]),
        (
            {"conversations": [{"from": "system", "value": "s"}, {"from": "user", "value": "q"}, {"from": "assistant", "value": "a"}]},
            [system("s"), user("q"), assistant("a")],
        ),
        ({"system": "s", "conversations": [user("q"), assistant("a")]}, [system("s"), user("q"), assistant("a")]),
        ({"messages": [system("s"), user("q"), assistant("a")], "id": 7}, [system("s"), user("q"), assistant("a")]),
        ({"messages": [system(" "), user("q"), assistant("a")]}, [user("q"), assistant("a")]),
        ({"messages": [user("q"), assistant("a"), user("and?")]}, [user("q"), assistant("a")]),
        ({"messages": [user("q"), {**assistant("a"), "weight": 1, "tool_calls": None}]}, [user("q"), assistant("a")]),
        ({"messages": [user("a\ud800"), assistant("b")]}, [user("a\ufffd"), assistant("b")]),
    ],
)
def test_a_record_becomes_messages(tmp_path: Path, record: Any, expected: list[dict[str, str]]) -> None:
    assert one(tmp_path, record) == expected


def test_the_shape_is_told_for_each_record(tmp_path: Path) -> None:
    path = lines(tmp_path / "a.jsonl", ALPACA, "", {"messages": EXPECTED}, {"conversations": EXPECTED})
    found = read_conversations(path)
    assert found.good == [Conversation(EXPECTED, line, "a.jsonl") for line in (1, 3, 4)]
    assert found.bad == []


@pytest.mark.parametrize(
    "value", [[ALPACA], ALPACA, {"messages": EXPECTED}, {"data": [{"messages": EXPECTED}]}, {"version": 1, "d": [ALPACA]}]
)
def test_a_json_file_is_an_array_a_record_or_an_object_around_an_array(tmp_path: Path, value: Any) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps(value), encoding="utf-8")
    assert read_conversations(path).good == [Conversation(EXPECTED, 1, "a.json")]


def test_a_folder_gives_what_its_files_hold(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    lines(tmp_path / "deep" / "b.JSONL", ALPACA)
    lines(tmp_path / "a.jsonl", "{", ALPACA)
    (tmp_path / "broken.json").write_text("[{", encoding="utf-8")
    (tmp_path / "empty.json").write_text("", encoding="utf-8")
    (tmp_path / "README.md").write_text("text", encoding="utf-8")
    found = read_conversations(tmp_path)
    assert [(each.source, each.line) for each in found.good] == [("a.jsonl", 2), ("deep/b.JSONL", 1)]
    assert [(each.source, each.line) for each in found.bad] == [("a.jsonl", 1), ("broken.json", 0), ("empty.json", 0)]


# --- what is none ---

BAD = {
    "invalid JSON": ("{", "not valid JSON"),
    "too deep": ("[" * 100_000, "nested"),
    "a string": ('"hello"', "not an object"),
    "an array": ([], "not an object"),
    "null": ("null", "not an object"),
    "other fields": ({"text": "a"}, "'text'"),
    "no fields": ({}, "nothing"),
    "no output": ({"instruction": "a"}, "'instruction'"),
    "empty output": ({**ALPACA, "output": " \n"}, "empty answer"),
    "null output": ({**ALPACA, "output": None}, "empty answer"),
    "a number": ({**ALPACA, "output": 2}, "its output is not a text"),
    "empty question": ({**ALPACA, "instruction": "", "input": " "}, "empty question"),
    "history": ({**ALPACA, "history": [["a"]]}, "history"),
    "history that is a number": ({**ALPACA, "history": 5}, "history"),
    "history of numbers": ({**ALPACA, "history": [[1, 2]]}, "history"),
    "no list": ({"messages": "hi"}, "not a list"),
    "no messages": ({"messages": []}, "no answer"),
    "a message that is none": ({"messages": [user("q"), "a"]}, "message 2 is not an object"),
    "no answer": ({"messages": [system("s"), user("q")]}, "no answer"),
    "only a system": ({"messages": [system("s")]}, "no answer"),
    "empty answer": ({"messages": [user("q"), assistant("")]}, "empty answer"),
    "unknown role": ({"messages": [user("q"), {"role": "tool", "content": "x"}, assistant("a")]}, "message 2 has the role 'tool'"),
    "no role": ({"messages": [{"content": "q"}]}, "None"),
    "a role that is a list": ({"messages": [{"role": [], "content": "q"}]}, "role"),
    "two questions": ({"messages": [user("q"), user("r"), assistant("a")]}, "a question without an answer"),
    "two answers": ({"messages": [user("q"), assistant("a"), assistant("b")]}, "an answer without a question"),
    "answer first": ({"conversations": [assistant("a"), user("q"), assistant("b")]}, "an answer without a question"),
    "late system": ({"messages": [user("q"), assistant("a"), system("s"), user("r"), assistant("b")]}, "system message"),
    "two systems": ({"system": "s", "messages": [system("t"), user("q"), assistant("a")]}, "system message"),
    "parts": ({"messages": [{"role": "user", "content": [{"type": "text", "text": "q"}]}, assistant("a")]}, "message 1 is not a text"),
    "a tool": ({"messages": [user("q"), {"role": "assistant", "content": None, "tool_calls": [{}]}]}, "tool_calls"),
    "a weight": ({"messages": [user("q"), {**assistant("a"), "weight": 0}]}, "weight"),
}


@pytest.mark.parametrize(("record", "reason"), BAD.values(), ids=BAD.keys())
def test_a_bad_record_is_named_and_passed_over(tmp_path: Path, record: Any, reason: str) -> None:
    found = read_conversations(lines(tmp_path / "a.jsonl", ALPACA, record, ALPACA))
    assert [each.line for each in found.good] == [1, 3]
    (bad,) = found.bad
    assert (bad.source, bad.line) == ("a.jsonl", 2)
    assert reason in bad.reason


def test_bad_records_of_an_array_have_their_number(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps([ALPACA, 3, ALPACA, {"messages": 3}]), encoding="utf-8")
    found = read_conversations(tmp_path / "a.json")
    assert found.bad == [BadRecord("a.json", 2, "it is not an object."), BadRecord("a.json", 4, "its messages are not a list.")]


@pytest.mark.parametrize(("record", "reason"), list(BAD.values())[::4])
def test_where_nothing_good_is_left_it_is_a_bad_file(tmp_path: Path, record: Any, reason: str) -> None:
    with pytest.raises(BadFileError, match=r"holds no conversation \(a\.jsonl, record 1: ") as caught:
        read_conversations(lines(tmp_path / "a.jsonl", record))
    assert reason in caught.value.message
    assert caught.value.exit_code == 3
    assert "instruction" in caught.value.hint


@pytest.mark.parametrize(("content", "reason"), [(b"", "empty"), (b"\n\n", "no records"), (b"\x7fELF", "program"), (b"[]", "no records")])
def test_a_file_without_records_is_a_bad_file(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / ("a.json" if content == b"[]" else "a.jsonl")
    path.write_bytes(content)
    with pytest.raises(BadFileError, match=reason):
        read_conversations(path)


def test_nothing_to_read_is_wrong_use(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("x", encoding="utf-8")
    for source in (tmp_path, tmp_path / "a.txt"):
        with pytest.raises(UsageError, match="instruction data"):
            read_conversations(source)
    with pytest.raises(NotFoundError):
        read_conversations(tmp_path / "absent.json")


FIELDS = ["messages", "conversations", "instruction", "input", "output", "history", "system", "role", "from", "content", "value"]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(FIELDS),
            inner | st.sampled_from(["user", "assistant", "gpt", "system"]),
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(st.lists(JSON, max_size=4))
@settings(max_examples=150, deadline=None)
def test_any_json_is_a_conversation_or_a_reason(tmp_path_factory: pytest.TempPathFactory, records: list[Any]) -> None:
    path = lines(tmp_path_factory.getbasetemp() / "any.jsonl", *(json.dumps(record) for record in records), ALPACA)
    found = read_conversations(path)
    assert len(found.good) + len(found.bad) == len(records) + 1
    for each in found.good:
        turns = [message["role"] for message in each.messages if message["role"] != "system"]
        assert turns == ["user", "assistant"] * (len(turns) // 2)
        assert all(message["content"].strip() for message in each.messages)


# --- the split ---


def asking(*questions: str) -> list[Conversation]:
    return [Conversation([user(question), assistant(str(number))], number) for number, question in enumerate(questions)]


@given(st.lists(st.integers(0, 60), max_size=120), st.sampled_from([0.0, 0.05, 0.3]))
@settings(max_examples=100, deadline=None)
def test_the_sides_share_no_question_and_lose_nothing(numbers: list[int], share: float) -> None:
    given_ = asking(*(f"q{number}" for number in numbers))
    train, valid = split(given_, share=share)
    assert sorted(each.line for each in train + valid) == list(range(len(given_)))
    assert train == sorted(train, key=lambda each: each.line)
    assert not {each.question for each in train} & {each.question for each in valid}
    assert bool(train) == bool(given_)
    assert bool(valid) or share == 0 or len(given_) < 20 or len(set(numbers)) == 1
    assert share > 0 or not valid
    largest = max(map(numbers.count, numbers), default=0)
    assert len(valid) <= max(share * len(given_) + largest / 2, min(map(numbers.count, numbers), default=0))


def test_about_the_share_validates_whatever_the_order() -> None:
    given_ = asking(*(f"question {number}" for number in range(400)))
    _, valid = split(given_)
    assert len(valid) == 20
    _, again = split(given_[::-1])
    assert again == valid[::-1]


def test_space_around_a_question_and_another_system_make_no_other_question() -> None:
    given_ = asking(*(f"q{number % 30}" + " " * (number // 30) for number in range(60)))
    given_ = [Conversation([system(str(each.line)), *each.messages], each.line) for each in given_]
    train, valid = split(given_, share=0.2)
    assert len(valid) == 12
    assert not {each.question.strip() for each in train} & {each.question.strip() for each in valid}
