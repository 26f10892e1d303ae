from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from llamarium.adapt.lora import LoRALinear
from llamarium.checkpoint import huggingface, peft, store
from llamarium.checkpoint.open import open_model
from llamarium.checkpoint.safetensors_file import read_safetensors
from llamarium.ground.errors import Interrupted
from llamarium.ground.files import sha256, verify_manifest
from llamarium.models import llama
from llamarium.models.context import Dense
from llamarium.models.model import Model
from llamarium.tokens.train import bytes_tokenizer
from llamarium.train import finish
from llamarium.train.finish import train_to_the_end
from llamarium.train.recipe import Recipe
from llamarium.train.run import Run, start
from llamarium.train.validate import validate

Described = Callable[..., Recipe]
IDS = torch.arange(20)[None]


def logits(of: Model) -> Tensor:
    with torch.inference_mode():
        found: Tensor = of.eval()(IDS, Dense(IDS))
    return found


def run_to_the_end(recipe: Recipe, folder: Path, *, resume: bool = False) -> Run:
    run = start(recipe, folder, resume=resume)
    assert train_to_the_end(run) == folder / "model"
    return run


@pytest.fixture
def thin(described: Described, tmp_path: Path) -> Recipe:
    """A recipe for LoRA on a base model of its own."""
    tokenizer = bytes_tokenizer()
    torch.manual_seed(3)
    base = llama.Model(llama.Config(vocab_size=tokenizer.vocab_size, width=16, layers=2, heads=1, context_length=32, tied=False))
    base.initialize()
    huggingface.save_folder(tmp_path / "base", base, tokenizer)
    return described(model={"from": str(tmp_path / "base")}, data={"tokenizer": None}, lora={"rank": 2, "targets": ["*_proj"]})


def test_a_run_ends_with_a_model_and_a_report(described: Described, tmp_path: Path) -> None:
    run = run_to_the_end(described(), tmp_path / "run")
    verify_manifest(tmp_path / "run" / "model")
    opened = open_model(tmp_path / "run")
    assert torch.equal(logits(opened.model), logits(run.model))
    assert opened.tokenizer.sha256 == run.tokenizer.sha256
    checkpoint = open_model(tmp_path / "run" / "checkpoints" / "step-00000006")
    assert torch.equal(logits(checkpoint.model), logits(run.model))
    assert "Finished: 6 steps" in (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert not (tmp_path / "run" / "adapter").exists()


def test_transformers_reads_the_model(described: Described, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    run = run_to_the_end(described(), tmp_path / "run")
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "run" / "model")
    with torch.inference_mode():
        torch.testing.assert_close(theirs(IDS).logits, logits(run.model), rtol=1e-4, atol=1e-5)
    read = transformers.AutoTokenizer.from_pretrained(tmp_path / "run" / "model")
    assert read("Llamas, 羊驼").input_ids == run.tokenizer.encode("Llamas, 羊驼")


def test_an_adapter_run_ends_with_both_and_they_are_the_same(thin: Recipe, tmp_path: Path) -> None:
    run = run_to_the_end(thin, tmp_path / "run")
    assert not any(isinstance(module, LoRALinear) for module in run.model.modules())
    fused, adapter = open_model(tmp_path / "run" / "model"), open_model(tmp_path / "run" / "adapter")
    assert torch.equal(logits(fused.model), logits(run.model))
    torch.testing.assert_close(logits(adapter.model), logits(fused.model), rtol=1e-5, atol=1e-6)
    base = open_model(tmp_path / "base")
    assert (logits(fused.model) - logits(base.model)).abs().max() > 1e-3, "something was learnt"
    assert adapter.tokenizer.sha256 == base.tokenizer.sha256
    settings = peft.read_settings(tmp_path / "run" / "adapter")
    assert (settings.base, settings.rank, settings.alpha) == (str(tmp_path / "base"), 2, 16.0)
    assert settings.targets == ("down_proj", "gate_proj", "k_proj", "o_proj", "q_proj", "up_proj", "v_proj")


def test_the_adapter_is_what_the_last_checkpoint_holds(thin: Recipe, tmp_path: Path) -> None:
    run_to_the_end(thin, tmp_path / "run")
    held = store.read(tmp_path / "run" / "checkpoints" / "step-00000006").weights
    written = read_safetensors(tmp_path / "run" / "adapter" / peft.WEIGHTS)
    assert len(held) == len(written) == 2 * 7 * 2
    name = "base_model.model.model.layers.1.mlp.down_proj.lora_B.weight"
    assert torch.equal(written[name], held["blocks.1.mlp.down_proj.B"])
    # Resumed after its end, the run folds the same matrices into a base that has none yet.
    before = {path: sha256(path) for path in (tmp_path / "run").rglob("*.safetensors")}
    shutil.rmtree(tmp_path / "run" / "adapter")
    run_to_the_end(thin, tmp_path / "run", resume=True)
    assert {path: sha256(path) for path in (tmp_path / "run").rglob("*.safetensors")} == before


def interrupt_after(monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    """Ctrl-C during the validation at `step`, when nobody watches."""

    def interrupted(run: Run, **options: Any) -> Any:
        if run.step == step:
            os.kill(os.getpid(), signal.SIGINT)
        return validate(run, **options)

    monkeypatch.setattr("llamarium.train.loop.validate", interrupted)


def test_an_interrupted_run_has_a_report_and_no_model(described: Described, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    interrupt_after(monkeypatch, 2)
    with pytest.raises(Interrupted):
        train_to_the_end(start(described(), tmp_path / "run"))
    assert "Not finished: 17 % of 6 steps" in (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert not (tmp_path / "run" / "model").exists()
    assert open_model(tmp_path / "run").tokenizer.vocab_size == 259, "what is there so far can be used"


def test_a_run_that_was_stopped_before_its_model_was_written_writes_it(described: Described, tmp_path: Path, said: list[str]) -> None:
    run_to_the_end(described(), tmp_path / "run")
    model, report = tmp_path / "run" / "model", tmp_path / "run" / "report.html"
    expected = sha256(model / "model.safetensors")
    shutil.rmtree(model)
    report.unlink()
    said.clear()
    run_to_the_end(described(), tmp_path / "run", resume=True)
    assert sha256(model / "model.safetensors") == expected
    assert report.is_file()
    assert any("already reached its end" in line for line in said)


def test_a_model_that_is_older_than_the_last_checkpoint_is_not_the_result(
    described: Described, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A finished run is given more steps, reaches its new end and is killed before the new model is written."""
    run_to_the_end(described(), tmp_path / "run")
    more = described(train={"steps": 8})

    def killed(run: Run) -> None:
        raise RuntimeError("killed")

    with monkeypatch.context() as patch:
        patch.setattr(finish, "write_model", killed)
        with pytest.raises(RuntimeError, match="killed"):
            train_to_the_end(start(more, tmp_path / "run", resume=True))
    run = run_to_the_end(more, tmp_path / "run", resume=True)
    assert run.step == 8
    assert torch.equal(logits(open_model(tmp_path / "run" / "model").model), logits(run.model))
    last = open_model(tmp_path / "run" / "checkpoints" / "step-00000008")
    assert torch.equal(logits(last.model), logits(run.model))


def test_the_log_is_closed_whatever_happens(described: Described, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: Any, **options: Any) -> None:
        raise RuntimeError("no")

    monkeypatch.setattr(finish, "train", fail)
    run = start(described(), tmp_path / "run")
    with pytest.raises(RuntimeError, match="no"):
        train_to_the_end(run)
    with pytest.raises(OSError, match="Bad file"):
        run.log.write(step=1)
