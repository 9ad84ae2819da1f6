"""Snapshots survive the way to disk and back, and damage is noticed."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backslide.contract import HISTOGRAM_BINS, LAYERS_SCHEMA
from backslide.measure.snapshot import STATISTICS, Catalogue, Snapshot, decode, encode

CATALOGUE = Catalogue(
    ("0", "0.weight", "<script>é"),
    (0, 0, 7),
    ("activation", "weight", "update"),
    ("ReLU", "Linear", ""),
    (64, 4096, 2**40),
)


def snapshot(step: int = 3, **changes: object) -> Snapshot:
    random = np.random.default_rng(step)
    histogram = random.integers(0, 5, (3, HISTOGRAM_BINS)).astype(np.int32)
    histogram[:, 40:] = 0
    stats = random.normal(size=(3, 8)).astype(np.float32)
    stats[0, STATISTICS.index("dead_fraction")] = np.nan
    fields = {
        "step": step,
        "wall_time": 1.7e9 + step,
        "catalogue": CATALOGUE,
        "stats": stats,
        "histogram": histogram,
        "scalars": {"gradient/norm": float("nan"), "update/ratio": 0.5},
    }
    return Snapshot(**(fields | changes))


def test_decodes_what_was_encoded():
    one, two = snapshot(3), snapshot(4)
    table = decode(encode(one) + encode(two), {CATALOGUE.digest: CATALOGUE})
    assert table.schema.equals(LAYERS_SCHEMA)
    assert table["step"].to_pylist() == [3] * 3 + [4] * 3
    assert table["layer"].to_pylist() == [*CATALOGUE.names] * 2
    assert table["count"].to_pylist() == [*CATALOGUE.counts] * 2
    assert table["wall_time"].to_pylist() == [1.7e9 + 3] * 3 + [1.7e9 + 4] * 3
    for column, name in enumerate(STATISTICS):
        expected = np.concatenate([one.stats[:, column], two.stats[:, column]])
        np.testing.assert_array_equal(table[name].to_numpy(), expected)
    histograms = np.array(table["histogram"].to_pylist())
    np.testing.assert_array_equal(histograms, np.concatenate([one.histogram, two.histogram]))


def test_counts_that_differ_from_the_catalogue_are_kept():
    table = decode(
        encode(snapshot(counts=np.array([32, 4096, 1]))), {CATALOGUE.digest: CATALOGUE}
    )
    assert table["count"].to_pylist() == [32, 4096, 1]


def test_large_bin_counts_are_kept():
    histogram = np.zeros((3, HISTOGRAM_BINS), np.int32)
    histogram[1, 128] = 2**31 - 1
    table = decode(encode(snapshot(histogram=histogram)), {CATALOGUE.digest: CATALOGUE})
    assert table["histogram"].to_pylist()[1][128] == 2**31 - 1


def test_tensors_that_were_not_measured_have_no_row():
    stats = snapshot().stats.copy()
    stats[1] = np.nan
    table = decode(encode(snapshot(stats=stats)), {CATALOGUE.digest: CATALOGUE})
    assert table["layer"].to_pylist() == ["0", "<script>é"]


def test_nothing_decodes_to_an_empty_table():
    assert decode(b"", {}).schema.equals(LAYERS_SCHEMA)


def test_a_catalogue_survives_json_and_keeps_its_digest():
    again = Catalogue.from_json(CATALOGUE.to_json())
    assert again == CATALOGUE
    assert again.digest == CATALOGUE.digest
    assert len(again.digest) == 32


def test_columns_of_a_catalogue_must_fit():
    with pytest.raises(ValueError, match="one length"):
        Catalogue(("a",), (), (), (), ())


def test_an_unknown_catalogue_is_a_key_error():
    with pytest.raises(KeyError):
        decode(encode(snapshot()), {})


@pytest.mark.parametrize("keep", [1, 30, 60, 200])
def test_a_torn_tail_is_noticed(keep):
    with pytest.raises(ValueError, match=r"cut off|damaged"):
        decode(encode(snapshot())[:keep], {CATALOGUE.digest: CATALOGUE})


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 10_000), st.integers(0, 255))
def test_a_changed_byte_never_crashes_otherwise(place, value):
    data = bytearray(encode(snapshot()))
    data[place % len(data)] = value
    try:
        table = decode(bytes(data), {CATALOGUE.digest: CATALOGUE})
    except (ValueError, KeyError):
        return
    assert isinstance(table, pa.Table)


def test_a_tensor_takes_less_than_200_bytes():
    tensors = 800
    histogram = np.zeros((tensors, HISTOGRAM_BINS), np.int32)
    histogram[:, 40:75] = 100  # 35 filled bins: more than a normal distribution has
    names = tuple(str(index) for index in range(tensors))
    catalogue = Catalogue(
        names, (0,) * tensors, ("weight",) * tensors, ("",) * tensors, (1,) * tensors
    )
    stats = np.ones((tensors, 8), np.float32)
    data = encode(Snapshot(0, 0.0, catalogue, stats, histogram))
    assert len(data) / tensors < 200
