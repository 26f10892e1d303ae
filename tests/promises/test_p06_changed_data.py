"""P6: data, tokenizer and base model are what they were when a run goes on, or it is refused, by name, with nothing changed."""

from __future__ import annotations

import json
import random
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from llamarium.checkpoint import huggingface
from llamarium.cli import main
from llamarium.models import llama
from llamarium.text.prepare import prepare
from llamarium.tokens import shards
from llamarium.tokens.tokenizer import Tokenizer
from llamarium.tokens.train import bytes_tokenizer

BLOCK = 64  # bytes whose sums the indexes here have, so that small files have several
STEPS = 4
SENTENCES = ("The llama eats green grass", "The old shepherd follows the river", "An alpaca fears the snow", "My sheep keeps warm")

RECIPES: dict[str, dict[str, Any]] = {
    "plain": {},
    "mixed": {"data": {"corpus": [{"path": "corpus", "weight": 0.7}, {"path": "other", "weight": 0.3}], "tokenizer": "bytes"}},
    "lora": {"data": {"corpus": "corpus"}, "model": {"from": "base"}, "lora": {"rank": 2}},
    "whole": {"data": {"corpus": "corpus"}, "model": {"from": "base"}},
    "sft": {"data": {"corpus": "talk.jsonl", "tokenizer": "bytes"}, "train": {"objective": "sft", "sequence_length": 96}},
}


@dataclass(frozen=True)
class Place:
    """A folder with corpora, a base model, conversations, and for each recipe a run that was stopped half-way."""

    folder: Path

    def copy(self, folder: Path) -> Place:
        shutil.copytree(self.folder, folder)
        return Place(folder)

    def everything(self) -> dict[str, bytes]:
        return {str(path.relative_to(self.folder)): path.read_bytes() for path in self.folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    folder, draw = tmp_path_factory.mktemp("changed") / "place", random.Random(1)
    for name in ("corpus", "other"):
        (folder / "text" / name).mkdir(parents=True)
        for number in range(16):
            lines = [f"{draw.choice(SENTENCES)}, {draw.randrange(1000)} times in {name}." for _ in range(draw.randrange(3, 10))]
            (folder / "text" / name / f"{number}.txt").write_text("\n".join(lines))
        prepare([folder / "text" / name], folder / name)
    talk = [[{"role": "user", "content": f"Day {n}?"}, {"role": "assistant", "content": f"Snow, {n}."}] for n in range(30)]
    (folder / "talk.jsonl").write_text("\n".join(json.dumps({"messages": messages}) for messages in talk))
    tokenizer = bytes_tokenizer()
    torch.manual_seed(0)
    base = llama.Model(llama.Config(vocab_size=tokenizer.vocab_size, width=16, layers=1, heads=1, context_length=96))
    base.initialize()
    huggingface.save_folder(folder / "base", base, tokenizer)

    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(shards, "BLOCK_BYTES", BLOCK)
        for name, sections in RECIPES.items():
            train = {"batch_tokens": 192, "sequence_length": 32, "save_every": 2, "validation_tokens": 100, "precision": "float32"}
            values = {
                "name": name,
                "data": {"corpus": "corpus", "tokenizer": "bytes"},
                "model": {"layers": 1, "width": 16, "heads": 1},
                **sections,
                "train": train | {"steps": STEPS, "compile": False} | sections.get("train", {}),
            }
            Path(f"{name}.yaml").write_text(yaml.safe_dump(values))
            assert main.run(["train", f"{name}.yaml", "--set", "train.steps=2"]) == 0
    index = json.loads((folder / "runs" / "plain" / "tokens" / "index.json").read_text())
    assert [bool(shard["bytes"]) for shard in index["shards"]] == [True, True], "there is validation text"
    return Place(folder)


def flip(path: Path, place: int) -> None:
    """Change one bit."""
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)


def replace(path: Path, old: str, new: str) -> int:
    """Change one byte; returns which."""
    text = path.read_text(encoding="utf-8")
    assert len(old) == len(new)
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    return text.index(old)


def some_byte(share: float) -> Callable[[Path], int]:
    """The byte after this share of a file."""

    def change(path: Path) -> int:
        where = min(int(share * path.stat().st_size), path.stat().st_size - 1)
        flip(path, where)
        return where

    return change


def written(old: str, new: str) -> Callable[[Path], int]:
    return lambda path: replace(path, old, new)


def number_in_the_index(split: str, key: str) -> Callable[[Path], int]:
    """One number of the index is another one: its last digit is, so that no other byte moves."""

    def change(path: Path) -> int:
        text = path.read_text(encoding="utf-8")
        entry = text.index(f'"split": "{split}"')
        start = text.index(f'"{key}": [', entry)
        found = re.compile(r"([0-9])(?=,|\s*\])").search(text, text.index("," if key == "offsets" else "[", start) + 1)
        assert found
        other = "1" if found[1] != "1" else "2"
        path.write_text(text[: found.start()] + other + text[found.end() :], encoding="utf-8")
        return found.start()

    return change


RUN = "runs/{name}"
CHANGES: dict[str, tuple[str, str, Callable[[Path], int]]] = {
    **{f"{share:.0%} into a shard": ("plain", f"{RUN}/tokens/train-00000.bin", some_byte(share)) for share in (0.0, 0.2, 0.5, 0.77, 1.0)},
    "a validation shard": ("plain", f"{RUN}/tokens/valid-00000.bin", some_byte(0.5)),
    "a second corpus": ("mixed", f"{RUN}/tokens/01/train-00000.bin", some_byte(0.3)),
    "a mask": ("sft", f"{RUN}/tokens/train-00000.learns", some_byte(0.6)),
    "a border of documents": ("plain", f"{RUN}/tokens/index.json", number_in_the_index("train", "offsets")),
    "a size of a validation document": ("plain", f"{RUN}/tokens/index.json", number_in_the_index("valid", "bytes")),
    "a tokenizer": ("plain", f"{RUN}/tokenizer/tokenizer.json", written('"ByteLevel"', '"ByteLEvel"')),
    "a chat template": ("sft", f"{RUN}/tokenizer/tokenizer_config.json", written("assistant", "assistent")),
    "weights of a base": ("lora", "base/model.safetensors", some_byte(0.9)),
    "the shape of a base": ("lora", "base/config.json", written('"rope_theta": 1', '"rope_theta": 2')),
    "the shape of what was continued": ("whole", "base/config.json", written('"rope_theta": 1', '"rope_theta": 2')),
    "the tokenizer of a base": ("lora", "base/tokenizer.json", written('"ByteLevel"', '"ByteLEvel"')),
}
WITHOUT_RANGE = (".json", ".safetensors")  # of these no sums of blocks are kept


def refuses(change: str, place: Place, folder: Path, errors: Callable[[], str]) -> None:
    """One byte changed: the run is refused in words that say where, and leaves everything as it was."""
    name, file, spoil = CHANGES[change]
    changed = place.copy(folder / "place")
    path = Path(file.format(name=name))
    where = spoil(changed.folder / path)
    before = changed.everything()
    errors()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(changed.folder)
        patch.setattr(shards, "BLOCK_BYTES", BLOCK)
        code = main.run(["train", f"{name}.yaml", "--resume"])
    said = errors()
    assert code in (2, 3), said
    error = next(line for line in said.splitlines() if line.startswith("error: "))
    assert "hint: " in said
    known = path.parent if path.parts[0] == "base" or path.name == "tokenizer_config.json" else path
    assert str(known) in error
    if path.suffix not in WITHOUT_RANGE:
        found = re.search(r"between byte (\d+) and byte (\d+)", error)
        assert found, error
        assert int(found[1]) <= where < int(found[2]) <= int(found[1]) + BLOCK
    unchanged = changed.everything() == before
    assert unchanged


@pytest.fixture
def errors(capsys: pytest.CaptureFixture[str]) -> Callable[[], str]:
    """What was said on the error stream since the last time."""
    return lambda: capsys.readouterr().err


@pytest.mark.parametrize("change", CHANGES)
def test_one_changed_byte_is_refused_by_name(change: str, place: Place, tmp_path: Path, errors: Callable[[], str]) -> None:
    refuses(change, place, tmp_path, errors)


@pytest.mark.parametrize("name", RECIPES)
def test_unchanged_it_goes_on(name: str, place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place.copy(tmp_path / "place").folder)
    monkeypatch.setattr(shards, "BLOCK_BYTES", BLOCK)
    assert main.run(["train", f"{name}.yaml", "--resume"]) == 0


def nothing_is_verified(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(shards, "_verify", lambda shard: None)


def nothing_is_compared(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("llamarium.train.run._check_identity", lambda *each: None)
    patch.setattr(Tokenizer, "sha256", "")
    patch.setattr(shards, "read_shards", _of_any_tokenizer(shards.read_shards))


def _of_any_tokenizer(read: Callable[..., shards.Shards]) -> Callable[..., shards.Shards]:
    def reading(folder: Path, *, verify: bool = False) -> shards.Shards:
        found = read(folder, verify=verify)
        return shards.Shards("", found.vocab_size, found.splits)

    return reading


@pytest.mark.parametrize(
    ("broken", "change"),
    [
        (nothing_is_verified, "50% into a shard"),
        (nothing_is_verified, "a mask"),
        (nothing_is_verified, "a second corpus"),
        (nothing_is_compared, "a border of documents"),
        (nothing_is_compared, "a size of a validation document"),
        (nothing_is_compared, "a chat template"),
        (nothing_is_compared, "weights of a base"),
        (nothing_is_compared, "the shape of a base"),
    ],
)
def test_control_what_is_not_looked_at_is_noticed(  # noqa: PLR0917
    broken: Callable[[pytest.MonkeyPatch], None],
    change: str,
    place: Place,
    tmp_path: Path,
    errors: Callable[[], str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    broken(monkeypatch)
    with pytest.raises(AssertionError):
        refuses(change, place, tmp_path, errors)


def test_what_is_refused_does_not_grow_first(
    place: Place, tmp_path: Path, errors: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The corpus has new documents, and a shard of the run is damaged: nothing joins it."""
    changed = place.copy(tmp_path / "place")
    monkeypatch.chdir(changed.folder)
    monkeypatch.setattr(shards, "BLOCK_BYTES", BLOCK)
    Path("text/corpus/new.txt").write_text("A day that nobody had seen.\n" * 9)
    prepare([Path("text/corpus")], Path("corpus"), force=True)
    flip(Path("runs/plain/tokens/train-00000.bin"), 100)
    before = changed.everything()
    assert main.run(["train", "plain.yaml", "--resume", "--set", "data.grow=true"]) == 3
    assert "between byte 64 and byte 128" in errors()
    unchanged = changed.everything() == before
    assert unchanged
