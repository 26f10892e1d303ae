from __future__ import annotations

import codecs
import random
import re
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llamarium.ground.errors import BadFileError
from llamarium.text.decode import Decoded, decode, decode_reported, lines

CHINESE = "春眠不觉晓，处处闻啼鸟。夜来风雨声，花落知多少。"
TRADITIONAL = "床前明月光，疑是地上霜。舉頭望明月，低頭思故鄉。白日依山盡，黃河入海流。"
SIMPLIFIED_SNIPPETS = (
    "你好，世界！",
    "今天天气很好。",
    "请把门关上。",
    "羊驼住在山上，吃草。",
    "这家店的菜很好吃，就是送得太慢了。",
    "我们明天上午十点开会，请不要迟到。",
    "人工智能正在改变我们的生活方式。",
    "国务院关于加强环境保护工作的决定",
    "第三章 数据结构与算法",
    "用 Python 写一个小程序。",
    "他说：“我不去。”",
    "价格：25 元/千克",
    "采菊东篱下，悠然见南山。",
    "氢气和氧气反应生成水。",
    "患者头痛、发热三天。",
    "甲方应当在合同签订后七日内付款。",
    "<p>网页的标题</p>",
    "label,review\n1,味道不错，下次还来",
)
TRADITIONAL_SNIPPETS = (
    "你好，世界！",
    "今天天氣很好。",
    "請把門關上。",
    "羊駝住在山上，吃草。",
    "這家店的菜很好吃，就是送得太慢了。",
    "我們明天上午十點開會，請不要遲到。",
    "人工智慧正在改變我們的生活方式。",
    "台北市政府捷運工程局",
    "第三章　資料結構與演算法",
    "用 Python 寫一個小程式。",
    "他說：「我不去。」",
    "採菊東籬下，悠然見南山。",
    "氫氣和氧氣反應生成水。",
    "病人頭痛、發燒三天。",
    "甲方應於契約簽訂後七日內付款。",
    "<p>網頁的標題</p>",
)
WESTERN_SNIPPETS = (
    "Le café français où l'été est près de la forêt",
    "été",
    "Où est passé l’œuvre ? À l’école, déjà.",
    "Fünf größere Äpfel für Mädchen",
    "Grüße aus Köln",
    "¿Dónde está la montaña? Mañana será otro día.",
    "Informações não disponíveis até às três horas",
    "Perché no? È già così.",
    "Smörgåsbord på en ö i skärgården",
    "Rødgrød med fløde på en blå ø",
    "Það er þægilegt að vera hér í kvöld",
    "Hyvää päivää, mitä kuuluu tänään?",
    "Een coëfficiënt en een ruïne",
    "El número ½ és més petit que l’1",
    "naïve",
    "Error: ¡El archivo no existe!",
    "25 °C and 3 £",
    "© 2024 The authors",
    "“Quoted”, she said – and left…",
    "it’s",
    "5 €",
    "MÜNCHEN, DÜSSELDORF, ZÜRICH",
    "Crème brûlée, pâté, garçon, señor, über",
)
TEXTS = st.text(st.characters(exclude_categories=["Cs", "Cc"]) | st.sampled_from("\n\t\r"), min_size=1)


@given(TEXTS)
def test_any_text_in_utf8_comes_back(text: str) -> None:
    data = codecs.BOM_UTF8 + text.encode("utf-8")
    assert decode(data, path="a") == text.replace("\r\n", "\n")
    if not text.startswith(("\ufeff", "%PDF-", "GIF8")):
        assert decode(text.encode("utf-8"), path="a") == text.replace("\r\n", "\n")


@given(TEXTS, st.sampled_from([("utf-16-le", codecs.BOM_UTF16_LE), ("utf-16-be", codecs.BOM_UTF16_BE), ("utf-32-le", codecs.BOM_UTF32_LE)]))
def test_any_text_with_a_mark_comes_back(text: str, form: tuple[str, bytes]) -> None:
    encoding, mark = form
    assert decode(mark + text.encode(encoding), path="a") == text.replace("\r\n", "\n")


@given(st.binary())
def test_any_bytes_are_text_or_refused(data: bytes) -> None:
    text = hint = ""
    try:
        text = decode(data, path="a")
    except BadFileError as error:
        hint = error.hint
    assert text or hint
    assert "\0" not in text
    assert "\r\n" not in text


@pytest.mark.parametrize("text", [CHINESE, TRADITIONAL, "你好", "Llama 是羊驼的英文名，生活在南美洲的山上。", "羊驼\r\n"])
@pytest.mark.parametrize("encoding", ["gb18030", "gbk"])
def test_chinese_without_a_mark(text: str, encoding: str) -> None:
    assert decode(text.encode(encoding), path="a") == text.replace("\r\n", "\n")


@pytest.mark.parametrize("text", TRADITIONAL_SNIPPETS)
def test_a_traditional_sentence_in_big5(text: str) -> None:
    assert decode_reported(text.encode("cp950"), path="a") == Decoded(text, "big5")
    assert decode_reported(text.encode("gb18030"), path="a") == Decoded(text, "gb18030")


@pytest.mark.parametrize("text", SIMPLIFIED_SNIPPETS)
def test_a_simplified_sentence_in_gb18030(text: str) -> None:
    assert decode_reported(text.encode("gb18030"), path="a") == Decoded(text, "gb18030")


@pytest.mark.parametrize("text", WESTERN_SNIPPETS)
def test_a_western_sentence_is_not_chinese(text: str) -> None:
    data = text.encode("cp1252")
    name = "latin-1" if data.decode("latin-1") == text else "windows-1252"
    assert decode_reported(data, path="a") == Decoded(text, name)


@pytest.mark.parametrize("text", [*SIMPLIFIED_SNIPPETS, *TRADITIONAL_SNIPPETS, *WESTERN_SNIPPETS, "plain English, \r\nwith nothing odd"])
@pytest.mark.parametrize("codec", ["utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"])
def test_wide_characters_without_a_mark(text: str, codec: str) -> None:
    if len(text) >= 12:  # fewer Chinese characters look like anything
        assert decode_reported(text.encode(codec), path="a") == Decoded(text.replace("\r\n", "\n"), codec[:6])


def test_characters_of_hong_kong() -> None:
    text = "佢哋嘅書喺邊度？我唔知道，你問吓先生啦。"
    assert decode_reported(text.encode("big5hkscs"), path="a") == Decoded(text, "big5")


def test_marks_are_reported() -> None:
    for mark, codec, name in (
        (codecs.BOM_UTF8, "utf-8", "utf-8"),
        (codecs.BOM_UTF16_BE, "utf-16-be", "utf-16"),
        (codecs.BOM_UTF32_LE, "utf-32-le", "utf-32"),
    ):
        assert decode_reported(mark + CHINESE.encode(codec), path="a") == Decoded(CHINESE, name)


@pytest.mark.parametrize(
    ("text", "codec", "says"),
    [
        ("吾輩は猫である。名前はまだ無い。どこで生れたかとんと見当がつかぬ。", "shift_jis", "Japanese in SHIFT_JIS"),
        ("吾輩は猫である。名前はまだ無い。どこで生れたかとんと見当がつかぬ。", "euc_jp", "Japanese in EUC-JP"),
        ("これはとてもやすいです。", "euc_jp", "Japanese in EUC-JP"),
        ("모든 인간은 태어날 때부터 자유로우며 그 존엄과 권리에 있어 동등하다.", "euc_kr", "Korean in EUC-KR"),
        ("Все люди рождаются свободными и равными в своём достоинстве и правах.", "cp1251", "Cyrillic in WINDOWS-1251"),
        ("Все люди рождаются свободными и равными в своём достоинстве и правах.", "koi8-r", "Cyrillic in KOI8-R"),
    ],
)
def test_other_encodings_are_named_and_refused(text: str, codec: str, says: str) -> None:
    with pytest.raises(BadFileError) as caught:
        decode(text.encode(codec), path="a.txt")
    assert says in caught.value.message
    assert f"iconv -f {says.rsplit(maxsplit=1)[-1]} -t UTF-8" in caught.value.hint
    assert caught.value.offset is not None


@pytest.mark.parametrize(
    ("text", "codec"),
    [
        ("Příliš žluťoučký kůň úpěl ďábelské ódy, a nikdo se nedivil, jen sýr stál na stole.", "cp1250"),
        ("Zażółć gęślą jaźń, potem idź do łóżka i śpij spokojnie aż do świtu.", "cp1250"),
        ("Yaşlı öğretmen çocuğa ışığı söndürmesini söyledi, çünkü gün doğmuştu.", "cp1254"),
        ("Starosta oznámil, že obec opraví školu a postaví nové hřiště.", "cp1250"),
        ("Az idei őszi szünetben több gyerek jött, mint tavaly, mondta a művelődési ház vezetője.", "cp1250"),
        ("Bugün hava çok güzel, yarın da güneşli olacağı söyleniyor; çocuklar dışarıda oynuyor.", "cp1254"),
        ("Le garçon a mangé des pâtes à l'étage, près de la fenêtre.", "cp850"),
    ],
)
def test_what_no_western_language_writes_is_refused(text: str, codec: str) -> None:
    with pytest.raises(BadFileError, match="neither UTF-8"):
        decode(text.encode(codec), path="a.txt")


def test_utf8_with_a_broken_byte_is_not_taken_for_something_else() -> None:
    data = CHINESE.encode()
    for broken in (data[:-1], data[:30] + b"\xff" + data[30:]):
        with pytest.raises(BadFileError, match="UTF-8 with bytes in it that are not") as caught:
            decode(broken, path="a.txt")
        assert caught.value.offset in {len(data) - 3, 30}


def test_chinese_with_a_broken_byte_says_where() -> None:
    data = (CHINESE * 50).encode("gb18030")
    with pytest.raises(BadFileError, match="looks like GB18030, but has bytes in it that are not") as caught:
        decode(data[:2000] + b"\xff" + data[2000:], path="a.txt")
    assert caught.value.offset == 2000


def test_what_is_declared_decides_where_the_bytes_allow_it() -> None:
    japanese = "吾輩は猫である。"
    assert decode_reported(japanese.encode("shift_jis"), path="a", declared="Shift_JIS") == Decoded(japanese, "shift_jis")
    greek = "Όλοι οι άνθρωποι γεννιούνται ελεύθεροι"
    assert decode_reported(greek.encode("iso8859-7"), path="a", declared=" iso-8859-7 ") == Decoded(greek, "iso8859-7")
    for lie in ("iso-8859-1", "utf-8", "euc_jp", "rot13", "nonsense", "x" * 10_000, "\0", "unicode_escape", "zlib"):
        assert decode_reported(CHINESE.encode("gbk"), path="a", declared=lie) == Decoded(CHINESE, "gb18030"), lie
    assert decode_reported(CHINESE.encode(), path="a", declared="gbk").encoding == "utf-8"


def test_what_is_far_into_a_file_decides_too() -> None:
    text = "English prose goes on and on.\n" * 20_000 + CHINESE + "\n" + "more English.\n" * 20_000
    decoded = decode_reported(text.encode("gb18030"), path="a")
    assert decoded.encoding == "gb18030"
    assert (decoded.text == text) is True


@given(TEXTS, st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-32"]))
def test_lines_are_the_text(text: str, codec: str) -> None:
    data = text.encode(codec)
    try:
        whole = decode(data, path="a")
    except BadFileError:
        return  # it began like a picture
    _, each = lines(data, path="a")
    assert list(each) == [line for line in re.split("(?<=\n)", whole) if line]


def test_lines_do_not_copy_the_file(tmp_path: Path) -> None:
    data = ("羊驼住在山上，吃草。" * 10 + "\n").encode() * 50_000  # 15.5 MB
    tracemalloc.start()
    try:
        name, each = lines(data, path="a")
        count = sum(1 for _ in each)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (name, count) == ("utf-8", 50_000)
    assert most < 6_000_000


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "is empty"),
        (b"\x89PNG\r\n\x1a\n", "PNG"),
        (b"\xff\xd8\xff\xe0", "JPEG"),
        (b"GIF89a..", "GIF"),
        (b"%PDF-1.4\n", "PDF"),
        (b"PK\x03\x04....", "ZIP"),
        (b"\x7fELF\x02", "program"),
        (b"some text\0more", "NUL"),
        (b"some text\0more.", "NUL"),
        (bytes(range(256)) * 40, "NUL"),
        (b"\x01\x02\x03text" * 10, "control characters"),
        (bytes(range(1, 256)) * 40, "control characters"),
        (b"\xff\xfea", "UTF-16-LE"),
        (b"\xff\xfea\0\0\0", "NUL"),
        (b"good text, bad \xff end" * 3, "neither UTF-8"),
        (b"\xff" * 1000, "neither UTF-8"),
    ],
)
def test_what_is_no_text_is_named(data: bytes, says: str) -> None:
    with pytest.raises(BadFileError) as caught:
        decode(data, path="a.txt")
    assert says in caught.value.message
    assert caught.value.exit_code == 3


def test_random_bytes_are_refused() -> None:
    source = random.Random(7)
    for length in (50, 1000, 100_000):
        for _ in range(40 if length < 1000 else 3):
            with pytest.raises(BadFileError):
                decode(source.randbytes(length), path="a")


def test_the_place_of_the_first_bad_byte_is_said() -> None:
    with pytest.raises(BadFileError) as caught:
        decode(b"0123456789\xff rest", path="a.txt")
    assert caught.value.offset == 10
    assert "a.txt, byte 10" in caught.value.message


def test_the_place_is_right_beyond_the_first_megabyte() -> None:
    text = ("羊驼住在山上，吃草。" * 60_000).encode()
    for data, place in ((codecs.BOM_UTF8 + text[:-1], len(text)), (text[:1_200_000] + b"\xff" + text[1_200_000:], 1_200_000)):
        with pytest.raises(BadFileError) as caught:
            decode(data, path="a.txt")
        assert caught.value.offset == place


def test_coloured_logs_are_text() -> None:
    assert decode(b"\x1b[31mred\x1b[0m text\x0c", path="a") == "\x1b[31mred\x1b[0m text\x0c"
