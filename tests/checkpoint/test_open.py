from __future__ import annotations

import json
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from llamarium.adapt import lora
from llamarium.checkpoint import huggingface, peft, store
from llamarium.checkpoint.open import open_model, open_tokenizer
from llamarium.ground import files
from llamarium.ground.errors import BadFileError, NotFoundError
from llamarium.models import llama
from llamarium.models.context import Dense
from llamarium.models.model import Model
from llamarium.tokens.train import bytes_tokenizer, characters_tokenizer

IDS = torch.arange(12)[None]
TOKENIZER = bytes_tokenizer()
STATE = {"step": 3, "tokenizer_sha256": TOKENIZER.sha256}


def model(seed: int = 0) -> llama.Model:
    torch.manual_seed(seed)
    made = llama.Model(llama.Config(vocab_size=TOKENIZER.vocab_size, width=16, layers=2, heads=2, context_length=32))
    made.initialize()
    return made


def logits(of: Model) -> Tensor:
    with torch.inference_mode():
        found: Tensor = of(IDS, Dense(IDS))
    return found


def describe(of: Model) -> dict[str, Any]:
    return {"family": "llama", "config": asdict(of.config)}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A Hugging Face folder."""
    huggingface.save_folder(tmp_path / "base", model(), TOKENIZER)
    return tmp_path / "base"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run with checkpoints of steps 1 to 3 and no model yet; the weights of step n were drawn with the seed n."""
    for step in (1, 2, 3):
        drawn = model(step)
        state = STATE | {"step": step, "model": describe(drawn)}
        store.write(tmp_path / "run" / "checkpoints", step, weights=dict(drawn.named_parameters()), optimizer={}, state=state)
    TOKENIZER.save(tmp_path / "run" / "tokenizer")
    return tmp_path / "run"


def test_a_hugging_face_folder(folder: Path) -> None:
    opened = open_model(folder)
    assert torch.equal(logits(opened.model), logits(model()))
    assert opened.name == str(folder)
    assert not opened.model.training
    assert opened.tokenizer.sha256 == TOKENIZER.sha256
    assert opened.stop_ids == TOKENIZER.stop_ids


def test_the_files_may_name_more_ids_to_stop_at(folder: Path) -> None:
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": [7, 9]}))
    assert open_model(folder).stop_ids == TOKENIZER.stop_ids | {7, 9}


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_weights_have_the_type_that_was_asked_for(folder: Path, run: Path, dtype: torch.dtype) -> None:
    for name in (folder, run):
        opened = open_model(name, dtype=dtype, device=torch.device("cpu"))
        assert {parameter.dtype for parameter in opened.model.parameters()} == {dtype}


def test_a_run_is_its_model_once_there_is_one(run: Path) -> None:
    assert torch.equal(logits(open_model(run).model), logits(model(3)))
    huggingface.save_folder(run / "model", model(7), TOKENIZER)
    assert torch.equal(logits(open_model(run).model), logits(model(7)))


def test_a_checkpoint_by_its_own_path(run: Path) -> None:
    assert torch.equal(logits(open_model(run / "checkpoints" / "step-00000002").model), logits(model(2)))


def test_a_checkpoint_with_another_tokenizer_is_refused(run: Path) -> None:
    """The tokenizer lies beside the checkpoints, where no manifest covers it; other ids would make the model talk nonsense."""
    characters_tokenizer(["abc"]).save(run / "tokenizer")
    with pytest.raises(BadFileError, match="not the tokenizer"):
        open_model(run)


def test_a_checkpoint_of_an_adapter_is_no_model(run: Path) -> None:
    store.write(run / "checkpoints", 4, weights={}, optimizer={}, state=STATE)
    with pytest.raises(BadFileError, match="whole model") as caught:
        open_model(run)
    assert "LoRA" in caught.value.hint


@pytest.mark.parametrize(
    "described",
    [
        {"family": "lama", "config": {}},
        {"family": ["llama"], "config": {}},
        {"family": "llama"},
        {"family": "llama", "config": None},
        {"family": "llama", "config": {"vocab_size": "many"}},
        {"family": "llama", "config": {"vocab_size": 9, "heads": 0}},
        {"family": "llama", "config": {"vocab_size": 9, "colour": "red"}},
        {"family": "llama", "config": {"vocab_size": 9, "layers": 10**9}},
        {"family": "llama", "config": {"vocab_size": 9, "width": 10**12}},
        {"family": "llama", "config": {"vocab_size": 9, "window": -1}},
    ],
    ids=str,
)
def test_a_checkpoint_that_describes_nonsense_is_a_bad_file(tmp_path: Path, described: dict[str, Any]) -> None:
    path = store.write(tmp_path, 1, weights=dict(model().named_parameters()), optimizer={}, state=STATE | {"model": described})
    with pytest.raises(BadFileError):
        open_model(path)


def learnt(base: llama.Model) -> llama.Model:
    lora.add(base, rank=2, alpha=4, targets=["q_proj", "up_proj"])
    for parameter in base.parameters():
        if parameter.requires_grad:
            nn.init.normal_(parameter, std=0.3)
    return base


def save_adapter(path: Path, base: Path, thin: llama.Model) -> Path:
    peft.save_adapter(path, thin, base=str(base), rank=2, alpha=4)
    return path


def test_an_adapter_is_its_base_with_it_folded_in(tmp_path: Path, folder: Path) -> None:
    thin = learnt(model())
    opened = open_model(save_adapter(tmp_path / "adapter", folder, thin))
    torch.testing.assert_close(logits(opened.model), logits(thin), rtol=1e-5, atol=1e-6)
    assert (logits(opened.model) - logits(model())).abs().max() > 0.01
    assert opened.tokenizer.sha256 == TOKENIZER.sha256


def test_an_adapter_on_an_adapter_and_on_a_run(tmp_path: Path, run: Path) -> None:
    first = learnt(model(3))
    save_adapter(tmp_path / "first", run, first)
    lora.fuse(first)
    second = learnt(first)
    save_adapter(tmp_path / "second", tmp_path / "first", second)
    torch.testing.assert_close(logits(open_model(tmp_path / "second").model), logits(second), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("length", [1, 2, 3])
def test_an_adapter_that_is_its_own_base_is_refused(tmp_path: Path, length: int) -> None:
    for number in range(length):
        save_adapter(tmp_path / f"{number}", tmp_path / f"{(number + 1) % length}", learnt(model()))
    with pytest.raises(BadFileError, match="its own base"):
        open_model(tmp_path / "0")


def test_an_adapter_without_its_base_says_what_is_missing(tmp_path: Path, folder: Path) -> None:
    save_adapter(tmp_path / "adapter", folder, learnt(model()))
    shutil.rmtree(folder)
    with pytest.raises(NotFoundError, match="base"):
        open_model(tmp_path / "adapter")


def test_a_gguf_of_a_family_that_nobody_reads_is_refused(tmp_path: Path) -> None:
    header = b"GGUF" + (3).to_bytes(4, "little") + (0).to_bytes(8, "little") + (1).to_bytes(8, "little")
    key, value = b"general.architecture", b"whale"
    entry = len(key).to_bytes(8, "little") + key + (8).to_bytes(4, "little") + len(value).to_bytes(8, "little") + value
    (tmp_path / "x.gguf").write_bytes(header + entry + bytes(-(len(header) + len(entry)) % 32))
    with pytest.raises(BadFileError, match="whale"):
        open_model(tmp_path / "x.gguf")


def test_a_name_that_is_nothing_is_not_found() -> None:
    with pytest.raises(NotFoundError):
        open_model("no-such-model")


def test_a_tokenizer_alone_or_of_a_model(tmp_path: Path, folder: Path, run: Path) -> None:
    TOKENIZER.save(tmp_path / "tokenizer")
    for name in (tmp_path / "tokenizer", folder, run):
        assert open_tokenizer(name).sha256 == TOKENIZER.sha256
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadFileError):
        open_tokenizer(tmp_path / "empty")


def test_a_changed_manifest_of_a_given_checkpoint_is_refused(run: Path) -> None:
    path = run / "checkpoints" / "step-00000003"
    files.write_json(path / files.MANIFEST, {"files": {"state.json": {"size": 1, "sha256": ""}}})
    with pytest.raises(BadFileError, match=r"state\.json"):
        open_model(path)
