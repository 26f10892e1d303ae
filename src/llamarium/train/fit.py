"""Training without steps: a family that counts is fitted to all of its text at once.

Takes: a recipe of such a family, a folder.
Gives: the same run folder as a network's, with recipe, tokenizer, tokens, log and ``model/``.
Does not know: how a family counts.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from llamarium.checkpoint import huggingface
from llamarium.ground import files, progress
from llamarium.ground.errors import ExistsError
from llamarium.models.model import Fitted
from llamarium.models.scoring import log2_probabilities
from llamarium.tokens.shards import read_shards
from llamarium.train import build, data
from llamarium.train.log import RunLog
from llamarium.train.recipe import Recipe
from llamarium.train.run import LOG, MODEL, RECIPE, TOKENIZER


def fit(recipe: Recipe, folder: Path, *, resume: bool = False, tell: Callable[[str], None] = progress.say) -> Path:
    """Fit the recipe's model in `folder` and return the path of ``model/``; an unfinished one starts again from its beginning.

    `tell` is told what happens, in sentences.
    """
    if folder.exists() and not (resume and (folder / RECIPE).is_file()):
        raise ExistsError(f"The run {folder} exists.", hint="Continue it with --resume, or give the recipe another name.")
    if (folder / MODEL).is_dir():
        tell(f"{folder} has already reached its end.")
        return folder / MODEL
    texts = data.open_texts(recipe)
    tokenizer = build.tokenizer_of(recipe, texts)
    model = build.shaped(recipe, tokenizer.vocab_size)
    assert isinstance(model, Fitted)
    tokenizer.save(folder / TOKENIZER)
    files.write_text(folder / RECIPE, recipe.dump())
    read = data.load(recipe, texts, tokenizer, folder, begun=(folder / data.TOKENS).is_dir())
    shards = [shard for place in read.folders for shard in read_shards(place).splits["train"]]
    documents = [np.asarray(shard.document(number)) for shard in shards for number in range(len(shard))]
    tokens = sum(map(len, documents)) - len(documents)
    tell(f"Fitting {recipe.model.family} to {tokens:,} tokens in {len(documents):,} documents …")
    began = time.perf_counter()
    model.fit(documents)
    seconds = time.perf_counter() - began
    scores = log2_probabilities(model, [document.ids for document in read.validation], name="validating")
    num_bytes = sum(document.num_bytes for document in read.validation)
    bits = -sum(float(score.sum()) for score in scores) / num_bytes if num_bytes else None
    log = RunLog(folder / LOG)
    log.event(1, "fitted", {"tokens": tokens, "documents": len(documents), "seconds": round(seconds, 3), "bits_per_byte": bits})
    log.close()
    tell(f"Fitted in {seconds:.1f} s" + (f"; {bits:.4f} bits per byte." if bits is not None else "."))
    huggingface.save_folder(folder / MODEL, model, tokenizer)
    return folder / MODEL
