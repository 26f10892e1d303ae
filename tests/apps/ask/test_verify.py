"""What the verifier lets pass, on sentences of its own kind and on six hundred that were written before it.

``python tests/apps/ask/test_verify.py`` prints a table by language and kind of change, of the lines with even numbers (on which
nothing was tuned), of the odd ones (which were looked at while it was built), and of all.
"""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llamarium.apps.ask.quantities import chinese_number, quantities
from llamarium.apps.ask.verify import verify

DATA = Path(__file__).parent / "data"
SET, SECOND_SET, THIRD_SET = (DATA / name / "verifier.jsonl" for name in (".", "second", "third"))


def rows(parity: int | None = None, *, of: Path = SET) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in of.read_text(encoding="utf-8").splitlines()]
    return [line for line in lines if parity is None or int(line["id"].rsplit("-", 1)[1]) % 2 == parity]


def right(lines: Iterable[dict[str, Any]]) -> dict[tuple[str, str], tuple[int, int]]:
    """For each language and label, and each language and change: how many were judged right, and of how many."""
    counts: dict[tuple[str, str], list[int]] = defaultdict(lambda: [0, 0])
    for line in lines:
        correct = verify(line["passage"], line["sentence"]).accepted == (line["label"] == "supported")
        for language in (line["language"], "both"):
            for what in (line["label"], line["change"]):
                counts[language, what][0] += correct
                counts[language, what][1] += 1
    return {key: (good, all_) for key, (good, all_) in counts.items()}


def share(counts: dict[tuple[str, str], tuple[int, int]], language: str, what: str) -> float:
    good, all_ = counts[language, what]
    return good / all_


SUPPORTED = [
    ("Members can apply until 3 March.", "Members may apply until 3 March."),
    ("The child may come back to the class 48 hours after the fever.", "The child may come back to the class two days after the fever."),
    ("The oven is heated to 230 degrees for one hour.", "Heat the oven to 230 degrees."),
    ("Work in half a kilo of strong flour and two eggs.", "Work in 500 grams of strong flour and two eggs."),
    ("Leave the dough under a cloth for 90 minutes.", "Leave the dough under a cloth for an hour and a half."),
    ("The loan runs for a year.", "The loan runs for twelve months."),
    ("每讲90分钟，学费960元。", "每讲一个半小时，学费960元。"),
    ("身高不足1.2米的儿童免票。", "身高不足一米二的儿童免票。"),
    ("接种后请休息三十分钟。", "接种后请休息半小时。"),
    ("捐赠者孔佑安本月捐出童书一百四十册。", "这个月捐了一百四十册童书的人叫孔佑安。"),
    ("徒弟骆青专攻旦角。", "专攻旦角的徒弟叫骆青。"),
    ("知县尉迟敏立下规矩：凡见红灯升起，船一律不准出港。", "知县尉迟敏规定，凡是看见红灯升起，船一律不许出港。"),
    ("The fee is 1,200 pounds.", "The fee is twelve hundred pounds."),
    ("A fifth of the losses came from hunger.", "20 percent of the losses came from hunger."),
    ("He refused the prize.", "He did not accept the prize."),
    ("At least five people must sign.", "No fewer than five people have to sign."),
    ("The hall is closed on Sundays.", "On Sundays the hall is not open."),
    ("Visitors may take photographs.", "Photography is permitted."),
    ("Brown sugar, molasses and honey are not suitable.", "Neither brown sugar nor molasses is suitable."),
    ("豆浆要煮到九十八度。", "豆浆煮到 98 度。"),
    ("费用三成由住户分摊。", "住户分摊 30% 的费用。"),
    ("館內禁止吸煙。", "馆里不准抽烟。"),
    ("存货至少要有五十件。", "存货不能少于五十件。"),
    ("他拒绝了出国的邀请。", "他没有接受出国的邀请。"),
    ("这种漆无毒。", "这种漆没有毒性。"),
    ("Smoking is forbidden in the hall.", "Smoking is not allowed in the hall."),
    ("The plan was rejected by the council.", "The plan was not accepted by the council."),
]
UNSUPPORTED = [
    ("Members can apply until 3 March.", "Members can apply until 3 May.", "thing"),
    (
        "The child may come back to the class 48 hours after the fever.",
        "The child may come back to the class three days after the fever.",
        "number",
    ),
    ("We use 10 grams of alum for 100 grams of wool.", "100 grams of wool are used for 100 grams of wool.", "number"),
    ("The oven is heated to 230 degrees.", "The oven is heated to 250 degrees.", "number"),
    ("Bake at 250 degrees for ten minutes, then at 190 degrees for fifty minutes.", "Bake at 250 degrees for fifty minutes.", "number"),
    ("The desk is run by Marion Feld; the D20 was drawn by Lucie Brandt.", "The desk is run by Lucie Brandt.", "name"),
    (
        "The runbook named the old provider, Paylark, instead of Tolla.",
        "The runbook named the old provider, Tolla, instead of Paylark.",
        "name",
    ),
    ("The bread of Ewa is dark.", "The bread of Agathe is dark.", "name"),
    ("The service was started by a retired postman.", "The service was started by a retired baker.", "thing"),
    ("In the market I bought a blue wool cap.", "In the market I bought a blue wool scarf.", "thing"),
    ("The method is never called.", "The method is called.", "negation"),
    ("There is a washbasin but no shower.", "There is a washbasin and a shower.", "negation"),
    ("Sick colonies are never joined.", "Sick colonies may be joined as well.", "negation"),
    ("The sort is stable. It does not change the order.", "The sort does change the order.", "negation"),
    ("At least five people must sign the paper.", "At most five people must sign the paper.", "negation"),
    ("The llama eats grass.", "Sheep and goats drink fresh water every morning.", "words"),
    ("The llama eats grass.", "Yes.", "words"),
    ("豆浆要煮到九十八度。", "豆浆要煮到八十度。", "number"),
    ("每團最多三十人，一天不超過十二團。", "每團最多十二人。", "number"),
    ("理赔由客服专员温佩雯受理。", "理赔由客服专员嵇若彤受理。", "thing"),
    ("纳氏试剂含有汞，有毒。", "纳氏试剂含有铅，有毒。", "thing"),
    ("老豆腐用盐卤点浆。", "老豆腐不用盐卤点浆。", "negation"),
    ("房间一晚 160 元，含早饭，不含晚饭。", "房间一晚 160 元，含早饭，也含晚饭。", "negation"),
    ("馆内禁止吸烟。", "馆内可以吸烟。", "negation"),
    ("产量比去年增加了两成。", "产量比去年减少了两成。", "negation"),
    ("晚上十点以后不得弹琴。", "晚上十点以前不得弹琴。", "negation"),
    (
        "Laptops may be taken abroad only with the consent of the desk.",
        "Laptops may be taken abroad without the consent of the desk.",
        "negation",
    ),
    ("The factory was founded in 1846 beside the canal.", "The factory was founded in 1846 beside the railway.", "thing"),
    ("Work in half a kilo of strong flour and two eggs.", "Work in 600 grams of strong flour and two eggs.", "number"),
    ("The loan runs for a year.", "The loan runs for thirteen months.", "number"),
    ("每讲90分钟，学费960元。", "每讲两个半小时，学费960元。", "number"),
    ("身高不足1.2米的儿童免票。", "身高不足一米三的儿童免票。", "number"),
    ("捐赠者孔佑安本月捐出童书一百四十册。", "这个月捐了一百四十册童书的人叫孔佑民。", "name"),
    ("现任裁判长为韩牧之，副裁判长为邱若兰。", "现任裁判长为邱若兰。", "name"),
    ("委员会否决了涨价的提议。", "委员会通过了涨价的提议。", "negation"),
    ("老豆腐用盐卤点浆。", "今天的天气很好，适合散步。", "words"),
    ("公司从不加班。", "公司加班。", "negation"),
    ("他抽烟。", "他从不抽烟。", "negation"),
    # what stands in the very place of something else
    ("The flour contains more protein by weight than the bran.", "The flour contains less protein by weight than the bran.", "negation"),
    ("The oldest part of the wall was built of stone.", "The youngest part of the wall was built of stone.", "negation"),
    ("电梯在入口左侧，寄存处在右侧。", "寄存处在左侧。", "negation"),
    ("住满两年可以申请，轮候期最长为三十六个月。", "轮候期最长为二十四个月。", "number"),
    ("凯瑟琳公主把茶叶带进了英国王室。", "安妮公主把茶叶带进了英国王室。", "name"),
]


@pytest.mark.parametrize(("passage", "sentence"), SUPPORTED)
def test_what_a_passage_bears(passage: str, sentence: str) -> None:
    assert verify(passage, sentence).reasons == ()


@pytest.mark.parametrize(("passage", "sentence", "reason"), UNSUPPORTED)
def test_what_it_does_not(passage: str, sentence: str, reason: str) -> None:
    verdict = verify(passage, sentence)
    assert not verdict.accepted
    assert reason in {each for each, _ in verdict.reasons}


@pytest.mark.parametrize("sentence", ["", "   ", "...", "It is.", "的。"])
def test_what_says_nothing_is_not_borne(sentence: str) -> None:
    assert verify("The llama eats grass.", sentence).reasons[0][0] == "empty"


def test_what_stands_above_lends_names_and_nothing_else() -> None:
    passage = "She was born in 1887 in a small town by the river."
    assert not verify(passage, "The engineer Marant was born in 1887 in a small town.").accepted
    assert verify(passage, "Here Marant was born in 1887 in a small town.", context="Ilse Marant / 1901").accepted
    assert not verify(passage, "Here Marant was born in 1901 in a small town.", context="Ilse Marant / 1901").accepted


def test_untouched_sentences_pass_in_both_languages() -> None:
    counts = right(rows())
    assert share(counts, "both", "none") >= 0.99


def test_on_what_it_was_not_built_on() -> None:
    counts = right(rows(0))
    bounds = {("both", "supported"): EVEN_ACCEPTED, ("both", "unsupported"): EVEN_REJECTED}
    for key, bound in bounds.items():
        assert share(counts, *key) >= bound, (key, counts[key])


def test_on_all_six_hundred() -> None:
    counts = right(rows())
    assert share(counts, "both", "supported") >= ALL_ACCEPTED
    assert share(counts, "both", "unsupported") >= ALL_REJECTED


def test_on_a_harder_set() -> None:
    counts = right(rows(0, of=SECOND_SET))
    assert share(counts, "both", "none") >= 0.97
    assert share(counts, "both", "supported") >= 0.82
    assert share(counts, "both", "unsupported") >= 0.73


def test_on_answers() -> None:
    counts = right(rows(0, of=THIRD_SET))
    assert share(counts, "both", "none") >= 0.97
    assert share(counts, "both", "supported") >= 0.76
    assert share(counts, "both", "unsupported") >= 0.79


EVEN_ACCEPTED, EVEN_REJECTED = 0.84, 0.89
ALL_ACCEPTED, ALL_REJECTED = 0.90, 0.94


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=200), st.text(max_size=200))
def test_any_two_texts_have_a_verdict(passage: str, sentence: str) -> None:
    verdict = verify(passage, sentence)
    assert verdict.accepted == (not verdict.reasons)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**9 - 1))
def test_a_number_is_worth_the_same_however_it_is_written(value: int) -> None:
    assert [quantity.value for quantity in quantities(f"{value:,}")] == [value]
    assert chinese_number(in_chinese(value)) == value


def in_chinese(value: int) -> str:
    if value == 0:
        return "零"
    parts: list[str] = []
    for unit, mark in ((10**8, "亿"), (10**4, "万"), (1, "")):
        section, value = divmod(value, unit)
        if section:
            parts.append(("零" if parts and section < 1000 else "") + thousand(section) + mark)
    return "".join(parts)


def thousand(value: int) -> str:
    text, zero = "", False
    for unit, mark in ((1000, "千"), (100, "百"), (10, "十"), (1, "")):
        digit, value = divmod(value, unit)
        if digit:
            text += ("零" if zero and text else "") + "零一二三四五六七八九"[digit] + mark
        zero = (zero and not digit) or (not digit and bool(text))
    return text


def test_a_long_pair_is_judged_in_time() -> None:
    passage = "".join(line["passage"] for line in rows()[:40])
    begin = time.perf_counter()
    verify(passage, passage[:600])
    assert time.perf_counter() - begin < 5


def table() -> Iterator[str]:
    parts = [("even, not looked at", rows(0)), ("odd", rows(1)), ("all", rows())]
    parts += [("second set, even", rows(0, of=SECOND_SET)), ("second set, all", rows(of=SECOND_SET))]
    parts += [("third set, even", rows(0, of=THIRD_SET)), ("third set, all", rows(of=THIRD_SET))]
    for name, lines in parts:
        begin = time.perf_counter()
        counts = right(lines)
        milliseconds = 1000 * (time.perf_counter() - begin) / len(lines)
        yield f"{name}: {len(lines)} sentences, {milliseconds:.1f} ms each"
        for what in ("none", "paraphrase", "supported", "number", "name", "negation", "entity", "unsupported"):
            cells = (
                f"{language} {good:3d} of {all_:3d} {good / all_:6.1%}"
                for language in ("en", "zh", "both")
                for good, all_ in [counts[language, what]]
            )
            yield f"  {'accepted' if what in ('none', 'paraphrase', 'supported') else 'rejected'} {what:12s} {'   '.join(cells)}"


if __name__ == "__main__":
    print("\n".join(table()))  # noqa: T201
