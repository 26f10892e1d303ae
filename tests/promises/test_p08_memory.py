"""P8: the memory of a run is known before it starts; where there is too little, the batch is computed in smaller parts or nothing begins.

Run as a script, this file is a process that has imported everything, trains the recipe that it is given, and tells how much its
resident memory grew at most. What is counted is what lives: glibc keeps beside it what was freed, so each size is measured where
that is given back at once (within 15 %), and where it is not (never more than is said).
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from llamarium.ground.errors import ResourceError
from llamarium.text.prepare import prepare
from llamarium.train import build, recipe, resources
from llamarium.train.recipe import Recipe
from llamarium.train.run import start

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="memory is measured as Linux counts it")

CPU = torch.device("cpu")
EAGER, COMPILED = 0.15, 0.25


@dataclass(frozen=True)
class Size:
    """A model, and how it is trained."""

    model: dict[str, Any]
    train: dict[str, Any]
    more: dict[str, Any] | None = None


WIDE = {"vocab_size": 8192, "width": 384, "layers": 6, "heads": 6, "kv_heads": 2, "hidden_width": 1024, "tied": False}
NARROW = {"vocab_size": 8192, "width": 384, "layers": 2, "heads": 6}
QUICK = Size(NARROW, {"batch_tokens": 512, "sequence_length": 128})
LARGE_BATCH = Size(NARROW, {"batch_tokens": 1024, "sequence_length": 128})
SIZES = {
    "0.5M": Size({"vocab_size": 512, "width": 96, "layers": 4, "heads": 3}, {"batch_tokens": 2048, "sequence_length": 128}),
    "3M in two parts": Size(
        {"vocab_size": 2048, "width": 192, "layers": 6, "heads": 6},
        {"batch_tokens": 8192, "micro_batch_tokens": 4096, "sequence_length": 256},
    ),
    "16M": Size(WIDE, {"batch_tokens": 4096, "sequence_length": 256}),
    "16M recomputed": Size(WIDE, {"batch_tokens": 4096, "sequence_length": 256, "recompute": True}),
    "27M long, muon": Size(
        {"vocab_size": 16384, "width": 512, "layers": 6, "heads": 8},
        {"batch_tokens": 2048, "sequence_length": 1024},
        {"optimizer": {"name": "muon"}},
    ),
    "70M in two parts": Size(
        {"vocab_size": 16384, "width": 640, "layers": 10, "heads": 10, "tied": False},
        {"batch_tokens": 1024, "micro_batch_tokens": 512, "sequence_length": 128},
    ),
    "16M bfloat16": Size(WIDE, {"batch_tokens": 2048, "sequence_length": 256, "precision": "bfloat16"}),
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a corpus whose documents are shorter than most sequences."""
    folder = tmp_path_factory.mktemp("memory")
    (folder / "text").mkdir()
    for number in range(60):
        lines = [f"Line {line * 7919 % 1009} of the llama {number} that eats {line * number} blades of grass." for line in range(40)]
        (folder / "text" / f"{number:02}.txt").write_text("\n".join(lines))
    prepare([folder / "text"], folder / "corpus")
    return folder


def values(place: Path, size: Size, **train: Any) -> dict[str, Any]:
    usual = {"steps": 3, "save_every": 2, "validation_tokens": 4096, "precision": "float32", "compile": False}
    data = {"corpus": str(place / "corpus"), "tokenizer": "bytes"}
    return {"name": "run", "data": data, "model": size.model, "train": usual | size.train | train, **(size.more or {})}


def estimate(described: Recipe) -> resources.Need:
    model = build.fresh(described, 259, place="meta")
    return resources.need(described, model, CPU)


def measured(described: dict[str, Any], folder: Path, *, gives_back: bool = True) -> int:
    """Bytes by which the resident memory of a process grew at most while it trained."""
    child = subprocess.run(
        [sys.executable, __file__, json.dumps(described), str(folder), str(int(gives_back))],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert child.returncode == 0, child.stderr
    return int(child.stdout.split()[-1])


def is_within(found: resources.Need, bytes_taken: int, share: float) -> None:
    assert abs(found.peak / bytes_taken - 1) <= share, f"{found.peak / 1e6:.0f} MB were expected, {bytes_taken / 1e6:.0f} taken"


@pytest.fixture(scope="module")
def taken(place: Path, tmp_path_factory: pytest.TempPathFactory) -> int:
    return measured(values(place, QUICK), tmp_path_factory.mktemp("quick") / "run")


# --- The promise ------------------------------------------------------------------------------------------------------


def test_memory_is_known_before_the_start(place: Path, taken: int) -> None:
    is_within(estimate(recipe.build(values(place, QUICK))), taken, EAGER)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", SIZES)
def test_memory_of_all_sizes(place: Path, tmp_path: Path, name: str) -> None:
    found = estimate(recipe.build(values(place, SIZES[name])))
    is_within(found, measured(values(place, SIZES[name]), tmp_path / "run"), EAGER)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", SIZES)
def test_what_the_allocator_keeps_is_within_what_is_said(place: Path, tmp_path: Path, name: str) -> None:
    found = estimate(recipe.build(values(place, SIZES[name])))
    bytes_taken = measured(values(place, SIZES[name]), tmp_path / "run", gives_back=False)
    assert (1 - EAGER) * found.peak <= bytes_taken <= found.at_most, f"{found} against {bytes_taken:,}"


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", SIZES)
def test_memory_of_compiled_runs(place: Path, tmp_path: Path, name: str) -> None:
    described = values(place, SIZES[name], compile=True)
    is_within(estimate(recipe.build(described)), measured(described, tmp_path / "run"), COMPILED)


def test_too_little_memory_makes_the_parts_smaller_and_keeps_the_batch(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    described = recipe.build(values(place, LARGE_BATCH))
    in_two = estimate(recipe.build(values(place, LARGE_BATCH, micro_batch_tokens=512)))
    monkeypatch.setattr(resources, "available_memory", lambda device, model: in_two.at_most)
    run = start(described, tmp_path / "run")
    run.log.close()
    assert (run.recipe.train.micro_batch_tokens, run.recipe.train.batch_tokens) == (512, 1024)
    assert [len(batch.inputs) for batch in run.batches()[0]] == [4, 4]


def test_far_too_little_memory_stops_it_before_anything_is_begun(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resources, "available_memory", lambda device, model: resources.LIBRARIES + 60_000_000)
    with pytest.raises(ResourceError) as caught:
        start(recipe.build(values(place, QUICK)), tmp_path / "run")
    assert caught.value.exit_code == 4
    assert caught.value.hint.count("(about ") == 3
    assert not (tmp_path / "run").exists()


# --- Controls ---------------------------------------------------------------------------------------------------------


def without(*names: str) -> Callable[[pytest.MonkeyPatch], None]:
    def leave_out(patch: pytest.MonkeyPatch) -> None:
        for name in names:
            patch.setattr(resources, name, lambda *inputs: None)

    return leave_out


def without_libraries(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(resources, "LIBRARIES", 0)


LEFT_OUT = {"moments": without("_step"), "activations": without("_forward_and_backward", "_validate"), "libraries": without_libraries}


@pytest.mark.parametrize("what", LEFT_OUT)
def test_control_what_is_left_out_is_noticed(place: Path, taken: int, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    LEFT_OUT[what](monkeypatch)
    with pytest.raises(AssertionError):
        test_memory_is_known_before_the_start(place, taken)


def test_control_parts_that_stay_as_they_are_are_noticed(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resources, "fit", lambda described, model, available, **options: described)
    with pytest.raises(AssertionError):
        test_too_little_memory_makes_the_parts_smaller_and_keeps_the_batch(place, tmp_path, monkeypatch)


# --- The process that is measured -------------------------------------------------------------------------------------


def train_and_tell(described: dict[str, Any], folder: Path, *, gives_back: bool) -> None:
    for name in ("pyarrow.parquet", "torch._dynamo", "matplotlib.pyplot", "llamarium.train.finish"):
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    from llamarium.train.finish import train_to_the_end

    read = recipe.build(described)
    assert not gives_back or resources.give_back_at_once()
    before = _status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak is that from now on
    train_to_the_end(start(read, folder))
    sys.stdout.write(f"{_status('VmHWM') - before}\n")


def _status(key: str) -> int:
    """Bytes, of what Linux says of this process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(key))


if __name__ == "__main__":
    train_and_tell(json.loads(sys.argv[1]), Path(sys.argv[2]), gives_back=sys.argv[3] == "1")
