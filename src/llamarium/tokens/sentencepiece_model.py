"""A SentencePiece ``.model`` file in Hugging Face's form.

Takes: the bytes of a ``.model`` file (a protocol buffer: pieces with scores, and how text is normalised).
Gives: the content of a ``tokenizer.json``, and that of a ``tokenizer_config.json``.
Does not know: the package sentencepiece; whether the `tokenizers` library likes the result (its errors are `Tokenizer`'s to catch).

Numbers of fields: https://github.com/google/sentencepiece/blob/master/src/sentencepiece_model.proto
"""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from llamarium.ground.errors import BadFileError, UsageError
from llamarium.tokens import gguf_vocabulary
from llamarium.tokens.gguf_vocabulary import BYTE, CONTROL, SPACE, UNKNOWN, USER_DEFINED

UNIGRAM, BPE = 1, 2  # kinds of model; the other two, whole words and characters, no LLaMA has
MAX_PIECES = 1 << 22
_PREFIX = {"type": "Prepend", "prepend": SPACE}
_FEWER_SPACES = {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": " "}
_NO_OUTER_SPACES = {"type": "Replace", "pattern": {"Regex": r"\A +| +\z"}, "content": ""}  # only spaces: other white space stays


def tokenizer_files(data: bytes, *, name: str) -> tuple[str, dict[str, Any]]:
    """What ``tokenizer.json`` and ``tokenizer_config.json`` hold for the model file `data`, which errors call `name`.

    `BadFileError` for what is no such file, `UsageError` for a kind of model that is not supported.
    """
    model = _read(data, name)
    metadata = model.metadata()
    if model.kind == BPE:
        definition = json.loads(gguf_vocabulary.tokenizer_json(metadata, name=name))
        # The prefix comes first there: it has to wait until extra spaces are gone.
        steps = [step for step in definition["normalizer"]["normalizers"] if step != _PREFIX]
        prefix = [_PREFIX] if model.prefix else []
        definition["normalizer"] = {"type": "Sequence", "normalizers": [*model.normalizers(), *prefix, *steps]}
    else:
        definition = _unigram(model)
    return json.dumps(definition, ensure_ascii=False), gguf_vocabulary.tokenizer_config(metadata, name=name)


@dataclass(frozen=True)
class _Model:
    tokens: list[str]
    scores: list[float]
    types: list[int]
    kind: int
    special: Mapping[str, int]  # role -> id
    charsmap: bytes  # compiled rules that replace characters
    prefix: bool
    fewer_spaces: bool

    def metadata(self) -> dict[str, Any]:
        """The same under the names that GGUF has for it."""
        return {
            "tokenizer.ggml.model": "llama",
            "tokenizer.ggml.tokens": self.tokens,
            "tokenizer.ggml.scores": self.scores,
            "tokenizer.ggml.token_type": self.types,
            "tokenizer.ggml.add_space_prefix": self.prefix,
            **{f"tokenizer.ggml.{role}_token_id": number for role, number in self.special.items()},
        }

    def normalizers(self) -> list[dict[str, Any]]:
        """What happens to a text before spaces become marks."""
        charsmap = {"type": "Precompiled", "precompiled_charsmap": base64.b64encode(self.charsmap).decode()}
        spaces: list[dict[str, Any]] = [_NO_OUTER_SPACES, _FEWER_SPACES]
        return [*([charsmap] if self.charsmap else []), *(spaces if self.fewer_spaces else [])]


def _unigram(model: _Model) -> dict[str, Any]:
    """Kudo 2018: pieces with log-probabilities; the best path through a text is its encoding."""
    mark = {"type": "Metaspace", "replacement": SPACE, "prepend_scheme": "always" if model.prefix else "never", "split": True}
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    added = [
        {"id": number, "content": token, **flags, "special": kind != USER_DEFINED}
        for number, (token, kind) in enumerate(zip(model.tokens, model.types, strict=True))
        if kind in (UNKNOWN, CONTROL, USER_DEFINED)
    ]
    steps = model.normalizers()
    to_spaces = {"type": "Replace", "pattern": {"String": SPACE}, "content": " "}
    strip = [{"type": "Strip", "content": " ", "start": 1, "stop": 0}] if model.prefix else []
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added,
        "normalizer": {"type": "Sequence", "normalizers": steps} if steps else None,
        "pre_tokenizer": mark,
        "decoder": {"type": "Sequence", "decoders": [to_spaces, {"type": "ByteFallback"}, {"type": "Fuse"}, *strip]}
        if BYTE in model.types
        else mark,
        "post_processor": None,
        "model": {
            "type": "Unigram",
            "unk_id": model.special.get("unknown"),
            "vocab": [[token, score] for token, score in zip(model.tokens, model.scores, strict=True)],
            "byte_fallback": BYTE in model.types,
        },
    }


def _read(data: bytes, name: str) -> _Model:
    tokens: list[str] = []
    scores: list[float] = []
    types: list[int] = []
    trainer: dict[int, Any] = {}
    normalizer: dict[int, Any] = {}
    try:
        for number, value in _fields(data):
            if number == 1:
                piece = dict(_fields(value))
                tokens.append(piece[1].decode("utf-8"))
                scores.append(struct.unpack("<f", piece.get(2, bytes(4)))[0])
                types.append(piece.get(3, 1))
                if len(tokens) > MAX_PIECES:
                    raise ValueError(f"more than {MAX_PIECES:,} pieces")
            elif number in (2, 3):
                (trainer if number == 2 else normalizer).update(_fields(value))
        kind, charsmap = trainer.get(3, UNIGRAM), normalizer.get(2, b"")
        ids = {"unknown": trainer.get(40, 0), "bos": trainer.get(41, 1), "eos": trainer.get(42, 2), "padding": trainer.get(43, -1)}
        special = {role: number for role, value in ids.items() if 0 <= (number := _signed(value)) < len(tokens)}
        if not isinstance(charsmap, bytes) or not isinstance(kind, int) or not all(isinstance(each, int) for each in types):
            raise ValueError("a field of another type")
    except (ValueError, KeyError, TypeError, AttributeError, struct.error) as error:
        raise BadFileError(name, f"is not a SentencePiece model ({error}).") from None
    if not tokens:
        raise BadFileError(name, "is not a SentencePiece model (it has no pieces).")
    if kind not in (UNIGRAM, BPE):
        raise UsageError(f"{name} is a SentencePiece model of whole words or characters.", hint="Supported: bpe, unigram.")
    return _Model(tokens, scores, types, kind, special, charsmap, bool(normalizer.get(3, 1)), bool(normalizer.get(4, 1)))


def _fields(data: bytes) -> Iterator[tuple[int, Any]]:
    """Numbers and values of the fields of one message: int, 4 or 8 raw bytes, or bytes with a length."""
    place = 0

    def varint() -> int:
        nonlocal place
        value = 0
        for shift in range(0, 70, 7):
            if place >= len(data):
                raise ValueError("it ends too early")
            byte = data[place]
            place += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
        raise ValueError("a number without an end")

    while place < len(data):
        key = varint()
        if key & 7 == 0:
            yield key >> 3, varint()
            continue
        lengths = {1: 8, 5: 4}
        length = varint() if key & 7 == 2 else lengths.get(key & 7, -1)
        if length < 0 or place + length > len(data):
            raise ValueError("it ends too early" if length >= 0 else f"a field of the unknown type {key & 7}")
        yield key >> 3, data[place : place + length]
        place += length


def _signed(value: int) -> int:
    """A negative number is written as that of 64 bits which has the same bits."""
    return value - (1 << 64) if value >= 1 << 63 else value
