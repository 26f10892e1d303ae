"""P20: beyond loopback only with a key, which every route needs, and which is written down nowhere."""

from __future__ import annotations

import base64
import hmac
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from starlette.routing import Route

from llamarium.cli.main import run
from llamarium.engine.language_model import LanguageModel
from llamarium.ground.errors import BadFileError, NotFoundError, UsageError
from llamarium.server.key import VARIABLE, Key, read_key

Start = Callable[..., Any]
SECRET = "correct-horse-battery-staple"


def basic(secret: str) -> str:
    return "Basic " + base64.b64encode(f"me:{secret}".encode()).decode()


BAD = {
    "none": None,
    "empty": "",
    "no scheme": SECRET,
    "another": "Bearer wrong-horse-battery-staple",
    "its beginning": f"Bearer {SECRET[:-1]}",
    "longer": f"Bearer {SECRET}x",
    "upper case": f"Bearer {SECRET.upper()}",
    "another scheme": f"Token {SECRET}",
    "a browser's, wrong": basic("wrong"),
    "a browser's, as the name": "Basic " + base64.b64encode(f"{SECRET}:".encode()).decode(),
    "not base64": f"Basic {SECRET}!",
    "not text": "Bearer \xff\xfe",
}
GOOD = {"a client's": f"Bearer {SECRET}", "a client's, lower case": f"bearer {SECRET}", "a browser's": basic(SECRET)}


def wrong_doors(served: Any) -> list[str]:
    """Every route of the application, and some that there are not, with every key: where the answer is not as it should be."""
    found = []
    routes = [route for route in served.application._guarded.app.routes if isinstance(route, Route)]
    assert len(routes) >= 14
    doors = [(method, route.path) for route in routes for method in route.methods or () if method != "HEAD"]
    for method, path in [*doors, ("GET", "/nothing"), ("DELETE", "/ask"), ("GET", "/../page.js")]:
        place = path.replace("{name:path}", "tiny").replace("{document:path}", "nothing")
        for what, value in {**BAD, **GOOD}.items():
            headers = [(b"content-type", b"application/json")]
            headers += [] if value is None else [(b"authorization", value.encode("latin-1"))]
            answer = served.client.request(method, place, headers=headers, content=b"{}")
            opened = answer.status_code != 401
            if opened != (what in GOOD):
                found.append(f"{method} {path} with {what}: {answer.status_code}")
            if not opened and (SECRET in answer.text or "www-authenticate" not in answer.headers):
                found.append(f"{method} {path} with {what}: {answer.text}")
    return found


def serve_with_key(serving: Start, echo: LanguageModel) -> Any:
    served = serving(echo, key=SECRET)
    del served.client.headers["authorization"]
    return served


def test_every_route_needs_the_key(serving: Start, echo: LanguageModel) -> None:
    assert wrong_doors(serve_with_key(serving, echo)) == []


def test_control_a_door_that_is_open_is_seen(serving: Start, echo: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    def opens(self: Key, authorization: Sequence[bytes]) -> bool:
        return True

    monkeypatch.setattr(Key, "opens", opens)
    assert len(wrong_doors(serve_with_key(serving, echo))) > 100


def test_two_keys_are_none() -> None:
    key = Key(SECRET)
    assert key.opens([f"Bearer {SECRET}".encode()])
    assert not key.opens([f"Bearer {SECRET}".encode()] * 2)
    assert not key.opens([])


def test_keys_are_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    compared = []

    def compare(one: bytes, other: bytes) -> bool:
        compared.append((len(one), len(other)))
        return one == other

    monkeypatch.setattr(hmac, "compare_digest", compare)
    for value in filter(None, [*BAD.values(), *GOOD.values()]):
        Key(SECRET).opens([value.encode("latin-1")])
    assert set(compared) == {(32, 32)}  # digests, whatever was sent
    assert len(compared) >= 9


def test_a_key_is_held_as_its_digest_only() -> None:
    key = Key(SECRET)
    assert SECRET not in repr(vars(key)) + repr(key)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.org"])
def test_beyond_loopback_a_key_is_needed(host: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    assert run(["serve", "no-such-model", "--host", host, "--port", "0"]) == 2
    heard = capsys.readouterr().err
    assert "there is no key" in heard
    assert "--api-key-file" in heard


def test_where_a_key_comes_from(tmp_path: Path, said: list[str]) -> None:
    file = tmp_path / "key"
    file.write_text(f"{SECRET}\n")
    file.chmod(0o600)
    from_file = read_key(file, {VARIABLE: "another"})
    assert from_file is not None
    assert from_file.opens([f"Bearer {SECRET}".encode()])
    assert said == []
    from_environment = read_key(None, {VARIABLE: SECRET})
    assert from_environment is not None
    assert from_environment.opens([f"Bearer {SECRET}".encode()])
    assert read_key(None, {}) is None
    file.chmod(0o644)
    read_key(file, {})
    assert said == [f"others on this machine can read {file}: chmod 600 keeps the key yours"]


@pytest.mark.parametrize("content", [b"", b" \n", b"two words\n", b"two\nlines\n", b"\xff\xfe", "schlüssel".encode(), b"x" * 5000])
def test_what_is_no_key_is_refused_without_being_shown(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "key").write_bytes(content)
    with pytest.raises(BadFileError) as caught:
        read_key(tmp_path / "key", {})
    assert not content.strip() or content.strip().decode("utf-8", "replace")[:9] not in f"{caught.value.message} {caught.value.hint}"
    with pytest.raises(NotFoundError):
        read_key(tmp_path / "absent", {})
    with pytest.raises(UsageError):
        read_key(None, {VARIABLE: " "})


def test_there_is_no_option_that_takes_a_key() -> None:
    """What stands on a command line, every user of the machine can read."""
    command = [sys.executable, "-m", "llamarium", "serve", "--help"]
    child = subprocess.run(command, capture_output=True, encoding="utf-8", check=True, env=os.environ | {"COLUMNS": "200"})
    assert "--api-key-file" in child.stdout
    assert "--api-key " not in child.stdout


def test_no_log_and_no_traceback_shows_it(
    serving: Start, echo: LanguageModel, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    served = serve_with_key(serving, echo)

    def breaks(*arguments: Any, **options: Any) -> Any:
        raise RuntimeError("on purpose")

    monkeypatch.setattr(served.application.library, "ask", breaks)
    for value in (f"Bearer {SECRET}", basic(SECRET)):
        answer = served.client.post("/ask", json={"question": "Where?"}, headers={"Authorization": value})
        assert answer.status_code == 500
        assert SECRET not in answer.text
        assert "on purpose" not in answer.text
    served.stop()  # the answer comes before the log is written
    heard = caplog.text
    assert "on purpose" in heard  # there was a traceback
    assert SECRET not in heard
    assert basic(SECRET)[6:] not in heard
