"""What is learnt: one function an objective.

Takes: a model and a batch on its device.
Gives: the sum of the losses in nats, to be divided by the number of targets of the whole step.
Does not know: optimizers, accumulation, where targets come from: for a decoder `sft` differs from `lm` in its data alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from llamarium.models.context import Dense, Packed
from llamarium.models.model import PADDING, Network
from llamarium.tokens.examples import questions_and_answers
from llamarium.tokens.marks import Marks
from llamarium.tokens.packing import IGNORED

LOGITS = 1 << 25  # so many logits exist at a time: 128 MiB in float32
# What an encoder-decoder reads is filled up to these multiples: with a new shape in each step, the allocator's holes fit nothing and
# a run takes ever more memory.
ROWS, LENGTHS = 4, 32
MASKED = 0.15  # share of the tokens that a masked language model has to guess


@dataclass(frozen=True)
class Batch:
    """Rows of packed documents, each (B, T); `documents` is None where no row holds more than one."""

    inputs: Tensor
    targets: Tensor
    documents: Tensor | None
    marks: Marks | None = None  # for objectives that leave something out


Loss = Callable[[Network, Tensor, Tensor], Tensor]


def lm(model: Network, batch: Batch, *, loss: Loss | None = None) -> Tensor:
    """Sum of −ln p(next token), over the targets that are not ignored. `loss` computes it from states, as `loss_of` does."""
    context = Dense(batch.inputs) if batch.documents is None else Packed(batch.documents)
    return (loss or loss_of)(model, model.hidden(batch.inputs, context), batch.targets)


def sft(model: Network, batch: Batch, *, loss: Loss | None = None) -> Tensor:
    """`lm`, whose targets are answers. An encoder-decoder reads what stands before each answer and writes the answer."""
    if model.KIND != "encoder_decoder":
        return lm(model, batch, loss=loss)
    rows = [each.numpy(force=True) for each in (batch.inputs, batch.targets)]
    documents = np.zeros_like(rows[0]) if batch.documents is None else batch.documents.numpy(force=True)
    pairs = [
        pair
        for inputs, targets, numbers in zip(*rows, documents, strict=True)
        for number in np.unique(numbers)
        for pair in questions_and_answers(inputs[numbers == number], targets[numbers == number])
    ]
    return _write(model, [source for source, _ in pairs], [target for _, target in pairs], batch)


def mlm(model: Network, batch: Batch) -> Tensor:
    """The mean of −ln p over tokens that were left out, times the number of targets. Devlin et al. 2018, arXiv:1810.04805, section 3.1.

    Of each row 15 % are to be guessed; of those 80 % are replaced by the mask, 10 % by any token, 10 % left as they are.
    """
    assert batch.marks is not None
    assert batch.marks.mask is not None
    ids_BT = batch.inputs
    there_BT = batch.targets != IGNORED  # what fills a row up is not guessed
    count = max(1, round(MASKED * ids_BT.shape[1]))
    places_BK = (torch.rand(ids_BT.shape, device=ids_BT.device) * there_BT).topk(count, dim=1).indices
    guessed_BK = ids_BT.gather(1, places_BK)
    fate_BK = torch.rand(places_BK.shape, device=ids_BT.device)
    anything_BK = torch.randint(0, model.config.vocab_size, places_BK.shape, device=ids_BT.device)
    shown_BK = torch.where(fate_BK < 0.8, batch.marks.mask, torch.where(fate_BK < 0.9, anything_BK, guessed_BK))
    context = Dense(ids_BT) if batch.documents is None else Packed(batch.documents)
    states_BTD = model.hidden(ids_BT.scatter(1, places_BK, shown_BK), context)
    states_BKD = states_BTD.gather(1, places_BK[:, :, None].expand(-1, -1, states_BTD.shape[-1]))
    targets_BK = torch.where(there_BT.gather(1, places_BK), guessed_BK, IGNORED)
    return loss_of(model, states_BKD, targets_BK) * (there_BT.sum() / (targets_BK != IGNORED).sum().clamp(min=1))


def spans(model: Network, batch: Batch) -> Tensor:
    """The mean of −ln p over what tells the spans that were left out, times the number of targets: `tokens.spans`, Raffel et al. 2019."""
    from llamarium.tokens import spans as span_corruption

    assert batch.marks is not None
    sources, written = [], []
    for ids, targets in zip(batch.inputs.numpy(force=True), batch.targets.numpy(force=True), strict=True):
        row = ids[targets != IGNORED]
        if len(row) > 1:
            seed = int(torch.randint(1 << 62, ()))
            source, target = span_corruption.corrupt(row[None], batch.marks.sentinels, end_id=batch.marks.end, seed=seed)
            sources.append(source[0])
            written.append(target[0])
    num_written = sum(map(len, written))
    return _write(model, sources, written, batch) * ((batch.targets != IGNORED).sum() / max(1, num_written))


def _write(model: Network, sources: Sequence[NDArray[Any]], targets: Sequence[NDArray[Any]], batch: Batch) -> Tensor:
    """Sum of −ln p(target | source) by an encoder-decoder."""
    device = batch.inputs.device
    # A batch in which nothing is learnt still has a loss of 0, as the other processes of a group expect.
    sources, targets = list(sources) or [np.zeros(1, dtype=np.int64)], list(targets) or [np.full(1, IGNORED)]
    rows = _filled_up(len(sources), ROWS)
    source_BS = torch.full((rows, _filled_up(max(map(len, sources)), LENGTHS)), PADDING)
    target_BT = torch.full((rows, _filled_up(max(map(len, targets)), LENGTHS)), IGNORED)
    for row, (source, target) in enumerate(zip(sources, targets, strict=True)):
        source_BS[row, : len(source)] = torch.from_numpy(source)
        target_BT[row, : len(target)] = torch.from_numpy(target)
    target_BT = target_BT.to(device)
    inputs_BT = torch.nn.functional.pad(target_BT[:, :-1].clamp(min=0), (1, 0), value=model.config.start_id)
    states_BTD = model.hidden(inputs_BT, Dense(inputs_BT), source_BS.to(device))  # type: ignore[call-arg]
    return loss_of(model, states_BTD, target_BT)


def _filled_up(number: int, step: int) -> int:
    return -(-number // step) * step


def loss_of(model: Network, states_BTD: Tensor, targets_BT: Tensor) -> Tensor:
    """Sum of −ln p(target).

    Where the logits of a batch would be large, they are made, used and dropped a chunk at a time, and made again in the
    backward pass: a third of the head's arithmetic more, and memory that does not grow with batch × vocabulary.
    """
    states_ND = states_BTD.flatten(0, 1)
    targets_N = targets_BT.flatten()
    size = max(1, LOGITS // model.config.vocab_size)
    if len(targets_N) <= size:
        return _cross_entropy(model, states_ND, targets_N)
    total = states_ND.new_zeros((), dtype=torch.promote_types(states_ND.dtype, torch.float32))
    for states, targets in zip(torch.split(states_ND, size), torch.split(targets_N, size), strict=True):
        part = checkpoint(_cross_entropy, model, states, targets, use_reentrant=False)
        assert isinstance(part, Tensor)
        total = total + part
    return total


def _cross_entropy(model: Network, states_ND: Tensor, targets_N: Tensor) -> Tensor:
    logits_NV = model.unembed(states_ND)
    if logits_NV.dtype != torch.float64:
        logits_NV = logits_NV.float()
    return F.cross_entropy(logits_NV, targets_N, ignore_index=IGNORED, reduction="sum")


Objective = Callable[[Network, Batch], Tensor]


def whole_rows(model: Network, batch: Batch) -> Tensor:
    """Each row read and written whole: the most that an encoder-decoder does with one text a row."""
    return loss_of(model, model.hidden(batch.inputs, Dense(batch.inputs), batch.inputs), batch.targets)  # type: ignore[call-arg]


def rows_twice(model: Network, batch: Batch) -> Tensor:
    """Twice as many rows, read and written whole: conversations share rows, and are read as rows of their own, filled up to the longest."""
    return whole_rows(model, Batch(batch.inputs.repeat(2, 1), batch.targets.repeat(2, 1), None))


OBJECTIVES: dict[str, Objective] = {"lm": lm, "sft": sft, "mlm": mlm, "spans": spans}
NEEDS = {"mlm": "encoder", "spans": "encoder_decoder"}  # the kind of model that an objective is for, where it is for one alone


def shaped_like(name: str, kind: str) -> Objective:
    """What takes the memory that the objective `name` takes, and asks no tensor for its values: `name` itself where it asks none."""
    alike = {"sft": rows_twice, "spans": whole_rows} if kind == "encoder_decoder" else {}
    return alike.get(name, OBJECTIVES[name])


def misfit(name: str, kind: str) -> str:
    """Why a model of `kind` cannot learn by the objective `name`; nothing where it can."""
    if name in NEEDS and kind != NEEDS[name]:
        return f"the objective {name!r} is for a model that is an {NEEDS[name]}, and this one is a {kind}"
    if kind == "encoder" and name not in NEEDS:
        return f"the objective {name!r} is for a model that writes; one that reads both sides learns by 'mlm'"
    if kind == "encoder_decoder" and name == "lm":
        return "the objective 'lm' has nothing to read, and this model's encoder would learn nothing; it learns by 'spans' or 'sft'"
    return ""
