"""Configuration files checked by pydantic models: an unknown key stops with the nearest name.

Takes: a YAML file and ``key=value`` settings.
Gives: a validated, frozen model; `RecipeError` with one sentence otherwise.
Does not know: what the sections mean; each floor that is configured brings its own model.
"""

from __future__ import annotations

import re
import reprlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from llamarium.ground.errors import BadFileError, NotFoundError, RecipeError, nearest


class Section(BaseModel):
    """A section of a recipe: frozen, and no key but its own."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class _Loader(yaml.SafeLoader):
    """YAML 1.1 reads 3e-4 as a string; everyone who writes it means a number. A key that stands twice is a mistake."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                if key.value in seen:
                    raise yaml.constructor.ConstructorError(None, None, f"the key {key.value!r:.80} stands twice", key.start_mark)
                seen.add(key.value)
        return super().construct_mapping(node, deep=deep)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)[eE][-+]?[0-9]+$"),
    list("-+0123456789."),
)

SectionType = TypeVar("SectionType", bound=Section)


def parse_yaml(text: str, *, name: str) -> Any:
    """The value of a YAML text; `RecipeError` says the line."""
    try:
        return yaml.load(text, Loader=_Loader)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark is not None else ""
        problem = str(getattr(error, "problem", None) or error).splitlines()[0]
        raise RecipeError(f"{name}{where}: this is not valid YAML ({problem}).") from None


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise NotFoundError(f"{path} does not exist.", hint="A recipe is a YAML file; `recipes/` has examples.") from None
    except IsADirectoryError:
        raise NotFoundError(f"{path} is a folder, not a file.", hint="A recipe is a YAML file; `recipes/` has examples.") from None
    except UnicodeDecodeError as error:
        raise BadFileError(path, "is not UTF-8 text.", offset=error.start, hint="A recipe is a YAML file in UTF-8.") from None
    value = parse_yaml(text, name=str(path))
    if not isinstance(value, dict):
        kind = "empty" if value is None else type(value).__name__
        raise RecipeError(f"{path}: a recipe is a mapping of sections, this is {kind}.", hint="`recipes/` has examples.")
    return value


def apply_settings(values: dict[str, Any], settings: Iterable[str]) -> dict[str, Any]:
    """Return `values` with each ``section.key=value`` set; the value is read as YAML.

    >>> apply_settings({"train": {"steps": 10}}, ["train.steps=20", "seed=3"])
    {'train': {'steps': 20}, 'seed': 3}
    """
    result = {key: dict(value) if isinstance(value, dict) else value for key, value in values.items()}
    for setting in settings:
        path, equals, text = setting.partition("=")
        if not equals or not path.strip():
            raise RecipeError(f"--set takes key=value, not {setting!r}.", hint="For example: --set train.steps=200")
        place: dict[str, Any] = result
        *parents, last = path.strip().split(".")
        for parent in parents:
            below = place.get(parent)
            place[parent] = dict(below) if isinstance(below, dict) else {}
            place = place[parent]
        place[last] = parse_yaml(text, name=f"--set {path}")
    return result


def validate(model: type[SectionType], values: dict[str, Any], *, name: str) -> SectionType:
    """Build `model` from `values`; the first thing that is wrong becomes one sentence with a hint."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        place = [str(part) for part in first["loc"]]
        dotted = ".".join(place)
        if first["type"] == "extra_forbidden":
            fields = _fields(model, place[:-1])
            raise RecipeError(f"{name}: unknown key {dotted!r}.", hint=nearest(place[-1], fields)) from None
        if first["type"] == "missing":
            raise RecipeError(f"{name}: the key {dotted!r} is missing.") from None
        message = first["msg"].removeprefix("Value error, ")
        raise RecipeError(
            f"{name}: {dotted or 'recipe'}: {message[0].lower()}{message[1:]} (it is {reprlib.repr(first['input'])})."
        ) from None


def _fields(model: type[BaseModel], place: list[str]) -> list[str]:
    """Names of the fields at `place` inside `model`, following optional and nested sections."""
    for part in place:
        field = model.model_fields.get(part)
        if field is None:
            continue
        annotation = field.annotation
        candidates = [annotation, *getattr(annotation, "__args__", ())]
        for candidate in list(candidates):
            candidates.extend(getattr(candidate, "__args__", ()))
        below = [c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel)]
        if below:
            model = below[0]
    return list(model.model_fields)
