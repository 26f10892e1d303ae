"""The folder is the registry: adding a thing is adding one file.

Takes: a package whose modules are its members, and a name.
Gives: the module of that name, or the list of names.
Does not know: what the members are.
"""

from __future__ import annotations

import importlib
import pkgutil
from types import ModuleType

from llamarium.ground.errors import NotFoundError, nearest


def names(folder: str) -> list[str]:
    """Names of the members of `folder` (a package path such as ``llamarium.text.read``), sorted.

    A module that starts with an underscore is not a member.
    """
    package = importlib.import_module(folder)
    return sorted(module.name for module in pkgutil.iter_modules(package.__path__) if not module.name.startswith("_"))


def find(folder: str, name: str) -> ModuleType:
    """Import the member `name` of `folder`; `NotFoundError` names the nearest one."""
    known = names(folder)
    if name not in known:
        kind = folder.rsplit(".", 1)[-1]
        raise NotFoundError(f"There is no {name!r} in {kind}.", hint=nearest(name, known))
    return importlib.import_module(f"{folder}.{name}")
