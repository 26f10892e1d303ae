"""Files for tests, made from nothing: PDF, Word, OpenDocument, EPUB, ZIP."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping, Sequence
from urllib.parse import unquote

WORD = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'
OPEN = (
    'xmlns:office="urn:oasis:names:tc:opendocument:xmlns:office:1.0" '
    'xmlns:text="urn:oasis:names:tc:opendocument:xmlns:text:1.0" '
    'xmlns:table="urn:oasis:names:tc:opendocument:xmlns:table:1.0"'
)


def pdf(pages: Sequence[str], *, more: Mapping[int, bytes] | None = None, resources: bytes = b"") -> bytes:
    """A PDF with a text in Helvetica on each page. `more`: further objects, from number 1000; `resources`: of every page."""
    objects = {
        1: b"<< /Type /Catalog /Pages 2 0 R >>",
        3: b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>",
        **(more or {}),
    }
    for number, page in enumerate(pages):
        content = 10 + 2 * number
        objects[content] = stream(words(page))
        objects[content + 1] = (
            b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Resources << /Font << /F1 3 0 R >> %s >> /Contents %d 0 R >>"
        ) % (resources, content)
    kids = b" ".join(b"%d 0 R" % (11 + 2 * number) for number in range(len(pages)))
    objects[2] = b"<< /Type /Pages /Kids [%s] /Count %d >>" % (kids, len(pages))
    return pdf_file(objects)


def words(page: str) -> bytes:
    """The content of a page: a line of text a line."""
    if not page:
        return b""
    lines = page.encode("cp1252").replace(b"\\", b"\\\\").replace(b"(", b"\\(").replace(b")", b"\\)").split(b"\n")
    return b"BT /F1 12 Tf 14 TL 72 720 Td " + b" ".join(b"(%s) Tj T*" % line for line in lines) + b" ET"


def stream(data: bytes, *, entries: bytes = b"") -> bytes:
    """An object that holds `data`."""
    return b"<< /Length %d %s >>\nstream\n%s\nendstream" % (len(data), entries, data)


def pdf_file(objects: Mapping[int, bytes]) -> bytes:
    """A PDF of numbered objects; 1 is its catalogue."""
    out = b"%PDF-1.4\n"
    places = {}
    for number in sorted(objects):
        places[number] = len(out)
        out += b"%d 0 obj\n%s\nendobj\n" % (number, objects[number])
    table = b"".join(b"%d 1\n%010d 00000 n \n" % (number, place) for number, place in places.items())
    start = len(out)
    out += b"xref\n0 1\n0000000000 65535 f \n%s" % table
    return out + b"trailer\n<< /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (max(objects) + 1, start)


def encrypted_pdf(data: bytes, password: str, *, owner: str = "owner") -> bytes:
    """The same PDF behind a password."""
    from pypdf import PdfWriter

    writer = PdfWriter(clone_from=io.BytesIO(data))
    writer.encrypt(password, owner_password=owner, algorithm="RC4-128")
    out = io.BytesIO()
    writer.write(out)
    return out.getvalue()


def archive(members: Mapping[str, str | bytes]) -> bytes:
    """A ZIP archive."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in members.items():
            file.writestr(name, content)
    return out.getvalue()


def docx(body: str, **parts: str) -> bytes:
    """A Word document with a body, and parts such as styles, numbering, footnotes (the inside of their root element)."""
    members = {"word/document.xml": f"<w:document {WORD}><w:body>{body}</w:body></w:document>"}
    for name, inside in parts.items():
        members[f"word/{name}.xml"] = f"<w:{name} {WORD}>{inside}</w:{name}>"
    return archive({"[Content_Types].xml": "<Types/>", **members})


def paragraph(text: str, *, properties: str = "") -> str:
    """A paragraph of Word."""
    return f"<w:p><w:pPr>{properties}</w:pPr><w:r><w:t>{text}</w:t></w:r></w:p>"


def odt(body: str, **members: str) -> bytes:
    """An OpenDocument text."""
    content = f"<office:document-content {OPEN}><office:body><office:text>{body}</office:text></office:body></office:document-content>"
    return archive({"mimetype": "application/vnd.oasis.opendocument.text", "content.xml": content, **members})


def epub(chapters: Mapping[str, str | bytes], *, folder: str = "OEBPS", members: Mapping[str, str | bytes] | None = None) -> bytes:
    """A book with an XHTML page a chapter, in this order."""
    items = "".join(f'<item id="c{number}" href="{name}" media-type="application/xhtml+xml"/>' for number, name in enumerate(chapters))
    spine = "".join(f'<itemref idref="c{number}"/>' for number in range(len(chapters)))
    package = f'<package xmlns="http://www.idpf.org/2007/opf"><manifest>{items}</manifest><spine>{spine}</spine></package>'
    container = (
        '<container xmlns="urn:oasis:names:tc:opendocument:xmlns:container"><rootfiles>'
        f'<rootfile full-path="{folder}/book.opf" media-type="application/oebps-package+xml"/></rootfiles></container>'
    )
    pages = {f"{folder}/{unquote(name)}": page for name, page in chapters.items()}
    return archive(
        {"mimetype": "application/epub+zip", "META-INF/container.xml": container, f"{folder}/book.opf": package, **pages, **(members or {})}
    )
