"""Web pages: the main content, not the menus around it.

Takes: bytes of a .html, .htm or .xhtml file; the encoding that it declares counts where its bytes allow it.
Gives: its visible text. Paragraphs and headings have blank lines around them; items begin with "- " or a number; rows of a
table stand on lines of their own, " | " between cells; preformatted text is as it was.
Does not know: scripts, styles and addresses. Nothing is run or fetched.

What is left out: what its tag, role or style calls navigation, a control, hidden or a footer; a smaller part of the page whose
class or id calls it so; and what is mostly links. Where nothing would be left, all that is visible is given.
An extractor for news (trafilatura 2.3) was tried: of some pages of a handbook it kept 12 %, so this keeps what no rule speaks
against. The page is read in one pass in time proportional to its length, by a parser of our own: libxml2's drops what
is nested too deeply without a word, and needs a minute for one tag with 100,000 attributes.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from llamarium.ground.errors import BadFileError
from llamarium.text.decode import Decoded, decode_reported
from llamarium.text.document import Piece

SUFFIXES = (".html", ".htm", ".xhtml")
CONFINED = True  # it takes 60 times a page's size if that is nothing but tags

_DECLARED = re.compile(rb"""<(?:meta|\?xml)[^>]{0,300}?(?:charset|encoding)\s{0,9}=\s{0,9}["']?\s{0,9}([\w-]{1,40})""", re.IGNORECASE)
# A quote counts after "=" only. Nothing is tried twice: where no ">" follows, the page ends inside this tag, as for browsers.
_TAG = re.compile(r"""<(/?)([a-zA-Z][^\s/>]*+)((?:[^>"'=]++|=\s*+(?:"[^"]*"|'[^']*')?+|["'])*+)>""")
_ATTRIBUTE = re.compile(r"""([^\s/>"'=]++)(?:\s*+=\s*+(?:"([^"]*)"|'([^']*)'|([^\s"'>]++)))?""")
_LONGEST_ATTRIBUTES = 4096  # of which so much is looked at
_LINE_BREAK = "\x00"  # which no text holds
_SPACE = re.compile(r"[ \t\n\r\f]+")
_LONG_NUMBER = re.compile(r"&#[xX]?[0-9a-fA-F]{9,};?")
_DEEPEST = 64  # levels that are told apart; below them, elements only part what is around them


def _tags(names: str) -> frozenset[str]:
    return frozenset(names.split())


_RAW = _tags("script style textarea title xmp iframe noembed noframes")
_HEADINGS = _tags("h1 h2 h3 h4 h5 h6")
_LISTS = _tags("ul ol menu")
_NOTHING = _tags("")
_CELLS = _tags("td th")
_TABLE = _tags("table")
_INSIDE_TABLES = _CELLS | _tags("tr thead tbody tfoot caption")
_BLOCKS = (_HEADINGS | _LISTS | _TABLE | _INSIDE_TABLES) | _tags(
    "address article aside blockquote body center dd details dialog dir div dl dt fieldset figcaption figure footer form"
    " header hgroup html legend li main nav p pre section summary"
)
_PARAGRAPH = _tags("p")
_OTHER_BLOCKS = _BLOCKS - _PARAGRAPH
_NEVER_SHOWN = _tags("applet audio button canvas datalist dialog map noscript object option optgroup rp rt select svg template video")
_NODES = _BLOCKS | _NEVER_SHOWN | {"a"}
# An element that opens ends these where they are open, up to the element that bounds the search.
_ENDS = {
    "li": (_tags("li"), _LISTS),
    **dict.fromkeys(("dt", "dd"), (_tags("dt dd"), _tags("dl"))),
    **dict.fromkeys(("td", "th"), (_CELLS, _tags("tr table"))),
    "tr": (_tags("tr"), _TABLE),
    **dict.fromkeys(("thead", "tbody", "tfoot"), (_tags("thead tbody tfoot"), _TABLE)),
    "option": (_tags("option"), _tags("select datalist")),
    "a": (_tags("a"), _CELLS),
}
_ROLES_LEFT_OUT = frozenset(("navigation", "banner", "contentinfo", "search", "complementary", "menu", "menubar", "dialog", "alertdialog"))
_KEPT_LINKS = _HEADINGS | _INSIDE_TABLES | _tags("li dd dt blockquote")  # what is mostly links is left out, but not these alone
_NAMES_LEFT_OUT = re.compile(
    r"\w{0,6}nav|nav\w*|menus?|breadcrumbs?|footer|cookies?|shar(?:e|ing)|social|pagination|pager|advert\w*|ads?|popup|modal|newsletter"
    r"|subscribe|copyright|skip"
)
_NAMES_OF_LINKS = re.compile(r"sidebar|related|recommend(?:ed|ations)?|toc")  # left out if they hold links: books call notes sidebars
_WORDS_OF_NAME = re.compile(r"[A-Z]?[a-z]+")
_NOT_DISPLAYED = re.compile(r"display\s*:\s*none|visibility\s*:\s*hidden")
_PERMALINKS = frozenset(("", "¶", "#", "§", "🔗"))


@dataclass(slots=True)
class _Node:
    """An element that matters for layout. `inside`: text as it stands in the file, "\\n" for <br>, and other nodes, in order."""

    tag: str
    attributes: str = ""
    inside: list[_Node | str] = field(default_factory=list)
    num_characters: int = 0
    num_linked: int = 0
    num_links: int = 0
    has_title: bool = False
    has_column_heads: bool = False
    has_layout: bool = False
    is_left_out: bool = False


@dataclass(slots=True)
class _Writer:
    """Puts lines together: a blank line between them, or none where they belong together (`is_tight`).

    `lead`: what stands before the next line. `indent`: what stands before those after it.
    """

    parts: list[str] = field(default_factory=list)
    lead: str = ""
    indent: str = ""
    is_tight: bool = False
    follows: bool = False

    def put(self, text: str) -> None:
        if self.parts:
            self.parts.append("\n" if self.follows else "\n\n")
        self.parts.append(self.lead + text.replace("\n", "\n" + self.indent))
        self.lead, self.follows = self.indent, self.is_tight


def read(data: bytes, *, path: str | Path) -> Iterator[Piece]:
    """The main content as one piece."""
    page = read_page(data, path=path)
    if not page.text:
        raise BadFileError(
            path, "has no text in it that a browser would show.", hint="If a script fills the page, save it after it has run."
        )
    yield Piece(page.text, encoding=page.encoding)


def read_page(data: bytes, *, path: str | Path, declared: str = "") -> Decoded:
    """The main content of a page, empty if it has none, and its encoding. `declared`: what who sent the page said that it is."""
    stated = _DECLARED.search(data, 0, 4096)
    declared = declared or (stated[1].decode("ascii", "replace") if stated else "")
    decoded = decode_reported(data, path=path, declared=declared)
    return Decoded(extract(decoded.text), decoded.encoding)


def extract(markup: str) -> str:
    """The main content of a page, or all its visible text where no part is more than menus; empty where there is none.

    >>> extract("<nav><a href=/>Home</a></nav><h1>Llamas</h1><p>They <b>eat</b> &amp; sleep.<ul><li>Grass<li>Hay</ul>")
    'Llamas\\n\\nThey eat & sleep.\\n\\n- Grass\\n- Hay'
    """
    page, nodes = _parse(markup)
    _measure(nodes)
    for node in nodes:
        node.is_left_out = _is_left_out(node, page)
    mains = [node for node in nodes if _is_main(node) and not node.is_left_out]
    root = mains[0] if len(mains) == 1 and 4 * mains[0].num_characters > page.num_characters else page
    text = _text_of(root)
    if not text:
        for node in nodes:
            node.is_left_out = node.tag in _NEVER_SHOWN
        text = _text_of(page)
    return text


def _parse(markup: str) -> tuple[_Node, list[_Node]]:
    """The page as a tree, and all its nodes in the order in which they begin."""
    page = _Node("html")
    nodes, open_nodes = [page], [page]
    position = 0
    while True:
        start = markup.find("<", position)
        text = markup[position : start if start >= 0 else len(markup)]
        if text:
            open_nodes[-1].inside.append(text)
        if start < 0:
            break
        tag = _TAG.match(markup, start)
        if tag:
            position = tag.end()
            name = tag[2].lower()
            if tag[1]:
                _close(name, open_nodes)
            elif name in _RAW:
                end = re.compile(f"</{name}", re.IGNORECASE).search(markup, position)
                position = end.start() if end else len(markup)
            elif name == "br":
                open_nodes[-1].inside.append(_Node("br"))
            elif name in _NODES and not (name == "a" and "href" not in tag[3][:_LONGEST_ATTRIBUTES].lower()):
                _open(_Node(name, tag[3][:_LONGEST_ATTRIBUTES]), open_nodes, nodes)
        elif markup.startswith("<!--", start):
            position = _after(markup, "-->", start + 4)
        elif markup.startswith(("<!", "<?", "</"), start):
            position = _after(markup, ">", start)
        elif markup[start + 1 : start + 2].isascii() and markup[start + 1 : start + 2].isalpha():
            break  # a tag that never ends
        else:
            open_nodes[-1].inside.append("<")
            position = start + 1
    return page, nodes


def _after(markup: str, end: str, position: int) -> int:
    found = markup.find(end, position)
    return found + len(end) if found >= 0 else len(markup)


def _open(node: _Node, open_nodes: list[_Node], nodes: list[_Node]) -> None:
    """Put a node where it belongs; what cannot hold it ends. Beyond the deepest level it only parts what is around it."""
    if node.tag in _BLOCKS and node.tag not in _INSIDE_TABLES:
        _end(_PARAGRAPH, _OTHER_BLOCKS, open_nodes)
    if node.tag in _ENDS:
        _end(*_ENDS[node.tag], open_nodes)
    nodes.append(node)
    open_nodes[-1].inside.append(node)
    if len(open_nodes) < _DEEPEST:
        open_nodes.append(node)


def _end(tags: frozenset[str], bounds: frozenset[str], open_nodes: list[_Node]) -> None:
    for level in range(len(open_nodes) - 1, 0, -1):
        if open_nodes[level].tag in tags:
            del open_nodes[level:]
            return
        if open_nodes[level].tag in bounds:
            return


def _close(name: str, open_nodes: list[_Node]) -> None:
    """An end tag ends what it names, if that is open; but what is outside a cell is not ended from inside."""
    if name in _NODES:
        bounds = _NOTHING if name == "table" else _TABLE if name in _INSIDE_TABLES else _CELLS
        _end(frozenset((name,)), bounds, open_nodes)


def _measure(nodes: list[_Node]) -> None:
    """Count characters, those in links, and links, from the inside to the outside."""
    for node in reversed(nodes):
        if node.tag in _NEVER_SHOWN:
            node.inside.clear()
        for part in node.inside:
            if isinstance(part, str):
                node.num_characters += len(part) - sum(map(len, _SPACE.findall(part)))
            else:
                node.num_characters += part.num_characters
                node.num_linked += part.num_linked
                node.num_links += part.num_links
                node.has_title |= part.has_title or part.tag == "h1"
                node.has_column_heads |= part.has_column_heads or part.tag == "th"
                node.has_layout |= part.has_layout or part.tag in _HEADINGS or part.tag in {"table", "pre"}
        if node.tag == "a":
            node.num_linked, node.num_links = node.num_characters, 1
        elif node.tag == "table" and node.has_column_heads:  # a table of data, whatever its cells lead to
            node.num_linked = node.num_links = 0


def _is_main(node: _Node) -> bool:
    return node.tag == "main" or (node.tag != "html" and _attributes(node).get("role") == "main")


def _is_left_out(node: _Node, page: _Node) -> bool:
    if node.tag in _NEVER_SHOWN or node.tag == "nav":
        return True
    if node.tag in {"html", "body", "main", "article", "br"}:
        return False
    attributes = _attributes(node)
    if "hidden" in attributes or attributes.get("aria-hidden") == "true" or _NOT_DISPLAYED.search(attributes.get("style", "")):
        return True
    if attributes.get("role") in _ROLES_LEFT_OUT:
        return True
    if node.tag == "a" and node.num_characters < 3 and _words(node).strip() in _PERMALINKS:
        return True
    is_mostly_links = node.num_linked > 0.7 * node.num_characters and node.num_links > (2 if node.tag == "p" else 1)
    if is_mostly_links and node.tag not in _KEPT_LINKS:
        return True
    is_small = 3 * node.num_characters < page.num_characters
    if node.tag == "footer" or (node.tag == "aside" and is_small):
        return is_small
    if not is_small or node.has_title:
        return False
    words = [word.lower() for word in _WORDS_OF_NAME.findall(f"{attributes.get('class', '')} {attributes.get('id', '')}")]
    holds_links = node.num_linked > 0.3 * node.num_characters
    return any(_NAMES_LEFT_OUT.fullmatch(word) or (holds_links and _NAMES_OF_LINKS.fullmatch(word)) for word in words)


def _attributes(node: _Node) -> dict[str, str]:
    if not node.attributes:
        return {}
    return {m[1].lower(): _plain(m[2] or m[3] or m[4] or "") for m in _ATTRIBUTE.finditer(node.attributes)}


def _text_of(node: _Node) -> str:
    writer = _Writer()
    _write(node, writer)
    return "".join(writer.parts)


def _write(node: _Node, writer: _Writer) -> None:
    """Write what is in an element: what is between its blocks is a paragraph."""
    words: list[str] = []
    for part in node.inside:
        if isinstance(part, str):
            words.append(part)
        elif _is_inline(part):
            words.append("" if part.is_left_out else _words(part))
        else:
            _write_paragraph(words, writer)
            words.clear()
            if not part.is_left_out:
                _write_block(part, writer)
    _write_paragraph(words, writer)


def _write_paragraph(words: list[str], writer: _Writer) -> None:
    """Write words as a browser shows them: white space is one space, and only <br> ends a line."""
    lines = _SPACE.sub(" ", _plain("".join(words))).split(_LINE_BREAK)
    text = "\n".join(line.strip() for line in lines).strip("\n")
    if text:
        writer.put(text)


def _plain(words: str) -> str:
    try:
        return html.unescape(words)
    except ValueError:  # Python's limit, against the square of a number's length
        return html.unescape(_LONG_NUMBER.sub("\ufffd", words))


def _is_inline(node: _Node) -> bool:
    if node.tag in _NEVER_SHOWN:
        return True
    return node.tag == "br" or (node.tag == "a" and all(isinstance(part, str) or part.tag == "br" for part in node.inside))


def _words(node: _Node) -> str:
    """What is in an element, as it stands in the file, whatever else is in it."""
    if node.tag == "br":
        return _LINE_BREAK
    return "".join(part if isinstance(part, str) else "" if part.is_left_out else _words(part) for part in node.inside)


def _write_block(node: _Node, writer: _Writer) -> None:
    """Write an element that stands by itself."""
    if node.tag == "pre":
        text = _plain(_words(node)).replace(_LINE_BREAK, "\n").strip("\n")
        if text.strip():
            writer.put(text)
    elif node.tag in _HEADINGS:
        if heading := _in_one_line(node):
            writer.put(heading)
    elif node.tag in _LISTS:
        _write_tight(node, writer, _write_list)
    elif node.tag == "table" and not node.has_layout:
        _write_tight(node, writer, _write_rows)
    elif node.tag == "dd":
        writer.follows = True
        _write_tight(node, writer, _write)
    else:
        _write(node, writer)


def _write_tight(node: _Node, writer: _Writer, write: Callable[[_Node, _Writer], None]) -> None:
    """Write lines that belong together."""
    was_tight, writer.is_tight = writer.is_tight, True
    write(node, writer)
    writer.is_tight = writer.follows = was_tight


def _write_list(node: _Node, writer: _Writer) -> None:
    start = _attributes(node).get("start", "") if node.tag == "ol" else ""
    number = int(start) if start.isdecimal() and len(start) < 10 else 1
    outer = writer.indent
    for item in node.inside:
        if isinstance(item, _Node) and (item.is_left_out or item.tag == "br"):
            continue
        mark = f"{number}. " if node.tag == "ol" else "- "
        writer.indent = outer + " " * len(mark)
        writer.lead = writer.indent
        if isinstance(item, str):
            _write_paragraph([item], writer)
        elif item.tag == "li":
            writer.lead = outer + mark
            number += 1
            _write(item, writer)
        else:
            _write_block(item, writer)
    writer.indent = writer.lead = outer


def _write_rows(node: _Node, writer: _Writer) -> None:
    cells: list[str] = []
    for part in node.inside:
        if isinstance(part, str):
            _write_paragraph([part], writer)
        elif part.is_left_out or part.tag == "br":
            continue
        elif part.tag in _CELLS:
            cells.append(_in_one_line(part))
        elif part.tag in _INSIDE_TABLES and part.tag != "caption":
            _write_rows(part, writer)
        else:
            _write_block(part, writer)
    if any(cells):
        writer.put(" | ".join(cells))


def _in_one_line(node: _Node) -> str:
    return " ".join(line for line in _text_of(node).split("\n") if line)
