"""The vocabulary of a GGUF file in Hugging Face's form.

Takes: GGUF metadata (a mapping) and the name that errors call it by.
Gives: the content of a ``tokenizer.json``, and that of a ``tokenizer_config.json``.
Does not know: files; whether the `tokenizers` library likes the result (its errors are `Tokenizer`'s to catch).

Meaning of the keys: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md; where that is silent, what llama.cpp does.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from llamarium.ground.errors import BadFileError, UsageError

# Types of tokens.
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6

SPACE = "\u2581"  # how SentencePiece writes a space
MAX_PIECE, MAX_CHARACTERS = 256, 1 << 23  # of one SentencePiece token that is not special, and of all: bounds the search for merges

# --- How byte-level vocabularies split text, by tokenizer.ggml.pre: what the models' own tokenizer.json says ---

_GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
_GPT4 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_UPPER, _LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_CASED = rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}*{_LOWER}+ENDING|[^\r\n\p{{L}}\p{{N}}]?{_UPPER}+{_LOWER}*ENDING"
_SIGNS = r" ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"


@dataclass(frozen=True)
class _Split:
    """Each pattern cuts the pieces that the one before it left; what it does not match stays whole, too."""

    patterns: tuple[str, ...]
    ignore_merges: bool = False  # a piece that is a token is that token, whatever the merges say
    add_begin: bool = False  # where the file does not say
    normalizer: str | None = None


_LLAMA3 = _Split((_GPT4,), ignore_merges=True, add_begin=True)
_QWEN2 = _Split((_GPT4.replace("{1,3}", ""),), normalizer="NFC")
_SMOLLM = _Split((r"\p{N}", _GPT2))
_GPT4O = _Split((_CASED.replace("ENDING", "(?i:'s|'t|'re|'ve|'m|'ll|'d)?") + rf"|\p{{N}}{{1,3}}|{_SIGNS}",))
_TEKKEN = _Split((_CASED.replace("ENDING", "") + rf"|\p{{N}}|{_SIGNS}",), ignore_merges=True, add_begin=True)
SPLITS = {
    # llama.cpp's own, for files that do not say; no model was trained with it.
    "default": _Split((r"[\p{P}\$\+<=>\^~\|]+", _GPT2, r"\p{N}+", "[0-9][0-9][0-9]")),
    "gpt-2": _Split((_GPT2,)),
    "llama-bpe": _LLAMA3,
    "llama3": _LLAMA3,
    "llama-v3": _LLAMA3,
    "qwen2": _QWEN2,
    "deepseek-r1-qwen": _QWEN2,
    "smollm": _SMOLLM,
    "starcoder": _SMOLLM,
    "chatglm-bpe": _Split((_GPT4,)),
    "glm4": _Split((_GPT4,)),
    "gpt-4o": _GPT4O,
    "llama4": _GPT4O,
    "tekken": _TEKKEN,
}


def tokenizer_json(metadata: Mapping[str, Any], *, name: str = "GGUF") -> str:
    """The content of a ``tokenizer.json`` that gives the ids which the GGUF's vocabulary means.

    `UsageError` for a kind of vocabulary that is not supported, `BadFileError` (of `name`) for one that is malformed.
    """
    vocabulary = _read(metadata, name)
    parts = _byte_level(vocabulary) if vocabulary.kind == "gpt2" else _sentencepiece(vocabulary)
    definition = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {
                "id": number,
                "content": token,
                "single_word": False,
                "lstrip": False,
                "rstrip": False,
                "normalized": False,
                "special": kind != USER_DEFINED,
            }
            for number, (token, kind) in enumerate(zip(vocabulary.tokens, vocabulary.types, strict=True))
            if kind in (UNKNOWN, CONTROL, USER_DEFINED)
        ],
        **parts,
        "post_processor": _around(vocabulary),
    }
    return json.dumps(definition, ensure_ascii=False)


def tokenizer_config(metadata: Mapping[str, Any], *, name: str = "GGUF") -> dict[str, Any]:
    """The content of a ``tokenizer_config.json``: special tokens by role, what to add around a text, the chat template.

    Raises like `tokenizer_json`.
    """
    vocabulary = _read(metadata, name)
    roles = {
        "bos_token": vocabulary.begin,
        "eos_token": vocabulary.end,
        "unk_token": vocabulary.special("unknown"),
        "pad_token": vocabulary.special("padding"),
    }
    config: dict[str, Any] = {
        **{role: vocabulary.tokens[number] for role, number in roles.items() if number is not None},
        "add_bos_token": vocabulary.add_begin,
        "add_eos_token": vocabulary.add_end,
        "clean_up_tokenization_spaces": False,
    }
    template = metadata.get("tokenizer.chat_template")
    if template is not None:
        if not isinstance(template, str):
            raise BadFileError(name, "has a chat template that is not text.")
        config["chat_template"] = template
    return config


# --- Reading ---


@dataclass(frozen=True)
class _Vocabulary:
    name: str
    metadata: Mapping[str, Any]
    kind: str
    tokens: list[str]
    types: list[int]

    def fail(self, reason: str) -> BadFileError:
        return BadFileError(self.name, reason)

    def flag(self, key: str, default: bool) -> bool:
        value = self.metadata.get(f"tokenizer.ggml.{key}", default)
        if not isinstance(value, bool):
            raise self.fail(f"has {key} = {value!r:.40}, which is neither true nor false.")
        return value

    def special(self, role: str, default: int | None = None) -> int | None:
        """Id of the token of this role, if there is one."""
        number = self.metadata.get(f"tokenizer.ggml.{role}_token_id")
        if number is None:
            return default if default is not None and default < len(self.tokens) else None
        if type(number) is not int or number < 0:
            raise self.fail(f"has {role}_token_id = {number!r:.40}, which is no id.")
        if number < len(self.tokens):
            return number
        if role == "padding":  # files say "none" by an id beyond the vocabulary; nothing is ever padded here
            return None
        raise self.fail(f"has {role}_token_id = {number:,}; its vocabulary has {len(self.tokens):,} tokens.")

    @property
    def split(self) -> _Split:
        known = self.metadata.get("tokenizer.ggml.pre", "default")
        if not isinstance(known, str) or known not in SPLITS:
            raise UsageError(
                f"{self.name} splits text the way {known!r:.80}, which is not supported.", hint=f"Supported: {', '.join(SPLITS)}."
            )
        return SPLITS[known]

    # SentencePiece's own ids, which its files need not repeat.
    @property
    def begin(self) -> int | None:
        return self.special("bos", 1 if self.kind == "llama" else None)

    @property
    def end(self) -> int | None:
        return self.special("eos", 2 if self.kind == "llama" else None)

    @property
    def add_begin(self) -> bool:
        return self.flag("add_bos_token", self.kind == "llama" or self.split.add_begin) and self.begin is not None

    @property
    def add_end(self) -> bool:
        return self.flag("add_eos_token", False) and self.end is not None


def _read(metadata: Mapping[str, Any], name: str) -> _Vocabulary:
    kind = metadata.get("tokenizer.ggml.model")
    if not isinstance(kind, str) or kind not in ("gpt2", "llama"):
        raise UsageError(f"{name} has a vocabulary of the kind {kind!r:.80}, which is not supported.", hint="Supported: gpt2, llama.")
    # Real files have empty tokens; as llama.cpp does, they get a name that nothing else has.
    tokens = [token or f"[EMPTY_{number}]" for number, token in enumerate(_texts(metadata, "tokens", name))]
    if not tokens:
        raise BadFileError(name, "has a vocabulary without tokens.")
    token, times = Counter(tokens).most_common(1)[0]
    if times > 1:
        raise BadFileError(name, f"has the token {token!r:.80} {times} times.")
    types = _numbers(metadata, "token_type", len(tokens), int, name) or [NORMAL] * len(tokens)
    return _Vocabulary(name, metadata, kind, tokens, types)


def _texts(metadata: Mapping[str, Any], key: str, name: str) -> list[str]:
    values = metadata.get(f"tokenizer.ggml.{key}")
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise BadFileError(name, f"has no tokenizer.ggml.{key}, or they are not texts.")
    try:
        "\n".join(values).encode()
    except UnicodeEncodeError:
        raise BadFileError(name, f"has tokenizer.ggml.{key} that are not valid Unicode.") from None
    return values


def _numbers(metadata: Mapping[str, Any], key: str, count: int, kind: type, name: str) -> list[Any]:
    """`count` numbers of the `kind` int or float; an empty list where the file has none."""
    values: Any = metadata.get(f"tokenizer.ggml.{key}")
    if values is None:
        return []
    values = values.tolist() if hasattr(values, "tolist") else values
    if not isinstance(values, Sequence) or not all(type(value) in (kind, int) for value in values):
        raise BadFileError(name, f"has tokenizer.ggml.{key} that are not numbers.")
    if len(values) != count:
        raise BadFileError(name, f"has {len(values):,} tokenizer.ggml.{key} for {count:,} tokens.")
    return list(values)


# --- Byte-level BPE ---


def _byte_level(vocabulary: _Vocabulary) -> dict[str, Any]:
    ids = {token: number for number, token in enumerate(vocabulary.tokens)}
    merges = []
    for merge in _texts(vocabulary.metadata, "merges", vocabulary.name):
        space = merge.find(" ", 1)
        left, right = merge[:space], merge[space + 1 :]
        if space < 0 or not (left in ids and right in ids and left + right in ids):
            raise vocabulary.fail(f"has the merge {merge!r:.80}, whose parts or whole are no tokens.")
        merges.append((left, right))
    split = vocabulary.split
    cuts = [{"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False} for pattern in split.patterns]
    to_bytes = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    return {
        "normalizer": {"type": split.normalizer} if split.normalizer else None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [*cuts, to_bytes]},
        "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
        "model": _bpe(ids, merges, ignore_merges=split.ignore_merges),
    }


# --- SentencePiece BPE ---


def _sentencepiece(vocabulary: _Vocabulary) -> dict[str, Any]:
    ids = {token: number for number, token in enumerate(vocabulary.tokens)}
    unknown = vocabulary.special("unknown", 0)
    prefix = vocabulary.flag("add_space_prefix", True)
    to_marks = {"type": "Replace", "pattern": {"String": " "}, "content": SPACE}
    to_spaces = {"type": "Replace", "pattern": {"String": SPACE}, "content": " "}
    strip = [{"type": "Strip", "content": " ", "start": 1, "stop": 0}] if prefix else []
    return {
        "normalizer": {"type": "Sequence", "normalizers": [*([{"type": "Prepend", "prepend": SPACE}] if prefix else []), to_marks]},
        "pre_tokenizer": None,
        "decoder": {"type": "Sequence", "decoders": [to_spaces, {"type": "ByteFallback"}, {"type": "Fuse"}, *strip]},
        "model": _bpe(
            ids,
            _merges_of_scores(vocabulary),
            byte_fallback=BYTE in vocabulary.types,
            fuse_unk=True,
            unk_token=None if unknown is None else vocabulary.tokens[unknown],
        ),
    }


def _merges_of_scores(vocabulary: _Vocabulary) -> list[tuple[str, str]]:
    """The merges that SentencePiece's scores mean (Kudo & Richardson 2018; `bpe_model.cc`).

    SentencePiece joins, again and again, the two neighbours whose joint piece has the highest score, the leftmost first. So every way
    to make a piece out of two others is a merge, and its rank is the piece's score. Special, user-defined and byte tokens are not made.
    """
    tokens, types = vocabulary.tokens, vocabulary.types
    scores = _numbers(vocabulary.metadata, "scores", len(tokens), float, vocabulary.name)
    if not scores or not all(map(math.isfinite, scores)):
        raise vocabulary.fail("has a vocabulary without scores, or with scores that are not finite.")
    pieces = {token: number for number, token in enumerate(tokens) if types[number] in (NORMAL, UNUSED)}
    if max(map(len, pieces), default=0) > MAX_PIECE or sum(map(len, pieces)) > MAX_CHARACTERS:
        raise vocabulary.fail(f"has tokens of more than {MAX_PIECE} characters, or too many of them.")

    def ways(piece: str) -> Iterator[tuple[str, str]]:
        for place in range(1, len(piece)):
            left, right = piece[:place], piece[place:]
            if left in pieces and right in pieces:
                yield left, right

    ranked = sorted(pieces, key=lambda piece: (-scores[pieces[piece]], pieces[piece]))
    return [way for piece in ranked for way in ways(piece)]


# --- Parts of a tokenizer.json ---


def _bpe(ids: dict[str, int], merges: list[tuple[str, str]], **options: Any) -> dict[str, Any]:
    defaults = {"dropout": None, "unk_token": None, "continuing_subword_prefix": None, "end_of_word_suffix": None}
    switches = {"fuse_unk": False, "byte_fallback": False, "ignore_merges": False}
    return {"type": "BPE", **defaults, **switches, **options, "vocab": ids, "merges": merges}


def _around(vocabulary: _Vocabulary) -> dict[str, Any] | None:
    """The post-processor that puts the first and the last token around a text, if any is wanted."""
    begin = [vocabulary.begin] if vocabulary.begin is not None and vocabulary.add_begin else []
    end = [vocabulary.end] if vocabulary.end is not None and vocabulary.add_end else []
    if not begin and not end:
        return None
    texts = {number: vocabulary.tokens[number] for number in (*begin, *end)}

    def around(sequence: str, place: int) -> list[dict[str, Any]]:
        before, after = ([{"SpecialToken": {"id": texts[number], "type_id": place}} for number in numbers] for numbers in (begin, end))
        return [*before, {"Sequence": {"id": sequence, "type_id": place}}, *after]

    return {
        "type": "TemplateProcessing",
        "single": around("A", 0),
        "pair": [*around("A", 0), *around("B", 1)],
        "special_tokens": {text: {"id": text, "ids": [number], "tokens": [text]} for number, text in texts.items()},
    }
