"""What a verb is given, as what it means."""

from __future__ import annotations

import re

from llamarium.ground.errors import UsageError


def parse_bytes(text: str, *, least: int = 1) -> int:
    """A size such as 200MB, in bytes. `UsageError` for what is none, or less than `least`.

    >>> parse_bytes("200MB"), parse_bytes("1.5 GiB"), parse_bytes("7")
    (200000000, 1500000000, 7)
    """
    found = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?) *([kmgt]?)i?b?", text.strip().lower())
    size = int(float(found[1]) * 1000 ** " kmgt".index(found[2] or " ")) if found else -1
    if size < least:
        raise UsageError(f"{text!r} is not a size.", hint="Write it like 200MB or 2GB.")
    return size
