from __future__ import annotations

import errno
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from llamarium.ground import files
from llamarium.ground.errors import BadFileError, NotFoundError, ResourceError
from llamarium.ground.failpoints import VARIABLE
from llamarium.ground.files import (
    TEMPORARY,
    disk_errors,
    read_json,
    remove_leftovers,
    sha256,
    verify_manifest,
    write_bytes,
    write_folder,
    write_json,
    write_manifest,
    write_text,
)

POINTS = list(dict.fromkeys(re.findall(r'reached\("([a-z-]+)"\)', Path(files.__file__).read_text(encoding="utf-8"))))


def leftovers(parent: Path) -> list[str]:
    return sorted(path.name for path in parent.iterdir() if path.name.startswith(TEMPORARY))


def filler(text: str) -> Callable[[Path], None]:
    def fill(place: Path) -> None:
        (place / "a").write_text(f"{text} a")
        (place / "sub").mkdir()
        (place / "sub" / "b").write_text(f"{text} b")

    return fill


def holds(folder: Path) -> str:
    """ "old" or "new", after every file was checked."""
    assert sorted(verify_manifest(folder)["files"]) == ["a", "sub/b"]
    texts = {(folder / name).read_text().split()[0] for name in ("a", "sub/b")}
    assert len(texts) == 1, "half old, half new"
    return texts.pop()


# Single files


def test_sha256_is_that_of_the_bytes(tmp_path: Path) -> None:
    path = tmp_path / "abc"
    path.write_bytes(b"abc")
    assert sha256(path) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-2, appendix B.1
    path.write_bytes(b"a" * 1_000_000)
    assert sha256(path) == "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"  # and B.3


def test_a_file_is_replaced_and_its_folder_made(tmp_path: Path) -> None:
    path = tmp_path / "new" / "deep" / "file.json"
    write_bytes(path, b"1")
    write_text(path, "羊驼")
    assert path.read_bytes() == "羊驼".encode()
    write_json(path, {"名": [1, 2]})
    assert read_json(path) == {"名": [1, 2]}
    assert "名" in path.read_text(encoding="utf-8")
    assert [p.name for p in path.parent.iterdir()] == ["file.json"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    path = tmp_path / "file"
    write_bytes(path, b"old")

    def full(descriptor: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ResourceError, match=re.escape(str(path))) as caught:
        write_bytes(path, b"new")
    assert caught.value.exit_code == 4
    assert path.read_bytes() == b"old"
    assert leftovers(tmp_path) == []


def test_other_errors_stay_what_they_are(tmp_path: Path) -> None:
    with pytest.raises(PermissionError), disk_errors(tmp_path):
        raise PermissionError(errno.EACCES, "no")
    with pytest.raises(KeyError), disk_errors(tmp_path):
        raise KeyError("os error")


@pytest.mark.skipif(sys.platform == "win32", reason="this platform has no such limits")
def test_a_limit_that_safetensors_meets_is_seen(tmp_path: Path) -> None:
    """It is written in Rust and raises an error of its own, which is no OSError."""
    script = (
        "import resource, sys, numpy, pathlib\n"
        "from safetensors.numpy import save_file\n"
        "from llamarium.ground.files import write_folder\n"
        "from llamarium.ground.errors import ResourceError\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "parent = pathlib.Path(sys.argv[1])\n"
        "try:\n"
        "    write_folder(parent / 'x', lambda place: save_file({'a': numpy.zeros(10_000)}, place / 'model.safetensors'))\n"
        "except ResourceError as error:\n"
        "    print(error.message)\n"
    )
    child = subprocess.run([sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=True)
    assert "A limit on file sizes is reached" in child.stdout
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[" * 100_000, b'{"a": 1} x', b"9" * 10_000])
def test_what_is_no_json_is_a_bad_file(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.json"
    path.write_bytes(content)
    with pytest.raises(BadFileError, match=re.escape(f"{path}")):
        read_json(path)


def test_missing_json_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        read_json(tmp_path / "x.json")


# Manifests


def make(folder: Path) -> Path:
    folder.mkdir()
    filler("old")(folder)
    write_manifest(folder, {"step": 7})
    return folder


def test_a_manifest_lists_every_file(tmp_path: Path) -> None:
    folder = make(tmp_path / "x")
    manifest = verify_manifest(folder)
    assert manifest["step"] == 7
    assert manifest["files"]["sub/b"] == {"size": 5, "sha256": sha256(folder / "sub" / "b")}


def test_a_manifest_further_down_is_a_file_like_others(tmp_path: Path) -> None:
    folder = make(tmp_path / "x")
    (folder / "sub" / "manifest.json").write_text("{}")
    write_manifest(folder)
    (folder / "sub" / "manifest.json").write_text("[]")
    with pytest.raises(BadFileError, match="SHA-256"):
        verify_manifest(folder)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda folder: (folder / "a").write_text("old"), "bytes"),
        (lambda folder: (folder / "a").write_text("odd a"), "SHA-256"),
        (lambda folder: (folder / "a").unlink(), "missing"),
        (lambda folder: ((folder / "a").unlink(), (folder / "a").mkdir()), "missing"),
        (lambda folder: (folder / "manifest.json").unlink(), "not finished"),
        (lambda folder: (folder / "manifest.json").write_text("{"), "JSON"),
        (lambda folder: (folder / "manifest.json").write_text("[]"), "not a manifest"),
        (lambda folder: (folder / "manifest.json").write_text("{}"), "no files"),
        (lambda folder: (folder / "manifest.json").write_text('{"files": {}}'), "no files"),
        (lambda folder: (folder / "manifest.json").write_text('{"files": {"a": 5}}'), "malformed"),
    ],
)
def test_a_damaged_folder_is_refused(tmp_path: Path, change: Callable[[Path], object], reason: str) -> None:
    folder = make(tmp_path / "x")
    change(folder)
    with pytest.raises(BadFileError, match=reason):
        verify_manifest(folder)


@pytest.mark.parametrize("name", ["../secret", "/etc/hostname", "sub/../../secret", "\0", "\ud800", "a" * 5000, "", "link"])
def test_a_manifest_cannot_point_elsewhere(tmp_path: Path, name: str) -> None:
    (tmp_path / "secret").write_text("s")
    folder = make(tmp_path / "x")
    (folder / "link").symlink_to(tmp_path / "secret")
    entry = {"size": 1, "sha256": sha256(tmp_path / "secret")}
    (folder / "manifest.json").write_text(json.dumps({"files": {name: entry}}))
    with pytest.raises(BadFileError, match=r"malformed|missing"):
        verify_manifest(folder)


# Folders


@pytest.mark.parametrize("one_step", [True, False], ids=["exchange", "two renames"])
def test_a_folder_gives_way_when_the_new_one_is_complete(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, one_step: bool) -> None:
    if not one_step:
        monkeypatch.setattr(files, "_exchange", lambda one, other: False)
    folder = tmp_path / "folder"
    write_folder(folder, filler("old"))
    assert holds(folder) == "old"
    write_folder(folder, filler("new"), replace=True, extra={"step": 3})
    assert holds(folder) == "new"
    assert verify_manifest(folder)["step"] == 3
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_without_replace_the_old_folder_stays(tmp_path: Path) -> None:
    write_folder(tmp_path / "folder", filler("old"))
    with pytest.raises(OSError):
        write_folder(tmp_path / "folder", filler("new"))
    assert holds(tmp_path / "folder") == "old"
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize(
    "wrong", [ValueError("broken"), KeyboardInterrupt(), OSError(errno.ENOSPC, "full")], ids=lambda e: type(e).__name__
)
def test_a_failing_fill_keeps_the_old_folder(tmp_path: Path, wrong: BaseException) -> None:
    folder = tmp_path / "folder"
    write_folder(folder, filler("old"))

    def fill(place: Path) -> None:
        filler("new")(place)
        raise wrong

    with pytest.raises(ResourceError if isinstance(wrong, OSError) else type(wrong)):
        write_folder(folder, fill, replace=True)
    assert holds(folder) == "old"
    assert leftovers(tmp_path) == []


@pytest.mark.skipif(not Path("/dev/full").is_char_device(), reason="this platform has no /dev/full")
def test_a_really_full_device_keeps_the_old_folder(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    write_folder(folder, filler("old"))

    def fill(place: Path) -> None:
        (place / "a").write_text("new a")
        with Path("/dev/full").open("wb") as file:
            file.write(b"0" * 100_000)

    with pytest.raises(ResourceError, match="disk is full"):
        write_folder(folder, fill, replace=True)
    assert holds(folder) == "old"


@pytest.mark.parametrize("one_step", [True, False], ids=["exchange", "two renames"])
def test_a_failing_rename_keeps_the_old_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, one_step: bool) -> None:
    folder = tmp_path / "folder"
    write_folder(folder, filler("old"))
    if not one_step:
        monkeypatch.setattr(files, "_exchange", lambda one, other: False)
    point = "before-rename" if one_step else "between-renames"

    def fail(name: str) -> None:
        if name == point:
            raise RuntimeError(name)

    monkeypatch.setattr(files, "reached", fail)
    with pytest.raises(RuntimeError, match=point):
        write_folder(folder, filler("new"), replace=True)
    assert holds(folder) == "old"
    assert leftovers(tmp_path) == []


CHILD = """
import sys
from pathlib import Path
from llamarium.ground import files

def fill(place):
    (place / "a").write_text("new a")
    (place / "sub").mkdir()
    (place / "sub" / "b").write_text("new b")

if sys.argv[2] == "two-renames":
    files._exchange = lambda one, other: False
files.write_folder(Path(sys.argv[1]) / "folder", fill, replace=True)
"""


def kill_at(point: str, parent: Path, mode: str) -> int:
    command = [sys.executable, "-c", CHILD, str(parent), mode]
    return subprocess.run(command, env=os.environ | {VARIABLE: point}, capture_output=True, check=False).returncode


def test_the_failpoints_are_found() -> None:
    assert {"before-temporary", "before-fsync", "before-manifest", "before-rename", "between-renames", "after-rename"} <= set(POINTS)


@pytest.mark.parametrize("mode", ["exchange", "two-renames"])
@pytest.mark.parametrize("point", [*POINTS, "before-fsync:2"])
def test_kill_leaves_the_old_folder_whole_or_the_new_one(tmp_path: Path, point: str, mode: str) -> None:
    folder = tmp_path / "folder"
    write_folder(folder, filler("old"))
    if point == "between-renames" and mode == "exchange":
        assert kill_at(point, tmp_path, mode) == 0, "there is no such moment"
        return
    assert kill_at(point, tmp_path, mode) == -signal.SIGKILL
    if point == "between-renames":
        assert not folder.exists(), "only here it is without its name, until the leftovers are looked through"
    else:
        assert holds(folder) == ("new" if point == "after-rename" else "old")
    remove_leftovers(tmp_path)
    assert holds(folder) == ("new" if point == "after-rename" else "old")
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


@pytest.mark.parametrize("point", ["after-temporary", "before-manifest", "after-manifest", "before-rename", "after-rename"])
def test_kill_while_a_first_folder_is_made(tmp_path: Path, point: str) -> None:
    assert kill_at(point, tmp_path, "exchange") == -signal.SIGKILL
    remove_leftovers(tmp_path)
    if point == "after-rename":
        assert holds(tmp_path / "folder") == "new"
    else:
        assert list(tmp_path.iterdir()) == []


def test_leftovers_go_and_nothing_else_does(tmp_path: Path) -> None:
    (tmp_path / f"{TEMPORARY}12345678-x").mkdir()
    (tmp_path / f"{TEMPORARY}12345678-y").write_text("")
    (tmp_path / f"{TEMPORARY}12345678-old-x").mkdir()  # a new folder called "old-x", half done: not somebody's old one
    (tmp_path / "kept").write_text("")
    (tmp_path / ".hidden").write_text("")
    remove_leftovers(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".hidden", "kept"]
    remove_leftovers(tmp_path / "absent")


def test_an_old_folder_whose_successor_came_is_a_leftover(tmp_path: Path) -> None:
    write_folder(tmp_path / "folder", filler("new"))
    write_folder(tmp_path / f"{files.OLD}12345678-folder", filler("old"))
    remove_leftovers(tmp_path)
    assert holds(tmp_path / "folder") == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]
