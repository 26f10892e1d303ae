from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from llamarium.checkpoint import store
from llamarium.checkpoint.sharded import Rows
from llamarium.ground import files
from llamarium.ground.errors import BadFileError
from llamarium.ground.failpoints import VARIABLE

WEIGHTS = {"w": torch.arange(6.0).reshape(2, 3), "b": torch.tensor(1.5), "h": torch.ones(3, dtype=torch.bfloat16)}
MOMENTS = {"w.step": torch.tensor(3.0), "w.exp_avg": torch.full((2, 3), 0.25), "random.cpu": torch.arange(9, dtype=torch.uint8)}


def write(folder: Path, step: int, *, weight: float = 0.0) -> Path:
    return store.write(folder, step, weights={"w": torch.full((2,), weight or float(step))}, optimizer={}, state={"step": step})


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_checkpoint_comes_back_as_it_was(tmp_path: Path) -> None:
    path = store.write(tmp_path, 7, weights=WEIGHTS, optimizer=MOMENTS, state={"step": 7, "名": [1.5, None]})
    assert path == tmp_path / "step-00000007"
    assert names(path) == ["manifest.json", "model.safetensors", "optimizer.safetensors", "state.json"]
    found = store.read(path)
    for there, expected in ((found.weights, WEIGHTS), (found.optimizer, MOMENTS)):
        assert there.keys() == expected.keys()
        for name, tensor in expected.items():
            assert there[name].dtype == tensor.dtype
            assert torch.equal(there[name], tensor)
    assert found.state == {"step": 7, "名": [1.5, None]}
    assert files.verify_manifest(path)["step"] == 7


def test_parts_of_a_larger_tensor_are_stored_by_themselves(tmp_path: Path) -> None:
    whole = torch.arange(12.0).reshape(3, 4)
    path = store.write(tmp_path, 1, weights={"column": whole[:, 1], "turned": whole.T.requires_grad_()}, optimizer={}, state={})
    assert store.read(path).weights["column"].tolist() == [1.0, 5.0, 9.0]
    assert torch.equal(store.read(path).weights["turned"], whole.T)
    assert (path / "model.safetensors").stat().st_size < 400


def test_what_belongs_to_a_process_lies_among_the_moments_of_one_that_is_alone(tmp_path: Path) -> None:
    moments = {name: tensor for name, tensor in MOMENTS.items() if name != "random.cpu"}
    belongs = {"random.cpu": MOMENTS["random.cpu"]}
    apart = store.write(tmp_path, 1, weights=WEIGHTS, optimizer=moments, state={}, own=belongs)
    among = store.write(tmp_path, 2, weights=WEIGHTS, optimizer=MOMENTS, state={})
    assert (apart / store.OPTIMIZER).read_bytes() == (among / store.OPTIMIZER).read_bytes()
    for path in (apart, among):
        found = store.read(path)
        assert found.own(0, 1).keys() == found.own().keys() == {"random.cpu"}
        assert found.own(0, 2) == {}
        assert found.names("optimizer") == ["w.exp_avg", "w.step"]
        assert found.optimizer.keys() == MOMENTS.keys()


def test_a_process_that_is_alone_brings_all_rows_and_writes_them_as_a_tensor(tmp_path: Path) -> None:
    tensor = torch.arange(6.0).reshape(3, 2)
    spread = store.write(tmp_path, 1, weights={"w": Rows(tensor, (3, 2), 0)}, optimizer={}, state={})
    plain = store.write(tmp_path, 2, weights={"w": tensor}, optimizer={}, state={})
    assert (spread / store.WEIGHTS).read_bytes() == (plain / store.WEIGHTS).read_bytes()
    assert store.read(plain).rows("weights", "w", 1, 3).tolist() == [[2, 3], [4, 5]]
    with pytest.raises(AssertionError):
        store.write(tmp_path, 3, weights={"w": Rows(tensor[1:], (3, 2), 1)}, optimizer={}, state={})
    assert names(tmp_path) == ["step-00000001", "step-00000002"]


@pytest.mark.parametrize("name", [store.WEIGHTS, store.OPTIMIZER])
def test_a_file_that_is_missing_is_refused_even_when_the_manifest_does_not_list_it(tmp_path: Path, name: str) -> None:
    path = write(tmp_path, 5)
    (path / name).unlink()
    files.write_manifest(path)
    with pytest.raises(BadFileError, match=f"{name}: is missing"):
        store.read(path)


def test_a_step_that_is_written_again_is_replaced(tmp_path: Path) -> None:
    write(tmp_path, 5, weight=1.0)
    path = write(tmp_path, 5, weight=2.0)
    assert store.read(path).weights["w"].tolist() == [2.0, 2.0]
    assert names(tmp_path) == ["step-00000005"]


@pytest.mark.parametrize("point", ["before-shard", "after-manifest", "before-rename", "between-renames"])
def test_a_write_that_fails_keeps_the_old_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, point: str) -> None:
    write(tmp_path, 5, weight=1.0)
    monkeypatch.setattr(files, "_exchange", lambda one, other: False)

    def fail(name: str) -> None:
        if name == point:
            raise RuntimeError(name)

    for place in (store, files):  # the last moments are those of any folder
        monkeypatch.setattr(place, "reached", fail)
    with pytest.raises(RuntimeError, match=point):
        write(tmp_path, 5, weight=2.0)
    assert store.read(tmp_path / "step-00000005").weights["w"].tolist() == [1.0, 1.0]
    assert names(tmp_path) == ["step-00000005"]


def test_only_folders_of_steps_are_steps_newest_first(tmp_path: Path) -> None:
    for step in (99_999_999, 100_000_000, 5):  # nine digits are newer than any eight
        write(tmp_path, step)
    for name in ("step-5", "step-00000007x", "other", f"{files.TEMPORARY}12345678-step-00000009"):
        (tmp_path / name).mkdir()
    (tmp_path / "step-00000008").write_text("a file")
    assert [path.name for path in store.steps(tmp_path)] == ["step-100000000", "step-99999999", "step-00000005"]
    assert store.steps(tmp_path / "absent") == []


def test_the_newest_that_is_whole_is_found_and_the_others_are_named(tmp_path: Path) -> None:
    for step in (5, 10, 15):
        write(tmp_path, step)
    (tmp_path / "step-00000015" / "manifest.json").unlink()
    (tmp_path / "step-00000010" / "state.json").write_text('{"step": 99}')
    found, rejected = store.newest(tmp_path)
    assert found is not None
    assert found.state == {"step": 5}
    assert [sentence.removeprefix(str(tmp_path)) for sentence in rejected] == [
        "/step-00000015: has no manifest.json: it was not finished.",
        "/step-00000010/state.json: has 12 bytes; the manifest says 17.",
    ]
    assert store.newest(tmp_path / "absent") == (None, [])


@pytest.mark.parametrize("state", ["[]", "3", "null", "{"])
def test_a_state_that_is_no_object_is_a_bad_file_even_when_its_sum_is_right(tmp_path: Path, state: str) -> None:
    path = write(tmp_path, 5)
    (path / store.STATE).write_text(state)
    files.write_manifest(path)
    with pytest.raises(BadFileError, match=r"state\.json"):
        store.read(path)


def test_prune_keeps_the_newest(tmp_path: Path) -> None:
    for step in (5, 10, 15, 20):
        write(tmp_path, step)
    (tmp_path / f"{files.TEMPORARY}12345678-step-00000025").mkdir()
    (tmp_path / "notes").mkdir()
    store.prune(tmp_path, step=20, keep=2)
    assert names(tmp_path) == ["notes", "step-00000015", "step-00000020"]


@pytest.mark.parametrize("keep", [1, 2])
def test_prune_never_keeps_what_was_rejected_instead_of_what_was_just_written(tmp_path: Path, keep: int) -> None:
    """Checkpoints 15 and 20 were damaged, the run went back to 5 and has just saved step 6."""
    for step in (5, 6, 15, 20):
        write(tmp_path, step)
    store.prune(tmp_path, step=6, keep=keep)
    assert names(tmp_path) == ["step-00000005", "step-00000006"][-keep:]


SCRIPT = """
import sys
from pathlib import Path
from llamarium.checkpoint import store
store.prune(Path(sys.argv[1]), step=15, keep=1)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this platform has no SIGKILL")
def test_killed_while_it_prunes(tmp_path: Path) -> None:
    for step in (5, 10, 15):
        write(tmp_path, step)
    child = subprocess.run([sys.executable, "-c", SCRIPT, str(tmp_path)], env=os.environ | {VARIABLE: "after-prune:1"}, check=False)
    assert child.returncode == -signal.SIGKILL
    assert names(tmp_path) == ["step-00000005", "step-00000015"]
    store.prune(tmp_path, step=15, keep=1)
    assert names(tmp_path) == ["step-00000015"]


def test_prune_takes_the_manifest_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However far the removal of a folder gets, what is left of it is not taken for a checkpoint."""
    for step in (5, 10):
        write(tmp_path, step)

    def fail(path: Path) -> None:
        raise OSError(5, "no")

    monkeypatch.setattr("llamarium.checkpoint.store.shutil.rmtree", fail)
    with pytest.raises(OSError, match="no"):
        store.prune(tmp_path, step=10, keep=1)
    with pytest.raises(BadFileError, match="not finished"):
        store.read(tmp_path / "step-00000005")
