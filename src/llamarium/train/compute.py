"""How the arithmetic of a step is done: in which type, compiled or not, with what is recomputed instead of kept.

Takes: a recipe and a device, or a model.
Gives: a recipe whose "auto" is decided; an objective that is ready to be called in the loop.
Does not know: data, optimizers, checkpoints.
"""

from __future__ import annotations

import contextlib
import functools
import shutil
import time
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from llamarium.ground.device import fast_dtype
from llamarium.ground.errors import RecipeError
from llamarium.ground.group import Group
from llamarium.models.model import Kind, Network
from llamarium.train.objectives import Batch, Objective, loss_of
from llamarium.train.recipe import Recipe, parse_size

COMPILE_FROM = 10  # minutes that a run is meant to take, from which a minute of compiling is worth it
COMPILED = ("decoder", "encoder", "recurrent")  # an encoder-decoder's texts have lengths of their own
COMPILE_FROM_FLOP = 1e14  # or that much arithmetic, where its time is not known


def dtype(name: str) -> torch.dtype:
    """The torch type of a resolved `train.precision`."""
    found = getattr(torch, name)
    assert isinstance(found, torch.dtype)
    return found


def resolve(recipe: Recipe, device: torch.device, group: Group) -> Recipe:
    """The recipe with what "auto" stands for on this device; in a group, on that of the first process."""
    train = recipe.train
    chosen: dict[str, Any] = {}
    if train.precision == "auto":
        chosen["precision"] = str(fast_dtype(device)).removeprefix("torch.") if group.is_first else ""
    if train.compile == "auto":
        chosen["compile"] = _worth_compiling(recipe, device)
    elif train.compile and device.type == "cpu" and not _compiler():
        raise RecipeError("train.compile: there is no C++ compiler here.", hint="Install g++ (llamarium doctor says how), or set false.")
    chosen = group.tell(chosen)
    return recipe.model_copy(update={"train": train.model_copy(update=chosen)})


def check_compiling(recipe: Recipe, model: Network, *, asked: bool) -> Recipe:
    """Only models whose step is one graph are compiled; `asked`: the recipe says so itself, and is not obeyed silently otherwise."""
    if not recipe.train.compile or model.KIND in COMPILED:
        return recipe
    if asked:
        raise RecipeError(f"train.compile: a model of the kind {model.KIND!r} is not compiled.", hint="Set false, or leave it out.")
    return recipe.model_copy(update={"train": recipe.train.model_copy(update={"compile": False})})


def _compiler() -> bool:
    return any(shutil.which(name) for name in ("c++", "g++", "clang++"))


def _worth_compiling(recipe: Recipe, device: torch.device) -> bool:
    """A long run gains more than the minute that compiling costs."""
    train = recipe.train
    if device.type not in ("cpu", "cuda") or (device.type == "cpu" and not _compiler()) or recipe.lora is not None:
        return False
    if train.minutes is not None:
        return train.minutes >= COMPILE_FROM
    size = parse_size(recipe.model.size) if recipe.model.size is not None else 1e6
    tokens = (train.num_steps or 0) * train.rows * train.sequence_length
    return 6 * size * tokens >= COMPILE_FROM_FLOP


def objective(function: Objective, precision: torch.dtype, device: torch.device, *, compiled: bool, kind: Kind = "decoder") -> Objective:
    """`function` in the given number type; float16 and bfloat16 are PyTorch's autocast over float32 weights.

    Compiled, it is one graph: a model that breaks it is an error here and not a slow run. Of a recurrent model, whose layers are
    kernels already, the loss is that graph, which with 4,096 pieces takes longer than the layers.
    """
    if compiled and kind == "recurrent":
        # Only `lm` and `sft` are for such a model (`objectives.misfit`).
        function = functools.partial(function, loss=torch.compile(loss_of, fullgraph=True, dynamic=False))  # type: ignore[call-arg]

    def in_type(model: Network, batch: Batch) -> Tensor:
        with autocast(precision, device):
            return function(model, batch)

    if not compiled or kind == "recurrent":
        return in_type
    return torch.compile(in_type, fullgraph=True, dynamic=False)


def compile_now(ready: Objective, model: Network, batch: Batch) -> float:
    """Let a compiled objective meet its first batch before the clock of a run starts; seconds that took. Nothing is learnt or drawn."""
    began = time.perf_counter()
    learning = [parameter for parameter in model.parameters() if parameter.requires_grad]
    with torch.random.fork_rng(devices=[batch.inputs.device] if batch.inputs.is_cuda else []):
        torch.autograd.grad(ready(model, batch), learning, allow_unused=True)
    return time.perf_counter() - began


def short_type(precision: torch.dtype) -> torch.dtype | None:
    """`precision` where it is one that autocast computes in; None where weights and arithmetic are of one type."""
    return None if precision in (torch.float32, torch.float64) else precision


@contextlib.contextmanager
def autocast(precision: torch.dtype, device: torch.device) -> Iterator[None]:
    """Arithmetic in a short type where the recipe wants one."""
    if (short := short_type(precision)) is None:
        yield
    else:
        with torch.autocast(device.type, short):
            yield


def recompute(model: Network) -> None:
    """Keep of each block only its input, and run it again in the backward pass: Chen et al. 2016, arXiv:1604.06174."""
    for block in model.blocks:
        block.forward = functools.partial(checkpoint, block.forward, use_reentrant=False)
