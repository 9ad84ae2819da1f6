"""The regression of errors on what changed between retrains."""

import numpy as np
import pytest
from scipy import stats
from statsmodels.datasets import longley

from backslide_detector.stats.history_regression import fewest_retrains, history_regression


def test_longley_to_eight_digits():
    """NIST StRD, Longley: 15.0618722713733 with standard error 84.9149257747669.

    Its sixth column is the year, which is the drift here, and of the first column the values
    tell less than the differences, so that they are the answer.
    """
    data = longley.load_pandas()
    found = history_regression(data.endog, data.exog.to_numpy()[:, :5])[0]
    assert found.effect == pytest.approx(15.0618722713733, rel=1e-8)
    half = stats.t.ppf(0.975, 16 - 7) * 84.9149257747669
    assert found.interval[1] - found.effect == pytest.approx(half, rel=1e-8)


def test_with_one_factor_the_differences_are_a_line():
    """Reference: scipy.stats.linregress of one difference on the other."""
    random = np.random.default_rng(1)
    factor = np.cumsum(random.normal(size=40))
    errors = 0.5 * factor + np.cumsum(random.normal(size=40))
    line = stats.linregress(np.diff(factor), np.diff(errors))
    (found,) = history_regression(errors, factor[:, None])
    assert found.effect == pytest.approx(line.slope)
    assert found.pvalue == pytest.approx(line.pvalue)


def test_what_cannot_be_told_apart_is_none():
    random = np.random.default_rng(2)
    errors, factor = random.normal(size=30), random.normal(size=30)
    alike = np.c_[factor, 2 * factor, np.arange(30), random.normal(size=30)]
    found = history_regression(errors, alike)
    assert [one is None for one in found] == [True, True, True, False]


def test_too_short_a_history_is_refused():
    with pytest.raises(ValueError, match="2 factors need 12 retrains, not 11"):
        history_regression(np.arange(11), np.eye(11)[:, :2])
    assert fewest_retrains(2) == 12
