"""The gain from doubling the data, on power laws whose gain was put there."""

import numpy as np
import pytest

from backslide_detector.stats.learning_curve import learning_curve

SIZES = np.array([500.0, 1_000.0, 2_000.0, 4_000.0])


def law(sizes, floor=0.02, factor=0.5, exponent=0.35):
    return floor + factor * np.asarray(sizes, float) ** -exponent


def gain(at, factor=0.5, exponent=0.35):
    return factor * at**-exponent * (1 - 2**-exponent)


def variances(errors, examples=10_000):
    return errors * (1 - errors) / examples


def test_a_curve_without_noise_is_continued():
    found = learning_curve(SIZES, law(SIZES), np.full(4, 1e-8), at=4_000)
    assert found.gain == pytest.approx(gain(4_000), rel=0.02)
    assert found.interval[0] <= gain(4_000) <= found.interval[1]
    assert (found.smallest, found.largest, found.n) == (500, 4_000, 4)


@pytest.mark.parametrize("exponent", [0.1, 0.35, 0.5, 1.0])
@pytest.mark.parametrize("repeats", [1, 3])
def test_the_interval_holds_the_gain(exponent, repeats):
    sizes = np.tile(SIZES, repeats)
    truth, held = gain(4_000, 0.5, exponent), 0
    for seed in range(30):
        random = np.random.default_rng(seed)
        errors = law(sizes, 0.02, 0.5, exponent) + random.normal(0, 0.001, len(sizes))
        low, high = learning_curve(sizes, errors, variances(errors), at=4_000).interval
        held += low <= truth <= high
    assert held >= 26  # 28.5 of 30 on average where nothing is conservative


def test_two_amounts_leave_the_exponent_open_but_bound_the_gain():
    """Half of what the last doubling brought (c = 1), up to what a floor of zero allows."""
    found = learning_curve([1_000, 2_000], [0.060, 0.050], [1e-10, 1e-10], at=2_000)
    assert found.interval == pytest.approx((0.5 * 0.010, 0.05 * (1 - 0.05 / 0.06)), rel=0.02)


def test_where_data_do_not_matter_no_gain_is_shown():
    shown = 0
    for seed in range(40):
        errors = 0.03 + np.random.default_rng(seed).normal(0, 0.001, 12)
        shown += (
            learning_curve(np.tile(SIZES, 3), errors, variances(errors), at=4e3).interval[0] > 0
        )
    assert shown <= 4  # one of forty on average


def test_a_curve_at_its_floor_cannot_fall_below_zero():
    """An error of 0.001 has no more to give than 0.001, however steep the law was before."""
    found = learning_curve(SIZES, [0.05, 0.02, 0.006, 0.001], np.full(4, 1e-7), at=4_000)
    assert found.interval[1] < 0.005


@pytest.mark.parametrize(
    ("sizes", "errors", "variances", "at"),
    [
        ([100, 100], [0.1, 0.2], [1e-3, 1e-3], 100),
        ([100, 200], [0.1], [1e-3], 100),
        ([100, 200], [0.1, np.nan], [1e-3, 1e-3], 100),
        ([100, 200], [0.1, 0.2], [1e-3, 0.0], 100),
        ([0, 200], [0.1, 0.2], [1e-3, 1e-3], 100),
        ([100, 200], [0.1, 0.2], [1e-3, 1e-3], np.inf),
    ],
)
def test_what_shows_no_curve_is_refused(sizes, errors, variances, at):
    with pytest.raises(ValueError, match=r"\w"):
        learning_curve(sizes, errors, variances, at=at)
