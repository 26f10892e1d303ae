"""P25: no network and no telemetry unless asked.

Every import and the verbs of the table run in a child in which an attempt to leave the machine is written down and refused,
also in processes that the child starts, and also where the attempt is made in a `try`. To guard another verb, add a row.

The guard is Python's own audit hook, which no library can take out again. It does not see sockets that native code opens by
itself; a run in a network namespace without routes does.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import llamarium
from llamarium.ground.telemetry import PREFERENCES, SWITCHES

# What each switch must say, written a second time: a switch that is lost in one place is missed in the other.
OFF = {
    "HF_HUB_DISABLE_TELEMETRY": "1",  # huggingface_hub
    "DISABLE_TELEMETRY": "1",  # huggingface_hub, its older name
    "DO_NOT_TRACK": "1",  # huggingface_hub, Daft, others
    "HF_HUB_DISABLE_IMPLICIT_TOKEN": "1",  # huggingface_hub: no token unless `pull` sends it
    "DAFT_ANALYTICS_ENABLED": "0",  # Daft
    "SCARF_NO_ANALYTICS": "true",  # Daft, and what else reports through Scarf
    "RAY_USAGE_STATS_ENABLED": "0",  # Ray
    "QDRANT__TELEMETRY_DISABLED": "true",  # Qdrant's server
}

# Arguments of the verb and its exit code; {home} is an empty folder that holds note.txt.
VERBS: dict[str, tuple[list[str], int]] = {
    "help": (["--help"], 0),
    "version": (["--version"], 0),
    "doctor": (["doctor"], 0),
    "the catalogue": (["pull"], 0),
    "a model that is not here": (["generate", "smollm2-135m-instruct", "Hello"], 2),
    "a model of the hub that is not here": (["evaluate", "hf:Qwen/Qwen3-0.6B"], 2),
    "an unknown name": (["pull", "nothing-of-this-name"], 2),
    "read": (["read", "{home}/note.txt"], 0),
}

# Python runs this at the start of every interpreter that has its folder on PYTHONPATH.
GUARD = """
import os, sys

def guard(event, arguments):
    if event in ("socket.connect", "socket.sendto", "socket.sendmsg"):
        address = arguments[1]
        if address is None or isinstance(address, (str, bytes)):
            return  # a Unix socket, or one that was connected (and seen) before
    elif event in ("socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr", "socket.getnameinfo"):
        address = arguments[0]
    else:
        return
    with open(os.environ["GUARD_RECORD"], "a") as record:
        record.write(f"{event} {address!r}\\n")
    raise OSError(f"{event} {address!r}: the network is out of bounds here")

sys.addaudithook(guard)
"""


class Guarded:
    """Runs Python without a network, and says what it tried to reach."""

    def __init__(self, folder: Path) -> None:
        self.record = folder / "record.txt"
        self.home = folder / "home"
        self.home.mkdir()
        (self.home / "note.txt").write_text("A note.\n")
        (folder / "site").mkdir()
        (folder / "site" / "sitecustomize.py").write_text(GUARD)
        # Nothing of this process's switches: the child must set its own.
        self.environment = {name: value for name, value in os.environ.items() if name not in SWITCHES | OFF | PREFERENCES}
        path = os.pathsep.join([str(folder / "site"), *filter(None, [os.environ.get("PYTHONPATH")])])
        self.environment |= {"PYTHONPATH": path, "GUARD_RECORD": str(self.record)}
        self.environment |= {"LLAMARIUM_HOME": str(self.home), "HOME": str(self.home), "HF_HOME": str(self.home / "hf")}

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, *arguments]
        return subprocess.run(command, env=self.environment, capture_output=True, encoding="utf-8", check=False, timeout=250, cwd=self.home)

    def tried(self) -> list[str]:
        return self.record.read_text().splitlines() if self.record.exists() else []


@pytest.fixture
def guarded(tmp_path: Path) -> Guarded:
    return Guarded(tmp_path)


@pytest.mark.parametrize("name", VERBS)
def test_a_verb_stays_on_this_machine(guarded: Guarded, name: str) -> None:
    arguments, code = VERBS[name]
    child = guarded.run("-m", "llamarium", *(argument.format(home=guarded.home) for argument in arguments))
    assert child.returncode == code, child.stderr
    assert guarded.tried() == []


IMPORT_ALL = """
import importlib, json, sys
imported, absent = [], []
for name in json.loads(sys.argv[1]):
    try:
        importlib.import_module(name)
        imported.append(name)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] == "llamarium":
            raise
        absent.append(name)  # it needs an extra that is not installed here
print(json.dumps([imported, absent]))
"""


def test_every_import_stays_on_this_machine(guarded: Guarded) -> None:
    root = Path(llamarium.__file__).parent
    paths = [path.relative_to(root.parent).with_suffix("") for path in sorted(root.rglob("*.py"))]
    names = [".".join(path.parts).removesuffix(".__init__") for path in paths]
    assert "llamarium.ground.files" in names
    names.append("qdrant_client")  # imported only where its server is asked
    child = guarded.run("-c", IMPORT_ALL, json.dumps(names))
    assert child.returncode == 0, child.stderr
    imported, absent = json.loads(child.stdout.splitlines()[-1])
    assert len(imported) > len(names) / 2, absent
    assert guarded.tried() == []


# Control: the guard sees what it should.

ATTEMPTS = {
    "connect": "import socket; socket.create_connection(('192.0.2.1', 80))",
    "connect on this machine": "import socket; socket.socket().connect(('127.0.0.1', 9))",
    "connect by another name": "import _socket; _socket.socket().connect_ex(('192.0.2.1', 80))",
    "a name": "import socket; socket.getaddrinfo('example.org', 80)",
    "an old way to ask for a name": "import socket; socket.gethostbyname('example.org')",
    "a datagram": "import socket; socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('192.0.2.1', 53))",
    "urllib": "import urllib.request; urllib.request.urlopen('http://192.0.2.1/')",
    "asyncio": "import asyncio; asyncio.run(asyncio.open_connection('192.0.2.1', 80))",
    "another process": "import sys, subprocess as s; s.run([sys.executable, '-c', 'import socket; socket.gethostbyname(chr(120))'])",
    "a thread": "import threading, socket; t = threading.Thread(target=socket.getaddrinfo, args=('x', 1)); t.start(); t.join()",
    "a vector server": "from llamarium.apps.ask.qdrant import Qdrant as Q; Q('qdrant://192.0.2.1:6333', name='x')",
    "the hub": "import huggingface_hub; huggingface_hub.snapshot_download('a/b')",
}


@pytest.mark.parametrize("name", ATTEMPTS)
def test_control_an_attempt_is_seen_even_if_it_is_caught(guarded: Guarded, name: str) -> None:
    script = f"import llamarium\ntry:\n    {ATTEMPTS[name]}\nexcept Exception:\n    pass"
    assert guarded.run("-c", script).returncode == 0
    assert guarded.tried() != []


def test_control_pull_is_seen(guarded: Guarded) -> None:
    """The one verb that may: asked to fetch, it reaches out, fails here, and says so in a sentence."""
    child = guarded.run("-m", "llamarium", "pull", "hf:Qwen/Qwen3-0.6B")
    assert child.returncode == 1
    assert child.stderr.startswith("error: Qwen/Qwen3-0.6B could not be downloaded")
    assert "Traceback" not in child.stderr
    assert guarded.tried() != []


def test_sockets_within_this_machine_are_left_alone(guarded: Guarded) -> None:
    script = "import socket, os\na, b = socket.socketpair(); a.send(b'x'); assert b.recv(1) == b'x'\n"
    script += "s = socket.socket(socket.AF_UNIX); s.bind('s'); s.listen(); c = socket.socket(socket.AF_UNIX); c.connect('s')"
    child = guarded.run("-c", script)
    assert (child.returncode, guarded.tried()) == (0, []), child.stderr


VECTORS = """
import os, sys
from llamarium.apps.ask.qdrant import KEY, Qdrant
from llamarium.ground.errors import NetworkError
os.environ |= {"HTTP_PROXY": "http://192.0.2.9:1", "HTTPS_PROXY": "http://192.0.2.9:1", "ALL_PROXY": "http://192.0.2.9:1", KEY: "k"}
try:
    Qdrant(sys.argv[1], name="x")
except NetworkError:
    sys.exit(0)
sys.exit("no error")
"""


def test_a_vector_server_is_asked_and_nobody_else(guarded: Guarded) -> None:
    """Neither a proxy of the environment's nor anybody who would like to know that it is used."""
    child = guarded.run("-c", VECTORS, "qdrant+https://192.0.2.1")
    assert child.returncode == 0, child.stderr
    assert guarded.tried() != []
    assert {attempt.partition(" ")[2] for attempt in guarded.tried()} <= {"'192.0.2.1'", "b'192.0.2.1'", "('192.0.2.1', 6333)"}


# Telemetry

STATE = """
import json, os, sys
import llamarium
from llamarium.ground import telemetry
assert "huggingface_hub" not in sys.modules
left_out = json.loads(sys.argv[1])
if left_out:
    for name in telemetry.SWITCHES:
        os.environ.pop(name)
    for name in left_out:
        del telemetry.SWITCHES[name]
    telemetry.off()
import huggingface_hub.constants as hub
print(json.dumps({"environment": dict(os.environ), "hub": [hub.HF_HUB_DISABLE_TELEMETRY, hub.HF_HUB_DISABLE_IMPLICIT_TOKEN]}))
"""


def assert_off(guarded: Guarded, *, left_out: tuple[str, ...] = ()) -> None:
    """After ``import llamarium`` every switch says off, and huggingface_hub, imported later, has understood."""
    child = guarded.run("-c", STATE, json.dumps(left_out))
    assert child.returncode == 0, child.stderr
    state = json.loads(child.stdout)
    assert state["hub"] == [True, True], "huggingface_hub reports, or sends a token unasked"
    for name, value in OFF.items():
        assert state["environment"].get(name) == value, name


def test_telemetry_is_off_before_it_is_imported(guarded: Guarded) -> None:
    assert_off(guarded)
    assert set(SWITCHES) == set(OFF)


@pytest.mark.parametrize("name", OFF)
def test_control_one_switch_left_on_is_noticed(guarded: Guarded, name: str) -> None:
    with pytest.raises(AssertionError, match="unasked" if name == "HF_HUB_DISABLE_IMPLICIT_TOKEN" else name):
        assert_off(guarded, left_out=(name,))


def test_control_the_hubs_library_reports_when_nobody_tells_it_not_to(guarded: Guarded) -> None:
    with pytest.raises(AssertionError, match="huggingface_hub reports"):
        assert_off(guarded, left_out=("HF_HUB_DISABLE_TELEMETRY", "DISABLE_TELEMETRY", "DO_NOT_TRACK"))


# The whole chain, verb after verb in one child, and the quickstart where there is no network at all.

CHAIN = """
import sys
from pathlib import Path
from llamarium.cli.main import run
words = "the quick brown fox jumps over the lazy dog and a llama eats grass while it rains in the hills".split()
for number in range(40):
    text = " ".join(words[(number * i + i * i) % len(words)] for i in range(200 + number))
    Path("docs").mkdir(exist_ok=True)
    Path(f"docs/{number}.txt").write_text(text)
Path("recipe.yaml").write_text(
    "name: tiny\\n"
    "data: {corpus: corpus, tokenizer: tok}\\n"
    "model: {width: 32, layers: 1, heads: 2}\\n"
    "train: {steps: 3, batch_tokens: 128, sequence_length: 32, precision: float32}\\n"
)
for arguments in (
    ["prepare", "docs", "--out", "corpus"],
    ["tokenizer", "train", "corpus", "--vocab-size", "300", "--out", "tok"],
    ["tokenizer", "inspect", "tok", "a llama"],
    ["train", "recipe.yaml", "--dry-run"],
    ["train", "recipe.yaml"],
    ["train", "recipe.yaml", "--resume"],
    ["evaluate", "runs/tiny", "--data", "corpus", "--json"],
    ["generate", "runs/tiny", "a llama", "--max-tokens", "4", "--json"],
    ["chat", "runs/tiny", "hello", "--max-tokens", "2"],
    ["export", "runs/tiny", "--to", "hf", "--out", "exported"],
    ["index", "docs", "--out", "docs.index"],
    ["ask", "What does a llama eat?", "--index", "docs.index"],
):
    code = run(arguments)
    assert code == 0, (arguments, code)
"""


def test_the_whole_chain_stays_on_this_machine(guarded: Guarded) -> None:
    child = guarded.run("-c", CHAIN)
    assert child.returncode == 0, child.stderr
    assert guarded.tried() == []


@pytest.mark.slow
def test_quickstart_ends_well_without_any_network(guarded: Guarded) -> None:
    """In a network namespace without routes, where no library, compiled or not, can reach anything."""
    command = ["unshare", "--net", "--map-root-user", sys.executable, "-m", "llamarium", "quickstart", "--minutes", "1", "--out", "qs"]
    if subprocess.run(["unshare", "--net", "--map-root-user", "true"], capture_output=True, check=False).returncode:
        pytest.skip("this machine allows no network namespaces")
    child = subprocess.run(
        command, env=guarded.environment, capture_output=True, encoding="utf-8", check=False, timeout=280, cwd=guarded.home
    )
    assert child.returncode == 0, child.stderr
    assert guarded.tried() == []
    report = (guarded.home / "qs" / "report.html").read_text(encoding="utf-8")
    assert "llamarium pull smollm2-135m-instruct" in report
