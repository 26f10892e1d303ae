"""What TensorBoard shows is what the log says, also after a resume and a roll-back."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from llamarium.ground.errors import MissingExtraError
from llamarium.train import tensorboard
from llamarium.train.log import read
from llamarium.train.loop import train
from llamarium.train.recipe import Recipe
from llamarium.train.run import start

pytest.importorskip("tensorboard")

Described = Callable[..., Recipe]
WATCHED = {"steps": 4, "save_every": 2, "tensorboard": True}


def shown(folder: Path) -> Any:
    """The run as TensorBoard reads it."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(folder / tensorboard.FOLDER))
    found.Reload()
    return found


def scalars(folder: Path, name: str) -> list[tuple[int, Any]]:
    return [(point.step, point.value) for point in shown(folder).Scalars(name)]


def test_a_run_is_shown_as_it_is_logged(described: Described, tmp_path: Path) -> None:
    run = start(described(train=WATCHED), tmp_path / "run")
    train(run, speak=lambda run: "羊驼 says hello")
    run.log.close()
    lines = read(tmp_path / "run" / "log.jsonl")
    steps = [line for line in lines if "event" not in line]
    for key in ("loss", "learning_rate", "gradient_norm", "tokens", "seconds"):
        assert scalars(tmp_path / "run", f"train/{key}") == [(line["step"], pytest.approx(line[key], rel=1e-6)) for line in steps]
    assert [step for step, _ in scalars(tmp_path / "run", "train/bits_per_byte")] == [2, 4]
    norms = [line for line in lines if line.get("event") == "norms"]
    for side, name in enumerate(("weight_norm", "gradient_norm")):
        wanted = [(line["step"], pytest.approx(line["detail"]["blocks.0"][side], rel=1e-6)) for line in norms]
        assert len(wanted) == 2
        assert scalars(tmp_path / "run", f"{name}/blocks.0") == wanted
    texts = shown(tmp_path / "run").Tensors("sample/text_summary")
    assert [text.tensor_proto.string_val[0].decode() for text in texts] == ["羊驼 says hello"] * 2


def test_what_a_resume_forgets_is_not_shown(described: Described, tmp_path: Path) -> None:
    class Stop(Exception):  # noqa: N818
        pass

    def stop(run: Any, line: dict[str, Any]) -> None:
        if line["step"] == 3:  # a step beyond the checkpoint
            raise Stop

    first = start(described(train=WATCHED), tmp_path / "run")
    with pytest.raises(Stop):
        train(first, after_step=stop)
    assert [step for step, _ in scalars(tmp_path / "run", "train/loss")] == [1, 2, 3]
    first.log.close()
    second = start(described(train=WATCHED), tmp_path / "run", resume=True)
    train(second)
    second.log.close()
    assert [step for step, _ in scalars(tmp_path / "run", "train/loss")] == [1, 2, 3, 4]


def test_what_a_roll_back_takes_away_is_not_shown(tmp_path: Path) -> None:
    show = tensorboard.listener(tmp_path)
    for step in (1, 2, 3):
        show({"step": step, "loss": 1.0})
    show({"step": 1, "event": "roll-back", "detail": {"samples": [4]}})
    show({"step": 2, "loss": 0.5})
    assert scalars(tmp_path, "train/loss") == [(1, 1.0), (2, 0.5)]
    assert shown(tmp_path).Tensors("roll-back/text_summary")[0].step == 1


def test_without_tensorboard_the_extra_is_named_and_no_run_begins(
    described: Described, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(MissingExtraError) as caught:
        start(described(train=WATCHED), tmp_path / "run")
    assert "llamarium[tensorboard]" in caught.value.hint
    start(described(train=WATCHED | {"tensorboard": False}), tmp_path / "run")  # the folder is free
