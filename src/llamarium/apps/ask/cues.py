"""What kind of thing a question asks for, and whether a sentence has one.

Takes: a question; a sentence.
Gives: how much of what is asked for (a person, a time, a number, a place, a reason, a definition, a list) the sentence looks to have.
Does not know: whether it is the right one.
"""

from __future__ import annotations

import re

from llamarium.apps.ask.words import folded_characters

_MONTHS = "january|february|march|april|may|june|july|august|september|october|november|december"
_DAYS = "monday|tuesday|wednesday|thursday|friday|saturday|sunday|noon|midnight|morning|evening"
_NUMBERS = (
    "one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|twenty|thirty|forty|fifty|hundred|thousand|million|half|twice|once"
)
_HOW = "many|much|long|far|old|big|tall|high|often|fast|deep|large|small|heavy|wide|thick"
_WHAT_NUMBER = "percentage|number|price|temperature|size|weight|share"

# What asks, and what a sentence that answers is likely to hold.
_CUES: dict[str, tuple[re.Pattern[str], re.Pattern[str]]] = {
    name: (re.compile(asks, re.IGNORECASE), re.compile(holds, re.IGNORECASE))
    for name, asks, holds in (
        (
            "person",
            r"谁|哪位|何人|哪个人|什么人|\bwho\b|\bwhom\b|\bwhose\b",
            r"(?-i:[A-Z][a-z]+ [A-Z][a-z]+)|·|先生|女士|老师|[人家者长员王帝师]|\b(?:he|she|mr|mrs|ms|dr)\b",
        ),
        (
            "time",
            r"何时|什么时候|[哪几何][年月日天周]|哪一[年天]|几点|时间|日期|\bwhen\b|\b(?:what|which) (?:time|year|day|date|month)",
            r"[0-9零一二三四五六七八九十〇]+ ?[年月日号点时周]|世纪|年代|期间|周[一二三四五六日末]|"
            rf"\b(?:1[0-9]|20)\d\d\b|\b\d{{1,2}}[:.]\d\d\b|\b(?:a\.m|p\.m|{_MONTHS}|{_DAYS})\b",
        ),
        (
            "number",
            rf"多少|几[个点次种年月天岁人名位艘条座台度]|多[长大高远久重深宽快]|\bhow (?:{_HOW})\b|\bwhat (?:{_WHAT_NUMBER})\b",
            rf"[0-9]|[一二两三四五六七八九十百千万亿半]|\b(?:{_NUMBERS})\b",
        ),
        (
            "place",
            r"哪里|哪儿|何处|在哪|什么地方|哪个(?:国家|城市|省|地区|地方)|哪国|位于|\bwhere\b",
            r"位于|坐落|[省市县区国州镇村岛山河路街楼馆]|"
            r"(?-i:\b(?:in|at|near|on|from|to) (?:the )?[A-Z])|\b(?:north|south|east|west|behind|beside|between)",
        ),
        (
            "reason",
            r"为什么|为何|原因|怎么会|\bwhy\b|\breason",
            r"因|由于|为了|所以|以便|故|使得|导致|避免|否则|\b(?:because|since|so that|due|to avoid|otherwise|therefore|in order|as)\b",
        ),
        (
            "definition",
            r"什么是|是什么|指什么|定义|含义|\bwhat (?:is|are) |\bdefin|\bmeaning of\b",
            r"指|是|即|称为|叫做|\b(?:is|are) (?:an?|the)\b|\bmeans?\b|\bcalled\b",
        ),
        ("list", r"哪些|有哪|哪几", r"、.*、|包括|分为|分别|以及|,.*,|\band\b"),
    )
}


def asked_for(question: str) -> frozenset[str]:
    """The kinds of things that a question asks for.

    >>> sorted(asked_for("How much is it, and since when?")), asked_for("豆浆要煮到多少度？")
    (['number', 'time'], frozenset({'number'}))
    """
    folded = folded_characters(question)
    return frozenset(name for name, (asks, _) in _CUES.items() if asks.search(folded))


def has(kinds: frozenset[str], sentence: str) -> float:
    """The share of `kinds` that `sentence` looks to have, 0 to 1; a half where none is asked for.

    >>> has(asked_for("When does it open?"), "It opens at 9:30."), has(asked_for("When does it open?"), "It has a door.")
    (1.0, 0.0)
    """
    if not kinds:
        return 0.5
    folded = folded_characters(sentence)
    return sum(bool(_CUES[kind][1].search(folded)) for kind in kinds) / len(kinds)
