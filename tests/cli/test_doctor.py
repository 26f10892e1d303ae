from __future__ import annotations

import importlib.metadata
import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from llamarium.checkpoint import catalogue
from llamarium.cli import doctor
from llamarium.cli.main import run


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LLAMARIUM_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def named(findings: Any) -> dict[str, doctor.Finding]:
    return {finding.name: finding for finding in findings}


def test_everything_is_examined(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["doctor", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["ok"] is True
    found = report["findings"]
    assert {"llamarium", "python", "platform", "processor", "cores", "features", "memory", "disk", "compiler"} <= found.keys()
    assert {"torch", "threads", "matrix product", "tokenizers", "safetensors", "extra [text]", "telemetry"} <= found.keys()
    assert {entry.name for entry in catalogue.entries()} <= found.keys()
    assert found["torch"]["value"].startswith(f"{torch.__version__}, ")
    assert found["tokenizers"]["value"] == importlib.metadata.version("tokenizers")
    assert found["disk"]["value"].endswith(f"free at {home}")
    assert found["smollm2-135m-instruct"] == {
        "state": "missing",
        "value": "92.9 MB, Apache-2.0",
        "mend": "llamarium pull smollm2-135m-instruct",
    }
    assert not home.exists(), "it looks and makes nothing"


def test_lines_are_aligned(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    findings = [doctor.Finding("one", "ok", "fine"), doctor.Finding("a longer name", "missing", "not here", "install it")]
    monkeypatch.setattr(doctor, "_examine", lambda: iter(findings))
    assert run(["doctor"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "ok       one                    fine",
        "missing  a longer name          not here",
        "                                -> install it",
    ]


def test_what_is_essential_and_missing_is_exit_code_1(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    assert run(["doctor"]) == 1
    out = capsys.readouterr().out
    assert "BROKEN   torch" in out
    assert "-> pip install torch" in out
    assert "telemetry" in out, "it goes on with what follows"


@pytest.mark.parametrize(
    ("package", "line", "state", "mend"),
    [
        ("tokenizers", "tokenizers", "broken", "pip install tokenizers"),
        ("pyarrow", "extra [text]", "missing", "pip install 'llamarium[text]'"),
        ("matplotlib", "extra [plots]", "missing", "pip install 'llamarium[plots]'"),
    ],
)
def test_a_missing_package_comes_with_the_command(monkeypatch: pytest.MonkeyPatch, package: str, line: str, state: str, mend: str) -> None:
    version = importlib.metadata.version

    def without(name: str) -> str:
        if name == package:
            raise importlib.metadata.PackageNotFoundError(name)
        return version(name)

    before = named(doctor._packages())
    assert (before[line].state, before[line].mend) == ("ok", "")
    monkeypatch.setattr(importlib.metadata, "version", without)
    after = named(doctor._packages())
    assert (after[line].state, after[line].mend) == (state, mend)
    assert {name for name in before if before[name] != after[name]} == {line}


def test_a_source_tree_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> list[str]:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "requires", absent)
    (finding,) = doctor._packages()
    assert (finding.state, finding.mend) == ("missing", "pip install .")


def test_a_pulled_model_shows_its_path() -> None:
    folder = catalogue.folder_of("smollm2-135m-instruct")
    folder.mkdir(parents=True)
    (folder / "weights.gguf").write_bytes(b"GGUF")
    finding = named(doctor._models())["smollm2-135m-instruct"]
    assert (finding.state, finding.value) == ("ok", str(folder / "weights.gguf"))


def test_a_telemetry_switch_that_is_on_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    assert doctor._telemetry().state == "ok"
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "1")
    assert doctor._telemetry().state == "missing"
    assert "RAY_USAGE_STATS_ENABLED" in doctor._telemetry().value


def test_no_compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    assert named(doctor._machine())["compiler"].state == "missing"
    compiler = tmp_path / "my-c++"
    compiler.write_text("#!/bin/sh\n")
    compiler.chmod(0o755)
    monkeypatch.setenv("CXX", "my-c++")
    assert named(doctor._machine())["compiler"].value == str(compiler)


X86 = "processor\t: 0\nmodel name\t: Some EPYC\nflags\t\t: fpu avx2 avx512f avx512_bf16\npower management:\n\nprocessor\t: 1\n"
ARM = "processor\t: 0\nFeatures\t: fp asimd bf16 i8mm\nCPU part\t: 0xd40\n"


@pytest.mark.parametrize(
    ("text", "name", "features"),
    [(X86, "Some EPYC", "avx2 avx512f avx512_bf16"), (ARM, None, "asimd bf16 i8mm"), (None, None, "none that is known here")],
    ids=["x86", "arm", "no Linux"],
)
def test_processors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str | None, name: str | None, features: str) -> None:
    monkeypatch.setattr(doctor, "CPUINFO", tmp_path / "cpuinfo")
    if text is not None:
        doctor.CPUINFO.write_text(text)
    found = named(doctor._machine())
    assert found["features"].value == features
    if name:
        assert found["processor"].value == name
