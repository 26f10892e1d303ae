from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llamarium.ground.errors import BadFileError
from llamarium.text.document import Piece
from llamarium.text.read.html import extract, read

ARTICLE = """<!doctype html><html><head><title>Keeping alpacas | Farm</title><style>p{color:red}</style>
<script>var a = "<p>no</p>";</script></head><body>
<a class="skip-link" href="#main">Skip to content</a>
<header><div class="logo"><a href="/">Farm</a></div>
<ul id="mainNav"><li><a href="/b">Blog</a></li><li><a href="/c">Shop</a></li></ul></header>
<div class="breadcrumb"><a href="/">Home</a> &gt; <a href="/b">Blog</a> &gt; Alpacas</div>
<div class="content">
<h1>Keeping alpacas<a class="headerlink" href="#keeping">¶</a></h1>
<p>Alpacas are <b>calm</b> animals that live<br>
in herds. They eat   grass &amp; hay&nbsp;&mdash; see <a href="/food">food</a> and <a href="/water">water</a> for more about it.</p>
<h2><span>Food</span></h2>
<ol start="3"><li>Hay, <i>always</i></li><li><p>Minerals</p><ul><li>Zinc<li>Copper</ul></li></ol>
<table><caption>Prices</caption><thead><tr><th>Animal<th>Price</thead><tbody><tr><td><p>Alpaca</p><td>900<tr><td>Llama<td></tbody></table>
<pre><code>def feed():
    return &lt;hay&gt;
</code></pre>
<dl><dt>Cria<dd>A young one.<dt>Herd<dd>Many.</dl>
<blockquote>They hum.<footer>a farmer</footer></blockquote>
</div>
<aside><h3>Related</h3><a href="1">Ten tips for goats</a></aside>
<div class="share-buttons">Share this on all networks</div>
<form><label>Mail</label> <select><option>One<option>Two</select><button>Send</button></form>
<footer>© 2024 Farm Ltd. <a href="/privacy">Privacy</a> <a href="/terms">Terms</a></footer>
</body></html>"""
ARTICLE_TEXT = """Keeping alpacas

Alpacas are calm animals that live
in herds. They eat grass & hay\u00a0— see food and water for more about it.

Food

3. Hay, always
4. Minerals
   - Zinc
   - Copper

Prices
Animal | Price
Alpaca | 900
Llama |\u0020

def feed():
    return <hay>

Cria
A young one.

Herd
Many.

They hum.

Mail"""

CHINESE = """<html><head><meta http-equiv=Content-Type content="text/html; charset=gb2312"></head><body>
<div class="nav"><a href=/>首页</a> | <a href=/1>新闻</a> | <a href=/2>关于我们</a></div>
<div class="main"><h1>羊驼的饲养</h1><p>羊驼是温顺的动物，成群生活。它们吃草，也吃干草。</p><p>成年羊驼每天吃两公斤干草。</p></div>
<div class="footer">版权所有 某某公司</div></body></html>"""


def test_the_content_and_its_structure_not_what_is_around_it() -> None:
    assert extract(ARTICLE) == ARTICLE_TEXT


def test_chinese_in_the_encoding_that_the_page_declares() -> None:
    text = "羊驼的饲养\n\n羊驼是温顺的动物，成群生活。它们吃草，也吃干草。\n\n成年羊驼每天吃两公斤干草。"
    assert list(read(CHINESE.encode("gbk"), path="a")) == [Piece(text, encoding="gb18030")]
    japanese = '<?xml version="1.0" encoding="Shift_JIS"?><html><body><p>羊</p></body></html>'
    assert list(read(japanese.encode("shift_jis"), path="a")) == [Piece("羊", encoding="shift_jis")]
    wrong = '<meta charset="iso-8859-1"><p>羊驼住在山上，吃草。</p>'
    assert list(read(wrong.encode("gbk"), path="a")) == [Piece("羊驼住在山上，吃草。", encoding="gb18030")]


@pytest.mark.parametrize(
    ("markup", "text"),
    [
        ("plain words", "plain words"),
        ("<p>one<p>two", "one\n\ntwo"),
        ("<div>one<div>two</div>three</div>", "one\n\ntwo\n\nthree"),
        ("a < b and <b>b</b> > c", "a < b and b > c"),
        ("<P>Upper</P><SCRIPT>no</SCRIPT >", "Upper"),
        ("<a href=x><h2>Linked</h2><p>Card</p></a>", "Linked\n\nCard"),
        ("<p>1<br><br>2</p>", "1\n\n2"),
        ("<p title='a > b'>quoted</p>", "quoted"),
        ("<p>&lt;b&gt; &#x7f8a; &nosuch; &amp;amp;</p>", "<b> 羊 &nosuch; &amp;"),
        pytest.param("<p>&#" + "9" * 5000 + ";", "\ufffd", id="a number that is too long"),
        ("<ruby>羊<rp>(</rp><rt>yang</rt><rp>)</rp></ruby>", "羊"),
        ("<main><p>Only this of all that is here.</p></main><p>Not this.</p>", "Only this of all that is here."),
        ("<p>See <a href=1>one</a>.</p>", "See one."),
        ("<p hidden>no</p><p style='display: none'>no</p><p aria-hidden=true>no</p><div role=navigation>no</div><p>yes</p>", "yes"),
        ("<table><tr><td><h1>Title</h1><p>Words.</p></td><td><p>Other.</p></td></tr></table>", "Title\n\nWords.\n\nOther."),
        ("<ul>loose<li>one</li><ul><li>two</ul></ul>", "  loose\n- one\n  - two"),
        ("<tr><td>a<td>b", "a\n\nb"),
        ("<table><tr><td>a<td>b<tr>loose<td>c", "a | b\nloose\nc"),
        ("<!-- <p>no</p> --><!doctype html><?php no ?><p>yes</p><![CDATA[no]]>", "yes"),
        ("<p>one</p><!-- never ends", "one"),
        ("<p>one</p><a href='never ends", "one"),
        ("<textarea><p>no</p></textarea><p>yes", "yes"),
        ("<ul><li><a href=1>One</a><li><a href=2>Two</a></ul>", "- One\n- Two"),  # nothing but links: better than nothing
    ],
)
def test_what_is_shown(markup: str, text: str) -> None:
    assert extract(markup) == text


def test_a_note_in_a_sidebar_stays_and_links_in_one_go() -> None:
    page = "<p>" + "Long words of the page itself. " * 20 + "</p>"
    assert "A note" in extract(page + '<div class="sidebar"><p>A note on backups, without any link.</p></div>')
    assert "Goats" not in extract(page + '<div class="sidebar"><p>Also read</p><p><a href="1">Goats and sheep</a></p></div>')
    assert extract('<div class="nav"><h1>Title</h1>' + page + "</div>").startswith("Title")  # a badly named page is a page


def test_a_table_of_data_stays_though_its_cells_are_links() -> None:
    table = "<table><tr><th>Package<th>Size<tr><td><a href=1>desktop-environment</a><td>9<tr><td><a href=2>window-manager</a><td>7</table>"
    page = "<p>" + "Long words of the page itself. " * 20 + "</p>"
    assert extract(page + table).endswith("Package | Size\ndesktop-environment | 9\nwindow-manager | 7")
    assert "desktop" not in extract(page + table.replace("th>", "td>"))


def test_depth_costs_structure_not_text() -> None:
    words = [f"w{number}" for number in range(3000)]
    text = extract("".join(f"<div><font><p>{word}" for word in words))
    assert (text.split() == words) is True


def test_a_page_without_text() -> None:
    for markup in (b"<html></html>", b"<script>a</script>", b"<p> &#32; </p>"):
        with pytest.raises(BadFileError, match="no text in it"):
            list(read(markup, path="a.html"))


TAGS = st.sampled_from(
    ["p", "div", "ul", "ol", "li", "table", "tr", "td", "pre", "h1", "a href=x", "b", "br", "nav", "dl", "dd", "!--", "?", "x y='"]
)
PARTS = st.lists(
    st.tuples(st.sampled_from(["<", "</"]), TAGS, st.sampled_from([">", " ", "/>"]), st.text("ab <&;'\"=羊\n", max_size=5)), max_size=40
)


@given(PARTS)
def test_any_markup_ends_in_text(parts: list[tuple[str, ...]]) -> None:
    text = extract("".join(map("".join, parts)))
    assert "\0" not in text
    assert text == text.strip("\n")


@given(st.lists(st.text("abc羊驼", min_size=1, max_size=6), min_size=1, max_size=30), st.randoms(use_true_random=False))
def test_no_word_of_plain_blocks_is_lost(words: list[str], random: object) -> None:
    choice = random.choice  # type: ignore[attr-defined]
    markup = "".join(f"<{choice(['p', 'div', 'li', 'td', 'h2', 'section', 'font', 'b'])}> {word} " for word in words)
    assert re.findall("[abc羊驼]+", extract(markup)) == words
