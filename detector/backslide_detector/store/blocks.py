"""Blocks of numbers out of tables: whole or not at all."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from backslide_detector.probe import Numbers
from backslide_detector.store.parquet import frozen


def rows_of(table: pa.Table, layer: str, number: str) -> pa.Table | None:
    """The rows of one layer in order; None unless they count from zero without a gap."""
    rows = table.filter(pc.equal(table["layer"], layer))
    if rows[number].null_count:
        return None
    numbers = rows[number].to_numpy()
    order = np.argsort(numbers, kind="stable")
    if not np.array_equal(numbers[order], np.arange(len(order))):
        return None
    return rows.take(pa.array(order))


def rectangle(rows: pa.Table | None, name: str, most: int) -> Numbers | None:
    """A column of lists of equal length as finite numbers, shape (rows, length)."""
    if rows is None or not len(rows) or rows[name].null_count:
        return None
    lengths = pc.list_value_length(rows[name]).to_numpy()
    width = int(lengths[0])
    if not 0 < width <= most or (lengths != width).any():
        return None
    flat = rows[name].combine_chunks().flatten().to_numpy(zero_copy_only=False)
    found: Numbers = flat.astype(np.float64).reshape(len(rows), width)
    return found if np.isfinite(found).all() else None


def matrix(lists: Sequence[Any], most: int) -> Numbers | None:
    """Lists of equal length as finite rows, shape (m, length); None otherwise."""
    if not lists or any(entry is None for entry in lists):
        return None
    width = len(lists[0])
    if not 0 < width <= most or any(len(entry) != width for entry in lists):
        return None
    found = np.array(
        [[np.nan if value is None else value for value in entry] for entry in lists], np.float64
    )
    return found if np.isfinite(found).all() else None


def vector(values: Sequence[float | None] | None) -> Numbers:
    """Numbers, NaN where there are none."""
    numbers = [np.nan if value is None else value for value in values or ()]
    return frozen(np.array(numbers, dtype=np.float64))


def finite(column: pa.ChunkedArray) -> NDArray[np.float32]:
    """Numbers, zero where there are none."""
    values = column.fill_null(0.0).to_numpy().astype(np.float32)
    return np.asarray(np.where(np.isfinite(values), values, 0.0), np.float32)
