"""Tables for tests: Parquet."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import pyarrow
from pyarrow import parquet as arrow_parquet


def parquet(columns: Mapping[str, Any]) -> bytes:
    """A Parquet file, compressed with zstd."""
    file = io.BytesIO()
    arrow_parquet.write_table(pyarrow.table(dict(columns)), file, compression="zstd")
    return file.getvalue()
