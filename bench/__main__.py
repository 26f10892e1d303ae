"""``make bench``: run every benchmark of this folder, or those that are named.

python -m bench                  all
python -m bench decode           one
python -m bench shakespeare F    one, with what it takes
"""

from __future__ import annotations

import importlib
import pkgutil
import sys

import bench


def main() -> None:
    known = [module.name for module in pkgutil.iter_modules(bench.__path__) if not module.name.startswith("_")]
    chosen = sys.argv[1:2] or known
    for name in chosen:
        if name not in known:
            sys.exit(f"There is no benchmark {name!r}; known: {', '.join(known)}.")
        importlib.import_module(f"bench.{name}").main()


if __name__ == "__main__":
    main()
