"""The server's promises are tried on the servers of its own tests."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

_spec = importlib.util.spec_from_file_location("server_fixtures", Path(__file__).parents[1] / "server" / "conftest.py")
assert _spec is not None
assert _spec.loader is not None
_module = importlib.util.module_from_spec(_spec)
sys.modules[_spec.name] = _module  # where dataclasses look themselves up
_spec.loader.exec_module(_module)

serving, echo, tiny, docs = _module.serving, _module.echo, _module.tiny, _module.docs
chromium, browser = _module.chromium, _module.browser
