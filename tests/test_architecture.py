"""Imports only descend. Reads the source; imports nothing of ours."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent / "src" / "llamarium"

FLOORS = {
    "ground": 0,
    "text": 1,
    "tokens": 1,
    "ops": 2,
    "optim": 2,
    "models": 3,
    "adapt": 4,
    "checkpoint": 5,
    "train": 6,
    "engine": 6,
    "evaluate": 7,
    "apps": 8,
    "server": 9,
    "cli": 10,
}
# Rooms of one floor that may know each other; any other pair on a floor may not.
NEIGHBOURS: set[tuple[str, str]] = set()
SOURCES = sorted(ROOT.rglob("*.py"))


def imports(path: Path) -> set[str]:
    """Modules of ours that `path` imports, also inside functions and under TYPE_CHECKING."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            module = node.module or ""
            found |= {module, *(f"{module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return {name for name in found if name.startswith("llamarium.")}


def room(name: str) -> str:
    return name.split(".")[1]


def climbs(here: str, there: str) -> bool:
    if here == there:
        return False
    return FLOORS[there] > FLOORS[here] or (FLOORS[there] == FLOORS[here] and (here, there) not in NEIGHBOURS)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_descend(path: Path) -> None:
    relative = path.relative_to(ROOT)
    if len(relative.parts) == 1:  # the front door wires nothing, it only points
        return
    here = relative.parts[0]
    assert here in FLOORS, f"{here} is on no floor"
    wrong = {name for name in imports(path) if room(name) in FLOORS and climbs(here, room(name))}
    assert not wrong, f"{relative} (floor {FLOORS[here]}) imports {sorted(wrong)}"


def test_a_climbing_import_is_seen() -> None:
    assert climbs("models", "train")
    assert climbs("train", "engine")
    assert climbs("text", "tokens")
    assert not climbs("train", "models")


@pytest.mark.parametrize("path", [p for p in SOURCES if p.relative_to(ROOT).parts[0] in ("models", "ops")], ids=lambda p: p.name)
def test_models_and_ops_know_no_ranks(path: Path) -> None:
    assert "torch.distributed" not in path.read_text(encoding="utf-8")


def test_no_cycles() -> None:
    graph: dict[str, set[str]] = {}
    for path in SOURCES:
        relative = path.relative_to(ROOT)
        if len(relative.parts) == 1:  # `llamarium/__init__.py` resolves names lazily
            continue
        name = ".".join(("llamarium", *relative.with_suffix("").parts)).removesuffix(".__init__")
        graph[name] = imports(path)
    done: set[str] = set()

    def visit(name: str, trail: tuple[str, ...]) -> None:
        assert name not in trail, f"cycle: {' -> '.join((*trail[trail.index(name) :], name))}"
        if name in done:
            return
        for below in graph.get(name, set()) & graph.keys():
            if below != name:
                visit(below, (*trail, name))
        done.add(name)

    for name in graph:
        visit(name, ())


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_have_honest_names(path: Path) -> None:
    assert path.stem not in {"utils", "common", "helpers", "misc", "manager"}
