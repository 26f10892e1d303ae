"""From logits to an id: each filter against a slow one that says the same in words."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from llamarium.engine.sample import Sampling, choose, penalise, probabilities
from llamarium.ground.errors import UsageError

some_logits = st.lists(st.floats(-8, 8, width=32), min_size=1, max_size=12)
neutral: dict[str, Any] = {"temperature": 1.0, "top_k": 0, "top_p": 1.0, "min_p": 0.0}


def slowly(logits: list[float], *, temperature: float, top_k: int, top_p: float, min_p: float) -> list[float]:
    weights = [math.exp((logit - max(logits)) / temperature) for logit in logits]
    p = [weight / sum(weights) for weight in weights]
    if top_k:
        best = sorted(p, reverse=True)[: min(top_k, len(p))]
        p = [x if x >= best[-1] else 0.0 for x in p]
        p = [x / sum(p) for x in p]
    if top_p < 1:
        kept, total = set(), 0.0
        for place in sorted(range(len(p)), key=lambda place: -p[place]):  # the most probable first, equal ones in their order
            if total >= top_p:
                break
            kept.add(place)
            total += p[place]
        p = [x if place in kept else 0.0 for place, x in enumerate(p)]
    p = [x if x >= min_p * max(p) else 0.0 for x in p]
    return [x / sum(p) for x in p]


def near_a_line(logits: list[float], *, temperature: float, top_k: int, top_p: float, min_p: float) -> bool:
    """Whether rounding alone could decide on which side of a limit an id falls."""
    plain = slowly(logits, temperature=temperature, top_k=0, top_p=1.0, min_p=0.0)
    p = slowly(logits, temperature=temperature, top_k=top_k, top_p=1.0, min_p=0.0)
    ordered = sorted(p, reverse=True)
    sums = [sum(ordered[: n + 1]) for n in range(len(ordered))]
    close = any(0 < abs(a - b) < 1e-5 for a in plain for b in plain)
    return close or any(abs(total - top_p) < 1e-5 for total in sums) or any(abs(x - min_p * max(p)) < 1e-5 for x in p if min_p)


@given(
    some_logits,
    st.floats(0.1, 3),
    st.integers(0, 14),
    st.one_of(st.just(1.0), st.floats(0.01, 1)),
    st.one_of(st.just(0.0), st.floats(0, 1)),
)
@settings(max_examples=400, deadline=None)
def test_probabilities_are_those_of_the_words(logits: list[float], temperature: float, top_k: int, top_p: float, min_p: float) -> None:
    values: dict[str, Any] = {"temperature": temperature, "top_k": top_k, "top_p": top_p, "min_p": min_p}
    assume(not near_a_line(logits, **values))
    found = probabilities(torch.tensor(logits), Sampling(**values)).tolist()
    assert found == pytest.approx(slowly(logits, **values), abs=1e-4)


@given(some_logits, st.integers(1, 12))
def test_top_k_keeps_the_k_best_and_their_equals(logits: list[float], top_k: int) -> None:
    p = probabilities(torch.tensor(logits), Sampling(**{**neutral, "top_k": top_k}))
    kept = {place for place, x in enumerate(p.tolist()) if x > 0}
    weakest = sorted(logits, reverse=True)[min(top_k, len(logits)) - 1]
    assert kept >= {place for place, logit in enumerate(logits) if logit > weakest + 1e-3}
    assert len(kept) >= min(top_k, len(logits))
    assert not {place for place, logit in enumerate(logits) if logit < weakest - 1e-3} & kept


@given(some_logits, st.floats(0.01, 0.99))
def test_top_p_keeps_the_fewest_that_are_enough(logits: list[float], top_p: float) -> None:
    plain = probabilities(torch.tensor(logits), Sampling(**neutral)).tolist()
    kept = [plain[place] for place, x in enumerate(probabilities(torch.tensor(logits), Sampling(**{**neutral, "top_p": top_p}))) if x > 0]
    assert sum(kept) >= top_p - 1e-5
    assert sum(kept) - min(kept) < top_p + 1e-5
    assert min(kept) >= max([x for x in plain if x not in kept], default=0)


@pytest.mark.parametrize("temperature", [1e-320, 1e-30, 1e-5, 100.0])
def test_any_temperature_gives_probabilities(temperature: float) -> None:
    p = probabilities(torch.tensor([50.0, -50.0, 49.0]), Sampling(**{**neutral, "temperature": temperature}))
    assert p.sum().item() == pytest.approx(1)
    assert (p.argmax().item(), p.isfinite().all().item()) == (0, True)
    if temperature < 1:
        assert p.tolist() == [1, 0, 0]


def test_an_id_that_cannot_be_is_never_chosen() -> None:
    logits = torch.tensor([0.0, float("-inf"), 1.0])
    for values in ({}, {"top_k": 3}, {"top_p": 0.9999}, {"temperature": 100.0}):
        assert probabilities(logits, Sampling(**{**neutral, **values}))[1] == 0


@given(some_logits, st.lists(st.integers(0, 11), max_size=20), st.floats(0.1, 5))
def test_repetition_is_penalised_once_for_each_id_that_was_seen(logits: list[float], seen: list[int], penalty: float) -> None:
    seen = [number for number in seen if number < len(logits)]
    found = penalise(torch.tensor(logits), seen, penalty).tolist()
    for place, logit in enumerate(logits):
        wanted = logit if place not in seen else logit / penalty if logit > 0 else logit * penalty
        assert found[place] == pytest.approx(wanted, rel=1e-5, abs=1e-30)


def test_penalties_leave_the_logits_they_were_given() -> None:
    logits = torch.tensor([1.0, -1.0])
    penalise(logits, [0, 1], 2.0)
    assert logits.tolist() == [1.0, -1.0]


@given(some_logits)
def test_temperature_0_takes_the_best(logits: list[float]) -> None:
    number = choose(torch.tensor(logits), Sampling(temperature=0), seen=[], generator=torch.Generator())
    assert logits[number] == max(logits)


def test_temperature_0_heeds_the_penalty() -> None:
    sampling = Sampling(temperature=0, repetition_penalty=2.0)
    assert choose(torch.tensor([3.0, 2.0]), sampling, seen=[0], generator=torch.Generator()) == 1


def test_choices_follow_the_probabilities() -> None:
    logits = torch.tensor([0.1, 0.2, 0.3, 0.4]).log()
    generator = torch.Generator().manual_seed(0)
    counts = Counter(choose(logits, Sampling(**neutral), seen=[], generator=generator) for _ in range(5000))
    for number, share in enumerate([0.1, 0.2, 0.3, 0.4]):
        assert counts[number] / 5000 == pytest.approx(share, abs=0.03)


@pytest.mark.parametrize(
    ("values", "match"),
    [
        ({"temperature": -0.1}, "temperature must be between 0 and 100, not -0.1"),
        ({"temperature": math.nan}, "temperature"),
        ({"temperature": math.inf}, "temperature"),
        ({"top_k": -1}, "top_k"),
        ({"top_p": 1.5}, "top_p"),
        ({"top_p": 0.0}, "top_p must be above 0"),
        ({"min_p": 2.0}, "min_p"),
        ({"repetition_penalty": 0.0}, "repetition_penalty"),
        ({"seed": -1}, "seed"),
        ({"seed": 1 << 64}, "seed"),
    ],
)
def test_settings_that_make_no_sense_are_refused(values: dict[str, Any], match: str) -> None:
    with pytest.raises(UsageError, match=match):
        Sampling(**values)


def test_half_precision_is_chosen_from_in_full() -> None:
    logits = torch.tensor([1.0, 2.0, 3.0], dtype=torch.bfloat16)
    assert probabilities(logits, Sampling(**neutral)).dtype == torch.float32
    assert choose(logits, Sampling(temperature=0), seen=[2], generator=torch.Generator()) == 2
