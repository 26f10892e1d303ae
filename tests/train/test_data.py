from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from llamarium.checkpoint import store
from llamarium.ground.errors import BadFileError, RecipeError, UsageError
from llamarium.text.corpus import open_corpus
from llamarium.text.prepare import prepare
from llamarium.tokens import shards
from llamarium.tokens.packing import IGNORED
from llamarium.tokens.tokenizer import Tokenizer
from llamarium.tokens.train import bytes_tokenizer
from llamarium.train import log
from llamarium.train import recipe as recipes
from llamarium.train.loop import train
from llamarium.train.recipe import Recipe
from llamarium.train.run import Run, start

Described = Callable[..., Recipe]
TOKENIZER = bytes_tokenizer()
WORDS = ("grass", "road", "river", "snow", "hay", "sheep", "wool", "mountain", "cloud", "bell")


class Stopped(Exception):  # noqa: N818  it is what happened, not a fault
    """A run was stopped by a test."""


def made(folder: Path, letter: str, numbers: range) -> Path:
    """A corpus at `folder`; its documents have the letter all over them, and more of them may join."""
    (folder / "text").mkdir(parents=True, exist_ok=True)
    for number in numbers:
        lines = [
            f"{letter}{number} {WORDS[(number * line + line) % 10]} {WORDS[number * (line + 3) % 10]}{line}{letter}" for line in range(6)
        ]
        (folder / "text" / f"{number:03}.txt").write_text("\n".join(lines))
    prepare([folder / "text"], folder / "corpus", force=True)
    return folder / "corpus"


def trained(recipe: Recipe, folder: Path, *, stop: int | None = None, resume: bool = False) -> tuple[Run, list[int]]:
    """The run, and the samples that were read."""
    run = start(recipe, folder, resume=resume)
    read: list[int] = []
    take = run.order.take

    def watch(numbers: Iterable[int]) -> Any:
        read.extend(numbers)
        return take(numbers)

    run.order.take = watch  # type: ignore[method-assign]

    def halt(run: Run, line: dict[str, Any]) -> None:
        if run.step == stop:
            raise Stopped

    try:
        train(run, after_step=halt)
    except Stopped:
        pass
    finally:
        run.log.close()
    return run, read


def opened(recipe: Recipe, folder: Path, **options: Any) -> Run:
    run = start(recipe, folder, **options)
    run.log.close()
    return run


def events(run: Run, name: str) -> list[dict[str, Any]]:
    return [line for line in log.read(run.folder / "log.jsonl") if line.get("event") == name]


# --- Several corpora --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("three")
    return [made(folder / letter, letter, range(30 if letter == "A" else 12)) for letter in "ABC"]


def mixed(three: list[Path], *parts: dict[str, Any], **train_: Any) -> dict[str, Any]:
    return {
        "name": "mixed",
        "data": {"corpus": [{"path": str(path), **part} for path, part in zip(three, parts, strict=True)], "tokenizer": "bytes"},
        "model": {"layers": 1, "width": 16, "heads": 1},
        "train": {"steps": 5, "batch_tokens": 256, "sequence_length": 32, "precision": "float32", "compile": False, **train_},
    }


def test_weights_are_shares_of_the_tokens_that_are_seen(three: list[Path], tmp_path: Path) -> None:
    """As YAML says it, and counted by the letters that the rows hold."""
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(mixed(three, {"weight": 0.6}, {"weight": 0.3}, {"weight": 0.1})))
    run = opened(recipes.read(path), tmp_path / "run")
    seen: Counter[int] = Counter()
    whole = run.order.samples(0, 2000)
    for number in range(2000):
        source, _ = run.order.sample(number)
        seen[source] += int((whole.targets[number] != IGNORED).sum())
    total = sum(seen.values())
    for source, weight in enumerate((0.6, 0.3, 0.1)):
        assert seen[source] / total == pytest.approx(weight, rel=0.01)
    for number in range(0, 200, 7):
        source, _ = run.order.sample(number)
        text = TOKENIZER.decode_bytes(whole.inputs[number].tolist(), skip_special=True).decode()
        assert set(text) & set("ABC") == {"ABC"[source]}
    assert sorted(path.name for path in (tmp_path / "run" / "tokens").iterdir()) == ["00", "01", "02"]


def test_a_corpus_is_not_repeated_more_often_than_it_may_be(three: list[Path], tmp_path: Path) -> None:
    recipe = recipes.build(mixed(three, {}, {"max_epochs": 2}, {"max_epochs": 1.5}, steps=100))
    run = opened(recipe, tmp_path / "run")
    counts = Counter(run.order.sample(number) for number in range(3000))
    assert max(count for (source, _), count in counts.items() if source == 1) == 2
    assert max(count for (source, _), count in counts.items() if source == 2) == 2
    rows = run.data.sources[2].rows.row_starts[-1]
    assert sum(count for (source, _), count in counts.items() if source == 2) == int(1.5 * rows)


def test_a_run_ends_where_every_corpus_has_been_read_often_enough(three: list[Path], tmp_path: Path) -> None:
    recipe = recipes.build(mixed(three, {"max_epochs": 1}, {"max_epochs": 1}, {"max_epochs": 1}, steps=10**5))
    run, read = trained(recipe, tmp_path / "run")
    end = run.order.end
    assert end is not None
    assert run.step == end // 8 == run.num_steps
    assert read == list(range(8 * run.step))
    assert len({run.order.sample(number) for number in range(end)}) == end == run.order.num_rows
    assert store.steps(run.checkpoints)[0].name == f"step-{run.step:08d}"
    assert "bits_per_byte" in log.read(run.folder / "log.jsonl")[-1]


def test_mixed_runs_resume_like_others(three: list[Path], tmp_path: Path) -> None:
    recipe = recipes.build(mixed(three, {"weight": 2}, {"max_epochs": 1}, {}, steps=30, save_every=7))
    trained(recipe, tmp_path / "run", stop=17)
    resumed, read = trained(recipe, tmp_path / "run", resume=True)
    assert read[0] == 14 * 8
    whole, _ = trained(recipe, tmp_path / "whole")
    other = dict(whole.model.named_parameters())
    assert all(torch.equal(parameter, other[name]) for name, parameter in resumed.model.named_parameters())


def test_corpora_must_be_what_they_were(three: list[Path], tmp_path: Path) -> None:
    recipe = recipes.build(mixed(three, {}, {}, {}))
    trained(recipe, tmp_path / "run")
    with pytest.raises(RecipeError, match="`data` is not what this run began with"):
        start(recipes.build(mixed(three, {}, {"weight": 2}, {})), tmp_path / "run", resume=True)
    with pytest.raises(RecipeError, match="`data` is not"):
        start(recipes.build(mixed(three[:2], {}, {})), tmp_path / "run", resume=True)


def test_token_shards_and_corpora_are_not_mixed(three: list[Path], tmp_path: Path) -> None:
    shards.write_shards(tmp_path / "shards", {"train": ["some text"] * 9, "valid": []}, TOKENIZER)
    with pytest.raises(RecipeError, match="cannot be mixed"):
        start(recipes.build(mixed([three[0], tmp_path / "shards"], {}, {})), tmp_path / "run")


# --- Rows of whole documents ------------------------------------------------------------------------------------------


def test_best_fit_keeps_documents_whole(described: Described, corpus: Path, tmp_path: Path) -> None:
    recipe = described(data={"packing": "best_fit"}, train={"sequence_length": 512, "batch_tokens": 1024, "steps": 3})
    run, _ = trained(recipe, tmp_path / "run")
    texts = {document.text for document in open_corpus(corpus).documents("train")}
    assert all(len(text.encode()) < 500 for text in texts), "each fits into a row"
    rows = run.order.samples(0, run.order.num_rows)
    found = []
    for inputs, documents in zip(rows.inputs, rows.documents, strict=True):
        for document in sorted(set(documents.tolist()) - {-1}):
            found.append(TOKENIZER.decode(inputs[documents == document].tolist(), skip_special=True))
    assert len(found) == len(texts)
    assert set(found) == texts
    assert np.isfinite([line["loss"] for line in log.read(run.folder / "log.jsonl") if "loss" in line]).all()


# --- A corpus that grows ----------------------------------------------------------------------------------------------


def growing(corpus: Path, *, grow: bool = True, **train_: Any) -> Recipe:
    values = {"steps": 12, "batch_tokens": 128, "sequence_length": 32, "save_every": 4, "precision": "float32", "compile": False}
    return recipes.build(
        {
            "name": "growing",
            "data": {"corpus": str(corpus), "tokenizer": "bytes", "grow": grow},
            "model": {"layers": 1, "width": 16, "heads": 1},
            "train": values | train_,
        }
    )


def test_what_joins_a_corpus_is_read_and_nothing_is_repeated_or_lost(tmp_path: Path, said: list[str]) -> None:
    corpus = made(tmp_path / "A", "A", range(20))
    run, first = trained(growing(corpus), tmp_path / "run", stop=9)
    known = run.order.num_rows
    assert first == list(range(36))
    made(tmp_path / "A", "A", range(33))
    told = len(said)
    grown, second = trained(growing(corpus, steps=60), tmp_path / "run", resume=True)
    (event,) = events(grown, "data grew")
    assert (event["step"], event["detail"]) == (8, {"shards": [2]})
    assert any("documents join the training" in line for line in said[told:])
    assert second == list(range(32, 240)), "it goes on where it was"
    # Up to sample 32 rows are those of the old order; the rest of the epoch is what was not read, and all that is new.
    old = [run.order.sample(number) for number in range(32)]
    assert [grown.order.sample(number) for number in range(32)] == old
    rows = grown.order.num_rows
    assert rows > known
    epoch = [grown.order.sample(number)[1] for number in range(rows)]
    assert sorted(epoch) == list(range(rows))
    texts = [document.text for split in ("train", "valid") for document in open_corpus(corpus).documents(split)]
    decoded = [TOKENIZER.decode(shard.document(n).tolist(), skip_special=True) for shard in run_shards(grown) for n in range(len(shard))]
    each_once = sorted(decoded) == sorted(texts)
    assert each_once


def test_grown_runs_resume_like_others(tmp_path: Path) -> None:
    corpus = made(tmp_path / "A", "A", range(20))
    ends = (("stopped", 13), ("whole", None))
    for name, _ in ends:
        trained(growing(corpus), tmp_path / name, stop=8)
    made(tmp_path / "A", "A", range(33))
    finished = []
    for name, stop in ends:
        run, _ = trained(growing(corpus, steps=24), tmp_path / name, resume=True, stop=stop)
        if stop:
            run, _ = trained(growing(corpus, steps=24), tmp_path / name, resume=True)
        finished.append(run)
    lines = [
        [{key: value for key, value in line.items() if key != "seconds"} for line in log.read(run.folder / "log.jsonl")] for run in finished
    ]
    same = lines[0] == lines[1]
    assert same
    other = dict(finished[1].model.named_parameters())
    assert all(torch.equal(parameter, other[name]) for name, parameter in finished[0].model.named_parameters())


def test_without_being_asked_it_says_so_and_goes_on_as_it_was(tmp_path: Path, said: list[str]) -> None:
    corpus = made(tmp_path / "A", "A", range(20))
    trained(growing(corpus, grow=False), tmp_path / "run", stop=5)
    trained(growing(corpus, grow=False), tmp_path / "whole")
    made(tmp_path / "A", "A", range(33))
    run, _ = trained(growing(corpus, grow=False), tmp_path / "run", resume=True)
    assert any("documents that this run does not know; data.grow=true lets them join" in line for line in said)
    assert events(run, "data grew") == []
    held = [store.read(store.steps(tmp_path / name / "checkpoints")[0]).weights for name in ("run", "whole")]
    assert all(torch.equal(tensor, held[1][name]) for name, tensor in held[0].items())


def test_shards_that_join_a_folder_of_the_users_join_the_run_only_when_it_is_asked_to(tmp_path: Path, said: list[str]) -> None:
    texts = [f"{WORDS[number % 10]} {WORDS[number % 7]} on day {number}" for number in range(60)]
    shards.write_shards(tmp_path / "shards", {"train": texts[:40], "valid": texts[:2]}, TOKENIZER)
    trained(growing(tmp_path / "shards", grow=False), tmp_path / "run", stop=5)
    shards.append_shards(tmp_path / "shards", {"train": texts[40:]}, TOKENIZER)
    run = opened(growing(tmp_path / "shards", grow=False), tmp_path / "run", resume=True)
    assert any("1 shards that this run does not know; data.grow=true" in line for line in said)
    assert [list(segment.shards) for segment in run.order.segments] == [[1]]
    run = opened(growing(tmp_path / "shards"), tmp_path / "run", resume=True)
    assert [(segment.start, list(segment.shards)) for segment in run.order.segments] == [(0, [1]), (16, [2])]


def test_growth_that_is_interrupted_at_once_stays_in_the_log(tmp_path: Path) -> None:
    """A resume, the event, and a save of the same step: the next resume cuts the log there, and the event is still in it, once."""
    corpus = made(tmp_path / "A", "A", range(20))
    trained(growing(corpus), tmp_path / "run", stop=8)
    made(tmp_path / "A", "A", range(33))
    for _ in range(2):
        opened(growing(corpus), tmp_path / "run", resume=True)
    run = start(growing(corpus), tmp_path / "run", resume=True)
    run.save()
    run.log.close()
    run = opened(growing(corpus), tmp_path / "run", resume=True)
    assert [event["step"] for event in events(run, "data grew")] == [8]


# --- Conversations ----------------------------------------------------------------------------------------------------


def talk(number: int) -> dict[str, Any]:
    return {
        "messages": [
            {"role": "user", "content": f"What of day {number}?"},
            {"role": "assistant", "content": f"{WORDS[number % 10]}, {number}!"},
        ]
    }


def instructed(path: Path, *, length: int = 96) -> Recipe:
    return recipes.build(
        {
            "name": "instructed",
            "data": {"corpus": str(path), "tokenizer": "bytes"},
            "model": {"layers": 1, "width": 16, "heads": 1},
            "train": {
                "objective": "sft",
                "steps": 4,
                "batch_tokens": 4 * length,
                "sequence_length": length,
                "precision": "float32",
                "compile": False,
            },
        }
    )


def test_only_answers_are_learnt(tmp_path: Path) -> None:
    path = tmp_path / "talk.jsonl"
    path.write_text("\n".join(json.dumps(talk(number)) for number in range(40)))
    run, _ = trained(instructed(path), tmp_path / "run")
    rows = run.order.samples(0, run.order.num_rows)
    learnt = []
    for targets, documents in zip(rows.targets, rows.documents, strict=True):
        for document in sorted(set(documents.tolist()) - {-1}):
            ids = targets[(documents == document) & (targets != IGNORED)]
            learnt.append(TOKENIZER.decode(ids.tolist(), skip_special=False))
    answers = [talk(number)["messages"][1]["content"] for number in range(40)]
    assert all(any(text.startswith(answer) and len(text) <= len(answer) + 12 for answer in answers) for text in learnt)
    valid = [
        TOKENIZER.decode(scored.ids[1:][scored.learns[1:] != 0].tolist(), skip_special=True)
        for scored in run.validation
        if scored.learns is not None
    ]
    assert len(learnt) + len(valid) == 40
    assert {text.split("!")[0] + "!" for text in [*learnt, *valid]} == set(answers)
    assert [scored.num_bytes for scored in run.validation] == [len(text.encode()) for text in valid]
    stored = Tokenizer.load(tmp_path / "run" / "tokenizer")
    assert stored.chat_template, "the template that it was learnt with is kept"


def test_bad_lines_are_named_and_cuts_are_counted(tmp_path: Path, said: list[str]) -> None:
    path = tmp_path / "talk.jsonl"
    lines = [json.dumps(talk(number)) for number in range(30)]
    lines[3] = '{"messages": 5}'
    lines[7] = "not json"
    lines[11] = json.dumps({"messages": [{"role": "user", "content": "a question, and no answer"}]})
    lines[15] = json.dumps({"messages": [{"role": "user", "content": "Go on."}, {"role": "assistant", "content": "la " * 60}]})
    lines[20] = json.dumps({"messages": [{"role": "user", "content": "why " * 60}, {"role": "assistant", "content": "Because."}]})
    path.write_text("\n".join(lines))
    run = opened(instructed(path), tmp_path / "run")
    named = [line for line in said if "is passed over" in line]
    assert [line.split(", is passed over")[0] for line in named] == [f"talk.jsonl, record {number}" for number in (4, 8, 12)]
    (told,) = [line for line in said if line.startswith("train: ")]
    (validation,) = [line for line in said if line.startswith("valid: ")]
    both = told + validation
    assert both.count("1 cut at 97 tokens") == 1
    assert both.count("1 dropped because no answer was left") == 1
    assert all(len(shard.document(number)) <= 97 for shard in run_shards(run) for number in range(len(shard)))


def run_shards(run: Run) -> list[shards.Shard]:
    return [shard for split in shards.read_shards(run.folder / "tokens").splits.values() for shard in split]


def test_many_bad_lines_are_named_by_their_numbers(tmp_path: Path, said: list[str]) -> None:
    path = tmp_path / "talk.jsonl"
    path.write_text("\n".join("{}" if number % 2 else json.dumps(talk(number)) for number in range(40)))
    opened(instructed(path), tmp_path / "run")
    assert sum("is passed over" in line for line in said) == 5
    assert any(line.startswith("… and 15 more: records 12, 14, 16") for line in said)


def test_conversations_do_not_grow_and_that_is_said(tmp_path: Path) -> None:
    values = instructed(tmp_path / "talk.jsonl").model_dump(mode="json", by_alias=True, exclude_none=True)
    with pytest.raises(RecipeError, match=r"data\.grow: conversations are read once"):
        recipes.build(values | {"data": values["data"] | {"grow": True}})


def test_a_file_without_conversations_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "talk.jsonl"
    path.write_text('{"text": "no conversation"}\n')
    with pytest.raises(BadFileError, match="holds no conversation"):
        start(instructed(path), tmp_path / "run")
    path.write_text(json.dumps({"messages": [{"role": "user", "content": "why " * 60}, {"role": "assistant", "content": "Because."}]}))
    with pytest.raises(UsageError, match="Nothing that is learnt is within the first"):
        start(instructed(path), tmp_path / "run")
