"""A server that runs in a thread, on a port of its own, with a real model: a tiny LLaMA, or one that says back what it is told.

And a browser: Chromium without a window, driven over a pipe by the DevTools protocol, which needs no package at all.
"""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import pytest
import torch
from torch import Tensor, nn

from llamarium.apps.ask.index import build_in_memory
from llamarium.checkpoint.open import Opened
from llamarium.engine.language_model import LanguageModel
from llamarium.models import llama
from llamarium.models.model import Context, Model
from llamarium.server import application, run
from llamarium.server.guard import Hosts
from llamarium.server.key import Key
from llamarium.server.library import Library
from llamarium.tokens.train import bytes_tokenizer

TOKENIZER = bytes_tokenizer()
START, END = TOKENIZER.specials["<|im_start|>"], TOKENIZER.specials["<|im_end|>"]
USER, BREAK = TOKENIZER.encode("user\n"), TOKENIZER.encode("\n")


@dataclass(frozen=True)
class EchoConfig:
    vocab_size: int = TOKENIZER.vocab_size
    context_length: int = 4096


class Echo(Model):
    """Says back the last message of a conversation, one id a step; `pause` is how long a step takes, `steps` counts them."""

    KIND = "decoder"

    def __init__(self) -> None:
        super().__init__()
        self.config = EchoConfig()
        self.blocks = nn.ModuleList()
        self.place = nn.Parameter(torch.zeros(1))
        self.pause = 0.0
        self.steps = 0
        self.says: str | None = None  # instead of what it was told
        self.reply: list[int] = []

    def forward(self, ids_BT: Tensor, context: Context) -> Tensor:
        self.steps += 1
        time.sleep(self.pause)
        ids = ids_BT[0].tolist()
        if len(ids) > 1:
            turns = [list(turn) for turn in _split(ids, START)]
            said = next((turn[len(USER) : turn.index(END)] for turn in reversed(turns) if turn[: len(USER)] == USER), [])
            self.reply = list(said) if self.says is None else TOKENIZER.encode(self.says)
        logits_BTV = torch.full((1, len(ids), self.config.vocab_size), -50.0)
        logits_BTV[0, -1, self.reply.pop(0) if self.reply else END] = 50.0
        return logits_BTV


def _split(ids: list[int], mark: int) -> Iterator[list[int]]:
    part: list[int] = []
    for number in ids:
        if number == mark:
            yield part
            part = []
        else:
            part.append(number)
    yield part


def in_hand(model: Model) -> LanguageModel:
    return LanguageModel(Opened("tiny", model.eval(), TOKENIZER, TOKENIZER.stop_ids))


@pytest.fixture
def echo() -> LanguageModel:
    return in_hand(Echo())


@pytest.fixture
def tiny() -> LanguageModel:
    """A LLaMA of random weights, with a context of 256."""
    torch.manual_seed(0)
    model = llama.Model(replace(llama.TINY, vocab_size=TOKENIZER.vocab_size, context_length=256))
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.3)
    return in_hand(model)


@dataclass
class Served:
    """A server that answers at `url`. `client` speaks to it."""

    url: str
    application: application.Application
    server: run.Server
    client: httpx.Client
    stop: Callable[[], None]

    def post(self, path: str, value: Any = None, **options: Any) -> httpx.Response:
        return self.client.post(path, json=value, **options)

    def until(self, what: Callable[[], bool], *, seconds: float = 10.0) -> bool:
        end = time.monotonic() + seconds
        while not what() and time.monotonic() < end:
            time.sleep(0.005)
        return what()


@pytest.fixture
def serving() -> Iterator[Callable[..., Served]]:
    """Start a server: ``serving(model, docs=FOLDER, key=..., hosts=..., page=...)``. All are stopped at the end."""
    with ExitStack() as stack:

        def start(
            model: LanguageModel,
            *,
            docs: Path | None = None,
            key: str | None = None,
            hosts: Hosts | None = None,
            page: Path = application.PAGE,
            grace: float = 10.0,
        ) -> Served:
            bound = stack.enter_context(run.bind("127.0.0.1", 0))
            url = f"http://127.0.0.1:{bound.getsockname()[1]}"
            library = Library(None if docs is None else lambda: build_in_memory([docs]))
            stack.callback(library.close)
            secret = None if key is None else Key(key)
            app = application.Application(model, name="tiny", library=library, hosts=hosts or Hosts(), key=secret, page=page)
            stack.callback(app.close)
            ready, loops = threading.Event(), []

            def note() -> None:
                import asyncio

                loops.append(asyncio.get_running_loop())
                ready.set()

            server = run.Server(app, ready=note, grace=grace)
            thread = threading.Thread(target=server.run, args=([bound],))

            def stop() -> None:
                if thread.is_alive():
                    loops[0].call_soon_threadsafe(server.stop)
                    thread.join(20)
                assert not thread.is_alive()

            thread.start()
            stack.callback(stop)
            assert ready.wait(10)
            headers = {} if key is None else {"Authorization": f"Bearer {key}"}
            client = stack.enter_context(httpx.Client(base_url=url, headers=headers, timeout=30, trust_env=False))
            return Served(url, app, server, client, stop)

        yield start


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    folder = tmp_path / "docs"
    (folder / "guides").mkdir(parents=True)
    (folder / "guides" / "oven.md").write_text("# Oven\n\nHeat the **oven** to 230 degrees. Wait for one hour.\n", encoding="utf-8")
    (folder / "llamas.txt").write_bytes("\ufeffLlamas hum.\r\nThey eat 草 and hay. 🦙 A llama sleeps in the barn.\r\n".encode())
    (folder / "豆腐.md").write_text("# 麻婆豆腐\n\n麻婆豆腐要用豆瓣酱。花椒最后撒。\n", encoding="utf-8")
    return folder


# --- a browser

# The protocol is spoken on the file descriptors 3 and 4.
LAUNCH = """
import os, sys
os.dup2(int(sys.argv[1]), 13), os.dup2(int(sys.argv[2]), 14)
os.dup2(13, 3), os.dup2(14, 4)
os.execvp(sys.argv[3], sys.argv[3:])
"""
FLAGS = (
    "--headless=new --no-sandbox --disable-gpu --disable-dev-shm-usage --no-first-run --disable-extensions --disable-sync "
    "--disable-component-update --disable-background-networking --hide-scrollbars --remote-debugging-pipe about:blank"
)


class Browser:
    """One page at a time. It notes the dialogs that opened, the addresses that were asked for, and what went wrong."""

    def __init__(self, program: str, home: Path) -> None:
        read_commands, self._commands = os.pipe()
        self._answers, write_answers = os.pipe()
        self.process = subprocess.Popen(
            [sys.executable, "-c", LAUNCH, str(read_commands), str(write_answers), program, f"--user-data-dir={home}", *FLAGS.split()],
            pass_fds=(read_commands, write_answers),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(read_commands)
        os.close(write_answers)
        self._waiting = b""
        self._number = 0
        self._session: str | None = None
        self.dialogs: list[str] = []  # what they said
        self.requests: list[str] = []  # URLs
        self.complaints: list[str] = []
        self._context: str | None = None
        self.fresh()

    def fresh(self) -> None:
        """A page that remembers nothing, in the size of a desktop."""
        self._session = None
        if self._context is not None:
            self.call("Target.disposeBrowserContext", browserContextId=self._context)
        self._context = self.call("Target.createBrowserContext")["browserContextId"]
        target = self.call("Target.createTarget", url="about:blank", browserContextId=self._context)["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self.dialogs, self.requests, self.complaints = [], [], []
        for domain in ("Page", "Runtime", "Network", "Log", "DOM"):
            self.call(f"{domain}.enable")
        self.screen(1280, 800)

    def close(self) -> None:
        self._session = None
        try:
            self.call("Browser.close")
            self.process.wait(10)
        except (OSError, subprocess.TimeoutExpired):
            self.process.kill()
            self.process.wait()
        os.close(self._commands)
        os.close(self._answers)

    def call(self, method: str, **params: Any) -> Any:
        self._number += 1
        number = self._number
        self._send(number, method, params)
        while True:
            message = self._receive(60)
            if message is None:
                raise TimeoutError(method)
            if message.get("id") == number:
                assert "error" not in message, (method, message["error"])
                return message["result"]

    def _send(self, number: int, method: str, params: dict[str, Any]) -> None:
        session = {} if self._session is None else {"sessionId": self._session}
        data = json.dumps({"id": number, "method": method, "params": params, **session}).encode() + b"\0"
        while data:
            data = data[os.write(self._commands, data) :]

    def _receive(self, seconds: float) -> dict[str, Any] | None:
        """The next message; events are noted on the way."""
        while b"\0" not in self._waiting:
            if not select.select([self._answers], [], [], seconds)[0]:
                return None
            data = os.read(self._answers, 1 << 20)
            if not data:
                raise OSError("the browser is gone")
            self._waiting += data
        part, _, self._waiting = self._waiting.partition(b"\0")
        message: dict[str, Any] = json.loads(part)
        params = message.get("params", {})
        if message.get("method") == "Page.javascriptDialogOpening":
            self.dialogs.append(params["message"])
            self._number += 1
            self._send(self._number, "Page.handleJavaScriptDialog", {"accept": True})
        elif message.get("method") == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])
        elif message.get("method") == "Runtime.exceptionThrown":
            self.complaints.append(str(params["exceptionDetails"].get("exception", params["exceptionDetails"])))
        elif message.get("method") == "Log.entryAdded" and params["entry"]["level"] == "error":
            self.complaints.append(params["entry"]["text"])
        return message

    def goto(self, url: str, *, language: str = "en-US") -> None:
        self.call("Network.setUserAgentOverride", userAgent="test", acceptLanguage=language)
        self.call("Page.navigate", url=url)
        self.until("document.readyState === 'complete' && document.querySelector('#model').textContent !== ''")

    def evaluate(self, expression: str) -> Any:
        answer = self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in answer, (expression, answer["exceptionDetails"])
        return answer["result"].get("value")

    def until(self, expression: str, *, seconds: float = 15) -> None:
        end = time.monotonic() + seconds
        while not self.evaluate(f"Boolean({expression})"):
            assert time.monotonic() < end, f"{expression} did not come true; {self.complaints}; {self.evaluate('document.body.innerText')}"
            self._receive(0.02)

    def text(self, selector: str) -> str:
        return str(self.evaluate(f"document.querySelector({json.dumps(selector)}).innerText"))

    def click(self, selector: str) -> None:
        box = self.evaluate(
            f"(() => {{ const node = document.querySelector({json.dumps(selector)}); node.scrollIntoView({{block: 'nearest'}});"
            " const box = node.getBoundingClientRect(); return [box.x + box.width / 2, box.y + box.height / 2, box.width]; })()"
        )
        assert box[2] > 0, f"{selector} is not shown"
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=box[0], y=box[1], button="left", clickCount=1)

    def press(self, key: str, *, code: int = 0, text: str = "") -> None:
        typed = {"text": text} if text else {}
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code, **typed)

    def write(self, text: str) -> None:
        """Type into the place for questions, and send."""
        self.evaluate("document.querySelector('#message').focus()")
        self.call("Input.insertText", text=text)
        self.press("Enter", code=13, text="\r")

    def drop(self, *files: Path) -> None:
        node = self.call("Runtime.evaluate", expression="document.querySelector('#files')")["result"]["objectId"]
        self.call("DOM.setFileInputFiles", objectId=node, files=[str(file) for file in files])

    def screen(self, width: int, height: int, *, dark: bool = False, phone: bool = False) -> None:
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=2 if phone else 1, mobile=phone)
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}])

    def picture(self, path: Path) -> None:
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"]))


@pytest.fixture(scope="session")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """One process for all tests: to start it takes longer than most of them."""
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if program is None:
        pytest.skip("there is no Chromium here (Debian: apt-get install chromium)")
    opened = Browser(program, tmp_path_factory.mktemp("browser"))
    yield opened
    opened.close()


@pytest.fixture
def browser(chromium: Browser) -> Browser:
    chromium.fresh()
    return chromium
