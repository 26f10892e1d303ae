"""Bits per byte is what the design says it is, computed a second time by hand."""

from __future__ import annotations

import math

import pytest
import torch

from llamarium.evaluate.bits_per_byte import bits_per_byte
from llamarium.ground.errors import UsageError
from llamarium.models import llama
from llamarium.models.context import Dense
from llamarium.tokens.train import bytes_tokenizer

TEXTS = ["a llama", "模型会说话。", ""]


def tiny(context_length: int) -> llama.Model:
    torch.manual_seed(0)
    model = llama.Model(llama.Config(vocab_size=259, width=32, layers=2, heads=2, context_length=context_length))
    model.initialize()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(5)
    return model.eval()


def test_a_model_that_knows_nothing_needs_the_logarithm_of_its_vocabulary() -> None:
    model = tiny(64)
    with torch.no_grad():
        model.embed.weight.zero_()
    score = bits_per_byte(model, bytes_tokenizer(), TEXTS)
    num_bytes = sum(len(text.encode()) for text in TEXTS)
    assert (score.bytes, score.tokens) == (num_bytes, num_bytes + len(TEXTS))  # one end token a document
    assert score.bits_per_byte == pytest.approx(math.log2(259) * score.tokens / num_bytes)
    assert score.perplexity == pytest.approx(259)


@pytest.mark.parametrize("context_length", [64, 8])
def test_it_is_the_sum_over_all_tokens_and_one_end(context_length: int) -> None:
    model, tokenizer = tiny(context_length), bytes_tokenizer()
    bits = 0.0
    for text in TEXTS:
        ids = [tokenizer.begin_id, *tokenizer.encode(text), tokenizer.end_id]
        for place in range(1, len(ids)):
            # The window in which this id is new: the first one that reaches it, starting every half context.
            stride = context_length // 2
            first = 0 if place <= context_length else -(-(place - context_length) // stride) * stride
            window = torch.tensor([ids[first:place]])
            bits -= torch.log_softmax(model(window, Dense(window))[0, -1], -1)[ids[place]].item() / math.log(2)
    score = bits_per_byte(model, tokenizer, TEXTS)
    assert score.bits_per_byte == pytest.approx(bits / score.bytes, rel=1e-5)


def test_a_shorter_window_sees_less() -> None:
    long, short = (bits_per_byte(tiny(64), bytes_tokenizer(), ["one two three four"], context_length=length) for length in (64, 4))
    assert long.bits_per_byte != short.bits_per_byte


def test_no_text_is_said() -> None:
    with pytest.raises(UsageError, match="no text"):
        bits_per_byte(tiny(8), bytes_tokenizer(), [""])
