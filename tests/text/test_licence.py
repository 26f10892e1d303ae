from __future__ import annotations

import pytest

from llamarium.text import licence as module
from llamarium.text.licence import licence

STATEMENTS = {
    "# SPDX-License-Identifier: GPL-2.0-only\n": "GPL-2.0-only",
    "Released under CC0.": "CC0-1.0",
    "see http://creativecommons.org/licenses/by-nc-sa/3.0/": "CC-BY-NC-SA",
    "Text: CC BY-SA 4.0": "CC-BY-SA",
    "本文采用知识共享许可协议": "CC",
    "the Project Gutenberg License included with this eBook": "Project Gutenberg",
    "under the terms of the GNU Free Documentation License": "GFDL",
    "the GNU Affero General Public License": "AGPL",
    "under the GNU Lesser General Public License": "LGPL",
    "the GNU General Public License version 2": "GPL",
    "Licensed under the Apache License, Version 2.0": "Apache-2.0",
    "the Mozilla Public Licence": "MPL",
    "Permission is hereby granted, free of charge, to any person": "MIT",
    "Redistribution and use in source and binary forms, with or without": "BSD",
    "This is in the public domain.": "public domain",
    "该作品属于公有领域": "public domain",
    "(c) 2020 Somebody. ALL RIGHTS RESERVED": "all rights reserved",
    "未经授权不得转载": "all rights reserved",
}


@pytest.mark.parametrize(("text", "name"), STATEMENTS.items())
def test_each_statement_is_known_at_the_start_and_at_the_end(text: str, name: str) -> None:
    assert licence(f"{text}\nThe llama.") == name
    assert licence("The llama eats grass. " * 2000 + text) == name


def test_each_pattern_has_a_statement_here() -> None:
    assert len(module._EACH) <= len(STATEMENTS)
    for pattern, _ in module._EACH:
        assert any(pattern.search(text) for text in STATEMENTS), pattern.pattern


def test_what_says_nothing_has_none() -> None:
    assert licence("The llama has a licence to eat grass.") == ""
    assert licence("x" * 4_000 + "the GNU General Public License" + "x" * 4_000) == "", "in the middle it is what the text is about"
