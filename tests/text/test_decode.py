from __future__ import annotations

import codecs

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llamarium.ground.errors import BadFileError
from llamarium.text.decode import decode

CHINESE = "春眠不觉晓，处处闻啼鸟。夜来风雨声，花落知多少。"
TRADITIONAL = "床前明月光，疑是地上霜。舉頭望明月，低頭思故鄉。白日依山盡，黃河入海流。"
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


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("Le café français où l'été est près de la forêt", "latin-1"),
        ("Fünf größere Äpfel für Mädchen", "cp1252"),
        ("吾輩は猫である。名前はまだ無い。どこで生れたかとんと見当がつかぬ。", "shift_jis"),
        ("吾輩は猫である。名前はまだ無い。どこで生れたかとんと見当がつかぬ。", "euc_jp"),
        ("모든 인간은 태어날 때부터 자유로우며 그 존엄과 권리에 있어 동등하다. 인간은 천부적으로 이성과 양심을 부여받았으며", "euc_kr"),
        ("床前明月光，疑是地上霜。舉頭望明月，低頭思故鄉。白日依山盡，黃河入海流。", "big5"),
        ("Все люди рождаются свободными и равными в своём достоинстве и правах.", "cp1251"),
        ("Все люди рождаются свободными и равными в своём достоинстве и правах.", "koi8-r"),
    ],
)
def test_other_encodings_are_refused_not_guessed(text: str, encoding: str) -> None:
    with pytest.raises(BadFileError) as caught:
        decode(text.encode(encoding), path="a.txt")
    assert "neither UTF-8" in caught.value.message
    assert "iconv" in caught.value.hint
    assert caught.value.offset is not None


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
        ("plain English".encode("utf-16-le"), "UTF-16 without a byte-order mark"),
        ("plain English".encode("utf-16-be"), "UTF-16 without a byte-order mark"),
        (b"\x01\x02\x03text" * 10, "control characters"),
        (b"\xff\xfea", "UTF-16-LE"),
        (b"\xff\xfea\0\0\0", "NUL"),
        (b"good text, bad \xff end" * 3, "neither UTF-8"),
    ],
)
def test_what_is_no_text_is_named(data: bytes, says: str) -> None:
    with pytest.raises(BadFileError) as caught:
        decode(data, path="a.txt")
    assert says in caught.value.message
    assert caught.value.exit_code == 3


def test_the_place_of_the_first_bad_byte_is_said() -> None:
    with pytest.raises(BadFileError) as caught:
        decode(b"0123456789\xff rest", path="a.txt")
    assert caught.value.offset == 10
    assert "a.txt, byte 10" in caught.value.message


def test_coloured_logs_are_text() -> None:
    assert decode(b"\x1b[31mred\x1b[0m text\x0c", path="a") == "\x1b[31mred\x1b[0m text\x0c"
