"""What each kind of model owes. The folder is the registry: a new family is held to this the day it appears."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import FrozenInstanceError, is_dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch import Tensor

from llamarium.checkpoint import huggingface
from llamarium.models import families, family
from llamarium.models.context import Cached, Dense, Packed
from llamarium.models.model import PADDING, Fitted, Model, Network
from llamarium.tokens.train import bytes_tokenizer

T = 24
TOKENIZER = bytes_tokenizer()


def ids_of(module: ModuleType, *shape: int, seed: int = 1) -> Tensor:
    return torch.randint(0, module.TINY.vocab_size, shape, generator=torch.Generator().manual_seed(seed))


def fresh(module: ModuleType) -> Model:
    """A model with weights or counts that tell ids apart."""
    torch.manual_seed(0)
    model: Model = module.Model(module.TINY)
    if isinstance(model, Network):
        model.initialize()
        for parameter in model.parameters():
            parameter.data.mul_(1 + 0.2 * torch.randn_like(parameter)).add_(0.1 * torch.randn_like(parameter))
    else:
        assert isinstance(model, Fitted)
        model.fit([ids_of(module, 300).tolist(), ids_of(module, 100, seed=2).tolist()])
    return model.eval()


@torch.no_grad()
def logits_of(model: Model, ids_BT: Tensor) -> Tensor:
    logits: Tensor = model(ids_BT, Dense(ids_BT))
    return logits


def close(one: Tensor, other: Tensor) -> None:
    torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)


# --- the contracts ---


def describes_itself(module: ModuleType) -> None:
    assert is_dataclass(module.TINY)
    assert isinstance(module.TINY, module.Config)
    with pytest.raises(FrozenInstanceError):
        module.TINY.vocab_size = 3
    model = module.Model(module.TINY)
    assert isinstance(model, Model)
    assert model.config == module.TINY
    assert model.num_parameters() == sum(parameter.numel() for parameter in set(model.parameters()))
    if isinstance(model, Network):
        assert module.TINY.num_parameters() == model.num_parameters()
    assert module.TINY.context_length is None or module.TINY.context_length >= T
    if hasattr(module.Config, "sized"):
        sized = module.Config.sized(300_000, vocab_size=512, context_length=T)
        assert 150_000 <= sized.num_parameters() <= 600_000
        assert (sized.vocab_size, sized.context_length) in ((512, T), (512, None))


def gives_logits_of_each_position(module: ModuleType) -> None:
    model = fresh(module)
    for shape in ((1, 1), (1, T), (3, T), (2, 1)):
        logits = logits_of(model, ids_of(module, *shape))
        assert logits.shape == (*shape, module.TINY.vocab_size)
        assert logits.dtype == torch.float32
        assert logits.isfinite().all()


def rows_are_alone(module: ModuleType) -> None:
    model, ids = fresh(module), ids_of(module, 3, T)
    close(logits_of(model, ids), torch.cat([logits_of(model, row[None]) for row in ids]))


def is_causal(module: ModuleType) -> None:
    model, ids = fresh(module), ids_of(module, 1, T)
    before = logits_of(model, ids)
    for place in range(T):
        changed = ids.clone()
        changed[0, place:] = (changed[0, place:] + 1) % module.TINY.vocab_size
        after = logits_of(model, changed)
        assert torch.equal(before[:, :place], after[:, :place])
        assert not torch.equal(before[:, place:], after[:, place:])


def cached_is_uncached(module: ModuleType, *source: Tensor) -> None:
    model, ids = fresh(module), ids_of(module, 1, T)
    with torch.no_grad():
        expected = model(ids, Dense(ids), *source)

    @given(st.lists(st.integers(1, T), max_size=T))
    @settings(max_examples=20, deadline=None)
    def check(lengths: list[int]) -> None:
        cache = Cached(capacity=T, device=ids.device)
        found, start = [], 0
        for length in [*lengths, *[1] * T]:
            end = min(T, start + length)
            if start < end:
                with torch.no_grad():  # the source is read once
                    found.append(model(ids[:, start:end], cache.step(end - start), *(() if start else source)))
            start = end
        close(torch.cat(found, dim=1), expected)

    check()


def packed_is_alone(module: ModuleType) -> None:
    model, ids = fresh(module), ids_of(module, 2, T)
    lengths = ([5, 1, 10, 8], [T])
    documents = torch.stack([torch.repeat_interleave(torch.arange(len(row)), torch.tensor(row)) for row in lengths])
    with torch.no_grad():
        found = model(ids, Packed(documents))
    for row, parts in enumerate(lengths):
        start = 0
        for length in parts:
            close(found[row : row + 1, start : start + length], logits_of(model, ids[row : row + 1, start : start + length]))
            start += length


def overfits(module: ModuleType) -> None:
    """32 tokens are learnt by heart."""
    torch.manual_seed(0)
    model = module.Model(module.TINY)
    model.initialize()
    ids = ids_of(module, 1, 33)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    loss = torch.tensor(9.0)
    for _ in range(120):
        loss = torch.nn.functional.cross_entropy(model(ids[:, :-1], Dense(ids[:, :-1]))[0], ids[0, 1:])
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad()
    assert loss.item() < 0.05
    assert (logits_of(model, ids[:, :-1])[0].argmax(-1) == ids[0, 1:]).all()


def fills_gaps(module: ModuleType) -> None:
    """32 tokens, of which it sees two in three, are learnt by heart."""
    torch.manual_seed(0)
    model = module.Model(module.TINY)
    model.initialize()
    ids = ids_of(module, 1, 32)
    seen = ids.clone()
    seen[:, ::3] = 0
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(150):
        loss = torch.nn.functional.cross_entropy(model(seen, Dense(seen))[0], ids[0])
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad()
    assert (logits_of(model, seen)[0].argmax(-1) == ids[0]).all()


def looks_both_ways(module: ModuleType) -> None:
    model, ids = fresh(module), ids_of(module, 1, T)
    before = logits_of(model, ids)
    for place in (0, T // 2, T - 1):
        changed = ids.clone()
        changed[0, place] = (changed[0, place] + 1) % module.TINY.vocab_size
        after = logits_of(model, changed)
        assert ((after - before).abs().amax(-1) > 0).all()


def every_weight_learns(module: ModuleType, *source: Tensor) -> None:
    model, ids = fresh(module), ids_of(module, 2, T)
    model(ids, Dense(ids), *source).logsumexp(-1).sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 0, name


def saves_and_loads(module: ModuleType) -> None:
    """Also through shards, and to the same logits bit for bit."""
    import tempfile

    model, ids = fresh(module), ids_of(module, 2, T)
    for shard_bytes in (huggingface.SHARD_BYTES, 4000):
        with tempfile.TemporaryDirectory() as folder:
            huggingface.save_folder(Path(folder) / "model", model, TOKENIZER, shard_bytes=shard_bytes)
            again = huggingface.load_folder(Path(folder) / "model").eval()
            assert again.config == model.config
            assert torch.equal(logits_of(again, ids), logits_of(model, ids))


def compiles_whole(module: ModuleType, surround: Callable[[Tensor], Any] = Dense, backend: str = "aot_eager") -> None:
    """Forward and backward over a context without a graph break; `aot_eager` traces all and leaves out the code generator."""
    model, ids = fresh(module), ids_of(module, 2, T)

    def loss(ids_BT: Tensor) -> Tensor:
        return torch.nn.functional.cross_entropy(model(ids_BT, surround(ids_BT)).flatten(0, 1), ids_BT.flatten())

    expected = torch.autograd.grad(loss(ids), list(model.parameters()))
    torch._dynamo.reset()
    compiled = torch.compile(loss, fullgraph=True, backend=backend)
    found = torch.autograd.grad(compiled(ids), list(model.parameters()))
    for one, other in zip(found, expected, strict=True):
        close(one, other)


def counts_are_probabilities(module: ModuleType) -> None:
    model: Any = fresh(module)
    p = logits_of(model, ids_of(module, 2, T)).double().exp()
    assert (p > 0).all()
    close(p.sum(-1), torch.ones(2, T, dtype=torch.float64))
    close(module.Model(module.TINY)(ids_of(module, 1, 2), Dense(ids_of(module, 1, 2))).exp().sum(-1), torch.ones(1, 2))


def counts_forward_as_they_score(module: ModuleType) -> None:
    model: Any = fresh(module)
    ids = ids_of(module, 1, T)
    scores = torch.log_softmax(logits_of(model, ids).double(), -1)[0, :-1].gather(1, ids[0, 1:, None])[:, 0] / torch.log(torch.tensor(2.0))
    close(scores, torch.from_numpy(model.log2_prob(ids[0].tolist())[1:]))


def counts_learn(module: ModuleType) -> None:
    ids = ids_of(module, 40).tolist()
    model = module.Model(module.TINY)
    before = model.log2_prob(ids).sum()
    model.fit([ids])
    assert model.log2_prob(ids)[3:].mean() > -1
    assert model.log2_prob(ids).sum() > before
    model.fit([])
    assert model.log2_prob(ids).sum() == before


# What an encoder-decoder owes with a source: without one it owes what a decoder does.


def its_source_decides(module: ModuleType) -> None:
    """Every position looks at every id of the source."""
    model, ids, source = fresh(module), ids_of(module, 1, T), ids_of(module, 1, 7, seed=5)
    with torch.no_grad():
        before = model(ids, Dense(ids), source)
        assert not torch.equal(before, model(ids, Dense(ids)))
        for place in range(7):
            changed = source.clone()
            changed[0, place] = (changed[0, place] + 1) % module.TINY.vocab_size
            assert ((model(ids, Dense(ids), changed) - before).abs().amax(-1) > 0).all()


def what_fills_a_source_up_is_nothing(module: ModuleType) -> None:
    model, ids, source = fresh(module), ids_of(module, 2, T), ids_of(module, 2, 9, seed=5)
    filled = source.clone()
    filled[1, 4:] = PADDING
    with torch.no_grad():
        found = model(ids, Dense(ids), filled)
        close(found[:1], model(ids[:1], Dense(ids[:1]), source[:1]))
        close(found[1:], model(ids[1:], Dense(ids[1:]), source[1:, :4]))


def cached_is_uncached_with_a_source(module: ModuleType) -> None:
    cached_is_uncached(module, ids_of(module, 1, 9, seed=5))


def every_weight_learns_with_a_source(module: ModuleType) -> None:
    every_weight_learns(module, ids_of(module, 2, 9, seed=5))


def a_grammar_learns(module: ModuleType) -> None:
    """What it was fitted to becomes more probable, what it was not less."""
    model: Any = module.Model(module.TINY)
    sentences = [ids_of(module, 6, seed=seed).tolist() for seed in (1, 1, 1, 2)]
    other = ids_of(module, 6, seed=9).tolist()
    before = [model.log2_prob(ids).sum() for ids in (sentences[0], other)]
    model.fit(sentences)
    after = [model.log2_prob(ids).sum() for ids in (sentences[0], other)]
    assert after[0] > before[0] + 1
    assert after[0] - before[0] > after[1] - before[1]


ALL = (describes_itself, gives_logits_of_each_position, rows_are_alone, is_causal, cached_is_uncached, packed_is_alone, saves_and_loads)
OWED: dict[str, tuple[Callable[[ModuleType], None], ...]] = {
    "decoder": (*ALL, overfits, every_weight_learns, compiles_whole),
    "recurrent": (*ALL, overfits, every_weight_learns),
    "encoder": (
        describes_itself,
        gives_logits_of_each_position,
        rows_are_alone,
        packed_is_alone,
        saves_and_loads,
        looks_both_ways,
        fills_gaps,
        every_weight_learns,
        compiles_whole,
    ),
    "encoder_decoder": (
        *ALL,
        overfits,
        its_source_decides,
        what_fills_a_source_up_is_nothing,
        cached_is_uncached_with_a_source,
        every_weight_learns_with_a_source,
    ),
    "counts": (*ALL, counts_are_probabilities, counts_forward_as_they_score, counts_learn),
    "grammar": (*ALL, counts_are_probabilities, counts_forward_as_they_score, a_grammar_learns),
}
TABLE = [(name, contract) for name in families() for contract in OWED[family(name).Model.KIND]]


@pytest.mark.parametrize(("name", "contract"), TABLE, ids=[f"{name}-{contract.__name__}" for name, contract in TABLE])
def test_contract(name: str, contract: Callable[[ModuleType], None]) -> None:
    contract(family(name))


def decoders() -> list[str]:
    return [name for name in families() if family(name).Model.KIND == "decoder"]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*torch.jit.script.*:DeprecationWarning")  # torch's own code generator, when it is imported
@pytest.mark.parametrize("name", decoders())
def test_the_code_generator_takes_it_whole(name: str) -> None:
    documents = torch.repeat_interleave(torch.arange(3), T // 3).expand(2, T)
    compiles_whole(family(name), lambda _: Packed(documents), backend="inductor")
    compiles_whole(family(name), Dense, backend="inductor")


# --- the same model, its weights spread over two processes ---

WORKER = """
import os
import sys
import torch
import torch.distributed as dist
from pathlib import Path
from safetensors.torch import save_file
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from llamarium.checkpoint import huggingface
from llamarium.models.context import Dense

folder, ids = Path(sys.argv[1]), torch.tensor(eval(sys.argv[2]))
dist.init_process_group("gloo")
mesh = init_device_mesh("cpu", (dist.get_world_size(),))
model = huggingface.load_folder(folder / "model")
for block in model.blocks:
    fully_shard(block, mesh=mesh)
fully_shard(model, mesh=mesh)
assert all(parameter.to_local().numel() < parameter.numel() for parameter in model.parameters() if parameter.ndim > 1)
mine = ids[dist.get_rank() :: dist.get_world_size()]
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
for _ in range(3):
    logits = model(mine[:, :-1], Dense(mine[:, :-1]))
    torch.nn.functional.cross_entropy(logits.flatten(0, 1), mine[:, 1:].flatten()).backward()
    optimizer.step()
    optimizer.zero_grad()
whole = {name: parameter.full_tensor().detach().contiguous() for name, parameter in model.named_parameters()}
if dist.get_rank() == 0:
    save_file(whole, folder / "after.safetensors")
dist.destroy_process_group()
os._exit(0)  # gloo's threads may abort a process while it is taken apart
"""


@pytest.mark.slow
@pytest.mark.parametrize("name", decoders())
def test_weights_spread_over_two_processes_learn_the_same(name: str, tmp_path: Path) -> None:
    module = family(name)
    ids = ids_of(module, 4, T)
    huggingface.save_folder(tmp_path / "model", fresh(module), TOKENIZER)

    model = huggingface.load_folder(tmp_path / "model")
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    for _ in range(3):
        loss = torch.nn.functional.cross_entropy(model(ids[:, :-1], Dense(ids[:, :-1])).flatten(0, 1), ids[:, 1:].flatten())
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad()

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    group = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", WORKER, str(tmp_path), str(ids.tolist())]
    workers = [subprocess.Popen(command, env={**os.environ, **group, "RANK": str(rank), "LOCAL_RANK": str(rank)}) for rank in range(2)]
    assert [worker.wait(120) for worker in workers] == [0, 0]
    after = load_file(tmp_path / "after.safetensors")
    for key, parameter in model.named_parameters():
        close(after[key], parameter.detach())
    assert not torch.equal(after["embed.weight"], fresh(module).get_parameter("embed.weight"))


# --- the controls: a model that breaks a contract is seen ---


def test_control_a_model_that_looks_ahead_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    attend = Dense.attend
    monkeypatch.setattr(Dense, "attend", lambda self, *inputs, **options: attend(self, *inputs, **{**options, "causal": False}))
    with pytest.raises(AssertionError):
        is_causal(family("llama"))


def test_control_a_cache_that_forgets_where_it_is_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    step = Cached.step

    def forgetful(self: Cached, num_tokens: int) -> Cached:
        step(self, num_tokens).positions_BT = torch.arange(num_tokens)[None]
        return self

    monkeypatch.setattr(Cached, "step", forgetful)
    with pytest.raises(AssertionError):
        cached_is_uncached(family("llama"))


def test_control_documents_that_see_each_other_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Packed, "_visible", Dense._visible)
    with pytest.raises(AssertionError):
        packed_is_alone(family("llama"))


def test_control_a_graph_break_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    attend = Dense.attend

    def broken(self: Dense, *inputs: Any, **options: Any) -> Tensor:
        torch._dynamo.graph_break()
        return attend(self, *inputs, **options)

    monkeypatch.setattr(Dense, "attend", broken)
    with pytest.raises(torch._dynamo.exc.Unsupported):
        compiles_whole(family("llama"))


def test_control_a_weight_that_is_not_saved_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    module = family("llama")
    to_foreign = module.weights_to_hf
    monkeypatch.setattr(
        module, "weights_to_hf", lambda tensors, config: {name: tensor.bfloat16() for name, tensor in to_foreign(tensors, config).items()}
    )
    with pytest.raises(AssertionError):
        saves_and_loads(module)
