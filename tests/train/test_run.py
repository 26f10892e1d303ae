from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from llamarium.checkpoint import huggingface, store
from llamarium.ground import files
from llamarium.ground.config import read_yaml
from llamarium.ground.errors import BadFileError, ExistsError, NotFoundError, RecipeError, UsageError
from llamarium.models import llama
from llamarium.text.corpus import open_corpus
from llamarium.text.prepare import prepare
from llamarium.tokens import shards
from llamarium.tokens.train import bytes_tokenizer, characters_tokenizer, train_bpe
from llamarium.train.estimate import describe
from llamarium.train.loop import train
from llamarium.train.recipe import Recipe
from llamarium.train.run import Run, start

Described = Callable[..., Recipe]
TOKENIZER = bytes_tokenizer()


class Stopped(Exception):  # noqa: N818  it is what happened, not a fault
    """A run was stopped by a test."""


def begin(recipe: Recipe, folder: Path, *, stop: int | None = None, resume: bool = False) -> Run:
    """Train to the end, or until after step `stop`."""
    run = start(recipe, folder, resume=resume)

    def watch(run: Run, line: dict[str, Any]) -> None:
        torch.rand(3)  # as an objective might: else the random state of a checkpoint would be that of the start
        if run.step == stop:
            raise Stopped

    try:
        train(run, after_step=watch)
    except Stopped:
        pass
    finally:
        run.log.close()
    return run


def weights(run: Run) -> dict[str, Tensor]:
    return {name: parameter.detach().clone() for name, parameter in run.model.named_parameters()}


def same(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def opened(recipe: Recipe, folder: Path, **options: Any) -> Run:
    run = start(recipe, folder, **options)
    run.log.close()
    return run


# --- A new run --------------------------------------------------------------------------------------------------------


def test_a_new_run_stands_before_its_first_step(described: Described, tmp_path: Path) -> None:
    run = opened(described(), tmp_path / "run")
    assert (run.step, run.samples_consumed, run.tokens, run.seconds, run.share()) == (0, 0, 0, 0.0, 0.0)
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["log.jsonl", "recipe.yaml", "tokenizer", "tokens"]
    assert run.tokenizer.sha256 == TOKENIZER.sha256
    assert run.model.config.vocab_size == TOKENIZER.vocab_size
    assert run.model.config.context_length == 32
    assert all(parameter.dtype == torch.float32 for parameter in run.model.parameters())


def test_the_resolved_recipe_is_in_the_run(described: Described, tmp_path: Path) -> None:
    run = opened(described(train={"precision": "auto"}), tmp_path / "run")
    values = read_yaml(tmp_path / "run" / "recipe.yaml")
    assert values["train"]["precision"] in ("float32", "bfloat16"), "what was measured is written down"
    assert values["optimizer"]["betas"] == [0.9, 0.95]
    assert values == json.loads(run.recipe.model_dump_json(by_alias=True, exclude_none=True))


def test_the_seed_decides_the_weights_and_nothing_else_does(described: Described, tmp_path: Path) -> None:
    """Measuring which number type is fast draws numbers; a run that is resumed before its first checkpoint does not measure."""
    first = weights(opened(described(train={"precision": "float32"}), tmp_path / "a"))
    torch.rand(7)
    assert same(first, weights(opened(described(train={"precision": "auto"}), tmp_path / "b")))
    assert same(first, weights(opened(described(), tmp_path / "a", resume=True)))
    assert not same(first, weights(opened(described(seed=2), tmp_path / "c")))


def test_the_size_decides_the_shape_and_fields_win_over_it(described: Described, tmp_path: Path) -> None:
    sized = {"size": "300k"}
    run = opened(described(model=sized), tmp_path / "a")
    assert 0.8 * 300_000 < run.model.num_parameters() < 1.2 * 300_000
    wider = opened(described(model={"size": "300k", "width": 96, "heads": 3}), tmp_path / "b").model.config
    assert (wider.width, wider.heads, wider.head_width, wider.layers) == (96, 3, 32, run.model.config.layers)


def test_characters_are_those_of_the_corpus(described: Described, corpus: Path, tmp_path: Path) -> None:
    run = opened(described(data={"tokenizer": "characters"}), tmp_path / "run")
    texts = [document.text for document in open_corpus(corpus).documents("train")]
    assert run.tokenizer.sha256 == characters_tokenizer(texts).sha256


def test_token_shards_are_taken_as_they_are(described: Described, tmp_path: Path) -> None:
    tokenizer = train_bpe(["the llama eats " * 9], vocab_size=270)
    tokenizer.save(tmp_path / "tok")
    shards.write_shards(tmp_path / "shards", {"train": ["the llama eats"] * 9, "valid": ["the llama"]}, tokenizer)
    data = {"corpus": str(tmp_path / "shards"), "tokenizer": str(tmp_path / "tok")}
    run = begin(described(data=data), tmp_path / "run")
    assert not (tmp_path / "run" / "tokens").exists()
    assert run.tokenizer.sha256 == tokenizer.sha256
    with pytest.raises(UsageError, match="another tokenizer"):
        start(described(data={**data, "tokenizer": "bytes"}), tmp_path / "other")
    with pytest.raises(RecipeError, match="characters"):
        start(described(data={**data, "tokenizer": "characters"}), tmp_path / "other")


def test_changed_token_shards_are_refused_at_the_start(described: Described, tmp_path: Path) -> None:
    shards.write_shards(tmp_path / "shards", {"train": ["the llama eats"] * 9}, TOKENIZER)
    path = tmp_path / "shards" / "train-00000.bin"
    path.write_bytes(path.read_bytes()[:-1] + b"\x01")
    with pytest.raises(BadFileError, match=r"train-00000\.bin"):
        start(described(data={"corpus": str(tmp_path / "shards")}), tmp_path / "run")


@pytest.mark.parametrize(
    ("sections", "error", "said"),
    [
        ({"model": {"vocab_size": 100}}, RecipeError, "vocab_size 100 is less than the 259 tokens"),
        ({"model": {"layers": 10**9}}, RecipeError, "1,000,000,000 layers"),
        ({"model": {"heads": 0}}, RecipeError, "model: "),
        ({"model": {"heads": 3}}, RecipeError, "model: "),
        ({"model": {"width": "wide"}}, RecipeError, "model: width"),
        ({"model": {"context_length": 31}}, RecipeError, "sequence_length 32 is more than the model's context of 31"),
        ({"model": {"size": "1"}}, RecipeError, "no shape"),
        ({"model": {"family": "ngram", "size": "10M"}}, RecipeError, "fitted to all of its text at once"),
        ({"data": {"tokenizer": "no/such/folder"}}, NotFoundError, "tokenizer"),
        ({"data": {"corpus": "no/such/folder"}}, NotFoundError, "no/such/folder"),
        ({"model": {"from": "no-such-model"}}, NotFoundError, "no-such-model"),
        ({"train": {"device": "gpu"}}, UsageError, "gpu"),
    ],
)
def test_what_cannot_be_is_said_before_anything_is_written(
    described: Described, tmp_path: Path, sections: dict[str, Any], error: type[Exception], said: str
) -> None:
    with pytest.raises(error) as caught:
        start(described(**sections), tmp_path / "run")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_an_existing_run_is_not_begun_again(described: Described, tmp_path: Path) -> None:
    opened(described(), tmp_path / "run")
    with pytest.raises(ExistsError, match="exists") as caught:
        start(described(), tmp_path / "run")
    assert caught.value.exit_code == 2
    assert "--resume" in caught.value.hint


def test_a_folder_of_somebody_else_is_left_as_it_is(described: Described, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    (folder / "tokens").mkdir(parents=True)
    for name in ("tokens/mine", "letter.txt", f"{files.TEMPORARY}12345678-mine"):
        (folder / name).write_text("mine")
    for resume in (False, True):
        with pytest.raises(ExistsError, match=r"letter\.txt"):
            start(described(), folder, resume=resume)
    assert sorted(path.name for path in folder.rglob("*")) == [f"{files.TEMPORARY}12345678-mine", "letter.txt", "mine", "tokens"]
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ExistsError, match="is a file"):
        start(described(), tmp_path / "file")


@pytest.mark.parametrize("resume", [False, True])
def test_a_start_that_was_killed_is_begun_again(described: Described, tmp_path: Path, resume: bool) -> None:
    """Killed before the recipe was written: tokens, a tokenizer and temporary files may be there."""
    folder = tmp_path / "run"
    (folder / "tokens").mkdir(parents=True)
    (folder / "tokens" / "train-00007.bin").write_bytes(b"old")
    (folder / "tokens" / f"{files.TEMPORARY}12345678-index.json").write_bytes(b"{")
    (folder / f"{files.TEMPORARY}12345678-recipe.yaml").write_text("name: ")
    characters_tokenizer(["abc"]).save(folder / "tokenizer")
    run = begin(described(), folder, resume=resume)
    assert run.step == 6
    assert not list(folder.rglob(f"{files.TEMPORARY}*"))
    assert sorted(path.name for path in (folder / "tokens").iterdir()) == ["index.json", "train-00000.bin", "valid-00000.bin"]
    assert same(weights(run), weights(begin(described(), tmp_path / "other")))


def test_a_tokenizer_that_lies_in_the_runs_folder_may_be_the_one_to_use(described: Described, tmp_path: Path) -> None:
    tokenizer = train_bpe(["the llama eats " * 9], vocab_size=270)
    tokenizer.save(tmp_path / "run" / "tokenizer")
    run = opened(described(data={"tokenizer": str(tmp_path / "run" / "tokenizer")}), tmp_path / "run")
    assert run.tokenizer.sha256 == tokenizer.sha256


# --- A resumed run ----------------------------------------------------------------------------------------------------


def test_a_resumed_run_stands_where_its_checkpoint_was(described: Described, tmp_path: Path) -> None:
    begin(described(), tmp_path / "run", stop=5)
    run = opened(described(), tmp_path / "run", resume=True)
    held = store.read(tmp_path / "run" / "checkpoints" / "step-00000004")
    assert (run.step, run.samples_consumed) == (4, 16)
    assert run.tokens == held.state["tokens"]
    assert run.seconds == held.state["seconds"] > 0
    assert same(weights(run), held.weights)
    assert torch.equal(torch.get_rng_state(), held.optimizer["random.cpu"])
    assert [line["step"] for line in map(json.loads, (tmp_path / "run" / "log.jsonl").read_bytes().splitlines())] == [1, 2, 2, 3, 4, 4]


def test_where_there_is_no_run_resume_begins_one(described: Described, tmp_path: Path) -> None:
    assert begin(described(), tmp_path / "run", resume=True).step == 6


@pytest.mark.parametrize("stop", [1, 2, 3, 5])
def test_resumed_runs_end_like_others(described: Described, tmp_path: Path, stop: int) -> None:
    whole = begin(described(), tmp_path / "whole")
    begin(described(), tmp_path / "run", stop=stop)
    torch.rand(stop)
    assert same(weights(begin(described(), tmp_path / "run", resume=True)), weights(whole))


def test_a_run_may_be_given_more_steps(described: Described, tmp_path: Path) -> None:
    begin(described(), tmp_path / "run")
    more = described(train={"steps": 8})
    run = begin(more, tmp_path / "run", resume=True)
    assert run.step == 8
    assert read_yaml(tmp_path / "run" / "recipe.yaml")["train"]["steps"] == 8, "the recipe on disk is the one that ran"
    assert begin(more, tmp_path / "run", resume=True).step == 8


@pytest.mark.parametrize(
    ("sections", "key"),
    [
        ({"seed": 2}, "seed"),
        ({"data": {"tokenizer": "characters"}}, "data"),
        ({"model": {"layers": 2}}, "model"),
        ({"optimizer": {"warmup": 0.5}}, "optimizer"),
        ({"train": {"batch_tokens": 160}}, "train.batch_tokens"),
        ({"train": {"micro_batch_tokens": 64}}, "train.micro_batch_tokens"),
        ({"train": {"sequence_length": 16}}, "train.sequence_length"),
        ({"train": {"precision": "bfloat16"}}, "train.precision"),
    ],
)
def test_what_decides_the_weights_must_not_change(described: Described, tmp_path: Path, sections: dict[str, Any], key: str) -> None:
    opened(described(), tmp_path / "run")
    with pytest.raises(RecipeError, match=f"`{key}` is not what this run began with"):
        start(described(**sections), tmp_path / "run", resume=True)


def test_what_does_not_may(described: Described, tmp_path: Path) -> None:
    opened(described(), tmp_path / "run")
    other = described(train={"save_every": 3, "keep": 1, "validate_every": 1, "learning_rate": 1e-4, "precision": "auto"})
    assert opened(other, tmp_path / "run", resume=True).recipe.train.save_every == 3


@pytest.fixture
def stopped(described: Described, tmp_path: Path) -> Path:
    """A run that was stopped after step 5."""
    begin(described(), tmp_path / "run", stop=5)
    return tmp_path / "run"


def everything(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def refused(recipe: Recipe, run: Path, error: type[UsageError | BadFileError]) -> str:
    """The sentence with which a resume is refused; it must leave everything as it was, the log and the checkpoints, too."""
    before = everything(run)
    with pytest.raises(error) as caught:
        start(recipe, run, resume=True)
    assert everything(run) == before
    return caught.value.message


@pytest.mark.parametrize("name", ["train-00000.bin", "valid-00000.bin"])
def test_one_changed_byte_of_the_tokens_is_refused_by_name(described: Described, stopped: Path, name: str) -> None:
    path = stopped / "tokens" / name
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    assert str(path) in refused(described(), stopped, BadFileError)


def test_tokens_that_were_made_anew_are_refused(described: Described, stopped: Path) -> None:
    """Their index fits them; it is the checkpoint that knows better."""
    shutil.rmtree(stopped / "tokens")
    shards.write_shards(stopped / "tokens", {"train": ["another text"] * 20, "valid": []}, TOKENIZER)
    assert "the training data is not what this run began with" in refused(described(), stopped, UsageError)


def test_moved_borders_of_documents_are_refused(described: Described, stopped: Path) -> None:
    """No token has changed, and yet other rows would be trained on."""
    path = stopped / "tokens" / "index.json"
    index = json.loads(path.read_text())
    offsets = next(shard for shard in index["shards"] if shard["split"] == "train")["offsets"]
    offsets[1] += 1
    path.write_text(json.dumps(index))
    assert "the training data is" in refused(described(), stopped, UsageError)


def test_another_tokenizer_is_refused(described: Described, stopped: Path) -> None:
    characters_tokenizer(["abc"]).save(stopped / "tokenizer")
    assert "another tokenizer" in refused(described(), stopped, UsageError)


def test_a_changed_index_and_tokenizer_that_fit_each_other_are_refused(described: Described, stopped: Path) -> None:
    path = stopped / "tokenizer" / "tokenizer.json"
    path.write_text(path.read_text() + "\n")
    index = json.loads((stopped / "tokens" / "index.json").read_text())
    index["tokenizer_sha256"] = files.sha256(path)
    (stopped / "tokens" / "index.json").write_text(json.dumps(index))
    assert "the tokenizer is not what this run began with" in refused(described(), stopped, UsageError)


def test_a_checkpoint_of_another_model_is_refused(described: Described, stopped: Path) -> None:
    held = store.read(stopped / "checkpoints" / "step-00000004")
    weights = {f"other.{name}": tensor for name, tensor in held.weights.items()}
    store.write(stopped / "checkpoints", 5, weights=weights, optimizer=held.optimizer, state=held.state)
    assert "other weights" in refused(described(), stopped, BadFileError)


def test_what_a_killed_process_left_is_removed(described: Described, stopped: Path) -> None:
    for place in (stopped, stopped / "checkpoints"):
        (place / f"{files.TEMPORARY}12345678-model").mkdir()
        (place / f"{files.TEMPORARY}12345678-model" / "model.safetensors").write_bytes(b"half")
    for step in (1, 2, 3):  # and older checkpoints, where it was killed while it removed them
        store.write(stopped / "checkpoints", step, weights={}, optimizer={}, state={})
    opened(described(), stopped, resume=True)
    assert not list(stopped.rglob(f"{files.TEMPORARY}*"))
    assert [path.name for path in store.steps(stopped / "checkpoints")] == ["step-00000004", "step-00000003"]


def test_a_checkpoint_that_was_set_aside_gets_its_name_back(described: Described, stopped: Path) -> None:
    """Killed between two renames, where the system cannot exchange two names in one step."""
    path = stopped / "checkpoints" / "step-00000004"
    path.rename(path.with_name(f"{files.OLD}12345678-{path.name}"))
    assert opened(described(), stopped, resume=True).step == 4


# --- LoRA -------------------------------------------------------------------------------------------------------------


def save_base(folder: Path, seed: int) -> None:
    torch.manual_seed(seed)
    base = llama.Model(llama.Config(vocab_size=TOKENIZER.vocab_size, width=16, layers=1, heads=1, context_length=32))
    base.initialize()
    huggingface.save_folder(folder, base, TOKENIZER)


@pytest.fixture
def thin(described: Described, tmp_path: Path) -> Recipe:
    """A recipe for LoRA."""
    save_base(tmp_path / "base", 3)
    return described(model={"from": str(tmp_path / "base")}, data={"tokenizer": None}, lora={"rank": 2})


def test_only_thin_matrices_learn_and_are_saved(thin: Recipe, tmp_path: Path) -> None:
    run = begin(thin, tmp_path / "run", stop=2)
    names = [f"blocks.0.attention.{name}.{part}" for name in ("q_proj", "v_proj") for part in "AB"]
    assert sorted(run.learning()) == names
    held = store.read(tmp_path / "run" / "checkpoints" / "step-00000002")
    assert sorted(held.weights) == names
    assert "model" not in held.state
    frozen = {name: parameter for name, parameter in run.model.named_parameters() if not parameter.requires_grad}
    assert same(frozen, {name: parameter for name, parameter in opened(thin, tmp_path / "new").model.named_parameters() if name in frozen})


def test_lora_on_another_base_is_refused(thin: Recipe, tmp_path: Path) -> None:
    begin(thin, tmp_path / "run", stop=5)
    shutil.rmtree(tmp_path / "base")
    save_base(tmp_path / "base", 4)
    assert "the model it starts from is not what this run began with" in refused(thin, tmp_path / "run", UsageError)


def test_a_tokenizer_beside_a_model_must_be_its_own(described: Described, thin: Recipe, tmp_path: Path) -> None:
    model = {"from": str(tmp_path / "base")}
    assert opened(described(model=model, data={"tokenizer": "bytes"}), tmp_path / "a").tokenizer.sha256 == TOKENIZER.sha256
    with pytest.raises(RecipeError, match="not the tokenizer of"):
        start(described(model=model, data={"tokenizer": "characters"}), tmp_path / "b")
    with pytest.raises(RecipeError, match="more than the model's context"):
        start(described(model=model, data={"tokenizer": None}, train={"sequence_length": 64}), tmp_path / "b")


def test_a_target_that_is_no_layer_is_refused(described: Described, thin: Recipe, tmp_path: Path) -> None:
    model = {"from": str(tmp_path / "base")}
    with pytest.raises(UsageError, match="q_prj") as caught:
        start(described(model=model, data={"tokenizer": None}, lora={"targets": ["q_prj"]}), tmp_path / "run")
    assert caught.value.hint == "Did you mean 'q_proj'?"
    assert not (tmp_path / "run" / "recipe.yaml").exists()


# --- A dry run --------------------------------------------------------------------------------------------------------


def test_a_dry_run_says_what_will_be_and_writes_nothing(described: Described, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    first = describe(described())
    run = opened(described(), tmp_path / "run")
    assert describe(described(), run)[:2] == first[:2]
    assert f"{run.model.num_parameters():,} weights" in first[0]
    assert "6 steps, 768 tokens; 128 tokens a step in sequences of 32" in first[1]
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_a_dry_run_of_a_model_that_would_not_fit_takes_no_memory(described: Described, monkeypatch: pytest.MonkeyPatch) -> None:
    devices: list[str] = []
    monkeypatch.setattr(llama.Model, "initialize", lambda model: devices.append(next(model.parameters()).device.type))
    describe(described(model={"size": "300k"}))
    assert devices == ["meta"]  # before the large one is tried
    assert 65e9 < int(describe(described(model={"size": "70B"}))[0].split()[2].replace(",", "")) < 75e9


def test_a_dry_run_of_an_adapter(thin: Recipe) -> None:
    assert "128 of them learn" in describe(thin)[0]


# --- Resumed with other text ------------------------------------------------------------------------------------------


def test_a_corpus_that_was_prepared_anew_does_not_change_a_run_that_has_its_tokens(described: Described, tmp_path: Path) -> None:
    (tmp_path / "text").mkdir()
    for number in range(9):
        (tmp_path / "text" / f"{number}.txt").write_text(f"The llama number {number} eats grass, and then it sleeps for {number} hours.")
    prepare([tmp_path / "text"], tmp_path / "own")
    recipe = described(data={"corpus": str(tmp_path / "own")})
    whole = begin(recipe, tmp_path / "whole")
    begin(recipe, tmp_path / "run", stop=3)
    (tmp_path / "text" / "more.txt").write_text("There is more to say about sheep and about goats, and about the snow on the road.")
    prepare([tmp_path / "text"], tmp_path / "own", force=True)
    assert same(weights(begin(recipe, tmp_path / "run", resume=True)), weights(whole))
