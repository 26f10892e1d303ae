"""A long text becomes several documents, so that a book can be both trained on and validated.

Takes: a text without records of its own (.txt, .md, the documentation in a .py file).
Gives: the same text in parts of like size; joined they are the text again.
Does not know: chapters, or who wrote it. A record of a container is a document already and is never cut.
"""

from __future__ import annotations

LONGEST = 10_000
_BORDERS = ("\n\n", "\n", "。", ". ", " ")


def cut(text: str, *, longest: int = LONGEST) -> list[str]:
    r"""Parts of about `longest` code points or less: ceil(length / longest) of them.

    The borders are those of equal parts, each moved back, by at most half a part, to just behind the nearest
    blank line; where there is none to a line's end, then to a sentence's end, then to a space, else not at all.

    >>> cut("To be.\n\nOr not.\n\nThat is it.", longest=16)
    ['To be.\n\n', 'Or not.\n\nThat is it.']
    >>> cut("short")
    ['short']
    """
    num_parts = -(-len(text) // longest)
    if num_parts < 2:
        return [text]
    size = len(text) // num_parts
    borders = [_border(text, len(text) * part // num_parts, reach=size // 2) for part in range(1, num_parts)]
    return [text[start:end] for start, end in zip([0, *borders], [*borders, len(text)], strict=True)]


def _border(text: str, position: int, *, reach: int) -> int:
    for border in _BORDERS:
        found = text.rfind(border, position - reach, position)
        if found >= 0:
            return found + len(border)
    return position
