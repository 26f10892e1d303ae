"""``llamarium doctor``: what this machine and this installation can do, and the command that mends what they cannot."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import shutil
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import typer

import llamarium
from llamarium.cli._output import Json, print_json, print_text

FEATURES = ("avx2", "avx512f", "avx512_bf16", "avx512_vnni", "amx_bf16", "amx_int8", "asimd", "bf16", "i8mm")
CPUINFO = Path("/proc/cpuinfo")
MARKS = {"ok": "ok", "missing": "missing", "broken": "BROKEN"}


@dataclass(frozen=True)
class Finding:
    """One line of the report.

    `state`: "ok"; "missing" for what is optional; "broken" for what nothing works without. `mend` is what to do about it.
    """

    name: str
    state: Literal["ok", "missing", "broken"]
    value: str
    mend: str = ""


def command(json: Json = False) -> None:
    """Show what this machine and installation can do. Exit code 1 where something essential is missing."""
    findings = []
    for finding in _examine():
        findings.append(finding)
        if not json:
            print_text(_line(finding))
    ok = all(finding.state != "broken" for finding in findings)
    if json:
        print_json({"ok": ok, "findings": {finding.name: _as_json(finding) for finding in findings}})
    if not ok:
        raise typer.Exit(1)


def _line(finding: Finding) -> str:
    line = f"{MARKS[finding.state]:<8} {finding.name:<22} {finding.value}"
    return f"{line}\n{'':<31} -> {finding.mend}" if finding.mend else line


def _as_json(finding: Finding) -> dict[str, str]:
    return {key: value for key, value in asdict(finding).items() if key != "name"}


def _examine() -> Iterator[Finding]:
    """Every finding, quick ones first."""
    yield Finding("llamarium", "ok", f"{llamarium.__version__}, {Path(llamarium.__file__).parent}")
    yield Finding("python", "ok", f"{platform.python_version()}, {sys.executable}")
    yield Finding("platform", "ok", platform.platform())
    yield from _machine()
    yield from _torch()
    yield from _packages()
    yield from _models()
    yield _telemetry()


def _machine() -> Iterator[Finding]:
    from llamarium.checkpoint.catalogue import home
    from llamarium.ground.device import memory, num_threads
    from llamarium.ground.progress import size

    name, flags = _processor()
    yield Finding("processor", "ok", name)
    yield Finding("cores", "ok", f"{num_threads()} usable of {os.cpu_count()}")
    yield Finding("features", "ok", " ".join(feature for feature in FEATURES if feature in flags) or "none that is known here")
    yield Finding("memory", "ok", f"{size(memory()[1])} available")
    cache = home()
    existing = next(folder for folder in (cache, *cache.parents) if folder.exists())
    yield Finding("disk", "ok", f"{size(shutil.disk_usage(existing).free)} free at {cache}")
    compiler = next(
        (path for name in (os.environ.get("CXX"), "c++", "g++", "clang++", "cl") if name and (path := shutil.which(name))), None
    )
    if compiler:
        yield Finding("compiler", "ok", compiler)
    else:
        yield Finding("compiler", "missing", "no C++ compiler: torch's kernels are used", "install g++ or clang++ for the native ones")


def _processor() -> tuple[str, set[str]]:
    """Name of the processor, and the instruction sets that the system says it has."""
    try:
        text = CPUINFO.read_text(encoding="utf-8", errors="replace")
    except OSError:  # not Linux
        return platform.processor() or platform.machine(), set()
    fields = dict(re.findall(r"^([^\t:]+?)\s*: (.*)$", text, re.MULTILINE))
    name = fields.get("model name") or fields.get("Model") or platform.machine()
    return name.strip(), set((fields.get("flags") or fields.get("Features") or "").split())


def _torch() -> Iterator[Finding]:
    try:
        import torch
    except (ImportError, OSError) as error:  # OSError: one of its libraries cannot be loaded
        yield Finding("torch", "broken", f"cannot be imported ({error})", "pip install torch")
        return
    from llamarium.ground.device import matmul_rate
    from llamarium.ground.progress import size

    build = f"CUDA {torch.version.cuda}" if torch.version.cuda else f"ROCm {torch.version.hip}" if torch.version.hip else "CPU"
    packages = Path(torch.__file__).parent.parent
    held = sum(_bytes_in(packages / name) for name in ("torch", "nvidia", "triton"))
    driver = Path("/proc/driver/nvidia/version").exists() or shutil.which("nvidia-smi") is not None
    change = ""
    if torch.version.cuda and not driver:
        change = "no NVIDIA driver is here: a CPU build is much smaller; pytorch.org/get-started has the pip command"
    elif driver and not torch.version.cuda:
        change = "an NVIDIA driver is here: pytorch.org/get-started has the pip command for a CUDA build"
    yield Finding("torch", "ok", f"{torch.__version__}, {build} build, {size(held)} on disk", change)
    yield Finding("threads", "ok", f"{torch.get_num_threads()} of torch, {torch.backends.cpu.get_cpu_capability()} kernels")

    cpu = torch.device("cpu")
    rates = {dtype: matmul_rate(dtype, cpu) for dtype in (torch.float32, torch.bfloat16)}
    faster = "bfloat16" if rates[torch.bfloat16] > rates[torch.float32] else "float32"
    float32, bfloat16 = (rate / 1e9 for rate in rates.values())
    yield Finding("matrix product", "ok", f"float32 {float32:.0f}, bfloat16 {bfloat16:.0f} GFLOP/s measured: {faster} is faster here")

    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            properties = torch.cuda.get_device_properties(index)
            yield Finding(f"gpu {index}", "ok", f"{properties.name}, {size(properties.total_memory)}")
    elif torch.backends.mps.is_available():
        yield Finding("gpu", "ok", "Apple (mps)")
    else:
        yield Finding("gpu", "missing", "none that this torch can use: everything runs on the processor")


def _bytes_in(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink())


def _packages() -> Iterator[Finding]:
    """What the package says it needs, core and extras, against what is installed."""
    try:
        requirements = importlib.metadata.requires("llamarium") or []
    except importlib.metadata.PackageNotFoundError:
        yield Finding("packages", "missing", "llamarium runs from its source and is not installed", "pip install .")
        return
    needed: dict[str, list[str]] = {}
    for requirement in requirements:
        name = re.match(r"[A-Za-z0-9._-]+", requirement)
        extra = re.search(r"extra\s*==\s*['\"]([^'\"]+)['\"]", requirement)
        assert name is not None, requirement
        if name[0] != "llamarium":  # an extra that only names others
            needed.setdefault(extra[1] if extra else "", []).append(name[0])
    for extra_name, names in needed.items():
        if extra_name not in ("dev", "all"):  # "all" is the others together
            yield from _group(extra_name, names)


def _group(extra: str, names: list[str]) -> Iterator[Finding]:
    """The core packages one by one, since nothing works without them; an extra in one line."""
    versions = {name: _version(name) for name in names}
    if not extra:
        for name, version in versions.items():
            if name != "torch":
                mend = "" if version else f"pip install {name}"
                yield Finding(name, "ok" if version else "broken", version or "not installed", mend)
        return
    absent = [name for name, version in versions.items() if version is None]
    value = ", ".join(f"{name} {version or 'not installed'}" for name, version in versions.items())
    yield Finding(f"extra [{extra}]", "missing" if absent else "ok", value, f"pip install 'llamarium[{extra}]'" if absent else "")


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _models() -> Iterator[Finding]:
    from llamarium.checkpoint import catalogue
    from llamarium.ground.progress import size

    for entry in catalogue.entries():
        path = catalogue.pulled(entry.name)
        if path:
            yield Finding(entry.name, "ok", str(path))
        else:
            yield Finding(entry.name, "missing", f"{size(entry.download or entry.size)}, {entry.licence}", f"llamarium pull {entry.name}")


def _telemetry() -> Finding:
    from llamarium.ground.telemetry import SWITCHES

    on = [name for name, value in SWITCHES.items() if os.environ.get(name) != value]
    if on:
        return Finding("telemetry", "missing", f"not switched off: {', '.join(on)}", "unset these variables, or import llamarium first")
    return Finding("telemetry", "ok", f"off ({len(SWITCHES)} switches of other libraries set)")
