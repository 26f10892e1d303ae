"""Floor 10: one file a verb; the only place that wires floors together.

A verb is a module with a function `command`, or with a Typer named `app` where it has verbs of its own.
It imports what it needs inside that function, so that ``llamarium --help`` stays quick.
"""
