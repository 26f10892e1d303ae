"""One HTML page that carries everything it shows and asks nobody for anything.

Takes: pieces of a page: words (escaped, always) and elements made here.
Gives: the page as one string: no script, no request, its own policy says so; light and dark, narrow and wide, on paper.
Does not know: what the page is about.
"""

from __future__ import annotations

import html
from collections.abc import Collection, Iterable, Sequence

POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
LANGUAGES = {"zh": "zh-Hans"}  # a browser picks the shapes of Chinese characters by it
ACTIVE = {"src", "srcset", "href", "action", "formaction", "data", "onclick", "onload", "onerror"}
NAMESPACE = ' xmlns="http://www.w3.org/2000/svg"'


class Html(str):
    """Text that is HTML already. Whatever is not one is escaped on its way into a page, so nothing can be forgotten."""

    __slots__ = ()

    def join(self, parts: Iterable[str], /) -> Html:
        """Join parts, each escaped unless it is HTML."""
        return Html(str.join(self, map(escape, parts)))


def escape(value: object) -> Html:
    """Any value as text that a browser shows as it is. Half characters and control characters become visible.

    >>> escape("<b>"), escape(Html("<b>"))
    ('&lt;b&gt;', '<b>')
    """
    if isinstance(value, Html):
        return value
    return Html(html.escape(str(value).translate(_INVISIBLE), quote=True))


class _Invisible(dict[int, str | None]):
    """For `str.translate`: what cannot be written as UTF-8, would not be seen, or would turn the order of the words around it."""

    def __missing__(self, code: int) -> str | int:
        if 0xD800 <= code <= 0xDFFF or 0x7F <= code <= 0x9F or 0x202A <= code <= 0x202E or 0x2066 <= code <= 0x2069 or code == 0xFEFF:
            return "\ufffd"
        if code < 0x20 and code not in (0x09, 0x0A, 0x0D):
            return chr(0x2400 + code)  # a picture of the control character
        return code


_INVISIBLE = _Invisible()


def element(name: str, *children: object, **attributes: str | int | bool | None) -> Html:
    """One element around its children. An attribute that is None or False is left out; ``class_`` stands for ``class``.

    >>> element("p", "1 < 2 ", element("b", "yes"), class_="claim")
    '<p class="claim">1 &lt; 2 <b>yes</b></p>'
    """
    written = []
    for key, value in attributes.items():
        key = key.rstrip("_").replace("_", "-")
        assert key not in ACTIVE, f"{key}: a page asks nobody for anything and runs nothing"
        if value is True:
            written.append(f" {key}")
        elif value is not None and value is not False:
            written.append(f' {key}="{escape(value)}"')
    return Html(f"<{name}{''.join(written)}>{''.join(map(escape, children))}</{name}>")


def table(rows: Iterable[Sequence[object]], header: Sequence[object], *, numbers: Collection[int] = ()) -> Html:
    """A table that scrolls by itself where it is too wide; the columns in `numbers` stand to the right."""

    def cells(row: Sequence[object], kind: str) -> Html:
        return Html().join(element(kind, cell, class_="number" if column in numbers else None) for column, cell in enumerate(row))

    head = element("thead", element("tr", cells(header, "th"))) if any(header) else ""
    body = element("tbody", *(element("tr", cells(row, "td")) for row in rows))
    return element("div", element("table", head, body), class_="wide", tabindex=0)


def details(summary: object, *children: object, open: bool = False) -> Html:
    """Something to unfold."""
    return element("details", element("summary", summary), *children, open=open)


def tiles(entries: Iterable[tuple[object, object, object]]) -> Html:
    """Numbers to be seen first: (name, value, note)."""
    return element(
        "div",
        *(element("div", element("small", name), element("strong", value), element("small", note)) for name, value, note in entries),
        class_="tiles",
    )


def bar(share: float, *, kind: str = "") -> Html:
    """A bar as long as `share` (0 … 1) of its cell; `kind` is a class that colours it."""
    return element("div", element("i", class_=kind or None, style=f"width: {100 * min(max(share, 0.0), 1.0):.1f}%"), class_="bar")


def picture(wide: str, narrow: str = "") -> Html:
    """An SVG of ours (`ground.picture`), and the one that is shown in its place where there is little room."""

    def inside(svg: str) -> Html:
        return Html(svg.replace(NAMESPACE, "", 1))  # HTML knows what SVG is without it

    if not narrow:
        return element("figure", inside(wide))
    return element(
        "figure",
        element("div", inside(wide), class_="if-wide"),
        element("div", inside(narrow), class_="if-narrow"),
    )


def page(title: str, body_html: str, *, language: str, style: str = "") -> str:
    """A whole page around `body_html`, which is trusted as it is; `style` is CSS beside the page's own."""
    return _PAGE.format(
        language=escape(LANGUAGES.get(language, language)), policy=POLICY, title=escape(title), style=_STYLE + style, body=body_html
    )


_PAGE = """<!doctype html>
<html lang="{language}">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<style>
{style}</style>
</head>
<body>
<main>
{body}
</main>
</body>
</html>
"""

_STYLE = """\
:root {
  color-scheme: light dark;
  --ink: #22262b; --soft: #656c76; --paper: #fcfbf8; --card: #f5f3ed; --line: #e0dcd2;
  --accent: #3f7565; --accent-wash: #e4eee9; --warn: #9a5415; --warn-wash: #f8ecdd; --mark: #f6e3a1;
  --line-1: #3f7565; --line-2: #b1641f; --line-3: #3c6cad; --line-4: #a8446d; --line-5: #6d55a8; --line-6: #5d6a22;
}
@media screen and (prefers-color-scheme: dark) {
  :root {
    --ink: #e7e5e0; --soft: #9ca3ad; --paper: #17191c; --card: #1f2226; --line: #363a40;
    --accent: #86bfac; --accent-wash: #22332e; --warn: #e3a768; --warn-wash: #352a1d; --mark: #6b5917;
    --line-1: #7fb9a6; --line-2: #e2a163; --line-3: #84ade3; --line-4: #df8cb0; --line-5: #b3a0e6; --line-6: #b3bf74;
  }
}
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body { margin: 0; background: var(--paper); color: var(--ink); overflow-wrap: anywhere;
  font: 1rem/1.6 system-ui, -apple-system, "Segoe UI", "PingFang SC", "Microsoft YaHei", "Noto Sans CJK SC", sans-serif; }
main { max-width: 58rem; margin: 0 auto; padding: 3rem 1.25rem 5rem; }
h1 { font-size: 1.9rem; line-height: 1.25; font-weight: 650; letter-spacing: -.01em; margin: 0 0 .5rem; text-wrap: balance;
  word-break: keep-all; }
h2 { font-size: 1.25rem; line-height: 1.3; font-weight: 650; margin: 3.5rem 0 .25rem; }
h3 { font-size: 1rem; font-weight: 650; margin: 1.75rem 0 .25rem; }
p, ul { margin: .25rem 0 .9rem; max-width: 44rem; }
.lead { font-size: 1.1rem; } .soft, small, figcaption { color: var(--soft); } small { font-size: .84rem; }
.warn { color: var(--warn); }
strong, b { font-weight: 650; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(8.5rem, 1fr)); gap: 1px; margin: 1.25rem 0;
  border: 1px solid var(--line); border-radius: .6rem; overflow: hidden; }
.tiles > div { padding: .7rem 1rem; box-shadow: 0 0 0 1px var(--line); }
.tiles small { display: block; min-height: 1.3em; line-height: 1.4; }
.tiles strong { display: block; font-size: 1.4rem; line-height: 1.35; font-variant-numeric: tabular-nums; }
.wide { overflow-x: auto; margin: .75rem 0 1rem; }
table { border-collapse: collapse; width: 100%; overflow-wrap: normal; }
td, th { border-top: 1px solid var(--line); padding: .45rem 1rem .45rem 0; text-align: left; vertical-align: top; }
td:last-child, th:last-child { padding-right: 0; }
thead th { border-top: 0; color: var(--soft); font-weight: 400; font-size: .88rem; }
.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.bar { min-width: 6rem; padding-top: .5rem; }
.bar i { display: block; height: .55rem; min-width: 2px; border-radius: .3rem; background: var(--soft); opacity: .55; }
.bar i.one { background: var(--line-1); opacity: 1; } .bar i.two { background: var(--line-2); opacity: 1; }
figure { margin: 1.25rem 0; } figure svg { display: block; width: 100%; height: auto; }
.if-narrow { display: none; }
.pictures { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(21rem, 100%), 1fr)); gap: 0 2rem; }
@media (max-width: 40rem) {
  .if-wide { display: none; } .if-narrow { display: block; }
  td, th { padding-right: .6rem; } .bar { min-width: 2rem; }
  main { padding-top: 1.75rem; } h1 { font-size: 1.55rem; }
}
details { margin: .6rem 0; } summary { cursor: pointer; color: var(--accent); width: fit-content; }
pre, blockquote { margin: .4rem 0 .9rem; padding: .7rem 1rem; background: var(--card); border-radius: .5rem; unicode-bidi: isolate;
  white-space: pre-wrap; overflow-wrap: anywhere; }
pre, code { font-size: .88rem;
  font-family: ui-monospace, "SF Mono", Menlo, Consolas, monospace; }
mark { background: var(--mark); color: inherit; border-radius: .2rem; padding: 0 .1em; }
@media print {
  :root { color-scheme: light; --ink: #000; --soft: #444; --paper: #fff; --card: #f4f4f4; }
  main { max-width: none; padding: 0; } body { font-size: 10.5pt; } h2 { margin-top: 2rem; }
  h2, h3, thead { break-after: avoid; } figure, section, tr, pre, blockquote, .tiles, .card { break-inside: avoid; }
  .wide { overflow: visible; } details::details-content { content-visibility: visible; block-size: auto; }
}
"""
