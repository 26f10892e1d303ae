"""Prints how many packages the core needs and how much of the disk they take: what `pip install llamarium` brings."""

from __future__ import annotations

import re
import sys
from importlib import metadata

MOST_PACKAGES = 40
MOST_MEGABYTES = 100  # of downloads beside torch; on disk packages are about three times as large


def needs(name: str) -> set[str]:
    """Names of the installed distributions that `name` requires, without extras."""
    from packaging.requirements import Requirement

    found = set()
    for text in metadata.requires(name) or []:
        requirement = Requirement(text)
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            found.add(re.sub(r"[-_.]+", "-", requirement.name).lower())
    return found


def closure(name: str) -> set[str]:
    """`name` and all that it needs, directly or not."""
    done: set[str] = set()
    todo = {name}
    while todo:
        one = todo.pop()
        done.add(one)
        todo |= needs(one) - done
    return done


def megabytes(name: str) -> float:
    """Size of an installed distribution on disk."""
    return sum(path.stat().st_size for file in metadata.files(name) or [] if (path := file.locate()).is_file()) / 1e6  # type: ignore[attr-defined]


def main() -> int:
    packages = sorted(closure("llamarium") - {"llamarium"})
    sizes = {name: megabytes(name) for name in packages}
    torch = sizes.pop("torch")
    print(f"core: {len(packages)} packages (at most {MOST_PACKAGES}), {sum(sizes.values()):.0f} MB on disk beside torch ({torch:.0f} MB)")
    print("largest: " + ", ".join(f"{name} {size:.0f} MB" for name, size in sorted(sizes.items(), key=lambda item: -item[1])[:5]))
    return 0 if len(packages) <= MOST_PACKAGES else 1


if __name__ == "__main__":
    sys.exit(main())
