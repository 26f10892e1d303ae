"""XML from strangers: no entities, no other files, and a tree of bounded size.

Takes: bytes of XML.
Gives: its elements.
Does not know: what they mean.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element, ParseError

from llamarium.ground.errors import BadFileError, MissingExtraError

LARGEST = 48 << 20  # bytes: a tree takes some eight times the memory of its text
TOO_DEEP = "is nested too deeply."


def tree(data: bytes, *, path: str | Path, name: str) -> Element:
    """The root element of `data`, which is called `name` in the sentence of an error."""
    if len(data) > LARGEST:
        raise BadFileError(path, f"{name} has {len(data):,} bytes; {LARGEST:,} are read at most.", hint="Split the document.")
    fromstring, forbidden = _parser()
    try:
        root: Element = fromstring(data)
    except forbidden as error:
        raise BadFileError(path, f"{name} declares entities or refers to other files ({type(error).__name__}).") from None
    except (ParseError, ValueError, LookupError) as error:  # LookupError: an encoding that nobody knows
        raise BadFileError(path, f"{name} is not valid XML ({error}).") from None
    return root


def local(element: Element) -> str:
    """The name of an element without its namespace; documents use two spellings of the same ones.

    >>> from xml.etree.ElementTree import Element
    >>> local(Element("{urn:oasis}p"))
    'p'
    """
    return str(element.tag).rpartition("}")[2]


def attribute(element: Element | None, name: str) -> str:
    """The value of the attribute `name`, whatever its namespace; empty where there is none."""
    if element is None:
        return ""
    return next((value for key, value in element.attrib.items() if key.rpartition("}")[2] == name), "")


def child(element: Element | None, *names: str) -> Element | None:
    """The first child, grandchild, ... by local names, None where there is none."""
    for name in names:
        element = next(children(element, name), None)
    return element


def children(element: Element | None, name: str) -> Iterator[Element]:
    """The children with a local name; none of nothing."""
    return (found for found in (element if element is not None else ()) if local(found) == name)


def _parser() -> tuple[Callable[[bytes], Any], type[Exception]]:
    try:
        from defusedxml import DefusedXmlException  # type: ignore[import-untyped,unused-ignore]
        from defusedxml.ElementTree import fromstring  # type: ignore[import-untyped,unused-ignore]
    except ImportError:
        raise MissingExtraError("Reading this format", extra="text", package="defusedxml") from None
    return fromstring, DefusedXmlException
