"""A run: everything the loop works on, built from a recipe or restored from a checkpoint.

Takes: a recipe and a folder.
Gives: a `Run` that stands at its first step, or exactly where its newest valid checkpoint left it.
Does not know: how a step is done.
"""

from __future__ import annotations

import dataclasses
import hashlib
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from llamarium import optim
from llamarium.adapt import lora
from llamarium.checkpoint import store
from llamarium.checkpoint.open import open_model
from llamarium.checkpoint.weights import MAX_LAYERS, build_config
from llamarium.ground import files, progress
from llamarium.ground.config import read_yaml
from llamarium.ground.device import fast_dtype, pick_device, random_state, restore_random_state, seed_all
from llamarium.ground.errors import BadFileError, ExistsError, RecipeError, UsageError
from llamarium.models import family
from llamarium.models.model import Network
from llamarium.text.corpus import open_corpus
from llamarium.tokens import shards as token_shards
from llamarium.tokens.packing import PackedOrder
from llamarium.tokens.shards import Shards
from llamarium.tokens.tokenizer import Tokenizer
from llamarium.tokens.train import bytes_tokenizer, characters_tokenizer
from llamarium.train.log import RunLog
from llamarium.train.recipe import Recipe, build, parse_size

RECIPE, LOG, CHECKPOINTS, MODEL, ADAPTER, TOKENS, TOKENIZER = (
    "recipe.yaml",
    "log.jsonl",
    "checkpoints",
    "model",
    "adapter",
    "tokens",
    "tokenizer",
)
RANDOM = "random."  # generator states travel among the optimizer's tensors


@dataclass
class Run:
    """A run between two steps."""

    folder: Path
    recipe: Recipe
    model: Network
    tokenizer: Tokenizer
    order: PackedOrder
    validation: list[tuple[NDArray[Any], int]]  # documents as ids, with the bytes of their text
    optimizer: torch.optim.Optimizer
    device: torch.device
    precision: torch.dtype
    log: RunLog
    identity: dict[str, Any]  # what must not change between a checkpoint and its resume; stands in `state.json`
    step: int = 0
    samples_consumed: int = 0
    tokens: int = 0
    seconds: float = 0.0

    @property
    def checkpoints(self) -> Path:
        """Where checkpoints lie."""
        return self.folder / CHECKPOINTS

    def share(self, *, steps_ahead: int = 0) -> float:
        """How much of the run is done, 0 … 1, or will be so many steps from now; a run by the clock cannot look ahead."""
        train = self.recipe.train
        if train.minutes is not None:
            return min(1.0, self.seconds / (60 * train.minutes))
        assert train.num_steps is not None
        return min(1.0, (self.step + steps_ahead) / train.num_steps)

    def learning(self) -> dict[str, nn.Parameter]:
        """The weights that learn, by name."""
        return {name: parameter for name, parameter in self.model.named_parameters() if parameter.requires_grad}

    def save(self) -> Path:
        """Write a checkpoint of this moment, and drop the oldest ones."""
        names = {id(parameter): name for name, parameter in self.model.named_parameters()}
        moments: dict[str, Tensor] = {}
        for parameter, values in self.optimizer.state.items():
            moments |= {f"{names[id(parameter)]}.{key}": value for key, value in values.items()}
        state: dict[str, Any] = {
            "step": self.step,
            "samples_consumed": self.samples_consumed,
            "tokens": self.tokens,
            "seconds": self.seconds,
            **self.identity,
        }
        if self.recipe.lora is None:
            kind = type(self.model).__module__.rsplit(".", 1)[-1]
            state["model"] = {"family": kind, "config": dataclasses.asdict(self.model.config)}
        path = store.write(self.checkpoints, self.step, weights=self.learning(), optimizer=moments | random_state(), state=state)
        store.prune(self.checkpoints, step=self.step, keep=self.recipe.train.keep)
        return path

    def restore(self, checkpoint: store.Checkpoint) -> None:
        """Go back to the moment of `checkpoint`: weights, moments, random state, place in the data."""
        learning, state = self.learning(), checkpoint.state
        with torch.no_grad():
            for name, parameter in learning.items():
                parameter.copy_(checkpoint.weights[name])
        for name, parameter in learning.items():
            prefix = f"{name}."
            moments = {key.removeprefix(prefix): value for key, value in checkpoint.optimizer.items() if key.startswith(prefix)}
            if moments:
                self.optimizer.state[parameter] = {key: value.to(self.device) for key, value in moments.items()}
        restore_random_state({key: value for key, value in checkpoint.optimizer.items() if key.startswith(RANDOM)})
        self.step, self.samples_consumed = state["step"], state["samples_consumed"]
        self.tokens, self.seconds = state["tokens"], state["seconds"]


def start(recipe: Recipe, folder: Path, *, resume: bool = False) -> Run:
    """Build the run of `recipe` in `folder`; with `resume`, continue what is there."""
    existing = (folder / RECIPE).is_file()
    if existing and not resume:
        raise ExistsError(f"The run {folder} exists.", hint="Continue it with --resume, or give the recipe another name.")
    if folder.exists() and not folder.is_dir():
        raise ExistsError(f"{folder} is a file.", hint="Give the recipe another name.")
    if existing:
        recipe = _reconcile(recipe, folder)
        for place in (folder, folder / CHECKPOINTS):
            files.remove_leftovers(place)
    elif folder.exists():
        _clear(folder)
    device = pick_device(recipe.train.device)
    precision = fast_dtype(device) if recipe.train.precision == "auto" else getattr(torch, recipe.train.precision)
    recipe = recipe.model_copy(update={"train": recipe.train.model_copy(update={"precision": str(precision).removeprefix("torch.")})})
    seed_all(recipe.seed)  # here, because measuring the fast type draws numbers, and a resume does not measure again
    corpus = recipe.data.corpus
    ready = (corpus / token_shards.INDEX).is_file()
    texts = None if ready else open_corpus(corpus)
    model, tokenizer = _model_and_tokenizer(recipe, texts, folder if existing else None)
    model.to(device)

    if ready:
        shards = token_shards.read_shards(corpus, verify=True)
    elif existing:
        shards = token_shards.read_shards(folder / TOKENS, verify=True)
    else:
        shards = _tokenize(texts, tokenizer, folder / TOKENS)
    if shards.tokenizer_sha256 != tokenizer.sha256:
        raise UsageError(f"The tokens in {corpus} were made with another tokenizer.", hint="Name the tokenizer they were made with.")
    order = PackedOrder(token_shards.require_split(shards, "train"), recipe.train.sequence_length, recipe.seed)

    if recipe.lora is not None:
        lora.add(model, rank=recipe.lora.rank, alpha=recipe.lora.alpha, targets=recipe.lora.targets)
    options = recipe.optimizer
    optimizer = optim.build(
        options.name,
        model.named_parameters(),
        learning_rate=recipe.train.learning_rate,
        weight_decay=options.weight_decay,
        betas=options.betas,
    )

    checkpoint, rejected = store.newest(folder / CHECKPOINTS) if existing else (None, [])
    for sentence in rejected:
        progress.say(f"A checkpoint was passed over: {sentence}")
    if rejected and checkpoint is None:
        progress.say(f"No checkpoint of {folder} is left that is whole: it starts again from its beginning.")
    identity = _identity(order, tokenizer, model)
    if checkpoint is not None:
        _check_identity(folder, checkpoint, identity, model)
    if not existing:
        tokenizer.save(folder / TOKENIZER)
    files.write_text(folder / RECIPE, recipe.dump())
    log = RunLog(folder / LOG, after_step=None if checkpoint is None else checkpoint.state["step"])
    validation = _validation_documents(shards, num_tokens=recipe.train.validation_tokens, seed=recipe.seed)
    run = Run(folder, recipe, model, tokenizer, order, validation, optimizer, device, precision, log, identity)
    if checkpoint is not None:
        run.restore(checkpoint)
        progress.say(f"Resuming {folder} at step {run.step}.")
        if not rejected:  # what was rejected is kept until there is something newer that is whole
            store.prune(run.checkpoints, step=run.step, keep=recipe.train.keep)
    for sentence in rejected:
        log.event(run.step, "checkpoint rejected", sentence)
    return run


def describe(recipe: Recipe, run: Run | None = None) -> list[str]:
    """What a run is going to be, in a few lines: weights, tokens, memory, disk. Without `run`, nothing is written for it."""
    if run is None:
        ready = (recipe.data.corpus / token_shards.INDEX).is_file()
        model, _ = _model_and_tokenizer(recipe, None if ready else open_corpus(recipe.data.corpus), None, place="meta")
        if recipe.lora is not None:
            lora.add(model, rank=recipe.lora.rank, alpha=recipe.lora.alpha, targets=recipe.lora.targets)
    else:
        model = run.model
    train = recipe.train
    learning = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    everything = model.num_parameters()
    per_step = train.rows * train.sequence_length
    length = (
        f"{train.minutes:g} minutes" if train.num_steps is None else f"{train.num_steps:,} steps, {train.num_steps * per_step:,} tokens"
    )
    # Each learning weight has a gradient and two moments, all float32; a checkpoint holds it and its moments.
    memory, disk = 4 * (everything + 3 * learning), 4 * (3 * learning * (train.keep + 1) + everything)
    shape = ", ".join(
        f"{name} {getattr(model.config, name):,}" for name in ("layers", "width", "heads", "vocab_size") if hasattr(model.config, name)
    )
    return [
        f"{recipe.name}: {recipe.model.start or recipe.model.family}, {everything:,} weights, {learning:,} of them learn ({shape})",
        f"{length}; {per_step:,} tokens a step in sequences of {train.sequence_length}",
        f"about {progress.size(memory)} of memory beside what a batch needs, {progress.size(disk)} of disk",
    ]


def _reconcile(recipe: Recipe, folder: Path) -> Recipe:
    """The recipe to go on with: what decides the weights must be what the run began with; how long it goes on may change."""
    begun = build(read_yaml(folder / RECIPE), name=str(folder / RECIPE))
    if recipe.train.precision == "auto":
        recipe = recipe.model_copy(update={"train": recipe.train.model_copy(update={"precision": begun.train.precision})})
    for section in ("seed", "data", "model", "optimizer", "lora"):
        if getattr(recipe, section) != getattr(begun, section):
            raise RecipeError(f"{folder}: `{section}` is not what this run began with.", hint=f"See {folder / RECIPE}, or start a new run.")
    for key in ("objective", "batch_tokens", "micro_batch_tokens", "sequence_length", "precision"):
        if getattr(recipe.train, key) != getattr(begun.train, key):
            raise RecipeError(
                f"{folder}: `train.{key}` is not what this run began with.", hint=f"See {folder / RECIPE}, or start a new run."
            )
    return recipe


def _clear(folder: Path) -> None:
    """Remove what a run left that was stopped before it began; anything else in the folder is not ours to remove.

    A tokenizer there is overwritten in time; removed now, it might be the one that the recipe names.
    """
    ours = (TOKENS, TOKENIZER)
    foreign = sorted(path.name for path in folder.iterdir() if path.name not in ours and not path.name.startswith(files.TEMPORARY))
    if foreign:
        raise ExistsError(f"{folder} exists and is no run (it holds {foreign[0]}).", hint="Give the recipe another name.")
    files.remove_leftovers(folder)
    shutil.rmtree(folder / TOKENS, ignore_errors=True)


IDENTITY = {
    "data": "the training data is",
    "tokenizer_sha256": "the tokenizer is",
    "frozen_sha256": "the model it starts from is",
}


def _identity(order: PackedOrder, tokenizer: Tokenizer, model: Network) -> dict[str, Any]:
    """Digests of what a checkpoint does not hold and its resume depends on: each shard with its documents, tokenizer, frozen weights."""
    frozen = hashlib.sha256()
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            frozen.update(name.encode())
            frozen.update(parameter.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return {
        "data": [hashlib.sha256(shard.sha256.encode() + shard.offsets.tobytes()).hexdigest() for shard in order.shards],
        "tokenizer_sha256": tokenizer.sha256,
        "frozen_sha256": frozen.hexdigest(),
    }


def _check_identity(folder: Path, checkpoint: store.Checkpoint, identity: dict[str, Any], model: Network) -> None:
    for key, what in IDENTITY.items():
        if checkpoint.state.get(key) != identity[key]:
            raise UsageError(f"{folder}: {what} not what this run began with.", hint="Put it back, or start a new run.")
    learning = {name: parameter.shape for name, parameter in model.named_parameters() if parameter.requires_grad}
    if learning != {name: tensor.shape for name, tensor in checkpoint.weights.items()}:
        raise BadFileError(checkpoint.path, "holds other weights than this recipe trains.")


def _model_and_tokenizer(recipe: Recipe, texts: Any, begun: Path | None, *, place: str = "cpu") -> tuple[Network, Tokenizer]:
    """The model that learns and its tokenizer; on the place "meta" a new model has a shape and no memory."""
    if recipe.model.start is not None:
        opened = open_model(recipe.model.start)
        named = recipe.data.tokenizer
        if named is not None and _tokenizer(recipe, texts).sha256 != opened.tokenizer.sha256:
            raise RecipeError(f"data.tokenizer {named!r} is not the tokenizer of {recipe.model.start}.", hint="Leave data.tokenizer out.")
        if not isinstance(opened.model, Network):
            raise RecipeError(f"{recipe.model.start} does not learn by gradient.")
        _check_context(recipe, opened.model)
        return opened.model, opened.tokenizer
    tokenizer = Tokenizer.load(begun / TOKENIZER) if begun is not None else _tokenizer(recipe, texts)
    module = family(recipe.model.family)
    if not issubclass(module.Model, Network):
        raise RecipeError(f"The family {recipe.model.family!r} counts; it does not learn by gradient.", hint="Try family: llama.")
    values = {"vocab_size": tokenizer.vocab_size, "context_length": recipe.train.sequence_length, **recipe.model.fields()}
    try:
        if recipe.model.size is not None:
            size = parse_size(recipe.model.size)
            sized = module.Config.sized(size, vocab_size=values["vocab_size"], context_length=values["context_length"])
            values = {**dataclasses.asdict(sized), **_underived(values)}
        config = build_config(module, values)
        if getattr(config, "layers", 0) > MAX_LAYERS:
            raise ValueError(f"{config.layers:,} layers are more than the {MAX_LAYERS:,} that are built")
        if config.vocab_size < tokenizer.vocab_size:
            raise ValueError(f"vocab_size {config.vocab_size:,} is less than the {tokenizer.vocab_size:,} tokens of the tokenizer")
        with torch.device(place):
            model = module.Model(config)
    except (TypeError, ValueError, ArithmeticError) as error:
        raise RecipeError(f"model: {error}.") from None
    _check_context(recipe, model)
    model.initialize()
    return model, tokenizer


def _check_context(recipe: Recipe, model: Network) -> None:
    wanted, there = recipe.train.sequence_length, getattr(model.config, "context_length", None)
    if there is not None and wanted > there:
        raise RecipeError(f"train.sequence_length {wanted:,} is more than the model's context of {there:,}.", hint="Set a shorter one.")


def _underived(fields: dict[str, Any]) -> dict[str, Any]:
    """Set fields, and zeros for those that follow from them: a new width must not keep the old width's heads."""
    derived = {"width": ("head_width", "hidden_width", "rope_width"), "heads": ("kv_heads", "head_width", "rope_width")}
    zeros = {name: 0 for key in derived.keys() & fields.keys() for name in derived[key]}
    return {**zeros, **fields}


def _tokenizer(recipe: Recipe, texts: Any) -> Tokenizer:
    name = recipe.data.tokenizer
    assert name is not None
    if name == "bytes":
        return bytes_tokenizer()
    if name == "characters":
        if texts is None:
            raise RecipeError("data: token shards name their tokenizer's folder; `characters` needs the text.")
        return characters_tokenizer(document.text for document in texts.documents("train"))
    return Tokenizer.load(Path(name))


def _tokenize(texts: Any, tokenizer: Tokenizer, folder: Path) -> Shards:
    splits = {split: (document.text for document in texts.documents(split)) for split in ("train", "valid")}
    totals = {split: texts.num_documents(split) for split in splits}
    return token_shards.write_shards(folder, splits, tokenizer, totals=totals)


def _validation_documents(shards: Shards, *, num_tokens: int, seed: int) -> list[tuple[NDArray[Any], int]]:
    """Whole validation documents in a shuffled order, up to about `num_tokens`."""
    everything = [(shard, number) for shard in shards.splits.get("valid", []) for number in range(len(shard))]
    chosen: list[tuple[NDArray[Any], int]] = []
    total = 0
    for place in np.random.Generator(np.random.PCG64(seed)).permutation(len(everything)):
        shard, number = everything[place]
        document = np.asarray(shard.document(number))
        if chosen and total + len(document) > num_tokens:
            continue
        chosen.append((document, int(shard.num_bytes[number])))
        total += len(document)
    return chosen
