"""Token shards: what is written is what is read, and an index that lies is caught."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llamarium.ground.errors import BadFileError, NotFoundError, UsageError
from llamarium.tokens import shards as module
from llamarium.tokens.shards import INDEX, read_shards, require_split, write_shards
from llamarium.tokens.train import bytes_tokenizer, train_bpe

TOKENIZER = bytes_tokenizer()
TEXTS = {"train": ["one", "", "two 羊", "a\ud800b"], "valid": ["three"]}


@pytest.mark.parametrize("shard_tokens", [1 << 26, 7, 1])
def test_documents_come_back_between_their_begin_and_end_tokens(tmp_path: Path, shard_tokens: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SHARD_TOKENS", shard_tokens)
    monkeypatch.setattr(module, "BATCH_CHARACTERS", 4)
    write_shards(tmp_path, TEXTS, TOKENIZER)
    shards = read_shards(tmp_path, verify=True)
    assert (shards.tokenizer_sha256, shards.vocab_size) == (TOKENIZER.sha256, TOKENIZER.vocab_size)
    for split, texts in TEXTS.items():
        documents = [shard.document(number) for shard in shards.splits[split] for number in range(len(shard))]
        assert [document.tolist() for document in documents] == [
            [TOKENIZER.begin_id, *TOKENIZER.encode(text), TOKENIZER.end_id] for text in texts
        ]
        sizes = [int(size) for shard in shards.splits[split] for size in shard.num_bytes]
        assert sizes == [len(text.encode("utf-8", "surrogatepass")) for text in texts]
        assert shards.num_tokens(split) == sum(map(len, documents))
    if shard_tokens == 1:
        assert all(len(shard) == 1 for shard in shards.splits["train"])
    assert shards.num_tokens("nothing") == 0


@given(st.lists(st.text(max_size=8), max_size=12), st.integers(1, 12))
@settings(max_examples=20, deadline=None)
def test_no_document_is_lost_wherever_the_shards_end(tmp_path_factory: pytest.TempPathFactory, texts: list[str], shard_tokens: int) -> None:
    folder = tmp_path_factory.mktemp("shards")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "SHARD_TOKENS", shard_tokens)
        shards = write_shards(folder, {"train": iter(texts)}, TOKENIZER)
    found = [TOKENIZER.decode(shard.document(number)[1:-1].tolist()) for shard in shards.splits["train"] for number in range(len(shard))]
    assert found == texts


def test_ids_are_little_endian_and_as_narrow_as_the_vocabulary_allows(tmp_path: Path) -> None:
    write_shards(tmp_path / "narrow", {"train": ["a"]}, TOKENIZER)
    expected = np.array([TOKENIZER.begin_id, *TOKENIZER.encode("a"), TOKENIZER.end_id], dtype="<u2").tobytes()
    assert (tmp_path / "narrow" / "train-00000.bin").read_bytes() == expected
    index = json.loads((tmp_path / "narrow" / INDEX).read_text())
    assert index["shards"][0]["sha256"] == hashlib.sha256(expected).hexdigest()
    wide = bytes_tokenizer()
    wide.vocab_size = (1 << 16) + 1
    shards = write_shards(tmp_path / "wide", {"train": ["a"]}, wide)
    assert shards.splits["train"][0].tokens.dtype == np.uint32
    assert shards.splits["train"][0].tokens.tolist() == read_shards(tmp_path / "narrow").splits["train"][0].tokens.tolist()


def test_a_split_without_documents_is_there_and_is_refused_where_one_is_needed(tmp_path: Path) -> None:
    shards = write_shards(tmp_path, {"train": ["a"], "valid": []}, TOKENIZER)
    assert [len(shard) for shard in shards.splits["valid"]] == [0]
    assert shards.splits["valid"][0].tokens.tolist() == []
    assert require_split(shards, "train")
    for split in ("valid", "nothing"):
        with pytest.raises(UsageError, match=split):
            require_split(shards, split)


def test_a_folder_without_an_index_is_unfinished(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        read_shards(tmp_path)


def test_one_changed_byte_is_noticed_when_asked(tmp_path: Path) -> None:
    write_shards(tmp_path, TEXTS, TOKENIZER)
    path = tmp_path / "train-00000.bin"
    data = bytearray(path.read_bytes())
    data[3] ^= 1
    path.write_bytes(data)
    read_shards(tmp_path)
    with pytest.raises(BadFileError, match=r"train-00000\.bin.*SHA-256"):
        read_shards(tmp_path, verify=True)


def lie(**changes: Any) -> Callable[[dict[str, Any]], Any]:
    return lambda index: index | changes


def lie_of_shard(**changes: Any) -> Callable[[dict[str, Any]], Any]:
    return lambda index: index | {"shards": [index["shards"][0] | changes, *index["shards"][1:]]}


LIES: dict[str, Callable[[dict[str, Any]], Any]] = {
    "not an object": lambda index: [index],
    "no shards": lambda index: {key: value for key, value in index.items() if key != "shards"},
    "shards of no kind": lie(shards=3),
    "a shard of no kind": lie(shards=[3]),
    "an unknown type": lie(dtype="float64"),
    "a type that is none": lie(dtype=["uint16"]),
    "a missing file": lie_of_shard(file="train-00009.bin"),
    "a file elsewhere": lie_of_shard(file="../outside.bin"),
    "an absolute file": lie_of_shard(file="/etc/passwd"),
    "a file of no name": lie_of_shard(file=""),
    "a name of no file": lie_of_shard(file="a\0b"),
    "a name that is none": lie_of_shard(file=3),
    "no offsets": lie_of_shard(offsets=[]),
    "offsets of two dimensions": lie_of_shard(offsets=[[0, 5]]),
    "offsets that are words": lie_of_shard(offsets=["zero"]),
    "offsets beyond the file": lie_of_shard(offsets=[0, 2**40]),
    "offsets beyond 64 bits": lie_of_shard(offsets=[0, 2**70]),
    "offsets that fall": lie_of_shard(offsets=[0, 7, 5, 16, 23]),
    "a document without its two tokens": lie_of_shard(offsets=[0, 5, 6, 16, 23]),
    "offsets that begin later": lie_of_shard(offsets=[2, 5, 7, 16, 23]),
    "offsets below zero": lie_of_shard(offsets=[-5, 22]),
    "other sizes": lie_of_shard(bytes=[1]),
    "a size below zero": lie_of_shard(bytes=[1, 0, 7, -5]),
    "a vocabulary that is a word": lie(vocab_size="many"),
}


@pytest.mark.parametrize("change", LIES.values(), ids=LIES.keys())
@pytest.mark.timeout(2)
def test_an_index_that_lies_is_a_bad_file(tmp_path: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    folder = tmp_path / "shards"
    write_shards(folder, TEXTS, TOKENIZER)
    (tmp_path / "outside.bin").write_bytes((folder / "train-00000.bin").read_bytes())
    path = folder / INDEX
    path.write_text(json.dumps(change(json.loads(path.read_text()))), encoding="utf-8")
    with pytest.raises(BadFileError):
        read_shards(folder)


def test_two_tokenizers_are_told_apart(tmp_path: Path) -> None:
    other = train_bpe(["the cat"] * 3, vocab_size=270)
    assert write_shards(tmp_path, TEXTS, other).tokenizer_sha256 == other.sha256 != TOKENIZER.sha256
