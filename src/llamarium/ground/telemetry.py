"""No telemetry: the switches of libraries that report home by default, set before they are imported.

Takes: nothing. Gives: environment variables for this process and its children.
A switch says "off" whatever the user's environment said of it; a preference yields to the user's.
Does not know: which of these libraries is installed.
"""

from __future__ import annotations

import os

SWITCHES = {
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "DISABLE_TELEMETRY": "1",
    "DO_NOT_TRACK": "1",
    "HF_HUB_DISABLE_IMPLICIT_TOKEN": "1",
    "DAFT_ANALYTICS_ENABLED": "0",
    "SCARF_NO_ANALYTICS": "true",
    "RAY_USAGE_STATS_ENABLED": "0",
    "QDRANT__TELEMETRY_DISABLED": "true",
}
# Not telemetry: Daft's bars would be drawn over ours, and tokenizers warns about forks unless it is told.
PREFERENCES = {"DAFT_PROGRESS_BAR": "0", "TOKENIZERS_PARALLELISM": "true"}


def off() -> None:
    """Set every switch. Called by ``import llamarium``, before anything else is imported."""
    os.environ.update(SWITCHES)
    for name, value in PREFERENCES.items():
        os.environ.setdefault(name, value)
