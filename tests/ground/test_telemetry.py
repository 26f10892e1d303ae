"""That the switches work on the libraries, and that no network is touched, is promise P25's test."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from llamarium.ground.telemetry import PREFERENCES, SWITCHES


def environment_after_import(**given: str) -> dict[str, str]:
    clean = {name: value for name, value in os.environ.items() if name not in SWITCHES and name not in PREFERENCES}
    script = "import llamarium, os, json; print(json.dumps(dict(os.environ)))"
    child = subprocess.run([sys.executable, "-c", script], env=clean | given, capture_output=True, text=True, check=True)
    return dict(json.loads(child.stdout))


def test_import_sets_every_switch() -> None:
    found = environment_after_import()
    assert {name: found.get(name) for name in SWITCHES | PREFERENCES} == SWITCHES | PREFERENCES


@pytest.mark.parametrize("name", ["HF_HUB_DISABLE_TELEMETRY", "DO_NOT_TRACK", "RAY_USAGE_STATS_ENABLED", "DAFT_ANALYTICS_ENABLED"])
def test_a_switch_that_says_on_is_turned_off(name: str) -> None:
    on = "0" if SWITCHES[name] == "1" else "1"
    assert environment_after_import(**{name: on})[name] == SWITCHES[name]


def test_a_preference_yields_to_the_users() -> None:
    assert environment_after_import(TOKENIZERS_PARALLELISM="false")["TOKENIZERS_PARALLELISM"] == "false"
