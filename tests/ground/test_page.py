"""The page: nothing gets in without being escaped, nothing goes out."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llamarium.ground.page import POLICY, Html, bar, details, element, escape, page, picture, table, tiles

HOSTILE = "</style><script>alert('1')</script><img src=x onerror=\"alert(1)\"> & {title} %s"


class Reader(HTMLParser):
    """The elements and the text of a page, as a browser finds them."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data: str) -> None:
        self.text += data

    @property
    def names(self) -> set[str]:
        return {name for name, _ in self.tags}


def test_page_carries_everything_and_forbids_the_rest() -> None:
    text = page("A title", element("p", "words"), language="en")
    assert text.startswith('<!doctype html>\n<html lang="en">')
    assert f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">' in text
    assert POLICY == "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
    assert "<title>A title</title>" in text
    assert "<p>words</p>" in text
    reader = Reader(text)
    assert reader.names == {"html", "head", "meta", "title", "style", "body", "main", "p"}
    assert not re.search(r"https?:|//|@import|url\(", text)
    for feature in ("prefers-color-scheme: dark", "@media print", "overflow-x: auto", "max-width: 40rem"):
        assert feature in text, feature


def test_policy_stands_before_all_that_it_rules() -> None:
    text = page("t", "", language="en")
    assert text.index("Content-Security-Policy") < text.index("<style") < text.index("<body")


@pytest.mark.parametrize(("language", "written"), [("en", "en"), ("zh", "zh-Hans"), ('"><script>', "&quot;&gt;&lt;script&gt;")])
def test_language_is_named(language: str, written: str) -> None:
    assert f'<html lang="{written}">' in page("t", "", language=language)


def test_braces_in_a_body_are_left_alone() -> None:
    assert "{x} {0} {{y}}" in page("{title}", "{x} {0} {{y}}", language="en")
    assert "<title>{title}</title>" in page("{title}", "", language="en")


@pytest.mark.parametrize(
    "made",
    [
        escape(HOSTILE),
        element("p", HOSTILE),
        element("p", "x", title=HOSTILE),
        table([[HOSTILE, 1]], [HOSTILE, HOSTILE], numbers=(1,)),
        details(HOSTILE, HOSTILE),
        tiles([(HOSTILE, HOSTILE, HOSTILE)]),
        bar(0.5, kind=HOSTILE),
        Html(" ").join([HOSTILE, HOSTILE]),
    ],
    ids=["escape", "element", "attribute", "table", "details", "tiles", "bar", "join"],
)
def test_whatever_is_not_html_is_escaped(made: Html) -> None:
    assert isinstance(made, Html)
    reader = Reader(page(HOSTILE, made, language="en"))
    assert not reader.names & {"script", "img"}
    assert not {key for _, attributes in reader.tags for key in attributes} & {"src", "onerror"}


def test_an_unescaped_page_would_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llamarium.ground.page.html.escape", lambda text, quote=True: text)
    with pytest.raises(AssertionError):
        test_whatever_is_not_html_is_escaped(element("p", HOSTILE))


@given(st.text())
def test_text_comes_back_as_it_went_in(text: str) -> None:
    shown = Reader(escape(text)).text
    assert len(shown) == len(text)
    for before, after in zip(text, shown, strict=True):
        assert after in (before, "\ufffd") or 0x2400 <= ord(after) < 0x2420


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\ud800", "\ufffd"),
        ("a\x00b", "a\u2400b"),
        ("\x1b[0m", "\u241b[0m"),
        ("\u202etxt", "\ufffdtxt"),
        ("\ufeff", "\ufffd"),
        ("一\t\n", "一\t\n"),
    ],
)
def test_what_cannot_be_seen_is_made_visible(text: str, shown: str) -> None:
    assert escape(text) == shown
    escape(text).encode("utf-8")


def test_html_is_not_escaped_twice_and_joined_text_is_escaped_once() -> None:
    inner = element("b", "1 < 2")
    assert element("p", inner, " & ") == "<p><b>1 &lt; 2</b> &amp; </p>"
    assert f"{inner}" == inner
    assert escape(f"{inner}") != inner  # an f-string is text again: safe, and visibly wrong


def test_attributes() -> None:
    made = element("details", open=True, class_="a b", title=None, hidden=False, tabindex=0, aria_label='say "x"')
    assert made == '<details open class="a b" tabindex="0" aria-label="say &quot;x&quot;"></details>'


@pytest.mark.parametrize("name", ["src", "href", "onclick", "action", "srcset"])
def test_no_element_reaches_out(name: str) -> None:
    with pytest.raises(AssertionError):
        element("a", "x", **{name: "y"})


def test_table_scrolls_and_its_numbers_stand_to_the_right() -> None:
    made = table([("one", 1), ("two", 2)], ("name", "number"), numbers=(1,))
    assert made.startswith('<div class="wide" tabindex="0"><table><thead><tr><th>name</th><th class="number">number</th></tr></thead>')
    assert '<td class="number">2</td>' in made
    assert "thead" not in table([("one",)], ())


def test_bar_stays_in_its_cell() -> None:
    assert [re.search(r"width: ([\d.]+)%", bar(share))[1] for share in (-1, 0.256, 7)] == ["0.0", "25.6", "100.0"]  # type: ignore[index]


def test_picture_loses_the_name_of_its_space_and_nothing_else() -> None:
    svg = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 1 1"><text>x</text></svg>'
    assert picture(svg) == '<figure><svg viewBox="0 0 1 1"><text>x</text></svg></figure>'
    both = picture(svg, svg)
    assert "if-wide" in both
    assert "if-narrow" in both
    assert both.count("<svg") == 2
