from __future__ import annotations

import os
from pathlib import Path

import pytest

from llamarium.ground.errors import NotFoundError
from llamarium.text.sources import list_files


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("text", encoding="utf-8")


def names(root: Path, **options: Path) -> list[str]:
    return [file.source for file in list_files(root, **options)]


def test_files_are_named_from_the_folder_and_sorted(tmp_path: Path) -> None:
    touch(tmp_path, "b.txt", "a/c.txt", "a.txt", "目录/诗.txt")
    assert names(tmp_path) == ["a.txt", "a/c.txt", "b.txt", "目录/诗.txt"]
    assert names(tmp_path / "a" / "c.txt") == ["c.txt"]


def test_hidden_things_and_things_that_are_no_files_are_passed_over(tmp_path: Path) -> None:
    touch(tmp_path, "a.txt", ".hidden.txt", ".git/b.txt", "corpus/c.txt")
    os.mkfifo(tmp_path / "pipe.txt")
    (tmp_path / "broken.txt").symlink_to(tmp_path / "nowhere")
    assert names(tmp_path, leave_out=tmp_path / "corpus") == ["a.txt"]


def test_a_hidden_folder_that_was_asked_for_is_read(tmp_path: Path) -> None:
    touch(tmp_path, ".notes/a.txt")
    assert names(tmp_path / ".notes") == ["a.txt"]


def test_links_are_followed_once(tmp_path: Path) -> None:
    touch(tmp_path, "docs/a.txt", "elsewhere/b.txt")
    (tmp_path / "docs" / "loop").symlink_to(tmp_path / "docs", target_is_directory=True)
    (tmp_path / "docs" / "more").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    (tmp_path / "elsewhere" / "back").symlink_to(tmp_path / "docs", target_is_directory=True)
    assert names(tmp_path / "docs") == ["a.txt", "more/b.txt"]


def test_nothing_of_that_name(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError) as caught:
        list_files(tmp_path / "none")
    assert "python:docs" in caught.value.hint
    with pytest.raises(NotFoundError):
        list_files("python:doc")


def test_a_path_wins_over_a_word(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    touch(tmp_path, "python:docs/a.txt")
    assert [file.source for file in list_files("python:docs")] == ["a.txt"]
