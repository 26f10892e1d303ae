from __future__ import annotations

import inspect
import re

import pytest

from llamarium.ground import errors
from llamarium.ground.errors import BadFileError, LlamariumError, MissingExtraError, nearest

CLASSES = [value for value in vars(errors).values() if inspect.isclass(value) and issubclass(value, LlamariumError)]


@pytest.mark.parametrize("error", CLASSES, ids=lambda error: error.__name__)
def test_the_tree_in_the_docstring_is_the_tree(error: type[LlamariumError]) -> None:
    row = re.search(rf"^(?P<stem>.*?){error.__name__}\s+(?P<code>\d+)", errors.__doc__ or "", re.MULTILINE)
    assert row is not None, "not drawn"
    assert int(row["code"]) == error.exit_code
    parent = LlamariumError.__base__ if error is LlamariumError else errors.UsageError if "│" in row["stem"] else LlamariumError
    assert error.__base__ is parent


@pytest.mark.parametrize(
    ("name", "known", "hint"),
    [
        ("lama", ["llama", "gpt"], "Did you mean 'llama'?"),
        ("GPT", ["gpt"], "Known: gpt."),
        ("zebra", ["b", "a"], "Known: a, b."),
        ("", ["a"], "Known: a."),
        ("x", [], ""),
        ("x", iter(["xx", "y"]), "Did you mean 'xx'?"),
    ],
)
def test_nearest(name: str, known: list[str], hint: str) -> None:
    assert nearest(name, known) == hint


def test_a_bad_file_says_where_and_what() -> None:
    error = BadFileError("model.gguf", "ends too early.", offset=113, hint="Download it again.")
    assert error.message == "model.gguf, byte 113: ends too early."
    assert (error.path, error.reason, error.offset, error.hint) == ("model.gguf", "ends too early.", 113, "Download it again.")
    assert BadFileError("a", "is empty.").message == "a: is empty."


def test_a_missing_extra_says_the_command() -> None:
    error = MissingExtraError("prepare", extra="text", package="pyarrow")
    assert "pyarrow" in error.message
    assert error.hint == "pip install 'llamarium[text]'"
