"""Chinese names that a sentence brings in and its passage does not have.

Takes: a sentence and a passage, their characters folded.
Gives: names of persons, places and organisations that are not there, but for one character at an end.
Does not know: grammar; who is meant.

Which words are names, rjieba tells, which the extra `text` brings. Where it is not installed, none are found.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator

Tagger = Callable[[str], list[tuple[str, str]]]

_DENSE = re.compile("[\u3400-\u9fff]{2,}")
_NAMES = ("nr", "ns", "nt", "nz")  # persons, places, organisations, others
_NO_NAMES = frozenset(["太阳", "东西", "哥哥", "弟弟", "姐姐", "妹妹", "换班"])  # tagged as such


def new_names(sentence: str, passage: str) -> Iterator[str]:
    """The names of `sentence` that `passage` does not have.

    >>> list(new_names("公主名叫安妮，住在花园里。", "凯瑟琳公主住在城里。"))
    ['安妮']
    """
    if (tag := _tagger()) is None:
        return
    for run in _DENSE.findall(sentence):
        for word, kind in tag(run):
            if kind[:2] not in _NAMES or len(word) < 2 or word in _NO_NAMES or all(char in passage for char in word):
                continue
            if word[:-1] not in passage and word[1:] not in passage:  # else it was cut a character too long: 宝塘出 of 宝塘出产
                yield word


@functools.cache
def _tagger() -> Tagger | None:
    try:
        import rjieba
    except ImportError:
        return None
    return lambda text: list(rjieba.tag(text))
