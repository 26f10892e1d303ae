"""What the documents say is what the code does."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

from llamarium.ground import registry

ROOT = Path(__file__).parent.parent


def test_the_command_line_reference_is_made_from_the_commands() -> None:
    path = ROOT / "docs" / "build_reference.py"
    spec = importlib.util.spec_from_file_location("build_reference", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.OUT.read_text(encoding="utf-8") == module.reference(), "run `make docs`"


def test_each_verb_stands_in_both_readmes() -> None:
    verbs = {name for name in registry.names("llamarium.cli") if name != "main"}
    for name in ("README.md", "README.zh-CN.md"):
        text = (ROOT / name).read_text(encoding="utf-8")
        assert {verb for verb in verbs if f"llamarium {verb}" not in text} == set(), name


def test_the_seed_map_has_all_rows() -> None:
    text = (ROOT / "docs" / "seed-map.md").read_text(encoding="utf-8")
    assert [int(number) for number in re.findall(r"^\| (\d+) \|", text, re.MULTILINE)] == list(range(1, 54))
