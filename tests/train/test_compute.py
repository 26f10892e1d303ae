"""What is compiled of a step: all of it, or where the layers are kernels the loss."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from llamarium.models import gpt, lstm
from llamarium.models.model import Network
from llamarium.train import compute
from llamarium.train.objectives import Batch, lm


@pytest.mark.filterwarnings("ignore:The .grad attribute")  # PyTorch looks for one where a graph begins, and hides that itself
@pytest.mark.parametrize("family", [gpt, lstm], ids=["decoder", "recurrent"])
def test_one_graph_serves_all_batches_and_computes_the_same(family: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where a row holds one text in one batch and several in the next: a second graph would be made in the middle of a run."""
    made: list[Any] = []

    def backend(graph: Any, _: list[Tensor]) -> Callable[..., Any]:
        made.append(graph)
        forward: Callable[..., Any] = graph.forward
        return forward

    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend=backend))
    torch.manual_seed(0)
    model: Network = family.Model(family.TINY)
    model.initialize()
    ready = compute.objective(lm, torch.bfloat16, torch.device("cpu"), compiled=True, kind=model.KIND)
    plain = compute.objective(lm, torch.bfloat16, torch.device("cpu"), compiled=False)
    ids = torch.randint(0, 64, (3, 25))
    for length in (24, 7, 24, 3):
        batch = Batch(ids[:, :-1], ids[:, 1:], torch.arange(24).expand(3, 24) // length)
        losses = [function(model, batch) for function in (ready, plain)]
        gradients = [torch.autograd.grad(loss, list(model.parameters())) for loss in losses]
        for here, there in zip((losses[0], *gradients[0]), (losses[1], *gradients[1]), strict=True):
            torch.testing.assert_close(here, there, atol=0.05, rtol=0.02)
    assert len(made) == 1


def test_control_a_step_that_is_not_compiled_makes_no_graph(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "compile", None)
    model = lstm.Model(lstm.TINY)
    ids = torch.zeros(1, 4, dtype=torch.long)
    ready = compute.objective(lm, torch.float32, torch.device("cpu"), compiled=False, kind=model.KIND)
    assert ready(model, Batch(ids, ids, None)).isfinite()
