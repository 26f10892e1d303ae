"""Floor 3: ids -> logits, one printable file a family. Knows no files, ranks, devices or kernels.

The folder is the registry of families; `model` (the contract), `context` (what surrounds a model), `scoring` (how probable it
finds documents) and `sizing` (which shape has a wanted size) are not families.
"""

from __future__ import annotations

from types import ModuleType

from llamarium.ground import registry
from llamarium.ground.errors import NotFoundError, nearest

CONTRACT = ("model", "context", "scoring", "sizing")


def families() -> list[str]:
    """Names of the model families, sorted."""
    return [name for name in registry.names(__name__) if name not in CONTRACT]


def family(name: str) -> ModuleType:
    """The module of the family `name`: `Config`, `Model`, `TINY` and, where it has them, its foreign names."""
    if name not in families():
        raise NotFoundError(f"There is no model family {name!r}.", hint=nearest(name, families()))
    return registry.find(__name__, name)


def family_of(model: object) -> str:
    """Name of the family that a model belongs to, also where sharding has given it a class of its own."""
    for each in type(model).__mro__:
        name = each.__module__.removeprefix(f"{__name__}.")
        if name in families():
            return name
    raise NotFoundError(f"{type(model).__name__} belongs to no model family.", hint=f"Known: {', '.join(families())}.")
