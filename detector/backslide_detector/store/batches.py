"""The batches table -> evidence."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from backslide.contract import BATCHES_SCHEMA
from backslide_detector.evidence import Batches
from backslide_detector.store.parquet import batches_of, frozen, open_tables

ROWS: Final = 50_000
"""The SDK writes some hundreds of rows a run."""

_LISTS: Final = ("digests", "predictions", "targets")
LATER: Final = (
    *("output_spread", "target_spread", "memory", "trial_noise"),
    *("optimizer_steps", "calls_training", "calls_evaluation", "calls_again", "uncleared"),
)
"""Columns that runs of earlier versions lack."""

_LONGEST: Final = 1_024
_NAMES: Final = ("mixing_layer", "cut_layer")
_COUNTS: Final = (
    *("outputs", "optimizer_steps", "calls_training", "calls_evaluation", "calls_again"),
)
_NUMBERS: Final = tuple(
    field.name
    for field in BATCHES_SCHEMA
    if pa.types.is_float32(field.type) or field.name in _COUNTS
)


def read_batches(paths: Sequence[Path], problems: list[str]) -> Batches | None:
    """The batches table; None without rows. Of rows with one step the last counts.

    Args:
        paths: the parts, in order.
        problems: gets what could not be read.
    """
    parts: list[pa.Table] = [BATCHES_SCHEMA.empty_table()]
    for file in open_tables(
        paths, BATCHES_SCHEMA, ROWS, problems, longest=_LONGEST, later=LATER
    ):
        columns = [name for name in BATCHES_SCHEMA.names if name in file.schema_arrow.names]
        parts += [pa.Table.from_batches([b]) for b in batches_of(file, columns, problems)]
    table = pa.concat_tables(parts, promote_options="default")
    table = table.filter(pc.is_valid(table["step"]))
    steps = table["step"].to_numpy()
    order = np.argsort(steps, kind="stable")
    last = np.append(np.diff(steps[order]) != 0, True) if len(order) else np.empty(0, bool)
    table = table.take(pa.array(order[last]))
    if not table.num_rows:
        return None
    lists = {name: _ragged(table[name]) for name in _LISTS}
    return Batches(
        steps=_column(table["step"], np.int64),
        examples=_column(table["examples"].fill_null(0), np.int64),
        training=_column(table["training"].fill_null(True), np.bool_),
        numbers={
            name: _column(table[name].cast(pa.float64()).fill_null(np.nan), np.float64)
            for name in _NUMBERS
        },
        names={name: tuple(table[name].fill_null("").to_pylist()) for name in _NAMES},
        structural=_column(table["mixing_structural"].fill_null(False), np.bool_),
        answers=tuple(table["answers"].fill_null("").to_pylist()),
        digests=tuple(_frozen(items, np.int64) for items in lists["digests"]),
        predictions=tuple(_frozen(items, np.float64) for items in lists["predictions"]),
        targets=tuple(_frozen(items, np.float64) for items in lists["targets"]),
    )


def _column(column: pa.ChunkedArray, kind: Any) -> NDArray[Any]:  # noqa: ANN401  # a numpy type
    return frozen(column.to_numpy().astype(kind))


def _ragged(column: pa.ChunkedArray) -> list[list[float]]:
    return [
        [0 if item is None else item for item in items or ()] for items in column.to_pylist()
    ]


def _frozen(items: Sequence[float], kind: Any) -> NDArray[Any]:  # noqa: ANN401  # a numpy type
    return frozen(np.array(items, dtype=kind))
