from __future__ import annotations

from pathlib import Path

import pytest

from llamarium.ground.errors import NotFoundError
from llamarium.text import python_documentation
from llamarium.text.document import read_documents
from llamarium.text.sources import list_files


def test_the_library_without_tests_and_guests() -> None:
    found = {file.source: file.path for file in list_files("python:docs")}
    assert {"textwrap.py", "pydoc_data/topics.py", "json/__init__.py"} <= set(found)
    assert len(found) > 200
    assert not [name for name in found if {"test", "site-packages", "idlelib"} & set(name.split("/"))]
    text = read_documents(found["textwrap.py"], source="textwrap.py")[0].text
    assert "dedent(text)\nRemove any common leading whitespace from every line in `text`." in text


def test_topics_are_one_document_each() -> None:
    topics = next(file for file in list_files("python:docs") if file.source == "pydoc_data/topics.py")
    documents = read_documents(topics.path, source=topics.source)
    assert len(documents) > 50
    assert documents[0].source == "pydoc_data/topics.py#1"


def test_a_python_without_its_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(python_documentation, "root", lambda: tmp_path)
    with pytest.raises(NotFoundError):
        list_files("python:docs")
