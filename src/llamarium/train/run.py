"""A run: everything the loop works on, built from a recipe or restored from a checkpoint.

Takes: a recipe, a folder, the group of processes that train together.
Gives: a `Run` that stands at its first step, or exactly where its newest valid checkpoint left it.
Does not know: how a step is done.
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from llamarium.checkpoint import store
from llamarium.ground import files, progress
from llamarium.ground.config import read_yaml
from llamarium.ground.device import pick_device, random_state, restore_random_state, seed_all
from llamarium.ground.errors import BadFileError, ExistsError, RecipeError, TrainingError, UsageError
from llamarium.ground.group import ALONE, Group
from llamarium.models import family, family_of
from llamarium.models.model import Network
from llamarium.tokens import shards
from llamarium.tokens.marks import Marks, marks
from llamarium.tokens.order import Order, Segment
from llamarium.tokens.packing import IGNORED
from llamarium.tokens.tokenizer import Tokenizer
from llamarium.train import build, compute, data, resources, tensorboard, vectors
from llamarium.train.data import Data, Scored
from llamarium.train.guard import ROLL_BACKS, Guard
from llamarium.train.log import RunLog
from llamarium.train.log import read as read_log
from llamarium.train.objectives import Batch
from llamarium.train.recipe import Recipe
from llamarium.train.recipe import build as build_recipe

RECIPE, LOG, CHECKPOINTS, MODEL, ADAPTER, TOKENIZER = "recipe.yaml", "log.jsonl", "checkpoints", "model", "adapter", "tokenizer"
TOKENS = data.TOKENS

Result = TypeVar("Result")


@dataclass
class Run:
    """A run between two steps."""

    folder: Path
    recipe: Recipe
    model: Network
    tokenizer: Tokenizer
    data: Data
    order: Order
    validation: list[Scored]
    optimizer: torch.optim.Optimizer
    device: torch.device
    precision: torch.dtype
    log: RunLog
    identity: dict[str, Any]  # what must not change between a checkpoint and its resume; stands in `state.json`
    group: Group = ALONE
    guard: Guard = field(default_factory=Guard)
    step: int = 0
    samples_consumed: int = 0
    tokens: int = 0
    seconds: float = 0.0
    line: dict[str, Any] | None = None  # of a step that is done and not yet logged, because its validation was interrupted
    best: tuple[float, int] | None = None  # what it validated with, step
    without_better: int = 0  # validations since the best
    loss_scale: float = 1.0
    scaled_since: int = 0  # the step at which the scale was last changed
    root: nn.Module | None = None  # where the weights are spread over the group

    # --- Where it stands ---

    @property
    def checkpoints(self) -> Path:
        """Where checkpoints lie."""
        return self.folder / CHECKPOINTS

    @cached_property
    def marks(self) -> Marks:
        """What its tokenizer has to stand for what an objective leaves out."""
        return marks(self.tokenizer)

    @cached_property
    def packs(self) -> bool:
        """Whether rows may hold several documents."""
        return any(source.rows.num_documents > 1 for source in self.order.sources)

    @property
    def num_steps(self) -> int | None:
        """Steps of the run; fewer than the recipe says where the data may not be repeated so often. None where a time decides."""
        wanted = self.recipe.train.num_steps
        if wanted is None or self.order.end is None:
            return wanted
        return min(wanted, self.order.end // self.recipe.train.rows)

    def share(self, *, steps_ahead: int = 0) -> float:
        """How much of the run is done, 0 … 1, or will be so many steps from now; a run by the clock cannot look ahead."""
        minutes = self.recipe.train.minutes
        if minutes is not None:
            return min(1.0, self.seconds / (60 * minutes))
        assert self.num_steps is not None
        return min(1.0, (self.step + steps_ahead) / max(1, self.num_steps))

    @property
    def ended(self) -> bool:
        """Whether there is nothing left to do: all steps are done, the data is used up, or patience with it is."""
        train = self.recipe.train
        used_up = self.order.end is not None and self.samples_consumed + train.rows > self.order.end
        return self.share() >= 1 or used_up or (train.patience is not None and self.without_better >= train.patience)

    @property
    def done(self) -> bool:
        """Whether it has ended and its last step is in the log, too."""
        return self.ended and self.line is None

    # --- What it works on ---

    def learning(self) -> dict[str, nn.Parameter]:
        """The weights that learn, by name."""
        return {name: parameter for name, parameter in self.model.named_parameters() if parameter.requires_grad}

    def compute(self, work: Callable[..., Result], *inputs: Any) -> Result:
        """``work(*inputs)`` with the model's weights in place, wherever they lie."""
        if self.root is None:
            return work(*inputs)
        result: Result = self.root(work, *inputs)
        if not (isinstance(result, Tensor) and result.requires_grad):
            build.put_back(self.root)  # else the backward pass does it
        return result

    def batches(self) -> tuple[list[Batch], int]:
        """What this process reads in the next step, in parts that are small enough to be in memory at once, and its targets.

        Every process has as many parts; one with fewer rows than another reads rows in which nothing is learnt.
        """
        train, length = self.recipe.train, self.recipe.train.sequence_length
        mine = range(self.samples_consumed + self.group.rank, self.samples_consumed + train.rows, self.group.size)
        rows = self.order.take(mine) if mine else None
        count = -(-train.rows // self.group.size)
        nothing = [np.full((count - len(mine), length), value, dtype=np.int64) for value in (0, IGNORED, -1)]
        arrays = (
            [np.concatenate((part, empty)) for part, empty in zip((rows.inputs, rows.targets, rows.documents), nothing)]
            if rows
            else nothing
        )
        inputs, targets, documents = (torch.from_numpy(array) for array in arrays)
        size = max(1, train.micro_batch_tokens // length)
        parts = []
        for start in range(0, count, size):
            part = documents[start : start + size]
            # What fills a row up is behind everything, and seen by nobody but a model that looks ahead: for others it needs no mask.
            # A compiled step would be compiled again for the other form: there all have one form.
            ahead = self.model.KIND == "encoder"
            several = self.packs or ahead if train.compile else ((part != part[:, :1]) & ((part != -1) | ahead)).any()
            here, there = (each[start : start + size].to(self.device) for each in (inputs, targets))
            parts.append(Batch(here, there, part.to(self.device) if several else None, self.marks))
        return parts, int((targets != IGNORED).sum())

    def pass_over(self) -> None:
        """Go on to the next batch."""
        self.samples_consumed += self.recipe.train.rows

    def norms(self) -> dict[str, list[float]]:
        """Norms of the weights and of their gradients, by block; what is in no block goes by its own name."""
        parts: dict[str, list[tuple[Tensor, Tensor]]] = {}
        for name, parameter in self.learning().items():
            if parameter.grad is not None:
                where = name.split(".")
                key = ".".join(where[:2]) if where[0] == "blocks" else where[0]
                parts.setdefault(key, []).append((parameter.detach(), parameter.grad))
        norm = torch.nn.utils.get_total_norm
        return {key: [float(build.whole(norm(side))) for side in zip(*pairs, strict=True)] for key, pairs in parts.items()}

    def note_validation(self, score: float | None) -> None:
        """Remember whether this is the best there was; less is better."""
        if score is None:
            return
        if self.best is None or score < self.best[0]:
            self.best, self.without_better = (score, self.step), 0
        else:
            self.without_better += 1

    @property
    def is_best_now(self) -> bool:
        """Whether this step's weights are the best so far and the recipe wants to keep those."""
        return self.recipe.train.keep_best and self.best is not None and self.best[1] == self.step

    # --- Save and restore ---

    def save(self) -> Path:
        """Write a checkpoint of this moment, and drop the oldest ones. `ResourceError` where the disk is full: nothing is lost."""
        with self.group.together():
            self.log.flush()
        names = {id(parameter): (name, parameter) for name, parameter in self.model.named_parameters()}
        moments: dict[str, Any] = {}
        for parameter, values in self.optimizer.state.items():
            name, like = names[id(parameter)]
            moments |= {
                f"{name}.{key}": build.rows(value, like if value.shape == build.own_rows(like)[0].shape else None)
                for key, value in values.items()
            }
        state: dict[str, Any] = {
            "step": self.step,
            "samples_consumed": self.samples_consumed,
            "tokens": self.tokens,
            "seconds": self.seconds,
            "segments": data.write_state(self.order.segments),
            "guard": self.guard.state(),
            "line": self.line,
            "best": self.best,
            "without_better": self.without_better,
            "loss_scale": self.loss_scale,
            "scaled_since": self.scaled_since,
            **self.identity,
        }
        if self.recipe.lora is None:
            state["model"] = {"family": family_of(self.model), "config": dataclasses.asdict(self.model.config)}
        path = store.write(
            self.checkpoints,
            self.step,
            weights={name: build.rows(parameter) for name, parameter in self.learning().items()},
            optimizer=moments,
            state=state,
            own=random_state(),
            group=self.group,
        )
        self.prune()
        return path

    def prune(self) -> None:
        """Drop all checkpoints but the newest ones, and the best where the recipe keeps it."""
        spare = self.best[1] if self.recipe.train.keep_best and self.best is not None else None
        store.prune(self.checkpoints, step=self.step, keep=self.recipe.train.keep, spare=spare, group=self.group)

    def restore(self, checkpoint: store.Checkpoint, *, guard: bool = True) -> None:
        """Go back to the moment of `checkpoint`: weights, moments, random state, place in the data; with `guard`, what is usual.

        Written by as many processes, it is restored to the bit; by others, what they drew at random goes on from the seed.
        """
        state = checkpoint.state
        self.put_weights(checkpoint)
        held = checkpoint.names("optimizer")
        for name, parameter in self.learning().items():
            prefix = f"{name}."
            found = {key.removeprefix(prefix): self._moment(checkpoint, key, parameter) for key in held if key.startswith(prefix)}
            if found:
                self.optimizer.state[parameter] = found
            else:
                self.optimizer.state.pop(parameter, None)
        own = checkpoint.own(self.group.rank, self.group.size)
        if own:
            restore_random_state(own)
        else:
            seed_all(self.recipe.seed + (state["step"] << 16) + self.group.rank)
        self.step, self.samples_consumed = state["step"], state["samples_consumed"]
        self.tokens, self.seconds, self.line = state["tokens"], state["seconds"], state["line"]
        self.best = None if state["best"] is None else (state["best"][0], state["best"][1])
        self.without_better = state["without_better"]
        self.loss_scale, self.scaled_since = state["loss_scale"], state["scaled_since"]
        if guard:
            self.guard.restore(state["guard"])

    def whole_model(self) -> Network:
        """The model with all its weights in one place: itself, or in a group a copy of it, which only the first process fills."""
        if self.root is None:
            return self.model
        with torch.device("meta"):
            model: Network = family(family_of(self.model)).Model(self.model.config)
        build.adapt(self.recipe, model)
        if self.group.is_first:
            model.to_empty(device="cpu")
        for name, parameter in self.model.named_parameters():
            tensor = build.whole(parameter)  # every process gives its rows
            if self.group.is_first:
                model.get_parameter(name).data = tensor.cpu()
        return model

    def put_weights(self, checkpoint: store.Checkpoint) -> None:
        """Only the weights of `checkpoint`."""
        with torch.no_grad():
            for name, parameter in self.learning().items():
                local, start, stop = build.own_rows(parameter)
                local.copy_(checkpoint.rows("weights", name, start, stop) if parameter.ndim else checkpoint.weights[name])

    def _moment(self, checkpoint: store.Checkpoint, key: str, like: Tensor) -> Tensor:
        """A moment as this process holds it: its rows, spread as the parameter is, or all of what has another shape."""
        shape = checkpoint.shape("optimizer", key)
        if shape != tuple(like.shape) or not shape:
            value = checkpoint.tensors["optimizer"][key].whole()
            return value if not shape else value.to(self.device)  # a step's number stays where torch wants it
        local, start, stop = build.own_rows(like)
        rows = checkpoint.rows("optimizer", key, start, stop).to(local.device)
        return rows if local is like else build.spread_like(rows, like)

    def roll_back(self, reason: str) -> None:
        """Back to the newest good checkpoint, with the batches that were skipped since passed over; later lines leave the log.

        `save` must follow, so that a resume knows of it, too; then the last of the guard's roll-backs belongs into the log.
        """
        if len(self.guard.roll_backs) >= ROLL_BACKS:
            raise TrainingError(
                f"The run has gone back {ROLL_BACKS} times and its loss is still not one to learn from (step {self.step}): {reason}.",
                hint=f"Look at the events in {self.folder / LOG}; lower train.learning_rate, or look into the data.",
            )
        checkpoint, _ = store.newest(self.checkpoints, group=self.group)
        if checkpoint is None:
            since = (
                "from the first step on" if self.step == 0 else f"after step {self.step}, where no checkpoint is there yet to go back to"
            )
            raise TrainingError(
                f"Nothing could be learnt {since}: {reason}.",
                hint="Lower train.learning_rate, look into the data, or start from weights that are whole.",
            )
        self.guard.roll_back(checkpoint.state["step"], reason)
        self.restore(checkpoint, guard=False)
        self.log.cut(self.step)


def start(recipe: Recipe, folder: Path, *, resume: bool = False, group: Group = ALONE) -> Run:
    """Build the run of `recipe` in `folder`; with `resume`, continue what is there."""
    existing = group.tell((folder / RECIPE).is_file())
    device = pick_device(recipe.train.device)
    with group.together():
        if existing and not resume:
            raise ExistsError(f"The run {folder} exists.", hint="Continue it with --resume, or give the recipe another name.")
        if folder.exists() and not folder.is_dir():
            raise ExistsError(f"{folder} is a file.", hint="Give the recipe another name.")
        if existing:
            recipe = _reconcile(recipe, folder)
    with group.together():
        if group.is_first and existing:
            for place in (folder, folder / CHECKPOINTS):
                files.remove_leftovers(place)
        elif group.is_first and folder.exists():
            _clear(folder)
    asked = recipe.train.compile is True
    recipe = compute.resolve(recipe, device, group)
    precision = compute.dtype(recipe.train.precision)
    seed_all(recipe.seed)  # here, because measuring the fast type draws numbers, and a resume does not measure again
    with group.together():
        texts = data.open_texts(recipe)
        model, tokenizer, stop_ids = build.model_and_tokenizer(recipe, texts, folder / TOKENIZER if existing else None, place="meta")
    recipe = compute.check_compiling(recipe, model, asked=asked)
    tokens = 0 if existing else resources.token_bytes(recipe, texts, tokenizer.vocab_size)
    recipe = resources.check(recipe, model, folder, device, tokens=tokens, group=group)
    if model.device.type == "meta":  # nothing was drawn for it
        model = build.fresh(recipe, tokenizer.vocab_size)
    if recipe.train.objective == "sft":
        tokenizer = tokenizer.with_chat_template()
    checkpoint, rejected = store.newest(folder / CHECKPOINTS, group=group) if existing else (None, [])
    with group.together():
        word_vectors = vectors.read(recipe, tokenizer) if checkpoint is None else None
    read = data.load(recipe, texts, tokenizer, folder, begun=existing, stop_ids=stop_ids, group=group)
    with group.together():
        begun_with = vectors.begin_with(recipe, model, tokenizer, read, word_vectors) if checkpoint is None else None

    build.adapt(recipe, model)
    model.to(device)
    if precision == torch.float64:
        model.double()
    if recipe.train.compile and group.size > 1 and model.KIND != "recurrent":
        build.compile_blocks(model)  # first: what is run again in the backward pass is then the compiled block
    if recipe.train.recompute:
        compute.recompute(model)
    frozen = _frozen(model)  # before it is spread: the same sum for any number of processes
    root = build.spread(model, group, device, shard=recipe.train.shard, precision=precision)
    optimizer = build.optimizer(recipe, model)

    for sentence in rejected:
        progress.say(f"A checkpoint was passed over: {sentence}")
    if rejected and checkpoint is None:
        progress.say(f"No checkpoint of {folder} is left that is whole: it starts again from its beginning.")
    identity = {
        "data": read.digests,
        "validation": read.validation_digests,
        "tokenizer_sha256": tokenizer.sha256,
        "tokenizer_config_sha256": _tokenizer_config(tokenizer),
        "frozen_sha256": frozen,
    }
    segments: list[Segment] = []
    if checkpoint is not None:
        _check_identity(recipe, read, tokenizer, checkpoint, identity)
        _check_weights(checkpoint, model)
        segments = _segments(read, checkpoint, grow=recipe.data.grow)
    after = None if checkpoint is None else checkpoint.state["step"]
    with group.together():
        shown = tensorboard.listener(folder, after_step=after) if recipe.train.tensorboard and group.is_first else None
        if group.is_first:
            if not existing:
                tokenizer.save(folder / TOKENIZER)
            files.write_text(folder / RECIPE, recipe.dump())
    log = RunLog(folder / LOG, after_step=after, to_disk=group.is_first, also=shown)
    run = Run(
        folder,
        recipe,
        model,
        tokenizer,
        read,
        read.order(recipe.seed, segments),
        read.validation,
        optimizer,
        device,
        precision,
        log,
        identity,
        group,
        loss_scale=2.0**16 if precision == torch.float16 else 1.0,
        root=root,
    )
    if checkpoint is not None:
        run.restore(checkpoint)
        progress.say(f"Resuming {folder} at step {run.step}.")
        if not rejected:  # what was rejected is kept until there is something newer that is whole
            run.prune()
        # Of what happens between two checkpoints, some is in the log already where a process was stopped in between.
        known = read_log(folder / LOG)
        happened = [{"step": each["step"], "event": "roll-back", "detail": each["detail"]} for each in run.guard.roll_backs]
        if len(segments) > len(checkpoint.state["segments"]):
            happened.append({"step": run.step, "event": "data grew", "detail": {"shards": [int(count) for count in segments[-1].shards]}})
        for line in happened:
            if line not in known:
                log.event(**line)
    elif group.size > 1:
        seed_all(recipe.seed + group.rank)  # what is dropped at random differs from process to process
    if begun_with is not None:
        log.event(0, "vectors", begun_with)
    for sentence in rejected:
        log.event(run.step, "checkpoint rejected", sentence)
    return run


def _segments(read: Data, checkpoint: store.Checkpoint, *, grow: bool) -> list[Segment]:
    """The segments of a checkpoint, and where they may one more, where shards have joined since."""
    segments = data.read_state(checkpoint.state["segments"])
    counts = [len(digests) for digests in read.digests]
    joined = sum(counts) - sum(segments[-1].shards)
    if not joined:
        return segments
    if not grow:
        progress.say(f"The data has {joined:,} shards that this run does not know; data.grow=true lets them join.")
        return segments
    here = checkpoint.state["samples_consumed"]
    # Two that start at one sample are one: nothing was read in between.
    return [*(segment for segment in segments if segment.start < here or not here), Segment(here, counts)] if here else [Segment(0, counts)]


FIXED = ("objective", "batch_tokens", "micro_batch_tokens", "sequence_length", "precision", "compile", "recompute")


def _reconcile(recipe: Recipe, folder: Path) -> Recipe:
    """The recipe to go on with: what decides the weights must be what the run began with; how long it goes on may change."""
    begun = build_recipe(read_yaml(folder / RECIPE), name=str(folder / RECIPE))
    hint = f"See {folder / RECIPE}, or start a new run."
    train = {key: getattr(begun.train, key) for key in ("precision", "compile") if getattr(recipe.train, key) == "auto"}
    # Memory may have asked for smaller parts than the recipe did.
    if begun.train.micro_batch_tokens < recipe.train.micro_batch_tokens:
        train["micro_batch_tokens"] = begun.train.micro_batch_tokens
    recipe = recipe.model_copy(update={"train": recipe.train.model_copy(update=train)})
    for section in ("seed", "data", "model", "optimizer", "lora"):
        now, then = getattr(recipe, section), getattr(begun, section)
        if section == "data":
            now, then = (each.model_copy(update={"grow": False}) for each in (now, then))
        if now != then:
            raise RecipeError(f"{folder}: `{section}` is not what this run began with.", hint=hint)
    for key in FIXED:
        if getattr(recipe.train, key) != getattr(begun.train, key):
            raise RecipeError(f"{folder}: `train.{key}` is not what this run began with.", hint=hint)
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


def _frozen(model: Network) -> str:
    """SHA-256 of what no checkpoint holds of a model: its shape, and the weights that do not learn."""
    frozen = hashlib.sha256(json.dumps(dataclasses.asdict(model.config), sort_keys=True).encode())
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            frozen.update(name.encode())
            frozen.update(parameter.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return frozen.hexdigest()


def _tokenizer_config(tokenizer: Tokenizer) -> str:
    """SHA-256 of what stands beside the definition: special tokens, the chat template. Saving adds the name of a class."""
    values = {key: value for key, value in tokenizer.config.items() if key != "tokenizer_class"}
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def _check_identity(recipe: Recipe, read: Data, tokenizer: Tokenizer, checkpoint: store.Checkpoint, identity: dict[str, Any]) -> None:
    """What a checkpoint does not hold and its resume depends on must be what it was; shards may have joined behind the old ones."""
    hint = "Put it back, or start a new run."
    for key, place, what in (
        ("tokenizer_sha256", tokenizer.name, "the tokenizer is"),
        ("tokenizer_config_sha256", tokenizer.name, "the configuration beside the tokenizer is"),
        ("frozen_sha256", recipe.model.start or recipe.model.family, "the model it starts from is"),
    ):
        if checkpoint.state.get(key) != identity[key]:
            raise UsageError(f"{place}: {what} not what this run began with.", hint=hint)
    for key, what in (("data", "the training data is"), ("validation", "the validation data is")):
        then = checkpoint.state.get(key, [])
        for folder, now, old in itertools.zip_longest(read.folders, identity[key], then):
            if now is None or old is None or now[: len(old)] != old:
                raise UsageError(f"{(folder or read.folders[-1]) / shards.INDEX}: {what} not what this run began with.", hint=hint)


def _check_weights(checkpoint: store.Checkpoint, model: Network) -> None:
    learning = {name: tuple(parameter.shape) for name, parameter in model.named_parameters() if parameter.requires_grad}
    if learning != {name: checkpoint.shape("weights", name) for name in checkpoint.names("weights")}:
        raise BadFileError(checkpoint.path, "holds other weights than this recipe trains.")
