"""Parquet artifacts as runs may really bring them: good, cut short, damaged, made up."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from backslide.contract import (
    HISTOGRAM_BINS,
    LAYERS_SCHEMA,
    SCALARS_SCHEMA,
    SKETCH_LAYOUT,
    Role,
    predictions_schema,
)
from backslide.record.data import summarise
from backslide.record.predictions import outcomes
from backslide.ship import parts
from backslide_detector.store import tables
from backslide_detector.store.layers import SNAPSHOTS, STATISTICS, read_layers
from backslide_detector.store.sketches import read_sketch


def write(table: pa.Table, path: Path, **options) -> Path:
    pq.write_table(table, path, write_page_checksum=True, **options)
    return path


def scalars(steps: int, key: str = "loss", start: int = 0) -> pa.Table:
    step = np.arange(start, start + steps)
    columns = [step, 1_000 * step, [key] * steps, np.exp(-step / 10)]
    return pa.table(columns, schema=SCALARS_SCHEMA)


def layers(steps: range, names: tuple[str, ...] = ("a", "b")) -> pa.Table:
    rows = [
        {
            "step": step,
            "wall_time": float(step),
            "layer": name,
            "depth": depth,
            "role": "activation",
            "count": 64,
            "histogram": [step % 7] * HISTOGRAM_BINS,
            **dict.fromkeys(STATISTICS, step + depth / 10),
        }
        for step in steps
        for depth, name in enumerate(names)
    ]
    return pa.Table.from_pylist(rows, schema=LAYERS_SCHEMA)


def predictions(n: int, **columns) -> pa.Table:
    values = {
        "id": [f"id-{i}" for i in range(n)],
        "target": [i % 3 for i in range(n)],
        "prediction": [0] * n,
        "correct": [i % 3 == 0 for i in range(n)],
        "loss": [None] * n,
        "score": [0.5] * n,
    } | columns
    return pa.table(values, schema=predictions_schema(pa.int64()))


def test_parts_of_scalars_are_one_series_and_replayed_rows_count_once(tmp_path):
    paths = [
        write(scalars(10), tmp_path / "part-00000.parquet"),
        write(scalars(10, start=5), tmp_path / "part-00001.parquet"),
        write(scalars(3, "val_loss"), tmp_path / "part-00002.parquet"),
    ]
    problems: list[str] = []
    found = tables.read_scalars(paths, problems)
    assert problems == []
    assert found["loss"].steps.tolist() == list(range(15))
    assert found["loss"].values[3] == pytest.approx(np.exp(-0.3))
    assert found["loss"].times[3] == 3.0
    assert len(found["val_loss"]) == 3
    with pytest.raises(ValueError, match="read-only"):
        found["loss"].values[0] = 1.0


def test_layers_become_one_grid_a_role(tmp_path):
    paths = [
        write(layers(range(5), ("late", "early")[::-1]), tmp_path / "0"),
        write(layers(range(5, 8), ("early", "late")), tmp_path / "1"),
    ]
    found = read_layers(paths, {"early": "Linear"}, problems := [])
    history = found[Role.ACTIVATION]
    assert (problems, list(found)) == ([], [Role.ACTIVATION])
    assert (history.layers, history.kinds) == (("early", "late"), ("Linear", ""))
    assert history.mean.shape == (8, 2)
    assert history.mean[6].tolist() == pytest.approx([6.0, 6.1])
    assert history.histogram[5, 1].tolist() == [5] * HISTOGRAM_BINS


def test_snapshots_are_thinned_evenly_with_both_ends(tmp_path):
    path = write(layers(range(0, 3_000, 2), ("a",)), tmp_path / "0")
    steps = read_layers([path], {}, [])[Role.ACTIVATION].steps
    assert len(steps) <= SNAPSHOTS
    assert (steps[0], steps[-1]) == (0, 2_998)
    assert set(np.diff(steps)) <= {4, 6}


def test_predictions_keep_labels_as_words_and_drop_repeated_ids(tmp_path):
    table = predictions(9, id=["id-0", *(f"id-{i}" for i in range(8))])
    found = tables.read_predictions(write(table, tmp_path / "test.parquet"), problems := [])
    assert len(found) == 8
    assert "1 repeated ids" in problems[0]
    assert found.targets[2] == "0"
    assert found.loss is None
    assert found.score.tolist() == [0.5] * 8


def test_a_file_cut_short_costs_only_itself(tmp_path):
    whole = write(scalars(10), tmp_path / "part-00000.parquet")
    cut = write(scalars(10, start=10), tmp_path / "part-00001.parquet")
    cut.write_bytes(cut.read_bytes()[:-20])
    found = tables.read_scalars([whole, cut], problems := [])
    assert len(found["loss"]) == 10
    assert problems[0].startswith("part-00001.parquet: not a readable Parquet file")


def test_a_flipped_bit_is_noticed(tmp_path):
    path = write(scalars(5_000), tmp_path / "part-00000.parquet", compression="none")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    tables.read_scalars([path], problems := [])
    assert problems
    assert "damaged" in problems[0]


def test_millions_of_rows_in_a_small_file_are_refused_unread(tmp_path):
    rows = 1_000_000
    path = tmp_path / "part-00000.parquet"
    zeros = np.zeros(rows, int)
    constant = pa.table([zeros, zeros, ["loss"] * rows, zeros * 1.0], schema=SCALARS_SCHEMA)
    with pq.ParquetWriter(path, SCALARS_SCHEMA, compression="zstd") as writer:
        for _ in range(tables.SCALAR_ROWS // rows + 1):
            writer.write_table(constant)
    assert path.stat().st_size < 1_000_000
    assert tables.read_scalars([path], problems := []) == {}
    assert "11,000,000 rows" in problems[0]


def test_lists_that_are_no_histograms_are_refused(tmp_path):
    table = layers(range(2)).to_pydict()
    table["histogram"] = [[1] * 1_000_000, *([[1]] * 3)]
    path = write(pa.table(table, schema=LAYERS_SCHEMA), tmp_path / "0")
    assert read_layers([path], {}, problems := []) == {}
    assert "lists longer than" in problems[0]
    table["histogram"] = [[1]] * 4
    path = write(pa.table(table, schema=LAYERS_SCHEMA), tmp_path / "1")
    history = read_layers([path], {}, [])[Role.ACTIVATION]
    assert history.histogram.sum() == 0


@pytest.mark.parametrize(
    "table",
    [
        pa.table({"id": ["a"], "correct": ["yes"]}),
        pa.table({"id": [1], "correct": [True]}),
        pa.table({"x": [1]}),
        pa.table({"id": ["a"], "correct": [True]}),
        pa.table({"id": pa.array([None], pa.string()), "correct": [True]}),
    ],
)
def test_other_peoples_tables_are_a_problem_not_a_crash(tmp_path, table):
    path = write(table, tmp_path / "test.parquet")
    assert tables.read_predictions(path, problems := []) is None
    assert problems


def test_values_come_without_right_and_wrong(tmp_path):
    found = outcomes(["a", "b"], np.array([0.5, 2.0]), np.array([0.25, 2.0]))
    path = write(found.table, tmp_path / "test.parquet")
    table = tables.read_predictions(path, problems := [])
    assert problems == []
    assert not table.are_labels
    assert table.targets.tolist() == [0.5, 2.0]
    assert table.predictions.tolist() == [0.25, 2.0]


def test_nulls_where_none_belong_are_survived(tmp_path):
    table = layers(range(3)).to_pylist()
    table[0] |= {"step": None, "layer": None}
    table[1] |= {"depth": None, "count": None, "mean": None, "histogram": None}
    path = write(pa.Table.from_pylist(table, schema=LAYERS_SCHEMA), tmp_path / "0")
    history = read_layers([path], {}, [])[Role.ACTIVATION]
    assert np.isnan(history.mean[0, history.layers.index("b")])


def test_random_bytes_and_mutations_never_crash(tmp_path):
    good = write(layers(range(30)), tmp_path / "good").read_bytes()
    random = np.random.default_rng(0)
    for trial in range(60):
        content = bytearray(good)
        for place in random.integers(0, len(good), size=3):
            content[place] = random.integers(256)
        path = tmp_path / f"{trial}"
        path.write_bytes(content)
        read_layers([path], {}, [])


def test_a_sketch_is_read_as_it_was_written_and_damage_is_told(tmp_path):
    kept = summarise("train", np.random.default_rng(0).normal(size=(1_500, 40))).sketch
    path = tmp_path / "train.sketch.parquet"
    parts.write(kept, path)
    problems = []
    found = read_sketch(path, problems)
    assert problems == []
    assert found.keys.tolist() == kept["key"].to_pylist()
    assert found.values.shape == (1_000, 20)
    assert found.values[:, 3].tolist() == kept["sum03"].to_pylist()
    assert found.layout.encode() == kept.schema.metadata[SKETCH_LAYOUT]
    assert not found.whole
    path.write_bytes(path.read_bytes()[:-100])
    assert read_sketch(path, problems) is None
    assert "not a readable Parquet file" in problems[0]
    pq.write_table(kept.drop(["sum00"]), path)
    assert read_sketch(path, problems) is None
    assert "sum00" in problems[1]
