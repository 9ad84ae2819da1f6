"""The batches table is read within bounds, whatever the files hold."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from backslide.contract import BATCHES_SCHEMA
from backslide_detector.store.batches import LATER, read_batches


def row(step, **changes):
    plain = {"step": step, "examples": 2, "training": True, "input_rms": 1.0, "outputs": 10,
             "digests": [step, -7], "answers": "classes", "predictions": [1.0, 2.0],
             "targets": [1.0, float("nan")]}  # fmt: skip
    return plain | changes


def write(path, rows, schema=BATCHES_SCHEMA):
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), path)
    return path


def test_rows_become_batches_in_order(tmp_path):
    one = write(tmp_path / "0", [row(5), row(1)])
    two = write(tmp_path / "1", [row(5, examples=3), row(9, digests=[], targets=None)])
    problems = []
    batches = read_batches([one, two], problems)
    assert problems == []
    assert batches.steps.tolist() == [1, 5, 9]
    assert batches.examples.tolist() == [2, 3, 2]  # of one step the last row counts
    assert batches.digests[0].tolist() == [1, -7]
    assert batches.digests[2].tolist() == batches.targets[2].tolist() == []
    assert np.isnan(batches.targets[0][1])
    assert batches.numbers["outputs"].tolist() == [10.0] * 3
    assert np.isnan(batches.numbers["mixing"]).all()
    assert batches.names["mixing_layer"] == ("", "", "")
    with pytest.raises(ValueError, match="read-only"):
        batches.steps[0] = 3


def test_tables_of_earlier_versions_lack_columns_and_mix_with_newer_ones(tmp_path):
    older = pa.schema([field for field in BATCHES_SCHEMA if field.name not in LATER])
    old = write(tmp_path / "0", [row(1)], older)
    new = write(tmp_path / "1", [row(2, output_spread=0.5)])
    batches = read_batches([old, new], problems := [])
    assert problems == []
    spreads = batches.numbers["output_spread"]
    assert np.isnan(spreads[0])
    assert spreads[1] == 0.5
    assert np.isnan(read_batches([old], []).numbers["memory"]).all()


def test_missing_values_are_no_accident(tmp_path):
    empty = dict.fromkeys(BATCHES_SCHEMA.names) | {"step": 1, "digests": [None, 3]}
    batches = read_batches([write(tmp_path / "0", [empty, {}])], problems := [])
    assert problems == []
    assert batches.steps.tolist() == [1]
    assert batches.digests[0].tolist() == [0, 3]


def test_nothing_is_none(tmp_path):
    assert read_batches([], []) is None
    assert read_batches([write(tmp_path / "0", [])], []) is None
    assert read_batches([write(tmp_path / "1", [{}])], []) is None


def test_other_tables_damage_and_endless_lists_are_problems(tmp_path):
    other = write(tmp_path / "0", [{"step": 1}], pa.schema([("step", pa.int64())]))
    damaged = write(tmp_path / "1", [row(1)])
    damaged.write_bytes(damaged.read_bytes()[:-200])
    endless = write(tmp_path / "2", [row(1, digests=[1] * 10_000)])
    problems = []
    assert read_batches([other, damaged, endless], problems) is None
    assert len(problems) == 3
    assert "lists longer" in problems[2]
