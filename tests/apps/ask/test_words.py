from __future__ import annotations

import sqlite3

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from llamarium.apps.ask import words as module
from llamarium.apps.ask.words import LONGEST_TERM, folded_characters, held_in, question_words, search_terms, terms_of, words


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("json.dumps", {"json.dumps", "json", "dump"}),
        ("read_text()", {"read_text", "read", "text"}),
        ("asyncio.gather", {"asyncio.gather", "asyncio", "gather"}),
        ("--resume", {"--resume", "resum"}),
        ("3.14", {"3.14", "3", "14"}),
        ("StopIteration", {"stopiter", "stop", "iter"}),
        ("ＡＢＣ１２", {"abc12", "abc", "12"}),
        ("Café", {"cafe"}),
        ("Python's", {"python"}),
        ("C++ or C#", {"c++", "or", "c#", "c"}),
        ("generators", {"generat"}),
        ("模型训练", {"模型", "型训", "训练", "模", "型", "训", "练"}),
        ("模型訓練", {"模型", "型训", "训练", "模", "型", "训", "练"}),
        ("用GPU训练", {"用", "gpu", "训练", "训", "练"}),
        ("ひらがな", {"ひら", "らが", "がな", "ひ", "ら", "が", "な"}),
        ("", set()),
        ("... --- ***", set()),
    ],
)
def test_terms(text: str, terms: set[str]) -> None:
    assert terms_of(text) == terms


@given(st.text() | st.text(st.sampled_from("ab_.-/:@+#'’ＡＢ模型訓練é1ß")))
@settings(max_examples=300, deadline=None)
def test_places_are_those_of_the_text(text: str) -> None:
    place = 0
    for word in words(text):
        assert place <= word.start < word.end <= len(text)
        place = word.start + 1 if text[word.start] >= "\u3040" else word.end
        assert word.terms
        assert all(0 < len(term) <= LONGEST_TERM and " " not in term for term in word.terms)


@given(st.text() | st.text(st.sampled_from("ab_.-/:@+#'\"模型é1 ")))
@settings(max_examples=200, deadline=None)
@example("⑴ ½ ℀ ŉ İ ﬁ K")  # compatibility forms would bring brackets and slashes
def test_the_index_takes_every_term_as_it_is(text: str) -> None:
    """Terms are put together with spaces: none may hold one, or be none."""
    assert set(search_terms(text).split()) == terms_of(text)


@given(st.text(st.sampled_from("訓練训练ＡＢ　a龍颱風臺")))
def test_folding_keeps_every_character_at_its_place(text: str) -> None:
    folded = folded_characters(text)
    assert len(folded) == len(text)
    assert folded_characters(folded) == folded
    assert terms_of(folded) == terms_of(text)


def test_traditional_characters_are_folded_as_opencc_folds_them() -> None:
    opencc = pytest.importorskip("opencc")
    convert = opencc.OpenCC("t2s").convert
    table = {chr(old): chr(new) for old, new in module._folding().items() if old < 0xFF01 and old != 0x3000}
    expected = {old: convert(old) for old in map(chr, range(0x4E00, 0xA000)) if is_in(old, "big5") and convert(old) != old}
    wrong = [old for old in table.keys() | expected if is_in(convert(old), "gb2312") and table.get(old) != expected.get(old)]
    assert not wrong


def is_in(character: str, encoding: str) -> bool:
    return bool(character.encode(encoding, "ignore"))


def test_sqlites_own_tokenizers_would_miss_words_of_two_characters() -> None:
    """Why terms are made here: the control for the test above."""
    connection = sqlite3.connect(":memory:")
    for tokenizer in ("unicode61", "trigram", "porter"):
        connection.execute(f"CREATE VIRTUAL TABLE {tokenizer} USING fts5(body, tokenize='{tokenizer}')")
        connection.execute(f"INSERT INTO {tokenizer} VALUES ('我们训练一个模型并吃豆腐')")
        assert not connection.execute(f"SELECT * FROM {tokenizer} WHERE {tokenizer} MATCH '\"模型\"'").fetchall()
    connection.close()
    assert "模型" in terms_of("我们训练一个模型并吃豆腐")


@pytest.mark.parametrize(
    ("question", "wanted"),
    [
        ("What does the pass statement do?", [{"pass"}, {"statement"}]),
        ("How do I use json.dumps?", [{"json"}, {"dump"}]),
        ('What does "with" do?', [{"with"}]),
        ("What is `if`?", [{"if"}]),
        ("what is this?", [{"what"}, {"is"}, {"this"}]),
        ("Is it 3.14?", [{"3.14"}]),
        ("豆腐怎么做？", [{"豆腐"}, {"豆腐"}, {"做"}]),
        ("模型是什么？", [{"模型"}, {"模型"}]),
        ("为什么？", [{"为什"}, {"为什", "什么"}, {"什么", "么"}]),
        ("?!", []),
    ],
)
def test_what_a_question_is_about(question: str, wanted: list[set[str]]) -> None:
    found = question_words(question).wanted
    if question == "为什么？":  # nothing but a question word: it is what is asked about
        assert found
    else:
        assert [set(one.terms) for one in found] == wanted


def test_what_a_text_holds_of_it() -> None:
    wanted = question_words("训练 GPU 做").wanted
    held = held_in(wanted, terms_of("做豆腐不用 gpu"))
    assert {one.terms[0] for one in held} == {"gpu", "做"}


def test_an_endless_word_is_cut() -> None:
    assert {len(term) for term in terms_of("a" * 1_000_000)} == {LONGEST_TERM}
