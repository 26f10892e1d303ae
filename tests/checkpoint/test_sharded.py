"""Checkpoints that several processes write and read together.

Run as a script, this file is a server that has imported torch and forks the processes of each case, so that a group costs
no start of an interpreter. They are real ones, over gloo; some are killed with SIGKILL.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import resource
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save
from torch import Tensor

from llamarium.checkpoint import sharded, store
from llamarium.checkpoint.open import open_model
from llamarium.checkpoint.safetensors_file import read_safetensors
from llamarium.checkpoint.sharded import Rows, open_spread, open_tensors, write_tensors
from llamarium.ground import files
from llamarium.ground.errors import BadFileError, LlamariumError
from llamarium.ground.failpoints import VARIABLE
from llamarium.ground.group import Group, joined
from llamarium.models import llama
from llamarium.models.context import Dense
from llamarium.tokens.train import bytes_tokenizer

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform has no fork")


def whole(step: int) -> dict[str, Tensor]:
    """Weights of a step: five rows over four processes leave the last one without any."""
    return {
        "w": torch.arange(15.0).reshape(5, 3) + step,
        "v": torch.arange(8) * step,
        "h": torch.full((6, 2), step / 2, dtype=torch.bfloat16),
        "big": torch.full((64, 16), float(step)),
        "none": torch.zeros(0, 4),
    }


def moments(step: int) -> dict[str, Tensor]:
    return {f"{name}.exp_avg": tensor / 2 for name, tensor in whole(step).items()}


PLAIN = {"w.step": torch.tensor(3.0)}


def mine(tensor: Tensor, group: Group) -> Rows:
    """The rows of one process, as `torch.chunk` and FSDP cut them."""
    height = -(-len(tensor) // group.size) if len(tensor) else 0
    start = min(group.rank * height, len(tensor))
    return Rows(tensor[start : start + height], tuple(tensor.shape), start)


def spread(tensors: dict[str, Tensor], group: Group) -> dict[str, Tensor | Rows]:
    return {name: mine(tensor, group) for name, tensor in tensors.items()}


def own(group: Group) -> dict[str, Tensor]:
    return {"random.cpu": torch.full((4,), group.rank, dtype=torch.uint8)}


def equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(one[name].dtype == other[name].dtype and torch.equal(one[name], other[name]) for name in one)


# --- What a process of a group may be asked to do ---------------------------------------------------------------------


def do_save(group: Group, folder: Path, *, step: int, value: int | None = None) -> str:
    value = step if value is None else value
    return store.write(
        folder,
        step,
        weights=spread(whole(value), group),
        optimizer=spread(moments(value), group) | PLAIN,
        state={"step": step},
        own=own(group),
        group=group,
    ).name


def do_load(group: Group, folder: Path) -> dict[str, Any]:
    hashed: list[str] = []
    sha256 = files.sha256
    files.sha256 = lambda path: hashed.append(path.name) or sha256(path)  # type: ignore[func-returns-value]
    found, rejected = store.newest(folder, group=group)
    assert found is not None
    step = found.state["step"]
    right = []
    for part, tensors in (("weights", whole(step)), ("optimizer", moments(step))):
        for name, tensor in tensors.items():
            rows = mine(tensor, group)
            right.append(found.shape(part, name) == tensor.shape)  # type: ignore[arg-type]
            right.append(torch.equal(found.rows(part, name, rows.start, rows.stop), rows.tensor))  # type: ignore[arg-type]
    belongs = {name: tensor.tolist() for name, tensor in found.own(group.rank, group.size).items()}
    again = store.read(found.path, group=group)
    right.append(equal(again.weights, whole(step)))
    return {"step": step, "rejected": rejected, "right": all(right), "own": belongs, "hashed": len(hashed)}


def do_read(group: Group, folder: Path) -> None:
    store.read(folder, group=group)


def do_prune(group: Group, folder: Path, *, step: int, keep: int) -> list[str]:
    if group.is_first:
        time.sleep(0.2)
    store.prune(folder, step=step, keep=keep, group=group)
    return sorted(path.name for path in folder.iterdir())


def tiny_model() -> llama.Model:
    torch.manual_seed(4)
    made = llama.Model(llama.Config(vocab_size=bytes_tokenizer().vocab_size, width=16, layers=2, heads=2, context_length=32))
    made.initialize()
    return made


def do_save_model(group: Group, folder: Path) -> None:
    model = tiny_model()
    state = {"tokenizer_sha256": bytes_tokenizer().sha256, "model": {"family": "llama", "config": asdict(model.config)}}
    weights = spread(dict(model.named_parameters()), group)
    store.write(folder / "checkpoints", 3, weights=weights, optimizer={}, state=state, group=group)


def do_measure(group: Group, folder: Path) -> list[int]:
    """MiB by which memory peaks higher while four tensors of 8 MiB are written, as they lie and turned; MiB read for half of one."""

    def peak() -> int:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    def num_read() -> int:
        return int(Path("/proc/self/io").read_text().split()[1])

    found = []
    weights = {name: torch.ones(16, 1 << 17) for name in "abcd"}
    for held in (weights, {name: tensor.T for name, tensor in weights.items()}):
        begin = peak()
        path = store.write(folder, 1, weights=held, optimizer={}, state={}, group=group)
        found.append((peak() - begin) >> 10)
    checkpoint = store.read(path)
    begin = num_read()
    checkpoint.rows("weights", "a", 1 << 16, 1 << 17)
    return [*found, (num_read() - begin) >> 20]


JOBS: dict[str, Callable[..., Any]] = {
    "save": do_save,
    "load": do_load,
    "read": do_read,
    "prune": do_prune,
    "save model": do_save_model,
    "measure": do_measure,
}


# --- The server -------------------------------------------------------------------------------------------------------


def serve() -> None:
    for line in sys.stdin:
        case = json.loads(line)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            case["port"] = free.getsockname()[1]
        children = []
        for rank in range(case["size"]):
            if not (child := os.fork()):
                be(case, rank)
            children.append(child)
        codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
        sys.stdout.write(json.dumps(codes) + "\n")
        sys.stdout.flush()


def be(case: dict[str, Any], rank: int) -> None:
    """Be process `rank` of a case, and never return."""
    code = 1
    try:
        os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(case["port"]), WORLD_SIZE=str(case["size"]), RANK=str(rank))
        os.environ[VARIABLE] = case["failpoints"].get(str(rank), "")
        if limit := case["limits"].get(str(rank)):
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        if not case["exchange"]:
            files._exchange = lambda one, other: False
        folder = Path(case["folders"].get(str(rank), case["folder"]))
        try:
            with joined() as group:
                said = {"said": JOBS[case["job"]](group, folder, **case["options"])}
        except LlamariumError as error:
            said = {"error": error.message, "code": error.exit_code}
        Path(case["out"], str(rank)).write_text(json.dumps(said))
        code = 0
    finally:
        os._exit(code)


@dataclass
class Server:
    process: subprocess.Popen[str]
    out: Path

    def run(
        self,
        job: str,
        folder: Path,
        *,
        size: int = 2,
        failpoints: dict[int, str] | None = None,
        limits: dict[int, int] | None = None,
        folders: dict[int, Path] | None = None,
        exchange: bool = True,
        **options: Any,
    ) -> list[Any]:
        """What each process returned, the error it met, or the signal that ended it."""
        shutil.rmtree(self.out, ignore_errors=True)
        self.out.mkdir()
        case = {
            "job": job,
            "folder": str(folder),
            "size": size,
            "failpoints": failpoints or {},
            "limits": limits or {},
            "folders": {rank: str(path) for rank, path in (folders or {}).items()},
            "exchange": exchange,
            "options": options,
            "out": str(self.out),
        }
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(case) + "\n")
        self.process.stdin.flush()
        codes = json.loads(self.process.stdout.readline())
        return [
            -code if code < 0 else json.loads(path.read_text()) if (path := self.out / str(rank)).exists() else "it failed"
            for rank, code in enumerate(codes)
        ]

    def said(self, *arguments: Any, **options: Any) -> list[Any]:
        """What each process returned."""
        found = self.run(*arguments, **options)
        assert all(isinstance(each, dict) and "said" in each for each in found), found
        return [each["said"] for each in found]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    # glibc keeps what was freed below this size, and how much of it is used again is chance; here memory is measured.
    environment = os.environ | {"OMP_NUM_THREADS": "1", "MALLOC_MMAP_THRESHOLD_": "1000000"}
    process = subprocess.Popen([sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding="utf-8", env=environment)
    with process:
        yield Server(process, tmp_path_factory.mktemp("server") / "out")
        assert process.stdin is not None
        process.stdin.close()


@pytest.fixture(scope="module")
def written(server: Server, tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """Folders with the checkpoint of step 1, by the number of processes that wrote it. Only to be read."""
    made = {size: tmp_path_factory.mktemp("written") / str(size) for size in (1, 2, 4)}
    for size, folder in made.items():
        assert server.said("save", folder, size=size, step=1) == ["step-00000001"] * size
    return made


@pytest.fixture
def two(written: dict[int, Path], tmp_path: Path) -> Path:
    """A copy of the checkpoints of two processes."""
    return Path(shutil.copytree(written[2], tmp_path / "two"))


@pytest.fixture
def four(written: dict[int, Path], tmp_path: Path) -> Path:
    """A copy of the checkpoint that four processes wrote."""
    return Path(shutil.copytree(written[4] / "step-00000001", tmp_path / "four" / "step-00000001"))


# --- Written by some, read by others ----------------------------------------------------------------------------------


def test_the_files_of_a_group(written: dict[int, Path]) -> None:
    path = written[4] / "step-00000001"
    shards = [f"{part}-{rank:05d}-of-00004.safetensors" for part in ("model", "optimizer") for rank in range(4)]
    assert sorted(each.name for each in path.iterdir()) == sorted(["manifest.json", "state.json", *shards])
    manifest = files.verify_manifest(path)
    assert sorted(manifest["files"]) == sorted(["state.json", *shards])
    assert manifest["step"] == 1
    assert [len(read_safetensors(path / name)["w"]) for name in shards[:4]] == [2, 2, 1, 0], "anybody can read them"
    assert ["w.step" in read_safetensors(path / name) for name in shards[4:]] == [True, False, False, False]
    alone = sorted(each.name for each in (written[1] / "step-00000001").iterdir())
    assert alone == ["manifest.json", "model.safetensors", "optimizer.safetensors", "state.json"]


@pytest.mark.parametrize("writers", [1, 2, 4])
@pytest.mark.parametrize("readers", [2, 4])
def test_a_group_reads_what_another_wrote(server: Server, written: dict[int, Path], writers: int, readers: int) -> None:
    found = server.said("load", written[writers], size=readers)
    for rank, each in enumerate(found):
        assert (each["step"], each["rejected"], each["right"]) == (1, [], True)
        assert each["own"] == ({"random.cpu": [rank] * 4} if writers == readers else {})
        assert (each["hashed"] > 0) == (rank == 0), "one process hashes for all"


@pytest.mark.parametrize("writers", [1, 2, 4])
def test_one_process_reads_what_a_group_wrote(written: dict[int, Path], writers: int) -> None:
    found = store.read(written[writers] / "step-00000001")
    assert equal(found.weights, whole(1))
    belongs = {"random.cpu": torch.zeros(4, dtype=torch.uint8)} if writers == 1 else {}
    assert equal(found.optimizer, moments(1) | PLAIN | belongs)
    assert equal(found.own(), belongs)
    assert found.own(writers - 1, writers)["random.cpu"].tolist() == [writers - 1] * 4
    assert found.own(0, 3) == {}
    assert sorted(found.names("weights")) == sorted(whole(1))
    assert sorted(found.names("optimizer")) == sorted(moments(1) | PLAIN)
    assert found.shape("weights", "w") == (5, 3)
    assert found.shape("optimizer", "w.step") == ()
    assert found.rows("weights", "w", 1, 5).tolist() == whole(1)["w"][1:5].tolist()


def test_rows_are_read_from_the_files_that_hold_them(four: Path) -> None:
    found = store.read(four)
    for rank in (0, 2, 3):
        (four / f"model-{rank:05d}-of-00004.safetensors").unlink()
    assert torch.equal(found.rows("weights", "w", 2, 4), whole(1)["w"][2:4])
    with pytest.raises(BadFileError, match="model-00002-of-00004"):
        found.rows("weights", "w", 2, 5)
    os.truncate(four / "model-00001-of-00004.safetensors", 1000)
    with pytest.raises(BadFileError, match=r"model-00001-of-00004\S* became shorter"):
        found.rows("weights", "big", 16, 32)


def test_a_run_whose_newest_checkpoint_is_sharded_is_a_model(server: Server, tmp_path: Path) -> None:
    server.said("save model", tmp_path)
    bytes_tokenizer().save(tmp_path / "tokenizer")
    ids = torch.arange(12)[None]
    with torch.inference_mode():
        for name in (tmp_path, tmp_path / "checkpoints" / "step-00000003"):
            assert torch.equal(open_model(name).model(ids, Dense(ids)), tiny_model()(ids, Dense(ids)))


def test_prune_in_a_group(server: Server, two: Path) -> None:
    server.said("save", two, step=2)
    server.said("save", two, step=3)
    (two / f"{files.TEMPORARY}12345678-step-00000004").mkdir()
    assert server.said("prune", two, step=3, keep=1) == [["step-00000003"]] * 2


@given(st.integers(0, 9), st.lists(st.integers(0, 9), max_size=5), st.sampled_from([(), (3,), (2, 2), (0,)]), st.randoms())
@settings(max_examples=50, deadline=None)
def test_any_rows_of_any_cut(
    tmp_path_factory: pytest.TempPathFactory, height: int, cuts: list[int], rest: tuple[int, ...], draw: random.Random
) -> None:
    folder = tmp_path_factory.mktemp("cut")
    tensor = torch.randn(height, *rest)
    borders = [0, *sorted(min(cut, height) for cut in cuts), height]
    pairs = list(itertools.pairwise(borders))
    draw.shuffle(pairs)  # where weights are copied, too, the ranks need not be in the order of the rows
    paths = []
    for number, (first, last) in enumerate(pairs):
        paths.append(folder / f"{number}.safetensors")
        write_tensors(paths[-1], {"t": Rows(tensor[first:last], tuple(tensor.shape), first)})
    found = open_spread(paths)[0]["t"]
    assert torch.equal(found.whole(), tensor)
    for _ in range(4):
        start, stop = sorted((draw.randint(0, height), draw.randint(0, height)))
        assert torch.equal(found.rows(start, stop), tensor[start:stop])


def test_a_file_is_what_the_library_would_have_written(tmp_path: Path) -> None:
    tensors = {
        "b": torch.tensor(1.5),
        "é": torch.zeros(0, 2),
        "turned": torch.arange(6.0).reshape(2, 3).T,
        "h": torch.ones(3, dtype=torch.bfloat16),
        "flag": torch.tensor([True, False]),
        "large": torch.arange(5),
    }
    for each in ({}, tensors):
        path = tmp_path / f"{len(each)}.safetensors"
        entry = write_tensors(path, each)
        expected = save({name: tensor.contiguous() for name, tensor in each.items()})
        assert path.read_bytes() == expected
        assert entry == {"size": len(expected), "sha256": files.sha256(path)}


@pytest.mark.parametrize("dtype", sharded.DTYPES.values(), ids=str)
def test_every_type_comes_back(dtype: torch.dtype, tmp_path: Path) -> None:
    tensor = (torch.arange(48, dtype=torch.uint8) % 2).view(dtype).reshape(3, -1)
    write_tensors(tmp_path / "t.safetensors", {"t": tensor, "s": tensor[0, 0]})
    found = {name: stored.whole() for name, stored in open_tensors(tmp_path / "t.safetensors").items()}
    there = read_safetensors(tmp_path / "t.safetensors")
    for name, expected in (("t", tensor), ("s", tensor[0, 0])):
        for each in (found[name], there[name]):
            assert each.dtype == dtype
            assert each.shape == expected.shape
            assert torch.equal(each.reshape(-1).view(torch.uint8), expected.reshape(-1).view(torch.uint8))


@pytest.mark.skipif(sys.platform != "linux", reason="peaks of memory are counted in other units")
def test_one_tensor_at_a_time_is_copied_and_only_what_is_wanted_is_read(server: Server, tmp_path: Path) -> None:
    [(as_they_lie, turned, read)] = server.said("measure", tmp_path, size=1)
    assert as_they_lie < 6
    assert turned < 12
    assert read == 4


# --- What fails -------------------------------------------------------------------------------------------------------

FIRST = (
    "before-temporary",
    "after-temporary",
    "before-shard:2",
    "after-shard",
    "before-fsync",
    "after-fsync:3",
    "before-manifest",
    "after-manifest",
    "before-rename",
    "after-rename",
)
OTHERS = ("before-shard", "after-shard:2", "before-fsync:2", "after-fsync")
KILLS = [  # which process, at which moment, while it writes which step: a new one, or again the one that is there
    *((0, point, 2) for point in FIRST),
    *((1, point, 2) for point in OTHERS),
    *((0, point, 1) for point in ("before-rename", "after-rename")),
    (1, "after-shard:2", 1),
]


@pytest.mark.parametrize(("rank", "failpoint", "step"), KILLS, ids=str)
def test_killed_at_a_failpoint_the_old_or_the_new_is_whole(server: Server, two: Path, rank: int, failpoint: str, step: int) -> None:
    ended = server.run("save", two, step=step, value=7, failpoints={rank: failpoint})
    assert ended[rank] == signal.SIGKILL
    assert "Another process of this group ended" in ended[1 - rank]["error"]
    there = (step, whole(7)) if failpoint == "after-rename" else (1, whole(1))
    for _ in range(2):  # before and after what is left over has been removed
        found, rejected = store.newest(two)
        assert found is not None
        assert rejected == []
        assert found.state["step"] == there[0]
        assert equal(found.weights, there[1])
        files.remove_leftovers(two)
    assert sorted(path.name for path in two.iterdir()) == [f"step-{each:08d}" for each in sorted({1, there[0]})]


def test_killed_between_two_renames(server: Server, two: Path) -> None:
    ended = server.run("save", two, step=1, value=7, failpoints={0: "between-renames"}, exchange=False)
    assert ended[0] == signal.SIGKILL
    assert store.newest(two) == (None, [])
    files.remove_leftovers(two)
    assert equal(store.read(two / "step-00000001").weights, whole(1))


@pytest.mark.parametrize("exchange", [True, False])
def test_a_step_that_is_written_again_is_replaced(server: Server, two: Path, exchange: bool) -> None:
    server.said("save", two, step=1, value=7, size=4, exchange=exchange)
    assert equal(store.read(two / "step-00000001").weights, whole(7))
    assert [path.name for path in two.iterdir()] == ["step-00000001"]


def test_without_the_older_one_nothing_is_there(server: Server, tmp_path: Path) -> None:
    ended = server.run("save", tmp_path / "new", step=1, size=4, failpoints={2: "after-shard"})
    assert ended[2] == signal.SIGKILL
    assert all("error" in each for rank, each in enumerate(ended) if rank != 2)
    assert list((tmp_path / "new").iterdir()) == [], "the first process is alive and clears up"


@pytest.mark.parametrize(("rank", "size"), [(0, 2), (1, 2), (0, 1)])
def test_a_full_disk_in_one_process_ends_the_write_in_all(server: Server, two: Path, rank: int, size: int) -> None:
    ended = server.run("save", two, size=size, step=2, limits={rank: 1000})
    path = two / "step-00000002"
    assert ended == [{"error": f"A limit on file sizes is reached: {path} could not be written.", "code": 4}] * size
    assert [each.name for each in two.iterdir()] == ["step-00000001"]
    assert equal(store.read(two / "step-00000001").weights, whole(1))


def test_processes_without_a_common_folder(server: Server, tmp_path: Path) -> None:
    ended = server.run("save", tmp_path / "one", step=1, folders={1: tmp_path / "other"})
    assert all("is not there for process 1, though the first process made it" in each["error"] for each in ended)
    assert list((tmp_path / "one").iterdir()) == []


def test_a_damaged_one_is_passed_over_by_all(server: Server, two: Path) -> None:
    server.said("save", two, step=2)
    path = two / "step-00000002" / "optimizer-00001-of-00002.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"\x77")
    for each in server.said("load", two):
        assert (each["step"], each["right"]) == (1, True)
        assert each["rejected"] == [f"{path}: does not have the SHA-256 that the manifest says."]
    refused = server.run("read", path.parent)
    assert refused == [{"error": f"{path}: does not have the SHA-256 that the manifest says.", "code": 3}] * 2


# --- Headers that lie -------------------------------------------------------------------------------------------------

Header = dict[str, Any]


def rewrite(path: Path, change: Callable[[Header], object], data: bytes | None = None) -> None:
    """Change the header of a safetensors file."""
    content = path.read_bytes()
    end = 8 + struct.unpack("<Q", content[:8])[0]
    header = json.loads(content[8:end])
    change(header)
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + (content[end:] if data is None else data))


def shard(rank: int, part: str = "model", size: int = 4) -> str:
    return f"{part}-{rank:05d}-of-{size:05d}.safetensors"


def says(rows: str, name: str = "w") -> Callable[[Header], object]:
    return lambda header: header["__metadata__"].update({name: rows})


def remove(header: Header) -> None:
    """Take the rows of w out, and let the last tensor of its type have their bytes, so that none is without an owner."""
    start, end = header.pop("w")["data_offsets"]
    header["__metadata__"].pop("w")
    header["other"] = {"dtype": "U8", "shape": [end - start], "data_offsets": [start, end]}
    header["__metadata__"]["other"] = f"0:{end - start} of {end - start}"


# what is wrong -> the file that is changed, how, the file that is named, words of the sentence
LIES: dict[str, tuple[str, Callable[[Header], object], str, str]] = {
    "a gap": (shard(1), says("3:5 of 5x3"), shard(1), "'w' from row 3 on, where row 2 was expected"),
    "an overlap": (shard(1), says("1:3 of 5x3"), shard(1), "'w' from row 1 on, where row 2 was expected"),
    "the same rows twice": (shard(1), says("0:2 of 5x3"), shard(1), "'w' from row 0 on, where row 2"),
    "beyond the shape": (shard(2), says("5:6 of 5x3"), shard(2), "says '5:6 of 5x3' of 'w'"),
    "more rows than it has": (shard(2), says("3:5 of 5x3"), shard(2), "which it holds with the shape [1, 3]"),
    "backwards": (shard(1), says("4:2 of 5x3"), shard(1), "says '4:2 of 5x3'"),
    "wider": (shard(1), says("2:4 of 5x4"), shard(1), "which it holds with the shape [2, 3]"),
    "another shape": (shard(1), says("2:4 of 6x3"), shard(1), "another shape or type than the files before"),
    "another type": (shard(1), lambda header: header["w"].update(dtype="I32"), shard(1), "another shape or type"),
    "one dimension less": (shard(1), says("2:4 of 5"), shard(1), "says '2:4 of 5'"),
    "no text of rows": (shard(1), says("all"), shard(1), "which are no rows"),
    "negative": (shard(1), says("-2:0 of 5x3"), shard(1), "which are no rows"),
    "nothing": (shard(1), says(""), shard(1), "which are no rows"),
    "digits of another script": (shard(1), says("٢:٤ of 5x3"), shard(1), "which are no rows"),
    "numbers without end": (shard(1), says("2:4 of 5x3" + "0" * 100_000), shard(1), "which are no rows"),
    "dimensions without end": (shard(1), says("2:4 of 5x3" + "x1" * 100), shard(1), "which are no rows"),
    "rows of nothing": (shard(1), says("0:1 of 5", "x"), shard(1), "names rows of 'x'"),
    "rows that are not said": (shard(1), lambda header: header["__metadata__"].pop("w"), shard(1), "does not say which rows of 'w'"),
    "the whole and rows": (shard(0), lambda header: header["__metadata__"].pop("w"), shard(0), "has the whole of 'w'"),
    "rows that are nowhere": (shard(1), remove, shard(2), "'w' from row 4 on, where row 2"),
    "the last rows are nowhere": (shard(2), remove, shard(1), "'w' up to row 4 of 5"),
    "moments, too": (shard(1, "optimizer"), says("3:5 of 5x3", "w.exp_avg"), shard(1, "optimizer"), "where row 2"),
    "own tensors that are not marked": (
        shard(3, "optimizer"),
        lambda header: header.update(other=header.pop("random.cpu")),
        shard(3, "optimizer"),
        "does not say which rows of 'other'",
    ),
    "more dimensions of nothing than can be counted": (
        shard(0),
        lambda header: [header["none"].update(shape=[0, 1 << 40, 1 << 40]), says(f"0:0 of 0x{1 << 40}x{1 << 40}", "none")(header)],
        shard(0),
        "'none' with the shape [0, 1099511627776",
    ),
}


@pytest.mark.parametrize("wrong", LIES)
def test_a_header_that_lies_is_refused_though_the_sums_agree(four: Path, wrong: str) -> None:
    changed, change, named, words = LIES[wrong]
    rewrite(four / changed, change)
    files.write_manifest(four, {"step": 1})
    with pytest.raises(BadFileError) as caught:
        store.read(four)
    assert caught.value.path == str(four / named)
    assert words in caught.value.reason
    assert store.newest(four.parent) == (None, [caught.value.message])


def test_the_headers_above_are_good_but_for_one_thing(four: Path) -> None:
    for rank in range(4):
        rewrite(four / shard(rank), lambda header: header.update(w=header.pop("w")))
    files.write_manifest(four, {"step": 1})
    assert equal(store.read(four).weights, whole(1))


def test_a_tensor_that_is_too_short_everywhere(four: Path) -> None:
    for rank, rows in enumerate(("0:2", "2:4", "4:5", "5:5")):
        rewrite(four / shard(rank), says(f"{rows} of 6x3"))
    files.write_manifest(four, {"step": 1})
    with pytest.raises(BadFileError, match=r"model-00002-of-00004\S* has 'w' up to row 5 of 6"):
        store.read(four)


def unlink(pattern: str) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        for each in path.glob(pattern):
            each.unlink()

    return change


FOLDERS: dict[str, tuple[Callable[[Path], object], str, str]] = {
    "one is missing": (lambda path: (path / shard(2)).unlink(), shard(2), "is missing"),
    "the last is missing": (lambda path: (path / shard(3, "optimizer")).unlink(), shard(3, "optimizer"), "is missing"),
    "all of a part are missing": (unlink("optimizer-*"), shard(0, "optimizer"), "is missing"),
    "all are missing": (unlink("*.safetensors"), "model.safetensors", "is missing"),
    "one of another number": (lambda path: (path / shard(2)).rename(path / shard(2, size=5)), shard(2), "is missing"),
    "one more": (lambda path: shutil.copy(path / shard(2), path / shard(4)), shard(4), "does not belong"),
    "one of one alone": (lambda path: shutil.copy(path / shard(2), path / "model.safetensors"), "model.safetensors", "does not belong"),
    "one of very many": (lambda path: (path / shard(0)).rename(path / shard(0, size=10**15)), shard(0, "optimizer", 10**15), "is missing"),
}


@pytest.mark.parametrize("wrong", FOLDERS)
def test_files_that_are_not_those_of_one_group_are_refused(four: Path, wrong: str) -> None:
    change, named, words = FOLDERS[wrong]
    change(four)
    files.write_manifest(four, {"step": 1})
    with pytest.raises(BadFileError) as caught:
        store.read(four)
    assert caught.value.path == str(four / named)
    assert words in caught.value.reason


def test_a_file_that_the_manifest_does_not_list_is_refused(four: Path) -> None:
    manifest = files.read_json(four / files.MANIFEST)
    del manifest["files"][shard(1)]
    files.write_json(four / files.MANIFEST, manifest)
    with pytest.raises(BadFileError, match=r"model-00001-of-00004\S* is not in the manifest"):
        store.read(four)


def damage(path: Path, draw: random.Random) -> bool:
    """Change, cut or lengthen a file somewhere; False where that left it as it was."""
    before = path.read_bytes()
    data = bytearray(before if draw.random() < 0.8 else before[: draw.randrange(len(before))])
    for _ in range(draw.randrange(1, 4)):
        if data:
            # Most of the bytes are numbers; it is the header that is interesting.
            end = min(len(data), draw.choice([16, 600, 10**6, 10**6, 10**6]))
            data[draw.randrange(end)] = draw.choice([draw.randrange(256), *b"0123456789:x,"])
    if draw.random() < 0.1:
        data += b"\0"
    path.write_bytes(data)
    return bytes(data) != before


def test_any_damage_to_any_shard_is_refused_by_the_name_of_the_file(four: Path) -> None:
    draw = random.Random(1)
    paths = sorted(four.glob("*.safetensors"))
    for _ in range(60):
        path = draw.choice(paths)
        before = path.read_bytes()
        if damage(path, draw):
            with pytest.raises(BadFileError) as caught:
                store.read(four)
            assert caught.value.path == str(path)
        path.write_bytes(before)


def test_any_damage_with_sums_that_agree_is_refused_or_takes_no_more_than_there_is(four: Path) -> None:
    draw = random.Random(2)
    paths = sorted(four.glob("*.safetensors"))
    results = {"refused": 0, "read": 0}
    manifest = files.read_json(four / files.MANIFEST)
    for _ in range(150):
        path = draw.choice(paths)
        before = path.read_bytes()
        damage(path, draw)
        changed = {path.name: {"size": path.stat().st_size, "sha256": files.sha256(path)}}
        (four / files.MANIFEST).write_text(json.dumps(manifest | {"files": manifest["files"] | changed}))
        try:
            found = store.read(four)
            held = [*found.weights.values(), *found.optimizer.values()]
        except BadFileError:
            results["refused"] += 1
        else:
            assert sum(tensor.nbytes for tensor in held) < 20_000
            results["read"] += 1
        path.write_bytes(before)
    assert min(results.values()) > 10


if __name__ == "__main__":
    serve()
