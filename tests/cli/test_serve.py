from __future__ import annotations

import socket
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from llamarium.checkpoint import huggingface
from llamarium.cli.main import run
from llamarium.models import llama
from llamarium.server import run as server
from llamarium.server.application import Application
from llamarium.tokens.train import bytes_tokenizer


@pytest.fixture
def model(tmp_path: Path) -> Path:
    tokenizer = bytes_tokenizer()
    torch.manual_seed(0)
    network = llama.Model(replace(llama.TINY, vocab_size=tokenizer.vocab_size))
    network.initialize()
    huggingface.save_folder(tmp_path / "model", network, tokenizer)
    return tmp_path / "model"


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        ("no-such-model --port 0", 2, "no-such-model"),
        ("{home}/note.txt --port 0", 3, "not a GGUF file"),
        ("{model} --port 0 --index {home}/absent", 2, "does not exist"),
        ("{model} --port 0 --index {home}/note.txt", 3, "cannot be used as an index"),
        ("{model} --port 0 --docs {home}/absent", 2, "does not exist"),
        ("{model} --port 0 --docs {home} --index {home}/x", 2, "not both"),
        ("{model} --port 0 --docs {home} --store qdrant://127.0.0.1:9", 2, "of an index"),
        ("{model} --port 0 --embeddings http://127.0.0.1:9", 2, "of an index"),
        ("{model} --port 0 --api-key-file {home}/absent", 2, "does not exist"),
        ("{model} --port 0 --api-key-file {home}/empty", 3, "no key"),
        ("{model} --host not.a.host.invalid --port 0 --api-key-file {home}/note.txt", 2, "no address"),
        ("{model} --port 70000", 2, "65535"),
    ],
)
def test_wrong_use(model: Path, options: str, code: int, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    (model.parent / "note.txt").write_text("a-note-about-llamas")
    (model.parent / "empty").write_text("")
    assert run(["serve", *options.format(model=model, home=model.parent).split()]) == code
    assert said in capsys.readouterr().err


def test_a_port_that_is_taken(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        assert run(["serve", str(model), "--port", str(other.getsockname()[1])]) == 2
    heard = capsys.readouterr().err
    assert "cannot be listened on" in heard
    assert "--port" in heard


def test_without_its_packages_it_names_the_extra(model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    assert run(["serve", str(model)]) == 2
    assert "llamarium[serve]" in capsys.readouterr().err


def test_it_says_where_and_tells_nobody_where_the_model_lies(
    model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], said: list[str]
) -> None:
    (model.parent / "docs").mkdir()
    (model.parent / "docs" / "a.txt").write_text("Llamas hum.")
    (model.parent / "docs" / "photo.png").write_bytes(b"\x89PNG")
    served: list[Application] = []

    def once(application: Application, bound: socket.socket, *, ready: object) -> None:
        served.append(application)
        assert callable(ready)
        ready()

    monkeypatch.setattr(server, "serve", once)
    assert run(["serve", str(model), "--port", "0", "--docs", str(model.parent / "docs")]) == 0
    assert capsys.readouterr().out.startswith("http://127.0.0.1:")
    assert served[0].chat.name == "model"
    assert said == ["left out photo.png: no reader for .png", "it is served there; Ctrl-C ends it"]
