"""Would more data help? From retrains that differ in their amount of training data."""

from dataclasses import replace

import numpy as np
import pytest

from backslide.contract import Cause
from backslide_detector.evidence import ErrorRate
from backslide_detector.retrain.history import PastRun
from backslide_detector.retrain.more_data import more_data, said


def retrain(number, rows, error, examples=10_000, measure="error", **config):
    stated = {f"parameter {name}": str(value) for name, value in config.items()}
    return PastRun(
        f"r{number}", f"run {number}", float(number), lineage="digits",
        error=ErrorRate("test", error, examples, "x", measure),
        made_from={
            Cause.DATA: {"train rows": str(rows), "train content": "c", "test content": "t"},
            Cause.CONFIG: {"parameter lr": "0.1", **stated},
            Cause.CODE: {"git commit": "abc"},
        },
    )  # fmt: skip


def law(rows):
    return 0.02 + 0.5 * rows**-0.35


GROWN = [retrain(i, rows, law(rows)) for i, rows in enumerate((500, 1_000, 2_000, 4_000))]
*PAST, NEW = GROWN


def test_the_gain_of_twice_the_data_is_said_with_its_interval():
    found = more_data(NEW, PAST)
    truth = law(4_000) - law(8_000)
    assert found.interval[0] <= truth <= found.interval[1]
    assert found.gain == pytest.approx(truth, rel=0.2)
    sentence = said(found, "error")
    assert sentence.startswith("More data would help: by the power law through 4 retrains")
    assert "on 500 to 4,000 training examples, twice the data (8,000 examples)" in sentence
    assert "points (95 % interval 0." in sentence


def test_a_flat_curve_shows_no_help():
    flat = [replace(run, error=replace(run.error, rate=0.03)) for run in GROWN]
    sentence = said(more_data(flat[-1], flat[:-1]), "error")
    assert sentence.startswith("That more data would help is not shown")
    assert "interval −" in sentence


def test_data_that_made_it_worse_are_said_to_be_no_help():
    worse = [
        replace(run, error=replace(run.error, rate=rate))
        for run, rate in zip(GROWN, (0.03, 0.06, 0.09, 0.12), strict=True)
    ]
    assert "would not help" in said(more_data(worse[-1], worse[:-1]), "error")


def test_a_parameter_that_says_the_amount_in_other_words_may_differ():
    told = [
        retrain(i, rows, law(rows), fraction=rows / 8_000)
        for i, rows in enumerate((1_000, 2_000))
    ]
    assert more_data(told[1], told[:1]) is not None


@pytest.mark.parametrize(
    "change",
    [
        {"made_from": {**PAST[0].made_from, Cause.CONFIG: {"parameter lr": "0.2"}}},
        {"made_from": {**PAST[0].made_from, Cause.CODE: {"git commit": "other"}}},
        {
            "made_from": {
                **PAST[0].made_from,
                Cause.DATA: {"train rows": "500", "test content": "u"},
            }
        },
        {"made_from": {}},
        {"error": replace(PAST[0].error, examples=9_000)},
        {"error": replace(PAST[0].error, rate=1.7)},
        {"finished": False},
    ],
)
def test_a_retrain_that_differs_in_more_is_left_out(change):
    assert more_data(NEW, [replace(PAST[0], **change)]) is None
    assert more_data(NEW, [PAST[0]]) is not None


def test_other_test_sets_are_left_out():
    ours = replace(NEW, test_set="a")
    assert more_data(ours, [replace(PAST[0], test_set="b")]) is None


def test_amounts_that_hardly_differ_tell_nothing():
    near = [retrain(i, rows, law(rows)) for i, rows in enumerate((4_000, 4_400, 5_000))]
    assert more_data(near[-1], near[:-1]) is None
    assert more_data(NEW, []) is None


def test_of_a_loss_only_repeats_tell_the_noise():
    random = np.random.default_rng(0)

    def runs(repeats):
        rows = np.repeat([500, 1_000, 2_000], repeats)
        losses = 0.1 + 5.0 * rows**-0.5 + random.normal(0, 0.002, len(rows))
        return [retrain(i, int(n), losses[i], measure="mse") for i, n in enumerate(rows)]

    *past, new = runs(1)
    assert more_data(new, past) is None
    *past, new = runs(3)
    found = more_data(new, past)
    assert found.interval[0] <= 5.0 * (2_000**-0.5 - 4_000**-0.5) <= found.interval[1]
    assert "points" not in said(found, "mse")
