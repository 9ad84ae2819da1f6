"""Opening Parquet files that may be cut short, damaged, enormous or made up.

Every function here answers with what could be read and appends to `problems` what could not,
and why.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from backslide.contract import HISTOGRAM_BINS

BATCH_ROWS: Final = 16_384
UNREADABLE: Final = (pa.ArrowException, OSError, ValueError, OverflowError, MemoryError)


def open_tables(
    paths: Iterable[Path],
    schema: pa.Schema,
    limit: int,
    problems: list[str],
    *,
    longest: int = HISTOGRAM_BINS,
    later: Collection[str] = (),
) -> Iterator[pq.ParquetFile]:
    """The files that can be trusted so far: footer whole, columns as agreed, not too many rows.

    The declared number of rows is what bounds the memory: a file of 1 MB can hold 100 million.
    Columns that came `later` than the others may be missing.
    """
    left = limit
    for path in paths:
        try:
            file = pq.ParquetFile(path, page_checksum_verification=True)
            rows = file.metadata.num_rows
        except UNREADABLE as error:
            problems.append(f"{path.name}: not a readable Parquet file: {reason(error)}")
            continue
        if wrong := _disagreement(file.schema_arrow, schema, later):
            problems.append(f"{path.name}: {wrong}")
        elif rows > left:
            problems.append(f"{path.name}: {rows:,} rows; at most {limit:,} are read")
        elif _values(file) > rows * (longest + len(file.schema_arrow)):
            problems.append(f"{path.name}: lists longer than {longest}")
        else:
            left -= rows
            yield file


def _disagreement(found: pa.Schema, agreed: pa.Schema, later: Collection[str]) -> str | None:
    for field in agreed:
        at = found.get_field_index(field.name)
        if at < 0 and field.name in later:
            continue
        if at < 0:
            return f"no column {field.name!r}"
        if found.field(at).type != field.type:
            return f"column {field.name!r} is {found.field(at).type}, not {field.type}"
    return None


def _values(file: pq.ParquetFile) -> int:
    groups = (file.metadata.row_group(i) for i in range(file.metadata.num_row_groups))
    return sum(g.column(j).num_values for g in groups for j in range(g.num_columns))


def batches_of(
    file: pq.ParquetFile, columns: Sequence[str], problems: list[str]
) -> Iterator[pa.RecordBatch]:
    """The rows, up to the first damaged page."""
    try:
        yield from file.iter_batches(batch_size=BATCH_ROWS, columns=list(columns))
    except UNREADABLE as error:
        said = f"a damaged table was read only in part: {reason(error)}"
        if said not in problems:
            problems.append(said)


def reason(error: BaseException) -> str:
    """The first line of what an error says."""
    return (str(error).strip().partition("\n")[0] or type(error).__name__)[:200]


def frozen(array: NDArray[Any]) -> NDArray[Any]:
    """The array itself, read-only from now on."""
    array.flags.writeable = False
    return array
