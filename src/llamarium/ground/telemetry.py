"""No telemetry: the switches of libraries that report home by default, set before they are imported.

Takes: nothing. Gives: environment variables for this process and its children.
A switch that the user has set is left alone only where it, too, means "off".
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
    "DAFT_PROGRESS_BAR": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "QDRANT__TELEMETRY_DISABLED": "true",
    "TOKENIZERS_PARALLELISM": "true",
}


def off() -> None:
    """Set every switch. Called by ``import llamarium``, before anything else is imported."""
    os.environ.update(SWITCHES)
