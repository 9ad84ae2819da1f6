"""Scalars and predictions: Parquet artifacts -> arrays, within bounds."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from backslide.contract import SCALARS_SCHEMA, SLICE_PREFIX
from backslide_detector.evidence import Predictions, Series
from backslide_detector.store.parquet import (
    UNREADABLE,
    batches_of,
    frozen,
    open_tables,
    reason,
)

SCALAR_ROWS: Final = 10_000_000
PREDICTION_ROWS: Final = 5_000_000
SCALAR_KEYS: Final = 2_000


def read_scalars(paths: Sequence[Path], problems: list[str]) -> dict[str, Series]:
    """Every scalar of every step, by key; exact repeats of a row count once."""
    batches: list[pa.RecordBatch] = []
    for file in open_tables(paths, SCALARS_SCHEMA, SCALAR_ROWS, problems):
        batches += batches_of(file, SCALARS_SCHEMA.names, problems)
    if not batches:
        return {}
    table = pa.Table.from_batches(batches)
    keys = table["key"].combine_chunks().dictionary_encode()
    if len(keys.dictionary) > SCALAR_KEYS:
        problems.append(
            f"scalars: {len(keys.dictionary)} keys, only the first {SCALAR_KEYS} were read"
        )
    code = keys.indices.to_numpy(zero_copy_only=False)
    step = table["step"].to_numpy()
    time = table["timestamp"].to_numpy()
    value = table["value"].to_numpy()
    order = np.lexsort((time, step, code))
    code, step, time, value = code[order], step[order], time[order], value[order]
    bits = np.ascontiguousarray(value).view(np.int64)
    fresh = np.ones(len(code), dtype=bool)
    fresh[1:] = (np.diff(code) != 0) | (np.diff(step) != 0) | (np.diff(time) != 0)
    fresh[1:] |= bits[1:] != bits[:-1]
    code, step, time, value = code[fresh], step[fresh], time[fresh], value[fresh]
    names = keys.dictionary.to_pylist()
    edges = np.searchsorted(code, np.arange(len(names) + 1))
    return {
        name: Series(frozen(step[a:b]), frozen(value[a:b]), frozen(time[a:b] / 1_000.0))
        for name, a, b in zip(names[:SCALAR_KEYS], edges[:-1], edges[1:], strict=False)
    }


def read_predictions(path: Path, problems: list[str]) -> Predictions | None:
    """Per-example outcomes on one split; None when the table is no use."""
    needed = pa.schema([("id", pa.string()), ("correct", pa.bool_())])
    files = list(open_tables([path], needed, PREDICTION_ROWS, problems))
    if not files:
        return None
    names = files[0].schema_arrow.names
    if missing := {"target", "prediction"} - set(names):
        problems.append(f"{path.name}: no column {', '.join(sorted(missing))}")
        return None
    slices = [name for name in names if name.startswith(SLICE_PREFIX)]
    optional = [name for name in ("loss", "score") if name in names]
    columns = ["id", "target", "prediction", "correct", *optional, *slices]
    batches = list(batches_of(files[0], columns, problems))
    if not batches:
        return None
    table = pa.Table.from_batches(batches)
    try:
        return _predictions(path.name, table, slices, problems)
    except UNREADABLE as error:
        problems.append(f"{path.name}: {reason(error)}")
        return None


def _predictions(
    name: str, table: pa.Table, slices: Sequence[str], problems: list[str]
) -> Predictions | None:
    measured = pa.types.is_floating(table["target"].type)
    if table["id"].null_count or (table["correct"].null_count and not measured):
        problems.append(f"{name}: examples without an id or an outcome")
        return None
    ids = table["id"].combine_chunks().dictionary_encode()
    if repeated := len(ids) - len(ids.dictionary):
        problems.append(f"{name}: {repeated} repeated ids, the first of each counts")
        _, first = np.unique(ids.indices.to_numpy(), return_index=True)
        table = table.take(pa.array(np.sort(first)))
    return Predictions(
        ids=frozen(table["id"].to_numpy()),
        targets=_labels(table["target"]),
        predictions=_labels(table["prediction"]),
        correct=frozen(table["correct"].fill_null(False).to_numpy().astype(bool)),
        loss=_numbers(table, "loss"),
        score=_numbers(table, "score"),
        slices={
            key.removeprefix(SLICE_PREFIX): frozen(
                table[key].cast(pa.string()).fill_null("").to_numpy()
            )
            for key in slices
        },
    )


def _labels(column: pa.ChunkedArray) -> NDArray[np.object_]:
    """Labels as strings, measured values as floats."""
    if pa.types.is_floating(column.type):
        return frozen(column.cast(pa.float64()).to_numpy().astype(object))
    return frozen(column.cast(pa.string()).fill_null("").to_numpy().astype(object))


def _numbers(table: pa.Table, name: str) -> NDArray[np.float64] | None:
    if name not in table.column_names or table[name].null_count == len(table):
        return None
    return frozen(table[name].cast(pa.float64()).fill_null(float("nan")).to_numpy())
