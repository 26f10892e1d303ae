from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from llamarium.apps.ask.answer import ask
from llamarium.apps.ask.index import build_in_memory
from llamarium.apps.ask.rerank import BETWEEN, Likelihood
from llamarium.ground.errors import UsageError
from llamarium.models import bert, llama
from llamarium.models.context import Dense
from llamarium.tokens.train import bytes_tokenizer

TOKENIZER = bytes_tokenizer()


def model(context_length: int = 256) -> llama.Model:
    torch.manual_seed(0)
    made = llama.Model(replace(llama.TINY, vocab_size=TOKENIZER.vocab_size, context_length=context_length))
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return made.eval()


def test_it_is_the_probability_of_the_question() -> None:
    made = model()
    passage, question = "The llama eats grass.", "What does it eat?"
    ids = [TOKENIZER.begin_id, *TOKENIZER.encode(passage), *TOKENIZER.encode(BETWEEN), *TOKENIZER.encode(question)]
    ids_BT = torch.tensor([ids])
    with torch.inference_mode():
        logits = made(ids_BT, Dense(ids_BT))[0].double().log_softmax(-1)
    first = len(ids) - len(TOKENIZER.encode(question))
    expected = sum(float(logits[place - 1, ids[place]]) for place in range(first, len(ids))) / math.log(2)
    [found, other] = Likelihood(made, TOKENIZER).judge(question, [passage, "Another passage of another length."])
    assert found == pytest.approx(expected, rel=1e-4)
    assert other != found


def test_a_long_passage_is_cut_and_no_room_is_said() -> None:
    judge = Likelihood(model(64), TOKENIZER)
    long = "grass " * 200
    assert judge.judge("What?", [long]) == judge.judge("What?", [long + "and hay"])
    with pytest.raises(UsageError, match="no passage beside"):
        judge.judge("What is it that a llama would like to eat in the evening of a day?" * 2, ["grass"])


def test_an_encoder_cannot_judge() -> None:
    encoder = bert.Model(replace(bert.TINY, vocab_size=TOKENIZER.vocab_size))
    with pytest.raises(UsageError):
        Likelihood(encoder, TOKENIZER).judge("What?", ["grass"])


def test_ask_with_a_judge(tmp_path: Path) -> None:
    for name in "abc":
        (tmp_path / f"{name}.txt").write_text(f"The llama {name} eats grass in the morning.", encoding="utf-8")
    with build_in_memory([tmp_path]) as index:
        answer = ask(index, "What does the llama eat in the morning?", judge=Likelihood(model(), TOKENIZER))
    assert answer.found
    assert answer.citations[0].quote.startswith(answer.answer)
