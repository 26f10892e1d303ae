"""Replace modules of a model by name, and put others in their place again.

Takes: a model, a choice of modules, a function that makes the replacement.
Gives: the same model, changed in place.
Does not know: why.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from fnmatch import fnmatchcase

from torch import nn

from llamarium.ground.errors import UsageError, nearest


def linears(model: nn.Module, targets: Iterable[str]) -> list[str]:
    """Full names of the `nn.Linear` whose last part, or whole name, matches one of the patterns `targets`.

    A pattern that matches nothing is a `UsageError`: a typo must not train nothing.
    """
    names = [name for name, module in model.named_modules() if isinstance(module, nn.Linear)]
    found: set[str] = set()
    for target in targets:
        matches = {name for name in names if fnmatchcase(name, target) or fnmatchcase(name.rpartition(".")[2], target)}
        if not matches:
            raise UsageError(f"No linear layer is called {target!r}.", hint=nearest(target, {name.rpartition(".")[2] for name in names}))
        found |= matches
    return [name for name in names if name in found]


def replace(model: nn.Module, names: Iterable[str], make: Callable[[nn.Module], nn.Module]) -> None:
    """Put ``make(module)`` where each named module stands."""
    for name in names:
        parent, _, last = name.rpartition(".")
        place = model.get_submodule(parent)
        setattr(place, last, make(place.get_submodule(last)))
