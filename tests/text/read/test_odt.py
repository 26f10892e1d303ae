from __future__ import annotations

import pytest
from tests.text.files import archive
from tests.text.files import odt as make

from llamarium.ground.errors import BadFileError
from llamarium.text.read import odt


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("<text:h>Title</text:h><text:p/><text:p>A <text:span>llama</text:span> eats.</text:p>", "Title\n\nA llama eats."),
        ("<text:p>a<text:tab/>b<text:line-break/>c<text:s/>d</text:p>", "a\tb\nc d"),
        ("<text:section><text:p>inside</text:p></text:section>", "inside"),
        (
            "<text:list><text:list-item><text:p>a</text:p><text:p>more</text:p><text:list><text:list-item><text:p>in</text:p></text:list-item>"
            "</text:list></text:list-item><text:list-item><text:p>b</text:p></text:list-item></text:list>",
            "- a\n  more\n  - in\n- b",
        ),
        (
            "<table:table><table:table-header-rows><table:table-row><table:table-cell><text:p>name</text:p></table:table-cell><table:table-cell>"
            "<text:p>eats</text:p></table:table-cell></table:table-row></table:table-header-rows><table:table-row><table:table-cell "
            'table:number-columns-repeated="2"><text:p>x</text:p></table:table-cell></table:table-row></table:table>',
            "name | eats\nx | x",
        ),
        (
            "<text:p>One<text:note><text:note-citation>1</text:note-citation><text:note-body><text:p>A note.</text:p></text:note-body>"
            "</text:note>.</text:p><text:p>Two.</text:p>",
            "One[1].\n\nTwo.\n\n[1] A note.",
        ),
        ("<text:tracked-changes><text:p>old</text:p></text:tracked-changes><text:p>new</text:p>", "new"),
        ("<text:p>a<office:annotation><text:p>comment</text:p></office:annotation>b</text:p>", "ab"),
    ],
)
def test_words(body: str, words: str) -> None:
    (piece,) = odt.read(make(body), path="a.odt")
    assert piece.text == words


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (make("<text:p/>"), "has no text"),
        (archive({"other.xml": "<a/>"}), "it has no content.xml"),
        (make("<text:p>a</text:p>", **{"META-INF/manifest.xml": "<m><file-entry><encryption-data/></file-entry></m>"}), "is encrypted"),
        (make("<text:section>" * 5000 + "</text:section>" * 5000), "nested too deeply"),
    ],
)
def test_what_is_refused(data: bytes, says: str) -> None:
    with pytest.raises(BadFileError) as caught:
        list(odt.read(data, path="a.odt"))
    assert says in caught.value.message
