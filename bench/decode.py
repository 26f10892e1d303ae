"""Decoding one text greedily: SmolLM2-135M-Instruct (Q4_1, dequantised to float32), ours and transformers, the same weights."""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch

from bench._interleaved import interleaved

TOKENS = 64
PROMPT = "Once upon a time, in a land far away,"


def main() -> None:
    from transformers import AutoModelForCausalLM

    import llamarium
    from llamarium.checkpoint.huggingface import save_folder
    from llamarium.engine.generate import generate
    from llamarium.engine.sample import Sampling

    ours = llamarium.load("smollm2-135m-instruct")
    ids = ours.tokenizer.encode(PROMPT)
    with tempfile.TemporaryDirectory() as folder:
        save_folder(Path(folder) / "model", ours.model, ours.tokenizer)
        theirs = AutoModelForCausalLM.from_pretrained(Path(folder) / "model", dtype=torch.float32)

    def run_ours() -> float:
        options = {"max_tokens": TOKENS, "sampling": Sampling(temperature=0), "stop_ids": frozenset[int]()}
        return generate(ours.model, ours.tokenizer, ids, **options).completion_tokens

    def run_theirs() -> float:
        with torch.inference_mode():
            out = theirs.generate(torch.tensor([ids]), max_new_tokens=TOKENS, do_sample=False, eos_token_id=None, pad_token_id=0)
        return out.shape[1] - len(ids)

    interleaved("decode", {"llamarium float32": run_ours, "transformers float32": run_theirs}, unit="tokens/s")
