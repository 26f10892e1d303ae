from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any

import pytest

from llamarium.ground.errors import ResourceError
from llamarium.train.log import RunLog, read


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log.jsonl"


def lines(path: Path) -> list[dict[str, Any]]:
    """What any reader of JSON lines sees."""
    return [json.loads(line) for line in path.read_bytes().split(b"\n")[:-1]]


def written(path: Path, *, steps: int) -> None:
    log = RunLog(path)
    for step in range(1, steps + 1):
        log.write(step=step, loss=1 / step)
        if step % 2 == 0:
            log.event(step, "sample", f"羊 {step}")
    log.close()


def test_a_line_is_there_when_it_is_written(path: Path) -> None:
    log = RunLog(path)
    log.write(step=1, tokens=2, loss=0.1, learning_rate=1e-3, gradient_norm=0.5, seconds=0.25)
    assert lines(path) == [{"step": 1, "tokens": 2, "loss": 0.1, "learning_rate": 1e-3, "gradient_norm": 0.5, "seconds": 0.25}]
    log.event(1, "sample", "羊驼")
    log.event(2, "stopped")
    assert lines(path)[1:] == [{"step": 1, "event": "sample", "detail": "羊驼"}, {"step": 2, "event": "stopped", "detail": None}]
    assert "羊驼" in path.read_text(encoding="utf-8"), "legible as it is"
    log.close()


def test_a_new_log_replaces_an_old_one(path: Path) -> None:
    written(path, steps=4)
    RunLog(path).close()
    assert path.read_bytes() == b""


@pytest.mark.parametrize("step", [0, 1, 2, 3, 4, 9])
def test_a_continued_log_ends_where_the_checkpoint_stands(path: Path, step: int) -> None:
    written(path, steps=4)
    before = lines(path)
    log = RunLog(path, after_step=step)
    assert lines(path) == [line for line in before if line["step"] <= step]
    log.write(step=step + 1, loss=1.0)
    log.close()
    assert lines(path)[-1] == {"step": step + 1, "loss": 1.0}


def test_numbers_survive_being_copied(path: Path) -> None:
    log = RunLog(path)
    log.write(step=1, loss=0.1 + 0.2, gradient_norm=1e-320, learning_rate=2**-1074)
    log.close()
    before = path.read_bytes()
    RunLog(path, after_step=1).close()
    assert path.read_bytes() == before


@pytest.mark.parametrize("bytes_kept", range(1, 45))
def test_a_torn_last_line_goes(path: Path, bytes_kept: int) -> None:
    """Wherever the tear is: also in the middle of a character."""
    log = RunLog(path)
    log.write(step=1, loss=1.0)
    whole = path.read_bytes()
    log.event(2, "sample", "羊驼，羊驼")
    log.close()
    torn = path.read_bytes()[len(whole) :][:bytes_kept]
    assert torn
    assert not torn.endswith(b"\n")
    path.write_bytes(whole + torn)
    assert [line["step"] for line in read(path)] == [1]
    log = RunLog(path, after_step=5)
    log.write(step=2, loss=0.5)
    log.close()
    assert [line["step"] for line in lines(path)] == [1, 2]


def test_other_line_ends_in_a_sample_do_not_cut_its_line(path: Path) -> None:
    """U+2028 and its like end lines for str.splitlines, and stand in JSON as they are."""
    text = "a\u2028b\u2029c\x85d\x0be\x0cf\x1cg\r\nh\ri"
    log = RunLog(path)
    log.event(1, "sample", text)
    log.close()
    assert [line["detail"] for line in read(path)] == [text]
    RunLog(path, after_step=1).close()
    assert [line["detail"] for line in lines(path)] == [text]


@pytest.mark.parametrize("line", [b"", b"3", b"[]", b"{}", b'{"step": "1"}', b'{"loss": 1.0}', b"\xff", b"nonsense"])
def test_lines_that_are_none_are_passed_over(path: Path, line: bytes) -> None:
    path.write_bytes(b'{"step": 1}\n' + line + b'\n{"step": 2}\n')
    assert read(path) == [{"step": 1}, {"step": 2}]


def test_without_a_file_there_are_no_lines(path: Path) -> None:
    assert read(path) == []


@pytest.mark.parametrize("step", [0, 1, 2, 4])
def test_a_cut_takes_the_lines_of_later_steps_and_no_room(path: Path, monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    """Also those that still wait for room, and one of which only a part is there."""
    written(path, steps=4)
    before = lines(path)
    log = RunLog(path, after_step=4)
    write = os.write

    def full(descriptor: int, data: bytes) -> int:
        if not room:
            raise OSError(errno.ENOSPC, "full")
        return write(descriptor, data[: room.pop()])

    room = [7]
    monkeypatch.setattr(os, "write", full)
    log.write(step=5, loss=5.0)
    log.write(step=6, loss=6.0)
    assert path.read_bytes().endswith(b'\n{"step"')
    log.cut(step)
    assert lines(path) == [line for line in before if line["step"] <= step]
    monkeypatch.undo()
    log.write(step=step + 1, loss=0.5)
    log.close()
    assert lines(path) == [*(line for line in before if line["step"] <= step), {"step": step + 1, "loss": 0.5}]


def test_lines_wait_for_room_and_come_whole_and_in_order(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = RunLog(path)
    write, room = os.write, [3, 20, 1]

    def narrow(descriptor: int, data: bytes) -> int:
        if not room:
            raise OSError(errno.EDQUOT, "quota")
        return write(descriptor, data[: room.pop()])

    monkeypatch.setattr(os, "write", narrow)
    for step in range(1, 6):
        log.write(step=step, loss=1.0)
    with pytest.raises(ResourceError, match=r"log\.jsonl could not be written"):
        log.flush()
    monkeypatch.undo()
    log.flush()
    assert [line["step"] for line in lines(path)] == [1, 2, 3, 4, 5]
    monkeypatch.setattr(os, "write", narrow)
    log.write(step=6, loss=1.0)
    log.close()
    assert [line["step"] for line in lines(path)] == [1, 2, 3, 4, 5], "what nobody could write is lost with the process, and nothing else"


def test_what_is_no_full_disk_is_not_waited_for(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = RunLog(path)

    def broken(descriptor: int, data: bytes) -> int:
        raise OSError(errno.EIO, "broken")

    monkeypatch.setattr(os, "write", broken)
    with pytest.raises(OSError, match="broken"):
        log.write(step=1)
