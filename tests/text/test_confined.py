"""A child that reads: what it may not do, what becomes of it, and that nobody but it is harmed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from llamarium.ground.errors import BadFileError, MissingExtraError
from llamarium.text import confined
from llamarium.text.confined import Limits

# Readers that do what hostile files make real ones do.
READERS = {
    "wait": "import time\n    time.sleep(60)\n    yield",
    "eat": "held = bytearray(2_000_000_000)\n    yield Piece(str(len(held)))",
    "fill": "held = []\n    while True:\n        held.append(str(len(held)))\n    yield",
    "die": "import os, signal\n    os.kill(os.getpid(), signal.SIGSEGV)\n    yield",
    "leave": "import os\n    os._exit(7)\n    yield",
    "print": 'print(\'{"kind": "done"}\', flush=True)\n    yield Piece(data.decode())',
    "long": "for number in range(100):\n        yield Piece('a' * 100_000)",
    "odd": "yield Piece('\\ud800\\n{\"kind\"}\\x00', 3, pages=(0, 5), encoding='x', member='m', problem='p', web=True)",
    "fail": "raise KeyError('of a parser')\n    yield",
    "recurse": "def down():\n        down()\n    down()\n    yield",
    "bad": "raise BadFileError(path, 'is bad.', offset=7, hint='Look.')\n    yield",
    "missing": "raise MissingExtraError('This', extra='text', package='nothing')\n    yield",
    "modules": "import sys\n    yield Piece(' '.join(sys.modules))",
    "process": "import os\n    yield Piece(str(os.getpid()))",
    "leak": "import sys\n    sys.leak = bytearray(int(data))\n    yield Piece('')",
}
HEAD = "from llamarium.text.document import Piece\nfrom llamarium.ground.errors import *\nSUFFIXES = ()\ndef read(data, *, path):\n    "


@pytest.fixture(scope="module", autouse=True)
def readers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The package that children look for readers in; they find it by the path that they inherit."""
    root = tmp_path_factory.mktemp("readers")
    (root / "strange_readers").mkdir()
    (root / "strange_readers" / "__init__.py").touch()
    for name, body in READERS.items():
        (root / "strange_readers" / f"{name}.py").write_text(HEAD + body + "\n", encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        confined.end_all()
        patch.setenv("PYTHONPATH", os.pathsep.join(filter(None, (str(root), os.environ.get("PYTHONPATH", "")))))
        yield
        confined.end_all()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "a.strange"
    path.write_text("羊驼", encoding="utf-8")
    return path


def texts(path: Path, reader: str, limits: Limits = Limits()) -> list[str]:  # noqa: B008
    return [found.text for found in confined.read(path, reader=f"strange_readers.{reader}", limits=limits)]


def test_what_is_found_comes_whole(file: Path) -> None:
    found = confined.read(file, reader="strange_readers.odd", limits=Limits())
    assert [piece.text for piece in found] == ['\ud800\n{"kind"}\x00']
    assert found[0].fields == {"record": 3, "pages": [0, 5], "encoding": "x", "member": "m", "problem": "p", "web": True}


def test_a_child_reads_many_files(file: Path) -> None:
    assert texts(file, "process") == texts(file, "process")
    assert texts(file, "process") != [str(os.getpid())]


def test_what_a_reader_prints_is_no_answer(file: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert texts(file, "print") == ["羊驼"]
    assert capfd.readouterr() == ("", "")


def test_a_child_knows_only_what_it_needs(file: Path) -> None:
    modules = set(texts(file, "modules")[0].split())
    assert not modules & {"torch", "numpy", "pyarrow", "typer", "pydantic"}


@pytest.mark.parametrize(
    ("reader", "limits", "says"),
    [
        ("wait", Limits(seconds=0.4), "took longer than 0.4 s"),
        ("eat", Limits(memory=256 << 20), "needs more than 256 MB of memory"),
        ("fill", Limits(memory=100 << 20), "needs more than 100 MB of memory"),
        ("long", Limits(text=1 << 20), "holds more than 1 MB of text"),
        ("die", Limits(), "made the process that read it stop (SIGSEGV)"),
        ("leave", Limits(), "made the process that read it stop (exit status 7)"),
        ("fail", Limits(), "cannot be parsed (KeyError: 'of a parser')"),
        ("recurse", Limits(), "is nested too deeply"),
    ],
)
def test_a_limit_is_named_and_the_next_file_is_read(reader: str, limits: Limits, says: str, file: Path) -> None:
    start = time.monotonic()
    with pytest.raises(BadFileError) as caught:
        texts(file, reader, limits)
    assert says in caught.value.message
    assert str(file) in caught.value.message
    assert caught.value.hint == confined.SUSPICIOUS
    assert time.monotonic() - start < 5
    assert texts(file, "print", limits) == ["羊驼"]


def test_errors_of_readers_come_as_they_were(file: Path) -> None:
    with pytest.raises(BadFileError) as bad:
        texts(file, "bad")
    assert (bad.value.message, bad.value.reason, bad.value.offset, bad.value.hint) == (f"{file}, byte 7: is bad.", "is bad.", 7, "Look.")
    with pytest.raises(MissingExtraError) as missing:
        texts(file, "missing")
    assert missing.value.message == "This needs the package nothing, which is not installed."
    assert missing.value.exit_code == 2


def test_a_file_that_is_gone(file: Path) -> None:
    file.unlink()
    with pytest.raises(BadFileError, match="cannot be opened"):
        texts(file, "print")


def test_what_an_earlier_file_left_behind_does_not_decide(file: Path) -> None:
    limits = Limits(memory=300 << 20)
    for size in (150 << 20, 150 << 20):  # the second would be too much for a child that still holds the first
        file.write_text(str(size), encoding="utf-8")
        assert texts(file, "leak", limits) == [""]


def test_a_child_is_replaced_in_time(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(confined, "MOST_FILES", 2)
    limits = Limits(memory=400 << 20)  # none waits with this one
    processes = [texts(file, "process", limits)[0] for _ in range(4)]
    assert processes[0] == processes[1] != processes[2] == processes[3]


def test_threads_have_their_own(file: Path) -> None:
    found: list[str] = []

    def work() -> None:
        for _ in range(20):
            found.extend(texts(file, "print"))

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == ["羊驼"] * 60


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_fork_has_its_own(file: Path) -> None:
    here = texts(file, "process")
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writing, texts(file, "process")[0].encode())
        confined.end_all()
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as answer:
        assert answer.read() not in ("", here[0])
    os.waitpid(child, 0)
    assert texts(file, "process") == here


def test_nothing_is_imported_from_where_we_stand(file: Path, tmp_path: Path) -> None:
    (tmp_path / "json.py").write_text("raise SystemExit('taken')\n", encoding="utf-8")
    script = f"import sys; sys.path.pop(0)\nfrom llamarium.text import confined\n{READ.format(str(file), 'print')}"
    assert subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True).stdout == "羊驼\n"


READ = """from pathlib import Path
print(confined.read(Path({!r}), reader='strange_readers.{}', limits=confined.Limits())[0].text, flush=True)"""


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
@pytest.mark.parametrize("how", ["idle", "busy"])
def test_a_child_ends_with_its_parent(how: str, file: Path) -> None:
    wait = "import time; time.sleep(60)" if how == "idle" else READ.format(str(file), "wait").replace("Limits()", "Limits(seconds=1.0)")
    script = f"from llamarium.text import confined\n{READ.format(str(file), 'process')}\n{wait}"
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    number = int(parent.stdout.readline())
    assert psutil.pid_exists(number)
    time.sleep(0.1)  # so that it is busy
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    parent.stdout.close()
    deadline = time.monotonic() + 5  # the alarm of a busy one comes after two seconds
    while psutil.pid_exists(number) and psutil.Process(number).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_ctrl_c_leaves_nobody_behind(file: Path) -> None:
    before = {child.pid for child in psutil.Process().children()}

    def stop(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    old = signal.signal(signal.SIGUSR1, stop)
    try:
        timer = threading.Timer(0.3, lambda: os.kill(os.getpid(), signal.SIGUSR1))
        timer.start()
        with pytest.raises(KeyboardInterrupt):
            texts(file, "wait")
        timer.join()
    finally:
        signal.signal(signal.SIGUSR1, old)
    assert {child.pid for child in psutil.Process().children()} <= before
    assert texts(file, "print") == ["羊驼"]


def test_a_long_file_has_more_time() -> None:
    assert Limits.for_size(10_000) == Limits() == Limits(seconds=10.0, memory=512 << 20)
    assert Limits.for_size(1 << 20).seconds == 64.0
    assert Limits.for_size(1 << 30).seconds == confined.LONGEST


def test_requests_are_lines_of_json(file: Path) -> None:
    """The protocol as its docstring has it, spoken by hand."""
    request = json.dumps({"reader": "strange_readers.print", "shown": "a", "file": str(file), "seconds": 5, "text": 1000})
    script = "from llamarium.text import confined; confined.serve()"
    command = [sys.executable, "-c", script, str(512 << 20)]
    out = subprocess.run(command, input=f"{request}\n{request}\n".encode(), capture_output=True, check=True).stdout
    assert out.count("羊驼".encode()) == 2
    assert out.endswith(b'{"kind": "done"}\n')
