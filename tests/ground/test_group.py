"""Processes that speak to each other: two real ones over gloo."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Sequence

import pytest

from llamarium.ground.errors import TrainingError, UsageError
from llamarium.ground.group import ALONE, is_lost_peer, joined

SAY = """
import os, sys
from llamarium.ground.errors import UsageError
from llamarium.ground.group import joined
import contextlib
nobody = contextlib.nullcontext
with {joined_by} as group:
    {body}
"""


def processes(body: str, *, size: int = 2, timeout: float = 60, joined_by: str = "joined()") -> list[tuple[int, str]]:
    """Exit code and output of each of `size` processes that run `body` in one group."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {**os.environ, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(size), "OMP_NUM_THREADS": "1"}
    program = SAY.format(body=body.replace("\n", "\n    "), joined_by=joined_by)
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", program],
            env={**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(size)
    ]
    said = [worker.communicate(timeout=timeout)[0] for worker in workers]
    return [(worker.returncode, text) for worker, text in zip(workers, said, strict=True)]


def outputs(ended: Sequence[tuple[int, str]]) -> list[str]:
    assert [code for code, _ in ended] == [0] * len(ended), ended
    return [text.strip() for _, text in ended]


def test_alone_everything_is_its_own() -> None:
    with joined() as group:
        assert group == ALONE
    assert ALONE.gather({"a": 1}) == [{"a": 1}]
    ALONE.barrier()
    with pytest.raises(UsageError, match="no"), ALONE.together():
        raise UsageError("no")


def test_two_processes_agree() -> None:
    body = "print(group.sum([0.1, group.rank / 1]), group.gather('é' * group.rank), group.tell({'from': group.rank}), group.is_first)"
    first, second = outputs(processes(body))
    assert first == "[0.2, 1.0] ['', 'é'] {'from': 0} True"
    assert second == "[0.2, 1.0] ['', 'é'] {'from': 0} False"


def test_what_fails_in_one_process_fails_in_all_in_the_same_words() -> None:
    body = """try:
    with group.together():
        if group.rank == 1: raise UsageError('rank 1 has no room', hint='make some')
except Exception as error:
    print(error.message, error.hint, error.exit_code)"""
    assert outputs(processes(body)) == ["rank 1 has no room make some 2"] * 2


def test_one_that_fails_alone_is_heard_at_the_next_word() -> None:
    body = """try:
    if group.rank == 1: raise UsageError('rank 1 has no room', hint='make some')
    print(group.sum([1.0]))
finally: print(sys.exc_info()[1])"""
    (code, said), (other, _) = processes(body)
    assert (code, other) == (1, 1)
    assert "rank 1 has no room" in said
    assert "1.0" not in said


def test_what_all_meet_is_shown_by_the_first() -> None:
    program = """from llamarium.cli import main
main.GRACE = 0
try:
    with joined() as again: raise UsageError('no room for anybody')
except Exception as error: os._exit(main._show(error))"""
    (code, said), (other, silent) = processes(program, joined_by="nobody()")
    assert (code, other) == (2, 2)
    assert said == "error: no room for anybody\n"
    assert silent == ""


def test_what_is_long_comes_whole() -> None:
    body = "print([len(each) for each in group.gather('é' * (100 + 5000 * group.rank))], group.gather('x' * 988)[1] == 'x' * 988)"
    assert outputs(processes(body)) == ["[100, 5100] True"] * 2


def test_a_peer_that_is_gone_is_said_in_words() -> None:
    body = """if group.rank == 1: os._exit(9)
try:
    group.barrier()
except Exception as error:
    print(type(error).__name__, error.message)"""
    (code, said), (gone, _) = processes(body)
    assert gone == 9
    assert code == 0
    assert "TrainingError Another process of this group ended" in said


def test_other_errors_of_torch_stay_what_they_are() -> None:
    assert not is_lost_peer(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    assert is_lost_peer(RuntimeError("[gloo/transport/tcp/pair.cc:547] Connection closed by peer"))
    assert issubclass(TrainingError, Exception)
