"""A tokenizer out of one file, whoever made it.

Takes: the path of a ``tokenizer.json``, a SentencePiece ``.model`` or a file of tiktoken's ranks.
Gives: a `Tokenizer` with the ids that the file means.
Does not know: models, folders, names that are no paths.
"""

from __future__ import annotations

import re
from pathlib import Path

from llamarium.ground.errors import BadFileError
from llamarium.tokens import sentencepiece_model, tiktoken_ranks
from llamarium.tokens.tokenizer import CONFIG, Tokenizer

LARGEST = 1 << 28  # bytes
_A_RANK = re.compile(rb"[A-Za-z0-9+/]+=* \d+\s")


def may_be_tokenizer(path: Path) -> bool:
    """Whether a file begins as one of the three does."""
    with path.open("rb") as file:
        start = file.read(4096)
    return start.lstrip()[:1] == b"{" or start[:1] == b"\n" or bool(_A_RANK.match(start))  # a SentencePiece model's first field is a piece


def read_tokenizer_file(path: Path) -> Tokenizer:
    """The tokenizer in the file `path`; what it is shows in its first bytes, because LLaMA 2's and LLaMA 3's have one name.

    `BadFileError` if it is none of the three.
    """
    if (size := path.stat().st_size) > LARGEST:
        raise BadFileError(path, f"has {size:,} bytes, more than any tokenizer.")
    data = path.read_bytes()
    if data.lstrip()[:1] == b"{":
        try:
            definition = data.decode("utf-8")
        except UnicodeDecodeError as error:
            raise BadFileError(path, "is not UTF-8 text.", offset=error.start) from None
        config = Tokenizer.load(path.parent).config if path.name == "tokenizer.json" and (path.parent / CONFIG).is_file() else {}
        return Tokenizer(definition, config, name=str(path))
    form = tiktoken_ranks if _A_RANK.match(data) else sentencepiece_model
    definition, config = form.tokenizer_files(data, name=str(path))
    return Tokenizer(definition, config, name=str(path))
