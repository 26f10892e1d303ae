from __future__ import annotations

import pytest
from tests.text.files import archive, paragraph
from tests.text.files import docx as make

from llamarium.ground.errors import BadFileError
from llamarium.text.read import docx


def text(body: str, **parts: str) -> str:
    (piece,) = docx.read(make(body, **parts), path="a.docx")
    return piece.text


def run(inside: str, *, properties: str = "") -> str:
    return f"<w:r><w:rPr>{properties}</w:rPr>{inside}</w:r>"


NUMBERING = (
    '<w:abstractNum w:abstractNumId="5"><w:lvl w:ilvl="0"><w:numFmt w:val="bullet"/></w:lvl></w:abstractNum>'
    '<w:abstractNum w:abstractNumId="6"><w:lvl w:ilvl="0"><w:numFmt w:val="decimal"/></w:lvl>'
    '<w:lvl w:ilvl="1"><w:numFmt w:val="lowerLetter"/></w:lvl></w:abstractNum>'
    '<w:num w:numId="1"><w:abstractNumId w:val="5"/></w:num><w:num w:numId="2"><w:abstractNumId w:val="6"/></w:num>'
)


def item(words: str, number: int, level: int = 0) -> str:
    return paragraph(words, properties=f'<w:numPr><w:ilvl w:val="{level}"/><w:numId w:val="{number}"/></w:numPr>')


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (paragraph("Title", properties='<w:pStyle w:val="Heading1"/>') + paragraph("") + paragraph("Text."), "Title\n\nText."),
        (f"<w:p>{run('<w:t>one</w:t><w:tab/><w:t>two</w:t><w:br/><w:t>three</w:t>')}</w:p>", "one\ttwo\nthree"),
        (f"<w:p>{run('<w:t>half</w:t>')}{run('<w:t>hearted</w:t><w:noBreakHyphen/>')}</w:p>", "halfhearted-"),
        (f"<w:p><w:hyperlink>{run('<w:t>link</w:t>')}</w:hyperlink> tail</w:p>", "link"),
        (f"<w:p><w:ins>{run('<w:t>new</w:t>')}</w:ins><w:del>{run('<w:delText>old</w:delText>')}</w:del></w:p>", "new"),
        (f"<w:p><w:del>{run('<w:t>old</w:t>')}</w:del>{run('<w:t>stays</w:t>')}</w:p>", "stays"),
        (f"<w:p><w:moveFrom>{run('<w:t>away</w:t>')}</w:moveFrom>{run('<w:t>stays</w:t>')}</w:p>", "stays"),
        (f"<w:p>{run('<w:t>seen</w:t>')}{run('<w:t>hidden</w:t>', properties='<w:vanish/>')}</w:p>", "seen"),
        ("<w:p>" + run("<w:t>seen</w:t>", properties='<w:vanish w:val="0"/>') + "</w:p>", "seen"),
        (f"<w:p>{run('<w:instrText>PAGE</w:instrText><w:t>1</w:t>')}</w:p>", "1"),
        (f"<w:sdt><w:sdtPr><w:t>x</w:t></w:sdtPr><w:sdtContent>{paragraph('inside')}</w:sdtContent></w:sdt>", "inside"),
        (f"<w:p>{run('<w:t>before</w:t><w:pict><w:txbxContent>' + paragraph('box') + '</w:txbxContent></w:pict>')}</w:p>", "before\nbox"),
        (
            f"<w:p>{run('<w:AlternateContent><w:Choice><w:t>a</w:t></w:Choice><w:Fallback><w:t>a</w:t></w:Fallback></w:AlternateContent>')}</w:p>",
            "a",
        ),
        (item("a", 1) + item("b", 1) + paragraph("after"), "- a\n- b\n\nafter"),
        (
            item("a", 2) + item("b", 2) + item("in", 2, 1) + item("in", 2, 1) + item("c", 2) + item("in", 2, 1),
            "1. a\n2. b\n  1. in\n  2. in\n3. c\n  1. in",
        ),
        (item("unknown list", 9), "- unknown list"),
        (item("no list", 0), "no list"),
        (paragraph("by style", properties='<w:pStyle w:val="ListBullet"/>'), "- by style"),
    ],
)
def test_words(body: str, words: str) -> None:
    styles = (
        '<w:style w:styleId="Heading1"/><w:style w:styleId="ListBullet"><w:pPr><w:numPr><w:numId w:val="1"/></w:numPr></w:pPr></w:style>'
    )
    assert text(body, numbering=NUMBERING, styles=styles) == words


def test_a_table_is_a_line_a_row() -> None:
    def cell(inside: str) -> str:
        return f"<w:tc>{inside}</w:tc>"

    inner = f"<w:tbl><w:tr>{cell(paragraph('x'))}{cell(paragraph('y'))}</w:tr></w:tbl>"
    rows = [
        cell(paragraph("name")) + cell(paragraph("eats")),
        cell(paragraph("llama") + paragraph("羊驼")) + cell(inner),
        cell(paragraph("")) + cell(paragraph("")),
    ]
    table = "<w:tbl><w:tblPr/>" + "".join(f"<w:tr><w:trPr/>{row}</w:tr>" for row in rows) + "</w:tbl>"
    assert text(paragraph("Table:") + table + paragraph("End.")) == "Table:\n\nname | eats\nllama 羊驼 | x | y\n\nEnd."


def test_notes_stand_at_the_end_in_the_order_of_their_calls() -> None:
    def call(number: int) -> str:
        return f'<w:r><w:footnoteReference w:id="{number}"/></w:r>'

    body = f"<w:p>{run('<w:t>One</w:t>')}{call(8)}{run('<w:t>, two</w:t>')}{call(7)}{run('<w:t>, again</w:t>')}{call(8)}{call(99)}</w:p>"
    notes = (
        f'<w:footnote w:id="0" w:type="separator">{paragraph("---")}</w:footnote>'
        f'<w:footnote w:id="7">{paragraph("Seven.")}</w:footnote>'
        f'<w:footnote w:id="8">{paragraph("Eight.")}{paragraph("More.")}</w:footnote>'
    )
    assert text(body, footnotes=notes) == "One[1], two[2], again[1]\n\n[1] Eight. More.\n\n[2] Seven."


def test_a_note_that_calls_itself_ends() -> None:
    note = '<w:footnote w:id="1"><w:p><w:r><w:footnoteReference w:id="1"/></w:r></w:p></w:footnote>'
    assert text('<w:p><w:r><w:footnoteReference w:id="1"/></w:r></w:p>', footnotes=note) == "[1]\n\n[1] [1]"


def test_a_note_may_call_another() -> None:
    notes = '<w:footnote w:id="1"><w:p><w:r><w:t>See</w:t><w:footnoteReference w:id="2"/></w:r></w:p></w:footnote>'
    notes += f'<w:footnote w:id="2">{paragraph("There.")}</w:footnote>'
    assert text('<w:p><w:r><w:footnoteReference w:id="1"/></w:r></w:p>', footnotes=notes) == "[1]\n\n[1] See[2]\n\n[2] There."


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (make(""), "has no text"),
        (archive({"word/other.xml": "<a/>"}), "it has no word/document.xml"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 100, "is encrypted, or an old Word document"),
        (make("<w:tbl><w:tr><w:tc>" * 3000 + "</w:tc></w:tr></w:tbl>" * 3000), "nested too deeply"),
        (archive({"word/document.xml": '<!DOCTYPE a [<!ENTITY b "ha"><!ENTITY c "&b;&b;">]><a>&c;</a>'}), "declares entities"),
        (b"PK\x03\x04", "not a Word document, or a damaged one"),
    ],
)
def test_what_is_refused(data: bytes, says: str) -> None:
    with pytest.raises(BadFileError) as caught:
        list(docx.read(data, path="a.docx"))
    assert says in caught.value.message
