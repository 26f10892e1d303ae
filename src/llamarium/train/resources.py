"""Memory and disk: what a run will need, what there is, and what to change where that is not enough.

Takes: a recipe, the shape of its model, a device.
Gives: bytes at the peak; a recipe whose parts of a batch fit; a `ResourceError` that says what would help.
Does not know: formulas for any family. One step is run on tensors that have shapes and no memory, and what lives is added up.
"""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import os
import shutil
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from llamarium.ground import device as ground_device
from llamarium.ground import progress
from llamarium.ground.errors import RecipeError, ResourceError, UsageError
from llamarium.ground.group import ALONE, Group
from llamarium.models import family, family_of, scoring
from llamarium.models.context import Dense
from llamarium.models.model import Network
from llamarium.text.corpus import Corpus
from llamarium.tokens.marks import Marks
from llamarium.tokens.shards import read_shards
from llamarium.train import build, compute
from llamarium.train.objectives import Batch, shaped_like
from llamarium.train.recipe import Recipe

# Measured with `tests/promises/test_p08_memory.py` (torch 2.13, glibc 2.36, x86-64): what a run takes that no tensor of it is.
LIBRARIES = 80_000_000  # pages of torch that the first step touches, work space of oneDNN and MKL, the estimate's own objects
COMPILER = 130_000_000  # Inductor, its code and its graphs
FUSED = 0.67  # of what a step keeps or passes on between its operations, where these are compiled into fewer
# glibc keeps what is freed and fills the holes badly: small objects of autograd settle in those that large tensors left. Seven
# sizes took 1.2 to 1.8 times the bytes that live. `give_back_at_once` avoids that, for as much system time again as the arithmetic takes.
SCATTERED = 2.0
USABLE = 0.9  # of what is free now: others take some of it meanwhile
SHORTEST = 64  # tokens in a sequence, below which none is proposed
BYTES_PER_TOKEN = 3.5  # of text, with a vocabulary of some thousands: a guess until it is tokenized
CHECKPOINT = 12  # bytes of a weight and its moments, of which no optimizer here has more than two
M_MMAP_THRESHOLD, LARGE = -3, 1 << 17  # malloc.h; bytes of a tensor that gets pages of its own
HOPELESS = 4  # times the free memory, from which on nobody need know it exactly
SMALLEST = 1e5  # weights of a model, below which none is proposed


# --- Memory that is needed --------------------------------------------------------------------------------------------


class Meter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Adds up the storages that live: `live` bytes now, `peak` bytes at most."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.live = self.peak = 0
        self._watched: dict[int, tuple[Any, int]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for each in tree_leaves(result):
            if isinstance(each, Tensor):
                self.watch(each)
        return result

    def watch(self, tensor: Tensor) -> None:
        """Count a tensor while it lives."""
        storage = tensor.untyped_storage()
        key = storage._cdata  # of the storage itself, whatever object stands for it
        if key not in self._watched:
            self._watched[key] = weakref.ref(storage, lambda _: self._drop(key)), storage.nbytes()
            self.live += storage.nbytes()
            self.peak = max(self.peak, self.live)

    def _drop(self, key: int) -> None:
        self.live -= self._watched.pop(key, (None, 0))[1]

    def ignore(self, tensor: Tensor) -> None:
        """Count a tensor no longer, although it still lives."""
        self._drop(tensor.untyped_storage()._cdata)


@dataclasses.dataclass(frozen=True)
class Need:
    """Bytes: at the peak of a run; of the weights and moments that stand there all the time."""

    peak: int
    standing: int
    at_most: int  # at the peak, where the allocator keeps what is freed


def estimate_memory(recipe: Recipe, model: Network, device: torch.device, *, processes: int = 1) -> int:
    """Bytes that training takes at its peak, above those of a process that has imported everything and gives back what it frees.

    `recipe` is a resolved one (`compute.resolve`); of `model` only the config is used. Nothing is allocated and no random number drawn.
    """
    return need(recipe, model, device, processes=processes).peak


def need(recipe: Recipe, model: Network, device: torch.device, *, processes: int = 1, enough: float = float("inf")) -> Need:
    """What a run takes: see `estimate_memory`. Where weights and moments alone are more than `enough`, its peak is not looked for."""
    with FakeTensorMode(), device:  # tensors made here have a shape, a type and a device, and no memory
        twin, optimizer = _twin(recipe, model)
        learning = [parameter for parameter in twin.parameters() if parameter.requires_grad]
        with Meter() as meter:
            moments = [tensor for moments in optimizer.state.values() for tensor in moments.values()]  # some begin with zeros
            for tensor in (*twin.parameters(), *twin.buffers(), *moments):
                meter.watch(tensor)
            _step(optimizer, learning)
            standing, most = meter.live, meter.peak
            gradients = sum(_num_bytes(parameter) for parameter in learning)
            if standing <= enough:
                meter.peak = meter.live
                _forward_and_backward(recipe, twin, meter, device, processes)
                _validate(recipe, twin, device)
                most = max(most, meter.peak)
    lasting = standing + gradients
    most = max(most, lasting)
    if recipe.train.compile and twin.KIND != "recurrent":
        most = lasting + int(FUSED * (most - lasting))
    if processes > 1:
        most -= _elsewhere(recipe, twin, lasting, processes)
    if device.type != "cpu":
        return Need(most, standing, most)
    constant = LIBRARIES + (COMPILER if recipe.train.compile else 0)
    return Need(most + constant, standing + constant, int(SCATTERED * most) + constant)


def _twin(recipe: Recipe, model: Network) -> tuple[Network, torch.optim.Optimizer]:
    """The model and its optimizer as `run.start` makes them."""
    usual = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64 if recipe.train.precision == "float64" else usual)
    try:
        twin: Network = family(family_of(model)).Model(model.config)
        build.adapt(recipe, twin)
    finally:
        torch.set_default_dtype(usual)
    if recipe.train.recompute:
        compute.recompute(twin)
    return twin.train(), build.optimizer(recipe, twin)


def _step(optimizer: torch.optim.Optimizer, learning: list[nn.Parameter]) -> None:
    """A step of the optimizer, after which its moments are there; gradients come and go."""
    for parameter in learning:
        parameter.grad = torch.empty_like(parameter)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)


def _forward_and_backward(recipe: Recipe, twin: Network, meter: Meter, device: torch.device, processes: int) -> None:
    """The last part of a batch: where it is not the only one, the gradients of those before it are there already."""
    learning = [parameter for parameter in twin.parameters() if parameter.requires_grad]
    rows, part = _rows(recipe, processes)
    inputs, targets, documents = (torch.empty(part, recipe.train.sequence_length, dtype=torch.long) for _ in range(3))
    function = shaped_like(recipe.train.objective, twin.KIND)
    objective = compute.objective(function, compute.dtype(recipe.train.precision), device, compiled=False)
    hooks = []
    if rows > part:
        for parameter in learning:
            parameter.grad = torch.empty_like(parameter)
        hooks = [parameter.register_hook(meter.ignore) for parameter in learning]  # type: ignore[no-untyped-call]
    torch.autograd.grad(objective(twin, Batch(inputs, targets, documents, Marks(0, (), 0))), learning)
    for hook in hooks:
        hook.remove()
    for parameter in learning:
        parameter.grad = None


def _validate(recipe: Recipe, twin: Network, device: torch.device) -> None:
    """What `models/scoring.py` does with one batch of validation documents."""
    length = recipe.train.sequence_length
    precision = compute.dtype(recipe.train.precision)
    with torch.no_grad(), compute.autocast(precision, device):
        ids = torch.empty(max(1, scoring.BATCH_TOKENS // length), length, dtype=torch.long)
        states = twin.hidden(ids, Dense(ids)).flatten(0, 1)
        twin.unembed(states[: scoring.UNEMBED_TOKENS]).float().logsumexp(1)


def _rows(recipe: Recipe, processes: int) -> tuple[int, int]:
    """Sequences of a step in one process, and those that are in memory at once."""
    rows = -(-recipe.train.rows // processes)
    return rows, min(rows, max(1, recipe.train.micro_batch_tokens // recipe.train.sequence_length))


def _elsewhere(recipe: Recipe, twin: Network, spread: int, processes: int) -> int:
    """What of weights, gradients and moments lies in other processes, less what FSDP2 gathers: all but the blocks, and two of those."""
    share = recipe.train.shard or processes
    blocks = [sum(_num_bytes(parameter) for parameter in block.parameters()) for block in twin.blocks]
    outside = sum(_num_bytes(parameter) for parameter in twin.parameters()) - sum(blocks)
    gathered = 2 * (outside + 2 * max(blocks, default=0))  # weights, and their gradients
    return max(0, spread - spread // share - gathered) if share > 1 else 0


def _num_bytes(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()


# --- Memory that is there ---------------------------------------------------------------------------------------------


def available_memory(device: torch.device, model: Network) -> int:
    """Bytes that a run may take on `device`: nine tenths of what is free, on a CPU within the limits of its control groups.

    What the weights of `model` take there already is the run's, too.
    """
    there = sum(_num_bytes(parameter) for parameter in model.parameters() if parameter.device == device)
    return there + _free(device)


def _free(device: torch.device) -> int:
    if device.type == "cuda":
        return int(USABLE * torch.cuda.mem_get_info(device)[0])
    free = min([ground_device.memory()[1], *_left_in_groups()])
    # Processes that torchrun started beside this one need as much each.
    return int(USABLE * free / int(os.environ.get("LOCAL_WORLD_SIZE", "1")))


def _left_in_groups(root: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")) -> list[int]:
    """What is left in each control group (Linux, version 2) that this process is in and that has a limit; a container is one."""
    try:
        inside = next(line.partition("::")[2] for line in own.read_text().splitlines() if line.startswith("0::"))
    except (OSError, StopIteration):
        return []
    place = root / inside.lstrip("/")
    found = []
    for folder in (place, *place.parents):
        if not folder.is_relative_to(root):
            break
        with contextlib.suppress(OSError, ValueError, KeyError):  # the root has no limit, and says so by having no file
            limit, used = ((folder / name).read_text().strip() for name in ("memory.max", "memory.current"))
            kept = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
            if limit != "max":
                found.append(max(0, int(limit) - int(used) + int(kept["inactive_file"])))  # pages of files give way
    return found


def fit(recipe: Recipe, model: Network, available: int, *, device: torch.device | None = None, processes: int = 1) -> Recipe:
    """The recipe, with batches in parts that are small enough for `available` bytes; the batch of a step stays as it is.

    Where one sequence at a time fits only without what the allocator keeps, the process gives it back from now on.
    `ResourceError` where that is too much, too, with the settings that would help most.
    """
    device = device or torch.device("cpu")
    if upper_bound(recipe, model, processes=processes) <= available:
        return recipe
    enough = HOPELESS * available
    now = need(recipe, model, device, processes=processes, enough=enough)
    smaller, first, (_, part) = recipe, now, _rows(recipe, processes)
    while now.at_most > available and part > 1 and now.standing <= enough:
        part //= 2
        smaller = _changed(smaller, train={"micro_batch_tokens": part * recipe.train.sequence_length})
        now = need(smaller, model, device, processes=processes, enough=enough)
    if now.peak > available:

        def peak_of(changed: Recipe, shape: Network = model) -> int:
            one = _changed(changed, train={"micro_batch_tokens": changed.train.sequence_length})
            return need(one, shape, device, processes=processes, enough=enough).peak

        helps = _what_would_help(smaller, model, available, peak_of)
        raise ResourceError(
            f"Training needs about {progress.size(now.peak)} of memory, one sequence at a time, and {progress.size(available)} are free.",
            hint=f"What would help most: {'; '.join(helps)}." if helps else "Free some memory, or train on another machine.",
        )
    if smaller is not recipe:
        progress.say(
            f"A batch could take {progress.size(first.at_most)} of memory, and {progress.size(available)} are free: it is computed in "
            f"parts of {smaller.train.micro_batch_tokens:,} tokens (train.micro_batch_tokens), and is the same batch."
        )
    if now.at_most > available and give_back_at_once():
        progress.say("Memory that is freed is given back at once, because there is little: that takes time.")
    return smaller


def upper_bound(recipe: Recipe, model: Network, *, processes: int = 1) -> int:
    """A bound so generous that where it is kept nothing need be looked at.

    No token keeps more numbers than there are weights, and few rows of 64 heads' scores in each block.
    """
    weights, tokens = model.num_parameters(), _rows(recipe, processes)[1] * recipe.train.sequence_length
    tokens = max(tokens, scoring.BATCH_TOKENS)
    return LIBRARIES + COMPILER + 8 * (8 * weights + tokens * (weights + 256 * len(model.blocks) * recipe.train.sequence_length))


def give_back_at_once() -> bool:
    """Let the allocator give memory back to the system as soon as it is freed, for the rest of this process; False where it cannot.

    A large tensor then lies in pages of its own, which the system has to clear each time.
    """
    try:
        return bool(ctypes.CDLL(None).mallopt(M_MMAP_THRESHOLD, LARGE) == 1)
    except (AttributeError, OSError, TypeError):  # not glibc
        return False


def _changed(recipe: Recipe, **sections: dict[str, Any]) -> Recipe:
    """The recipe with some values of its sections changed."""
    return recipe.model_copy(update={name: getattr(recipe, name).model_copy(update=values) for name, values in sections.items()})


Peak = Callable[..., int]  # of a recipe, and a model where it is another one


def _what_would_help(recipe: Recipe, model: Network, available: int, peak_of: Peak) -> list[str]:
    """The three settings that save most, with values, and what is needed then."""
    peak = peak_of(recipe)
    tried: list[tuple[int, str]] = []
    if recipe.model.start is None:
        tried += _smaller_model(recipe, model, available, peak_of)
    elif recipe.lora is None:
        with contextlib.suppress(UsageError):  # a family may call its layers otherwise
            thin = recipe.model_validate(recipe.model_dump(by_alias=True) | {"lora": {"rank": 8}})
            tried.append((peak_of(thin), "lora={rank: 8}"))
    if peak <= HOPELESS * available:
        changes: dict[str, dict[str, dict[str, Any]]] = {
            "train.recompute=true": {"train": {"recompute": True}},
            "train.precision=bfloat16": {"train": {"precision": "bfloat16"}},
            "optimizer.name=muon": {"optimizer": {"name": "muon"}},
        }
        tried += [(peak_of(_changed(recipe, **change)), setting) for setting, change in changes.items()]
        tried += _shorter_sequences(recipe, available, peak_of)
    tried = sorted((found, setting) for found, setting in tried if found < peak)[:3]
    return [f"{setting} (about {progress.size(found)})" for found, setting in tried]


def _shorter_sequences(recipe: Recipe, available: int, peak_of: Peak) -> list[tuple[int, str]]:
    """Half their length as often as it takes."""
    best: list[tuple[int, str]] = []
    length = recipe.train.sequence_length
    while (length := length // 2) >= SHORTEST:
        found = peak_of(_changed(recipe, train={"sequence_length": length}))
        best = [(found, f"train.sequence_length={length}")]
        if found <= available:
            break
    return best


def _smaller_model(recipe: Recipe, model: Network, available: int, peak_of: Peak) -> list[tuple[int, str]]:
    """Half the weights as often as it takes."""
    size: float = model.num_parameters()
    best: list[tuple[int, str]] = []
    while (size := size / 2) >= SMALLEST:
        if 4 * 3 * size > available:  # weights, gradients and one moment
            continue
        written = f"{float(f'{size / 1e6:.2g}'):g}M"
        section = type(recipe.model)(family=recipe.model.family, size=written)
        try:
            shape = build.fresh(recipe.model_copy(update={"model": section}), model.config.vocab_size, place="meta")
        except RecipeError:  # no shape is as small as that with such a vocabulary
            break
        found = peak_of(recipe, shape)
        best = [(found, f"model.size={written}" if not recipe.model.fields() else f"model={{size: {written}}}")]
        if found <= available:
            break
    return best


# --- Disk -------------------------------------------------------------------------------------------------------------


def disk(recipe: Recipe, model: Network, tokens: int) -> int:
    """Bytes that a run takes on the disk at most: checkpoints that are kept, one that is being written, the model, `tokens` bytes."""
    checkpoint = CHECKPOINT * num_weights(recipe, model)[1]
    return checkpoint * (recipe.train.keep + 1 + recipe.train.keep_best) + 4 * model.num_parameters() + tokens


def num_weights(recipe: Recipe, model: Network) -> tuple[int, int]:
    """Weights of a model of this shape with the recipe's LoRA layers, and those of them that learn."""
    with torch.device("meta"):
        twin: Network = family(family_of(model)).Model(model.config)
    build.adapt(recipe, twin)
    return twin.num_parameters(), sum(parameter.numel() for parameter in twin.parameters() if parameter.requires_grad)


def expected_tokens(recipe: Recipe, texts: Sequence[Corpus] | None) -> int | None:
    """Tokens that there are to learn, before any text is tokenized; None for conversations, which have to be read for that."""
    if recipe.train.objective == "sft":
        return None
    if texts is None:
        found = [shard for part in recipe.data.corpus for shard in read_shards(part.path).splits.get("train", [])]
        return sum(int(shard.offsets[-1]) - len(shard) for shard in found)
    sides = [corpus.sides["train"] for corpus in texts]
    units = {"bytes": [side.bytes for side in sides], "characters": [side.characters for side in sides]}
    guess = [side.bytes / BYTES_PER_TOKEN for side in sides]
    return int(sum(units.get(recipe.data.tokenizer or "", guess)) + sum(side.documents for side in sides))


def token_bytes(recipe: Recipe, texts: Sequence[Corpus] | None, vocab_size: int) -> int:
    """Bytes that the run's token shards will have; none where the recipe names shards that are there."""
    width = 2 if vocab_size <= 1 << 16 else 4
    return 0 if texts is None else width * (expected_tokens(recipe, texts) or 0)


def free_disk(folder: Path) -> int:
    """Bytes that are free where `folder` is, or will be."""
    there = next(place for place in (folder.absolute(), *folder.absolute().parents) if place.is_dir())
    return shutil.disk_usage(there).free


def require_disk(recipe: Recipe, folder: Path, needed: int, available: int) -> None:
    """`ResourceError` where the run in `folder`, with what lies there already, needs more than the `available` bytes."""
    there = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) if folder.is_dir() else 0
    if needed - there > available:
        raise ResourceError(
            f"The run needs about {progress.size(needed - there)} of disk at {folder}, and {progress.size(available)} are free.",
            hint="Free some space"
            + (", keep fewer checkpoints (train.keep=1)" if recipe.train.keep > 1 else "")
            + ", train a smaller model, or run it on another disk.",
        )


def check(recipe: Recipe, model: Network, folder: Path, device: torch.device, *, tokens: int = 0, group: Group = ALONE) -> Recipe:
    """The recipe as it fits this machine, before anything is begun: see `fit` and `require_disk`.

    A `model` on the place "meta" takes no memory yet; of another one, the weights are there already. `tokens`: bytes to be written.
    """
    chosen = fit(recipe, model, min(group.gather(available_memory(device, model))), device=device, processes=group.size)
    with group.together():
        if group.is_first:
            require_disk(chosen, folder, disk(chosen, model, tokens), free_disk(folder))
    return chosen
