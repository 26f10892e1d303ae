"""Device, number type and random state.

Takes: a name ("auto", "cpu", "cuda", "mps"; "auto", "float32", "bfloat16", "float16") and seeds.
Gives: torch devices and types that this machine can really use, and random states that can be stored.
Does not know: models or training.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from llamarium.ground.errors import UsageError, nearest

if TYPE_CHECKING:
    import torch

DTYPES = ("float32", "bfloat16", "float16")


def pick_device(name: str = "auto") -> torch.device:
    """The torch device for `name`; "auto" takes CUDA, then MPS, then the CPU."""
    import torch

    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    kind = name.split(":")[0]
    if kind not in ("cpu", "cuda", "mps"):
        raise UsageError(f"Unknown device {name!r}.", hint=nearest(name, ["auto", "cpu", "cuda", "mps"]))
    if (kind == "cuda" and not torch.cuda.is_available()) or (kind == "mps" and not torch.backends.mps.is_available()):
        raise UsageError(
            f"The device {name!r} is not available to this build of torch ({torch.__version__}).", hint="Run `llamarium doctor`."
        )
    try:
        return torch.device(name)
    except RuntimeError:
        raise UsageError(f"Unknown device {name!r}.", hint="For example: cpu, cuda, cuda:1, mps.") from None


def pick_dtype(name: str) -> torch.dtype:
    """The torch type for "float32", "bfloat16" or "float16"."""
    import torch

    if name not in DTYPES:
        raise UsageError(f"Unknown number type {name!r}.", hint=nearest(name, DTYPES))
    dtype = getattr(torch, name)
    assert isinstance(dtype, torch.dtype)
    return dtype


def matmul_rate(dtype: torch.dtype, device: torch.device, *, size: int = 768, seconds: float = 0.2) -> float:
    """Measured FLOP/s of a square matrix product (2·n³ operations each) in `dtype`, over about `seconds`."""
    import torch

    a = torch.randn(size, size, device=device).to(dtype)
    for _ in range(2):
        a @ a
    done, start = 0, time.perf_counter()
    while time.perf_counter() - start < seconds:
        a @ a
        done += 1
        if device.type == "cuda":
            torch.cuda.synchronize()
    return done * 2 * size**3 / (time.perf_counter() - start)


def read_bandwidth(*, threads: int, size: int = 1 << 30, rounds: int = 9) -> float:
    """Bytes a second that `threads` read from main memory: the median of `rounds` sums over `size` bytes, nothing written."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        values = torch.ones(size // 4)
        rates = []
        for _ in range(rounds + 1):  # the first is not counted
            start = time.perf_counter()
            values.sum()
            rates.append(size / (time.perf_counter() - start))
        return sorted(rates[1:])[rounds // 2]
    finally:
        torch.set_num_threads(before)


def fast_dtype(device: torch.device) -> torch.dtype:
    """bfloat16 where this device really computes faster in it (measured), else float32.

    A CPU without bf16 instructions runs it through slow conversions, so the flag alone is not trusted.
    """
    import torch

    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32
    if device.type != "cpu":
        return torch.float32
    faster = matmul_rate(torch.bfloat16, device) > 1.3 * matmul_rate(torch.float32, device)
    return torch.bfloat16 if faster else torch.float32


def seed_all(seed: int) -> None:
    """Seed torch on every device. Nothing else in Llamarium draws random numbers without its own seed."""
    import torch

    torch.manual_seed(seed)


def random_state() -> dict[str, torch.Tensor]:
    """State of torch's generators, as uint8 tensors that safetensors can hold."""
    import torch

    states = {"random.cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        states["random.cuda"] = torch.cuda.get_rng_state()
    return states


def restore_random_state(states: dict[str, torch.Tensor]) -> None:
    """Put generators back to what `random_state` returned."""
    import torch

    torch.set_rng_state(states["random.cpu"])
    if "random.cuda" in states and torch.cuda.is_available():
        torch.cuda.set_rng_state(states["random.cuda"])


def num_threads() -> int:
    """Processors that this process may use (its affinity, not the machine's count)."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def memory() -> tuple[int, int]:
    """Bytes of main memory: (in use by this process, available on the machine)."""
    import psutil

    return psutil.Process().memory_info().rss, psutil.virtual_memory().available
