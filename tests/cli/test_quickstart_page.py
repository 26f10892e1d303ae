"""The quickstart's page: both languages, hostile text, what is missing, and that it asks nobody for anything."""

from __future__ import annotations

import json
import re
import string
import sys
from collections.abc import Callable
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llamarium.apps.ladder.rungs import RUNGS
from llamarium.cli._quickstart.page import highlighted, render
from llamarium.cli._quickstart.words import WORDS, Voice
from llamarium.ground.page import POLICY, Html

HOSTILE = '"><script>alert(1)</script><img src=x onerror=alert(1)>{title}</style>]]>--><a href=javascript:alert(1)>\u202e$x$\x00\ud800'
ALLOWED = {
    *("html", "head", "meta", "title", "style", "body", "main", "section", "footer", "h1", "h2", "h3", "p", "div", "span", "small"),
    *("strong", "b", "i", "code", "bdi", "pre", "blockquote", "mark", "figure", "figcaption", "details", "summary", "ul", "li"),
    *("table", "thead", "tbody", "tr", "th", "td", "svg", "g", "path", "defs", "use", "text"),
}

ENGLISH = {
    "question": "What is a context manager?",
    "alone": "A context manager is a special kind of loop that was introduced in Python 3.9 by the Context Foundation. It manages",
    "answer": "An object that defines the runtime context to be established when executing a with statement.",
    "quote": 'A *context manager* is an object that defines the runtime context to\nbe established when executing a "with" statement. '
    "The context manager\nhandles the entry into, and the exit from, the desired runtime context\nfor the execution of the block of code.",
    "terms": "context manager",
    "nowhere": "What is the name of the city on the far side of the Moon?",
    "invented": "The city on the far side of the Moon is called Luna Nova. It was founded in 1969 and has about 12,000 inhabitants.",
}
CHINESE = {
    "question": "什么是上下文管理器？",
    "alone": "上下文管理器是 2015 年由上下文基金会推出的一种特殊循环，它会自动清除内存中的所有变量。",
    "answer": "上下文管理器是定义了执行 with 语句时要建立的运行时上下文的对象。",
    "quote": "上下文管理器是定义了在执行 with 语句时要建立的运行时上下文的对象。上下文管理器处理进入和退出所需的运行时上下文以执行代码块。",
    "terms": "上下文管理器",
    "nowhere": "月球背面的城市叫什么名字？",
    "invented": "月球背面的城市叫作新月城，建于 1969 年，约有一万两千名居民。",
}


def sample(language: str = "en") -> dict[str, Any]:
    """Results as a quickstart on two cores leaves them."""
    words = CHINESE if language == "zh" else ENGLISH
    curve = [(0.1, 4.31), (0.21, 3.62), (0.42, 3.05), (0.73, 2.71), (1.05, 2.48), (1.57, 2.29), (2.1, 2.21)]
    model = "smollm2-135m-instruct"
    how = (
        "安装后发送 0 字节：本进程没有打开任何连接（由 Python 审计钩子统计）。"
        if language == "zh"
        else "0 bytes sent since installation: this process opened no connection (counted by Python's audit hook)."
    )
    citation = {
        "document": "pydoc_data/topics.py",
        "start": 48211,
        "end": 48211 + len(words["quote"]),
        "quote": words["quote"],
        "score": 14.2,
        "highlights": [list(found.span()) for found in re.finditer(words["terms"], words["quote"])],
    }
    return {
        "language": language,
        "version": "0.1.0",
        "date": "2025-11-24",
        "minutes": 5.0,
        "machine": {"processor": "AMD Ryzen 9 9950X 16-Core Processor", "threads": 2, "torch": "2.13.0+cpu", "precision": "bfloat16"},
        "phases": [
            {"name": "probe", "seconds": 1.4},
            {"name": "text", "seconds": 6.1},
            {"name": "tokenizer", "seconds": 3.3},
            {"name": "load", "seconds": 4.9},
            {"name": "references", "seconds": 9.8},
            {"name": "alone", "seconds": 3.1},
            {"name": "own", "seconds": 126.0},
            {"name": "reading", "seconds": 118.4},
            {"name": "speak", "seconds": 1.1},
            {"name": "ask", "seconds": 2.2},
        ],
        "text": {
            "source": "python:docs",
            "documents_in": 9871,
            "documents_out": 8456,
            "characters_out": 2_291_344,
            "train_bytes": 2_183_002,
            "valid_bytes": 114_881,
            "dropped": {"duplicate_exact": 1093, "too_short": 298, "blank": 24},
            "examples": {
                "duplicate_exact": ["Return self==value.", "Initialize self.  See help(type(self)) for accurate signature."],
                "blank": [],
            },
            "languages": {"en": 8449, "und": 7},
            "leak": 0.0,
            "bad_files": [{"path": "notes/old.txt", "reason": "holds a NUL byte at 812: it is not text"}],
        },
        "tokenizer": {
            "vocab_size": 2048,
            "bytes_per_token": 3.184,
            "pieces": [*"羊驼", "吃草", "。"]
            if language == "zh"
            else ["Return", " a", " new", " arr", "ay", " with", " the", " same", " s", "ha", "pe", " as", " the", " given", " one", ".\n"],
        },
        "ladder": {
            "references": [
                {"key": "gzip", "name": "gzip", "bits_per_byte": 2.611, "seconds": 0.31, "note": ""},
                {"key": "xz", "name": "xz", "bits_per_byte": 2.274, "seconds": 2.9, "note": ""},
                *(
                    {"key": rung.key, "name": rung.name, "bits_per_byte": 2.4, "seconds": 11.0, "note": ""}
                    for rung in RUNGS
                    if rung.key != "5-gram"
                ),
                {"key": "5-gram", "name": "5-gram", "bits_per_byte": 2.043, "seconds": 6.4, "note": ""},
            ],
            "own": {
                "name": "own",
                "parameters": 3_148_032,
                "curve": [{"minutes": minutes, "bits_per_byte": bits} for minutes, bits in curve],
                "bits_per_byte": 2.214,
                "tokens": 1_433_600,
                "seconds": 126.0,
            },
            "catalogue": {
                "name": model,
                "parameters": 134_515_008,
                "before": 0.794,
                "after": 0.734,
                "seconds": 90.2,
                "tokens_scored": 23_118,
            },
            "catalogue_missing": "",
            "overtakes": [{"over": "gzip", "minute": 1.05}, {"over": "xz", "minute": 2.1}, {"over": "5-gram", "minute": None}],
        },
        "speak": {
            "prompt": "Return a new array with the same",
            "text": " type as the given string, and the value is not specified.\n\n    If the file is not a directory, it is called with "
            "the name of the object to be used.  The default is the number of bytes in the stream,\n    otherwise None.",
            "tokens_per_second": 1312.4,
            "repetition": 0.0421,
        },
        "ask": [
            {
                "question": words["question"],
                "kind": "answerable",
                "alone": {"model": model, "text": words["alone"]},
                "found": True,
                "answer": words["answer"],
                "citations": [citation, {**citation, "document": "contextlib.py", "start": 12, "end": 96, "quote": words["quote"][:84]}],
            },
            {
                "question": words["nowhere"],
                "kind": "unanswerable",
                "alone": {"model": model, "text": words["invented"]},
                "found": False,
                "answer": "",
                "citations": [],
            },
        ],
        "network": {"bytes_sent": 0, "how": how},
        "next": [
            'llamarium generate runs/quickstart/own/model "The"',
            "llamarium chat runs/quickstart/reader/adapter",
            'llamarium ask "..." --docs DIR',
        ],
    }


class Reader(HTMLParser):
    """Elements, their attributes and the text of a page, as a browser finds them."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.open: list[str] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attributes]
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return "".join(self.words)


@pytest.fixture(params=["en", "zh"])
def language(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def assert_asks_nobody(html: str) -> Reader:
    reader = Reader(html)
    assert not reader.open
    assert set(reader.tags) <= ALLOWED
    assert f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">' in html
    for name, value in reader.attributes:
        assert name != "src" and not name.startswith("on")  # noqa: PT018
        assert name != "href" or value.startswith("#")
    assert not re.search(r"https?:|//|@import|url\(", html)
    return reader


def test_page_asks_nobody_for_anything(language: str) -> None:
    html = render(sample(language))
    reader = assert_asks_nobody(html)
    assert dict(reader.attributes)["lang"] == {"en": "en", "zh": "zh-Hans"}[language]
    html.encode("utf-8")


def test_page_says_what_was_measured(language: str) -> None:
    text = Reader(render(sample(language))).text
    for value in ("8,456", "9,871", "3.18", "2.611", "2.214", "0.794", "0.734", "−7.6 %", "1,312", "4.2 %", ":48211–", "23,118"):
        assert value in text, value
    words = WORDS[language]
    for key in ("overtook_not", "not_found", "alone_badge", "checked", "reason_duplicate_exact", "who_own", "note_xz"):
        assert words[key] in text, key
    for command in sample()["next"]:
        assert command in text
    assert text.count(words["not_found"]) == 1
    assert words["not_found_unexpected"] not in text
    assert words["found_unexpected"] not in text
    assert not re.search(r"\{\w*\}|\bnan\b", text)


def test_ladder_is_sorted_best_first() -> None:
    html = render(sample())
    start = html.index('<div class="wide" tabindex="0"><table><thead><tr><th>who')
    table = html[start : html.index("</table>", start)]
    bits = [float(value) for value in re.findall(r'<td class="number">(\d\.\d{3})</td>', table)]
    assert bits == [0.734, 0.794, 2.043, 2.214, 2.274, *[2.4] * (len(RUNGS) - 1), 2.611]


def test_no_sentence_of_one_language_is_on_the_page_of_the_other() -> None:
    english, chinese = (Reader(render(sample(language))).text for language in ("en", "zh"))
    assert not re.search("[\u4e00-\u9fff]", english)
    for key, phrase in WORDS["en"].items():
        if " " in phrase.strip() and "{" not in phrase:
            assert phrase not in chinese, key


def test_languages_have_the_same_words() -> None:
    assert set(WORDS) == {"en", "zh"}
    assert set(WORDS["en"]) == set(WORDS["zh"])
    for key in WORDS["en"]:
        fields = [sorted(field for _, field, _, _ in string.Formatter().parse(WORDS[language][key]) if field) for language in ("en", "zh")]
        assert fields[0] == fields[1], key


def test_every_word_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """A phrase that nothing shows is a phrase that nobody keeps true."""
    asked: set[object] = set()

    class Listening(dict[str, str]):
        def __getitem__(self, key: str) -> str:
            asked.add(key)
            return super().__getitem__(key)

        def __contains__(self, key: object) -> bool:
            asked.add(key)
            return super().__contains__(key)

    words = Listening(WORDS["en"])
    monkeypatch.setitem(WORDS, "en", words)
    monkeypatch.setitem(sys.modules, "matplotlib", sys.modules["matplotlib"])  # `without_pictures` takes it away until the test ends
    for change in (*MISSING, *SURPRISES, without_pictures):
        results = sample()
        change(results)
        render(results)
    unused = {key for key in set(words) - asked if not key.startswith(("reason_", "language_"))}
    assert not unused


def without_pictures(results: dict[str, Any]) -> None:
    sys.modules["matplotlib"] = None  # type: ignore[assignment]


def replaced(value: Any, new: Callable[[], str]) -> Any:
    """A JSON value with a new string in place of every one."""
    if isinstance(value, str):
        return new()
    if isinstance(value, dict):
        return {key: replaced(inside, new) for key, inside in value.items()}
    return [replaced(inside, new) for inside in value] if isinstance(value, list) else value


def test_hostile_strings_are_inert_in_every_field() -> None:
    results = replaced(sample(), lambda: HOSTILE)
    for group in ("dropped", "languages"):
        results["text"][group] = {HOSTILE: 3}
    results["text"]["examples"] = {HOSTILE: [HOSTILE]}
    for citation in results["ask"][0]["citations"]:
        citation["highlights"] = [[0, len(HOSTILE)]]
    html = render(results)
    reader = Reader(html)
    assert not reader.open
    assert set(reader.tags) <= ALLOWED
    assert not {name for name, _ in reader.attributes} & {"src", "onerror"}
    assert "<script" not in html
    assert "\u202e" not in html
    html.encode("utf-8")
    assert reader.text.count("<script>alert(1)</script>") > 30  # it is shown, as what it is


def test_a_page_without_escaping_would_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llamarium.ground.page.html.escape", lambda text, quote=True: text)
    with pytest.raises(AssertionError):
        test_hostile_strings_are_inert_in_every_field()


def test_every_string_is_shown() -> None:
    """All but those that only choose what is shown, and the answer where none was found."""
    numbers = iter(range(1000))
    results = replaced(sample(), lambda: f"<s{next(numbers)}>")
    chosen = {*(asked["kind"] for asked in results["ask"]), results["ladder"]["catalogue_missing"]}
    chosen |= {rung["key"] for rung in results["ladder"]["references"]}
    for citation in results["ask"][0]["citations"]:
        citation["highlights"] = []
    html = render(results)
    missing = {f"<s{number}>" for number in range(next(numbers)) if f"&lt;s{number}&gt;" not in html}
    assert missing == chosen | {results["ask"][1]["answer"]}
    assert not re.search(r"<s\d", html)


def no_catalogue(results: dict[str, Any]) -> None:
    results["ladder"] |= {"catalogue": None, "catalogue_missing": "There is no model 'x'. llamarium pull x"}
    for asked in results["ask"]:
        asked["alone"] = None


def nothing_measured(results: dict[str, Any]) -> None:
    results["ladder"] |= {"references": [], "overtakes": []}
    results["ladder"]["own"]["curve"] = []
    results["tokenizer"]["pieces"] = []
    results["text"] |= {"dropped": {}, "examples": {}, "languages": {}, "leak": None, "bad_files": []}
    results |= {"ask": [], "phases": [], "next": [], "network": {"bytes_sent": None, "how": ""}}


def one_point(results: dict[str, Any]) -> None:
    results["ladder"]["own"]["curve"] = [{"minutes": 0.0, "bits_per_byte": 2.2}]
    results["network"]["how"] = ""


MISSING: list[Callable[[dict[str, Any]], None]] = [no_catalogue, nothing_measured, one_point]


@pytest.mark.parametrize("change", MISSING)
def test_what_is_missing_is_said(change: Callable[[dict[str, Any]], None], language: str) -> None:
    results = sample(language)
    change(results)
    text = assert_asks_nobody(render(results)).text
    if change is no_catalogue:
        assert "llamarium pull x" in text
        assert WORDS[language]["alone_none"] in text
        assert WORDS[language]["alone_badge"] not in text
        assert WORDS[language]["claim"].partition("{")[0] in text
        assert WORDS[language]["before_after"] not in text
    if change is nothing_measured:
        assert WORDS[language]["dropped_none"] in text
        assert WORDS[language]["leak_unknown"] in text
        assert WORDS[language]["network_unknown"] in text


def worse_after(results: dict[str, Any]) -> None:
    results["ladder"]["catalogue"]["after"] = 0.81


def leaks(results: dict[str, Any]) -> None:
    results["text"]["leak"] = 0.031


def packers_ahead(results: dict[str, Any]) -> None:
    for overtake in results["ladder"]["overtakes"]:
        overtake["minute"] = None


def found_nowhere(results: dict[str, Any]) -> None:
    one, other = results["ask"]
    one |= {"found": False, "answer": "", "citations": []}
    other |= {"found": True, "answer": "", "citations": sample()["ask"][0]["citations"]}


SURPRISES: list[Callable[[dict[str, Any]], None]] = [worse_after, leaks, packers_ahead, found_nowhere]


@pytest.mark.parametrize("change", SURPRISES)
def test_bad_news_is_told(change: Callable[[dict[str, Any]], None], language: str) -> None:
    results = sample(language)
    change(results)
    text = assert_asks_nobody(render(results)).text
    voice, words = Voice(language), WORDS[language]
    if change is worse_after:
        assert "+2.0 %" in text
        assert words["gained_nothing"].rpartition("}")[2] in text
    if change is leaks:
        assert voice("leak", share="3.1 %") in text
    if change is packers_ahead:
        assert text.count(words["overtook_not"]) == 3
        assert voice("why_packers", time=voice.time(126)) in text
    if change is found_nowhere:
        assert words["not_found_unexpected"] in text
        assert words["found_unexpected"] in text


@pytest.mark.parametrize(("answer", "times"), [("{0}\n\n{1}", 1), ("{0}", 1), ("", 1), ("In short: {0}", 2)])
def test_an_answer_that_is_its_quotes_is_not_said_twice(answer: str, times: int) -> None:
    results = sample()
    quotes = ["The llama eats grass.", "It sleeps at night.\n"]
    citation = results["ask"][0]["citations"][0]
    results["ask"] = results["ask"][:1]
    results["ask"][0]["citations"] = [{**citation, "quote": quote, "highlights": []} for quote in quotes]
    results["ask"][0]["answer"] = answer.format(*quotes)
    assert Reader(render(results)).text.count(quotes[0]) == times


def test_without_matplotlib_the_numbers_stay(monkeypatch: pytest.MonkeyPatch, language: str) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    reader = assert_asks_nobody(render(sample(language)))
    assert "svg" not in reader.tags
    assert "llamarium[plots]" in reader.text
    assert "2.611" in reader.text


def test_same_results_same_page() -> None:
    assert render(sample()) == render(json.loads(json.dumps(sample())))


@given(st.text("abc 羊驼\n", max_size=30), st.lists(st.tuples(st.integers(-5, 40), st.integers(-5, 40)).map(list), max_size=6))
def test_highlighting_marks_what_it_is_told_and_changes_no_letter(quote: str, spans: list[list[int]]) -> None:
    inside = {place for start, end in spans for place in range(max(0, start), min(len(quote), end))}
    place = 0
    for piece in highlighted(quote, spans):
        is_marked = isinstance(piece, Html)
        shown = str(piece)[6:-7] if is_marked else piece
        assert shown == quote[place : place + len(shown)]
        assert {at in inside for at in range(place, place + len(shown))} == {is_marked}
        place += len(shown)
    assert place == len(quote)


@pytest.mark.parametrize(
    ("language", "seconds", "said"),
    [
        ("en", 0.31, "0.3 s"),
        ("en", 126.0, "2 min 6 s"),
        ("zh", 0.31, "0.3 秒"),
        ("zh", 126.0, "2 分 6 秒"),
        ("zh", 7500, "2 小时 5 分"),
        ("en", None, "–"),
    ],
)
def test_times(language: str, seconds: float | None, said: str) -> None:
    assert Voice(language).time(seconds) == said


@pytest.mark.parametrize(
    ("language", "value", "said"),
    [("en", 3_148_032, "3.15 M"), ("en", 999, "999"), ("en", 23_118, "23.1 k"), ("zh", 23_118, "2.31 万"), ("zh", 9_999, "9,999")],
)
def test_short_numbers(language: str, value: float, said: str) -> None:
    assert Voice(language).short(value) == said
