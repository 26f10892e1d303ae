"""Script: traditional Chinese characters to simplified ones.

Takes: a text.
Gives: the text with OpenCC's ``t2s`` table applied, phrases first.
Does not know: regional words: 軟體 becomes 软体, not 软件.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

from llamarium.ground.errors import MissingExtraError


def simplified(text: str) -> str:
    """Traditional characters become simplified ones; 乾 stays where it is read qián.

    >>> simplified("漢語說明：乾坤、乾淨"), simplified("Grass for llamas")
    ('汉语说明：乾坤、干净', 'Grass for llamas')
    """
    return text if text.isascii() else _converter()(text)


@functools.cache
def _converter() -> Callable[[str], str]:
    try:
        import opencc
    except ImportError:
        raise MissingExtraError("Simplifying Chinese", extra="text", package="opencc") from None
    table = opencc.OpenCC("t2s")
    return lambda text: str(table.convert(text))
