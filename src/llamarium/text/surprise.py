"""How far a text is from anything that people write: what tells the right reading of some bytes from wrong ones.

Takes: a text, and the scripts that its encoding is made for; or the bytes without a reading.
Gives: bits. The reading that costs least is the likeliest, and one that costs more than its bytes is none.
Does not know: encodings.

A character costs about -log2 of its share in writing of its kind (the figures are round), more where its script is not at
home, and a letter or sign costs extra where no orthography has it: beside the wrong letters, or in the wrong language.
"""

from __future__ import annotations

import functools
import re
from collections import Counter
from string import ascii_letters

ANY_SCRIPT = ("han", "kana", "hangul", "cyrillic", "latin", "other")
_TEXT_BYTES = bytes({*range(32, 127), *b"\t\n\v\f\r\x1b"})

_ASCII = 5.0
_FAULT = 40.0  # bytes that are invalid in an encoding
_CONTROL = 20.0
_ABROAD = 6.0  # a script that is not written in this encoding
_MISPLACED = 8.0  # a letter or sign where no orthography has it
_NOT_IN_LANGUAGE = 12.0  # an accented letter that the language of the others lacks

# The most frequent characters of modern, classical and traditional Chinese: a third, and a third, of what is written.
_FIRST_HUNDRED = frozenset(
    "的一是有人在为爲為中不和年以个個可生于於来來用能时時大成国國作行学學地我了子无無上如分这這日月自数數后後山长長与與天要出会會多方高公物对"
    "對下风風得家之们們到里裡裏名此何过過发發西其动動水花种種文他间間更法相三开開同入理提南事心主体體将將使并並力么麼等意重面常定"
)
_NEXT_HUNDREDS = frozenset(
    "新或本工据據平云雲及通度什语語它小进進应應而所明加知经經两兩您部当當海最性未关關被建书書化处處安机機清金内內色任前类類世表信去好美赛賽见見春也东東"
    "都者现現式球些道计計解全从從至由然江十合因亚亞区區白果问問空第元非起形路量二正外业業诗詩游遊身今程助供老还還少万萬特客香位比气氣系實实实点點情四保流"
    "制归歸君包网網标標目设設言黄黃科题題台臺但共雨已品需字门門约約千息户戶员員深市教别別斯期北谁誰马馬算头頭代米看车車夜立利尔爾次光活结結秋直影华華称稱青"
    "林运運神几幾交电電队隊手总總取列草首乐樂场場复復飞飛回先变變务務基传傳院你妳古食酒说說就王城声聲树樹州只型亦她具寒战戰望落原广廣每太随隨英龙龍持容产產"
    "百格决決足组組玉叶葉句朝例感军軍满滿民向阳陽石选選罗羅难難放政效近接女红紅且受故欲图圖司根术術件又够夠线線五德居尽盡远遠布曾统統初独獨观觀皇收士创創思"
    "改岁歲器输輸真识識示病哪确確似画畫集技帮幫写寫川单單想指论論很吃没沒给給吗嗎吧呢啊把让讓跟做走再才却卻见快慢买買钱錢送打叫听聽请請谢謝"
)
_CHINESE_SIGNS = frozenset("，。、！？：；“”‘’（）《》「」『』…—·　【】〈〉～％")
_FREQUENT_HANGUL = frozenset("이다는의에을를가고하지한은로으기사어리나자도서시아인해그스라일대있들것부수전정보과게와상원제구성조만여")
_SIGNS = frozenset("“”‘’–—…«»‹›„‚•£€§©®°·×½¼²³ªº¿¡\u00a0\u00ad™")
_LANGUAGES = tuple(
    frozenset(letters + letters.upper())
    for letters in (
        "àâæçéèêëîïôœùûü",  # French
        "äöüßéèà",  # German
        "áéíóúñüçï",  # Spanish, Galician
        "áâãàçéêíóôõúü",  # Portuguese
        "àèéìíîòóùú",  # Italian
        "àçèéíïòóúü",  # Catalan
        "åäöéüà",  # Swedish, Finnish
        "æøåéèêòóôüäö",  # Danish, Norwegian
        "áðéíóúýþæö",  # Icelandic
        "ëéïóöüáèêç",  # Dutch
        "õäöüšž",  # Estonian
    )
)
_LATIN = frozenset("ŠšŽžŒœŸƒ").union(map(chr, {*range(0xC0, 0x100)} - {0xD7, 0xF7}))
_ACCENTED = "À-ÖØ-öø-ÿŒœŠšŽž"
_LETTER = f"A-Za-z{_ACCENTED}"
_WRONG_PLACE = re.compile(
    r"([^\W\x00-\x7f])\1{5,}"  # one letter over and over
    f"|[{_ACCENTED}]{{3,}}"  # accents in a row
    f"|(?<![A-Za-z])[{_ACCENTED}]{{2}}(?![A-Za-z])"  # accents and nothing else
    f"|(?<![{_LETTER}'’])[{_ACCENTED}](?<![àáéèíóòúåöæøÀÁÉÈÍÓÅÖÆØ])(?![{_LETTER}])"  # alone, and no word of one letter
    "|(?<=[a-zà-öø-ÿ])[À-ÖØ-ÞŒŠŽŸ]|(?<=[а-яё])[А-ЯЁ]"  # a capital after a small letter
    "|[А-яЁё](?=[A-Za-z])|(?<=[A-Za-z])[А-яЁё]"  # two alphabets in a word
    f"|(?<=[{_LETTER}])[„‚•£€§©®°×½¼²³¿¡™‹«](?=[{_LETTER}])|•(?=[A-Za-z])"  # a sign inside a word
    # a Chinese character by itself among letters
    "|(?<![^A-Za-z \n\t(])[\u2027\u3001-\u9fff\ufe30-\ufe6f\uff01-\uff5e](?![^A-Za-z \n\t).,])"
)


def surprise(text: str, *, home: tuple[str, ...]) -> float:
    """Bits that `text` costs as writing in the scripts of `home`; bytes that were invalid stand in it as U+FFFD.

    >>> data = "山上有羊。".encode("gb18030")
    >>> surprise(data.decode("gb18030"), home=("han",)) < noise(data) < surprise(data.decode("cp1252"), home=("latin",))
    True
    """
    counts = Counter(text)
    bits = 0.0
    latin: Counter[str] = Counter()
    for character, number in counts.items():
        script, cost = _cost(character)
        bits += number * cost
        if script and script not in home:
            bits += number * _ABROAD
        if script == "latin":
            latin[character] = number
    # Accents that are this rare are those of names and loan words, of many languages.
    if latin.total() > 0.025 * sum(counts[letter] for letter in ascii_letters):
        known = max(sum(number for letter, number in latin.items() if letter in language) for language in _LANGUAGES)
        bits += _NOT_IN_LANGUAGE * (latin.total() - known)
    return bits + _MISPLACED * sum(len(found[0]) for found in _WRONG_PLACE.finditer(text))


@functools.lru_cache(maxsize=1 << 15)
def _cost(character: str) -> tuple[str, float]:
    """The script of a character, empty where it is at home in all, and its bits."""
    code = ord(character)
    if code < 0x80:
        return "", _ASCII if character.isprintable() or character in "\t\n\v\f\r\x1b" else _CONTROL
    if character in _SIGNS:
        return "", 7.0
    if character in _CHINESE_SIGNS:
        return "han", 7.0
    if character in _LATIN:
        return "latin", 6.0
    if "\u3400" <= character <= "\u9fff":
        return "han", 8.5 if character in _FIRST_HUNDRED else 10.5 if character in _NEXT_HUNDREDS else _rarity(character)
    if "\u3041" <= character <= "\u30fe":
        return "kana", 7.0 if character < "\u30a0" else 8.5
    if "\uac00" <= character <= "\ud7a3":
        return "hangul", 7.5 if character in _FREQUENT_HANGUL else 12.0 if _codes(character, "euc_kr") else 16.0
    if "\u0401" <= character <= "\u0451":
        return "cyrillic", 6.0 if character >= "\u0430" else 9.0
    if "\u2010" <= character <= "\u2642" or "\u3000" <= character <= "\u303f" or "\uff01" <= character <= "\uff5e":
        return "han", 13.0
    if character == "\ufffd":
        return "other", _FAULT
    if character.isalpha():
        return "other", 14.0 if code < 0x3000 else 21.0
    return "other", 17.0 if character.isprintable() and code < 0x10000 else 30.0


def _rarity(character: str) -> float:
    """The first level of GB2312 (3,755 by use) or Big5 (5,401), the second level of either, or neither."""
    simplified, traditional = _codes(character, "gb2312"), _codes(character, "big5")
    if b"\xb0" <= simplified < b"\xd8" or b"\xa4" <= traditional < b"\xc7":
        return 13.5
    return 18.0 if simplified or traditional else 21.0


def _codes(character: str, codec: str) -> bytes:
    return character.encode(codec, "ignore")


def noise(data: bytes) -> float:
    """Bits that bytes without a meaning cost: ASCII as it does in a text, eight for any other."""
    others = len(data.translate(None, _TEXT_BYTES))
    return _ASCII * (len(data) - others) + 8.0 * others
