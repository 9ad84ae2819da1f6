"""The layers table -> one history a role."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from backslide.contract import HISTOGRAM_BINS, LAYERS_SCHEMA, Role
from backslide_detector.evidence import LayerHistory
from backslide_detector.store.parquet import batches_of, frozen, open_tables

LAYER_ROWS: Final = 20_000_000
SNAPSHOTS: Final = 512
"""More snapshots than this are thinned evenly; no picture and no check needs more."""
CELLS: Final = 200_000
"""Snapshots times tensors of one role: 100 MB of histograms."""

STATISTICS: Final = (
    "mean", "std", "rms", "abs_max",
    "zero_fraction", "nonfinite_fraction", "saturated_fraction", "dead_fraction",
)  # fmt: skip


def read_layers(
    paths: Sequence[Path], kinds: Mapping[str, str], problems: list[str]
) -> dict[Role, LayerHistory]:
    """The layers table, one history a role.

    Args:
        paths: the parts, in order; a row in a later part replaces an equal one in an earlier.
        kinds: module name -> class name.
        problems: gets what could not be read.
    """
    files = list(open_tables(paths, LAYERS_SCHEMA, LAYER_ROWS, problems))
    plan = _plan(files, problems)
    grids = {role: _Grid.empty(names, plan.steps) for role, names in plan.layers.items()}
    wanted = pa.array(plan.steps)
    for file in files:
        for batch in batches_of(file, LAYERS_SCHEMA.names, problems):
            kept = batch.filter(pc.is_in(batch["step"], value_set=wanted))
            for role, grid in grids.items():
                grid.fill(kept.filter(pc.equal(kept["role"], role.value)))
    return {role: grid.history(kinds) for role, grid in grids.items()}


@dataclass(frozen=True)
class _Plan:
    """Which snapshots are kept, and the tensors of each role in order of depth."""

    steps: NDArray[np.int64]
    layers: Mapping[Role, tuple[str, ...]]


def _plan(files: Sequence[pq.ParquetFile], problems: list[str]) -> _Plan:
    steps: set[int] = set()
    depth: dict[tuple[str, str], int] = {}
    for file in files:
        for batch in batches_of(file, ["step", "layer", "depth", "role"], problems):
            steps.update(pc.unique(batch["step"].drop_null()).to_pylist())
            groups = pa.Table.from_batches([batch]).group_by(["role", "layer"])
            for row in groups.aggregate([("depth", "min")]).to_pylist():
                depth.setdefault((row["role"], row["layer"]), row["depth_min"] or 0)
    layers: dict[Role, tuple[str, ...]] = {}
    for role in Role:
        found = [name for (kind, name) in depth if kind == role.value and name is not None]
        if len(found) > CELLS // 16:
            problems.append(f"layers: {len(found)} tensors of role {role.value} are too many")
        elif found:
            layers[role] = tuple(
                sorted(found, key={n: depth[role.value, n] for n in found}.__getitem__)
            )
    widest = max((len(names) for names in layers.values()), default=1)
    return _Plan(_thinned(sorted(steps), min(SNAPSHOTS, CELLS // widest)), layers)


def _thinned(steps: Sequence[int], limit: int) -> NDArray[np.int64]:
    """At most `limit` of the steps, evenly, with the first and the last."""
    every = np.asarray(steps, dtype=np.int64)
    if len(every) <= limit:
        return every
    return every[np.unique(np.linspace(0, len(every) - 1, limit).round().astype(np.int64))]


@dataclass(frozen=True)
class _Grid:
    """Arrays of one role while they are filled."""

    layers: tuple[str, ...]
    steps: NDArray[np.int64]
    depth: NDArray[np.int64]
    count: NDArray[np.int64]
    statistics: Mapping[str, NDArray[np.float64]]
    histogram: NDArray[np.int32]

    @classmethod
    def empty(cls, layers: tuple[str, ...], steps: NDArray[np.int64]) -> "_Grid":
        shape = (len(steps), len(layers))
        return cls(
            layers=layers,
            steps=steps,
            depth=np.zeros(len(layers), dtype=np.int64),
            count=np.zeros(len(layers), dtype=np.int64),
            statistics={name: np.full(shape, np.nan) for name in STATISTICS},
            histogram=np.zeros((*shape, HISTOGRAM_BINS), dtype=np.int32),
        )

    def fill(self, rows: pa.RecordBatch) -> None:
        if rows.num_rows == 0:
            return
        at = pc.index_in(rows["layer"], value_set=pa.array(self.layers, pa.string()))
        column = at.fill_null(0).to_numpy(zero_copy_only=False)
        row = np.searchsorted(self.steps, rows["step"].to_numpy(zero_copy_only=False))
        self.depth[column] = rows["depth"].fill_null(0).to_numpy(zero_copy_only=False)
        self.count[column] = rows["count"].fill_null(0).to_numpy(zero_copy_only=False)
        for name, cells in self.statistics.items():
            cells[row, column] = rows[name].to_numpy(zero_copy_only=False)
        bins = rows["histogram"]
        whole = pc.fill_null(pc.equal(pc.list_value_length(bins), HISTOGRAM_BINS), False)
        keep = whole.to_numpy(zero_copy_only=False)
        counts = bins.filter(whole).flatten().fill_null(0).to_numpy(zero_copy_only=False)
        self.histogram[row[keep], column[keep]] = counts.reshape(-1, HISTOGRAM_BINS)

    def history(self, kinds: Mapping[str, str]) -> LayerHistory:
        return LayerHistory(
            layers=self.layers,
            kinds=tuple(_kind(name, kinds) for name in self.layers),
            depth=frozen(self.depth),
            count=frozen(self.count),
            steps=frozen(self.steps),
            histogram=frozen(self.histogram),
            **{name: frozen(cells) for name, cells in self.statistics.items()},
        )


def _kind(tensor: str, kinds: Mapping[str, str]) -> str:
    """A parameter belongs to the module it is named below."""
    return kinds.get(tensor) or kinds.get(tensor.rpartition(".")[0], "")
