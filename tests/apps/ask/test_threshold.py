from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llamarium.apps.ask.cues import asked_for, has
from llamarium.apps.ask.threshold import THRESHOLD, Signs, confidence

shares = st.floats(0, 1)


@given(st.builds(Signs, shares, shares, st.floats(0, 4), shares))
def test_the_more_is_held_the_likelier(signs: Signs) -> None:
    assert 0 < confidence(signs) < 1
    for name, most in (("passage", 1.0), ("gap", 1.0), ("words", 4.0)):
        assert confidence(replace(signs, **{name: most})) >= confidence(signs)


def test_all_is_enough_and_nothing_is_not() -> None:
    assert confidence(Signs(1, 0.5, 1, 1)) > THRESHOLD > confidence(Signs(0, 1, 0, 0))


@pytest.mark.parametrize(
    ("question", "right", "wrong"),
    [
        ("When was it built?", "It was built in 1984.", "It was built of stone."),
        ("Who painted it?", "Mary Smith painted it.", "it was painted blue."),
        ("How many rooms are there?", "There are twelve rooms.", "There are rooms."),
        ("Where is it?", "It is in Paris.", "It is old."),
        ("Why is it closed?", "Closed because of rain.", "It is closed."),
        ("什么时候建成？", "一九八四年建成。", "用石头建成。"),
        ("票价多少？", "票价三十元。", "票在门口卖。"),
        ("博物馆在哪里？", "博物馆位于南门外。", "它很大。"),
        ("为什么关门？", "因为下雨。", "门很重。"),
        ("有哪些蔬菜？", "有白菜、萝卜、豆角。", "蔬菜新鲜。"),
    ],
)
def test_cues(question: str, right: str, wrong: str) -> None:
    kinds = asked_for(question)
    assert kinds
    assert has(kinds, right) > has(kinds, wrong)


def test_nothing_is_asked_for() -> None:
    assert has(asked_for("Llamas?"), "anything") == 0.5
