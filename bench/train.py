"""Training steps of a 2.7M LLaMA, 16 x 256 tokens: our loop's arithmetic and transformers' model, the same shape, bfloat16 autocast."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from bench._interleaved import interleaved

ROWS, LENGTH = 16, 256


def main() -> None:
    from transformers import AutoConfig, AutoModelForCausalLM

    from llamarium import optim
    from llamarium.models import llama
    from llamarium.models.context import Packed

    config = llama.Config(vocab_size=4096, width=224, layers=3, heads=7, context_length=LENGTH)
    ours = llama.Model(config)
    ours.initialize()
    values = {key: value for key, value in llama.config_to_hf(config).items() if key not in ("architectures", "model_type")}
    theirs = AutoModelForCausalLM.from_config(AutoConfig.for_model("llama", **values))
    ids = torch.randint(0, config.vocab_size, (ROWS, LENGTH + 1))
    inputs, targets = ids[:, :-1], ids[:, 1:]

    def stepper(model, logits):
        optimizer = optim.build("adamw", model.parameters(), learning_rate=1e-3, weight_decay=0.1, betas=(0.9, 0.95))

        def step() -> float:
            with torch.autocast("cpu", torch.bfloat16):
                loss = F.cross_entropy(logits().flatten(0, 1).float(), targets.flatten())
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            return inputs.numel()

        return step

    contenders = {
        "llamarium bfloat16": stepper(ours, lambda: ours(inputs, Packed(torch.zeros_like(inputs)))),
        "transformers bfloat16": stepper(theirs, lambda: theirs(inputs).logits),
    }
    interleaved("train", contenders, unit="tokens/s")
