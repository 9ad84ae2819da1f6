"""What nearest examples tell of a data set."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.datasets import load_digits, make_friedman1
from sklearn.model_selection import LeaveOneOut, cross_val_predict
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.preprocessing import StandardScaler

from backslide.record.data import summarise
from backslide.record.nearest import FEW, ROWS, nearest, spread_out
from backslide_detector.store.documents import data_summary

DIGITS, LABELS = (part[:300] for part in load_digits(return_X_y=True))
FRIEDMAN, VALUES = make_friedman1(300, random_state=0)
DRAW = np.random.default_rng(0)


def left_out(model, x, y):
    return cross_val_predict(model, StandardScaler().fit_transform(x), y, cv=LeaveOneOut())


def test_classes_are_told_as_well_as_by_scikit_learn():
    told = left_out(KNeighborsClassifier(5), DIGITS, LABELS)
    found = nearest(DIGITS, LABELS, classes=True)
    assert found.examples == 300
    assert found.error == pytest.approx((told != LABELS).mean(), abs=2 / 300)  # ties
    assert found.r_squared is None


def test_numbers_are_told_as_well_as_by_scikit_learn():
    left = left_out(KNeighborsRegressor(5), FRIEDMAN, VALUES) - VALUES
    found = nearest(FRIEDMAN, VALUES, classes=False)
    assert found.r_squared == pytest.approx(1 - np.mean(left**2) / VALUES.var(), abs=1e-4)
    assert found.error is None


@pytest.mark.parametrize(
    "data",
    [
        (DIGITS, LABELS),
        (torch.tensor(DIGITS).reshape(-1, 1, 8, 8), torch.tensor(LABELS)),
        (pd.DataFrame(DIGITS), pd.Series(LABELS).map("class {}".format)),
        ([*zip(DIGITS, LABELS.tolist(), strict=True)],),
    ],
)
def test_what_holds_the_examples_makes_no_difference(data):
    class Items:
        def __init__(self, items):
            self.items = items

        def __len__(self):
            return len(self.items)

        def __getitem__(self, index):
            return self.items[index]

    data = data if len(data) == 2 else (Items(data[0]),)
    found = summarise("train", *data)
    assert found.nearest == nearest(DIGITS, LABELS, classes=True)
    assert json.loads(found.to_json())["nearest"]["error"] == found.nearest.error


def test_a_copy_is_no_neighbour():
    x, noise = DRAW.normal(size=(200, 3)), DRAW.integers(0, 2, 200)
    found = nearest(np.repeat(x, 6, axis=0), np.repeat(noise, 6), classes=True)
    assert found.examples == 200
    assert 0.35 < found.error < 0.65


def test_targets_among_the_inputs_tell_nothing():
    x, noise = DRAW.normal(size=(400, 2)), DRAW.normal(size=400)
    frame = pd.DataFrame({"a": x[:, 0], "b": x[:, 1], "wanted": noise})
    assert summarise("train", frame, noise).nearest.r_squared < 0.2
    assert summarise("train", noise, noise).nearest is None


@pytest.mark.parametrize(
    ("data", "targets"),
    [
        (DIGITS[: FEW - 1], LABELS[: FEW - 1]),
        (DIGITS, np.zeros(300, int)),
        (DIGITS, np.full(300, 0.5)),
        (DIGITS, np.where(LABELS, VALUES, np.nan)),
        (DIGITS, DIGITS),
        (DIGITS, None),
        (np.ones((300, 4)), LABELS),
        (np.full((300, 4), np.nan), LABELS),
        (np.empty((300, 0)), LABELS),
        (np.array(["a", "b", "c"] * 100), LABELS),
        (np.empty((0, 3)), np.empty(0)),
    ],
)
def test_where_nothing_can_be_said_nothing_is(data, targets):
    assert summarise("train", data, targets).nearest is None


def test_missing_and_infinite_numbers_count_as_the_mean():
    broken = DIGITS.copy()
    broken[DRAW.random(DIGITS.shape) < 0.05] = np.nan
    broken[3, 10] = np.inf
    assert nearest(broken, LABELS, classes=True).error < 0.2


def test_large_data_is_looked_at_in_part():
    x = DRAW.normal(size=(30_000, 2))
    found = summarise("train", x, (x[:, 0] > 0).astype(int)).nearest
    assert found.examples == ROWS
    assert found.error < 0.05
    assert len(spread_out(30_000)) == ROWS


def test_the_detector_reads_what_was_written():
    found = summarise("train", DIGITS, LABELS)
    read = data_summary("train", json.loads(found.to_json())).nearest
    assert vars(read) == vars(found.nearest)


@pytest.mark.parametrize(
    "written",
    [None, 3, {}, {"examples": 9}, {"error": 0.1}, {"examples": 9, "error": "0.1"}],
)
def test_what_is_no_answer_is_left_out(written):
    assert data_summary("train", {"nearest": written}).nearest is None
