"""Word vectors that a run begins with: rows of its embedding that know something of their pieces before the first step.

Takes: a recipe with `model.vectors`, its new model and tokenizer, the run's own tokens.
Gives: the model, with those rows in place of drawn ones, and how many pieces have one.
Does not know: how vectors are read or trained; what a family does with its embedding, which it calls `embed`.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from llamarium.ground import progress
from llamarium.ground.errors import MissingExtraError, NotFoundError, RecipeError
from llamarium.models.model import Network
from llamarium.tokens.shards import read_shards
from llamarium.tokens.tokenizer import Tokenizer
from llamarium.tokens.vectors import Vectors, read_vectors, rows_for, train_vectors
from llamarium.train.data import Data
from llamarium.train.recipe import Recipe

TRAIN = "train"  # instead of a file: from the run's own text


def check(recipe: Recipe, model: Network) -> None:
    """Refuse what cannot be before anything is read: no embedding to begin with, no file, no package to train vectors with."""
    source = recipe.model.vectors
    if source is None:
        return
    if not isinstance(getattr(model, "embed", None), nn.Embedding):
        raise RecipeError(f"model.vectors: the family {recipe.model.family!r} has no embedding.", hint="Leave it out.")
    if source == TRAIN and find_spec("gensim") is None:
        raise MissingExtraError("Training word vectors", extra="vectors", package="gensim")
    if source != TRAIN and not Path(source).is_file():
        raise NotFoundError(f"There is no file {source} to read word vectors from.", hint=f"model.vectors: a file, or {TRAIN}.")


def read(recipe: Recipe, tokenizer: Tokenizer) -> Vectors | None:
    """Those of the recipe's file; None where it names none. A file that is broken is known before any text is tokenized."""
    source = recipe.model.vectors
    return None if source in (None, TRAIN) else read_vectors(Path(source), tokenizer=tokenizer)


def begin_with(recipe: Recipe, model: Network, tokenizer: Tokenizer, data: Data, given: Vectors | None) -> dict[str, Any] | None:
    """Put the vectors that were `given`, or that are trained on `data`, into the embedding; what the log says of it.

    Rows are as large as those that the family drew, and pieces without a vector keep theirs. No random number of torch is drawn.
    """
    source = recipe.model.vectors
    if source is None:
        return None
    weight_VD = model.get_parameter("embed.weight").data
    width, spread = weight_VD.shape[1], float(weight_VD.std())
    if given is not None:
        rows_VD, found_V = rows_for(tokenizer, given, width=width, spread=spread)
    else:
        shards = [shard for folder in data.folders for shard in read_shards(folder).splits["train"]]
        documents = [np.asarray(shard.document(number)) for shard in shards for number in range(len(shard))]
        size = tokenizer.vocab_size
        rows_VD, found_V = train_vectors(documents, vocab_size=size, width=width, seed=recipe.seed, spread=spread)
    # A model's vocabulary may be larger than its tokenizer's.
    weight_VD[: len(found_V)][torch.from_numpy(found_V)] = torch.from_numpy(rows_VD[found_V]).to(weight_VD)
    found = int(found_V.sum())
    how = "trained on this text" if given is None else source
    progress.say(f"{found:,} of {len(found_V):,} pieces begin with a word vector ({how}).")
    return {"found": found, "of": len(found_V), "from": source}
