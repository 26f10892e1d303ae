"""The model that learns, its tokenizer and optimizer, and over how many processes its weights are spread.

Takes: a recipe.
Gives: a model with fresh or given weights, LoRA layers where the recipe wants them; its parts spread by FSDP2; rows of its tensors.
Does not know: data, steps.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from llamarium import optim
from llamarium.adapt import lora
from llamarium.checkpoint.open import open_model
from llamarium.checkpoint.sharded import Rows
from llamarium.checkpoint.weights import MAX_LAYERS, build_config
from llamarium.ground.errors import RecipeError, UsageError
from llamarium.ground.group import Group, mesh
from llamarium.models import family
from llamarium.models.model import Model, Network
from llamarium.tokens.marks import Marks, marks, with_marks
from llamarium.tokens.tokenizer import Tokenizer
from llamarium.tokens.train import bytes_tokenizer, characters_tokenizer
from llamarium.train import objectives, vectors
from llamarium.train.recipe import Recipe, family_fields, parse_size

if TYPE_CHECKING:
    from torch.distributed.tensor import DTensor


def model_and_tokenizer(recipe: Recipe, texts: Any, begun: Path | None, *, place: str = "cpu") -> tuple[Network, Tokenizer, frozenset[int]]:
    """The model, without LoRA, its tokenizer, and the ids at which it stops; on the place "meta" a new model has a shape and no memory.

    `texts` are the corpora where there are any, for a tokenizer of characters; `begun` the tokenizer that a run began with.
    """
    if recipe.model.start is not None:
        opened = open_model(recipe.model.start)
        named = recipe.data.tokenizer
        if named is not None and tokenizer_of(recipe, texts).sha256 != opened.tokenizer.sha256:
            raise RecipeError(f"data.tokenizer {named!r} is not the tokenizer of {recipe.model.start}.", hint="Leave data.tokenizer out.")
        if not isinstance(opened.model, Network):
            raise RecipeError(f"{recipe.model.start} does not learn by gradient.", hint="Start from a model such as a LLaMA.")
        _check_context(recipe, opened.model)
        _check_objective(recipe, opened.model, marks(opened.tokenizer))
        return opened.model, opened.tokenizer, opened.stop_ids
    tokenizer = Tokenizer.load(begun) if begun is not None else tokenizer_of(recipe, texts)
    model = fresh(recipe, tokenizer.vocab_size, place=place)
    if begun is None:  # a run that goes on has them in its checkpoint
        vectors.check(recipe, model)
    return model, tokenizer, tokenizer.stop_ids


def fresh(recipe: Recipe, vocab_size: int, *, place: str = "cpu") -> Network:
    """A new model of the recipe's shape, its weights drawn."""
    model = shaped(recipe, vocab_size, place=place)
    assert isinstance(model, Network)  # the recipe's reader sends what is fitted elsewhere
    _check_context(recipe, model)
    _check_objective(recipe, model)
    model.initialize()
    return model


def shaped(recipe: Recipe, vocab_size: int, *, place: str = "cpu") -> Model:
    """A model of the recipe's family and shape in which nothing is learnt yet."""
    module = family(recipe.model.family)
    there = family_fields(recipe.model.family)
    given = {"vocab_size": vocab_size, "context_length": recipe.train.sequence_length, **recipe.model.fields()}
    values = {name: value for name, value in given.items() if name in there}
    try:
        if recipe.model.size is not None:
            if not hasattr(module.Config, "sized"):
                raise ValueError(f"the family {recipe.model.family!r} cannot derive its shape from a size; set its fields")
            size = parse_size(recipe.model.size)
            sized = module.Config.sized(size, vocab_size=given["vocab_size"], context_length=given["context_length"])
            values = {**dataclasses.asdict(sized), **_underived(values, there)}
        config = build_config(module, values)
        if getattr(config, "layers", 0) > MAX_LAYERS:
            raise ValueError(f"{config.layers:,} layers are more than the {MAX_LAYERS:,} that are built")
        if config.vocab_size < vocab_size:
            raise ValueError(f"vocab_size {config.vocab_size:,} is less than the {vocab_size:,} tokens of the tokenizer")
        with torch.device(place):
            model: Model = module.Model(config)
    except (TypeError, ValueError, ArithmeticError) as error:
        raise RecipeError(f"model: {error}.", hint="`size` alone derives a shape that fits together.") from None
    return model


def adapt(recipe: Recipe, model: Network) -> None:
    """Give the model the LoRA layers of the recipe, if it has any."""
    if recipe.lora is not None:
        thin = recipe.lora
        lora.add(model, rank=thin.rank, alpha=thin.alpha, targets=thin.targets, dropout=thin.dropout)


def optimizer(recipe: Recipe, model: Network) -> torch.optim.Optimizer:
    """The recipe's optimizer over the weights that learn."""
    options = recipe.optimizer
    return optim.build(
        options.name,
        model.named_parameters(),
        learning_rate=recipe.train.learning_rate,
        weight_decay=options.weight_decay,
        betas=options.betas,
        momentum=options.momentum,
    )


def _check_context(recipe: Recipe, model: Network) -> None:
    wanted, there = recipe.train.sequence_length, getattr(model.config, "context_length", None)
    if there is not None and wanted > there:
        raise RecipeError(f"train.sequence_length {wanted:,} is more than the model's context of {there:,}.", hint="Set a shorter one.")


def _check_objective(recipe: Recipe, model: Network, there: Marks | None = None) -> None:
    """Refuse an objective that is not for this kind of model, or for which its tokenizer lacks the marks."""
    objective = recipe.train.objective
    if why := objectives.misfit(objective, model.KIND):
        raise RecipeError(f"train.objective: {why}.", hint="Set train.objective, or another family.")
    if there is not None and ((objective == "mlm" and there.mask is None) or (objective == "spans" and not there.sentinels)):
        raise RecipeError(
            f"train.objective: the tokenizer of {recipe.model.start} has no token that stands for what {objective!r} leaves out.",
            hint="Start from a model that has one, or raise one from nothing.",
        )


def _underived(fields: dict[str, Any], there: Sequence[str]) -> dict[str, Any]:
    """Set fields, and zeros for those that follow from them: a new width must not keep the old width's heads."""
    derived = {
        "width": ("head_width", "hidden_width", "rope_width"),
        "heads": ("kv_heads", "head_width", "rope_width"),
        "mlp": ("hidden_width",),
    }
    zeros = {name: 0 for key in derived.keys() & fields.keys() for name in derived[key] if name in there}
    return {**zeros, **fields}


def tokenizer_of(recipe: Recipe, texts: Any) -> Tokenizer:
    """The tokenizer that the recipe names, with the marks that its objective needs."""
    objective = recipe.train.objective
    return with_marks(_named_tokenizer(recipe, texts), mask=objective == "mlm", sentinels=objective == "spans")


def _named_tokenizer(recipe: Recipe, texts: Any) -> Tokenizer:
    name = recipe.data.tokenizer
    assert name is not None
    if name == "bytes":
        return bytes_tokenizer()
    if name == "characters":
        if texts is None:
            raise RecipeError(
                "data: `characters` needs the text; what is here has ids already or is a conversation.", hint="Name the tokenizer's folder."
            )
        return characters_tokenizer(document.text for corpus in texts for document in corpus.documents("train"))
    return Tokenizer.load(Path(name))


# --- Many devices -----------------------------------------------------------------------------------------------------


def compile_blocks(model: Network) -> None:
    """Make of each block one graph, around which its weights are gathered and go back; a whole step cannot be one in a group."""
    for block in model.blocks:
        block.forward = _compiled(block, block.forward)


def _compiled(block: nn.Module, plain: Callable[..., Any]) -> Callable[..., Any]:
    """Fast in training; elsewhere shapes are many, and each would be compiled for itself."""
    fast = torch.compile(plain, fullgraph=True, dynamic=False)

    def forward(*inputs: Any) -> Any:
        return fast(*inputs) if block.training else plain(*inputs)

    return forward


def spread(model: Network, group: Group, device: torch.device, *, shard: int | None, precision: torch.dtype) -> nn.Module | None:
    """Spread the weights over the group: FSDP2, a block at a time (Zhao et al. 2023, arXiv:2304.11277).

    `shard` processes share one copy of the weights (all of them by default; 1 is plain data parallelism). Returns the root, whose
    call ``root(work, *inputs)`` runs ``work(*inputs)`` with the weights in place; None alone, where they always are.
    """
    if group.size == 1:
        return None
    from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

    if device.type == "cuda" and int(os.environ.get("LOCAL_WORLD_SIZE", "1")) > torch.cuda.device_count():
        raise UsageError(
            f"{os.environ['LOCAL_WORLD_SIZE']} processes do not find a GPU each among {torch.cuda.device_count()}.",
            hint="Start as many as there are GPUs (torchrun --nproc-per-node), or set train.device=cpu.",
        )
    size = shard or group.size
    if group.size % size:
        raise RecipeError(f"train.shard: {group.size} processes cannot be divided into sets of {size}.", hint="Set a divisor of them.")
    grid = mesh(group, device, spread=size)
    # Gradients are summed in float32 whatever the arithmetic; on a GPU the weights travel in the short type. What blocks are
    # given stays as it is: rotary tables lose their far positions in the short type, and autocast knows which products take it.
    short = precision if device.type == "cuda" and precision in (torch.bfloat16, torch.float16) else None
    policy = MixedPrecisionPolicy(param_dtype=short, reduce_dtype=torch.float32 if short is not None else None, cast_forward_inputs=False)
    for block in model.blocks:
        fully_shard(block, mesh=grid, mp_policy=policy)
    root = Root(model)
    fully_shard(root, mesh=grid, mp_policy=policy)
    for part in (*model.blocks, root):
        # Tensors that gathering makes are kept; made first in inference mode (a run resumed in its validation), they could not learn.
        part.unshard()
        part.reshard()
    return root


def put_back(root: nn.Module) -> None:
    """Drop what was gathered of the weights for work that no backward pass follows, so that each process holds its rows again."""
    from torch.distributed.fsdp import FSDPModule

    assert isinstance(root, FSDPModule)
    root.reshard()


class Root(nn.Module):
    """Whatever is run inside its call finds the weights of the model in place: training, validating, writing samples."""

    def __init__(self, model: Network) -> None:
        super().__init__()
        self.model = model

    def forward(self, work: Callable[..., Any], *inputs: Any) -> Any:
        """``work(*inputs)``."""
        return work(*inputs)


def rows(tensor: Tensor, like: Tensor | None = None) -> Tensor | Rows:
    """What this process holds of a tensor: its rows where it is spread, else all of it. `like`: a parameter it is spread as.

    Where several sets of processes hold the same rows, all but the first set hold none: a file needs them once.
    """
    from torch.distributed.tensor import DTensor

    spread_as = tensor if isinstance(tensor, DTensor) else like
    if not isinstance(spread_as, DTensor) or tensor.ndim == 0:
        return tensor.detach()
    local = (tensor.to_local() if isinstance(tensor, DTensor) else tensor).detach()
    start, _ = _range(spread_as)
    place = spread_as.device_mesh.get_coordinate() or [0]
    return Rows(local if not any(place[:-1]) else local[:0], tuple(spread_as.shape), start)


def own_rows(parameter: Tensor) -> tuple[Tensor, int, int]:
    """The local part of a parameter, and which rows of the whole it is."""
    from torch.distributed.tensor import DTensor

    if not isinstance(parameter, DTensor):
        return parameter, 0, parameter.shape[0] if parameter.ndim else 0
    return parameter.to_local(), *_range(parameter)


def _range(spread_out: DTensor) -> tuple[int, int]:
    """Which rows of the whole lie here, cut as torch.chunk cuts: the last axis of the mesh is the one they are spread along."""
    grid, total = spread_out.device_mesh, spread_out.shape[0]
    step = -(-total // grid.size(grid.ndim - 1))
    start = min((grid.get_coordinate() or [0])[-1] * step, total)
    return start, min(start + step, total)


def spread_like(local: Tensor, like: Tensor) -> Tensor:
    """Local rows as a tensor that is spread as `like` is."""
    from torch.distributed.tensor import DTensor

    assert isinstance(like, DTensor)
    return DTensor.from_local(local, like.device_mesh, like.placements, run_check=False, shape=like.shape, stride=like.stride())


def whole(tensor: Tensor) -> Tensor:
    """All of a tensor, in every process."""
    from torch.distributed.tensor import DTensor

    return tensor.full_tensor().detach() if isinstance(tensor, DTensor) else tensor.detach()
