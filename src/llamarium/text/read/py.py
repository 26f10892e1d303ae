"""Python: the documentation inside a module, found by parsing, never by importing.

Takes: bytes of a .py file.
Gives: its docstrings, each below the name it belongs to, in the order of the file; or, where the module is nothing
but ``topics = {name: text}`` (as `pydoc_data.topics`), one piece a topic.
Does not know: what the code does; comments and the rest of the code are left out.
"""

from __future__ import annotations

import ast
import warnings
from collections.abc import Iterator
from pathlib import Path

from llamarium.ground.errors import BadFileError
from llamarium.text.decode import decode_reported
from llamarium.text.document import Piece

SUFFIXES = (".py", ".pyi")
LARGEST = 1_500_000  # a syntax tree takes up to 500 times the memory of its source

_HOLDS_STATEMENTS = ast.stmt | ast.excepthandler | ast.match_case
_Documented = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def read(data: bytes, *, path: str | Path) -> Iterator[Piece]:
    """One piece, or none where nothing is documented; one piece a topic where the module is a table of topics."""
    if not data.strip():  # the usual __init__.py
        return
    if len(data) > LARGEST:
        raise BadFileError(path, f"has {len(data):,} bytes; Python source up to {LARGEST:,} is parsed.")
    decoded = decode_reported(data, path=path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # their escape sequences are not our user's concern
            module = ast.parse(decoded.text)
        topics = _topics(module)
        text = "" if topics else "\n\n".join(_documentation(module))
    except SyntaxError as error:
        raise BadFileError(path, f"line {error.lineno} is not valid Python ({error.msg}).") from None
    except (RecursionError, MemoryError):  # the parser says MemoryError where its own stack ends
        raise BadFileError(path, "is nested too deeply to be parsed.") from None
    if topics:
        yield from (Piece(topic, number, encoding=decoded.encoding) for number, topic in enumerate(topics, 1))
    elif text:
        yield Piece(text, encoding=decoded.encoding)


def _topics(module: ast.Module) -> list[str]:
    """The values of ``topics = {...}`` where that is all there is, else nothing."""
    body = module.body[1:] if ast.get_docstring(module, clean=False) is not None else module.body
    match body:
        case [ast.Assign(targets=[ast.Name(id="topics")], value=ast.Dict(values=values))]:
            texts = [value.value for value in values if isinstance(value, ast.Constant) and isinstance(value.value, str)]
            return texts if len(texts) == len(values) else []
    return []


def _documentation(module: ast.Module) -> Iterator[str]:
    """Docstrings in the order of the file; the stack holds what is still to be visited, so depth costs no recursion."""
    stack: list[tuple[str, ast.AST]] = [("", module)]
    while stack:
        name, node = stack.pop()
        inside = name
        if isinstance(node, ast.Module | _Documented):
            docstring = ast.get_docstring(node)
            if isinstance(node, _Documented):
                inside = f"{name}.{node.name}".lstrip(".")
                if docstring:
                    arguments = "" if isinstance(node, ast.ClassDef) else f"({ast.unparse(node.args)})"
                    yield f"{inside}{arguments}\n{docstring}"
            elif docstring:
                yield docstring
        stack.extend((inside, child) for child in reversed(list(ast.iter_child_nodes(node))) if isinstance(child, _HOLDS_STATEMENTS))
