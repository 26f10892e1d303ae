"""The page, in a real browser."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from llamarium.engine.language_model import LanguageModel

Start = Callable[..., Any]


def test_ask_and_open_a_citation(serving: Start, echo: LanguageModel, docs: Path, browser: Any) -> None:
    served = serving(echo, docs=docs)
    browser.goto(served.url)
    assert browser.text("#chosen") == "3 of 3"
    browser.write("Where does a llama sleep?")
    browser.until("document.querySelector('.citation')")
    quote = browser.text(".quote blockquote")
    assert "A llama sleeps in the barn." in quote
    browser.click(".citation")
    browser.until("document.querySelector('#viewer mark')")
    assert browser.evaluate("document.querySelector('#viewer mark').textContent") == quote
    assert browser.text("#viewer-name") == "llamas.txt"
    assert "letter by letter" in browser.text("#viewer-note")
    assert browser.evaluate("document.activeElement.id") == "viewer-name"
    # The whole text stands around it, and 🦙, which is two halves in JavaScript, has not moved the place.
    assert browser.evaluate("document.querySelector('#viewer-text').textContent") == (docs / "llamas.txt").read_text("utf-8-sig")
    browser.press("Escape", code=27)
    browser.until("document.querySelector('#viewer').hidden")
    assert browser.evaluate("document.activeElement.className") == "citation"
    assert browser.complaints == []


def test_what_the_documents_do_not_say(serving: Start, echo: LanguageModel, docs: Path, browser: Any) -> None:
    served = serving(echo, docs=docs)
    browser.goto(served.url)
    browser.write("Do camels, goats and llamas sleep in barns?")
    browser.until("document.querySelector('.answer blockquote') && state.running === null")
    assert "Not sure" in browser.text(".answer .label")
    assert "A llama sleeps in the barn." in browser.text(".answer blockquote")
    browser.click("#anew")
    browser.write("How long does a llama live in years?")
    browser.until("document.querySelector('.not-found')")
    assert browser.text(".not-found") == "Not in your documents."
    assert "A llama sleeps in the barn." in browser.text(".nearest blockquote")
    assert browser.evaluate("document.querySelectorAll('.answer .phrased').length") == 0


def test_only_chosen_documents_are_asked(serving: Start, echo: LanguageModel, docs: Path, browser: Any) -> None:
    served = serving(echo, docs=docs)
    browser.goto(served.url)
    browser.click("#none")
    browser.write("Where does a llama sleep?")
    browser.until("document.querySelector('.wrong')")
    browser.click("#list li:nth-child(1) input")
    assert browser.text("#chosen") == "1 of 3"
    browser.write("Where does a llama sleep?")
    browser.until("document.querySelector('.not-found')")
    browser.click("#all")
    browser.write("Where does a llama sleep?")
    browser.until("document.querySelector('.quote .citation .document')?.textContent === 'llamas.txt'")


def test_a_file_is_dropped_in_and_asked(serving: Start, echo: LanguageModel, tmp_path: Path, browser: Any) -> None:
    served = serving(echo)
    browser.goto(served.url)
    assert browser.evaluate("document.body.dataset.mode") == "chat"  # there is nothing to ask yet
    browser.click("#tab-ask")
    assert "Drop in" in browser.text("#welcome")
    (tmp_path / "bread.md").write_text("# Bread\n\nRye bread rests for nine hours.\n", encoding="utf-8")
    (tmp_path / "photo.png").write_bytes(b"\x89PNG")
    browser.drop(tmp_path / "photo.png", tmp_path / "bread.md")
    browser.until("document.querySelector('#chosen').textContent === '1 of 1'")
    assert browser.evaluate("state.documents.map((listed) => listed.document)") == ["dropped/bread.md"]
    browser.write("How long does rye bread rest?")
    browser.until("document.querySelector('.citation')")
    browser.click(".citation")
    browser.until("document.querySelector('#viewer mark')")
    assert "nine hours" in browser.text("#viewer mark")
    assert browser.text("#viewer-name") == "bread.md"


def test_a_file_that_cannot_be_read_is_said_to_be_so(serving: Start, echo: LanguageModel, tmp_path: Path, browser: Any) -> None:
    served = serving(echo)
    browser.goto(served.url)
    (tmp_path / "photo.png").write_bytes(b"\x89PNG")
    browser.drop(tmp_path / "photo.png")
    browser.until("document.querySelector('#status.shown')?.textContent.startsWith('photo.png: no reader')")
    assert str(tmp_path) not in browser.text("#status")


def test_a_stream_is_stopped(serving: Start, echo: LanguageModel, browser: Any) -> None:
    served = serving(echo)
    echo.model.pause = 0.02  # type: ignore[assignment]
    browser.goto(served.url)
    browser.write("A long story. " * 100)
    browser.until("document.querySelector('.spoken')?.textContent.length > 5")
    assert browser.evaluate("document.querySelector('#send').hidden")
    browser.click("#stop")
    browser.until("document.querySelector('.stopped')")
    assert served.until(lambda: not served.application.busy, seconds=2)
    text = browser.text(".spoken")
    time.sleep(0.2)
    assert browser.text(".spoken") == text != ""
    assert "A long story. ".startswith(text[:14])
    # What was said so far belongs to the conversation, and one can go on.
    echo.model.pause = 0.0  # type: ignore[assignment]
    browser.write("Hello")
    browser.until("document.querySelectorAll('.spoken.whole').length === 2 && state.running === null")
    assert browser.text(".turn:last-child .spoken") == "Hello"
    assert browser.evaluate("state.conversation.length") == 4
    browser.click("#anew")
    assert browser.evaluate("[state.conversation.length, document.querySelectorAll('.turn').length]") == [0, 0]


def test_the_model_alone_beside_the_model_with_documents(serving: Start, echo: LanguageModel, docs: Path, browser: Any) -> None:
    served = serving(echo, docs=docs)
    echo.model.says = "Llamas live on 7 moons of Jupiter."  # type: ignore[assignment]
    browser.goto(served.url)
    browser.click("#tab-both")
    browser.write("Where does a llama sleep?")
    browser.until("document.querySelector('.alone .spoken.whole') && state.running === null")
    assert browser.text(".alone .spoken") == "Llamas live on 7 moons of Jupiter."
    assert "A llama sleeps in the barn." in browser.text(".together blockquote")
    assert browser.evaluate("document.querySelector('.phrased')") is None  # no quote bears it
    echo.model.says = "The llama sleeps in the barn. [1]"  # type: ignore[assignment]
    browser.click("#anew")
    browser.write("Where does a llama sleep?")
    browser.until("document.querySelector('.phrased') && state.running === null")
    assert browser.text(".phrased").startswith("The llama sleeps in the barn.")
    assert browser.evaluate("document.querySelectorAll('.together .citation').length") >= 1


def test_the_language_is_switched_and_remembered(serving: Start, echo: LanguageModel, docs: Path, browser: Any) -> None:
    served = serving(echo, docs=docs)
    browser.goto(served.url)
    assert browser.evaluate("document.documentElement.lang") == "en"
    browser.write("What is the capital of France?")
    browser.until("document.querySelector('.not-found')")
    browser.click("#language")
    assert browser.evaluate("document.documentElement.lang") == "zh-CN"
    assert browser.text(".not-found") == "文档里没有。"  # what was said already follows
    assert browser.text("#tab-ask") == "问文档"
    assert browser.evaluate("document.title") == "羊驼馆"
    browser.goto(f"{served.url}/?again")
    assert browser.text("#tab-ask") == "问文档"
    browser.click("#language")
    assert browser.text("#tab-ask") == "Ask"


@pytest.mark.slow
def test_a_chinese_browser_gets_chinese(serving: Start, echo: LanguageModel, docs: Path, browser: Any) -> None:
    served = serving(echo, docs=docs)
    browser.goto(served.url, language="zh-CN")
    assert browser.text("#tab-ask") == "问文档"
    browser.write("麻婆豆腐用什么酱？")
    browser.until("document.querySelector('.citation')")
    assert browser.text(".citation .document") == "豆腐.md"


@pytest.mark.slow
def test_all_words_exist_in_both_languages(serving: Start, echo: LanguageModel, browser: Any) -> None:
    served = serving(echo)
    browser.goto(served.url)
    english, chinese = browser.evaluate("[Object.entries(WORDS.en), Object.entries(WORDS.zh)]")
    assert [name for name, _ in english] == [name for name, _ in chinese]
    values = "(text) => [...text.matchAll(/\\{\\w+\\}/g)].map(String).sort().join()"
    assert browser.evaluate(f"Object.keys(WORDS.en).filter((name) => (({values})(WORDS.en[name]) !== ({values})(WORDS.zh[name])))") == []
    used = "[...document.querySelectorAll('[data-say]')].map((node) => node.dataset.say)"
    assert browser.evaluate(f"{used}.filter((name) => !(name in WORDS.en))") == []


def test_the_keyboard_is_enough(serving: Start, echo: LanguageModel, docs: Path, browser: Any) -> None:
    served = serving(echo, docs=docs)
    browser.goto(served.url)
    browser.evaluate("document.querySelector('#tab-ask').focus()")
    browser.press("ArrowRight", code=39)
    assert browser.evaluate("[document.activeElement.id, document.body.dataset.mode]") == ["tab-chat", "chat"]
    browser.press("ArrowLeft", code=37)
    browser.write("Where does a llama sleep?")
    browser.until("document.querySelector('.citation')")
    browser.evaluate("document.querySelector('.citation').focus()")
    browser.press("Enter", code=13, text="\r")
    browser.until("document.querySelector('#viewer mark')")
    # Everything that can be pressed has a name for those who do not see it.
    named = "node.getAttribute('aria-label') || node.getAttribute('aria-labelledby') || node.textContent.trim() || node.labels?.length"
    nameless = (
        "[...document.querySelectorAll('button, a, input, textarea, [role=region], aside')].filter((node) => "
        f"!({named})).map((node) => node.outerHTML)"
    )
    assert browser.evaluate(nameless) == []


@pytest.mark.slow
def test_on_a_phone_nothing_is_wider_than_the_screen(serving: Start, echo: LanguageModel, docs: Path, browser: Any) -> None:
    (docs / ("a-name-without-any-space-" * 6 + ".md")).write_text(
        "# Barn\n\nA llama sleeps in the " + "b" * 300 + " barn.\n", encoding="utf-8"
    )
    served = serving(echo, docs=docs)
    browser.screen(360, 740, phone=True)
    browser.goto(served.url)
    browser.write("Where does a llama sleep?" + "e" * 200)
    browser.until("document.querySelector('.answer:not(.waiting)')")
    assert browser.evaluate("document.documentElement.scrollWidth") == 360
    browser.click("#open-documents")
    assert browser.evaluate("document.querySelector('#documents').getBoundingClientRect().width") == 360
    browser.click("#list li:nth-child(2) a")
    browser.until("!document.querySelector('#viewer').hidden")
    assert browser.evaluate("document.querySelector('#viewer').getBoundingClientRect().width") == 360
    assert browser.evaluate("document.documentElement.scrollWidth") == 360


@pytest.mark.slow
def test_contrast_is_enough_in_light_and_dark(serving: Start, echo: LanguageModel, browser: Any) -> None:
    """WCAG 2.2: at least 4.5 between any text and what it stands on."""
    served = serving(echo)
    for dark in (False, True):
        browser.screen(1280, 800, dark=dark)
        browser.goto(served.url)
        style = "getComputedStyle(document.documentElement)"
        names = ["paper", "card", "ink", "soft", "accent", "on-accent", "tint", "raised", "mark"]
        colours = {name: browser.evaluate(f"{style}.getPropertyValue('--{name}').trim()") for name in names}
        grounds = {
            "ink": ["paper", "card", "tint", "raised", "mark"],
            "soft": ["paper", "card", "tint"],
            "accent": ["paper", "card", "tint"],
        }
        for text, behind in {**grounds, "on-accent": ["accent"]}.items():
            for ground in behind:
                assert contrast(colours[text], colours[ground]) >= 4.5, (dark, text, ground)


def contrast(one: str, other: str) -> float:
    def luminance(colour: str) -> float:
        parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
        red, green, blue = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    darker, lighter = sorted([luminance(one), luminance(other)])
    return (lighter + 0.05) / (darker + 0.05)
