"""Token shards: what is written is what is read, and an index that lies is caught."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llamarium.ground.errors import BadFileError, NotFoundError, UsageError
from llamarium.text.document import Document
from llamarium.tokens import shards as module
from llamarium.tokens.packing import IGNORED, PackedRows
from llamarium.tokens.shards import INDEX, Example, append_shards, read_shards, require_split, write_examples, write_shards
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
    begin_and_end = 2
    assert shards.num_tokens("train") == sum(len(TOKENIZER.encode(text)) + begin_and_end for text in texts)


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


@pytest.mark.parametrize(
    ("changed", "offset", "sentence"),
    [
        ([3], 0, "between byte 0 and byte 16"),
        ([16], 16, "between byte 16 and byte 32"),
        ([31, 33], 16, "between byte 16 and byte 48"),
        ([-1], 48, "between byte 48 and byte 50"),
    ],
)
def test_a_changed_shard_is_named_with_the_bytes_between_which_it_differs(
    tmp_path: Path, changed: list[int], offset: int, sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BLOCK_BYTES", 16)
    write_shards(tmp_path, {"train": ["x" * 23], "valid": ["b"]}, TOKENIZER)
    path = tmp_path / "train-00000.bin"
    data = bytearray(path.read_bytes())
    assert len(data) == 50
    for place in changed:
        data[place] ^= 1
    path.write_bytes(data)
    with pytest.raises(BadFileError, match=f"train-00000.*{sentence}:") as caught:
        read_shards(tmp_path, verify=True)
    assert caught.value.offset == offset
    assert caught.value.path == str(path)


def test_an_index_without_blocks_and_ids_opens_and_still_notices_a_change(tmp_path: Path) -> None:
    written = write_shards(tmp_path, {"train": ["one", "two"]}, TOKENIZER)
    index = json.loads((tmp_path / INDEX).read_text())
    assert index["shards"][0].pop("blocks")
    (tmp_path / INDEX).write_text(json.dumps(index))
    opened = read_shards(tmp_path, verify=True)
    assert opened.splits["train"][0].digest == written.splits["train"][0].digest
    path = tmp_path / "train-00000.bin"
    path.write_bytes(bytes(path.stat().st_size))
    with pytest.raises(BadFileError, match="says: its tokens") as caught:
        read_shards(tmp_path, verify=True)
    assert caught.value.offset is None


def test_blocks_are_those_of_a_mebibyte(tmp_path: Path) -> None:
    write_shards(tmp_path, {"train": ["x" * 700_000]}, TOKENIZER)
    data = (tmp_path / "train-00000.bin").read_bytes()
    blocks = json.loads((tmp_path / INDEX).read_text())["shards"][0]["blocks"]
    assert blocks == [hashlib.sha256(piece).hexdigest() for piece in (data[: 1 << 20], data[1 << 20 :])]


def test_a_digest_is_what_runs_have_in_their_checkpoints_and_knows_documents_and_masks(tmp_path: Path) -> None:
    shard = write_shards(tmp_path, {"train": ["ab", "c"]}, TOKENIZER).splits["train"][0]
    assert shard.digest == hashlib.sha256(shard.sha256.encode() + shard.offsets.tobytes()).hexdigest()
    ids = np.asarray(shard.tokens)
    whole = Example(ids, None, 3)
    digests = {shard.digest}
    for number, examples in enumerate(
        [[whole], [Example(ids, np.ones(len(ids), np.uint8), 3)], [Example(ids, np.zeros(len(ids), np.uint8), 3)]]
    ):
        digests.add(write_examples(tmp_path / str(number), {"train": examples}, TOKENIZER).splits["train"][0].digest)
    assert len(digests) == 4


def test_an_error_of_the_texts_or_of_the_tokenizer_comes_through(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One batch is encoded elsewhere while the one before is written; neither loses what goes wrong."""
    monkeypatch.setattr(module, "BATCH_CHARACTERS", 2)

    def texts() -> Iterator[str]:
        yield from ["one", "two", "three"]
        raise UsageError("no more")

    with pytest.raises(UsageError, match="no more"):
        write_shards(tmp_path / "texts", {"train": texts()}, TOKENIZER)

    def fail(batch: list[str]) -> list[list[int]]:
        raise BadFileError("tokenizer.json", "cannot encode a text.")

    broken = bytes_tokenizer()
    monkeypatch.setattr(broken, "encode_batch", fail)
    with pytest.raises(BadFileError, match="cannot encode"):
        write_shards(tmp_path / "tokenizer", {"train": ["one", "two"]}, broken)
    assert not list(tmp_path.rglob(INDEX))


# --- Ids of documents, and a corpus that grows -------------------------------------------------------------------------


def named(texts: list[str]) -> list[tuple[str, str]]:
    return [(Document(text, "somewhere").id, text) for text in texts]


def test_ids_of_documents_are_kept_where_they_are_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SHARD_TOKENS", 9)
    texts = ["one", "", "four", "five and more"]
    shards = write_shards(tmp_path, {"train": named(texts), "valid": ["nameless"], "none": []}, TOKENIZER)
    assert len(shards.splits["train"]) > 1
    assert shards.document_ids("train") == {name for name, _ in named(texts)}
    assert shards.document_ids("valid") is None
    assert shards.document_ids("none") == shards.document_ids("nothing") == set()
    assert [shard.ids for shard in shards.splits["valid"]] == [None]
    plain = write_shards(tmp_path / "plain", {"train": texts}, TOKENIZER)
    assert [shard.digest for shard in plain.splits["train"]] == [shard.digest for shard in shards.splits["train"]]
    assert plain.document_ids("train") is None


@given(st.lists(st.lists(st.text(max_size=6), max_size=6), min_size=1, max_size=4), st.integers(1, 20))
@settings(max_examples=25, deadline=None)
def test_what_is_appended_follows_what_is_there(
    tmp_path_factory: pytest.TempPathFactory, portions: list[list[str]], shard_tokens: int
) -> None:
    folder = tmp_path_factory.mktemp("shards")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "SHARD_TOKENS", shard_tokens)
        patch.setattr(os, "fsync", lambda descriptor: None)
        shards = write_shards(folder, {"train": named(portions[0]), "valid": ["v"]}, TOKENIZER)
        for portion in portions[1:]:
            before, files_before = shards, {path.name: path.read_bytes() for path in folder.glob("*.bin")}
            shards = append_shards(folder, {"train": named(portion)}, TOKENIZER)
            assert all((folder / name).read_bytes() == data for name, data in files_before.items())
            kept = shards.splits["train"][: len(before.splits["train"])]
            assert [shard.digest for shard in kept] == [shard.digest for shard in before.splits["train"]]
            assert all(len(shard) for shard in shards.splits["train"][len(kept) :])
    shards = read_shards(folder, verify=True)
    found = [TOKENIZER.decode(shard.document(number)[1:-1].tolist()) for shard in shards.splits["train"] for number in range(len(shard))]
    assert found == [text for portion in portions for text in portion]
    assert shards.document_ids("train") == {name for portion in portions for name, _ in named(portion)}
    assert [len(shard) for shard in shards.splits["valid"]] == [1]


def test_an_append_that_is_cut_off_has_added_nothing_and_can_be_made_again(tmp_path: Path) -> None:
    write_shards(tmp_path, {"train": ["one"], "valid": ["two"]}, TOKENIZER)
    index = (tmp_path / INDEX).read_bytes()

    def cut_off() -> Iterator[str]:
        yield "lost"
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        append_shards(tmp_path, {"valid": ["three"], "train": cut_off()}, TOKENIZER)
    assert (tmp_path / "valid-00001.bin").exists()
    assert (tmp_path / INDEX).read_bytes() == index
    shards = append_shards(tmp_path, {"train": ["four"], "valid": ["five"]}, TOKENIZER)
    for split, texts in {"train": ["one", "four"], "valid": ["two", "five"]}.items():
        assert [TOKENIZER.decode(shard.document(0)[1:-1].tolist()) for shard in shards.splits[split]] == texts


def test_an_append_keeps_the_index_it_finds_and_refuses_another_tokenizer(tmp_path: Path) -> None:
    write_shards(tmp_path, {"train": ["one"]}, TOKENIZER)
    index = json.loads((tmp_path / INDEX).read_text())
    append_shards(tmp_path, {"train": ["two"], "valid": ["three"]}, TOKENIZER)
    grown = json.loads((tmp_path / INDEX).read_text())
    assert grown["shards"][:1] == index["shards"]
    assert {key: value for key, value in grown.items() if key != "shards"} == {
        key: value for key, value in index.items() if key != "shards"
    }
    before = (tmp_path / INDEX).read_bytes()
    with pytest.raises(UsageError, match="another tokenizer"):
        append_shards(tmp_path, {"train": ["four"]}, train_bpe(["the cat"] * 3, vocab_size=270))
    assert (tmp_path / INDEX).read_bytes() == before
    with pytest.raises(NotFoundError):
        append_shards(tmp_path / "nowhere", {"train": ["four"]}, TOKENIZER)


# --- Examples made of ids ----------------------------------------------------------------------------------------------


def example(ids: list[int], learns: list[int] | None) -> Example:
    return Example(np.array(ids), None if learns is None else np.array(learns, np.uint8), 7)


def test_examples_come_back_as_they_are_with_their_mask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SHARD_TOKENS", 8)
    train = [example([5, 6, 7, 8], [0, 0, 1, 1]), example([9, 10, 11], None), example([1, 2, 3, 4, 5], None)]
    shards = write_examples(tmp_path, {"train": train, "valid": [example([1, 2], [0, 1])]}, TOKENIZER, totals={"train": 3})
    masked, plain = read_shards(tmp_path, verify=True).splits["train"]
    assert masked.tokens.tolist() == [5, 6, 7, 8, 9, 10, 11]
    assert masked.learns is not None
    assert masked.learns.tolist() == [0, 0, 1, 1, 1, 1, 1]
    assert masked.num_bytes.tolist() == [7, 7]
    assert plain.learns is None
    assert plain.document(0).tolist() == [1, 2, 3, 4, 5]
    entries = json.loads((tmp_path / INDEX).read_text())["shards"]
    mask = hashlib.sha256(bytes([0, 0, 1, 1, 1, 1, 1])).hexdigest()
    assert entries[0]["learns"] == {"file": "train-00000.learns", "sha256": mask, "blocks": [mask]}
    assert "learns" not in entries[1]
    packed = PackedRows(shards.splits["train"], 8)
    assert packed.row(0)[1].tolist() == [IGNORED, 7, 8, 10, 11, IGNORED, IGNORED, IGNORED]
    assert packed.num_targets == 8


def test_a_changed_mask_is_noticed(tmp_path: Path) -> None:
    write_examples(tmp_path, {"train": [example([5, 6, 7], [0, 0, 1])]}, TOKENIZER)
    path = tmp_path / "train-00000.learns"
    path.write_bytes(bytes([0, 1, 1]))
    read_shards(tmp_path)
    with pytest.raises(BadFileError, match=r"learns, byte 0: .*SHA-256.* between byte 0 and byte \d+"):
        read_shards(tmp_path, verify=True)
    path.write_bytes(bytes([0, 0]))
    with pytest.raises(BadFileError, match="has 2 bytes"):
        read_shards(tmp_path)
    path.unlink()
    with pytest.raises(BadFileError, match="missing"):
        read_shards(tmp_path)


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
    "blocks that are too many": lie_of_shard(blocks=["0" * 64] * 2),
    "blocks that are a number": lie_of_shard(blocks=3),
    "ids of fewer documents": lie_of_shard(ids="0" * 48),
    "ids that are no digits": lie_of_shard(ids="x" * 64),
    "ids that are a number": lie_of_shard(ids=3),
    "a mask elsewhere": lie_of_shard(learns={"file": "../outside.learns", "sha256": ""}),
    "a mask without a sum": lie_of_shard(learns={"file": "train-00000.bin"}),
    "a mask that is a word": lie_of_shard(learns="train-00000.bin"),
    "a shard that is a word": lie(shards=["train-00000.bin"]),
    "a vocabulary that is a word": lie(vocab_size="many"),
}


@pytest.mark.parametrize("change", LIES.values(), ids=LIES.keys())
@pytest.mark.timeout(2)
def test_an_index_that_lies_is_a_bad_file(tmp_path: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    folder = tmp_path / "shards"
    write_shards(folder, TEXTS, TOKENIZER)
    data = (folder / "train-00000.bin").read_bytes()
    (tmp_path / "outside.bin").write_bytes(data)
    (tmp_path / "outside.learns").write_bytes(data[::2])
    path = folder / INDEX
    path.write_text(json.dumps(change(json.loads(path.read_text()))), encoding="utf-8")
    with pytest.raises(BadFileError):
        read_shards(folder)


def test_two_tokenizers_are_told_apart(tmp_path: Path) -> None:
    other = train_bpe(["the cat"] * 3, vocab_size=270)
    assert write_shards(tmp_path, TEXTS, other).tokenizer_sha256 == other.sha256 != TOKENIZER.sha256
