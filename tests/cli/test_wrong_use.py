"""Wrong use is met well: the exit code says whose fault it was, one sentence says what is wrong, a hint says what to do."""

from __future__ import annotations

import json
import shutil
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from llamarium.checkpoint import huggingface, store
from llamarium.cli.main import INFRASTRUCTURE, build_app, run
from llamarium.ground import registry
from llamarium.models import llama
from llamarium.text.prepare import prepare
from llamarium.tokens.train import bytes_tokenizer

PNG = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + b"IHDR" + struct.pack(">II", 64, 64) + bytes([8, 2, 0, 0, 0]) + bytes(range(256)) * 20
RECIPE: dict[str, Any] = {
    "name": "run",
    "data": {"corpus": "corpus", "tokenizer": "bytes"},
    "model": {"layers": 1, "width": 16, "heads": 1},
    "train": {"steps": 2, "batch_tokens": 64, "sequence_length": 32, "precision": "float32"},
}


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Everything in good order: text, a corpus, a tokenizer, a model, a recipe."""
    folder = tmp_path_factory.mktemp("workshop")
    (folder / "text").mkdir()
    for number in range(8):
        (folder / "text" / f"{number}.txt").write_text(f"The llama number {number} eats grass and sleeps for {number} hours in the hay.")
    prepare([folder / "text"], folder / "corpus")
    tokenizer = bytes_tokenizer()
    tokenizer.save(folder / "tok")
    torch.manual_seed(0)
    model = llama.Model(llama.Config(vocab_size=tokenizer.vocab_size, width=16, layers=1, heads=1, context_length=64))
    model.initialize()
    huggingface.save_folder(folder / "model", model, tokenizer)
    (folder / "recipe.yaml").write_text(yaml.safe_dump(RECIPE))
    (folder / "empty").mkdir()
    (folder / "photo.png").write_bytes(PNG)
    (folder / "photo.txt").write_bytes(PNG)
    (folder / "photos").mkdir()
    (folder / "photos" / "photo.txt").write_bytes(PNG)
    return folder


@pytest.fixture
def place(workshop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the workshop to break things in; it is the working folder."""
    shutil.copytree(workshop, tmp_path / "w")
    monkeypatch.chdir(tmp_path / "w")
    monkeypatch.setenv("LLAMARIUM_HOME", str(tmp_path / "home"))
    return tmp_path / "w"


def edit_json(path: Path, **values: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-5])


def stopped_run(place: Path) -> None:
    """A run whose only checkpoint is truncated."""
    path = store.write(place / "runs" / "run" / "checkpoints", 1, weights={"w": torch.ones(9)}, optimizer={}, state={})
    cut(path / "model.safetensors")


def finished_run(place: Path) -> None:
    (place / "runs" / "run").mkdir(parents=True)
    (place / "runs" / "run" / "recipe.yaml").write_text(yaml.safe_dump(RECIPE))


def to_model(place: Path) -> None:
    (place / "from.yaml").write_text(yaml.safe_dump(RECIPE | {"model": {"from": "model"}, "data": {"corpus": "corpus"}}))


def to_cut_model(place: Path) -> None:
    to_model(place)
    cut(place / "model" / "model.safetensors")


def a_file_in_the_way(place: Path) -> None:
    (place / "runs").mkdir()
    (place / "runs" / "run").write_text("x")


@dataclass(frozen=True)
class Misuse:
    """A command line and how it must be met: exit code, words of the sentence, words of the hint; and what is broken before it."""

    line: str
    code: int
    said: str
    hint: str
    before: Callable[[Path], object] = lambda place: None


def file(name: str, content: str | bytes) -> Callable[[Path], object]:
    return lambda place: (place / name).write_bytes(content.encode() if isinstance(content, str) else content)


MISUSES = [
    # --- train: the recipe
    Misuse("train absent.yaml", 2, "absent.yaml does not exist", "recipes/"),
    Misuse("train empty", 2, "is a folder", "recipes/"),
    Misuse("train photo.png", 3, "photo.png", "YAML"),
    Misuse("train bad.yaml", 2, "not valid YAML", "", file("bad.yaml", "name: [")),
    Misuse("train bad.yaml", 2, "is empty", "recipes/", file("bad.yaml", "")),
    Misuse("train recipe.yaml --set train.stpes=3", 2, "unknown key 'train.stpes'", "Did you mean 'steps'?"),
    Misuse("train recipe.yaml --set colour=red", 2, "unknown key 'colour'", "lora"),
    Misuse("train recipe.yaml --set train.steps", 2, "--set takes key=value", "--set train.steps=200"),
    Misuse("train recipe.yaml --set train.steps=-5", 2, "train.steps", ""),
    Misuse("train recipe.yaml --set train.steps=many", 2, "train.steps", ""),
    Misuse("train recipe.yaml --set train.minutes=1", 2, "exactly one of steps, tokens, minutes", ""),
    Misuse("train recipe.yaml --set train.batch_tokens=31", 2, "batch_tokens 31 is less than one sequence of 32", ""),
    Misuse("train recipe.yaml --set name=../elsewhere", 2, "name", ""),
    Misuse("train recipe.yaml --set model.family=lama", 2, "'lama'", "Did you mean 'llama'?"),
    Misuse("train recipe.yaml --set model.layers=1000000000", 2, "1,000,000,000 layers", ""),
    Misuse("train recipe.yaml --set model.heads=0", 2, "model: ", ""),
    Misuse("train recipe.yaml --set train.device=gpu", 2, "'gpu'", "Did you mean"),
    Misuse("train recipe.yaml --set lora.rank=2", 2, "lora: it needs a model", ""),
    Misuse("train recipe.yaml --dry-run --set optimizer.schedule=cosin", 2, "'cosin'", "Did you mean 'cosine'?"),
    # --- train: what it names
    Misuse("train recipe.yaml --set data.corpus=corpsu", 2, "corpsu does not exist", "llamarium prepare"),
    Misuse("train recipe.yaml --set data.corpus=photo.txt", 2, "is a file", "llamarium prepare"),
    Misuse("train recipe.yaml --set data.corpus=empty", 3, "empty", ""),
    Misuse("train recipe.yaml", 3, "train-00000.parquet", "", lambda place: cut(place / "corpus" / "train-00000.parquet")),
    Misuse("train recipe.yaml --set data.tokenizer=tko", 2, "tko has no tokenizer.json", "llamarium tokenizer train"),
    Misuse("train recipe.yaml --set data.tokenizer=tok", 3, "tokenizer.json", "", file("tok/tokenizer.json", "garbage")),
    Misuse("train recipe.yaml --set data.tokenizer=tok", 3, "tokenizer.json", "", file("tok/tokenizer.json", '{"model": {"type": "BPE"}}')),
    Misuse("train from.yaml --set model.from=smollm2-135m-instrct", 2, "smollm2-135m-instrct", "Did you mean", to_model),
    Misuse("train from.yaml", 3, "model.safetensors", "", to_cut_model),
    Misuse("train recipe.yaml", 2, "runs/run exists", "--resume", finished_run),
    Misuse("train recipe.yaml --resume --set seed=9", 2, "`seed` is not what this run began with", "recipe.yaml", finished_run),
    Misuse("train recipe.yaml", 2, "is a file", "another name", a_file_in_the_way),
    # --- a MODEL, for every verb that takes one
    *(
        Misuse(line.format(name), code, said, hint, before)
        for line in (
            "generate {} Once",
            "chat {} Hello",
            "evaluate {} --data corpus",
            "score {} text/0.txt",
            "export {} --to hf --out out",
            "tokenizer inspect {} x",
        )
        for name, code, said, hint, before in [
            ("smollm2-135m-instrct", 2, "smollm2-135m-instrct", "Did you mean", lambda place: None),
            ("empty", 3, "is an empty folder", "A model is", lambda place: None),
            ("text", 3, "holds no model", "A model is", lambda place: None),
            ("photo.png", 3, "not a GGUF file", "A model is", lambda place: None),
            ("letter.gguf", 3, "not a GGUF file", "A model is", file("letter.gguf", "Dear llama, this is no model.")),
            ("short.gguf", 3, "short.gguf", "", file("short.gguf", b"GGUF\x03\0\0\0\xff")),
            ("runs/run", 3, "none of its 1 checkpoints is valid", "--resume", stopped_run),
            ("runs/run/checkpoints/step-00000001", 3, "model.safetensors", "", stopped_run),
        ]
    ),
    *(
        Misuse(line, code, said, hint, before)
        for line in ("generate model Once", "evaluate model --data corpus", "export model --out out")
        for code, said, hint, before in [
            (3, "model.safetensors", "download", lambda place: cut(place / "model" / "model.safetensors")),
            (3, "model.safetensors", "", file("model/model.safetensors", "garbage")),
            (3, "model.safetensors", "", lambda place: (place / "model" / "model.safetensors").unlink()),
            (3, "config.json", "", file("model/config.json", "garbage")),
            (3, "1,000,000,000 layers", "", lambda place: edit_json(place / "model" / "config.json", num_hidden_layers=10**9)),
            (3, "shape", "", lambda place: edit_json(place / "model" / "config.json", hidden_size=10**12)),
            (3, "config.json", "", lambda place: edit_json(place / "model" / "config.json", num_attention_heads=0)),
            (3, "config.json", "", lambda place: edit_json(place / "model" / "config.json", vocab_size="many")),
            (3, "'whale'", "", lambda place: edit_json(place / "model" / "config.json", model_type="whale")),
            (3, "tokenizer.json", "", file("model/tokenizer.json", "garbage")),
            (3, "tokenizer.json", "", file("model/tokenizer.json", '{"model": []}')),
        ]
    ),
    # --- generate and chat
    *(
        Misuse(f"{verb} {options}", 2, said, hint)
        for verb in ("generate model Once", "chat model Hello")
        for options, said, hint in [
            ("--temperature -1", "temperature", ""),
            ("--temperature nan", "temperature", ""),
            ("--top-p 0", "top_p", "--temperature 0"),
            ("--top-p 1.5", "top_p", ""),
            ("--max-tokens 0", "max_tokens", ""),
            ("--seed -1", "seed", ""),
            ("--dtype float23", "'float23'", "Did you mean 'float32'?"),
            ("--device gpu", "'gpu'", "Did you mean"),
        ]
    ),
    Misuse(f"generate model {'long' * 40}", 2, "The prompt has 160 tokens; the model's context holds 64", "Shorten the prompt."),
    Misuse(f"chat model {'long' * 40}", 2, "the model's context holds 64", "Shorten the prompt."),
    # --- evaluate, export, tokenizer
    Misuse("evaluate model --data corpsu", 2, "corpsu does not exist", "llamarium prepare"),
    Misuse("evaluate model --data text", 3, "text", ""),
    Misuse("evaluate model --data corpus", 3, "valid-00000.parquet", "", lambda place: cut(place / "corpus" / "valid-00000.parquet")),
    Misuse("score model absent.txt", 2, "absent.txt does not exist", "standard input"),
    Misuse("score model text", 2, "text is a folder", "FILE"),
    Misuse("score model photo.png", 3, "photo.png, line 1, byte 0: is not UTF-8 text", "UTF-8"),
    Misuse("score model text/0.txt --by tokens", 2, "'tokens'", "Did you mean 'token'?"),
    Misuse("score model text/0.txt --weight 2", 2, "--weight", "--nbest"),
    Misuse("score model text/0.txt --all", 2, "--all", "--nbest"),
    Misuse("score model text/0.txt --nbest --weight nan", 2, "--weight", "--weight 0.5"),
    Misuse("score model text/0.txt --nbest", 3, "text/0.txt, line 1: has no id", "id ||| text"),
    Misuse("score model bad.nbest --nbest", 3, "bad.nbest, line 2: has 'many'", "id ||| text", file("bad.nbest", "1\t-1\ta\n1\tmany\tb\n")),
    # --- ladder
    Misuse("ladder corpsu --out out", 2, "corpsu does not exist", "llamarium prepare"),
    Misuse("ladder corpus --out tok", 2, "tok", "--out"),
    Misuse("ladder corpus --out out --size large", 2, "--size: a size is a number of weights such as 10M", ""),
    Misuse("ladder corpus --out out --vocab-size 100", 2, "at least 259", "--vocab-size"),
    Misuse("ladder corpus --out out --catalogue smollm2-135m-instrct", 2, "smollm2-135m-instrct", "Did you mean"),
    Misuse("export model --to hf --out tok", 2, "tok exists", "--out"),
    Misuse("export model --to hg --out out", 2, "'hg'", "hf"),
    Misuse("serve modle", 2, "modle", ""),
    Misuse("serve model --host 0.0.0.0", 2, "there is no key", "--api-key-file"),
    Misuse("serve model --docs text --index x.db", 2, "not both", "llamarium index"),
    Misuse("serve model --docs texts", 2, "texts", ""),
    Misuse("tokenizer train corpus --vocab-size 100 --out out", 2, "at least 259", "--vocab-size"),
    Misuse("tokenizer train corpus --vocab-size 300 --out tok", 2, "tok exists", "--out"),
    Misuse("tokenizer train corpsu --vocab-size 300 --out out", 2, "corpsu does not exist", "llamarium prepare"),
    Misuse("tokenizer inspect tok x", 3, "tokenizer.json", "", file("tok/tokenizer.json", "garbage")),
    # --- prepare and read
    Misuse("prepare texts --out out", 2, "texts", ""),
    Misuse("prepare empty --out out", 3, "no files", "can be read"),
    Misuse("prepare photo.txt --out out", 3, "photo.txt", "can be read"),
    Misuse("prepare photos --out out", 3, "photo.txt", "can be read"),
    Misuse("prepare text photos --out out --strict", 3, "photo.txt", "Without --strict"),
    Misuse("prepare text --out corpus", 2, "There is a corpus at corpus already", "--force"),
    Misuse("prepare text --out tok --force", 2, "not a corpus", "--out"),
    Misuse("prepare text --out out --engine spark", 2, "'spark'", "local"),
    Misuse("read absent.txt", 2, "absent.txt", ""),
    Misuse("read photo.txt", 3, "photo.txt", ""),
    Misuse("read photo.png", 3, "photo.png", ""),
    Misuse("read text", 2, "text", ""),
    # --- ask and index
    Misuse("ask Why?", 2, "either --docs or --index", "--docs DIR"),
    Misuse("ask Why? --docs text --index photo.txt", 2, "either --docs or --index", "--docs DIR"),
    Misuse("ask Why? --docs texts", 2, "texts", ""),
    Misuse("ask Why? --index absent.db", 2, "absent.db", "llamarium index"),
    Misuse("ask Why? --index photo.txt", 3, "photo.txt", "llamarium index"),
    Misuse("index texts --out x.db", 2, "texts", ""),
    Misuse("index photos --out x.db", 3, "photo", ""),
    # --- ladder
    Misuse("ladder corpsu --out out", 2, "corpsu does not exist", "llamarium prepare"),
    Misuse("ladder text --out out", 3, "text", ""),
    Misuse("ladder corpus --out out --size many", 2, "--size: a size is a number of weights", ""),
    Misuse("ladder corpus --out out --size 3k --catalogue none", 2, "cannot have the size 3k", "--vocab-size"),
    Misuse("ladder corpus --out out --vocab-size 100", 2, "at least 259 pieces", "--vocab-size 2048"),
    Misuse("ladder corpus --out out --catalogue smollm2-135m-instrct", 2, "smollm2-135m-instrct", "Did you mean"),
    Misuse("ladder corpus --out out --catalogue empty", 3, "is an empty folder", "A model is"),
    Misuse("ladder corpus --out tok", 2, "tok exists", "--out"),
    Misuse("ladder corpus --out tok --resume", 2, "tok exists and is no ladder", "--out"),
    Misuse("ladder corpus --out tok --resume", 3, "ladder.json", "", file("tok/ladder.json", '{"settings": {')),
    Misuse("ladder corpus --out tok --resume", 3, "is not what a ladder writes", "--out", file("tok/ladder.json", '{"colour": 3}')),
    # --- bench
    Misuse("bench train absent", 2, "absent", ""),
    Misuse("bench train photo.png", 3, "photo.png", ""),
    Misuse("bench train model --sequence-length 128", 2, "more than the model's context of 64", "shorter"),
    # --- the others
    Misuse("pull smollm2-135m-instrct", 2, "smollm2-135m-instrct", "Did you mean"),
    Misuse("quickstart --text absent", 2, "absent", ""),
    Misuse("quickstart --language fr", 2, "'fr'", "en"),
    # --- a command line that cannot be understood
    Misuse("trian recipe.yaml", 2, "There is no command 'trian'", "Did you mean 'train'?"),
]


def lines_of(talk: str) -> list[str]:
    assert "Traceback" not in talk
    assert talk.endswith("\n")
    return talk.splitlines()


@pytest.mark.parametrize("misuse", MISUSES, ids=lambda misuse: f"{misuse.code}: {misuse.line[:60]}: {misuse.said[:30]}")
def test_misuse(place: Path, capsys: pytest.CaptureFixture[str], misuse: Misuse) -> None:
    misuse.before(place)
    before = sorted(place.rglob("*"))
    code = run(misuse.line.split(" "))
    out, err = capsys.readouterr()
    lines = lines_of(err)
    assert (code, out) == (misuse.code, ""), err
    assert lines[0].startswith("error: ")
    assert misuse.said in lines[0]
    assert [line[:6] for line in lines[1:]] in ([], ["hint: "])
    assert misuse.hint in "".join(lines[1:])
    assert sorted(place.rglob("*")) == before, "nothing is left behind"


VERBS = [name.replace("_", "-") for name in registry.names("llamarium.cli") if name not in INFRASTRUCTURE]


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("option", ["--no-such-option", "-Z"])
def test_an_unknown_option(verb: str, option: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([verb, option]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert option in err
    assert "Traceback" not in err


def test_every_verb_is_misused_here() -> None:
    app = build_app()
    assert app.registered_commands
    assert {misuse.line.split()[0] for misuse in MISUSES} - {"trian"} == set(VERBS) - {"doctor"}, "a new verb wants its rows"
