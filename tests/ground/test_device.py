from __future__ import annotations

import pytest
import torch

from llamarium.ground import device
from llamarium.ground.device import (
    fast_dtype,
    matmul_rate,
    memory,
    num_threads,
    pick_device,
    pick_dtype,
    random_state,
    restore_random_state,
    seed_all,
)
from llamarium.ground.errors import UsageError

CPU = torch.device("cpu")


def test_pick_device() -> None:
    assert pick_device("cpu") == CPU
    assert pick_device("auto").type in ("cpu", "cuda", "mps")


@pytest.mark.parametrize("name", ["gpu", "", "cpu:x", "cuda:first", "CPU"])
def test_an_unknown_device_is_wrong_use(name: str) -> None:
    with pytest.raises(UsageError, match=r"[dD]evice") as caught:
        pick_device(name)
    assert caught.value.hint


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has CUDA")
def test_an_absent_device_names_the_build() -> None:
    with pytest.raises(UsageError, match="not available to this build of torch"):
        pick_device("cuda")


def test_pick_dtype() -> None:
    assert [pick_dtype(name) for name in device.DTYPES] == [torch.float32, torch.bfloat16, torch.float16]
    with pytest.raises(UsageError) as caught:
        pick_dtype("bfloat")
    assert caught.value.hint == "Did you mean 'bfloat16'?"
    with pytest.raises(UsageError):
        pick_dtype("nn")  # an attribute of torch, and no number type


def test_the_rate_counts_two_operations_for_each_product(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([0.0, 0.1, 1.0, 2.0])  # start; looks at the clock before the only product and after it; the end
    monkeypatch.setattr("time.perf_counter", lambda: next(times))
    assert matmul_rate(torch.float32, CPU, size=10, seconds=0.5) == 2 * 10**3 / 2.0


@pytest.mark.parametrize(("ratio", "chosen"), [(1.2, torch.float32), (1.4, torch.bfloat16)])
def test_the_faster_type_is_the_one_that_is_measured_faster(monkeypatch: pytest.MonkeyPatch, ratio: float, chosen: torch.dtype) -> None:
    monkeypatch.setattr(device, "matmul_rate", lambda dtype, _: ratio if dtype is torch.bfloat16 else 1.0)
    assert fast_dtype(CPU) is chosen


def test_random_state_comes_back() -> None:
    seed_all(7)
    state = random_state()
    assert all(value.dtype is torch.uint8 for value in state.values())
    first = torch.rand(4)
    assert not torch.equal(torch.rand(4), first)
    restore_random_state(state)
    assert torch.equal(torch.rand(4), first)
    seed_all(7)
    assert torch.equal(torch.rand(4), first)


def test_this_process_and_machine() -> None:
    assert num_threads() >= 1
    used, available = memory()
    assert used > 10_000_000  # Python with torch
    assert available > 0
