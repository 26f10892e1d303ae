"""One tokenizer over every vocabulary: text <-> ids, without loss where the vocabulary has bytes.

Takes: the content of a ``tokenizer.json`` and a ``tokenizer_config.json`` (Hugging Face's form; GGUF is brought to it).
Gives: ids, text, the tokens that begin and end a document, chat prompts.
Does not know: models, files other than its own two.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import tokenizers

from llamarium.ground.errors import BadFileError, NotFoundError, UsageError
from llamarium.ground.files import read_json, write_json, write_text
from llamarium.tokens import chat

DEFINITION, CONFIG = "tokenizer.json", "tokenizer_config.json"

# Tokens that end a text, best first; some checkpoints name only their end of turn as "eos".
END_OF_TEXT = ("<|endoftext|>", "<|end_of_text|>", "</s>", "<eos>", "[EOS]", "[SEP]")
# Tokens of a conversation: they open or close a turn and never begin or end a document.
TURN_MARKERS = ("<|im_start|>", "<|im_end|>", "<|eot_id|>", "<|eom_id|>", "<|user|>", "<|observation|>", "<|end|>")
END_OF_TURN = ("<|im_end|>", "<|eot_id|>", "<|eom_id|>", "<|user|>", "<|observation|>", "<|end|>")

_SURROGATES = re.compile("[\ud800-\udfff]")
# A place where a long text may be cut without changing its tokens: no pre-tokenizer joins a word to the one before the space.
_SAFE_CUT = re.compile(r"(?<=\w) (?=\w)")
_PIECE = 1 << 18


def byte_level_alphabet() -> dict[str, int]:
    """The printable stand-in that byte-level BPE uses for each byte (Radford et al. 2019): character -> byte."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + place): byte for place, byte in enumerate(others)}


class Tokenizer:
    """Text <-> ids.

    `definition` is the content of a ``tokenizer.json``; `config` that of a ``tokenizer_config.json``; `name` is what errors call it.
    """

    def __init__(self, definition: str, config: dict[str, Any] | None = None, *, name: str = DEFINITION) -> None:
        self.definition, self.config, self.name = definition, dict(config or {}), name
        values = _parse(definition, name)
        # Two views of one vocabulary: `_parsing` finds special tokens in text, `_plain` takes all text as text.
        self._parsing = _build(definition, name)
        plain = [token for token in values.get("added_tokens", []) if not _is_control(token)]
        self._plain = _build(json.dumps({**values, "added_tokens": plain}, ensure_ascii=False), name)
        self.specials: dict[str, int] = {
            token.content: number for number, token in sorted(self._parsing.get_added_tokens_decoder().items()) if _is_control(token)
        }
        self.vocab_size: int = max(self._parsing.get_vocab(with_added_tokens=True).values(), default=-1) + 1
        decoder = json.dumps(values.get("decoder") or {})
        self._byte_level = '"ByteLevel"' in decoder
        self._byte_fallback = '"ByteFallback"' in decoder
        self._space_mark = '"\\u2581"' in decoder
        self._strips_space = '"Strip"' in decoder
        normalizer = json.dumps([values.get("normalizer"), values.get("pre_tokenizer")])
        self._cuttable = '"Prepend"' not in normalizer and '"Metaspace"' not in normalizer

    # --- its tokens ---

    @property
    def sha256(self) -> str:
        """SHA-256 of the definition: two tokenizers that share it give the same ids."""
        return hashlib.sha256(self.definition.encode("utf-8", "surrogatepass")).hexdigest()

    def special(self, key: str) -> int | None:
        """Id of the token that the config names as `key` ("bos_token", "eos_token", ...), if any."""
        value = self.config.get(key)
        content = value.get("content") if isinstance(value, dict) else value
        return self._parsing.token_to_id(content) if isinstance(content, str) else None

    @cached_property
    def end_id(self) -> int:
        """The token after the last one of a document."""
        for content in END_OF_TEXT:
            if content in self.specials:
                return self.specials[content]
        if (end := self.special("eos_token")) is None:
            raise UsageError(f"{self.name} has no token that ends a text.", hint="Name one as eos_token in tokenizer_config.json.")
        return end

    @cached_property
    def begin_id(self) -> int:
        """The token before the first one of a document: begin-of-text where there is one, else end-of-text."""
        begin = self.special("bos_token")
        turns = {self.specials.get(marker) for marker in TURN_MARKERS}
        return self.end_id if begin is None or begin in turns else begin

    @cached_property
    def stop_ids(self) -> frozenset[int]:
        """Tokens after which a model has nothing more to say."""
        found = {self.specials.get(content) for content in (*END_OF_TEXT, *END_OF_TURN)} | {self.special("eos_token")}
        return frozenset(number for number in found if number is not None)

    # --- text -> ids ---

    def encode(self, text: str | bytes, *, add_special: bool = False, parse_special: bool = False) -> list[int]:
        """Ids of `text`. Any str or bytes will do: what is not valid Unicode goes through byte tokens.

        Special tokens written in the text are text, unless `parse_special`. `add_special` adds what the model expects around a text.
        """
        return self.encode_batch([text], add_special=add_special, parse_special=parse_special)[0]

    def encode_batch(self, texts: Sequence[str | bytes], *, add_special: bool = False, parse_special: bool = False) -> list[list[int]]:
        """Ids of each text, on all cores."""
        tokenizer = self._parsing if parse_special else self._plain
        pieces: list[str] = []
        plans: list[list[int | list[int]]] = []  # for each text: places in `pieces`, or ids that are already known
        for text in texts:
            plan: list[int | list[int]] = []
            for part in _split_surrogates(text):
                if isinstance(part, bytes):
                    plan.append(self._encode_bytes(part))
                else:
                    for piece in self._cut(part):
                        plan.append(len(pieces))
                        pieces.append(piece)
            plans.append(plan)
        encoded = [encoding.ids for encoding in tokenizer.encode_batch_fast(pieces, add_special_tokens=False)]
        result = [[number for part in plan for number in (encoded[part] if isinstance(part, int) else part)] for plan in plans]
        return [self._surround(ids) for ids in result] if add_special else result

    def _surround(self, ids: list[int]) -> list[int]:
        """Put what the post-processor adds around ids (its tokens come before, or after, an empty text's)."""
        around = self._parsing.encode("", add_special_tokens=True).ids
        with_text = self._parsing.encode("a", add_special_tokens=True).ids
        before = 0
        while before < len(around) and around[before] == with_text[before]:
            before += 1
        return [*around[:before], *ids, *around[before:]]

    def _cut(self, text: str) -> Iterable[str]:
        """Pieces of a long text, so that no single call needs memory for hundreds of megabytes at once."""
        while len(text) > _PIECE and self._cuttable:
            cuts = [match.start() for match in _SAFE_CUT.finditer(text, _PIECE // 2, _PIECE)]
            cut = cuts[-1] if cuts else _PIECE
            yield text[:cut]
            text = text[cut:]
        yield text

    @cached_property
    def _byte_ids(self) -> list[int] | None:
        """Id of the token of each byte, where the vocabulary has all 256."""
        names = (
            {byte: char for char, byte in byte_level_alphabet().items()} if self._byte_level else {b: f"<0x{b:02X}>" for b in range(256)}
        )
        ids = [self._parsing.token_to_id(names[byte]) for byte in range(256)]
        return None if None in ids else [number for number in ids if number is not None]

    def _encode_bytes(self, data: bytes) -> list[int]:
        if self._byte_ids is None:
            return list(self._plain.encode("\ufffd", add_special_tokens=False).ids)
        return [self._byte_ids[byte] for byte in data]

    # --- ids -> text ---

    @cached_property
    def _pieces(self) -> list[bytes] | None:
        """The bytes that each id stands for; None for vocabularies whose decoding depends on neighbours (WordPiece)."""
        if not (self._byte_level or self._byte_fallback):
            return None
        alphabet = byte_level_alphabet()
        added = self._parsing.get_added_tokens_decoder()
        table = [b""] * self.vocab_size
        for token, number in self._parsing.get_vocab(with_added_tokens=True).items():
            if number in added:
                table[number] = token.encode("utf-8")
            elif self._byte_level and all(char in alphabet for char in token):
                table[number] = bytes(alphabet[char] for char in token)
            elif self._byte_fallback and (match := re.fullmatch("<0x([0-9A-F]{2})>", token)):
                table[number] = bytes([int(match[1], 16)])
            else:
                table[number] = (token.replace("\u2581", " ") if self._space_mark else token).encode("utf-8")
        return table

    def decode_bytes(self, ids: Iterable[int], *, skip_special: bool = False) -> bytes:
        """The bytes that `ids` stand for, as they continue a text: no leading space is taken away."""
        hidden = set(self.specials.values()) if skip_special else set()
        kept = [number for number in ids if number not in hidden and 0 <= number < self.vocab_size]
        if self._pieces is None:
            return self._parsing.decode(kept, skip_special_tokens=False).encode("utf-8")
        return b"".join(self._pieces[number] for number in kept)

    def decode(self, ids: Iterable[int], *, skip_special: bool = False) -> str:
        """Text of `ids`. Bytes that are no UTF-8 become U+FFFD; a space that the vocabulary put before the text is taken away."""
        data = self.decode_bytes(ids, skip_special=skip_special)
        try:
            text = data.decode("utf-8", "surrogatepass")
        except UnicodeDecodeError:
            text = data.decode("utf-8", "replace")
        return text[1:] if self._strips_space and self._pieces is not None and text.startswith(" ") else text

    # --- conversations ---

    @property
    def chat_template(self) -> str | None:
        """The Jinja template that the checkpoint brings, if any."""
        template = self.config.get("chat_template")
        if isinstance(template, list):  # several named ones: the one called "default"
            template = next((entry.get("template") for entry in template if entry.get("name") == "default"), None)
        return template if isinstance(template, str) else None

    def encode_chat(self, messages: Sequence[dict[str, Any]], *, add_generation_prompt: bool = True) -> list[int]:
        """Ids of a conversation in the model's own form. Special tokens inside a message stay text."""
        guarded, guard = chat.guard(messages, self.specials)
        rendered = chat.render(
            self.chat_template or chat.default_template(self.specials),
            guarded,
            specials={key: self._content(key) for key in ("bos_token", "eos_token", "unk_token", "pad_token")},
            add_generation_prompt=add_generation_prompt,
        )
        if guard is None:
            return self.encode(rendered, parse_special=True)
        ids: list[int] = []
        for part in re.split("(" + "|".join(map(re.escape, sorted(self.specials, key=len, reverse=True))) + ")", rendered):
            ids += [self.specials[part]] if part in self.specials else self.encode(part.replace(*guard))
        return ids

    def _content(self, key: str) -> str:
        value = self.config.get(key)
        content = value.get("content") if isinstance(value, dict) else value
        return content if isinstance(content, str) else ""

    # --- files ---

    @classmethod
    def load(cls, folder: Path) -> Tokenizer:
        """Read ``tokenizer.json`` and ``tokenizer_config.json`` (and a separate chat template) of `folder`."""
        path = folder / DEFINITION
        if not path.is_file():
            raise NotFoundError(f"{folder} has no {DEFINITION}.", hint="`llamarium tokenizer train CORPUS --out DIR` makes a tokenizer.")
        try:
            definition = path.read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise BadFileError(path, "is not UTF-8 text.", offset=error.start) from None
        config = read_json(folder / CONFIG) if (folder / CONFIG).is_file() else {}
        if not isinstance(config, dict):
            raise BadFileError(folder / CONFIG, "is not a JSON object.")
        template = folder / "chat_template.jinja"
        if template.is_file() and "chat_template" not in config:
            config["chat_template"] = template.read_text(encoding="utf-8")
        return cls(definition, config, name=str(path))

    def save(self, folder: Path) -> None:
        """Write ``tokenizer.json`` and ``tokenizer_config.json``, as Hugging Face reads them."""
        write_text(folder / DEFINITION, self.definition)
        write_json(folder / CONFIG, {"tokenizer_class": "PreTrainedTokenizerFast", **self.config})


def _is_control(token: Any) -> bool:
    """Whether an added token steers the model, rather than being a piece of text such as a run of spaces.

    Some checkpoints mark tokens like ``<think>`` as not special, so those that look like markup count, too.
    """
    content, special = (token["content"], token.get("special")) if isinstance(token, dict) else (token.content, token.special)
    return bool(special) or bool(re.fullmatch(r"<[^\s<>]+>|\[[A-Z_]+\]", content))


def _parse(definition: str, name: str) -> dict[str, Any]:
    try:
        values = json.loads(definition)
    except (ValueError, RecursionError) as error:
        raise BadFileError(name, f"is not valid JSON ({error}).", offset=getattr(error, "pos", None)) from None
    if not isinstance(values, dict) or "model" not in values:
        raise BadFileError(name, "is not a tokenizer: it has no model.")
    return values


def _build(definition: str, name: str) -> tokenizers.Tokenizer:
    try:
        return tokenizers.Tokenizer.from_str(definition)
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # the Rust library panics on some malformed files, and its panic is no Exception
        raise BadFileError(name, f"is not a tokenizer that can be read ({error}).") from None


def _split_surrogates(text: str | bytes) -> Iterable[str | bytes]:
    """Parts of `text` that are valid Unicode, and between them the bytes of what is not."""
    if isinstance(text, bytes):
        text, handler = text.decode("utf-8", "surrogateescape"), "surrogateescape"
    else:
        handler = "surrogatepass"
    start = 0
    for match in _SURROGATES.finditer(text):
        if match.start() > start:
            yield text[start : match.start()]
        yield match[0].encode("utf-8", handler)
        start = match.end()
    if start < len(text) or not text:
        yield text[start:]
