"""What the steps do together: what must survive, what must not, and that the table says so."""

from __future__ import annotations

import doctest
import sys
import time
import unicodedata
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import llamarium.text.clean as package
from llamarium.ground.errors import MissingExtraError, UsageError
from llamarium.text.clean import CHANGES, CLEANERS, MASKS, REASONS, Cleaning, characters, clean, lines, ratios, script, words

POEM = "白日依山尽，\n黄河入海流。\n欲穷千里目，\n更上一层楼。"
VERSE = "Tyger Tyger, burning bright,\nIn the forests of the night;\nWhat immortal hand or eye,\nCould frame thy fearful symmetry?"
SURVIVORS = {
    "a poem": POEM,
    "verse": VERSE,
    "a song with its chorus": "\n\n".join(
        [f"{number} green bottles\nHanging on the wall.\nAnd if one fell" for number in ("Ten", "Nine", "Six")] * 2
    ),
    "an answer": "Hold the button for five seconds.",
    "an answer in Chinese": "长按按钮五秒。",
    "a list of functions": "\n".join(f"- `llama.{name}(x, y)`" for name in ("eat", "walk", "sleep", "spit", "hum")),
    "code": "def f(x):\n    if x is None:\n        return None\n    return {**x, 'a': [1, 2]}\n\nfor i in range(10):\n    print(f(i))",
    "code with many brackets": "\n".join(f"    m[{i}][{i}] = (((a[{i}] & 0xff) << 8) | (b[{i}] & 0xff)); // {i}" for i in range(30)),
    "a table": "| animal | kg | cm |\n|---|---|---|\n| llama | 140 | 115 |\n| alpaca | 65 | 90 |\n| vicuña | 50 | 85 |",
    "numbers with words": "\n".join(f"{year}\t{year * 7 % 1000}\tLlamas" for year in range(1990, 2024)),
    "a table in Chinese": "\n".join(f"第{n}组　{n * 17}　{n * 31}　合格" for n in range(1, 40)),
    "the classical language": "學而時習之，不亦說乎？有朋自遠方來，不亦樂乎？人不知而不慍，不亦君子乎？",
    "a script": "\n\n".join(
        f"{who}.\nNay, answer me. Stand and unfold yourself, friend {n}." for n, who in enumerate(["BERNARDO", "FRANCISCO"] * 8)
    ),
    "a script in Chinese": "\n".join(f"{who}：这是第{n}句话，说完就走。" for n, who in enumerate(["鲁贵", "四凤"] * 10)),
    "a log": "\n".join(f"2024-05-{day:02} 12:00:{day:02} INFO llama {day} eats" for day in range(1, 29)),
    "a page of addresses": "https://llama.example/a?b=1&c=2\nhttps://llama.example/d?e=3\nkeeper@farm.example\n+44 20 7946 0958",
    "chess": "1. e4 e5 2. Nf3 Nc6 3. Bb5 a6 4. Ba4 Nf6 5. O-O Be7 6. Re1 b5 7. Bb3 d6 8. c3 O-O 9. h3 Nb8 10. d4 Nbd7",
    "mathematics": "Let $x_1, …, x_n ∈ ℝ$ with $\\sum_i x_i^2 ≤ 1$. Then $\\|x\\|_1 ≤ \\sqrt{n}$, and ∀ε > 0 ∃δ: |f(x) − f(y)| < ε.",
    "French": "« Où est le café ? » demanda-t-elle… À côté, là-bas — près de l'hôtel.",
    "Hindi": "लामा धीरे-धीरे पहाड़ी से नीचे उतरा और नदी का पानी पिया।",
    "Persian": "می‌خواهم کتاب‌ها را بخوانم و بنویسم.",
    "emoji": "Llamas 🦙🦙🦙 rule 👩\u200d🌾👍🏽",
}
JUNK = {
    "symbol soup": ("#$%^&*()_+{}|:<>? ab" * 30, "symbols"),
    "stars": ("★☆◆◇○●◎□■△▲羊驼" * 20, "symbols"),
    "one line": ("All work and no play makes Jack a dull boy.\n" * 100, "over_and_over"),
    "one line in Chinese": ("恭喜发财，大吉大利\n" * 100, "over_and_over"),
    "one long line": ("".join(f"{n} llamas went up the hill, " for n in range(12)) + "\n", "over_and_over"),
    "a syllable": ("ha" * 1000, "over_and_over"),
    "bytes": ("\x7fELF\x02\x01\x01" + "\x00\x03\x08\x10ab" * 50, "garbled"),
    "UTF-16 read as Latin-1": ("".join(f"{letter}\x00" for letter in VERSE), "garbled"),
    "lost Chinese": ("锟斤拷锟斤拷锟斤拷锟斤拷锟斤拷锟斤拷锟斤拷，你好", "garbled"),
    "icons of a font": ("\ue000\ue001\ue002" * 20 + "menu", "garbled"),
}
JUNK["one long line"] = (JUNK["one long line"][0] * 100, "over_and_over")

PAGE = (
    "Llamas are kept for their wool and for company. They eat grass, and they drink little. "
    "A herd of ten needs a meadow of two hectares in summer and hay in winter. "
    "Keep them with a donkey or a dog that knows them. Their wool is shorn in May, before it gets hot. "
    "Would you like to know more about how we work? Ask the keeper of the farm."
)
PAGE_CHINESE = (
    "羊驼是一种性情温和的动物，原产于南美洲的高山地区。人们养羊驼，主要是为了它的毛。"
    "一群十只的羊驼在夏天需要两公顷的草地，到了冬天还要准备足够的干草。"
    "羊驼的毛在五月份剪，赶在天气变热之前。你想知道更多的事情吗？欢迎在周末来牧场，饲养员会回答大家的问题。"
)


@pytest.mark.parametrize("name", SURVIVORS)
def test_what_is_no_junk_survives_unharmed(name: str) -> None:
    text = unicodedata.normalize("NFC", SURVIVORS[name])
    cleaned = clean(text)
    assert (cleaned.text, cleaned.reason, cleaned.changed) == (text, "", ())


@pytest.mark.parametrize("name", JUNK)
def test_junk_is_dropped(name: str) -> None:
    text, reason = JUNK[name]
    assert (clean(text).text, clean(text).reason) == (None, reason)


@pytest.mark.parametrize("page", [PAGE, PAGE_CHINESE])
def test_a_good_page_stays_and_what_stands_around_it_goes(page: str) -> None:
    around = (
        "Home > Farm > Llamas\nShare on Facebook\n分享到：微信\nAdvertisement\n"
        + page
        + "\nRead more\n下一篇：骆马\nWe use cookies.\n© 2024 The Farm"
    )
    cleaned = clean(around, web=True)
    assert cleaned.text == page
    assert {"navigation", "sharing", "advertising", "policies", "site_footers"} == set(cleaned.changed)
    assert clean(page, web=True) == clean(page), "nothing of the page itself is touched"


def test_who_decides_whether_a_document_is_a_page() -> None:
    assert clean(POEM, web=True).reason == "few_sentences"
    assert clean(POEM, web=True, cleaning=Cleaning(web=False)).text == POEM
    assert clean(POEM, cleaning=Cleaning(web=True)).reason == "few_sentences"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (PAGE + " Lorem ipsum dolor.", "placeholder"),
        (PAGE + " {{ name }}.", "curly_bracket"),
        ("It eats. It drinks.", "few_sentences"),
        ("羊驼吃草。羊驼喝水。", "few_sentences"),
        ("Llamas eat grass and the like. " * 6, "word_count"),
        ("羊驼在山上吃草。羊驼在河边喝水。羊驼睡觉。天亮了。它走。", "word_count"),
        ("A b c d e f g. " * 20, "word_length"),
        ("Llamas, and the 0123456789 0123456789 0123456789 0123456789 0123456789 0123456789 grass. " * 20, "digits"),
        (" ".join(f"#llama and #grass of the farm {n}." for n in "abcdefghij"), "hashes_ellipses"),
        ("\n".join(f"- the llama {n} and all of its wool, of the farm." for n in "abcdefgh"), "bullets"),
        ("\n".join(f"The llamas of the farm number {n}, and more of the same…" for n in "abcdefgh") + "\nA. B. C. D. E.", "ellipsis_lines"),
        (" ".join(f"{n} llama." for n in range(10, 60)), "few_letters"),
        ("Cheap wool shop sale offer price: llama alpaca guanaco vicuna farm. " * 6, "no_stop_words"),
        (PAGE + "\n" + PAGE, "duplicate_lines"),
        (PAGE.replace(". ", ".\n") + "\n\n" + PAGE.replace(". ", ".\n"), "duplicate_lines"),
        (" ".join([PAGE] * 2), "duplicate_ngrams"),
        (PAGE_CHINESE * 2, "duplicate_ngrams"),
        ("The best llamas, " * 20 + "ha. He. Hi. Ho. Hu.", "top_ngrams"),
        ("特价羊驼的毛，在这里，" * 12 + "好。好。好。好。好。", "top_ngrams"),
    ],
)
def test_pages_without_worth(text: str, reason: str) -> None:
    steps = [cleaner for cleaner in CLEANERS if cleaner.reason == reason]
    assert steps[0].function(text) is None
    cleaned = clean(text, web=True)
    assert cleaned.text is None


def test_languages_without_spaces_are_not_judged_by_words() -> None:
    text = "ラマはゆっくりと丘を下りて、川の水を飲んだ"  # neither five sentences nor fifty words, nor an end that C4 knows
    assert clean(text, web=True).text == text, "the language is guessed"
    assert clean(text, web=True, language="ja").text == text
    assert clean(text, web=True, language="en").text is None
    offer = PAGE.replace("and", "und").replace(" the ", " die ").replace(" to ", " zu ").replace(" of ", " von ").replace(" be ", " sein ")
    offer = offer.replace("with", "mit").replace("that", "das")
    assert clean(offer, web=True, language="en").reason == "no_stop_words"
    assert clean(offer, web=True, language="de").text == offer, "whose stop words nobody has listed"


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("Page 7", "Page 7"),  # one alone counts nothing
        ("a\n- 1 -\nb\n- 2 -\nc", "a\n- 1 -\nb\n- 2 -\nc"),  # a list, perhaps
        ("a\n- 1 -\nb\n- 2 -\nc\n- 3 -", "a\nb\nc"),
        ("a\n- 1 -\nb\n- 2 -\nc\n- 4 -", "a\n- 1 -\nb\n- 2 -\nc\n- 4 -"),
        ("a\np. 3\nb\nPAGE 9 OF 12\nc\nPage 1/2\nd", "a\nb\nc\nd"),  # two documents in one
        ("甲\n第 1 页 共 3 页\n\n乙\n　第2页　", "甲\n\n乙"),
        ("see Page 1 of it\nsee Page 2 of it", "see Page 1 of it\nsee Page 2 of it"),
        ("\n".join(f"body {'abc'[n]}\n\nHandbook, {n}\nPage {n}" for n in range(3)), "body a\n\nbody b\n\nbody c\n"),
        (
            "\n".join(f"body {'abc'[n]}\nHandbook {'xyz'[n]}\nPage {n}" for n in range(3)),
            "body a\nHandbook x\nbody b\nHandbook y\nbody c\nHandbook z",
        ),
    ],
)
def test_page_marks(text: str, cleaned: str) -> None:
    assert clean(text + "\nthe end").text == cleaned + "\nthe end"


@settings(deadline=None)  # tables and packages are loaded when they are first asked for
@given(st.text(st.sampled_from("ab羊Ａ１ ．　\n\t\x00\x92ÃÂâ€©™\u0301\u200b锛銆紝锟斤拷\ufffdPage 123第页-—"), max_size=60))
def test_cleaning_twice_is_cleaning_once(text: str) -> None:
    once = clean(text)
    if once.text is not None:
        assert clean(once.text) == replace(once, changed=())


@pytest.mark.parametrize("cleaner", [cleaner for cleaner in CLEANERS if cleaner.odd], ids=lambda cleaner: cleaner.reason)
def test_plain_text_is_left_alone_by_the_rules_for_odd_characters(cleaner: package.Cleaner) -> None:
    plain = [chr(code) for code in range(0x32400) if not 0xD800 <= code < 0xE000 and characters.plain(chr(code))]
    assert 50_000 < len(plain) < 150_000
    latin = [character for character in plain if character < "\u0250" or "\u2000" < character < "\u2100"]
    text = "".join(plain) + " ".join(one + other for one in latin for other in latin)
    assert characters.plain(text)
    assert characters._decodes_well(text), "no two plain characters look like one that was misread"
    # Not by the shortcut: with a character before it that nobody would call plain.
    same = cleaner.function("\u00b6\n" + text) == "\u00b6\n" + text
    assert same


@settings(deadline=None)
@given(st.text(st.sampled_from("ab羊驼的 \n.。,[]{}#…1-"), max_size=300), st.sampled_from(CLEANERS))
def test_no_rule_fails_on_any_text(text: str, cleaner: package.Cleaner) -> None:
    after = cleaner.function(text)
    assert after is None or isinstance(after, str)


@pytest.mark.parametrize(
    "text",
    [
        "a@" * 50_000,
        "1" * 100_000,
        "+1 " * 30_000,
        "Ã©" * 50_000,
        "-" * 100_000,
        " > " * 30_000,
        "[" * 100_000,
        "第" * 100_000,
        "a." * 50_000,
        "\nPage 1" * 20_000,
        "二维码" * 30_000,
        "锛" * 50_000,
        "\u0301" * 100_000,
        "# " * 50_000,
        "Ａ．" * 50_000,
        "（0" * 50_000,
        "a 羊" * 30_000,
    ],
    ids=lambda text: repr(text[:4]),
)
def test_hostile_texts_take_time_in_proportion(text: str) -> None:
    for cleaner in CLEANERS:
        start = time.process_time()
        cleaner.function(text)
        assert time.process_time() - start < 2, cleaner.reason


def test_the_table_explains_itself() -> None:
    assert set(REASONS) >= {"blank", "too_short", "symbols", "over_and_over", "garbled", "top_ngrams"}
    assert set(CHANGES) >= {"mojibake", "controls", "page_marks", "whitespace", "email", "segment"}
    assert set(MASKS) == {cleaner.reason for cleaner in CLEANERS if cleaner.when == "masks"}
    twice = {reason for reason, count in Counter(cleaner.reason for cleaner in CLEANERS).items() if count > 1}
    assert twice == {"mojibake"}
    for cleaner in CLEANERS:
        assert cleaner.drops or cleaner.changes
        assert cleaner.function.__doc__


def test_the_examples_of_the_package_are_true() -> None:
    result = doctest.testmod(package)
    assert result.failed == 0
    assert result.attempted >= 7
    modules = (characters, lines, ratios, package.heuristics, package.masks, script, words)
    examples = {example for module in modules for example in doctest.DocTestFinder().find(module)}
    documented = {example.name.rsplit(".", 1)[1] for example in examples if example.examples}
    assert {cleaner.function.__name__ for cleaner in CLEANERS} <= documented | {"blank", "too_short"}


def test_every_rule_has_an_example_in_chinese_and_in_english() -> None:
    for cleaner in CLEANERS:
        examples = (cleaner.function.__doc__ or "").partition(">>>")[2]
        assert any("\u4e00" <= character <= "\u9fff" for character in examples), cleaner.reason
        assert any(character.isascii() and character.isalpha() for character in examples), cleaner.reason


def test_wishes() -> None:
    text = "請寫信到 keeper@farm.example，或撥 13800138000。"
    assert clean(text).text == text
    assert clean(text, cleaning=Cleaning(simplified=True)).text == "请写信到 keeper@farm.example，或拨 13800138000。"
    cleaned = clean(text, cleaning=Cleaning(masks=("phone", "email")))
    assert (cleaned.text, cleaned.changed) == ("請寫信到 [email]，或撥 [phone]。", ("email", "phone"))
    cleaned = clean("羊驼在山上吃草，也在河边喝水。", cleaning=Cleaning(segment=True, stop_words=True))
    assert cleaned.text == "羊驼 山上 吃 草，河边 喝水。"
    assert clean("To be or not to be", cleaning=Cleaning(stop_words=True)).reason == "stop_words"


def test_wrong_wishes(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="Unknown mask 'phon'") as caught:
        Cleaning(masks=("phon",))
    assert caught.value.hint == "Did you mean 'phone'?"
    monkeypatch.setitem(sys.modules, "opencc", None)
    monkeypatch.setitem(sys.modules, "rjieba", None)
    for wish in (Cleaning(), Cleaning(masks=("card",))):
        assert clean(POEM, cleaning=wish).text == POEM
    script._converter.cache_clear()
    words._cutter.cache_clear()
    with pytest.raises(MissingExtraError, match="needs the package opencc"):
        Cleaning(simplified=True)
    with pytest.raises(MissingExtraError, match="needs the package rjieba"):
        Cleaning(segment=True)
    with pytest.raises(MissingExtraError, match="needs the package opencc"):
        script.simplified("漢")
    with pytest.raises(MissingExtraError, match="needs the package rjieba"):
        words.segment("漢")
