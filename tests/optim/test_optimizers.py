"""Each optimizer against its formula in plain numpy, and what all of them owe: the table is the registry."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from llamarium import optim
from llamarium.ground.errors import RecipeError
from llamarium.models import llama
from llamarium.models.context import Dense
from llamarium.optim import muon

ETA, LAMBDA, MU, BETA1, BETA2 = 0.05, 0.1, 0.8, 0.7, 0.9
EPSILON, ADADELTA_EPSILON, ADAGRAD_EPSILON = 1e-8, 1e-6, 1e-10
Matrix = NDArray[np.float64]

# --- the formulas ---


def formula(name: str, theta: Matrix, gradients: list[Matrix]) -> Matrix:
    """Where `theta` is after a step for each of the gradients. Nothing of torch, and nothing of ours."""
    m, v, u = np.zeros_like(theta), np.zeros_like(theta), np.zeros_like(theta)
    for t, gradient in enumerate(gradients, start=1):
        g = gradient if name in ("adamw", "muon") else gradient + LAMBDA * theta
        if name == "sgd":
            step = ETA * g
        elif name == "momentum":
            m = MU * m + g
            step = ETA * m
        elif name == "nesterov":
            m = MU * m + g
            step = ETA * (g + MU * m)
        elif name == "rmsprop":
            v = BETA2 * v + (1 - BETA2) * g**2
            step = ETA * g / (np.sqrt(v) + EPSILON)
        elif name == "adadelta":
            v = BETA2 * v + (1 - BETA2) * g**2
            delta = np.sqrt(u + ADADELTA_EPSILON) / np.sqrt(v + ADADELTA_EPSILON) * g
            u = BETA2 * u + (1 - BETA2) * delta**2
            step = ETA * delta
        elif name == "adagrad":
            v = v + g**2
            step = ETA * g / (np.sqrt(v) + ADAGRAD_EPSILON)
        elif name in ("adam", "adamw"):
            m = BETA1 * m + (1 - BETA1) * g
            v = BETA2 * v + (1 - BETA2) * g**2
            corrected_m, corrected_v = m / (1 - BETA1**t), v / (1 - BETA2**t)
            step = ETA * corrected_m / (np.sqrt(corrected_v) + EPSILON)
        else:
            assert name == "muon"
            m = MU * m + g
            step = ETA * 0.2 * np.sqrt(max(g.shape)) * orthogonal(g + MU * m)
        if name in ("adamw", "muon"):
            theta = (1 - ETA * LAMBDA) * theta
        theta = theta - step
    return theta


def orthogonal(x: Matrix) -> Matrix:
    """Five rounds on the singular values alone: the polynomial is odd, so U and V stay."""
    u, s, v = np.linalg.svd(x, full_matrices=False)
    s = s / np.sqrt((s**2).sum())
    for _ in range(5):
        s = 3.4445 * s - 4.7750 * s**3 + 2.0315 * s**5
    result: Matrix = u @ np.diag(s) @ v
    return result


@pytest.fixture
def in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(muon, "working_dtype", lambda device: torch.float32)


def build(name: str, named: Iterator[tuple[str, nn.Parameter]] | list[tuple[str, nn.Parameter]]) -> torch.optim.Optimizer:
    return optim.build(name, named, learning_rate=ETA, weight_decay=LAMBDA, betas=(BETA1, BETA2), momentum=MU)


@pytest.mark.usefixtures("in_float32")
@pytest.mark.parametrize("shape", [(4, 6), (7, 3)], ids=str)
@pytest.mark.parametrize("name", optim.OPTIMIZERS)
def test_steps_are_those_of_the_formula(name: str, shape: tuple[int, int]) -> None:
    random = np.random.default_rng(1)
    start, gradients = random.normal(size=shape), [random.normal(size=shape) for _ in range(6)]
    parameter = nn.Parameter(torch.tensor(start, dtype=torch.float32))
    optimizer = build(name, [("blocks.0.weight", parameter)])
    for gradient in gradients:
        parameter.grad = torch.tensor(gradient, dtype=torch.float32)
        optimizer.step()
    expected = formula(name, start, gradients)
    np.testing.assert_allclose(parameter.detach().numpy(), expected, atol=1e-5 if name == "muon" else 1e-6, rtol=0)
    assert np.abs(expected - start).max() > 1e-4


def test_the_first_step_of_adam_is_a_whole_one() -> None:
    """Without the correction of its first average it would be only 1 − β₁ of the rate."""
    for name in ("adam", "adamw"):
        parameter = nn.Parameter(torch.zeros(1, 2))
        optimizer = build(name, [("weight", parameter)])
        parameter.grad = torch.tensor([[3.0, -0.01]])
        optimizer.step()
        torch.testing.assert_close(parameter.detach(), torch.tensor([[-ETA, ETA]]))


def test_muon_is_that_of_torch() -> None:
    """In bfloat16 both, so they agree as far as that can tell."""
    torch.manual_seed(1)
    ours = nn.Parameter(torch.randn(12, 20))
    theirs = nn.Parameter(ours.detach().clone())
    optimizer = build("muon", [("blocks.0.weight", ours)])
    peer = torch.optim.Muon([theirs], lr=ETA, weight_decay=LAMBDA, momentum=MU, adjust_lr_fn="match_rms_adamw")
    start = ours.detach().clone()
    for _ in range(3):
        ours.grad = torch.randn(12, 20)
        theirs.grad = ours.grad.clone()
        optimizer.step()
        peer.step()  # type: ignore[no-untyped-call]
    moved = (ours.detach() - start).norm()
    assert (ours.detach() - theirs.detach()).norm() < 0.05 * moved


@pytest.mark.usefixtures("in_float32")
def test_a_stack_of_matrices_is_each_of_them() -> None:
    torch.manual_seed(1)
    stack = torch.randn(3, 5, 8)
    torch.testing.assert_close(muon.orthogonal(stack), torch.stack([muon.orthogonal(matrix) for matrix in stack]))


def test_singular_values_come_near_to_one_also_in_bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(1)
    for dtype in (torch.float32, torch.bfloat16):
        monkeypatch.setattr(muon, "working_dtype", lambda device, dtype=dtype: dtype)
        for shape in ((32, 32), (16, 48), (48, 16)):
            x = muon.orthogonal(1e-3 * torch.randn(shape))
            assert x.dtype == torch.float32
            s = torch.linalg.svdvals(x)
            assert s.max() < 1.3
            assert s.median() > 0.6
        assert torch.equal(muon.orthogonal(torch.zeros(3, 4)), torch.zeros(3, 4)), "no gradient, no step, no division by zero"


# --- which weights ---


def model(*, tied: bool = True) -> llama.Model:
    torch.manual_seed(0)
    made = llama.Model(llama.Config(vocab_size=24, width=16, layers=2, heads=2, hidden_width=25, qkv_bias=True, tied=tied))
    made.initialize()
    return made


def names_of(optimizer: torch.optim.Optimizer, network: nn.Module) -> list[list[str]]:
    names = {id(parameter): name for name, parameter in network.named_parameters()}
    return [[names[id(parameter)] for parameter in group["params"]] for group in optimizer.param_groups]


@pytest.mark.parametrize("name", optim.OPTIMIZERS)
def test_matrices_decay_and_norms_and_biases_do_not(name: str) -> None:
    network = model()
    optimizer = build(name, network.named_parameters())
    for group, names in zip(optimizer.param_groups, names_of(optimizer, network)):
        plain = [key.endswith("bias") or "norm" in key for key in names]
        assert all(plain) or not any(plain)
        assert group["weight_decay"] == (0.0 if plain[0] else LAMBDA)
        assert (group["lr"], group["scale"]) == (ETA, 1.0)
    assert sorted(key for names in names_of(optimizer, network) for key in names) == sorted(key for key, _ in network.named_parameters())


@pytest.mark.parametrize("name", optim.OPTIMIZERS)
def test_what_does_not_learn_is_left_out(name: str) -> None:
    learning, frozen = nn.Parameter(torch.ones(2, 2)), nn.Parameter(torch.ones(2, 2), requires_grad=False)
    optimizer = build(name, [("blocks.0.learning", learning), ("blocks.0.frozen", frozen)])
    assert [group["params"] for group in optimizer.param_groups] == [[learning]]


def test_muon_takes_the_matrices_of_the_blocks() -> None:
    network = model(tied=False)
    network.blocks[0].register_parameter("lora_A", nn.Parameter(torch.ones(2, 16)))
    network.register_parameter("positions", nn.Parameter(torch.ones(9, 16)))
    optimizer = build("muon", network.named_parameters())
    for group, names in zip(optimizer.param_groups, names_of(optimizer, network)):
        for key in names:
            assert group["orthogonal"] == (key.endswith(("_proj.weight", "lora_A"))), key
    outside = {
        key for group, names in zip(optimizer.param_groups, names_of(optimizer, network)) if not group["orthogonal"] for key in names
    }
    assert {
        "embed.weight",
        "head.weight",
        "positions",
        "norm.weight",
        "blocks.0.attention_norm.weight",
        "blocks.1.attention.q_proj.bias",
    } <= outside


def test_without_a_word_a_member_takes_what_suits_it() -> None:
    def first(name: str) -> dict[str, float]:
        optimizer = optim.build(name, model().named_parameters(), learning_rate=0.1, weight_decay=None, betas=(0.9, 0.95))
        return optimizer.param_groups[0]

    assert {name: first(name)["weight_decay"] for name in optim.OPTIMIZERS if first(name)["weight_decay"]} == {"adamw": 0.1, "muon": 0.1}
    assert {name: first(name)["momentum"] for name in ("momentum", "nesterov", "muon")} == {"momentum": 0.9, "nesterov": 0.9, "muon": 0.95}


def test_a_name_that_does_not_exist_is_refused_with_the_nearest() -> None:
    with pytest.raises(RecipeError, match="adamww") as caught:
        build("adamww", [])
    assert caught.value.hint == "Did you mean 'adamw'?"


# --- what all owe ---

# About the size of step that AdamW takes at 0.01.
RATES = {name: {"sgd": 1.0, "momentum": 0.3, "nesterov": 0.3, "adadelta": 10.0}.get(name, 0.01) for name in optim.OPTIMIZERS}
IDS = torch.randint(0, 24, (4, 13), generator=torch.Generator().manual_seed(1))


def learn(network: nn.Module, optimizer: torch.optim.Optimizer, steps: range) -> list[float]:
    """Steps under a rate that changes, as in the loop."""
    losses = []
    for step in steps:
        for group in optimizer.param_groups:
            group["lr"] = ETA / (1 + step) * group["scale"]
        loss = nn.functional.cross_entropy(network(IDS[:, :-1], Dense(IDS[:, :-1])).flatten(0, 1), IDS[:, 1:].flatten())
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        losses.append(loss.item())
    return losses


def state_by_name(network: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """As a checkpoint writes it."""
    return {
        f"{name}.{key}": value
        for name, parameter in network.named_parameters()
        for key, value in optimizer.state.get(parameter, {}).items()
    }


def resumed(name: str, folder: Path, change: Callable[[dict[str, Tensor]], None] = lambda state: None) -> bool:
    """Whether five steps, a stop on the disk, and five more end where ten steps do, to the bit."""
    whole = model()
    optimizer = build(name, whole.named_parameters())
    learn(whole, optimizer, range(10))

    part = model()
    optimizer = build(name, part.named_parameters())
    learn(part, optimizer, range(5))
    state = state_by_name(part, optimizer)
    assert all(isinstance(value, Tensor) for value in state.values())
    change(state)
    save_file(state, folder / "optimizer.safetensors")
    save_file({key: value.detach() for key, value in part.named_parameters()}, folder / "model.safetensors")

    again, held = model(), load_file(folder / "optimizer.safetensors")
    again.load_state_dict(load_file(folder / "model.safetensors"))
    optimizer = build(name, again.named_parameters())
    for key, parameter in again.named_parameters():
        mine = {other.removeprefix(f"{key}."): value for other, value in held.items() if other.startswith(f"{key}.")}
        if mine:
            optimizer.state[parameter] = mine
    learn(again, optimizer, range(5, 10))
    assert not torch.equal(whole.embed.weight, model().embed.weight)
    return all(torch.equal(one, other) for one, other in zip(whole.parameters(), again.parameters(), strict=True))


@pytest.mark.parametrize("name", optim.OPTIMIZERS)
def test_a_run_that_was_stopped_goes_on_to_the_bit(name: str, tmp_path: Path) -> None:
    assert resumed(name, tmp_path)


@pytest.mark.parametrize("name", [name for name in optim.OPTIMIZERS if name != "sgd"])
def test_control_state_that_is_lost_is_seen(name: str, tmp_path: Path) -> None:
    assert not resumed(name, tmp_path, change=dict.clear)


@pytest.mark.parametrize("name", ["adagrad", "adam", "adamw"])
def test_control_moments_that_are_rounded_are_seen(name: str, tmp_path: Path) -> None:
    def round_all(state: dict[str, Tensor]) -> None:
        state |= {key: value.bfloat16().float() for key, value in state.items()}

    assert not resumed(name, tmp_path, change=round_all)


@pytest.mark.parametrize("name", optim.OPTIMIZERS)
def test_the_loss_falls(name: str) -> None:
    network = model()
    optimizer = optim.build(name, network.named_parameters(), learning_rate=RATES[name], weight_decay=None, betas=(0.9, 0.95))
    losses = []
    for _ in range(60):
        loss = nn.functional.cross_entropy(network(IDS[:, :-1], Dense(IDS[:, :-1])).flatten(0, 1), IDS[:, 1:].flatten())
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        losses.append(loss.item())
    assert losses[-1] < losses[0] - 0.5


@pytest.mark.parametrize("name", optim.OPTIMIZERS)
def test_a_rate_of_zero_moves_nothing(name: str) -> None:
    """The loop's rate reaches every group, Muon's inner ones too."""
    network = model()
    optimizer = build(name, network.named_parameters())
    for group in optimizer.param_groups:
        group["lr"] = 0.0
    nn.functional.cross_entropy(network(IDS, Dense(IDS)).flatten(0, 1), IDS.flatten()).backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    assert all(torch.equal(one, other) for one, other in zip(network.parameters(), model().parameters(), strict=True))


@pytest.mark.parametrize("name", optim.OPTIMIZERS)
def test_a_parameter_without_a_gradient_waits(name: str) -> None:
    """And joins the others later, as an expert does that no token reached before."""
    gradient = torch.arange(6.0).view(2, 3)
    early, late, alone = (nn.Parameter(torch.ones(2, 3)) for _ in range(3))
    optimizer = build(name, [("blocks.0.early", early), ("blocks.0.late", late)])
    early.grad = gradient
    optimizer.step()
    assert torch.equal(late, torch.ones(2, 3))
    late.grad = gradient
    optimizer.step()
    optimizer = build(name, [("blocks.0.alone", alone)])
    alone.grad = gradient
    optimizer.step()
    assert torch.equal(late, alone)


# --- the same steps, the weights spread over two processes ---

WORKER = """
import faulthandler
import gc
import sys
import torch
import torch.distributed as dist
from pathlib import Path
from safetensors.torch import load_file, save_file
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from llamarium import optim
from llamarium.models import llama
from llamarium.models.context import Dense

faulthandler.dump_traceback_later(120, exit=True)  # one that hangs says where, and does not stay
folder, ids, rates = Path(sys.argv[1]), torch.tensor(eval(sys.argv[2])), eval(sys.argv[3])
dist.init_process_group("gloo")
mesh = init_device_mesh("cpu", (dist.get_world_size(),))
mine = ids[dist.get_rank() :: dist.get_world_size()]
def learn(name):
    model = llama.Model(llama.Config(vocab_size=24, width=16, layers=2, heads=2, hidden_width=25, qkv_bias=True))
    model.load_state_dict(load_file(folder / "before.safetensors"))
    for block in model.blocks:
        fully_shard(block, mesh=mesh)
    fully_shard(model, mesh=mesh)
    optimizer = optim.build(name, model.named_parameters(), learning_rate=rates[name], weight_decay=0.1, betas=(0.9, 0.95))
    for _ in range(3):
        logits = model(mine[:, :-1], Dense(mine[:, :-1]))
        torch.nn.functional.cross_entropy(logits.flatten(0, 1), mine[:, 1:].flatten()).backward()
        optimizer.step()
        optimizer.zero_grad()
    assert all(parameter.to_local().numel() < parameter.numel() for parameter in model.parameters() if parameter.ndim > 1)
    whole = {key: parameter.full_tensor().detach().contiguous() for key, parameter in model.named_parameters()}
    if dist.get_rank() == 0:
        save_file(whole, folder / f"{name}.safetensors")

for name in optim.OPTIMIZERS:
    learn(name)
# What holds the group's threads must go before the group: else torch aborts now and then when the interpreter ends.
del mesh
gc.collect()
dist.destroy_process_group()
"""


@pytest.mark.slow
def test_weights_spread_over_two_processes_step_the_same(tmp_path: Path) -> None:
    save_file({key: value.detach() for key, value in model().named_parameters()}, tmp_path / "before.safetensors")
    # Smaller steps: those that divide by √v make much of the last bits of a gradient that is nearly 0.
    rates = {name: rate if name == "muon" else rate / 10 for name, rate in RATES.items()}
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    group = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", WORKER, str(tmp_path), str(IDS.tolist()), str(rates)]
    workers = [subprocess.Popen(command, env={**os.environ, **group, "RANK": str(rank), "LOCAL_RANK": str(rank)}) for rank in range(2)]
    assert [worker.wait(240) for worker in workers] == [0, 0]
    for name in optim.OPTIMIZERS:
        network = model()
        optimizer = optim.build(name, network.named_parameters(), learning_rate=rates[name], weight_decay=0.1, betas=(0.9, 0.95))
        for _ in range(3):
            loss = nn.functional.cross_entropy(network(IDS[:, :-1], Dense(IDS[:, :-1])).flatten(0, 1), IDS[:, 1:].flatten())
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            optimizer.zero_grad()
        spread, tolerance = load_file(tmp_path / f"{name}.safetensors"), 1e-3 if name == "muon" else 1e-5
        for key, parameter in network.named_parameters():
            difference = (spread[key] - parameter.detach()).abs().max().item()
            assert difference < tolerance, f"{name}: {key} differs by {difference}"
            moved = (parameter.detach() - model().get_parameter(key)).abs().max().item()
            assert moved > 5 * tolerance or parameter.ndim < 2, (
                f"{name}: {key} has hardly moved ({moved}), so that this test could not fail"
            )
