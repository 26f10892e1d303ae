"""P5: another number of processes keeps the exact global order of samples; in float64 the losses agree within 1e-8."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from llamarium.text.prepare import prepare

STEPS = 200
TURN = 7  # steps until another number of processes goes on; two batches among the first are skipped
CLOSE = 1e-8
SENTENCES = ("the llama eats green grass", "the old shepherd follows the river", "an alpaca fears the snow", "my sheep keeps warm")
Processes = Any  # the fixture of this name, tests/conftest.py


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a corpus of so few rows that 200 steps pass over it several times."""
    folder = tmp_path_factory.mktemp("worlds")
    (folder / "text").mkdir()
    draw = random.Random(1)
    for number in range(16):
        lines = [f"{draw.choice(SENTENCES).capitalize()}, {draw.randrange(1000)} times." for _ in range(draw.randrange(3, 10))]
        (folder / "text" / f"{number:02}.txt").write_text("\n".join(lines), encoding="utf-8")
    prepare([folder / "text"], folder / "corpus")
    return folder


def recipe(place: Path, name: str, **train: Any) -> dict[str, Any]:
    return {
        "name": name,
        "data": {"corpus": str(place / "corpus"), "tokenizer": "bytes"},
        "model": {"layers": 1, "width": 16, "heads": 2, "hidden_width": 32},
        "train": {
            "objective": "poisoned",
            "steps": STEPS,
            "batch_tokens": 160,  # five rows: two processes have unequally many, and of eight some have none
            "micro_batch_tokens": 64,
            "sequence_length": 32,
            "save_every": 40,
            "validate_every": 1000,
            "validation_tokens": 100,
            "precision": "float64",
            "compile": False,
            **train,
        },
        "optimizer": {"schedule": "constant", "warmup": 0},  # so that a run may be lengthened
    }


def losses(place: Path, name: str) -> dict[int, float]:
    lines = [json.loads(line) for line in (place / "runs" / name / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    return {line["step"]: line["loss"] for line in lines if "loss" in line}


def trained(
    processes: Processes, place: Path, name: str, size: int, *, patches: tuple[str, ...] = (), resume: bool = False, **train: Any
) -> tuple[list[list[str]], dict[int, float]]:
    """The rows of each batch that were read, in the order of their samples, and the losses of the log."""
    said = processes.run(
        "train", place, size=size, patches=("poisoned batches", *patches), recipe=recipe(place, name, **train), resume=resume
    )
    wrong = [each for each in said if not isinstance(each, dict) or "read" not in each]
    assert not wrong, wrong
    # Sample k of a batch is read by process k mod size.
    batches = zip(*(each["read"] for each in said), strict=True)
    whole = [[rows[k % size][k // size] for k in range(sum(map(len, rows)))] for rows in batches]
    return whole, losses(place, name)


@pytest.fixture(scope="module")
def alone(processes: Processes, place: Path) -> tuple[list[list[str]], dict[int, float]]:
    return trained(processes, place, "alone", 1)


def assert_same(found: tuple[list[list[str]], dict[int, float]], expected: tuple[list[list[str]], dict[int, float]], num: int) -> None:
    """The first `num` steps, those that were skipped beside them."""
    same = found[0] == expected[0][: len(found[0])] and len(found[0]) >= num
    assert same, "other rows were read"
    assert list(found[1]) == list(range(1, num + 1))
    furthest = max(abs(found[1][step] - expected[1][step]) for step in found[1])
    assert furthest < CLOSE, furthest


def test_the_run_alone_covers_what_it_is_meant_to(alone: tuple[list[list[str]], dict[int, float]]) -> None:
    rows = [row for batch in alone[0] for row in batch]
    assert len(rows) > 1.5 * len(set(rows)), "it passes an epoch's end"
    assert len(alone[0]) > STEPS, "batches were skipped"
    assert alone[1][STEPS] < alone[1][1] - 1


def test_two_processes_read_what_one_reads(processes: Processes, place: Path, alone: Any) -> None:
    assert_same(trained(processes, place, "two", 2), alone, STEPS)


@pytest.mark.parametrize("lost", ["own seed", "own rows", "mean of means"])
def test_control_another_order_is_noticed(processes: Processes, place: Path, alone: Any, lost: str) -> None:
    with pytest.raises(AssertionError, match="other rows" if lost.startswith("own") else r"\d"):
        assert_same(trained(processes, place, f"control {lost}", 2, patches=(lost,), steps=3), alone, 3)


def handed_on(
    processes: Processes, place: Path, name: str, sizes: tuple[int, ...], patches: tuple[str, ...] = ()
) -> tuple[list[list[str]], dict[int, float]]:
    """So many steps by each number of processes in turn, each going on where the one before had saved."""
    read: list[list[str]] = []
    for turn, size in enumerate(sizes):
        found, losses = trained(processes, place, name, size, patches=patches if turn else (), resume=turn > 0, steps=TURN * (turn + 1))
        read += found
    return read, losses


@pytest.mark.parametrize("sizes", [(2, 1), (1, 2)], ids=str)
def test_a_run_goes_on_with_another_number_of_processes(processes: Processes, place: Path, alone: Any, sizes: tuple[int, ...]) -> None:
    assert_same(handed_on(processes, place, f"handed {sizes}", sizes), alone, TURN * len(sizes))


@pytest.mark.parametrize("lost", ["moments", "data position"])
def test_control_what_is_not_handed_on_is_noticed(processes: Processes, place: Path, alone: Any, lost: str) -> None:
    with pytest.raises(AssertionError, match="other rows" if lost == "data position" else r"\d"):
        assert_same(handed_on(processes, place, f"lost {lost}", (2, 1), patches=(lost,)), alone, 2 * TURN)


@pytest.mark.slow
@pytest.mark.parametrize(("size", "shard"), [(2, 1), (4, 1), (4, 2), (4, 4), (8, None)], ids=str)
def test_any_number_of_processes_however_the_weights_are_spread(
    processes: Processes, place: Path, alone: Any, size: int, shard: int | None
) -> None:
    assert_same(trained(processes, place, f"{size} by {shard}", size, shard=shard), alone, STEPS)


@pytest.mark.slow
@pytest.mark.parametrize("sizes", [(4, 2, 1), (1, 4, 2), (4, 8, 3)], ids=str)
def test_saved_by_four_it_goes_on_with_two_and_alone(processes: Processes, place: Path, alone: Any, sizes: tuple[int, ...]) -> None:
    assert_same(handed_on(processes, place, f"handed {sizes}", sizes), alone, TURN * len(sizes))


@pytest.mark.slow
def test_sets_of_copies_hand_on_what_all_hold(processes: Processes, place: Path, alone: Any) -> None:
    """Two copies over two processes each: one of them is saved, and both are restored."""
    read, _ = trained(processes, place, "copies", 4, steps=TURN, shard=2)
    more, losses = trained(processes, place, "copies", 4, steps=2 * TURN, resume=True, shard=2)
    assert_same((read + more, losses), alone, 2 * TURN)
