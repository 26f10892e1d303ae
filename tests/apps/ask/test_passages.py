from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from llamarium.apps.ask.passages import LARGEST, LONGEST_SENTENCE, Span, passages, sentences
from llamarium.text.document import read

CHINESE = Path(__file__).parent / "chinese"

# What texts are made of, so that headings, lists, code and long stretches meet.
pieces = st.sampled_from(
    [
        *(
            "Title",
            "=====",
            "-----",
            "# Head",
            "## 小标题",
            "- item",
            "1. first",
            "```",
            "    code()",
            "f(x)",
            "ends with:",
            "：",
            "| a | b |",
        ),
        *("One. Two! 三。四？五；", "e.g. this, i.e. 3.14", "\r", "\t", " ", "\n", "\n\n", "\n", "..."),
        *("long " * 120, "长" * 500, "a" * 1000, "羊驼吃草，" * 150, "。" * 30),
    ]
)
texts = st.one_of(st.lists(pieces).map("".join), st.lists(pieces).map("\n".join), st.text())


def check_cover(text: str, spans: list[Span], start: int, end: int) -> None:
    """In order, apart, within bounds, and nothing but white space between."""
    for first, last in spans:
        assert start <= first < last <= end
        assert not text[start:first].strip()
        assert not text[first].isspace()
        assert not text[last - 1].isspace()
        start = last
    assert not text[start:end].strip()


@given(texts)
@settings(max_examples=300, deadline=None)
@example("a\n===\n\nb\n---\n\nc")
@example("\n\n# \n\n#\n\nx")
def test_passages_and_their_sentences_hold_all_there_is(text: str) -> None:
    found = passages(text)
    check_cover(text, [(passage.start, passage.end) for passage in found], 0, len(text))
    for passage in found:
        assert passage.end - passage.start <= LARGEST
        assert passage.start <= passage.body <= passage.end
        spans = sentences(text, passage.body, passage.end)
        check_cover(text, spans, passage.body, passage.end)
        assert all(end - start <= LONGEST_SENTENCE for start, end in spans)


def test_headings_of_three_kinds() -> None:
    text = "Guide\n=====\n\nIntro.\n\nInstall\n-------\n\nRun it.\n\nUse\n---\n\n### Deep\n\nDo it.\n\nOther\n=====\n\nEnd."
    assert [(text[p.body : p.end], p.heading) for p in passages(text)] == [
        ("Intro.", "Guide"),
        ("Run it.", "Guide / Install"),
        ("Do it.", "Guide / Use / Deep"),
        ("End.", "Other"),
    ]


def test_chinese_headings_as_the_markdown_reader_leaves_them() -> None:
    text = read(CHINESE / "模型训练笔记.md").text
    assert [passage.heading for passage in passages(text)] == ["配置", "保存和恢复", "评估", "常见问题"]


def test_numbers_tell_what_a_heading_is_below() -> None:
    headings = ["6. Packages", "6.1. Sources", "6.1.1. Syntax", "Tip", "6.2. Commands", "7. Network"]
    text = "\n\n".join(f"{heading}\n\nWords of it." for heading in headings)
    assert [passage.heading for passage in passages(text)] == [
        "6. Packages",
        "6. Packages / 6.1. Sources",
        "6. Packages / 6.1. Sources / 6.1.1. Syntax",
        "6. Packages / 6.1. Sources / 6.1.1. Syntax / Tip",
        "6. Packages / 6.2. Commands",
        "7. Network",
    ]


def test_chinese_numbers_in_the_order_they_appear() -> None:
    headings = ["第一章 总则", "第一节 范围", "一、对象", "二、时间", "第二节 定义", "第二章 附则"]
    text = "\n\n".join(f"{heading}\n\n其中的话。" for heading in headings)
    assert [passage.heading for passage in passages(text)] == [
        "第一章 总则",
        "第一章 总则 / 第一节 范围",
        "第一章 总则 / 第一节 范围 / 一、对象",
        "第一章 总则 / 第一节 范围 / 二、时间",
        "第一章 总则 / 第二节 定义",
        "第二章 附则",
    ]


def test_a_remark_in_a_settings_file_is_no_heading() -> None:
    text = "Sources\n=======\n\nAn example:\n\n# Security updates\ndeb http://host main\n\n# Base\ndeb http://other main"
    assert {passage.heading for passage in passages(text)} == {"Sources"}
    assert [passage.heading for passage in passages("# Title\nWords.\n\n# One\n\nMore.\n\n## Two\nEnd.")] == ["Title", "One", "One / Two"]


def test_a_definition_begins_a_passage() -> None:
    text = "Strings\n*******\n\nstr.upper()\n\n   All upper case.\n\nstr.find(sub[, start])\n\n   Where it is."
    assert [passage.heading for passage in passages(text)] == ["Strings / str.upper()", "Strings / str.find(sub[, start])"]


def test_a_definition_as_the_python_reader_writes_it() -> None:
    text = "What this module is for.\n\ndump(obj, fp)\nWrite it to a file.\n\nload(fp)\nRead it.\n\nfirst()\nsecond()"
    assert [passage.heading for passage in passages(text)] == ["", "dump(obj, fp)", "load(fp)"]


def test_a_call_in_an_example_is_no_heading() -> None:
    assert [passage.heading for passage in passages("Call:\n\n   stop()\n\nwhere it should stop.")] == [""]


@pytest.mark.parametrize(
    "line",
    [
        "It ends.",
        "有两句。但没有句号",
        "It ends. And goes on",
        "它结束了。",
        "- an item",
        "x = 1",
        "a, b,",
        "https://example.org/a/b",
        "word " * 40,
    ],
)
def test_what_is_no_heading(line: str) -> None:
    assert all(line.strip() not in passage.heading for passage in passages(f"Before it.\n\n{line}\n\nAfter it."))


def test_a_hash_in_code_is_no_heading() -> None:
    text = "Example:\n\n```\n# comment\nrun()\n```\n\nEnd."
    assert [passage.heading for passage in passages(text)] == [""]


def test_a_list_stays_in_one_passage() -> None:
    text = "\n".join(["Before it. " * 30, "", *[f"- item {number}, which is needed" for number in range(12)], "", "After it. " * 50])
    [(start, end)] = [(p.start, p.end) for p in passages(text) if "item 0," in text[p.start : p.end]]
    assert "item 11," in text[start:end]


def test_what_ends_in_a_colon_stays_with_what_follows() -> None:
    text = "Words first. " * 50 + "\n\nThe command is:\n\n" + "    run " * 40
    with_command = [p for p in passages(text) if "run" in text[p.start : p.end]]
    assert text[with_command[0].start : with_command[0].end].startswith("The command is:")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("One. Two? Three!", ["One.", "Two?", "Three!"]),
        ("一句。两句！三句？四句；五句", ["一句。", "两句！", "三句？", "四句；", "五句"]),
        ("他说：“好。”然后走了。", ["他说：“好。”", "然后走了。"]),
        ("Version 3.11 has it, e.g. here, cf. Smith et al. (2020). Dr. Who too.", None),
        ("See a.b.c and read_text().", ["See a.b.c and read_text()."]),
        ("Is x != y? Yes.", ["Is x != y?", "Yes."]),
        ("1. First thing.\n2. Second thing.", ["1. First thing.", "2. Second thing."]),
        ("- one. two\n- three", ["- one. two", "- three"]),
        ("Name\n   What it is.", ["Name", "What it is."]),
        ("A line that\ngoes on. Next.", ["A line that\ngoes on.", "Next."]),
        ("先说一点。\n\n再说", ["先说一点。", "再说"]),
        ("Wait... and go on. Yes.", ["Wait... and go on.", "Yes."]),
    ],
)
def test_sentences(text: str, expected: list[str] | None) -> None:
    found = [text[start:end] for start, end in sentences(text, 0, len(text))]
    if expected is None:
        expected = ["Version 3.11 has it, e.g. here, cf. Smith et al. (2020).", "Dr. Who too."]
    assert found == expected


@pytest.mark.parametrize("unit", [".", "ab\n\n", '."', "a_", "- \n", "a\n===\n", "```\n", "\n \n", "f(", "a:\n\n"])
def test_work_grows_with_the_text_only(unit: str) -> None:
    """A pattern that looks back over and over would need minutes for this; the test's own time limit would end it."""
    text = unit * (200_000 // len(unit)) + "x"
    check_cover(text, [(passage.start, passage.end) for passage in passages(text)], 0, len(text))
