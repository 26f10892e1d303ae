"""One file a reader: the folder is the registry.

A reader is a module with `SUFFIXES`, a tuple of lower-case suffixes with their dot, and
``read(data: bytes, *, path) -> Iterator[Piece]``, which raises `BadFileError` and nothing else. `CONFINED = True` has it run in a
child process; with `TABLE = True` it also takes ``column``, the name of the column or field that is the text.
It never runs what it reads, never opens another file, and keeps its memory in proportion to `data`.
A module that starts with an underscore is not a reader.
"""
