"""One tokenizer over every vocabulary: text <-> ids, without loss where the vocabulary has bytes.

Takes: the content of a ``tokenizer.json`` and a ``tokenizer_config.json`` (Hugging Face's form; GGUF is brought to it).
Gives: ids, text, the tokens that begin and end a document, chat prompts.
Does not know: models, files other than its own two.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Sequence
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
# What these are where a config does not say: BERT's and RoBERTa's folders often leave it to the tokenizer's class.
UNNAMED = {"cls_token": ("[CLS]",), "sep_token": ("[SEP]",), "mask_token": ("[MASK]", "<mask>")}

_SURROGATES = re.compile("[\ud800-\udfff]+")
# Where a long text is best cut: hardly any vocabulary joins a word to what stands before the sign after it.
_BETWEEN_WORDS = re.compile(r"(?<=[^\W_])[ \n，。、；：？！](?=[^\W_])")
_PIECE = 1 << 18  # characters that are encoded in one piece
_GROUP = 1 << 22  # characters that are encoded in one call
_TRIES = 4  # places to cut that are looked at
_SIGHT = 32  # characters on both sides of a cut that must give the same ids with and without it


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
        marked = [{**token, "special": _is_control(token)} for token in values.get("added_tokens", [])]
        self._plain = _build(json.dumps({**values, "added_tokens": marked}, ensure_ascii=False), name)
        # Leaving the special ones out instead would give their ids to the added tokens that remain.
        self._plain.encode_special_tokens = True
        self.specials: dict[str, int] = {
            token.content: number for number, token in sorted(self._parsing.get_added_tokens_decoder().items()) if _is_control(token)
        }
        model = values["model"]
        self._unknown = {self._parsing.token_to_id(model.get("unk_token") or ""), model.get("unk_id")}
        self.vocab_size: int = max(self._parsing.get_vocab(with_added_tokens=True).values(), default=-1) + 1
        decoder = values.get("decoder") or {}
        steps = {step.get("type"): step for step in _steps(decoder)}
        self._byte_level = "ByteLevel" in steps
        self._byte_fallback = "ByteFallback" in steps
        self._space_mark = '"\\u2581"' in json.dumps(decoder)
        mark = steps.get("Metaspace", {"prepend_scheme": "never"})
        self._strips_space = "Strip" in steps or (mark.get("prepend_scheme") != "never" and mark.get("add_prefix_space", True))

    # --- its tokens ---

    @property
    def sha256(self) -> str:
        """SHA-256 of the definition: two tokenizers that share it give the same ids."""
        return hashlib.sha256(self.definition.encode("utf-8", "surrogatepass")).hexdigest()

    def special(self, key: str) -> int | None:
        """Id of the token that the config names as `key` ("bos_token", "eos_token", ...), or that is so called by habit, if any."""
        if key not in self.config:
            return next((self.specials[content] for content in UNNAMED.get(key, ()) if content in self.specials), None)
        value = self.config[key]
        content = value.get("content") if isinstance(value, dict) else value
        return self._parsing.token_to_id(content) if isinstance(content, str) else None

    @cached_property
    def end_id(self) -> int:
        """The token after the last one of a document."""
        for content in END_OF_TEXT:
            if content in self.specials:
                return self.specials[content]
        end = self.special("eos_token")
        if end is None and (end := self.special("sep_token")) is None:
            raise UsageError(f"{self.name} has no token that ends a text.", hint="Name one as eos_token in tokenizer_config.json.")
        return end

    @cached_property
    def begin_id(self) -> int:
        """The token before the first one of a document: begin-of-text where there is one (BERT's [CLS]), else end-of-text.

        Where no config names one, it is the one token that the post-processor puts before a text.
        """
        before, _ = self.around
        named = (self.special("bos_token"), self.special("cls_token"), before[0] if len(before) == 1 else None)
        begin = next((number for number in named if number is not None), None)
        turns = {self.specials.get(marker) for marker in TURN_MARKERS}
        return self.end_id if begin is None or begin in turns else begin

    @cached_property
    def stop_ids(self) -> frozenset[int]:
        """Tokens after which a model has nothing more to say."""
        found = {self.specials.get(content) for content in (*END_OF_TEXT, *END_OF_TURN)} | {self.special("eos_token")}
        return frozenset(number for number in found if number is not None)

    @cached_property
    def _controls(self) -> frozenset[int]:
        """Special tokens that no text may hold; what stands for unknown characters steers nothing."""
        return frozenset(self.specials.values()) - (self._unknown if self._byte_ids is None else set())

    # --- text -> ids ---

    def encode(self, text: str | bytes, *, add_special: bool = False, parse_special: bool = False) -> list[int]:
        """Ids of `text`. Any str or bytes will do: what is not valid Unicode goes through byte tokens.

        Special tokens written in the text are text, unless `parse_special`. `add_special` adds what the model expects around a text.
        """
        return self.encode_batch([text], add_special=add_special, parse_special=parse_special)[0]

    def encode_batch(self, texts: Sequence[str | bytes], *, add_special: bool = False, parse_special: bool = False) -> list[list[int]]:
        """Ids of each text, on all cores."""
        tokenizer = self._parsing if parse_special else self._plain
        before, after = self.around if add_special else ([], [])
        if all(type(text) is str and len(text) <= _PIECE for text in texts) and not any(map(_SURROGATES.search, texts)):  # type: ignore[arg-type]
            encoded = self._encode_pieces(tokenizer, texts, parse_special=parse_special)  # type: ignore[arg-type]
            return [[*before, *ids, *after] for ids in encoded] if add_special else encoded
        pieces: list[str] = []
        plans: list[list[int | list[int]]] = []  # for each text: places in `pieces`, or ids that are already known
        for text in texts:
            plan: list[int | list[int]] = []
            for part in [_replace_surrogates(text)] if self._byte_ids is None else _split_surrogates(text):
                if isinstance(part, str) and plan and self._adds_to_text:
                    part = part.encode()  # the tokenizer would take this for the start of another text
                if isinstance(part, bytes):
                    plan.append(self._encode_bytes(part))
                else:
                    for piece in self._cut(part):
                        plan.append(len(pieces))
                        pieces.append(piece)
            plans.append(plan)
        encoded = self._encode_pieces(tokenizer, pieces, parse_special=parse_special)
        result = [[number for part in plan for number in (encoded[part] if isinstance(part, int) else part)] for plan in plans]
        return [[*before, *ids, *after] for ids in result] if add_special else result

    def _encode_pieces(self, tokenizer: tokenizers.Tokenizer, pieces: Sequence[str], *, parse_special: bool) -> list[list[int]]:
        """Ids of texts that are short and valid Unicode."""
        encoded: list[list[int]] = []
        with _blamed_on(self.name, "cannot encode a text"):
            for group in _groups(pieces):
                encoded += [encoding.ids for encoding in tokenizer.encode_batch_fast(group, add_special_tokens=False)]
        return [self._without_controls(ids) for ids in encoded] if self._makes_controls and not parse_special else encoded

    @cached_property
    def _makes_controls(self) -> bool:
        """Whether the vocabulary itself may make a special token of its text. BPE makes single characters and what it joins."""
        model = json.loads(self.definition)["model"]
        if model.get("type") != "BPE" or model.get("ignore_merges") or model.get("end_of_word_suffix"):
            return True
        names = {content for content, number in self.specials.items() if number in self._controls}
        joined = (merge if isinstance(merge, str) else "".join(merge) for merge in model.get("merges", ()))
        return any(len(name) == 1 for name in names) or any(text in names or text.replace(" ", "") in names for text in joined)

    def _without_controls(self, ids: list[int]) -> list[int]:
        """Spell out a special token that the vocabulary itself made of its text, as Unigram does."""
        if self._controls.isdisjoint(ids):
            return ids
        spelled = {number: self._spell(content) for content, number in self.specials.items() if number in self._controls}
        return [each for number in ids for each in spelled.get(number, [number])]

    def _spell(self, text: str) -> list[int]:
        if self._byte_ids is not None:
            return self._encode_bytes(text.encode())
        return [number for char in text if (number := self._parsing.token_to_id(char)) is not None]

    @cached_property
    def around(self) -> tuple[list[int], list[int]]:
        """Ids that `add_special` puts before and after a text, as the post-processor says."""
        text, whole = (_ids(self._parsing, "a", self.name, add_special=special) for special in (False, True))
        before = next(place for place in range(len(whole), -1, -1) if whole[place : place + len(text)] == text)
        return whole[:before], whole[before + len(text) :]

    @cached_property
    def _adds_to_text(self) -> bool:
        """Whether a text gets something that it does not hold, such as a space before its first word."""
        return self.decode_bytes(_ids(self._plain, "a", self.name)) != b"a"

    def _cut(self, text: str) -> Iterable[str]:
        """Pieces of a long text, so that no single call needs memory for hundreds of megabytes at once."""
        start = 0
        while len(text) - start > _PIECE:
            end, after = self._place_to_cut(text, start)
            yield text[start:end]
            start = after
        yield text[start:]

    def _place_to_cut(self, text: str, start: int) -> tuple[int, int]:
        """End of the piece that begins at `start`, and where the next one begins: where it can be, without changing an id."""

        def ids(first: int, last: int) -> list[int]:
            return _ids(self._plain, text[first:last], self.name)

        places = [match.start() for match in _BETWEEN_WORDS.finditer(text, start + _PIECE // 2, start + _PIECE)]
        for place in places[: -_TRIES - 1 : -1]:
            whole, left = ids(place - _SIGHT, place + _SIGHT), ids(place - _SIGHT, place)
            # A tokenizer that puts a space before every text puts it back if it is left out.
            for after in (place, place + 1):
                if whole == left + ids(after, place + _SIGHT):
                    return place, after
        end = len(text) if self._adds_to_text else start + _PIECE
        return end, end

    @cached_property
    def _byte_ids(self) -> list[int] | None:
        """Id of the token of each byte, where the vocabulary has all 256."""
        names = (
            {byte: char for char, byte in byte_level_alphabet().items()} if self._byte_level else {b: f"<0x{b:02X}>" for b in range(256)}
        )
        ids = [self._parsing.token_to_id(names[byte]) for byte in range(256)]
        return None if None in ids else [number for number in ids if number is not None]

    def _encode_bytes(self, data: bytes) -> list[int]:
        assert self._byte_ids is not None
        return [self._byte_ids[byte] for byte in data]

    # --- ids -> text ---

    @cached_property
    def _pieces(self) -> dict[int, bytes] | None:
        """The bytes of each id; None for vocabularies whose decoding depends on neighbours (WordPiece)."""
        if not (self._byte_level or self._byte_fallback or self._space_mark):
            return None
        alphabet = byte_level_alphabet()
        added = self._parsing.get_added_tokens_decoder()
        table: dict[int, bytes] = {}
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
        kept = [number for number in ids if number not in hidden]
        if self._pieces is None:
            known = [number for number in kept if 0 <= number < self.vocab_size]
            with _blamed_on(self.name, "cannot decode these ids"):
                return self._parsing.decode(known, skip_special_tokens=False).encode()
        # In parts: a join holds 80 bytes for each of the pieces it is given.
        parts = (kept[start : start + _PIECE] for start in range(0, len(kept), _PIECE))
        return b"".join(b"".join(self._pieces.get(number, b"") for number in part) for part in parts)

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
            named = {entry.get("name"): entry.get("template") for entry in template if isinstance(entry, dict)}
            template = named.get("default")
        return template if isinstance(template, str) else None

    def with_chat_template(self) -> Tokenizer:
        """The same tokenizer with the template that it uses in its config, so that whoever opens a saved copy uses it, too."""
        template = self.chat_template or chat.default_template(self.specials)
        return Tokenizer(self.definition, {**self.config, "chat_template": template}, name=self.name)

    def encode_chat(self, messages: Sequence[dict[str, Any]], *, add_generation_prompt: bool = True) -> list[int]:
        """Ids of a conversation in the model's own form. Special tokens inside a message stay text."""
        guarded, stand_ins = chat.guard(messages, self.specials)
        rendered = chat.render(
            self.chat_template or chat.default_template(self.specials),
            guarded,
            specials={key: self._content(key) for key in ("bos_token", "eos_token", "unk_token", "pad_token")},
            add_generation_prompt=add_generation_prompt,
        )
        restore = str.maketrans(stand_ins)
        parts = self._special_tokens.split(rendered)  # text, special token, text, ...
        written = [self.specials.get(part, self.specials.get(part.strip(), -1)) for part in parts[1::2]]
        ids = self.encode(rendered.translate(restore), parse_special=True)
        if [number for number in ids if number in self._controls] == written:
            return ids
        # A message holds what reads as a special token: only those that the template wrote are.
        texts = [self.encode(part.translate(restore)) for part in parts[::2]]
        return [number for text, special in zip(texts, [*([number] for number in written), []]) for number in (*text, *special)]

    @cached_property
    def _special_tokens(self) -> re.Pattern[str]:
        """Any special token, with the white space beside it that it swallows."""
        tokens = [token for token in self._parsing.get_added_tokens_decoder().values() if token.content in self.specials]
        tokens.sort(key=lambda token: len(token.content), reverse=True)
        forms = (("\\s*" if token.lstrip else "") + re.escape(token.content) + ("\\s*" if token.rstrip else "") for token in tokens)
        return re.compile(f"({'|'.join(forms) or '(?!)'})")

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
        definition = _read_text(path)
        config = read_json(folder / CONFIG) if (folder / CONFIG).is_file() else {}
        if not isinstance(config, dict):
            raise BadFileError(folder / CONFIG, "is not a JSON object.")
        template = folder / "chat_template.jinja"
        if template.is_file() and "chat_template" not in config:
            config["chat_template"] = _read_text(template)
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
    return bool(content) and (bool(special) or bool(re.fullmatch(r"<[^\s<>]+>|\[[A-Z_]+\]", content)))


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise BadFileError(path, "is not UTF-8 text.", offset=error.start) from None


def _parse(definition: str, name: str) -> dict[str, Any]:
    try:
        values = json.loads(definition)
    except (ValueError, RecursionError) as error:
        raise BadFileError(name, f"is not valid JSON ({error}).", offset=getattr(error, "pos", None)) from None
    if not isinstance(values, dict) or "model" not in values:
        raise BadFileError(name, "is not a tokenizer: it has no model.")
    return values


@contextlib.contextmanager
def _blamed_on(name: str, reason: str) -> Iterator[None]:
    """Turn what the Rust library raises over a malformed definition into a `BadFileError`."""
    try:
        yield
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # it panics on some of them, and its panic is no Exception
        raise BadFileError(name, f"{reason} ({error}).") from None


def _steps(decoder: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """A decoder, and those that it consists of."""
    yield decoder
    for step in decoder.get("decoders", ()):
        yield from _steps(step)


def _build(definition: str, name: str) -> tokenizers.Tokenizer:
    with _blamed_on(name, "is not a tokenizer that can be read"):
        tokenizer = tokenizers.Tokenizer.from_str(definition)
    # What a file says about lengths was meant for a batch of someone's: nothing is ever cut silently.
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def _ids(tokenizer: tokenizers.Tokenizer, text: str, name: str, *, add_special: bool = False) -> list[int]:
    with _blamed_on(name, "cannot encode a text"):
        return list(tokenizer.encode(text, add_special_tokens=add_special).ids)


def _groups(pieces: Sequence[str]) -> Iterable[Sequence[str]]:
    """Runs of `pieces` of about `_GROUP` characters each."""
    start = size = 0
    for place, piece in enumerate(pieces):
        size += len(piece)
        if size >= _GROUP:
            yield pieces[start : place + 1]
            start, size = place + 1, 0
    if start < len(pieces):
        yield pieces[start:]


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


def _replace_surrogates(text: str | bytes) -> str:
    """The text with U+FFFD for what is not valid Unicode."""
    return text.decode("utf-8", "replace") if isinstance(text, bytes) else _SURROGATES.sub("\ufffd", text)
