"""A recipe: everything that decides a run, on one page of YAML.

Takes: a YAML file and ``--set`` settings.
Gives: a checked, frozen `Recipe`; the same, resolved, for the run's own folder.
Does not know: how any of it is done.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field, PositiveFloat, PositiveInt, field_serializer, field_validator, model_validator

from llamarium.ground import config
from llamarium.ground.config import Section
from llamarium.ground.errors import RecipeError, nearest
from llamarium.models import families, family
from llamarium.models.model import Fitted
from llamarium.optim import OPTIMIZERS, SCHEDULES
from llamarium.train.objectives import OBJECTIVES

SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kKMBG]?)")
UNITS = {"": 1, "k": 1e3, "K": 1e3, "M": 1e6, "B": 1e9, "G": 1e9}

Finite = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Beta = Annotated[float, Field(ge=0, lt=1)]


class Part(Section):
    """One of several corpora. Weights are shares of the tokens that are seen; `max_epochs` limits how often one is repeated."""

    path: Path
    weight: Finite = 1.0
    max_epochs: Finite | None = None


class Data(Section):
    """What is read, and in which pieces."""

    corpus: tuple[Part, ...] = Field(min_length=1)  # a folder, or several with weights
    tokenizer: str | None = None  # bytes, characters or a folder; a model that is trained on brings its own
    packing: Literal["stream", "best_fit"] = "stream"
    grow: bool = False  # on resume, take in documents that have joined the corpus since

    @field_validator("corpus", mode="before")
    @classmethod
    def _several(cls, value: Any) -> Any:
        if isinstance(value, str | Path):
            return [{"path": value}]
        return [{"path": part} if isinstance(part, str | Path) else part for part in value] if isinstance(value, list | tuple) else value

    @field_serializer("corpus")
    def _as_written(self, value: tuple[Part, ...]) -> Any:
        if len(value) == 1 and value[0] == Part(path=value[0].path):
            return str(value[0].path)
        return [part.model_dump(mode="json", exclude_none=True) for part in value]


class ModelSection(Section, extra="allow", populate_by_name=True):
    """A family and a size, or a model to start from. Any field of the family's config may be set beside them."""

    family: str = "llama"
    size: str | float | None = None
    start: str | None = Field(default=None, alias="from")
    vectors: str | None = None  # what a new model's embedding begins with: a file of word vectors, or `train`

    @field_validator("size")
    @classmethod
    def _readable(cls, value: str | float | None) -> str | float | None:
        if value is not None:
            parse_size(value)
        return value

    def fields(self) -> dict[str, Any]:
        """Fields of the family's config that the recipe sets itself."""
        return dict(self.model_extra or {})


class Train(Section):
    """How long, on how much at a time, how fast."""

    objective: str = "lm"
    steps: PositiveInt | None = None
    tokens: PositiveInt | None = None
    minutes: Finite | None = None
    batch_tokens: PositiveInt = 8192
    micro_batch_tokens: PositiveInt = 8192  # of one process; less where memory is short
    sequence_length: PositiveInt = 256
    learning_rate: Finite = 1e-3
    gradient_clip: PositiveFloat = 1.0
    save_every: PositiveInt = 100
    keep: PositiveInt = 2
    keep_best: bool = False  # beside the newest, the checkpoint that validates best
    validate_every: PositiveInt | None = None  # as often as it saves
    validation_tokens: PositiveInt = 50_000
    patience: PositiveInt | None = None  # stop after so many validations without a better one
    precision: Literal["auto", "float32", "bfloat16", "float16", "float64"] = "auto"
    compile: bool | Literal["auto"] = "auto"
    recompute: bool = False  # activation checkpointing: less memory, a third more arithmetic
    shard: PositiveInt | None = None  # processes that one copy of the weights is spread over; all of them
    guard: bool = True  # pass over batches whose loss is not a number or far from all others
    tensorboard: bool = False
    device: str = "auto"

    @model_validator(mode="after")
    def _one_sequence(self) -> Train:
        if self.batch_tokens < self.sequence_length:
            raise ValueError(f"batch_tokens {self.batch_tokens} is less than one sequence of {self.sequence_length}")
        return self

    @property
    def rows(self) -> int:
        """Sequences of one step."""
        return self.batch_tokens // self.sequence_length

    @property
    def validation_interval(self) -> int:
        """Steps between two validations."""
        return self.validate_every or self.save_every

    @property
    def num_steps(self) -> int | None:
        """Steps of the run; None where a time decides."""
        if self.tokens is not None:
            return -(-self.tokens // (self.rows * self.sequence_length))
        return self.steps


class Optimizer(Section):
    """The optimizer and the course of its learning rate."""

    name: str = "adamw"
    schedule: str = "cosine"
    warmup: float = Field(default=0.02, ge=0, le=1)  # share of the run
    final: float = Field(default=0.1, ge=0, le=1)  # learning rate at the end, as a share of the peak
    decay: float = Field(default=0.2, ge=0, le=1)  # share of the run in which `wsd` goes down
    weight_decay: float | None = Field(default=None, ge=0)  # what suits the optimizer: 0.1 for adamw and muon, else none
    betas: tuple[Beta, Beta] = (0.9, 0.95)
    momentum: Beta | None = None  # what suits the optimizer


class Lora(Section):
    """Learn through thin matrices beside frozen layers."""

    rank: PositiveInt = 8
    alpha: PositiveFloat = 16
    targets: tuple[str, ...] = ("q_proj", "v_proj")
    dropout: float = Field(default=0.0, ge=0, lt=1)


class Recipe(Section):
    """Everything that decides a run."""

    name: str  # of the run's folder
    seed: int = Field(default=1, ge=0, lt=1 << 63)
    data: Data
    model: ModelSection = ModelSection()
    train: Train = Train()
    optimizer: Optimizer = Optimizer()
    lora: Lora | None = None

    @field_validator("name")
    @classmethod
    def _folder(cls, value: str) -> str:
        if not value or value.startswith(".") or any(char in "/\\\0" for char in value) or len(os.fsencode(value)) > 200:
            raise ValueError("a name is that of a folder in runs/: short, without slashes, not beginning with a dot")
        return value

    @model_validator(mode="after")
    def _consistent(self) -> Recipe:
        if self.model.start is not None and (self.model.size is not None or self.model.fields()):
            raise ValueError("model: `from` brings the shape of the model; size and other fields do not go with it")
        if self.model.start is not None and self.model.vectors is not None:
            raise ValueError("model: `from` brings embeddings that have learnt already; vectors are for a model from nothing")
        if self.model.start is None and self.data.tokenizer is None:
            raise ValueError("data: a model from nothing needs a tokenizer: bytes, characters or a folder")
        if self.data.grow and self.train.objective == "sft":
            raise ValueError("data.grow: conversations are read once, when a run begins; only a corpus grows")
        if self.lora is not None and self.model.start is None:
            raise ValueError("lora: it needs a model to start from (model: {from: MODEL})")
        return self

    def dump(self) -> str:
        """The recipe as YAML, defaults included."""
        return yaml.safe_dump(self.model_dump(mode="json", by_alias=True, exclude_none=True), sort_keys=False, allow_unicode=True)


def parse_size(value: str | float) -> float:
    """Number of weights.

    >>> parse_size("10M"), parse_size("1.1B"), parse_size(5000)
    (10000000.0, 1100000000.0, 5000.0)
    """
    match = SIZE.fullmatch(str(value).strip())
    if match is None or float(match[1]) <= 0:
        raise ValueError(f"a size is a number of weights such as 10M or 1.1B, not {value!r}")
    return float(match[1]) * UNITS[match[2]]


def read(path: Path, settings: Iterable[str] = ()) -> Recipe:
    """Read a recipe; ``key=value`` settings win over it."""
    return build(config.apply_settings(config.read_yaml(path), settings), name=str(path))


def build(values: dict[str, Any], *, name: str = "recipe") -> Recipe:
    """Check a recipe; what is wrong is said in one sentence with the nearest right thing."""
    recipe = config.validate(Recipe, values, name=name)
    for key, chosen, there in (
        ("train.objective", recipe.train.objective, OBJECTIVES),
        ("optimizer.name", recipe.optimizer.name, OPTIMIZERS),
        ("optimizer.schedule", recipe.optimizer.schedule, SCHEDULES),
    ):
        if chosen not in there:
            raise RecipeError(f"{name}: unknown {key} {chosen!r}.", hint=nearest(chosen, there))
    lengths = [key for key in ("steps", "tokens", "minutes") if getattr(recipe.train, key) is not None]
    if fitted(recipe):
        if lengths:
            raise RecipeError(
                f"{name}: train.{lengths[0]}: the family {recipe.model.family!r} is fitted to all of its text at once.",
                hint="Leave it out.",
            )
        if recipe.model.vectors is not None:
            raise RecipeError(
                f"{name}: model.vectors: the family {recipe.model.family!r} counts and has no embedding.", hint="Leave it out."
            )
    elif len(lengths) != 1:
        raise RecipeError(f"{name}: train: set exactly one of steps, tokens, minutes.", hint="For instance train.minutes: 10.")
    if recipe.model.start is None:
        known = [*family_fields(recipe.model.family), "family", "size", "from", "vectors"]
        for key in recipe.model.fields():
            if key not in known:
                raise RecipeError(f"{name}: unknown key 'model.{key}'.", hint=nearest(key, known))
    return recipe


def fitted(recipe: Recipe) -> bool:
    """Whether the recipe's model counts instead of learning by gradient."""
    return recipe.model.start is None and recipe.model.family in families() and issubclass(family(recipe.model.family).Model, Fitted)


def family_fields(name: str) -> list[str]:
    """Names of the fields of a family's config."""
    if name not in families():
        raise RecipeError(f"Unknown model family {name!r}.", hint=nearest(name, families()))
    return list(family(name).Config.__dataclass_fields__)
