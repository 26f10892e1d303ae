"""Text out of ids that come one by one.

Takes: ids. Gives: the text they complete, as soon as it is certain.
Does not know: who makes the ids.
"""

from __future__ import annotations

import codecs

from llamarium.tokens.tokenizer import Tokenizer


class TextStream:
    """Feeds ids to a tokenizer and gives whole characters back: a character may need several tokens."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._characters = codecs.getincrementaldecoder("utf-8")("replace")

    def feed(self, number: int) -> str:
        """The characters that this id completes. Special tokens say nothing."""
        return self._characters.decode(self._tokenizer.decode_bytes([number], skip_special=True))

    def end(self) -> str:
        """What is left at the end: U+FFFD for a character that was never completed."""
        return self._characters.decode(b"", final=True)
