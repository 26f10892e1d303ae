"""The catalogue's model, word for word as transformers runs it: five prompts, 64 greedy ids each, on the same dequantised weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import llamarium
from llamarium.checkpoint.huggingface import save_folder
from llamarium.checkpoint.pull import pull
from llamarium.ground.errors import NetworkError

NAME = "smollm2-135m-instruct"
PROMPTS = (
    "The capital of France is",
    "Once upon a time, in a land far away,",
    "def fibonacci(n):",
    "Water boils at",
    "羊驼是一种",
)


@pytest.mark.slow
@pytest.mark.network
@pytest.mark.filterwarnings("default")
def test_greedy_ids_are_those_of_transformers(tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    try:
        pull(NAME)
    except NetworkError as error:
        pytest.skip(f"the model cannot be had here: {error.message}")
    ours = llamarium.load(NAME)
    save_folder(tmp_path / "model", ours.model, ours.tokenizer)
    theirs: Any = AutoModelForCausalLM.from_pretrained(tmp_path / "model", dtype=torch.float32)
    for prompt in PROMPTS:
        ids = ours.tokenizer.encode(prompt)
        expected = theirs.generate(
            torch.tensor([ids]), attention_mask=torch.ones(1, len(ids)), max_new_tokens=64, do_sample=False, pad_token_id=0
        )[0, len(ids) :].tolist()
        found = ours.generate(prompt, max_tokens=64, temperature=0).token_ids
        same = found == expected[: len(found)]
        assert same, prompt
        assert len(found) == 64 or len(expected) <= len(found) + 1
    answer = ours.chat([{"role": "user", "content": "What is the capital of France?"}], temperature=0, max_tokens=32).text
    assert "Paris" in answer
