"""A file of tiktoken's ranks in Hugging Face's form.

Takes: the bytes of a file with one token a line: base64, a space, its rank.
Gives: the content of a ``tokenizer.json``, and that of a ``tokenizer_config.json``.
Does not know: the package tiktoken. How text is split and which special tokens there are, such files do not say: both go by the
    number of tokens, which tells the vocabularies in use apart.
"""

from __future__ import annotations

import base64
import binascii
from typing import Any

from llamarium.ground.errors import BadFileError, UsageError
from llamarium.tokens import gguf_vocabulary
from llamarium.tokens.gguf_vocabulary import CONTROL, NORMAL
from llamarium.tokens.tokenizer import byte_level_alphabet

MAX_BYTES = 1024  # of one token: bounds the search for merges

_LLAMA3 = (
    *("begin_of_text", "end_of_text", "reserved_special_token_0", "reserved_special_token_1", "finetune_right_pad_id"),
    *("step_id", "start_header_id", "end_header_id", "eom_id", "eot_id", "python_tag"),
    *(f"reserved_special_token_{number}" for number in range(2, 247)),
)
_GPT = ("endoftext",)
# Number of ranks -> how text is split (`gguf_vocabulary.SPLITS`), and the special tokens, whose ids follow the ranks.
KNOWN: dict[int, tuple[str, tuple[str, ...]]] = {
    50_256: ("gpt-2", _GPT),
    100_256: ("chatglm-bpe", _GPT),  # GPT-4
    128_000: ("llama-bpe", _LLAMA3),
    199_998: ("gpt-4o", _GPT),
    200_000: ("llama4", ("begin_of_text", "end_of_text")),
}


def tokenizer_files(data: bytes, *, name: str) -> tuple[str, dict[str, Any]]:
    """What ``tokenizer.json`` and ``tokenizer_config.json`` hold for the ranks in `data`, which errors call `name`.

    `BadFileError` for what is no such file, `UsageError` for a number of ranks that no known vocabulary has.
    """
    tokens = _read(data, name)
    if len(tokens) not in KNOWN:
        known = ", ".join(f"{count:,}" for count in KNOWN)
        raise UsageError(
            f"{name} has {len(tokens):,} ranks, and such a file does not say how text is split.",
            hint=f"Known are the vocabularies of {known} ranks; any other must come as a tokenizer.json.",
        )
    split, specials = KNOWN[len(tokens)]
    names = [f"<|{special}|>" for special in specials]
    characters = {byte: char for char, byte in byte_level_alphabet().items()}
    pieces = ["".join(map(characters.__getitem__, token)) for token in tokens]
    metadata: dict[str, Any] = {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": split,
        "tokenizer.ggml.tokens": [*pieces, *names],
        "tokenizer.ggml.token_type": [NORMAL] * len(pieces) + [CONTROL] * len(names),
        "tokenizer.ggml.merges": _merges(pieces),
        "tokenizer.ggml.bos_token_id": len(pieces),
        "tokenizer.ggml.eos_token_id": len(pieces) + (len(names) > 1),
        "tokenizer.ggml.add_bos_token": len(names) > 1,
    }
    return gguf_vocabulary.tokenizer_json(metadata, name=name), gguf_vocabulary.tokenizer_config(metadata, name=name)


def _merges(pieces: list[str]) -> list[str]:
    """tiktoken joins the two neighbours whose joint token has the lowest rank: so every way to make a token of two is a merge."""
    ranks = {piece: rank for rank, piece in enumerate(pieces)}
    merges = []
    for piece in pieces:
        ways = [(piece[:cut], piece[cut:]) for cut in range(1, len(piece)) if piece[:cut] in ranks and piece[cut:] in ranks]
        merges += [f"{left} {right}" for left, right in sorted(ways, key=lambda way: (ranks[way[0]], ranks[way[1]]))]
    return merges


def _read(data: bytes, name: str) -> list[bytes]:
    """Tokens by rank."""
    tokens: dict[int, bytes] = {}
    num_lines = 0
    for number, line in enumerate(data.splitlines(), 1):
        if not line:
            continue
        try:
            text, rank = line.split()
            token = base64.b64decode(text, validate=True)
            tokens[int(rank)] = token
        except (ValueError, binascii.Error):
            raise BadFileError(name, f"has a line {number} that is not a token and its rank.") from None
        num_lines += 1
        if not 0 < len(token) <= MAX_BYTES:
            raise BadFileError(name, f"has a token of {len(token):,} bytes in line {number}.")
    if not tokens or sorted(tokens) != list(range(num_lines)) or len(set(tokens.values())) != num_lines:
        raise BadFileError(name, "does not give each rank from 0 on to one token.")
    return [tokens[rank] for rank in range(len(tokens))]
