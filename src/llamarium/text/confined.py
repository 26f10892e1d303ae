"""Confinement: formats that strangers can make harmful are parsed in a child process with limits.

Takes: the module name of a reader, and a file.
Gives: what the reader finds, or `BadFileError` that says which limit was met; the child may die of it, this process does not.
Does not know: formats, or what a piece is.

A child takes one file after the other, for a new Python costs a tenth of a second. It reads a request a line on its standard input; an
answer is a line of JSON with, behind it, as many bytes of text as the line says. It ends when its input ends, so also with its parent.
On Linux the kernel holds it to its memory; its time is kept by the parent, which kills it, and by an alarm of its own, should the parent
be gone.
"""

from __future__ import annotations

import atexit
import contextlib
import dataclasses
import importlib
import json
import logging
import math
import os
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections import defaultdict, deque
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, BinaryIO, NoReturn

from llamarium.ground import errors
from llamarium.ground.errors import BadFileError, LlamariumError

SLOWEST = 16 << 10  # bytes a second: a manual of 260 pages, 1.3 MB as PDF, took 10 s on a busy machine
LONGEST = 300.0  # seconds
CODE = 64 << 20  # bytes of programs and libraries in memory, which the kernel does not count as data
MOST_FILES = 200  # then a fresh child follows: parsers leak
SUSPICIOUS = "It may be damaged, or made to do harm. If you trust it, split it, unpack it or save it in another format."


@dataclass(frozen=True)
class Limits:
    """What one file may cost: seconds of waiting, bytes of memory in the child, bytes of text (as UTF-8) that come back."""

    seconds: float = 10.0
    memory: int = 512 << 20
    text: int = 256 << 20

    @classmethod
    def for_size(cls, size: int) -> Limits:
        """The usual ones, with more time for a file of more than 160 KB: it may be honest and long. Who cannot wait gives his own."""
        return cls(seconds=min(max(cls.seconds, size / SLOWEST), LONGEST))


@dataclass(frozen=True)
class Found:
    """A piece as it came through the pipe: its text, and its other fields by name."""

    text: str
    fields: dict[str, Any]


def read(path: Path, *, reader: str, limits: Limits, options: Mapping[str, str] = MappingProxyType({})) -> list[Found]:
    """All that the module `reader` (such as ``llamarium.text.read.pdf``) finds in `path`, read in a child; `options` are its own.

    `BadFileError` where the file is bad, needs more than `limits`, or ends the child; what else the reader raises, comes in the same words.
    """
    start = time.monotonic()
    child = _idle_child(limits.memory) or _Child(limits.memory)
    answer = child.answer(path, reader, limits, options, seconds=limits.seconds)
    if not answer.is_whole and child.num_files > 1 and not child.is_late:  # what earlier files left behind must not decide
        child = _Child(limits.memory)
        answer = child.answer(path, reader, limits, options, seconds=limits.seconds - (time.monotonic() - start))
    if answer.error:
        _raise(path, answer.error)
    if child.is_late:
        raise BadFileError(path, f"took longer than {limits.seconds:.3g} s to read.", hint=SUSPICIOUS)
    if answer.out_of_memory:
        raise BadFileError(path, f"needs more than {limits.memory >> 20} MB of memory to read.", hint=SUSPICIOUS)
    if not answer.is_whole:
        raise BadFileError(path, f"made the process that read it stop ({child.cause_of_death()}).", hint=SUSPICIOUS)
    return answer.found


@dataclass
class _Answer:
    found: list[Found]
    error: dict[str, Any] | None = None
    out_of_memory: bool = False
    is_done: bool = False

    @property
    def is_whole(self) -> bool:
        """Whether the reader came to an end of its own."""
        return self.is_done or self.error is not None


class _Child:
    """A process that reads files, seen from its parent."""

    def __init__(self, memory: int) -> None:
        # -P: a folder of strangers' files may hold a json.py, and must not be looked into for modules.
        command = [sys.executable, "-P", "-c", f"from {__name__} import serve; serve()", str(memory)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment, start_new_session=True
        )
        self.memory = memory
        self.num_files = 0
        self.is_late = False

    def answer(self, path: Path, reader: str, limits: Limits, options: Mapping[str, str], *, seconds: float) -> _Answer:
        """What the child says of a file. It is idle again afterwards, or it is no more."""
        self.num_files += 1
        file = os.path.abspath(path)  # noqa: PTH100
        request = {"reader": reader, "shown": str(path), "file": file, **dataclasses.asdict(limits), "options": dict(options)}
        timer = threading.Timer(max(seconds, 0.0), self.kill)
        timer.daemon = True
        timer.start()
        answer = _Answer([])
        try:
            self._exchange(request, answer)
        except OSError:  # it died before it had read the request
            pass
        except BaseException:  # Ctrl-C: an answer half taken
            self.kill()
            self.end()
            raise
        finally:
            timer.cancel()
        if answer.is_whole and not self.is_late and self.num_files < MOST_FILES:
            _idle[os.getpid(), self.memory].append(self)
        else:
            self.end()
        return answer

    def _exchange(self, request: dict[str, Any], answer: _Answer) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(request).encode() + b"\n")
        self.process.stdin.flush()
        while line := self.process.stdout.readline():
            header = json.loads(line)
            match header["kind"]:
                case "piece":
                    raw = self.process.stdout.read(header["bytes"])
                    if len(raw) == header["bytes"]:
                        answer.found.append(Found(raw.decode("utf-8", "surrogatepass"), header["fields"]))
                case "done":
                    answer.is_done = True
                    return
                case "error":
                    answer.error = header
                    return
                case "out of memory":
                    answer.out_of_memory = True
                    return

    def kill(self) -> None:
        """Too late."""
        self.is_late = True
        self.process.kill()

    def end(self) -> None:
        """Let it go, and see it go."""
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            with contextlib.suppress(OSError):
                pipe.close()
        try:
            self.process.wait(1.0)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def cause_of_death(self) -> str:
        """The name of the signal that ended it, or its exit status."""
        code = self.process.returncode
        try:
            return signal.Signals(-code).name
        except ValueError:
            return f"exit status {code}"


# By process, for a fork copies this table and must not talk through its parent's pipes. A deque's ends are safe between threads.
_idle: defaultdict[tuple[int, int], deque[_Child]] = defaultdict(deque)


def _idle_child(memory: int) -> _Child | None:
    idle = _idle[os.getpid(), memory]
    while idle:
        try:
            child = idle.pop()
        except IndexError:
            return None
        if child.process.poll() is None:
            return child
        child.end()
    return None


@atexit.register
def end_all() -> None:
    """End the children that wait for another file."""
    for (process, _), children in list(_idle.items()):
        while process == os.getpid() and children:
            children.pop().end()


def _raise(path: Path, told: dict[str, Any]) -> NoReturn:
    """The error that the child met, of the class that it had there."""
    if told["class"] == BadFileError.__name__:
        raise BadFileError(told["path"] or path, told["reason"], offset=told["offset"], hint=told["hint"])
    kind = getattr(errors, told["class"])
    error: LlamariumError = kind.__new__(kind)  # its own __init__ would make the sentence again from parts that are gone
    LlamariumError.__init__(error, told["message"], hint=told["hint"])
    raise error


def serve() -> None:
    """The life of a child: a request a line, until there are no more."""
    memory = int(sys.argv[1])
    requests, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1):  # whatever a library prints must not be taken for an answer
        os.dup2(nothing, stream)
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    _limit_memory(memory)
    for line in requests:
        request = json.loads(line)
        if hasattr(signal, "alarm"):
            signal.alarm(math.ceil(request["seconds"]) + 1)
        is_well = _serve_one(request, answers)
        answers.flush()
        if not is_well:
            return
        if hasattr(signal, "alarm"):
            signal.alarm(0)


def _limit_memory(memory: int) -> None:
    try:
        import resource
    except ImportError:
        return
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with contextlib.suppress(ValueError, OSError):  # where the administrator allows less, that holds
        resource.setrlimit(resource.RLIMIT_DATA, (memory - CODE, memory - CODE))


def _serve_one(request: dict[str, Any], answers: BinaryIO) -> bool:
    """Answer one request; whether this process may go on."""
    try:
        _answer(request, answers)
        return True
    except MemoryError:
        pass  # with the error goes all that its frames held, so that there is room for an answer
    _say(answers, "out of memory")
    return False


def _answer(request: dict[str, Any], answers: BinaryIO) -> None:
    try:
        _read(request, answers)
        _say(answers, "done")
    except LlamariumError as error:
        told = {name: getattr(error, name, None) for name in ("message", "hint", "path", "reason", "offset")}
        _say(answers, "error", **{**told, "class": type(error).__name__})
    except MemoryError:
        raise
    except RecursionError:
        _bad_file(answers, "is nested too deeply.")
    except Exception as error:  # a parser's fault is no reason to stop reading other files
        _bad_file(answers, f"cannot be parsed ({type(error).__name__}: {str(error)[:200]}).")


def _read(request: dict[str, Any], answers: BinaryIO) -> None:
    shown = request["shown"]
    try:
        data = Path(request["file"]).read_bytes()
    except OSError as error:
        raise BadFileError(shown, f"cannot be opened ({error.strerror}).") from error
    left = request["text"]
    for piece in importlib.import_module(request["reader"]).read(data, path=shown, **request.get("options", {})):
        raw = piece.text.encode("utf-8", "surrogatepass")
        left -= len(raw)
        if left < 0:
            raise BadFileError(shown, f"holds more than {request['text'] >> 20} MB of text.", hint=SUSPICIOUS)
        fields = {field.name: getattr(piece, field.name) for field in dataclasses.fields(piece) if field.name != "text"}
        _say(answers, "piece", fields=fields, bytes=len(raw))
        answers.write(raw)


def _bad_file(answers: BinaryIO, reason: str) -> None:
    _say(answers, "error", **{"class": BadFileError.__name__}, path=None, reason=reason, offset=None, hint=SUSPICIOUS)


def _say(answers: BinaryIO, kind: str, **fields: Any) -> None:
    answers.write(json.dumps({"kind": kind, **fields}).encode() + b"\n")
