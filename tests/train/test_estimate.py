from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from llamarium.checkpoint import huggingface
from llamarium.ground import config
from llamarium.ground.errors import ResourceError
from llamarium.models import llama
from llamarium.models.model import Network
from llamarium.tokens import shards
from llamarium.tokens.train import bytes_tokenizer
from llamarium.train import build, data, estimate, recipe, resources
from llamarium.train.estimate import describe, suggested_size
from llamarium.train.loop import train
from llamarium.train.recipe import Recipe
from llamarium.train.resources import fit, need
from llamarium.train.run import Run, start

Described = Callable[..., Recipe]
CPU = torch.device("cpu")
TOKENIZER = bytes_tokenizer()


@pytest.fixture
def wide(described: Described) -> Described:
    """A recipe whose batches take more memory than its weights."""

    def describe(**sections: dict[str, Any]) -> Recipe:
        train = {"batch_tokens": 8192, "sequence_length": 256, "precision": "float32", "compile": False} | sections.pop("train", {})
        model = {"layers": 2, "width": 64, "heads": 2, "vocab_size": 2048}
        return described(**{"model": model, "train": train} | sections)

    return describe


def shape(described: Recipe) -> Network:
    return build.fresh(described, TOKENIZER.vocab_size, place="meta")


def peak(described: Recipe) -> int:
    return need(described, shape(described), CPU).peak


# --- Memory that is needed --------------------------------------------------------------------------------------------


def test_the_meter_counts_what_lives() -> None:
    with resources.Meter() as meter:
        a = torch.zeros(1000)
        b = a.view(10, 100)[2:]  # the same memory
        c = a + 1
        assert (meter.live, meter.peak) == (8000, 8000)
        del a
        assert meter.live == 8000
        del b
        assert (meter.live, meter.peak) == (4000, 8000)
        del c
    assert (meter.live, meter.peak) == (0, 8000)


def test_more_work_takes_more_memory(wide: Described) -> None:
    usual = peak(wide())
    assert peak(wide(train={"micro_batch_tokens": 4096})) < usual
    assert peak(wide(train={"recompute": True})) < usual
    assert peak(wide(train={"precision": "float64"})) > usual
    assert peak(wide(train={"compile": True, "batch_tokens": 65536, "micro_batch_tokens": 65536})) < peak(
        wide(train={"batch_tokens": 65536, "micro_batch_tokens": 65536})
    )
    standing = {name: need(made := wide(optimizer={"name": name}), shape(made), CPU).standing for name in ("sgd", "momentum", "adamw")}
    weights = 4 * shape(wide()).num_parameters()
    assert standing["momentum"] - standing["sgd"] == weights
    assert standing["adamw"] - standing["momentum"] == pytest.approx(weights, rel=0.01)


def test_what_is_frozen_has_neither_gradients_nor_moments(wide: Described, tmp_path: Path) -> None:
    model = llama.Model(llama.Config(vocab_size=TOKENIZER.vocab_size, width=64, layers=2, heads=2, context_length=256))
    model.initialize()
    huggingface.save_folder(tmp_path / "base", model, TOKENIZER)
    whole = wide(model={"from": str(tmp_path / "base")}, data={"tokenizer": None})
    thin = whole.model_copy(update={"lora": recipe.Lora(rank=2)})
    everything, learning = resources.num_weights(thin, model)
    assert (everything - model.num_parameters(), learning) == (learning, 2 * 2 * 2 * 2 * 64)
    constant = resources.LIBRARIES
    assert need(whole, model, CPU).standing - constant == pytest.approx(4 * 3 * model.num_parameters(), rel=0.01)
    assert need(thin, model, CPU).standing - constant == pytest.approx(4 * (everything + 2 * learning), rel=0.01)


def test_gradients_of_earlier_parts_of_a_batch_are_there_and_those_of_the_last_join_them(wide: Described) -> None:
    train = {"batch_tokens": 64, "sequence_length": 32}
    in_two = wide(model={"size": "20M"}, train=train | {"micro_batch_tokens": 32})
    gradients = 4 * shape(in_two).num_parameters()
    found = need(in_two, shape(in_two), CPU)
    assert gradients < found.peak - found.standing < 1.5 * gradients


def test_nothing_is_drawn_and_the_model_is_left_alone(wide: Described) -> None:
    described = wide(model={"layers": 2, "width": 64, "heads": 2})
    described = described.model_copy(update={"lora": recipe.Lora(rank=2, dropout=0.5)})
    model = build.fresh(described, TOKENIZER.vocab_size)
    before, state = {name: tensor.clone() for name, tensor in model.state_dict().items()}, torch.get_rng_state()
    need(described, model, CPU)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_the_generous_bound_is_one(wide: Described) -> None:
    for made in (wide(), wide(train={"sequence_length": 8192}), wide(model={"layers": 1, "width": 16, "heads": 1})):
        assert resources.upper_bound(made, shape(made)) >= need(made, shape(made), CPU).at_most


def test_several_processes_share_the_weights(wide: Described) -> None:
    made = wide(model={"size": "20M"}, train={"batch_tokens": 512})
    alone, four = (need(made, shape(made), CPU, processes=number).peak for number in (1, 4))
    assert four < alone
    kept = made.model_copy(update={"train": made.train.model_copy(update={"shard": 1})})
    assert need(kept, shape(kept), CPU, processes=4).peak > four


# --- Too little of it -------------------------------------------------------------------------------------------------


def test_enough_memory_changes_nothing(wide: Described, said: list[str]) -> None:
    made = wide()
    assert fit(made, shape(made), need(made, shape(made), CPU).at_most) is made
    assert said == []


def test_parts_are_halved_until_they_fit_and_the_batch_is_kept(wide: Described, said: list[str]) -> None:
    made = wide()
    quarter = wide(train={"micro_batch_tokens": 2048})
    found = fit(made, shape(made), need(quarter, shape(quarter), CPU).at_most)
    assert found.train.micro_batch_tokens == 2048
    assert found.model_copy(update={"train": found.train.model_copy(update={"micro_batch_tokens": 8192})}) == made
    assert "parts of 2,048 tokens (train.micro_batch_tokens), and is the same batch." in said[0]


def test_before_it_gives_up_the_allocator_gives_back(wide: Described, said: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bool] = []

    def give_back() -> bool:
        asked.append(True)
        return True

    monkeypatch.setattr(resources, "give_back_at_once", give_back)
    made = wide()
    one = wide(train={"micro_batch_tokens": 256})
    found = fit(made, shape(made), need(one, shape(one), CPU).peak)
    assert found.train.micro_batch_tokens == 256
    assert asked == [True]
    assert "given back at once" in said[1]


def test_what_does_not_fit_is_refused_with_three_settings_that_help(wide: Described) -> None:
    made = wide(model={"size": "3M"})
    with pytest.raises(ResourceError) as caught:
        fit(made, shape(made), resources.LIBRARIES + 8_000_000)
    assert caught.value.exit_code == 4
    assert re.fullmatch(r"Training needs about \d+\.\d MB of memory, one sequence at a time, and 88.0 MB are free\.", caught.value.message)
    settings = re.findall(r"([\w.]+=.+?) \(about ([\d.]+) MB\)", caught.value.hint)
    assert len(settings) == 3
    smallest = peak(wide(model={"size": "3M"}, train={"micro_batch_tokens": 256}))
    for setting, promised in settings:
        values = config.apply_settings(made.model_dump(mode="json", by_alias=True, exclude_none=True), [setting])
        better = recipe.build(values)
        one = better.model_copy(update={"train": better.train.model_copy(update={"micro_batch_tokens": better.train.sequence_length})})
        assert peak(one) < smallest
        assert peak(one) / 1e6 == pytest.approx(float(promised), abs=0.06)


def test_of_a_model_that_is_far_too_large_no_step_is_looked_at(described: Described, monkeypatch: pytest.MonkeyPatch) -> None:
    looked_at: list[int] = []
    look = resources._forward_and_backward

    def watch(recipe: Recipe, twin: Network, *inputs: Any) -> None:
        looked_at.append(twin.num_parameters())
        look(recipe, twin, *inputs)

    monkeypatch.setattr(resources, "_forward_and_backward", watch)
    made = described(model={"size": "7B"}, train={"precision": "bfloat16", "compile": False})
    with pytest.raises(ResourceError, match="Training needs about") as caught:
        fit(made, shape(made), 4_000_000_000)
    assert "model.size=" in caught.value.hint
    assert max(looked_at) < 2e9


def test_the_limits_of_control_groups_are_minded(tmp_path: Path) -> None:
    (tmp_path / "own").write_text("12:cpu:/else\n0::/outer/inner\n")
    for name, limit in (("outer", "5000"), ("outer/inner", "max")):
        folder = tmp_path / "root" / name
        folder.mkdir(parents=True)
        (folder / "memory.max").write_text(f"{limit}\n")
        (folder / "memory.current").write_text("3000\n")
        (folder / "memory.stat").write_text("anon 100\ninactive_file 700\n")
    left = resources._left_in_groups
    assert left(tmp_path / "root", tmp_path / "own") == [2700]
    (tmp_path / "root" / "outer" / "inner" / "memory.max").write_text("3100")
    assert sorted(left(tmp_path / "root", tmp_path / "own")) == [800, 2700]
    assert left(tmp_path / "root", tmp_path / "none") == []


# --- Disk -------------------------------------------------------------------------------------------------------------


def test_too_little_disk_stops_it_before_anything_is_begun(described: Described, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resources, "free_disk", lambda folder: 1000)
    with pytest.raises(ResourceError, match=r"needs about \d+\.\d kB of disk at .*run, and 1.0 kB are free\.") as caught:
        start(described(), tmp_path / "run")
    assert "train.keep=1" in caught.value.hint
    assert not (tmp_path / "run").exists()


def test_a_run_takes_no_more_disk_than_is_said(described: Described, corpus: Path, tmp_path: Path) -> None:
    made = described(train={"keep": 2, "keep_best": True, "validate_every": 2, "steps": 10})
    run = start(made, tmp_path / "run")
    most = 0

    def watch(run: Run, line: dict[str, Any]) -> None:
        nonlocal most
        most = max(most, sum(path.stat().st_size for path in (run.folder / "checkpoints").rglob("*") if path.is_file()))

    train(run, after_step=watch)
    run.log.close()
    spoken = resources.disk(made, run.model, 0)
    assert most <= spoken + 10 * 30_000  # states, headers and random states, which are small beside real weights
    assert resources.disk(made, run.model, 12_345) - spoken == 12_345


def test_what_lies_there_already_is_not_needed_again(described: Described, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "old").write_bytes(bytes(5000))
    resources.require_disk(described(), tmp_path / "run", 6000, 1000)
    with pytest.raises(ResourceError):
        resources.require_disk(described(), tmp_path / "run", 6001, 1000)


# --- Text -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tokenizer", ["bytes", "characters"])
def test_the_tokens_of_a_text_are_known_before_it_is_tokenized(described: Described, tmp_path: Path, tokenizer: str) -> None:
    made = described(data={"tokenizer": tokenizer})
    texts = data.open_texts(made)
    run = start(made, tmp_path / "run")
    run.log.close()
    assert resources.expected_tokens(made, texts) == int(run.data.sources[0].rows.target_starts[-1])


def test_token_shards_are_counted(described: Described, tmp_path: Path) -> None:
    shards.write_shards(tmp_path / "shards", {"train": ["abc", "de"], "valid": ["f"]}, TOKENIZER)
    made = described(data={"corpus": str(tmp_path / "shards")})
    assert resources.expected_tokens(made, None) == 4 + 3
    assert resources.token_bytes(made, None, 300) == 0


# --- Speed ------------------------------------------------------------------------------------------------------------


def trained(run: Run) -> list[torch.Tensor]:
    train(run)
    run.log.close()
    return [parameter.detach().clone() for parameter in run.model.parameters()]


def test_a_probe_changes_nothing(described: Described, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even what is dropped at random in the steps after it."""
    monkeypatch.setattr(estimate, "PROBE", 0.3)
    monkeypatch.setattr(estimate, "SHORT", 0.0)
    model = llama.Model(llama.Config(vocab_size=TOKENIZER.vocab_size, width=16, layers=1, heads=1, context_length=32))
    model.initialize()
    huggingface.save_folder(tmp_path / "base", model, TOKENIZER)
    made = described(
        model={"from": str(tmp_path / "base")}, data={"tokenizer": None}, lora={"rank": 2, "dropout": 0.5}, train={"precision": "float32"}
    )
    plain = trained(start(made, tmp_path / "plain"))
    run = start(made, tmp_path / "run")
    state = torch.get_rng_state()
    lines = describe(made, run)
    assert torch.equal(torch.get_rng_state(), state)
    assert any("probed for 0." in line for line in lines)
    assert all(parameter.grad is None for parameter in run.model.parameters())
    assert (run.step, run.samples_consumed) == (0, 0)
    assert all(torch.equal(one, other) for one, other in zip(trained(run), plain, strict=True))


def test_a_short_run_is_probed_once(described: Described, tmp_path: Path) -> None:
    run = start(described(train={"compile": True}), tmp_path / "run")
    run.log.close()
    said = next(line for line in describe(described(), run) if "tokens/s" in line)
    assert re.fullmatch(r"[\d,]+ tokens/s \(one pass, forward and backward, not compiled; .* faster then\): .* without saving .*", said)


def test_a_long_run_is_probed_longer_and_says_when_it_ends(described: Described, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(estimate, "PROBE", 0.3)
    run = start(described(train={"steps": 10_000_000}), tmp_path / "run")
    run.log.close()
    began = time.perf_counter()
    said = next(line for line in describe(described(), run) if "tokens/s" in line)
    assert time.perf_counter() - began < 5
    assert re.search(r"probed for 0\.\d s, .* \d+ h \d+ min", said)
    by_clock = start(described(train={"steps": None, "minutes": 60}), tmp_path / "clock")
    by_clock.log.close()
    assert re.search(r"about [\d,]+ tokens$", next(line for line in describe(described(), by_clock) if "tokens/s" in line))


def test_a_run_that_is_done_has_nothing_to_say(described: Described, tmp_path: Path) -> None:
    run = start(described(), tmp_path / "run")
    trained(run)
    assert describe(described(), run) == []


# --- A dry run, and advice --------------------------------------------------------------------------------------------


def test_a_dry_run_says_all_of_it(described: Described, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(shards, "write_shards", lambda *inputs, **options: pytest.fail("text was tokenized"))
    state = torch.get_rng_state()
    text = "\n".join(describe(described(train={"precision": "auto"})))
    for part in ("weights", "6 steps, 768 tokens", "tokens to learn from", "of memory", "of disk", "tokens/s (a rough guess", "2203.15556"):
        assert part in text
    assert torch.equal(torch.get_rng_state(), state)
    assert list(tmp_path.iterdir()) == []


def test_a_dry_run_says_what_would_not_fit(wide: Described, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resources, "available_memory", lambda device, model: resources.LIBRARIES + 8_000_000)
    assert any("What would help most: " in line for line in describe(wide()))


def test_the_memory_of_a_large_run_is_said_with_what_the_allocator_keeps(wide: Described, monkeypatch: pytest.MonkeyPatch) -> None:
    found = need(wide(), shape(wide()), CPU)
    monkeypatch.setattr(resources, "available_memory", lambda device, model: found.at_most)
    said = next(line for line in describe(wide()) if "of memory" in line)
    assert f"about {found.peak / 1e6:.1f} MB of memory at the peak, at most {found.at_most / 1e6:.1f} MB" in said


@given(text=st.floats(1e3, 1e13), operations=st.floats(1e10, 1e26), more=st.floats(1, 100))
def test_a_larger_text_and_more_time_never_ask_for_less(text: float, operations: float, more: float) -> None:
    size, limit = suggested_size(text, operations)
    assert size <= suggested_size(text * more, operations)[0]
    assert size <= suggested_size(text, operations * more)[0]
    assert 20 * size <= 4 * text * (1 + 1e-9)
    assert 6 * size * 20 * size <= operations * (1 + 1e-9)
    assert limit in ("text", "time")


def test_the_compute_optimal_model_of_the_paper() -> None:
    """Chinchilla: 70 billion weights, 1.4 trillion tokens, 5.76e23 operations."""
    size, limit = suggested_size(1.4e12, 5.76e23)
    assert limit == "time"
    assert size == pytest.approx(70e9, rel=0.02)
    assert suggested_size(1e6, 5.76e23) == (200_000, "text")


def test_a_model_that_is_there_already_gets_no_advice(described: Described, tmp_path: Path) -> None:
    model = llama.Model(llama.Config(vocab_size=TOKENIZER.vocab_size, width=16, layers=1, heads=1, context_length=32))
    model.initialize()
    huggingface.save_folder(tmp_path / "base", model, TOKENIZER)
    assert not any("2203.15556" in line for line in describe(described(model={"from": str(tmp_path / "base")}, data={"tokenizer": None})))
