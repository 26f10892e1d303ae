from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from llamarium.ground import registry
from llamarium.ground.errors import NotFoundError


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    package = tmp_path / "menagerie_of_tests"
    (package / "herd").mkdir(parents=True)
    for name in ("__init__", "llama", "alpaca", "_stable", "herd/__init__"):
        (package / f"{name}.py").write_text(f"NAME = {name!r}\n")
    (package / "notes.txt").write_text("not a member")
    monkeypatch.syspath_prepend(tmp_path)
    yield package.name
    for name in [name for name in sys.modules if name.startswith(package.name)]:
        del sys.modules[name]


def test_names_are_the_files_of_the_folder(folder: str, tmp_path: Path) -> None:
    assert registry.names(folder) == ["alpaca", "herd", "llama"]
    (tmp_path / folder / "vicuna.py").write_text("")
    assert registry.names(folder) == ["alpaca", "herd", "llama", "vicuna"]


def test_find_imports_the_member_and_no_other(folder: str) -> None:
    assert registry.find(folder, "llama").NAME == "llama"
    assert f"{folder}.alpaca" not in sys.modules


@pytest.mark.parametrize("name", ["lama", "_stable", "../llama", "", "llama.py", "notes"])
def test_an_unknown_name_is_refused_before_any_import(folder: str, name: str) -> None:
    with pytest.raises(NotFoundError, match=f"There is no '.*' in {folder}") as caught:
        registry.find(folder, name)
    assert "llama" in caught.value.hint
