from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from llamarium.checkpoint import huggingface
from llamarium.cli.main import run
from llamarium.models import llama
from llamarium.tokens.train import bytes_tokenizer
from llamarium.train.measure import flop_per_token


@pytest.fixture
def model(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    tiny = llama.Model(llama.Config(vocab_size=300, width=32, layers=2, heads=2, context_length=64))
    tiny.initialize()
    huggingface.save_folder(tmp_path / "model", tiny, bytes_tokenizer())
    return tmp_path / "model"


def test_training_is_measured(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["bench", "train", str(model), "--seconds", "1", "--batch-tokens", "256", "--sequence-length", "64", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {"model", "threads", "tokens_per_second"} <= found.keys()
    assert found["tokens_per_second"] > 0
    assert found["threads"] == torch.get_num_threads()


def test_what_takes_longer_than_the_time_says_so(model: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llamarium.train.measure.FIRST", 10**9)
    assert run(["bench", "train", str(model), "--seconds", "1", "--batch-tokens", "64", "--sequence-length", "64"]) == 2
    assert "too few to measure" in capsys.readouterr().err


def test_arithmetic_of_a_token() -> None:
    """The shape of the speed goals: 79.0 MFLOP a token."""
    config = llama.Config(
        vocab_size=8192, width=384, layers=6, heads=6, kv_heads=2, head_width=64, hidden_width=1024, context_length=256, tied=False
    )
    with torch.device("meta"):
        assert flop_per_token(llama.Model(config), 256) / 1e6 == pytest.approx(79.0, abs=0.1)
