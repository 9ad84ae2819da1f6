"""The sketch of a data set: bounded, coordinated, and of no use for reading examples back."""

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch
from torch.utils.data import TensorDataset

from backslide.contract import SKETCH_COLUMNS, SKETCH_LAYOUT, SKETCH_ROWS, Artifact
from backslide.record.data import summarise
from backslide.ship import parts

IMAGES = np.random.default_rng(0).integers(0, 256, (1_500, 1, 8, 8), dtype=np.uint8)


class Items:
    """A data set that hands out one item after another, and counts."""

    def __init__(self, data, targets=None):
        self.data, self.targets, self.asked = data, targets, 0

    def __len__(self):
        return len(self.data)

    def __getitem__(self, index):
        self.asked += 1
        item = self.data[index]
        return item if self.targets is None else (item, int(self.targets[index]))


def sketch(data, targets=None):
    return summarise("train", data, targets).sketch


def keys(table):
    return set(table["key"].to_pylist())


def test_it_is_bounded_in_rows_columns_and_bytes(tmp_path):
    random = np.random.default_rng(1)
    table = sketch(random.normal(size=(20_000, 300)))
    assert table.shape == (SKETCH_ROWS, 1 + SKETCH_COLUMNS)
    parts.write(table, tmp_path / "train.sketch.parquet")
    assert (tmp_path / "train.sketch.parquet").stat().st_size < 100_000
    assert pq.read_table(tmp_path / "train.sketch.parquet").equals(table)
    assert Artifact.SKETCH.endswith(".parquet")


def test_the_same_examples_are_chosen_whatever_else_is_there():
    """Of the common examples, both sketches hold exactly those below the smaller limit."""
    first, second = sketch(IMAGES[:1_200]), sketch(IMAGES[400:])
    limit = min(max(keys(first)), max(keys(second)))
    below = {key for key in keys(sketch(IMAGES[400:1_200])) if key <= limit}
    both = {key for key in keys(first) & keys(second) if key <= limit}
    assert below == both
    assert len(both) > 100


def test_order_type_and_container_make_no_difference():
    reference = sketch(IMAGES)
    labels = np.arange(len(IMAGES)) % 10
    shuffled = np.random.default_rng(2).permutation(IMAGES)
    for data in (
        shuffled,
        IMAGES.astype(np.float64),
        torch.from_numpy(IMAGES),
        TensorDataset(torch.from_numpy(IMAGES), torch.from_numpy(labels)),
        Items(IMAGES),
        Items(IMAGES, labels),
    ):
        other = sketch(data)
        assert other.equals(reference)
        assert other.schema.metadata == reference.schema.metadata


def test_an_item_is_asked_for_once():
    data = Items(IMAGES[:500], np.zeros(500))
    sketch(data)
    assert data.asked == 500


def test_an_example_has_more_numbers_than_its_sketch():
    for count, expected in ((1, None), (2, 1), (9, 4), (64, 32), (500, 32)):
        table = sketch(np.random.default_rng(3).normal(size=(50, count)))
        assert (None if table is None else table.num_columns - 1) == expected


def test_repeated_examples_count_once_and_targets_do_not_count():
    assert sketch(np.ones((5_000, 8))).num_rows == 1
    some = sketch(IMAGES, np.zeros(len(IMAGES)))
    assert some.equals(sketch(IMAGES, np.ones(len(IMAGES))))
    assert some.equals(sketch((IMAGES, np.ones(len(IMAGES)))))


def test_a_frame_with_text_times_and_missing_values():
    frame = pd.DataFrame(
        {
            "age": [41.0, np.nan, 3.0, np.inf],
            "site": ["a", "b", None, "a"],
            "when": pd.to_datetime(["2024-01-01", None, "2024-01-02", "2024-01-01"]),
            "lists": [[1], [1, 2], [], [1]],
        }
    )
    table = sketch(frame)
    assert table.shape == (4, 3)
    assert np.isfinite(
        np.stack([table[name].to_numpy() for name in table.column_names[1:]])
    ).all()
    assert table.equals(sketch(frame[["site", "lists", "when", "age"]]))


@pytest.mark.parametrize(
    "data",
    [
        np.zeros((0, 8)),
        ["one", "two"],
        np.arange(5),
        Items([np.zeros((1, 8)), np.zeros((2, 8))]),
        {"a": np.zeros((3, 4)), "b": np.zeros((4, 4))},
        (np.zeros((3, 4)), np.zeros((4, 4)), np.zeros(3)),
        [],
    ],
    ids=["empty", "texts", "one number", "ragged items", "ragged", "ragged inputs", "nothing"],
)
def test_what_cannot_be_sketched_is_still_summarised(data):
    summary = summarise("train", data)
    assert summary.sketch is None
    assert len(summary.digest) == 32


def test_other_shapes_have_other_layouts():
    layouts = {
        sketch(np.ones(shape)).schema.metadata[SKETCH_LAYOUT]
        for shape in ((5, 8), (6, 8), (5, 9), (5, 2, 4))
    }
    assert len(layouts) == 3
