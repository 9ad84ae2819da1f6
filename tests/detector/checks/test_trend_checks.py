"""Trends inside a run become findings only in a run that fails, and only real ones."""

from dataclasses import replace

import numpy as np
import pytest
from tests.detector.checks.builders import STEPS, WEIGHTS, failing, history, run, series
from tests.detector.checks.test_checks import outcome

from backslide_detector.checks.trends import furthest
from backslide_detector.finding import Clear, Found

SNAPSHOTS = 200
DEEP = {f"{2 * i}.weight": "Linear" for i in range(8)}


def over_time(decades, layers=WEIGHTS, seed=0, spread=0.1):
    """Gradients whose log10 is this, with noise, shape (SNAPSHOTS, layers)."""
    plain = history(layers)
    noise = np.random.default_rng(seed).normal(0.0, spread, (SNAPSHOTS, len(layers)))
    columns = {
        name: np.repeat(column, SNAPSHOTS // len(plain.steps), axis=0)
        for name, column in vars(plain).items()
        if isinstance(column, np.ndarray) and column.ndim > 1
    }
    columns["rms"] = 10.0 ** (np.broadcast_to(decades, noise.shape) + noise)
    return replace(plain, steps=np.arange(SNAPSHOTS) * (STEPS // SNAPSHOTS), **columns)


DONE = np.linspace(0.0, 1.0, SNAPSHOTS)
FADE = np.full((SNAPSHOTS, 4), -2.0)
FADE[:, 1] -= 6.0 * np.maximum(DONE - 0.25, 0.0)
GROW = np.full((SNAPSHOTS, 4), -4.0)
GROW[:, 2] += 4.0 * np.maximum(DONE - 0.5, 0.0)  # the norm of all hardly moves
GROW[:, 3] = 0.0


def test_a_layer_that_fades_in_a_failing_run_is_dated_and_measured():
    found = outcome("vanishing-gradient", failing(gradients=over_time(FADE)))
    assert isinstance(found, Found)
    assert found.layer == "2"
    assert found.since_step == pytest.approx(STEPS / 4, abs=STEPS / 10)
    assert found.numbers["decades"] == pytest.approx(-4.2, abs=0.3)
    assert "every 1,000 steps (95 % interval ×" in found.sentence
    assert (
        found.numbers["low"]
        <= found.numbers["decades_per_1000_steps"]
        <= found.numbers["high"]
        < 0.0
    )


def test_a_layer_that_grows_in_a_failing_run_is_dated_and_measured():
    found = outcome("exploding-gradient", failing(gradients=over_time(GROW)))
    assert isinstance(found, Found)
    assert found.layer == "4"
    assert found.since_step == pytest.approx(STEPS / 2, abs=STEPS / 10)
    assert found.numbers["decades"] == pytest.approx(2.0, abs=0.6)


@pytest.mark.parametrize("name", ["vanishing-gradient", "exploding-gradient"])
@pytest.mark.parametrize("course", [FADE, GROW])
def test_a_trend_in_a_run_that_learns_is_no_finding(name, course):
    assert isinstance(outcome(name, run(gradients=over_time(course))), Clear)


def test_a_layer_that_fades_alone_in_a_run_that_learns_is_a_note():
    alone = outcome("vanishing-gradient", run(gradients=over_time(FADE)))
    assert "Held against the other layers, the gradient of layer 2 (Linear) fades" in alone.note
    together = run(gradients=over_time(FADE[:, [1]]))
    assert outcome("vanishing-gradient", together) == Clear()


def test_what_only_follows_the_learning_rate_is_no_finding():
    done = np.arange(STEPS) / STEPS
    falling = series(10.0 ** (-4.0 * done))
    evidence = failing(gradients=over_time(FADE[:, [1]]), series={"lr": falling})
    flat = failing(gradients=over_time(FADE[:, [1]]), series={"lr": series([0.1] * STEPS)})
    assert isinstance(outcome("vanishing-gradient", flat), Found)
    straight = -2.0 - 4.0 * DONE[:, None]
    unclear = outcome("vanishing-gradient", replace(evidence, gradients=over_time(straight)))
    assert isinstance(unclear, Clear)
    assert "confounded with the learning rate" in unclear.note


def test_500_layers_without_a_trend_are_left_alone():
    many = {f"{i}.weight": "Linear" for i in range(500)}
    still = over_time(-2.0, many, seed=5)
    assert furthest(still, None, 0.01) is furthest(still, None, -0.01) is None
    assert furthest(still, None, -0.01, against_others=True) is None
    for name in ("vanishing-gradient", "exploding-gradient"):
        assert isinstance(outcome(name, failing(gradients=still)), Clear)


def test_the_slope_over_the_depth_is_told_with_its_interval():
    fading = over_time(np.linspace(-9.0, -2.0, 8), DEEP)
    found = outcome("vanishing-gradient", failing(gradients=fading))
    assert isinstance(found, Found)
    assert found.numbers["decades_per_layer"] == pytest.approx(1.0, abs=0.05)
    assert found.numbers["low"] <= 1.0 <= found.numbers["high"]
    assert "from each of 8 Linear layers to the one before (95 % interval ×0." in found.sentence


def test_one_small_gradient_without_a_slope_over_the_depth_is_none_that_vanishes():
    alone = np.full(8, -2.0)
    alone[1] = -8.0
    alone[4:] -= 1.0  # if anything, they grow towards the input
    assert isinstance(
        outcome("vanishing-gradient", failing(gradients=over_time(alone, DEEP))), Clear
    )
