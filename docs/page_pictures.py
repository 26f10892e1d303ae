"""Makes the pictures of the page: ``python docs/page_pictures.py``, with Chromium and the catalogue's smallest model at hand.

The documents that are asked lie in ``docs/pictures/llamas`` and were written for this.
"""

from __future__ import annotations

import importlib.util
import shutil
import sys
import tempfile
import threading
from contextlib import closing
from pathlib import Path
from typing import Any

from PIL import Image

from llamarium.apps.ask.index import build_in_memory
from llamarium.engine.language_model import load
from llamarium.server.application import Application
from llamarium.server.guard import Hosts
from llamarium.server.library import Library
from llamarium.server.run import Server, bind

HERE = Path(__file__).parent
OUT = HERE / "pictures"
MODEL = "smollm2-135m-instruct"


def browser_class() -> Any:
    """The browser of the server's tests."""
    spec = importlib.util.spec_from_file_location("fixtures", HERE.parent / "tests" / "server" / "conftest.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["fixtures"] = module
    spec.loader.exec_module(module)
    return module.Browser


def begin(browser: Any, url: str, *, mode: str, language: str, width: int, height: int, dark: bool = False) -> None:
    """A fresh page of that size, in that mode."""
    browser.screen(width, height, dark=dark, phone=width < 500)
    browser.call("Page.navigate", url="about:blank")
    browser.goto(url)
    browser.evaluate(f"(speak('{language}'), choose('{mode}'))")


def ask(browser: Any, question: str, *, seconds: float = 60) -> None:
    """Ask, and wait for the end."""
    browser.write(question)
    browser.until("!state.running", seconds=seconds)


def take(browser: Any, url: str) -> None:
    """All pictures."""
    desktop = {"width": 1280, "height": 800}
    phone = {"width": 390, "height": 844}

    begin(browser, url, mode="ask", language="en", **desktop)
    browser.picture(OUT / "welcome.png")
    ask(browser, "How much can a llama carry?")
    browser.click(".citation")
    browser.until("document.querySelector('#viewer mark')")
    browser.picture(OUT / "ask.png")

    begin(browser, url, mode="both", language="en", **desktop)
    ask(browser, "How much hay does a grown llama eat a day?", seconds=240)
    browser.picture(OUT / "side-by-side.png")

    begin(browser, url, mode="ask", language="zh", **desktop, dark=True)
    ask(browser, "羊驼冬天喝什么水？")
    ask(browser, "羊驼能活多少年？")
    browser.evaluate("document.activeElement.blur()")
    browser.picture(OUT / "ask-zh-dark.png")

    begin(browser, url, mode="ask", language="zh", **phone)
    ask(browser, "羊驼什么时候剪毛？")
    browser.evaluate("document.activeElement.blur()")
    browser.picture(OUT / "phone-zh.png")
    browser.click(".citation")
    browser.until("document.querySelector('#viewer mark')")
    browser.picture(OUT / "phone-viewer-zh.png")

    begin(browser, url, mode="chat", language="en", **phone, dark=True)
    ask(browser, "Name three animals of the Andes.", seconds=240)
    browser.picture(OUT / "phone-chat-dark.png")

    begin(browser, url, mode="ask", language="en", **phone)
    ask(browser, "What is the capital of France?")
    browser.evaluate("document.activeElement.blur()")
    browser.picture(OUT / "phone-not-found.png")


def main() -> None:
    """Serve, look, end."""
    program = shutil.which("chromium")
    assert program is not None, "apt-get install chromium"
    with bind("127.0.0.1", 0) as bound, closing(Library(lambda: build_in_memory([OUT / "llamas"]))) as library:
        application = Application(load(MODEL), name=MODEL, library=library, hosts=Hosts())
        ready = threading.Event()
        server = Server(application, ready=ready.set)
        thread = threading.Thread(target=server.run, args=([bound],))
        thread.start()
        ready.wait(30)
        try:
            with tempfile.TemporaryDirectory() as home, closing(browser_class()(program, Path(home))) as browser:
                take(browser, f"http://127.0.0.1:{bound.getsockname()[1]}")
        finally:
            server.should_exit = True
            thread.join()
            application.close()
    for path in OUT.glob("*.png"):
        Image.open(path).convert("RGB").quantize(96).save(path, optimize=True)


if __name__ == "__main__":
    main()
