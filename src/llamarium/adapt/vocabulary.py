"""A model for a larger vocabulary: rows for ids that it did not have.

Takes: a model, and for each new id the old ids that its text had been.
Gives: a model of the same family whose old ids keep their rows, and whose new rows are means of old ones.
Does not know: tokenizers, files.

The mean of the old pieces' rows, in the embedding and in the head, is where continued training starts sane: a new piece is read
as about what its parts meant, and its logit is the mean of theirs, so that it takes no more probability than they have.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from llamarium.ground.errors import UsageError
from llamarium.models.model import Model, Network

MULTIPLE = 64  # rows are rounded up to it: matrix products like even sizes, and it divides among the processes of a group


def extend_vocabulary(model: Model, made_of: Mapping[int, Sequence[int]], *, multiple: int = MULTIPLE) -> Model:
    """A model with a row for each id in `made_of`, which is the mean of the rows of the old ids it names.

    The model keeps rows that it has beyond its vocabulary, and uses them first; rows added only to fill up to `multiple` are the
    mean of all. `UsageError` for a family without rows of an embedding, `AssertionError` for ids that do not fit.
    """
    if not isinstance(model, Network):
        raise UsageError("Only a model that learns by gradient has an embedding to extend.", hint="Fit a model that counts anew.")
    old_rows: int = model.config.vocab_size
    new_rows = rows_for(old_rows, max(made_of, default=-1) + 1, multiple=multiple)
    assert all(made_of.values()), "a new piece is made of at least one old one"
    assert all(0 <= part < old_rows for parts in made_of.values() for part in parts), "a new piece is made of pieces that had rows"
    growing = {name for name, shape in _shapes(model, old_rows + 1).items() if shape != model.state_dict()[name].shape}
    state = {name: _grow(tensor, new_rows, made_of) if name in growing else tensor for name, tensor in model.state_dict().items()}
    for name, shape in _shapes(model, new_rows).items():
        if state[name].shape != shape:
            raise UsageError(f"{name} depends on the vocabulary in a way that cannot be extended.", hint="Extend a LLaMA or a GPT.")
    with torch.device("meta"):
        grown: Model = type(model)(dataclasses.replace(model.config, vocab_size=new_rows))
    grown.load_state_dict(state, assign=True)
    return grown.train(model.training)


def rows_for(old_rows: int, num_ids: int, *, multiple: int = MULTIPLE) -> int:
    """Rows of a vocabulary with `num_ids` ids: those that are there if they are enough, else rounded up."""
    return old_rows if num_ids <= old_rows else -(-num_ids // multiple) * multiple


def _shapes(model: Model, vocab_size: int) -> dict[str, torch.Size]:
    """Shapes of all tensors of a model like this one for another vocabulary."""
    with torch.device("meta"):
        other = type(model)(dataclasses.replace(model.config, vocab_size=vocab_size))
    return {name: tensor.shape for name, tensor in other.state_dict().items()}


def _grow(rows_VD: Tensor, new_rows: int, made_of: Mapping[int, Sequence[int]]) -> Tensor:
    """Rows (V, ...) -> (new V, ...). Means are taken in float32: in bfloat16 a sum of many would lose what distinguishes them."""
    old_rows = len(rows_VD)
    grown_VD = rows_VD.new_empty((new_rows, *rows_VD.shape[1:]))
    grown_VD[:old_rows] = rows_VD
    grown_VD[old_rows:] = rows_VD.float().mean(0).to(rows_VD.dtype)
    for number, parts in made_of.items():
        grown_VD[number] = rows_VD[list(parts)].float().mean(0).to(rows_VD.dtype)
    return grown_VD
