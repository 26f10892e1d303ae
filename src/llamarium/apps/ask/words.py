"""The words of a text as a search sees them.

Takes: a text in any language, best known for English and Chinese.
Gives: words with their places and search terms; for a question, which of them it is about.
Does not know: how terms are stored or weighed.

Chinese has no spaces, so a run of its characters becomes overlapping pairs (模型训练: 模型 型训 训练) and single characters: pairs
find what is meant, characters what is said in other words (摔伤, 受伤). English words become their stems (Porter's second
algorithm, snowballstemmer), with case, accents and full-width forms folded. What is put together (``asyncio.gather``,
``read_text``, ``StopIteration``, ``--resume``, ``3.14``) is a term as a whole, and its parts are terms too. Traditional
characters are folded into simplified ones, one for one, by a table that comes along (traditional.txt).
"""

from __future__ import annotations

import functools
import re
import threading
import unicodedata
from collections.abc import Iterable, Iterator, Set
from dataclasses import dataclass, field, replace
from pathlib import Path

import snowballstemmer

LONGEST_TERM = 64
LONGEST_WORD = 256  # of what is longer, the beginning is looked at

# Chinese with kana and Hangul, whose words a space does not end either.
_DENSE = "々〇\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7a3\uf900-\ufaff\U00020000-\U0003ffff"
_WORD = re.compile(
    rf"(?P<dense>[{_DENSE}]+)"
    rf"|(?P<option>(?<![\w-])--?[A-Za-z][\w-]*)"
    rf"|(?P<word>[^\W{_DENSE}]+(?:[.\-/:@]+[^\W{_DENSE}]+)*(?:\+\+|#)?(?:['’](?:s|t|re|ve|ll|d|m)\b)?)"
)
_DENSE_CHARACTER = re.compile(f"[{_DENSE}]")
_PARTS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+|[^\W\da-zA-Z_]+")
_SUFFIX = re.compile(r"['’](?:s|t|re|ve|ll|d|m)$", re.IGNORECASE)
_HALF_WIDTH = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)} | {0x3000: 0x20}
_TRADITIONAL = Path(__file__).with_name("traditional.txt")

_stemmer = snowballstemmer.stemmer("english")
_stemming = threading.Lock()  # the stemmer keeps the word it works on

_ENGLISH_STOP_WORDS = (
    "a about after again all also am an and any are aren as at be because been before being between both but by can cannot could "
    "couldn did didn do does doesn doing don down during each few for from further had hadn has hasn have haven having he her here "
    "hers him his how i if in into is isn it its just let may me might more most much must my no nor not of off on once only or other "
    "our out over own per please s same shall she should shouldn so some such t tell than that the their them then there these they "
    "this those through to too under until up upon us very was wasn we were weren what when where whether which while who whom whose "
    "why will with won would wouldn you your explain describe mean means happen happens"
)
# Too common to be asked for by themselves in an English question, though they may help to find a passage.
_ENGLISH_WEAK_WORDS = (
    "back call called calls get gets give gives good go goes happened have keep kind let like make makes "
    "many much need needs put take takes thing things use used uses using want way work works"
)
STOP_WORDS = frozenset(_ENGLISH_STOP_WORDS.split())
WEAK_WORDS = frozenset(_ENGLISH_WEAK_WORDS.split())
# What asks, not what is asked about. Longest first, because the first that fits is taken.
_CHINESE_QUESTION_WORDS = re.compile(
    "为什么|是不是|有没有|能不能|会不会|可不可以|怎么样|怎么办|什么时候|什么样|多长时间|请告诉我|请问|告诉我|什么|怎么|怎样|如何|多少|多久|多大|多长|多高|多远|"
    "哪里|哪儿|哪个|哪些|哪一|哪|谁|几[个点次种]|几(?=[年月天岁分号人])|为何|是否|可以|应该|需要|我们|你们|他们|这个|那个|这些|那些|一下|吗|呢|吧|啊|呀|(?<!目)的(?!确)|了(?!解)|是(?!非)|您|你|我"
)
# Too common to be asked for by themselves; what they are part of (用 in 作用) is searched.
_WEAK = frozenset("一不个也于为之与且中从以会但到把被和在地大小好对就得很或所把有没来用着给而能要让说请这那还都里去上下时才")
_OPENING_QUOTES = "\"'`“‘「『"


@dataclass(frozen=True)
class Word:
    """``text[start:end]`` and the terms it is found by, the one for the whole first."""

    start: int
    end: int
    terms: tuple[str, ...]


@dataclass(frozen=True)
class Wanted:
    """Something that a question is about: a text has it if it has one of `terms`.

    `character`: the Chinese character that is asked for, where it is one; `terms` are then the pairs that it is in.
    `others`: what else it may be called, each as terms that a text must have together. `places`: where the question has it.
    """

    terms: tuple[str, ...]
    character: str = ""
    others: tuple[tuple[str, ...], ...] = field(default=(), compare=False)
    places: tuple[int, ...] = field(default=(), compare=False)


@dataclass(frozen=True)
class Question:
    """What a question is about, and the terms that it is searched by, the single characters of Chinese last.

    `hints`: what an answer is likely to say, such as a price where it is asked how much; asked for by no word of its own.
    """

    wanted: tuple[Wanted, ...]
    terms: tuple[str, ...]
    hints: tuple[tuple[str, ...], ...] = ()


def folded_characters(text: str) -> str:
    """Full-width forms as ASCII, traditional characters as simplified ones; every character stays at its place.

    >>> folded_characters("ＬＬＭ　訓練資料")
    'LLM 训练资料'
    """
    return text if text.isascii() else text.translate(_folding())


@functools.cache
def _folding() -> dict[int, int]:
    lines = [line for line in _TRADITIONAL.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    return _HALF_WIDTH | {ord(old): ord(new) for i in range(0, len(lines), 2) for old, new in zip(lines[i], lines[i + 1], strict=True)}


def words(text: str) -> Iterator[Word]:
    """The words of `text` in order, without overlap but for the pairs of Chinese.

    >>> [word.terms for word in words("read_text 读取文件")]
    [('read_text', 'read', 'text'), ('读取', '读'), ('取文', '取'), ('文件', '文'), ('件',)]
    """
    folded = folded_characters(text)
    for match in _WORD.finditer(folded):
        start, end = match.span()
        if match.lastgroup == "dense":
            yield from (Word(place, place + 2, (folded[place : place + 2], folded[place])) for place in range(start, end - 1))
            yield Word(end - 1, end, (folded[end - 1],))
        else:
            yield Word(start, end, _terms(match[0][:LONGEST_WORD]))


def is_dense(text: str) -> bool:
    """Whether `text` begins with a character of a script without spaces between words."""
    return bool(_DENSE_CHARACTER.match(text))


def terms_of(text: str) -> set[str]:
    """What a text can be found by."""
    return {term for word in words(text) for term in word.terms}


def search_terms(text: str) -> str:
    """All terms of `text` with spaces between, to be indexed."""
    return " ".join(term for word in words(text) for term in word.terms)


@functools.lru_cache(maxsize=1 << 16)
def _terms(word: str) -> tuple[str, ...]:
    bare = _SUFFIX.sub("", word)
    is_plain = bare.isalpha() and (bare.islower() or bare.istitle() or not bare.isascii())
    parts = [] if is_plain else [stem(_fold(part)) for part in _PARTS.findall(bare)]
    whole = stem(_fold(bare)) if bare.isalpha() else _fold(bare)
    return tuple(dict.fromkeys(term[:LONGEST_TERM] for term in (whole, *parts) if term))


def _fold(word: str) -> str:
    if word.isascii():
        return word.lower()
    return "".join(c for c in unicodedata.normalize("NFD", word.casefold()) if not unicodedata.combining(c))


@functools.lru_cache(maxsize=1 << 16)
def stem(word: str) -> str:
    """The stem of a folded English word; others are left as they are.

    >>> stem("generators"), stem("evaluated"), stem("3.14")
    ('generat', 'evalu', '3.14')
    """
    if not (word.isascii() and word.isalpha()):
        return word
    with _stemming:
        return str(_stemmer.stemWord(word))


def held_in(wanted: Iterable[Wanted], terms: Set[str]) -> set[Wanted]:
    """What of `wanted` a text has that has `terms`."""
    return {w for w in wanted if not terms.isdisjoint(w.terms)}


def question_words(question: str) -> Question:
    """Take a question apart. Where it consists of nothing but stop words, they are what it is about.

    >>> [wanted.terms for wanted in question_words("What does json.dumps do?").wanted]
    [('json',), ('dump',)]
    >>> question_words("豆腐怎么做？").terms
    ('豆腐', '豆', '腐', '做')
    """
    question = folded_characters(question)
    for text, stop_words in ((without_question_words(question), STOP_WORDS), (question, frozenset[str]())):
        found = _question_words(text, stop_words)
        if found.wanted:
            break
    return found


def without_question_words(question: str) -> str:
    """Question words give way to spaces, as many as they have characters: Chinese ones stand next to what is asked about."""
    return _CHINESE_QUESTION_WORDS.sub(lambda match: " " * len(match[0]), question)


def _question_words(question: str, stop_words: frozenset[str]) -> Question:
    places: dict[Wanted, list[int]] = {}
    terms: list[str] = []
    characters: list[str] = []
    for word in words(question):
        if _DENSE_CHARACTER.match(question, word.start):
            terms += word.terms[:-1]
            character = word.terms[-1]
            if not (stop_words and character in _WEAK):
                characters.append(character)
                places.setdefault(Wanted(_pairs_around(question, word), character), []).append(word.start)
            continue
        quoted = word.start > 0 and question[word.start - 1] in _OPENING_QUOTES
        folded = question[word.start : word.end].lower().split("'")[0].split("’")[0]
        counts = quoted or folded not in stop_words
        if counts:
            # A number is itself or nothing; of a name, each part may be met on its own.
            parts = word.terms[1:] if len(word.terms) > 1 and not any(c.isdigit() for c in word.terms[0]) else word.terms[:1]
            if quoted or folded not in WEAK_WORDS or not stop_words:
                for part in parts:
                    places.setdefault(Wanted((part,)), []).append(word.start)
            terms += word.terms
    return Question(
        wanted=tuple(replace(wanted, places=tuple(found)) for wanted, found in places.items()),
        terms=tuple(dict.fromkeys([*terms, *characters])),
    )


def _pairs_around(question: str, word: Word) -> tuple[str, ...]:
    """The pairs that the first character of `word` is in; the character itself where it stands alone."""
    before = question[word.start - 1 : word.start + 1] if word.start and _DENSE_CHARACTER.match(question, word.start - 1) else ""
    after = word.terms[0] if len(word.terms) == 2 else ""
    return tuple(pair for pair in (before, after) if pair) or word.terms[-1:]
