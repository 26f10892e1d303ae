"""The examples in the docstrings of the text floor are true."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest

import llamarium.text

MODULES = [module.name for module in pkgutil.walk_packages(llamarium.text.__path__, "llamarium.text.") if not module.ispkg]


@pytest.mark.parametrize("name", MODULES)
def test_examples(name: str) -> None:
    assert doctest.testmod(importlib.import_module(name)).failed == 0


def test_there_are_examples() -> None:
    num_examples = sum(doctest.testmod(importlib.import_module(name)).attempted for name in MODULES)
    assert num_examples > 20
