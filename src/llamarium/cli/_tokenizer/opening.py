"""Tokenizers by any name, and the texts of a corpus that they learn from or are measured on.

Takes: what a user calls a tokenizer; a corpus and how much of it is wanted.
Gives: a `Tokenizer`; documents, chosen by their ids and so the same every time.
Does not know: what is done with them.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from llamarium.checkpoint import catalogue, gguf
from llamarium.checkpoint.open import open_tokenizer
from llamarium.checkpoint.resolve import resolve
from llamarium.ground import progress
from llamarium.ground.errors import LlamariumError, UsageError
from llamarium.text.corpus import Corpus
from llamarium.text.document import Document
from llamarium.tokens import gguf_vocabulary
from llamarium.tokens.tokenizer import DEFINITION, Tokenizer
from llamarium.tokens.tokenizer_file import may_be_tokenizer, read_tokenizer_file

# Tokenizers that everybody knows: where they lie once someone has fetched them. Nothing is fetched here.
REPOSITORIES = {
    "GPT-2": ("openai-community/gpt2", "gpt2"),
    "LLaMA 2": ("meta-llama/Llama-2-7b-hf", "meta-llama/Llama-2-7b-chat-hf", "TinyLlama/TinyLlama-1.1B-Chat-v1.0"),
    "LLaMA 3": ("meta-llama/Llama-3.2-1B-Instruct", "meta-llama/Llama-3.2-1B", "meta-llama/Meta-Llama-3-8B"),
}
PACKAGES = {"LLaMA 3": ("llama_models", "llama3/tokenizer.model")}
_FILES = (DEFINITION, "tokenizer.model")
_MODEL_FILES = ("config.json", "adapter_config.json", "state.json")


def open_any(name: str) -> Tokenizer:
    """The tokenizer called `name`: its folder, its file (``tokenizer.json``, ``.model``, tiktoken's ranks), or a MODEL."""
    path = Path(name)
    if path.is_dir() and not (path / DEFINITION).is_file() and (path / "tokenizer.model").is_file():
        return read_tokenizer_file(path / "tokenizer.model")
    if path.is_file() and may_be_tokenizer(path):
        return read_tokenizer_file(path)
    if not (path / DEFINITION).is_file() and (place := resolve(name)).kind == "gguf":
        # Its vocabulary alone: the weights may need more memory than there is.
        metadata = gguf.read_gguf(place.path).metadata
        definition = gguf_vocabulary.tokenizer_json(metadata, name=str(place.path))
        return Tokenizer(definition, gguf_vocabulary.tokenizer_config(metadata, name=str(place.path)), name=str(place.path))
    return open_tokenizer(name)


def is_tokenizer_only(path: Path) -> bool:
    """Whether `path` is a tokenizer's file or folder and no model."""
    if path.is_file():
        return may_be_tokenizer(path)
    return any((path / name).is_file() for name in _FILES) and not any((path / name).is_file() for name in _MODEL_FILES)


def at_hand() -> dict[str, Tokenizer]:
    """GPT-2's, LLaMA 2's and LLaMA 3's tokenizers, as far as they are on this machine."""
    found = {}
    for name in REPOSITORIES:
        for path in _places(name):
            try:
                found[name] = read_tokenizer_file(path)
                break
            except LlamariumError as error:
                progress.say(f"{path} is passed over: {error.message}")
    return found


def _places(name: str) -> Iterator[Path]:
    cache = Path(os.environ.get("HF_HUB_CACHE") or Path(os.environ.get("HF_HOME") or Path.home() / ".cache" / "huggingface") / "hub")
    for repository in REPOSITORIES[name]:
        folders = [catalogue.folder_of(f"hf:{repository}")] if "/" in repository else []
        folders += sorted((cache / f"models--{repository.replace('/', '--')}" / "snapshots").glob("*"))
        yield from (folder / file for folder in folders for file in _FILES if (folder / file).is_file())
    if name in PACKAGES:
        package, file = PACKAGES[name]
        spec = importlib.util.find_spec(package)
        for folder in (spec.submodule_search_locations or ()) if spec else ():
            if (Path(folder) / file).is_file():
                yield Path(folder) / file


class Sample:
    """Documents of one side of a corpus, of about `most_bytes` together.

    A document is in it if its id, read as a share of all ids, is small enough: the same ones every time, spread over the whole corpus,
    and a larger sample holds all of a smaller one.
    """

    def __init__(self, corpus: Corpus, split: str, *, most_bytes: int) -> None:
        self._corpus, self._split = corpus, split
        self.total_bytes, self.total_documents = corpus.num_bytes(split), corpus.num_documents(split)
        self.share = min(1.0, most_bytes / max(1, self.total_bytes))
        self.num_documents = self.num_bytes = 0
        if not self.total_documents:
            raise UsageError(f"There are no documents in the {split} part of {corpus.folder}.", hint="`llamarium prepare` a larger text.")

    def documents(self, doing: str) -> Iterator[Document]:
        """The documents, in the corpus's order, with progress under the name `doing`. There is at least one."""
        self.num_documents = self.num_bytes = 0
        nearest: tuple[float, Document] | None = None
        with progress.task(doing, self.total_bytes) as work:
            for document in self._corpus.documents(self._split):
                num_bytes = len(document.text.encode("utf-8", "surrogatepass"))
                draw = int(document.id, 16) / (1 << 64) if self.share < 1 else 0.0
                if draw < self.share:
                    self._note(num_bytes)
                    yield document
                elif not self.num_documents and (nearest is None or draw < nearest[0]):
                    nearest = (draw, document)
                work.advance(num_bytes)
        if not self.num_documents and nearest is not None:
            self._note(len(nearest[1].text.encode("utf-8", "surrogatepass")))
            yield nearest[1]

    def _note(self, num_bytes: int) -> None:
        self.num_documents += 1
        self.num_bytes += num_bytes

    def sentence(self) -> str:
        """What was taken."""
        if self.share == 1:
            return f"all {self.total_documents:,} documents ({progress.size(self.total_bytes)}) of the {self._split} part"
        return (
            f"{self.num_documents:,} of {self.total_documents:,} documents ({progress.size(self.num_bytes)} of "
            f"{progress.size(self.total_bytes)}) of the {self._split} part, chosen by their ids"
        )

    def as_json(self) -> dict[str, Any]:
        """The same as JSON values, with which corpus it was."""
        return {
            "corpus": self._corpus.digest,
            "split": self._split,
            "documents": self.num_documents,
            "bytes": self.num_bytes,
            "of_documents": self.total_documents,
            "of_bytes": self.total_bytes,
        }
