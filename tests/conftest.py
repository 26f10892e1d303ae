"""For all tests: one thread each, in this process and in those it starts.

The models are tiny, so a second thread gains nothing; beside any other busy process it makes every parallel region wait.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
