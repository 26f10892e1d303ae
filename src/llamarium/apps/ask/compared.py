"""Texts as what a verifier compares: words, numbers by their value, names, amounts with their units.

Takes: a text in English or Chinese; for Chinese names, the sentence and the passage together.
Gives: its tokens in order, each with what it may stand for and on which side of which opposites it is; amounts among them.
Does not know: what is compared with what, or what follows from it.

English words are their stems; Chinese is cut into words of the lists (kinds.py) and else into characters. A Chinese name is a surname
and one or two characters where a word, a particle or the end of a clause follows; the other text helps to tell how long it is.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from typing import Literal

from llamarium.apps.ask import kinds
from llamarium.apps.ask.contraries import CONTRARIES_CHINESE, CONTRARIES_ENGLISH
from llamarium.apps.ask.quantities import Quantity, quantities
from llamarium.apps.ask.words import STOP_WORDS, stem


@dataclass(frozen=True)
class Token:
    """One unit of comparison. `clause` and `sentence` count from 0; `sides` says which side of which opposites it is on, `contraries` of
    those that are opposites only in each other's place."""

    key: str
    written: str
    sort: Literal["word", "dense", "number", "name"]
    same: frozenset[int] = frozenset()
    kinds: frozenset[int] = frozenset()
    sides: Mapping[int, int] = field(default_factory=dict)
    contraries: Mapping[int, int] = field(default_factory=dict)
    negates: bool = False
    excuses: bool = False
    weak: bool = False
    clause: int = 0
    sentence: int = 0

    def means(self, other: Token) -> bool:
        """Whether one may stand for the other, opposites included: those are told apart by their sides."""
        if (self.sort == "number") != (other.sort == "number"):
            return False
        if self.key == other.key or not self.same.isdisjoint(other.same) or any(label in other.sides for label in self.sides):
            return True
        if self.sort == other.sort == "dense":
            short, long = sorted((self.key, other.key), key=len)
            return long == short + "色" or (short in long and not self.kinds and not other.kinds)
        if self.sort == other.sort == "word" and not (self.kinds and other.kinds):
            return _related(self.key, other.key)
        return False

    def excludes(self, other: Token) -> bool:
        """Whether it says the contrary, if it stands where the other does."""
        return any(other.contraries.get(label, side) != side for label, side in self.contraries.items())


@dataclass(frozen=True)
class Amount:
    """``tokens[first:last]`` is a number with its unit; `of`: what is measured, `value`: how much in its smallest unit."""

    first: int
    last: int
    of: int
    value: float


def amounts(tokens: Sequence[Token]) -> Iterator[Amount]:
    """Two days, half a kilo, an hour and a half, 一个半小时, 两年半, 一米二."""
    keys = [token.key for token in tokens]
    for first, token in enumerate(tokens):
        place = first + 1
        if token.sort == "number":
            value = 0.5 if _is_half(token) else float(token.key[1:])
        elif token.key in ("a", "an"):
            value = 1.0
        else:
            continue
        if extra := _and_a_half(tokens, place):
            value, place = value + 0.5, place + extra
        elif keys[place : place + 1] in (["a"], ["an"], ["个"]):
            place += 1
            if place < len(tokens) and _is_half(tokens[place]):
                value, place = value + 0.5, place + 1
        unit = _known().units.get(keys[place]) if place < len(tokens) else None
        if unit is None:
            continue
        of, worth = unit
        place += 1
        if extra := _and_a_half(tokens, place):
            value, place = value + 0.5, place + extra
        elif place < len(tokens) and tokens[place].sort == "number" and tokens[place].written in _DIGITS_BEHIND:
            value += 0.5 if tokens[place].written == "半" else float(tokens[place].key[1:]) / 10
            place += 1
        yield Amount(first, place, of, round(value * worth, 6))


def _is_half(token: Token) -> bool:
    return token.sort == "number" and token.written.lower() in ("half", "半", "一半")


def _and_a_half(tokens: Sequence[Token], place: int) -> int:
    """How many tokens of "and a half" stand there."""
    said = [token.key for token in tokens[place : place + 2]] == ["and", "a"]
    return 3 if said and place + 2 < len(tokens) and _is_half(tokens[place + 2]) else 0


def _related(one: str, another: str) -> bool:
    """Whether two English words share so long a beginning that one comes of the other (strike, striker; high, higher)."""
    same = next((i for i, (a, b) in enumerate(zip(one, another, strict=False)) if a != b), min(len(one), len(another)))
    return same >= max(4, 0.6 * max(len(one), len(another)))


_DENSE = r"\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"
_PIECE = re.compile(
    r"(?P<strong>[.](?=\s|$|[\"'”’)])|[!?;。！？；]|\n\s*(?=\n|[-*•]|[0-9]+[.)、]))|(?P<soft>[,，:：()（）—–])"
    rf"|(?P<word>[^\W\d_{_DENSE}][^\W_{_DENSE}]*(?:[_.@/][^\W_{_DENSE}]+|-[0-9]+)*(?:['’][a-z]+)?)"
    rf"|(?P<dense>[{_DENSE}]+)|(?P<money>[£€$¥%])"
)
_AN_ARTICLE = re.compile(r"(?:A|I)\s+[a-z]")
_MONEY = {"£": "pound", "€": "euro", "$": "dollar", "¥": "yuan", "%": "percent"}
_DIGITS_BEHIND = tuple("半一二三四五六七八九")  # a unit: 一米二
_ALL_DENSE = re.compile(f"[{_DENSE}]+")
_PARTICLES = frozenset("的了是在和与或及也都就将把被对从向到由以为于")  # of all that is weak, what no given name ends in
_NO_NAMES, _LONG_SURNAMES = frozenset(kinds.NO_NAMES.split()), frozenset(kinds.LONG_SURNAMES.split())
_TURNS = frozenset(kinds.TURNS.split())
_LONGEST_KNOWN = 5
_TITLES = frozenset(kinds.TITLES_ENGLISH.split())


def persons_of(sentence: str, passage: str) -> frozenset[str]:
    """Names of Chinese persons in the passage, and those that the sentence has of them, or instead of them."""
    told, said = set(_chinese_names(passage)), set(_chinese_names(sentence))
    told, said = _told_apart(told, said, sentence), _told_apart(said, told, passage)
    surnames = {name[: _surname(name)] for name in told}
    return frozenset(told | {name for name in said if name in passage or name[: _surname(name)] in surnames})


def _told_apart(names: Set[str], others: Set[str], text: str) -> set[str]:
    """`names` beside a text with `others`: where that goes on in another way, what follows is no part of the name (骆青专攻)."""
    found = set()
    for name in names:
        short = name[:-1]
        alike = any(other.startswith(short) and len(other) == len(name) for other in others)
        found.add(short if len(short) > _surname(name) and name not in text and short in text and not alike else name)
    return found


def _chinese_names(text: str) -> Iterator[str]:
    """A surname and one or two characters, where a word, a particle or the end of a clause follows."""
    place = 0
    while place < len(text):
        size = _surname(text[place : place + 2])
        # 施师傅 and 毕业 are no names: what is known as a word is none.
        starts = range(place + (size == 2), place + size + 1)
        if not size or text[place : place + 2] in _NO_NAMES or any(len(_longest_known(text[i : i + _LONGEST_KNOWN])) > 1 for i in starts):
            place += 1
            continue
        for length in (size + 2, size + 1):
            name, behind = text[place : place + length], text[place + length : place + length + _LONGEST_KNOWN]
            whole = len(name) == length and _ALL_DENSE.fullmatch(name) and name[-1] not in _PARTICLES
            if whole and (not behind or not _ALL_DENSE.match(behind) or behind[0] in _known().weak or len(_longest_known(behind)) > 1):
                yield name
                place += length - 1
                break
        place += 1


def _surname(text: str) -> int:
    """How many characters of a surname a text begins with."""
    return 2 if text[:2] in _LONG_SURNAMES else int(text[:1] in kinds.SURNAMES and text != "")


def tokens_of(text: str, persons: frozenset[str] = frozenset()) -> list[Token]:
    """The tokens of a text whose characters are folded; `persons`: the Chinese names that are tokens of their own.

    >>> [token.key for token in tokens_of("The ovens are heated to 1,200 degrees.")]
    ['the', 'oven', 'are', 'heat', 'to', '#1200', 'degre']
    >>> [token.key for token in tokens_of("裁判长为韩牧之", persons_of("裁判长是韩牧之。", "裁判长为韩牧之。"))][-1]
    '韩牧之'
    """
    numbers = {quantity.start: quantity for quantity in quantities(text)}
    found: list[Token] = []
    clause = sentence = place = 0
    opens = True  # a capital tells nothing here
    while place < len(text):
        token: Token | None = None
        if quantity := numbers.get(place):
            token, end = _number(text, quantity), quantity.end
        elif not (match := _PIECE.match(text, place)):
            end = place + 1
        elif match["strong"]:
            clause, sentence, opens, end = clause + 1, sentence + 1, True, match.end()
        elif match["soft"]:
            clause, end = clause + 1, match.end()
        elif match["money"]:
            token, end = _english(_MONEY[match[0]]), match.end()
        elif match["dense"]:
            if name := next((match[0][:size] for size in (4, 3, 2) if match[0][:size] in persons), None):
                token = Token(name, name, "name")
            else:
                limit = min((start for start in numbers if start > place), default=len(text))
                token = _dense(_longest_known(match[0][: min(limit - place, _LONGEST_KNOWN)]))
            end = place + len(token.key)
            clause += token.key in _TURNS
        else:
            joined = _LONGER_ENGLISH.match(text, place)
            word, end = ("_".join(joined[0].lower().split()), joined.end()) if joined else (match[0], match.end())
            # A plan, but plan A.
            letter = len(word) == 1 and word.isupper() and not _AN_ARTICLE.match(text, place)
            token = _english(word, inside=not opens, letter=letter)
            clause += word.lower() in _TURNS
        if token:
            found.append(replace(token, clause=clause, sentence=sentence))
            opens = False
        place = end
    return found


def _number(text: str, quantity: Quantity) -> Token:
    # A spelled one is an article, or part of a word, too often to be asked for.
    weak = quantity.spelled and quantity.value in (0, 1)
    return Token(f"#{quantity.value:g}", text[quantity.start : quantity.end], "number", weak=weak)


@functools.lru_cache(maxsize=1 << 14)
def _english(word: str, *, inside: bool = False, letter: bool = False) -> Token:
    """`inside`: not the first word of a sentence; `letter`: a capital that is a name."""
    known = _known()
    bare = re.sub(r"['’](?:s|re|ve|ll|d|m)?$", "", word)
    lower = bare.lower().replace("’", "'")
    base = lower if "_" in lower else stem(lower)
    negates = lower.replace("'", "") in known.negations or lower.endswith("n't")
    common = lower in STOP_WORDS or lower in _GENERIC
    of_kinds = frozenset[int]() if common and bare.islower() else known.kinds.get(base, frozenset())  # may is no month, May is
    capital = inside and bare[0].isupper()
    is_name = letter or (capital and not of_kinds and lower not in STOP_WORDS and lower not in _TITLES)
    is_name = is_name or any(char.isdigit() for char in bare)
    title = lower in _TITLES and bare[0].isupper()
    weak = negates or (not letter and not (capital and of_kinds) and (common or title or "_" in lower))
    return Token(
        base,
        word,
        "name" if is_name else "word",
        same=frozenset() if capital and of_kinds else known.same.get(base, frozenset()),
        kinds=of_kinds,
        sides={} if capital and of_kinds else known.sides.get(base, {}),
        contraries=known.contraries.get(base, {}),
        negates=negates or base in _REFUSING,
        excuses=lower in known.excuses or (lower.startswith("un") and len(lower) > 5),
        weak=weak,
    )


@functools.lru_cache(maxsize=1 << 14)
def _dense(word: str) -> Token:
    known = _known()
    prefixed = word[0] in "不没无未勿别" and word not in known.comparing
    negates = (prefixed or word in known.negations) and word not in known.innocent
    return Token(
        word,
        word,
        "dense",
        same=known.same.get(word, frozenset()),
        kinds=known.kinds.get(word, frozenset()),
        sides=known.sides.get(word, {}),
        contraries=known.contraries.get(word, {}),
        negates=negates,
        excuses=word in known.excuses,
        weak=negates or word in known.weak,
    )


def _longest_known(text: str) -> str:
    """The longest word of the lists that `text` begins with, else its first character."""
    return next((text[:size] for size in range(len(text), 1, -1) if text[:size] in _known().words), text[:1])


@dataclass(frozen=True)
class _Lists:
    same: Mapping[str, frozenset[int]]
    kinds: Mapping[str, frozenset[int]]
    sides: Mapping[str, Mapping[int, int]]
    contraries: Mapping[str, Mapping[int, int]]
    words: frozenset[str]
    negations: frozenset[str]
    innocent: frozenset[str]
    excuses: frozenset[str]
    comparing: frozenset[str]
    weak: frozenset[str]
    units: Mapping[str, tuple[int, float]]


_GENERIC = frozenset(kinds.GENERIC_ENGLISH.split())
_REFUSING = frozenset(stem(word) for word in kinds.REFUSING_ENGLISH.split())
_JOINED = sorted(
    {word for lists in (kinds.SAME_ENGLISH, kinds.OPPOSITES_ENGLISH) for word in lists.split() if "_" in word}, key=len, reverse=True
)
_LONGER_ENGLISH = re.compile("(?:" + "|".join(word.replace("_", r"\s+") for word in _JOINED) + r")\b", re.IGNORECASE)


@functools.cache
def _known() -> _Lists:
    same: dict[str, set[int]] = {}
    sides = _sides(kinds.OPPOSITES_ENGLISH, kinds.OPPOSITES_CHINESE)
    of_a_kind: dict[str, set[int]] = {}
    label = 0
    for english, lists in ((True, kinds.SAME_ENGLISH), (False, kinds.SAME_CHINESE)):
        for line in lists.strip().splitlines():
            label += 1
            for word in line.split():
                same.setdefault(_base(word, english=english), set()).add(label)
    for english, lists in ((True, kinds.KINDS_ENGLISH), (False, kinds.KINDS_CHINESE)):
        for line in lists.strip().splitlines():
            label += 1
            for word in line.split():
                of_a_kind.setdefault(_base(word, english=english), set()).add(label)
    units = {
        _base(name, english=name.isascii()): (line, float(worth))
        for line, text in enumerate(kinds.UNITS.strip().splitlines())
        for name, worth in zip(text.split()[::2], text.split()[1::2], strict=True)
    }
    chinese = [kinds.SAME_CHINESE, kinds.KINDS_CHINESE, kinds.OPPOSITES_CHINESE, kinds.NEGATIONS_CHINESE, kinds.EXCUSES_CHINESE]
    chinese.append(CONTRARIES_CHINESE)
    words = (
        {name for name in units if not name.isascii()}
        | {word for lists in chinese for word in lists.replace("|", " ").split()}
        | set(kinds.NO_NEGATIONS_CHINESE.split())
    )
    return _Lists(
        {word: frozenset(labels) for word, labels in same.items()},
        {word: frozenset(labels) for word, labels in of_a_kind.items()},
        sides,
        _sides(CONTRARIES_ENGLISH, CONTRARIES_CHINESE),
        frozenset(words),
        frozenset([*kinds.NEGATIONS_CHINESE.split(), *kinds.NEGATIONS_ENGLISH.split()]),
        frozenset(kinds.NO_NEGATIONS_CHINESE.split()),
        frozenset([*kinds.EXCUSES_CHINESE.split(), *kinds.EXCUSES_ENGLISH.split()]),
        frozenset(
            word for line in kinds.SAME_CHINESE.splitlines() if line.startswith(("不超过", "至少", "少于", "超过")) for word in line.split()
        ),
        frozenset(kinds.WEAK_CHINESE),
        units,
    )


def _sides(english: str, chinese: str) -> dict[str, dict[int, int]]:
    """Of each word, which side it is on in which pair."""
    found: dict[str, dict[int, int]] = {}
    lines = [(line, line.isascii()) for lists in (english, chinese) for line in lists.strip().splitlines()]
    for label, (line, is_english) in enumerate(lines):
        for side, part in enumerate(line.split("|")):
            for word in part.split():
                found.setdefault(_base(word, english=is_english), {})[label] = side
    return found


def _base(word: str, *, english: bool) -> str:
    return word if not english or "_" in word else stem(word)
