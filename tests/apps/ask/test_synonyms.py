from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llamarium.apps.ask.answer import ask
from llamarium.apps.ask.index import build_in_memory
from llamarium.apps.ask.synonyms import BUILT_IN, MOST_OTHERS, built_in, parse, read_synonyms
from llamarium.apps.ask.words import question_words
from llamarium.ground.errors import BadFileError, NotFoundError


def others(groups: str, question: str) -> list[set[tuple[str, ...]]]:
    return [set(wanted.others) for wanted in parse(groups).expand(question_words(question), question).wanted]


@pytest.mark.parametrize(
    ("groups", "question", "found"),
    [
        ("cost, price", "What is the price?", [{("cost",)}]),
        ("cost -> fee", "What is the fee?", [set()]),  # what stands behind the arrow is not asked by
        ("cost -> fee", "What is the cost?", [{("fee",)}]),
        ("doctor, physician", "Physicians?", [{("doctor",)}]),  # by its stem
        ("get rid of, dispose", "How do I get rid of glass?", [{("dispos",)}, set()]),
        ("电瓶车, 电动自行车", "电瓶车？", [{("电动", "动自", "自行", "行车")}] * 3),
        ("power cut, outage\ncut, slice", "A power cut?", [{("outag",)}] * 2),  # not a cut by itself
        ("修, 维修", "怎么修？", [{("维修",)}]),
        ("修, 维修", "修改？", [set(), set()]),  # 修 within another word is not the word
        ("電話, 手機", "手机？", [{("电话",)}] * 2),  # traditional and simplified alike
    ],
)
def test_others(groups: str, question: str, found: list[set[tuple[str, ...]]]) -> None:
    assert others(groups, question) == found


def test_a_phrase_that_asks_for_nothing_is_a_hint() -> None:
    question = "How much?"
    expanded = parse("how much, price").expand(question_words("How much is it at the llama farm?"), "How much is it at the llama farm?")
    assert expanded.hints == (("price",),)
    assert not expanded.wanted[0].others
    assert question_words(question).wanted  # nothing but stop words: they are what is asked about


@given(st.text(st.sampled_from("ab价钱费,，、->#\n ")), st.text(st.sampled_from("ab价钱费 ？")))
def test_any_list_and_any_question(groups: str, question: str) -> None:
    asked = question_words(question)
    expanded = parse(groups).expand(asked, question)
    assert expanded.wanted == asked.wanted
    assert all(len(wanted.others) <= MOST_OTHERS for wanted in expanded.wanted)
    assert all(terms for wanted in expanded.wanted for terms in wanted.others)


def test_the_list_that_comes_along() -> None:
    groups = [line for line in BUILT_IN.read_text(encoding="utf-8").splitlines() if line and not line.startswith("#")]
    assert len(groups) >= 600
    dense = [line for line in groups if not line.isascii()]
    assert min(len(dense), len(groups) - len(dense)) >= 250
    assert all(len(parse(line).others) >= 1 for line in groups)


def test_a_list_of_ones_own(tmp_path: Path) -> None:
    (tmp_path / "own.txt").write_text("# ours\nhumps, backs\n", encoding="utf-8-sig")
    known = read_synonyms(tmp_path / "own.txt")
    assert ("back",) in known.others[("hump",)]
    assert known.others.keys() >= built_in().others.keys()
    (tmp_path / "a.txt").write_text("A camel of Bactria has two backs in the morning sun. It likes dates.", encoding="utf-8")
    with build_in_memory([tmp_path / "a.txt"]) as index:
        question = "How many humps does a camel of Bactria have?"
        assert ask(index, question, synonyms=known).confidence > ask(index, question).confidence


@pytest.mark.parametrize("content", [b"", b"# nothing\n", b"\xff\xfe\xfd"])
def test_no_list(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "own.txt").write_bytes(content)
    with pytest.raises(BadFileError):
        read_synonyms(tmp_path / "own.txt")
    with pytest.raises(NotFoundError):
        read_synonyms(tmp_path / "nowhere")
