"""Trends: published examples, and series whose trend is known because it was put there.

"R": printed by `cor.test` on the example of its own manual (tuna, Hollander and Wolfe 1973,
p. 187). "statpsych": printed in the manual of that R package for `ci.theil`.
"""

from dataclasses import replace

import numpy as np
import pytest
from scipy.signal import lfilter

from backslide.measure.cadence import Cadence
from backslide_detector.stats.mann_kendall import (
    Answer,
    depth_slope,
    layer_trends,
    mann_kendall,
)

TUNA = ([44.4, 45.9, 41.9, 53.3, 44.7, 44.1, 50.7, 45.2, 60.1],
        [2.6, 3.1, 2.5, 5.0, 3.6, 4.0, 5.2, 2.8, 3.8])  # fmt: skip
STEPS = 5_000


def sampled(steps=STEPS):
    """The steps at which a run of that length is sampled, as the SDK does it."""
    cadence, taken, looking = Cadence(0.01), [0], True
    for step in range(1, steps):
        looking = cadence.step(0.02, 2e-4 * looking, 2e-4 if looking else None)
        taken += [step] if looking else []
    return np.array(taken)


WHEN = sampled()
SHARE = np.arange(STEPS) / STEPS


def noise(seed, rho=0.9, *shape):
    """Autocorrelated noise of standard deviation 1, shape (STEPS, ...)."""
    fresh = np.random.default_rng(seed).standard_normal((STEPS, *shape))
    return lfilter([np.sqrt(1 - rho**2)], [1, -rho], fresh, axis=0)


def cosine():
    return np.log(0.5 * (1 + np.cos(np.pi * SHARE)))


def test_block_means_are_tested_by_kendall():
    """Each value of the example is the mean of a block of two samples that alternate."""
    x, y = (np.array(values) for values in TUNA)
    blocks = y[np.argsort(x)]
    values = np.ravel([blocks + 9.0, blocks - 9.0], order="F")
    found = mann_kendall(np.arange(18), values)
    assert (found.blocks, found.answer) == (9, Answer.NONE)
    assert found.tau == pytest.approx(0.4444444, abs=1e-7)  # R
    assert found.pvalue == pytest.approx(0.1194, abs=5e-5)  # R


def test_a_depth_slope_is_theil_and_sens():
    sizes = np.array([21, 4, 9, 12, 35, 18, 10, 22, 24, 1, 6, 8, 13, 16, 19])
    depths = [67, 28, 30, 28, 52, 40, 25, 37, 44, 10, 14, 20, 28, 40, 51]
    found = depth_slope(depths, 10.0**sizes)
    assert found.answer is Answer.TREND
    assert found.slope == pytest.approx(0.5)  # statpsych
    assert found.interval == pytest.approx((0.3243243, 0.75))  # statpsych


def test_a_depth_slope_needs_five_layers():
    assert depth_slope([1, 2, 3, 4], [1e-4, 1e-3, 1e-2, 1e-1]).answer is Answer.TOO_SHORT
    assert (
        depth_slope([1, 2, 3, 4, 5], [1e-5, 1e-4, 1e-3, 1e-2, 0.0]).answer is Answer.TOO_SHORT
    )
    assert depth_slope([1, 2, 3, 4, 5], [1e-5, 1e-4, 1e-3, 1e-2, 0.1]).answer is Answer.TREND


def test_a_fade_is_measured_and_dated():
    fade = -0.0002 * np.maximum(np.arange(STEPS) - 2_000, 0)
    found = mann_kendall(WHEN, (fade + 0.05 * noise(1))[WHEN])
    assert found.answer is Answer.TREND
    assert not found.adjusted
    assert found.slope < 0
    assert found.began == pytest.approx(2_000, abs=200)


def test_the_interval_holds_the_slope_that_was_put_in():
    held = 0
    for seed in range(40):
        low, high = mann_kendall(WHEN, (-0.5 * SHARE + 0.1 * noise(seed))[WHEN]).interval
        held += low <= -0.5 / STEPS <= high
    assert held >= 35  # 38 of 40 on average


def test_a_random_walk_is_too_short():
    walks = np.random.default_rng(3).standard_normal((20, STEPS)).cumsum(axis=1)
    answers = [mann_kendall(WHEN, walk[WHEN]).answer for walk in walks]
    assert answers.count(Answer.TOO_SHORT) >= 18
    assert Answer.TREND not in answers


def test_a_dozen_samples_are_too_short():
    found = mann_kendall(np.arange(12), np.arange(12.0))
    assert replace(found, blocks=0) == replace(found, answer=Answer.TOO_SHORT, blocks=0)
    assert found.pvalue == 1.0


def test_what_follows_the_learning_rate_is_no_trend():
    """Norms that go with the rate to the power of 0.3, under a cosine, and nothing else."""
    rate, values = cosine(), 0.3 * cosine() + 0.1 * noise(4)
    assert mann_kendall(WHEN, values[WHEN]).answer is Answer.TREND
    found = mann_kendall(WHEN, values[WHEN], rate[WHEN])
    assert found.answer is Answer.NONE
    assert found.adjusted


def test_a_fade_beyond_the_learning_rate_is_found():
    values = 0.3 * cosine() - 0.5 * SHARE + 0.1 * noise(5)
    found = mann_kendall(WHEN, values[WHEN], cosine()[WHEN])
    assert found.answer is Answer.TREND
    assert found.adjusted
    assert found.slope * STEPS == pytest.approx(-0.5, abs=0.25)
    assert found.began == pytest.approx(0, abs=STEPS / 5)


@pytest.mark.parametrize("rate", [-5 * SHARE, np.floor(4 * SHARE) * np.log(0.1)])
def test_a_rate_that_goes_with_time_confounds(rate):
    found = mann_kendall(WHEN, (0.3 * rate + 0.1 * noise(6))[WHEN], rate[WHEN])
    assert found.answer is Answer.CONFOUNDED
    assert not found.adjusted
    trendless = [mann_kendall(WHEN, noise(n)[WHEN], rate[WHEN]).answer for n in range(20)]
    assert trendless.count(Answer.NONE) >= 17  # 19 of 20 on average


def test_500_layers_without_a_trend_are_left_alone():
    """Layers share their batches, so half of the noise is common to all."""
    values = noise(11, 0.9, 1) + noise(12, 0.9, 500)
    plain = [mann_kendall(WHEN, column[WHEN]).answer for column in values.T[:100]]
    assert Answer.TREND in plain  # one by one, some are flagged by chance
    assert {trend.answer for trend in layer_trends(WHEN, values[WHEN])} == {Answer.NONE}


def test_ten_fading_layers_among_a_hundred_are_named():
    values = 0.1 * noise(13, 0.9, 100)
    values[:, :10] -= 0.5 * SHARE[:, None]
    found = layer_trends(WHEN, values[WHEN])
    assert [i for i, trend in enumerate(found) if trend.answer is Answer.TREND] == list(
        range(10)
    )
    assert all(trend.began is None for trend in found[10:])


def test_gaps_and_a_rate_of_zero_are_left_out():
    values, rate = -0.5 * SHARE + 0.1 * noise(14), np.ones(STEPS)
    values[1_000:1_400] = np.nan
    rate[-1] = -np.inf
    found = mann_kendall(WHEN, values[WHEN], rate[WHEN])
    assert found.answer is Answer.TREND
    assert found.slope * STEPS == pytest.approx(-0.5, abs=0.1)
