"""Muon: momentum whose matrix is made orthogonal before it is applied.

Takes: parameters with their names; their gradients at each step.
Gives: `muon`, one torch optimizer that gives the matrices of the blocks to Muon and the rest to AdamW.
Does not know: families of models, except that their layers are in `blocks`.

Jordan et al. 2024 (https://kellerjordan.github.io/posts/muon/); its rate and decay as in Liu et al. 2025 (Moonlight), arXiv:2502.16982.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from llamarium.optim.groups import Group, Named, Settings, fused, groups, sharded

# Of the polynomial ax + bx³ + cx⁵ (Jordan 2024): steep at 0, so that five rounds lift small singular values into about 0.7 … 1.2.
COEFFICIENTS = (3.4445, -4.7750, 2.0315)
ROUNDS = 5
SMALL = 1 << 18  # numbers of a matrix, up to which it is stepped together with others of its shape
RMS = 0.2  # of AdamW's usual update (Moonlight, section 2.2)


def muon(named: Named, settings: Settings) -> torch.optim.Optimizer:
    """Muon for the matrices of the blocks; AdamW, with the same rate, for embeddings, the head, norms and biases.

    M ← μM + g;  O = orthogonal(g + μM);  θ ← (1 − ηλ)θ − η · 0.2 · √max(rows, columns) · O

    The factor gives the update the root mean square of AdamW's, so one rate serves both.
    A parameter of more than two dimensions is a stack of matrices (experts).
    """
    matrices = [(name, parameter) for name, parameter in named if is_matrix_of_block(name, parameter)]
    rest = [(name, parameter) for name, parameter in named if not is_matrix_of_block(name, parameter)]
    return Muon(
        [group | {"momentum": settings.momentum} for group in groups(matrices, settings)],
        [group | {"betas": settings.betas} for group in groups(rest, settings)],
        lr=settings.learning_rate,
        fused=fused(rest),
    )


def is_matrix_of_block(name: str, parameter: Tensor) -> bool:
    """Whether Muon takes the parameter.

    Embeddings and the head map to and from ids, and have no use for a metric between their rows (Jordan 2024).
    """
    parts = name.split(".")
    return parameter.ndim >= 2 and "blocks" in parts and not any(part == "head" or part.startswith("embed") for part in parts)


class Muon(torch.optim.Optimizer):
    """One optimizer of two kinds of groups: those with ``orthogonal`` step here, the others in an AdamW over the same state."""

    def __init__(self, matrices: list[Group], rest: list[Group], *, lr: float, fused: bool | None) -> None:
        super().__init__(
            [*({**group, "orthogonal": True} for group in matrices), *({**group, "orthogonal": False} for group in rest)], {"lr": lr}
        )
        # AdamW completes these very dicts with its own defaults.
        mine = [group for group in self.param_groups if not group["orthogonal"]]
        self._adamw = torch.optim.AdamW(mine, lr=lr, fused=fused) if mine else None

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> Any:
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            if group["orthogonal"]:
                self._step_matrices([parameter for parameter in group["params"] if parameter.grad is not None], group)
        if self._adamw is not None:
            self._adamw.state = self.state
            self._adamw.param_groups = [group for group in self.param_groups if not group["orthogonal"]]
            self._adamw.step()
        return loss

    def _step_matrices(self, parameters: list[Tensor], group: Group) -> None:
        for alike in _alike(parameters):
            directions = []
            for parameter in alike:
                state = self.state[parameter]
                if not state:
                    state["momentum_buffer"] = torch.zeros_like(parameter)
                gradient, momentum = parameter.grad, state["momentum_buffer"]
                assert gradient is not None
                momentum.mul_(group["momentum"]).add_(gradient)
                directions.append(gradient.add(momentum, alpha=group["momentum"]))
            updates = [orthogonal(directions[0])] if len(alike) == 1 else orthogonal(torch.stack(directions))
            for parameter, update in zip(alike, updates, strict=True):
                parameter.mul_(1 - group["lr"] * group["weight_decay"])
                parameter.add_(update, alpha=-group["lr"] * RMS * max(parameter.shape[-2:]) ** 0.5)


def _alike(parameters: list[Tensor]) -> list[list[Tensor]]:
    """Small matrices of one shape together, all others alone: calls cost small ones more than their arithmetic."""
    found: dict[Any, list[Tensor]] = {}
    for number, parameter in enumerate(parameters):
        alone = parameter.numel() > SMALL or parameter.ndim != 2 or sharded(parameter)
        found.setdefault(number if alone else parameter.shape, []).append(parameter)
    return list(found.values())


def orthogonal(x_MN: Tensor) -> Tensor:
    """The nearest half-orthogonal matrix, roughly: UVᵀ of x = USVᵀ, its singular values about 0.7 … 1.2; (…, M, N) as given.

    Newton–Schulz: x ← ax + (b·A + c·A²)x with A = xxᵀ, from x / ‖x‖. Of a sharded matrix each process gathers the whole,
    does the same work, and keeps its part: the singular values of a part say nothing of those of the whole.
    """
    if sharded(x_MN):
        from torch.distributed.tensor import DTensor, Replicate

        assert isinstance(x_MN, DTensor)
        mesh = x_MN.device_mesh
        whole: DTensor = DTensor.from_local(orthogonal(x_MN.full_tensor()), mesh, [Replicate()] * mesh.ndim, run_check=False)
        return whole.redistribute(placements=x_MN.placements)
    a, b, c = COEFFICIENTS
    tall = x_MN.shape[-2] > x_MN.shape[-1]
    x = (x_MN.mT if tall else x_MN).to(working_dtype(x_MN.device))  # the smaller side's products are the cheaper ones
    x = x / x.norm(dim=(-2, -1), keepdim=True).clamp(min=1e-7)
    for _ in range(ROUNDS):
        A = x @ x.mT
        x = a * x + (b * A + c * (A @ A)) @ x
    result: Tensor = (x.mT if tall else x).to(x_MN.dtype)
    return result


def working_dtype(device: torch.device) -> torch.dtype:
    """bfloat16, of which Newton–Schulz makes do, where the processor has instructions for it; else float32.

    By what the machine is, not by a measurement: a run that resumes must compute as it did.
    """
    if device.type == "cuda":
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        fast = device.type == "cpu" and getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)()
    return torch.bfloat16 if fast else torch.float32
