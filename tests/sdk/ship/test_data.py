"""The identity and summary of a data set."""

import json
import random

import numpy as np
import pandas as pd
import pytest
import torch
from tests.sdk.ship.tools import random_states
from torch.utils.data import DataLoader, Dataset, TensorDataset

from backslide.record.data import summarise

X = np.arange(12.0).reshape(4, 3)
Y = np.array([0, 1, 1, 2])


def test_the_summary_of_an_array():
    summary = summarise("train", X, Y, version="v3")
    assert (summary.rows, summary.shape, summary.version) == (4, (4, 3), "v3")
    assert summary.class_counts == {"0": 1, "1": 2, "2": 1}
    assert summary.features["1"] == {
        "mean": 5.5,
        "std": pytest.approx(np.std(X[:, 1])),
        "min": 1.0,
        "max": 10.0,
        "missing": 0.0,
    }
    assert len(summary.digest) == 32
    fields = json.loads(summary.to_json())
    assert {"name", "digest", "version", "rows", "shape", "class_counts", "features"} <= set(
        fields
    )
    assert json.loads(summary.dataset()["profile"]) == {"num_rows": 4}


def changed(array, place, value):
    copy = array.copy()
    copy[place] = value
    return copy


@pytest.mark.parametrize(
    ("data", "targets"),
    [
        (changed(X, (3, 2), 99.0), Y),
        (X, changed(Y, 0, 2)),
        (X.astype(np.float32), Y),
        (X.reshape(4, 3, 1), Y),
        (X[:3], Y[:3]),
        (X[::-1], Y),
    ],
)
def test_any_change_changes_the_digest(data, targets):
    assert summarise("d", data, targets).digest != summarise("d", X, Y).digest


@pytest.mark.parametrize(
    ("targets", "said"), [(Y[:2], "4 examples, but 2 targets"), (7, "no list of targets")]
)
def test_each_example_has_one_target(targets, said):
    with pytest.raises(ValueError, match=said):
        summarise("train", X, targets)


def test_the_last_row_of_many_counts():
    """MLflow's own digest looks at the first 10,000 rows alone."""
    many = np.zeros((200_000, 2))
    assert (
        summarise("d", many).digest != summarise("d", changed(many, (199_999, 1), 1.0)).digest
    )


def test_one_content_has_one_digest_whatever_holds_it():
    x, y = torch.from_numpy(X), torch.from_numpy(Y)
    reference = summarise("d", X, Y).digest
    assert summarise("d", x, y).digest == reference
    assert summarise("d", np.asfortranarray(X), Y).digest == reference
    dataset = TensorDataset(x, y)
    assert summarise("d", dataset).digest == summarise("d", DataLoader(dataset, 2)).digest
    assert summarise("d", dataset).class_counts == {"0": 1, "1": 2, "2": 1}


def test_a_data_frame_with_text_and_missing_values():
    frame = pd.DataFrame({"a": [1.0, np.nan, 3.0], "b": ["x", "y", "z"]})
    summary = summarise("d", frame, ["cat", "dog", "cat"])
    assert summary.shape == (3, 2)
    assert summary.class_counts == {"cat": 2, "dog": 1}
    assert summary.features["a"]["missing"] == 1.0
    assert summary.features["a"]["mean"] == 2.0
    other = summarise("d", frame.assign(b=["x", "y", "Z"]), ["cat", "dog", "cat"])
    assert other.digest != summary.digest
    json.loads(summary.to_json(), parse_constant=pytest.fail)


@pytest.mark.parametrize(
    ("targets", "counts"),
    [
        (np.float32([[0], [1], [1], [1]]), {"0": 1, "1": 3}),  # as a binary cross-entropy wants
        (np.float64([0, 1, 1, 0]), {"0": 2, "1": 2}),
        (np.int64([[3], [4], [4], [4]]), {"3": 1, "4": 3}),
        (np.float32([[0, 1], [1, 1], [0, 0], [1, 0]]), {}),  # several labels an example
        (np.float32([0, 1, 2, 1]), {}),  # counts of something
        (np.float32([0, 1, np.nan, 1]), {}),
        (np.float32([1, 1, 1, 1]), {}),
        (np.float32([0.0, 0.5, 1.0, 1.0]), {}),
    ],
)
def test_floats_are_labels_where_each_is_0_or_1(targets, counts):
    assert summarise("d", X, targets).class_counts == counts
    assert summarise("d", Items(list(zip(X, targets, strict=True)))).class_counts == counts


class Items(Dataset):
    """Can only be read by index."""

    def __init__(self, items):
        self.items = items

    def __len__(self):
        return len(self.items)

    def __getitem__(self, index):
        return self.items[index]


class Noisy(Dataset):
    """Draws from every random state, as augmenting data sets do."""

    def __len__(self):
        return 20

    def __getitem__(self, index):
        random.random(), np.random.rand(), torch.rand(1)  # noqa: NPY002  # what users do
        return torch.full((2,), float(index)), index % 3


def test_a_data_set_read_by_item_leaves_the_random_states_alone():
    torch.manual_seed(1)
    before = random_states()
    summary = summarise("d", Noisy())
    assert random_states() == before
    assert (summary.rows, summary.digested_rows) == (20, 20)
    assert summary.class_counts == {"0": 7, "1": 7, "2": 6}
    assert summary.digest == summarise("d", Noisy()).digest


def test_a_large_data_set_read_by_item_says_how_much_was_read(monkeypatch):
    monkeypatch.setattr("backslide.record.data.MAX_ITEMS", 5)
    summary = summarise("d", Noisy())
    assert (summary.rows, summary.digested_rows) == (20, 5)


def test_wide_data_is_summarised_as_a_whole_and_constants_do_not_cancel():
    wide = np.full((1_000, 100), 1e8) + np.tile([0.0, 1.0], 50)
    (features,) = summarise("d", wide).features.values()
    assert features["std"] == pytest.approx(0.5)


def test_empty_and_non_finite_data():
    assert summarise("d", np.zeros((0, 3))).rows == 0
    summary = summarise("d", np.array([[np.nan], [np.inf]]), np.array([0.5, np.nan]))
    assert summary.features["0"]["mean"] is None
    assert summary.features["(target)"]["missing"] == 1.0
    json.loads(summary.to_json(), parse_constant=pytest.fail)


def test_what_cannot_be_read_is_refused_with_a_reason():
    with pytest.raises(TypeError, match="give arrays or a data set"):
        summarise("d", iter([1, 2]))
