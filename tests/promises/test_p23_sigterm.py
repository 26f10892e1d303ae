"""P23, its server part: SIGTERM makes the server not ready at once, lets what runs finish, and ends it with exit code 0."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
import torch

from llamarium.checkpoint import huggingface
from llamarium.models import llama
from llamarium.tokens.train import bytes_tokenizer

PATCHES = {
    "": "",
    "no grace": "async def now(self, seconds): pass\nrun.Server._idle = now",
    "uvicorn's own signals": "import uvicorn\nrun.Server.capture_signals = uvicorn.Server.capture_signals",
}
LAUNCH = "import sys\nfrom llamarium.server import run\n{patch}\nfrom llamarium.cli.main import main\nmain()"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights, and so slow a step that a stream takes about two seconds."""
    tokenizer = bytes_tokenizer()
    torch.manual_seed(0)
    network = llama.Model(replace(llama.TINY, vocab_size=tokenizer.vocab_size, context_length=2048, layers=4))
    network.initialize()
    folder = tmp_path_factory.mktemp("served") / "model"
    huggingface.save_folder(folder, network, tokenizer)
    return folder


@contextmanager
def served(model: Path, patch: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    command = [sys.executable, "-c", LAUNCH.format(patch=PATCHES[patch]), "serve", str(model), "--port", "0"]
    environment = os.environ | {"PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8", env=environment) as process:
        try:
            assert process.stdout is not None
            url = process.stdout.readline().strip()
            assert url.startswith("http://127.0.0.1:"), process.stderr.read() if process.stderr else ""
            yield process, url
        finally:
            process.kill()


def end(model: Path, number: int, patch: str = "") -> dict[str, Any]:
    """Send a signal in the midst of a stream; what was seen of it."""
    seen: dict[str, Any] = {"ready": []}
    with served(model, patch) as (process, url), httpx.Client(base_url=url, trust_env=False, timeout=30) as client:
        assert client.get("/readyz").status_code == 200
        body = {"messages": [{"role": "user", "content": "Hi"}], "stream": True, "max_tokens": 1200, "seed": 1}
        with client.stream("POST", "/v1/chat/completions", json=body) as stream:
            lines = stream.iter_lines()
            next(lines)
            process.send_signal(number)
            watch = threading.Thread(target=lambda: seen["ready"].extend(readiness(url)))
            watch.start()
            events = [line[6:] for line in lines if line]
        watch.join()
        seen["whole"] = events[-1] == "[DONE]"
        seen["reason"] = json.loads(events[-2])["choices"][0]["finish_reason"] if seen["whole"] else None
        seen["code"] = process.wait(20)
        assert process.stderr is not None
        seen["said"] = process.stderr.read()
    return seen


def readiness(url: str) -> list[int]:
    """What /readyz says until nobody answers."""
    found = []
    with httpx.Client(base_url=url, trust_env=False) as client:
        for _ in range(2000):
            try:
                found.append(client.get("/readyz").status_code)
            except httpx.TransportError:
                return found
    return found


def holds(seen: dict[str, Any]) -> None:
    assert seen["code"] == 0, seen["said"]
    assert seen["whole"], seen
    assert seen["reason"] in ("stop", "length")
    assert set(seen["ready"][1:]) == {503}, seen["ready"][:10]  # the first may have come before the signal
    assert "Traceback" not in seen["said"]


@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)])
def test_a_stream_finishes_and_the_server_ends_well(model: Path, number: int) -> None:
    holds(end(model, number))


@pytest.mark.parametrize("patch", ["no grace", pytest.param("uvicorn's own signals", marks=pytest.mark.slow)])
def test_control_without_its_own_end_it_does_not_hold(model: Path, patch: str) -> None:
    with pytest.raises((AssertionError, httpx.RemoteProtocolError)):
        holds(end(model, signal.SIGTERM, patch))


@pytest.mark.slow
def test_a_server_with_nothing_to_do_ends_at_once(model: Path) -> None:
    with served(model, "") as (process, _):
        process.send_signal(signal.SIGTERM)
        assert process.wait(5) == 0
