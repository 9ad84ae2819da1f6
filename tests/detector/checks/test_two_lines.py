"""Runs of which the training loss is all that was logged."""

from dataclasses import replace

import numpy as np
import pytest
from tests.detector.checks.batch_cases import AT_PLACES, NUMBERS, OTHERS, batches
from tests.detector.checks.builders import (
    MOVING,
    OUTPUTS,
    SNAPSHOTS,
    STEPS,
    history,
    noise,
    run,
    series,
)
from tests.detector.checks.curve_cases import NARROW

from backslide_detector.checks.registry import run_checks
from backslide_detector.finding import Found, Severity

TIME = np.arange(STEPS)
SEEN = TIME[:: STEPS // SNAPSHOTS]
LOOSELY = 0.3 * NUMBERS + np.random.default_rng(5).normal(size=NUMBERS.shape)


def names(evidence):
    return [
        result.check
        for result in run_checks(evidence)
        if isinstance(result.outcome, Found) and result.outcome.severity is not Severity.NOTE
    ]


def squares(costs, answers, **numbers):
    """A run whose loss is a mean of squares, of one number an example with variance 1."""
    costs = series(costs)
    seen = batches(
        np.arange(NUMBERS.size).reshape(NUMBERS.shape),
        kind="values",
        targets=NUMBERS,
        answered=answers,
        loss=costs.values[SEEN],
        target_spread=1.0,
        **{"output_spread": answers.std()} | numbers,
    )
    return run(costs, batches=seen, **AT_PLACES)


def test_numbers_far_worse_than_their_mean_are_not_learned_however_far_the_loss_fell():
    wild = squares(1e9 * np.exp(-TIME / 60) + 1e6, 1e3 * LOOSELY)
    assert names(wild) == ["loss-not-decreasing"]


@pytest.mark.parametrize(
    "sound",
    [
        pytest.param(
            squares(np.exp(-TIME / 60) + 0.1, NUMBERS + 0.3 * LOOSELY), id="most is learned"
        ),
        pytest.param(
            squares(0.985 + noise(scale=0.01), LOOSELY), id="little is, for there is little"
        ),
    ],
)
def test_numbers_that_are_followed_are_learned(sound):
    assert names(sound) == []


def test_a_run_of_numbers_that_ends_on_its_way_is_undertrained():
    assert names(squares(1.0 - TIME / 2_000 + noise(), LOOSELY)) == ["undertrained"]


def test_numbers_in_the_order_of_time_vary_over_the_run_and_not_within_a_batch():
    drift = np.linspace(0.0, 30.0, SNAPSHOTS)[:, None]
    costs = series(38 * np.exp(-TIME / 40) + 5.0)
    seen = batches(
        np.arange(NUMBERS.size).reshape(NUMBERS.shape),
        kind="values",
        targets=NUMBERS + drift,
        answered=NUMBERS[::-1] + drift,
        loss=costs.values[SEEN],
        target_spread=1.0,
        output_spread=1.0,
    )
    assert names(run(costs, batches=seen, **AT_PLACES)) == []


def test_one_answer_to_all_inputs_shows_in_training():
    stuck = squares(1.0 + noise(), np.full_like(NUMBERS, 0.1), output_spread=1e-4)
    assert "constant-output" in names(stuck)


@pytest.mark.parametrize(("units", "expected"), [(1, ["underfitting"]), (64, [])])
def test_a_narrow_layer_is_named_without_a_validation_loss(units, expected):
    weights = replace(
        NARROW, rms=np.tile(MOVING, 4), count=np.array([64 * units, units, 10 * units, 10])
    )
    flat = series(1.8 + 0.6 * np.exp(-TIME / 40) + noise())
    seen = batches(answered=OTHERS, cross_entropy=1.0)
    assert names(run(flat, weights=weights, batches=seen, **AT_PLACES)) == expected


@pytest.mark.parametrize(("evaluated", "expected"), [(2.5, False), (60.0, True)])
def test_a_first_loss_that_dropout_made_is_no_poor_start(evaluated, expected):
    costs = series(np.where(TIME < 5, 60.0, 2.3) + noise())
    first = np.where(np.arange(SNAPSHOTS) == 0, evaluated, np.nan)
    seen = batches(answered=OTHERS, cross_entropy=1.0, trial_eval_loss=first)
    evidence = run(costs, batches=seen, activations=history(OUTPUTS, rms=10.0), **AT_PLACES)
    assert ("poor-initialization" in names(evidence)) is expected


@pytest.mark.parametrize(
    ("rates", "expected"),
    [(("lr/0", "lr/1"), []), (("lr/0",), ["loss-not-decreasing"])],
    ids=["parts with a rate each", "a whole"],
)
def test_the_loss_of_parts_that_are_trained_apart_need_not_fall(rates, expected):
    level = series(1.37 + noise())
    given = {name: series(np.full(STEPS, 1e-3)) for name in rates}
    assert names(run(level, series=given, batches=None, **AT_PLACES)) == expected
