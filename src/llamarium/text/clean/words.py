"""Words: for models that count words, spaces between Chinese ones and no stop words.

Takes: a text.
Gives: the text with Chinese words apart (rjieba), or without the words that say least.
Does not know: n-grams. Text for other models should keep all of its words, and no spaces that nobody wrote.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable

from llamarium.ground.errors import MissingExtraError
from llamarium.text.clean.lines import whitespace

_STOP_WORDS = """
a about above after again all also am an and any are as at be because been before being between both but by can could did do does doing
down during each few for from further had has have having he her here hers herself him himself his how i if in into is it its itself
just me more most my myself no nor not now of off on once only or other our ours out over own same she should so some such than that the
their theirs them themselves then there these they this those through to too under until up very was we were what when where which while
who whom why will with would you your yours yourself
"""
_STOP_WORDS_CHINESE = """
的 了 和 是 在 也 就 都 而 及 与 着 或 把 被 让 给 但 但是 因为 所以 如果 而且 并且 并 还 又 很 更 最 这 那 这个 那个 这些 那些 之 其 以
于 对 从 到 为 将 由 向 我 你 他 她 它 我们 你们 他们 她们 它们 自己 什么 怎么 吗 呢 吧 啊 呀 一个 一些 一种 上 下 中 里
"""
STOP_WORDS = frozenset(_STOP_WORDS.split())
STOP_WORDS_CHINESE = frozenset(_STOP_WORDS_CHINESE.split())

_HAN_TEXT = re.compile("[\u3400-\u4dbf\u4e00-\u9fff\U00020000-\U0002ebe0]+")
_WORD = re.compile(r"([^\W_]+(?:['’][^\W_]+)*)[ \t]*")


def segment(text: str) -> str:
    r"""Put spaces around the words of Chinese runs (rjieba, with its model for unknown words); the rest stays.

    >>> segment("羊驼在山上吃草。")
    '羊驼 在 山上 吃 草。'
    >>> segment("Grass for llamas.\n用LLaMA写诗")
    'Grass for llamas.\n用 LLaMA 写诗'
    """
    if text.isascii():
        return text
    cut = _cutter()

    def apart(found: re.Match[str]) -> str:
        before = " " if found.start() and _joins(text[found.start() - 1]) else ""
        after = " " if found.end() < len(text) and _joins(text[found.end()]) else ""
        return before + " ".join(cut(found[0])) + after

    return _HAN_TEXT.sub(apart, text)


def _joins(character: str) -> bool:
    return character.isalnum()


@functools.cache
def _cutter() -> Callable[[str], list[str]]:
    try:
        import rjieba
    except ImportError:
        raise MissingExtraError("Segmenting Chinese", extra="text", package="rjieba") from None
    return lambda run: list(rjieba.cut(run))


def stop_words(text: str) -> str | None:
    r"""Take out English stop words, and Chinese ones where they stand apart (`segment`); None where nothing else is there.

    >>> stop_words("The llama is on the farm."), stop_words("羊驼 在 山上 吃 草 。")
    ('llama farm.', '羊驼 山上 吃 草 。')
    >>> stop_words("To be or not to be"), stop_words("在 了")
    (None, None)
    """

    def kept(found: re.Match[str]) -> str:
        return "" if found[1] in STOP_WORDS_CHINESE or found[1].lower() in STOP_WORDS else found[0]

    left = _WORD.sub(kept, text)
    if left == text:
        return text
    left = whitespace(left)
    return left if _WORD.search(left) else None
