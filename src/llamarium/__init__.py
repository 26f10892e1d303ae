"""Llamarium: a LLaMA grown from your own text on your own machine, which proves what it says.

>>> import llamarium                                             # imports no torch until used
>>> model = llamarium.load("smollm2-135m-instruct")              # doctest: +SKIP
>>> model.generate("The capital of France is", max_tokens=8, temperature=0).text    # doctest: +SKIP
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llamarium.ground import telemetry

telemetry.off()

if TYPE_CHECKING:
    from llamarium.engine.language_model import load as load
    from llamarium.text.document import read as read

__version__ = "0.1.0"
__all__ = ["__version__", "load", "read"]

_HOMES = {"load": "llamarium.engine.language_model", "read": "llamarium.text.document"}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        import importlib

        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'llamarium' has no attribute {name!r}")
