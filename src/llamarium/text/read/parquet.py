"""Parquet: tables by columns.

Takes: bytes of a .parquet file.
Gives: the text of each row, numbered from 1, read a few thousand rows at a time; rows without text are passed over.
Does not know: which columns are the text (`_columns` does), or lists and other nested columns, which are left out.

Columns of strings are looked at first: if one is the only one, or their names say what they are, they are the text. Else a row
is written out, numbers and dates with it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llamarium.ground.errors import BadFileError, MissingExtraError
from llamarium.text.document import Piece
from llamarium.text.read._columns import require_column, text_columns, text_maker
from llamarium.text.read._packed import BOMB, RATIO, RATIO_FROM, require_opening

if TYPE_CHECKING:
    from pyarrow.parquet import ParquetFile

SUFFIXES = (".parquet",)
TABLE = True
CONFINED = True

MOST_ROWS = 10_000_000
_BATCH = 4096


def read(data: bytes, *, path: str | Path, column: str = "") -> Iterator[Piece]:
    """One piece a row. `column`: the name of the column that is the text, instead of those that the rule finds."""
    require_opening(data, (b"PAR1",), path=path, kind="a Parquet table")
    try:
        import pyarrow
        from pyarrow.parquet import ParquetFile
    except ImportError:
        raise MissingExtraError("Reading a .parquet file", extra="text", package="pyarrow") from None
    found = False
    try:
        table = ParquetFile(pyarrow.BufferReader(data), pre_buffer=False, memory_map=False)
        names = _columns(table, column=column, path=path)
        _require_honest_size(table, names, packed=len(data), path=path)
        make = text_maker(names, column=column, path=path)
        number = size = 0
        for batch in table.iter_batches(_BATCH, columns=names, use_threads=False):
            columns = batch.select(names).columns
            if all(values.null_count == len(values) for values in columns):
                number += batch.num_rows
                continue
            for values in zip(*(map(_written, values.to_pylist()) for values in columns), strict=True):
                number += 1
                text = make(values)
                size += len(text)
                if size > max(RATIO_FROM, RATIO * len(data)):
                    raise BadFileError(path, f"unpacks to more than {RATIO} times its size.", hint=BOMB)
                if text:
                    found = True
                    yield Piece(text, number)
    except MemoryError:
        raise BadFileError(path, "needs more memory than there is.", hint=BOMB) from None
    except UnicodeDecodeError:
        raise BadFileError(path, "has a column of strings with bytes in it that are not UTF-8.") from None
    except (pyarrow.ArrowException, OSError, ValueError, OverflowError) as error:
        said = " ".join(str(error).split())[:200]
        raise BadFileError(path, f"is a damaged Parquet table ({said}).") from None
    if not found:
        raise BadFileError(path, "holds no records.")


def _columns(table: ParquetFile, *, column: str, path: str | Path) -> list[str]:
    """The names of the columns that are read: of strings if they are the text, else all that can be written out."""
    schema = table.schema_arrow
    times = Counter(schema.names)
    fields = [field for field in schema if times[field.name] == 1]
    strings = [field.name for field in fields if _is_string(field.type)]
    plain = [field.name for field in fields if _is_string(field.type) or _is_plain(field.type)]
    if column:
        require_column(column, plain, path=path)
        return [column]
    chosen = text_columns(strings)
    if chosen is not None:
        return [strings[place] for place in chosen]
    if not plain:
        has = ", ".join(f"{field.name[:40]!r} ({str(field.type)[:40]})" for field in list(schema)[:8])
        raise BadFileError(path, f"has no column of text: it has only {has or 'nothing'}.")
    return plain


def _is_string(kind: Any) -> bool:
    from pyarrow import types

    kind = kind.value_type if types.is_dictionary(kind) else kind
    return any(test(kind) for test in (types.is_string, types.is_large_string, types.is_string_view))


def _is_plain(kind: Any) -> bool:
    from pyarrow import types

    tests = (types.is_integer, types.is_floating, types.is_boolean, types.is_temporal, types.is_decimal)
    return any(test(kind) for test in tests)


def _require_honest_size(table: ParquetFile, names: Sequence[str], *, packed: int, path: str | Path) -> None:
    """Refuse what says of itself that it is too much; what lies about it meets the limits of the child process."""
    metadata = table.metadata
    if metadata.num_rows > MOST_ROWS:
        raise BadFileError(path, f"has {metadata.num_rows:,} rows; up to {MOST_ROWS:,} are read.", hint="Split it into smaller files.")
    wanted = set(names)
    size = 0
    for group in range(metadata.num_row_groups):
        chunks = map(metadata.row_group(group).column, range(metadata.num_columns))
        size += sum(chunk.total_uncompressed_size for chunk in chunks if chunk.path_in_schema in wanted)
    if size > max(RATIO_FROM, RATIO * packed):
        raise BadFileError(path, f"unpacks to more than {RATIO} times its size.", hint=BOMB)


def _written(value: Any) -> str:
    return "" if value is None else value if isinstance(value, str) else str(value)
