"""Parquet artifacts -> arrays, within bounds, whatever the files hold.

A run's artifacts are foreign input: they may be cut short, damaged, enormous or made up. Every
function here answers with what could be read and appends to `problems` what could not, and why.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from backslide.contract import (
    HISTOGRAM_BINS,
    LAYERS_SCHEMA,
    SCALARS_SCHEMA,
    SLICE_PREFIX,
    Role,
)
from backslide_detector.evidence import LayerHistory, Predictions, Series

LAYER_ROWS: Final = 20_000_000
SCALAR_ROWS: Final = 10_000_000
PREDICTION_ROWS: Final = 5_000_000
SCALAR_KEYS: Final = 2_000
SNAPSHOTS: Final = 512
"""More snapshots than this are thinned evenly; no picture and no check needs more."""
CELLS: Final = 200_000
"""Snapshots times tensors of one role: 100 MB of histograms."""
BATCH_ROWS: Final = 16_384

_STATISTICS: Final = (
    "mean", "std", "rms", "abs_max",
    "zero_fraction", "nonfinite_fraction", "saturated_fraction", "dead_fraction",
)  # fmt: skip
_UNREADABLE: Final = (pa.ArrowException, OSError, ValueError, OverflowError, MemoryError)


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
    except _UNREADABLE as error:
        problems.append(f"{path.name}: {_reason(error)}")
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
            statistics={name: np.full(shape, np.nan) for name in _STATISTICS},
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
        except _UNREADABLE as error:
            problems.append(f"{path.name}: not a readable Parquet file: {_reason(error)}")
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
    except _UNREADABLE as error:
        reason = f"a damaged table was read only in part: {_reason(error)}"
        if reason not in problems:
            problems.append(reason)


def _reason(error: BaseException) -> str:
    return (str(error).strip().partition("\n")[0] or type(error).__name__)[:200]


def frozen(array: NDArray[Any]) -> NDArray[Any]:
    """The array itself, read-only from now on."""
    array.flags.writeable = False
    return array
