from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llamarium.apps.ask.question_sets import Posed, read_questions
from llamarium.ground.errors import BadFileError, LlamariumError, NotFoundError
from llamarium.text.document import read

DATA = Path(__file__).parent / "data"


def write(path: Path, *records: object) -> Path:
    path.write_text("\n".join(json.dumps(record, ensure_ascii=False) for record in records), encoding="utf-8")
    return path


def test_lines(tmp_path: Path) -> None:
    path = write(
        tmp_path / "q.jsonl",
        {"question": " How long? ", "document": "a/b.md", "answer": "4 hours", "id": 7},
        {"question": "冬天呢？", "document": "a.md", "answer": ["三天", "", "3 天"], "after": "夏天几天？", "kind": "follow_up"},
        {"question": "Who?", "document": "", "answer": "", "after": None},
    )
    assert read_questions(path).questions == (
        Posed("How long?", "a/b.md", ("4 hours",)),
        Posed("冬天呢？", "a.md", ("三天", "3 天"), "夏天几天？", "follow_up"),
        Posed("Who?"),
    )


def test_the_set_that_judges_ask_is_one() -> None:
    questions = read_questions(DATA / "questions.jsonl").questions
    assert len(questions) == 240
    assert sum(not posed.document for posed in questions) == 60
    assert sum(bool(posed.after) for posed in questions) == 20


def test_squad_carries_its_documents(tmp_path: Path) -> None:
    paragraphs = [
        {
            "context": "The llama hums.\r\nIt eats hay.",
            "qas": [
                {"question": "What hums?", "answers": [{"text": "llama", "answer_start": 4}, {"text": "llama"}]},
                {"question": "What flies?", "answers": [{"text": "hay"}], "is_impossible": True},
            ],
        },
        {"context": "羊驼吃草。", "qas": [{"question": "羊驼吃什么？", "answers": [{"text": "草"}]}]},
    ]
    found = read_questions(write(tmp_path / "squad.json", {"version": "1", "data": [{"paragraphs": paragraphs}]}))
    assert found.questions == (
        Posed("What hums?", "000001.txt", ("llama",)),
        Posed("What flies?"),
        Posed("羊驼吃什么？", "000002.txt", ("草",)),
    )
    found.write_documents(tmp_path)
    assert read(tmp_path / "000001.txt").text == found.documents["000001.txt"] == "The llama hums.\nIt eats hay."


def test_half_characters_can_be_written(tmp_path: Path) -> None:
    (tmp_path / "q.json").write_text(r'{"data": [{"paragraphs": [{"context": "a\ud800b", "qas": [{"question": "\udc00?"}]}]}]}')
    found = read_questions(tmp_path / "q.json")
    found.write_documents(tmp_path)
    assert read(tmp_path / "000001.txt").text == "a\ufffdb"
    assert found.questions == (Posed("\ufffd?"),)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "no questions"),
        (b"\n \n", "no questions"),
        (b"not json", "line 1 is no JSON"),
        (b'{"question": "Why?"}\n{"question"', "line 2 is no JSON"),
        (b'{"answer": "So."}', "line 1 has no question"),
        (b'{"question": "  "}', "line 1 has no question"),
        (b'["Why?"]', "line 1 has no question"),
        (b'{"question": 7}', "question is no text"),
        (b'{"question": "Why?", "answer": "So."}', "no document"),
        (b'{"question": "Why?", "answer": [1], "document": "a"}', "answer is no text"),
        (b'{"question": "\xff"}', "UTF-8"),
        (b'{"data": [{"paragraphs": [{"qas": []}]}]}', "not as SQuAD"),
        (b'{"data": 7}', "not as SQuAD"),
        (b'{"data": []}', "no questions"),
        (b"[" * 100_000, "line 1 is no JSON"),
    ],
)
def test_what_is_no_set_of_questions(content: bytes, reason: str, tmp_path: Path) -> None:
    (tmp_path / "q.jsonl").write_bytes(content)
    with pytest.raises(BadFileError, match=reason) as caught:
        read_questions(tmp_path / "q.jsonl")
    assert caught.value.hint


def test_no_file(tmp_path: Path) -> None:
    for path in (tmp_path / "nowhere", tmp_path):
        with pytest.raises(NotFoundError):
            read_questions(path)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5), lambda inner: st.lists(inner, max_size=3), max_leaves=5
)
KEYS = st.sampled_from(["question", "document", "answer", "answers", "after", "kind", "data", "paragraphs"])


@given(st.lists(st.dictionaries(KEYS, JSON, max_size=5), max_size=4))
@settings(max_examples=80, deadline=None)
def test_any_records_are_questions_or_an_error(tmp_path_factory: pytest.TempPathFactory, records: list[object]) -> None:
    path = write(tmp_path_factory.mktemp("q") / "q.jsonl", *records)
    try:
        found = read_questions(path)
    except LlamariumError:
        return
    assert all(posed.question.strip() and (posed.document or not posed.answers) for posed in found.questions)
