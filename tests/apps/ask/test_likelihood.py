from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from llamarium.apps.ask.likelihood import BETWEEN, Likelihood
from llamarium.ground.errors import UsageError
from llamarium.models import bert, llama
from llamarium.models.context import Dense
from llamarium.tokens.train import bytes_tokenizer

TOKENIZER = bytes_tokenizer()


def tiny(context_length: int) -> llama.Model:
    torch.manual_seed(0)
    model = llama.Model(replace(llama.TINY, vocab_size=TOKENIZER.vocab_size, context_length=context_length))
    model.initialize()
    return model.eval()


def by_hand(model: llama.Model, ids: list[int], num_asked: int) -> float:
    """The product of the probabilities of the last ids, one after the other."""
    ids_BT = torch.tensor([ids])
    with torch.inference_mode():
        chances = model(ids_BT, Dense(ids_BT)).log_softmax(-1)[0]
    return sum(float(chances[place - 1, ids[place]]) / torch.tensor(2.0).log().item() for place in range(len(ids) - num_asked, len(ids)))


def test_by_hand() -> None:
    model = tiny(256)
    asked = TOKENIZER.encode(BETWEEN + "What hums?")
    passages = ["A llama hums.", "", "豆腐用盐卤点浆。"]
    expected = [by_hand(model, [TOKENIZER.begin_id, *TOKENIZER.encode(passage), *asked], len(asked)) for passage in passages]
    assert Likelihood(model, TOKENIZER).judge("What hums?", passages) == pytest.approx(expected, rel=1e-4)


def test_of_a_long_passage_the_end_is_left_out_and_of_a_long_question_too() -> None:
    model = tiny(32)
    judge = Likelihood(model, TOKENIZER)
    asked = TOKENIZER.encode(BETWEEN + "Why?")
    kept = TOKENIZER.encode("x" * 400)[: 32 - len(asked) - 1]
    assert judge.judge("Why?", ["x" * 400]) == pytest.approx([by_hand(model, [TOKENIZER.begin_id, *kept, *asked], len(asked))], rel=1e-4)
    assert len(judge.judge("y" * 400, ["x" * 400, "z"])) == 2


def test_no_passages() -> None:
    assert Likelihood(tiny(32), TOKENIZER).judge("Why?", []) == []


def test_what_gives_no_probability() -> None:
    with pytest.raises(UsageError, match="no probability"):
        Likelihood(bert.Model(replace(bert.TINY, vocab_size=TOKENIZER.vocab_size)), TOKENIZER)
