from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llamarium.apps.ask import answer as module
from llamarium.apps.ask.answer import Answer, Citation, ask, highlights, verified
from llamarium.apps.ask.index import build, build_in_memory, open_index
from llamarium.ground.errors import UsageError
from llamarium.text.document import read

CHINESE = Path(__file__).parent / "chinese"


def ask_folder(folder: Path, question: str) -> Answer:
    with build_in_memory([folder]) as index:
        return ask(index, question)


def check_quotes(answer: Answer, folder: Path) -> None:
    for citation in answer.citations:
        assert read(folder / citation.document).text[citation.start : citation.end] == citation.quote
        assert 0 <= citation.score <= 1
    assert answer.found == bool(answer.citations) == bool(answer.answer)


def test_a_quote_at_its_place() -> None:
    answer = ask_folder(CHINESE, "老豆腐用什么点浆？")
    assert answer.found
    assert answer.citations[0].document == "豆腐坊手册.txt"
    assert "盐卤" in answer.citations[0].quote
    assert answer.answer.startswith(answer.citations[0].quote)
    assert answer.seconds > 0
    check_quotes(answer, CHINESE)


@pytest.mark.parametrize("question", ["法国的首都是哪里？", "What is the capital of France?", "zzz"])
def test_nothing_is_found(question: str) -> None:
    answer = ask_folder(CHINESE, question)
    assert (answer.found, answer.answer, answer.citations) == (False, "", ())


def test_what_comes_nearest_is_named_without_being_an_answer() -> None:
    answer = ask_folder(CHINESE, "羊驼能活多少年？")
    assert not answer.sure
    assert {citation.document for citation in (*answer.citations, *answer.nearest)} & {"羊驼饲养.txt"}
    answer = ask_folder(CHINESE, "蒙古国的首都在哪里？")
    assert not answer.found
    assert answer.citations == ()


@pytest.mark.parametrize(
    "data",
    [
        "\ufeffThe llama eats grass.\r\nIt hums.\r\n".encode(),
        "😀 𠀀 The llama eats grass 😀.".encode(),
        "é e\u0301 The llama eats ｇｒａｓｓ.".encode(),
        b"The llama\teats\x0bgrass \x1b[31mhere.",
        "\n\n   The llama\n   eats grass.\n".encode("utf-16"),
        "羊驼 llama 吃草 eats grass，羊驼在山上。".encode("gb18030"),
    ],
)
def test_offsets_are_code_points_of_what_read_prints(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(data)
    answer = ask_folder(tmp_path, "What does a llama eat, grass?")
    assert answer.found
    check_quotes(answer, tmp_path)


def test_json_records_with_a_nul(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('[{"text": "before\\u0000 it"}, {"text": "The llama eats\\u0000 grass. \\ud800"}]')
    answer = ask_folder(tmp_path, "What does the llama eat?")
    assert answer.found
    check_quotes(answer, tmp_path)


@given(
    st.lists(st.sampled_from(["llama", "grass", "hill", "羊驼", "山", ". ", "。", "\n", "\n\n", " ", "😀", "- ", "# "]), max_size=60).map(
        "".join
    )
)
@settings(max_examples=60, deadline=None)
def test_every_quote_is_in_its_document(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    folder = tmp_path_factory.mktemp("docs")
    (folder / "a.txt").write_text("llama " + text, encoding="utf-8")
    check_quotes(ask_folder(folder, "grass on the hill 羊驼"), folder)


def shift(citation: Citation, *, start: int = 0, end: int = 0) -> Citation:
    return replace(citation, start=citation.start + start, end=citation.end + end)


@pytest.mark.parametrize("moved", [{"start": 1, "end": 1}, {"start": -1, "end": -1}, {"end": 1}, {"start": 1}])
def test_a_quote_that_is_not_at_its_place_is_dropped(moved: dict[str, int], monkeypatch: pytest.MonkeyPatch) -> None:
    """The negative control: offsets that are wrong by one must not come through."""
    right = module._cite

    def wrong(candidate: module._Candidate, text: str) -> Citation:
        return shift(right(candidate, text), **moved)

    assert ask_folder(CHINESE, "老豆腐用什么点浆？").found
    monkeypatch.setattr(module, "_cite", wrong)
    answer = ask_folder(CHINESE, "老豆腐用什么点浆？")
    assert (answer.found, answer.citations, answer.nearest) == (False, (), ())
    assert answer.dropped


def test_and_would_come_through_without_the_check(monkeypatch: pytest.MonkeyPatch) -> None:
    right = module._cite
    monkeypatch.setattr(module, "_cite", lambda candidate, text: shift(right(candidate, text), start=1, end=1))
    monkeypatch.setattr(module, "verified", lambda *_: True)
    with pytest.raises(AssertionError):
        check_quotes(ask_folder(CHINESE, "老豆腐用什么点浆？"), CHINESE)


def test_a_text_that_was_altered_in_the_index_is_not_quoted(tmp_path: Path) -> None:
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "a.txt").write_text("The llama eats grass.")
    build([docs], tmp_path / "i").close()
    connection = sqlite3.connect(tmp_path / "i")
    connection.execute("UPDATE documents SET text = 'The llama eats glass.'")
    connection.commit()
    connection.close()
    with open_index(tmp_path / "i") as index:
        answer = ask(index, "What does the llama eat?")
    assert (answer.found, answer.dropped) == (False, ("a.txt",))


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (lambda path: path.write_text("Now: the llama eats grass."), False),
        (lambda path: path.write_text("The llama eats grass. It hums."), True),  # the quote stands where it stood
        (lambda path: path.write_bytes(b"\x89PNG\r\n"), False),
        (lambda path: os.utime(path, (1, 1)), True),
        (lambda path: path.unlink(), True),  # the index holds the text
    ],
)
def test_a_file_that_has_changed_since(change: Callable[[Path], object], found: bool, tmp_path: Path) -> None:
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "a.txt").write_text("The llama eats grass.")
    build([docs], tmp_path / "i").close()
    change(docs / "a.txt")
    with open_index(tmp_path / "i") as index:
        answer = ask(index, "What does the llama eat?")
    assert answer.found == found
    assert answer.dropped == (() if found else ("a.txt",))
    if found and (docs / "a.txt").exists():
        check_quotes(answer, docs)


def test_verified_says_so_of_a_right_one() -> None:
    with build_in_memory([CHINESE]) as index:
        answer = ask(index, "豆浆要煮到多少度？")
        document = next(n for n in range(1, index.num_documents + 1) if index.text(n)[: len("豆腐坊")] == "豆腐坊")
        assert verified(index, document, answer.citations[0])
        assert not verified(index, document, replace(answer.citations[0], quote="豆浆要煮到九十度"))


def test_quotes_do_not_repeat_one_another(tmp_path: Path) -> None:
    for name in "abcd":
        (tmp_path / f"{name}.txt").write_text("The llama\n" + " " * ord(name) + "eats grass.")
    answer = ask_folder(tmp_path, "What does the llama eat?")
    assert len(answer.citations) == 1


def test_one_document_is_enough(tmp_path: Path) -> None:
    """Where there is one passage nothing in it is rare, and yet it answers, other words in the question or not."""
    (tmp_path / "a.txt").write_text("The llama eats grass and hay in the evening.")
    assert ask_folder(tmp_path, "What grass does the hungry llama eat in the evening?").sure
    assert not ask_folder(tmp_path, "What does the hungry wolf eat?").sure


def test_k_is_the_most_there_is(tmp_path: Path) -> None:
    for number in range(6):
        (tmp_path / f"{number}.txt").write_text(f"The llama number {number} eats grass.")
    with build_in_memory([tmp_path]) as index:
        assert len(ask(index, "Which llama eats grass?", k=2).citations) == 2
        assert len(ask(index, "Which llama eats grass?").citations) == 3


def test_a_quote_begins_where_its_sentence_begins(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("To start it, call:\n\n   go_home()\n\nat the place where the llama waits.")
    assert ask_folder(tmp_path, "Where does the llama wait?").citations[0].quote.startswith("To start it, call:")


@pytest.mark.parametrize("question", ["", "  \n", "?!", "…"])
def test_no_question(question: str) -> None:
    with pytest.raises(UsageError):
        ask_folder(CHINESE, question)


@pytest.mark.parametrize("question", ['" OR 1=1 --', "NEAR(", "a* AND b:", "'; DROP TABLE documents; --", "qq羊驼" * 5000, "a " * 5000])
def test_a_question_is_never_a_query_language(question: str) -> None:
    assert not ask_folder(CHINESE, question + " qqqq").found


@pytest.mark.parametrize(
    ("quote", "question", "marked"),
    [
        ("The with statement wraps a block.", "What wraps statements?", ["statement", "wraps"]),
        ("Call json.dumps(x).", "What does json.dumps do?", ["json.dumps"]),
        ("老豆腐用盐卤点浆。", "豆腐怎么点浆？", ["豆腐", "点浆"]),
        ("Ｇｒａｓｓ is green.", "grass?", ["Ｇｒａｓｓ"]),
        ("Nothing here.", "llama?", []),
    ],
)
def test_highlights(quote: str, question: str, marked: list[str]) -> None:
    assert [quote[start:end] for start, end in highlights(quote, question)] == marked


def test_the_answer_is_short_and_the_quote_begins_with_it(tmp_path: Path) -> None:
    sentences = "The llama eats grass and hay in the evening hours of the day. " * 30
    (tmp_path / "a.txt").write_text(
        f"{sentences}A wolf does not. 羊驼在傍晚吃草。" + "白天在山上走路，" * 20 + "羊驼晚上睡在棚里，" + "白天在山上走路，" * 20,
        encoding="utf-8",
    )
    english, chinese = ask_folder(tmp_path, "What does the llama eat?"), ask_folder(tmp_path, "羊驼晚上睡在哪里？")
    assert english.found
    assert chinese.found
    assert len(english.answer) <= 360
    assert len(chinese.answer) <= 120
    assert "睡在棚里" in chinese.answer  # of a sentence without an end, the clauses that were asked for
    for answer in (english, chinese):
        assert answer.citations[0].quote.startswith(answer.answer)
        check_quotes(answer, tmp_path)
        [first, *_] = answer.passages
        assert read(tmp_path / first.document).text[first.start : first.end] == first.quote
        assert answer.citations[0].quote in first.quote


def test_what_answers_is_not_what_repeats_the_subject(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(
        "杨朝祥，台湾政治人物，现任佛光大学校长。早年家在基隆。初中进入复兴中学就读。后来杨朝祥到了美国。", encoding="utf-8"
    )
    assert "复兴中学" in ask_folder(tmp_path, "杨朝祥初中就读于哪所学校？").answer


@pytest.mark.parametrize(
    ("text", "question", "other"),
    [
        ("The llama eats grass in the evening. It hums.", "羊驼晚上吃什么？", True),
        ("The llama eats grass in the evening. It hums.", "What does the wolf hunt at sea?", False),
        ("羊驼在傍晚吃草。", "What does a wolf hunt?", True),
        ("羊驼在傍晚吃草。", "狼住在哪里？", False),
    ],
)
def test_a_question_in_another_language(text: str, question: str, other: bool, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(text, encoding="utf-8")
    answer = ask_folder(tmp_path, question)
    assert (answer.found, answer.other_script) == (False, other)


def test_numbers_and_names_cross_languages(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("The D20 was sold in 1984 by Orbel Foods.\n\nIt dries cellars.", encoding="utf-8")
    (tmp_path / "b.txt").write_text("Another thing was sold in 1990.", encoding="utf-8")
    answer = ask_folder(tmp_path, "D20 1984 Orbel Foods 卖？")
    assert (answer.citations or answer.nearest)[0].document == "a.txt"


def test_a_question_of_ten_thousand_characters() -> None:
    answer = ask_folder(CHINESE, "老豆腐用什么点浆？" + "请详细说明，" * 1_700)
    assert answer.seconds < 5
    check_quotes(answer, CHINESE)


def test_a_question_of_one_word_is_answered(tmp_path: Path) -> None:
    """All that is asked for is there, in several documents: none falls behind, and yet it is no refusal."""
    for name, text in (("a.txt", "茶是一种饮料。"), ("b.txt", "茶可以提神。"), ("c.txt", "茶叶出口到英国。")):
        (tmp_path / name).write_text(text, encoding="utf-8")
    with build_in_memory([tmp_path]) as opened:
        assert ask(opened, "什么是茶？").found
        assert ask(opened, "茶").found


def test_which_documents_are_asked_does_not_change_their_order(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("The supplier contract: delivery, invoice and price. The penalty is two per cent.")
    (tmp_path / "b.txt").write_text("A penalty in the game is a shot. The invoice, the invoice.")
    for number in range(60):
        (tmp_path / f"other{number:02}.txt").write_text(
            "A contract of delivery with a price, and an invoice for it." if number % 2 else "Rain."
        )
    with build_in_memory([tmp_path]) as opened:
        numbers = {held.path: held.number for held in opened.documents()}
        question = "What is the penalty in the supplier contract for delivery, invoice, price?"
        best = ask(opened, question).citations[0].document
        assert ask(opened, question, documents=[numbers["a.txt"], numbers["b.txt"]]).citations[0].document == best == "a.txt"
