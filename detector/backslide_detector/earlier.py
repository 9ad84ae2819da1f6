"""A run as it was at an earlier step, as far as what it logged on its way can say."""

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from backslide_detector.evidence import Batches, LayerHistory, RunEvidence, Series

Table = TypeVar("Table", LayerHistory, Batches)

_OF_LAYERS = frozenset({"layers", "kinds", "depth", "count"})
"""What a table holds once for all snapshots."""


def until(run: RunEvidence, last: float) -> RunEvidence:
    """The run when it had made its step `last`, still running: nothing that came later."""
    return replace(
        run,
        status="RUNNING",
        ended=None,
        series={
            key: _series(series, last)
            for key, series in run.series.items()
            if len(series) and series.steps[0] <= last
        },
        activations=_table(run.activations, last),
        gradients=_table(run.gradients, last),
        weights=_table(run.weights, last),
        updates=_table(run.updates, last),
        batches=_table(run.batches, last),
        predictions={},
        error=None,
    )


def _series(series: Series, last: float) -> Series:
    kept = series.steps <= last
    return Series(series.steps[kept], series.values[kept], series.times[kept])


def _table(table: Table | None, last: float) -> Table | None:
    """The snapshots up to a step; None where there are none."""
    if table is None or not (kept := table.steps <= last).any():
        return None
    columns: dict[str, Any] = {
        field.name: getattr(table, field.name) for field in fields(table)
    }
    return replace(
        table,
        **{
            name: _column(column, kept)
            for name, column in columns.items()
            if name not in _OF_LAYERS
        },
    )


def _column(column: Any, kept: NDArray[np.bool_]) -> Any:  # noqa: ANN401  # as it came
    match column:
        case np.ndarray():
            return column[kept]
        case Mapping():
            return {name: _column(each, kept) for name, each in column.items()}
        case tuple():
            return tuple(item for item, keep in zip(column, kept, strict=True) if keep)
        case _:
            raise TypeError(f"a column of snapshots is no {type(column).__name__}")
