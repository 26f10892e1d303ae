"""P9: text preparation restarts where it was, and its output is byte-identical for any number of workers and any engine."""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from llamarium.ground.errors import ResourceError, UsageError
from llamarium.text import partition, prepare
from llamarium.text.engine import Options, local
from llamarium.text.sources import SourceFile


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    """A few hundred documents with copies and near-copies, in files that are many partitions; one that cannot be read."""
    folder = tmp_path / "docs"
    folder.mkdir()
    source = random.Random(0)
    words = [f"word{number}" for number in range(3000)]
    texts = [" ".join(source.choices(words, k=80)) for _ in range(300)]
    texts += [" ".join([*text.split()[:-1], "other"]) for text in texts[:40]] + texts[40:80]
    source.shuffle(texts)
    (folder / "a.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts[:200]), encoding="utf-8")
    (folder / "b.txt").write_text("\n\n".join(texts[200:300]), encoding="utf-8")
    for number, text in enumerate(texts[300:]):
        (folder / f"c{number}.txt").write_text(text, encoding="utf-8")
    (folder / "broken.jsonl").write_text("{", encoding="utf-8")
    return folder


@pytest.fixture(autouse=True)
def small_partitions(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = partition.plan
    monkeypatch.setattr(prepare, "plan", lambda files, settings: plan(files, settings, size=16_000))


def made(docs: Path, out: Path, **options: object) -> str:
    """The SHA-256 of the manifest, which holds those of all files."""
    prepare.prepare([docs], out, **options)  # type: ignore[arg-type]
    return hashlib.sha256((out / "manifest.json").read_bytes()).hexdigest()


def workers() -> list[psutil.Process]:
    """Those that this process started and has not seen end; readers of hostile formats are processes, too, and may wait."""
    return [process for process in psutil.Process().children() if "llamarium.text.engine.local" in process.cmdline()]


def test_any_number_of_workers_makes_the_same_bytes(docs: Path, tmp_path: Path) -> None:
    found = {made(docs, tmp_path / f"corpus{workers}", options=Options(workers=workers)) for workers in (1, 2, 4)}
    assert len(found) == 1
    report = json.loads((tmp_path / "corpus1" / "report.json").read_bytes())
    assert report["dropped"]["duplicate_near"] >= 15
    assert [bad["path"] for bad in report["bad_files"]] == ["broken.jsonl"]
    assert not list(tmp_path.glob(".*preparing"))


def test_control_a_part_that_depends_on_its_worker_is_seen(docs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = made(docs, tmp_path / "one", options=Options(workers=1))
    monkeypatch.setattr(partition, "guess_language", lambda text: str(time.monotonic_ns())[:8])
    assert made(docs, tmp_path / "two", options=Options(workers=1)) != first


KILLED_AT = ["before-part", "after-part", "before-manifest", "before-rename"]
KILLED = """
import sys
from llamarium.text import partition, prepare
from llamarium.text.engine import Options
plan = partition.plan
prepare.plan = lambda files, settings: plan(files, settings, size=16_000)
prepare.prepare([sys.argv[1]], sys.argv[2], options=Options(workers=1))
"""


@pytest.mark.parametrize("failpoint", KILLED_AT)
def test_what_was_killed_goes_on_and_makes_the_same_bytes(docs: Path, tmp_path: Path, failpoint: str) -> None:
    expected = made(docs, tmp_path / "whole", options=Options(workers=1))
    out = tmp_path / "corpus"
    ended = subprocess.run(
        [sys.executable, "-c", KILLED, str(docs), str(out)],
        env={**os.environ, "LLAMARIUM_FAILPOINT": f"{failpoint}:4"},
        check=False,
        capture_output=True,
    )
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    assert not out.exists()
    done = {path.name for path in (tmp_path / ".corpus.preparing").glob("part-*") if (path / "manifest.json").exists()}
    assert len(done) in (3, 4)
    before = {name: (tmp_path / ".corpus.preparing" / name / "manifest.json").stat().st_mtime_ns for name in done}
    seen = {}

    def look(folder: Path, numbers: list[int], **options: object) -> object:
        seen.update({name: (folder / name / "manifest.json").stat().st_mtime_ns for name in done})
        assert {f"part-{number:05d}" for number in numbers}.isdisjoint(done)
        return run(folder, numbers, **options)  # type: ignore[arg-type]

    run, local.run = local.run, look  # type: ignore[assignment]
    try:
        assert made(docs, out, options=Options(workers=1)) == expected
    finally:
        local.run = run
    assert seen == before, "what was done was done again"


def test_parts_of_other_files_or_settings_are_not_gone_on_with(docs: Path, tmp_path: Path) -> None:
    out = tmp_path / "corpus"
    environment = {**os.environ, "LLAMARIUM_FAILPOINT": "after-part:4"}
    subprocess.run([sys.executable, "-c", KILLED, str(docs), str(out)], env=environment, check=False, capture_output=True)
    assert (tmp_path / ".corpus.preparing").exists()
    (docs / "c0.txt").write_text("Something else, quite another text than before.", encoding="utf-8")
    assert made(docs, out, options=Options(workers=1)) == made(docs, tmp_path / "fresh", options=Options(workers=1))


def test_a_worker_that_is_killed_is_followed_by_another(docs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = made(docs, tmp_path / "whole", options=Options(workers=1))
    start = local._Pool.start
    killed: list[int] = []

    def start_and_kill(self: local._Pool) -> subprocess.Popen[bytes]:
        worker = start(self)
        if len(killed) < 2:
            killed.append(worker.pid)
            psutil.Process(worker.pid).kill()
        return worker

    monkeypatch.setattr(local._Pool, "start", start_and_kill)
    assert made(docs, tmp_path / "corpus", options=Options(workers=2)) == expected
    assert len(killed) == 2


def test_control_workers_that_always_die_end_the_work_and_leave_what_is_done(
    docs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LLAMARIUM_FAILPOINT", "after-part:2")  # each worker lives for two partitions
    found = made(docs, tmp_path / "corpus", options=Options(workers=2))
    monkeypatch.setenv("LLAMARIUM_FAILPOINT", "before-part")
    with pytest.raises(ResourceError, match="killed 3 times") as caught:
        made(docs, tmp_path / "other", options=Options(workers=2))
    assert caught.value.exit_code == 4
    monkeypatch.delenv("LLAMARIUM_FAILPOINT")
    assert made(docs, tmp_path / "other", options=Options(workers=2)) == found
    assert not workers()


LIMITED = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))"


@pytest.mark.parametrize("workers", [1, 2])
def test_a_disk_without_room_loses_nothing(tmp_path: Path, workers: int) -> None:
    pytest.importorskip("resource")
    docs = tmp_path / "docs"
    docs.mkdir()
    source = random.Random(0)
    for number in range(8):  # Chinese, whose language is told without py3langid: that unpacks a file of its own
        text = "".join(source.choices([chr(0x4E00 + code) for code in range(3000)], k=9_000))
        (docs / f"{number}.txt").write_text(text, encoding="utf-8")
    script = LIMITED + KILLED.replace("workers=1", f"workers={workers}").replace(
        "prepare.prepare(", "from llamarium.cli.main import _show\nfrom llamarium.ground.errors import ResourceError\ntry: prepare.prepare("
    )
    script += "except ResourceError as error: sys.exit(_show(error))"
    ended = subprocess.run([sys.executable, "-c", script, str(docs), str(tmp_path / "corpus")], check=False, capture_output=True, text=True)
    assert ended.returncode == 4, ended.stderr
    assert "could not be written" in ended.stderr
    assert "Free some space" in ended.stderr
    assert not (tmp_path / "corpus").exists()
    assert made(docs, tmp_path / "corpus", options=Options(workers=1)) == made(docs, tmp_path / "whole", options=Options(workers=1))


def test_ctrl_c_keeps_what_is_done(docs: Path, tmp_path: Path) -> None:
    out = tmp_path / "corpus"
    interrupt = """
import os, signal
seen = []
def reached(name):
    seen.append(name)
    if seen.count("after-part") == 2:
        os.kill(os.getpid(), signal.SIGINT)
partition.reached = reached
prepare.prepare("""
    script = KILLED.replace("prepare.prepare(", interrupt)
    ended = subprocess.run([sys.executable, "-c", script, str(docs), str(out)], check=False, capture_output=True, text=True)
    assert "KeyboardInterrupt" in ended.stderr
    assert not out.exists()
    assert len(list((tmp_path / ".corpus.preparing").glob("part-*/manifest.json"))) >= 2
    assert made(docs, out, options=Options(workers=1)) == made(docs, tmp_path / "whole", options=Options(workers=1))


@pytest.mark.slow
def test_a_local_ray_makes_the_same_bytes(docs: Path, tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="the extra `ray` is not installed")
    assert made(docs, tmp_path / "ray", engine="ray") == made(docs, tmp_path / "local", options=Options(workers=1))


def test_who_stops_listening_leaves_no_worker_behind(docs: Path, tmp_path: Path) -> None:
    planned = partition.plan([SourceFile(docs / "a.jsonl", "a.jsonl")], partition.Settings(), size=16_000)
    (tmp_path / partition.PLAN).write_text(planned.as_text(), encoding="ascii")
    sizes = planned.sizes()
    answers = local.run(tmp_path, range(len(sizes)), sizes=sizes, options=Options(workers=2))
    next(answers)
    assert len(workers()) == 2
    answers.close()  # type: ignore[attr-defined]
    assert not workers()


def test_workers_take_no_modules_from_where_one_stands(docs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "json.py").write_text("raise SystemExit('a module of a stranger was run')", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    made(docs, tmp_path / "corpus", options=Options(workers=2))


def test_a_worker_tells_wrong_use_from_a_failure() -> None:
    for kind, code in ((UsageError, 2), (ResourceError, 4)):
        error = local._error({"message": "m", "hint": "h", "exit_code": code})
        assert (type(error), error.exit_code, error.hint) == (kind, code, "h")
