"""What turns passages and questions into vectors, so that what means the same is found though it shares no word.

Takes: the name of a sentence encoder or of a language model, or an OpenAI-compatible address that the operator gives; texts.
Gives: one vector for each text.
Does not know: where vectors are kept, what they are compared with.

Only what is at an address meets the network, and only the address that was given.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import urllib.parse
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from llamarium.apps.ask import gloss
from llamarium.ground.errors import NetworkError, UsageError
from llamarium.ground.files import sha256

if TYPE_CHECKING:
    from llamarium.engine.sentences import SentenceEncoder
    from llamarium.models.model import Network
    from llamarium.tokens.tokenizer import Tokenizer

Kind = Literal["encoder", "llama", "openai"]
Array = NDArray[np.float32]

COMMON_CHARACTERS = "这们说还没吗呢么对过时会为来个"  # neither traditional nor Japanese writing has most of them
MOST_TOKENS = 256  # of a passage that a language model reads
BATCH_TOKENS = 4096
TIMEOUT = 60.0  # seconds for an answer of an address
AT_ONCE = 64  # texts in one request
LARGEST_ANSWER = 64 << 20  # bytes
KEY = "LLAMARIUM_EMBEDDINGS_KEY"  # in the environment: sent to the address as its bearer token


class Encoder(Protocol):
    """What turns texts into vectors. `name` opens it again; `sha256` says whether it is still the same."""

    @property
    def kind(self) -> Kind:
        """What it is."""

    @property
    def name(self) -> str:
        """The MODEL, or the model's name at its address."""

    @property
    def sha256(self) -> str:
        """Of its files, or of its address and name."""

    def reads(self, text: str) -> bool:
        """Whether it can read `text`, as far as that is about Chinese: vectors of what an encoder cannot read say nothing."""

    def encode(self, texts: Sequence[str]) -> Array:
        """One vector for each text: float32 (N, D)."""


def open_encoder(name: str, *, embeddings: str | None = None) -> Encoder:
    """The MODEL `name`, or the model of that name at the OpenAI-compatible address `embeddings`, the only one that meets the network.

    `UsageError` for a model that gives no vectors, or an address that is none.
    """
    if embeddings is not None:
        return AtAddress(name, embeddings)
    from llamarium.checkpoint.resolve import resolve
    from llamarium.engine.sentences import SentenceEncoder
    from llamarium.models.model import Network

    path = resolve(name).path
    loaded = SentenceEncoder.load(name)
    if loaded.model.KIND == "encoder":
        sentences = _Sentences(name, _files_sha256(path), loaded, reads_chinese(loaded.tokenizer))
        dictionary = None if sentences.chinese else gloss.installed()
        if dictionary is None:
            return sentences
        both = hashlib.sha256(f"{sentences.sha256} {sha256(dictionary)}".encode()).hexdigest()
        return _Glossed(name, both, sentences, dictionary)
    if loaded.model.KIND == "decoder" and isinstance(loaded.model, Network):
        return _States(name, _files_sha256(path), loaded.model, loaded.tokenizer, reads_chinese(loaded.tokenizer))
    raise UsageError(
        f"{name} gives no vectors of texts.",
        hint="`llamarium pull all-minilm-l6-v2` fetches one for English, bge-small-zh-v1.5 is one for Chinese.",
    )


def _files_sha256(path: Path) -> str:
    """One sum for all that a model consists of."""
    if path.is_file():
        return sha256(path)
    files = sorted(file for file in path.rglob("*") if file.suffix in (".json", ".safetensors", ".txt", ".model") and file.is_file())
    return hashlib.sha256("".join(f"{file.relative_to(path).as_posix()} {sha256(file)}\n" for file in files).encode()).hexdigest()


@dataclass(frozen=True)
class _Sentences:
    """An encoder of the BERT family."""

    name: str
    sha256: str
    encoder: SentenceEncoder
    chinese: bool
    kind: Kind = "encoder"

    def reads(self, text: str) -> bool:
        return self.chinese or not gloss.has_chinese(text)

    def encode(self, texts: Sequence[str]) -> Array:
        return self.encoder.vectors(texts)


@dataclass(frozen=True)
class _Glossed:
    """An encoder that cannot read Chinese, and the file of the dictionary that it reads it by, opened when there is some."""

    name: str
    sha256: str
    encoder: _Sentences
    dictionary: Path
    kind: Kind = "encoder"

    def reads(self, text: str) -> bool:  # noqa: ARG002
        return True

    def encode(self, texts: Sequence[str]) -> Array:
        found = gloss.read(self.dictionary) if any(map(gloss.has_chinese, texts)) else gloss.Dictionary({})
        return self.encoder.encode([found.gloss(text) for text in texts])


def reads_chinese(tokenizer: Tokenizer) -> bool:
    """Whether common simplified characters are pieces of a vocabulary, and not unknown or taken apart into bytes."""
    ids = tokenizer.encode(COMMON_CHARACTERS)
    unknown = tokenizer.special("unk_token")
    return len(ids) <= 1.5 * len(COMMON_CHARACTERS) and sum(number != unknown for number in ids) > len(ids) / 2


@dataclass(frozen=True)
class _States:
    """The mean of a language model's states after its last block."""

    name: str
    sha256: str
    model: Network
    tokenizer: Tokenizer
    chinese: bool
    kind: Kind = "llama"

    def reads(self, text: str) -> bool:
        return self.chinese or not gloss.has_chinese(text)

    def encode(self, texts: Sequence[str]) -> Array:
        return pooled_states(self.model, self.tokenizer, texts)


def pooled_states(model: Network, tokenizer: Tokenizer, texts: Sequence[str], *, most_tokens: int = MOST_TOKENS) -> Array:
    """The mean over its tokens of a decoder's last states of each text, at length 1: float32 (N, D). A longer text is cut."""
    import torch

    from llamarium.models.context import Packed

    most = min(most_tokens, model.config.context_length)
    rows = [ids[:most] or [tokenizer.end_id] for ids in tokenizer.encode_batch(texts, add_special=True)]
    found = np.zeros((len(rows), model.config.width), dtype=np.float32)
    order = sorted(range(len(rows)), key=lambda number: -len(rows[number]))
    with torch.inference_mode():
        while order:
            longest = len(rows[order[0]])
            some, order = order[: max(1, BATCH_TOKENS // longest)], order[max(1, BATCH_TOKENS // longest) :]
            ids_BT = torch.tensor([rows[number] + [0] * (longest - len(rows[number])) for number in some], device=model.device)
            lengths_B = torch.tensor([len(rows[number]) for number in some], device=model.device)
            filled_BT = torch.arange(longest, device=model.device) >= lengths_B[:, None]
            # What fills a row up is a document of its own: no token of the text sees it.
            x_BTD = model.hidden(ids_BT, Packed(filled_BT.long())).float()
            x_BD = x_BTD.masked_fill(filled_BT[:, :, None], 0).sum(1) / lengths_B[:, None]
            found[some] = x_BD.cpu().numpy()
    return unit(found)


class _Refuse(urllib.request.HTTPRedirectHandler):
    """An address is what the operator gave; where it sends us is not."""

    def redirect_request(self, *_: Any) -> None:
        return None


@dataclass(frozen=True)
class AtAddress:
    """A model at an OpenAI-compatible address (``POST <address>/embeddings``)."""

    name: str
    address: str
    kind: Kind = "openai"
    _opener: urllib.request.OpenerDirector = field(default_factory=lambda: urllib.request.build_opener(_Refuse), repr=False)

    def __post_init__(self) -> None:
        """`UsageError` unless the address is one."""
        parts = urllib.parse.urlsplit(self.address)
        if parts.scheme not in ("http", "https") or not parts.netloc:
            raise UsageError(f"{self.address!r} is no address.", hint="For example: --embeddings http://127.0.0.1:8001/v1")

    @property
    def sha256(self) -> str:
        """Of the address and the name: what is behind them cannot be seen."""
        return hashlib.sha256(f"{self.address}\n{self.name}".encode()).hexdigest()

    def reads(self, text: str) -> bool:  # noqa: ARG002
        return True

    def encode(self, texts: Sequence[str]) -> Array:
        """`NetworkError` where no vectors come back."""
        parts = [self._ask(texts[start : start + AT_ONCE]) for start in range(0, len(texts), AT_ONCE)]
        if len({part.shape[1] for part in parts}) > 1:
            raise NetworkError(f"{self.address} answered with vectors of different lengths.")
        return np.concatenate(parts) if parts else np.zeros((0, 0), np.float32)

    def _ask(self, texts: Sequence[str]) -> Array:
        body = json.dumps({"model": self.name, "input": list(texts), "encoding_format": "float"}).encode()
        headers = {"Content-Type": "application/json"}
        if key := key_from(KEY):
            headers["Authorization"] = f"Bearer {key}"
        request = urllib.request.Request(f"{self.address.rstrip('/')}/embeddings", body, headers)
        try:
            with self._opener.open(request, timeout=TIMEOUT) as answer:
                value = json.loads(answer.read(LARGEST_ANSWER))
            rows = sorted((entry["index"], entry["embedding"]) for entry in value["data"])
            found = np.array([row for _, row in rows], dtype=np.float32)
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            reason = str(getattr(error, "reason", "") or error)
            raise NetworkError(f"{self.address} gave no vectors ({reason:.200}).", hint=f"A key, if it wants one, is in {KEY}.") from None
        if found.ndim != 2 or len(found) != len(texts) or not found.size or not np.isfinite(found).all():
            raise NetworkError(f"{self.address} answered with something else than {len(texts)} vectors.")
        return found


def key_from(name: str) -> str:
    """The key for an address in the environment variable `name`, or nothing. `UsageError`, which does not show it, if it can be none."""
    key = os.environ.get(name, "").strip()
    if key and not re.fullmatch(r"[\x21-\x7e]+", key):
        raise UsageError(f"{name} holds what no key can be.", hint="A key is one line of letters, digits and marks.")
    return key


def unit(vectors: Array) -> Array:
    """At length 1; those of length 0 as they are."""
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return (vectors / np.where(length > 0, length, 1)).astype(np.float32)
