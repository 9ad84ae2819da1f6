"""Statistics against other libraries and published data, where no test beside them has one."""

import math
from itertools import permutations

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.calibration import calibration_curve
from sklearn.metrics import f1_score, r2_score, root_mean_squared_error
from statsmodels.api import OLS
from statsmodels.datasets import nile
from statsmodels.stats.oaxaca import OaxacaBlinder
from statsmodels.stats.power import NormalIndPower
from statsmodels.stats.weightstats import ttost_paired

from backslide_detector.stats.calibration_error import expected_calibration_error
from backslide_detector.stats.change_point import date_change
from backslide_detector.stats.changes_apart import changes_apart_pvalue
from backslide_detector.stats.equivalence import equivalence_level, inside
from backslide_detector.stats.kitagawa import kitagawa_split
from backslide_detector.stats.label_shift import label_shift
from backslide_detector.stats.linearised import (
    calibration_terms,
    macro_f1_terms,
    r2_terms,
    rmse_terms,
)
from backslide_detector.stats.mcnemar import exact_pvalue, exact_pvalues
from backslide_detector.stats.paired_means import paired_mean_difference
from backslide_detector.stats.power import mde_mean, mde_unpaired, standard_error
from backslide_detector.stats.predictive import pooled_spread
from backslide_detector.stats.quasi_mcnemar import Overdispersion, quasi_pvalue
from backslide_detector.stats.shapley import shapley_weights
from backslide_detector.stats.tango import tango_interval, tango_intervals
from backslide_detector.stats.unpaired import fisher_midp_pvalue
from backslide_detector.stats.unpaired_means import unpaired_mean_difference


def test_fisher_midp():
    """Perondi et al. 2004, and the lady tasting tea: tests of R's contingencytables."""
    assert fisher_midp_pvalue(7, 34, 1, 34) == pytest.approx(0.02966, abs=1e-5)
    assert fisher_midp_pvalue(3, 4, 1, 4) == pytest.approx(0.25714, abs=1e-5)


def test_many_exact_pvalues_are_those_of_one():
    """Reference: scipy.stats.binomtest, by way of the single table."""
    tables = [(6, 16), (16, 6), (0, 0), (5, 0), (300, 250)]
    many = exact_pvalues(*zip(*tables, strict=True))
    assert many == pytest.approx([exact_pvalue(*table, "greater") for table in tables])


def test_quasi_mcnemar_of_flips_that_are_not_overdispersed():
    """The asymptotic McNemar test of [[59, 6], [16, 80]]: tests of contingencytables."""
    plain = Overdispersion(1.0, math.inf)
    assert quasi_pvalue(6, 16, plain) == pytest.approx(0.033006, abs=5e-7)
    # A variance four times as large is a quarter of the chi-square.
    wide = quasi_pvalue(6, 16, Overdispersion(4.0, math.inf))
    assert wide == pytest.approx(stats.chi2.sf(100 / 22 / 4, 1))


def test_many_tango_intervals_are_those_of_one():
    tables = [(6, 16, 161), (1, 7, 21), (0, 1, 44), (0, 0, 5), (5, 0, 5), (0, 5, 5)]
    low, high = tango_intervals(*map(list, zip(*tables, strict=True)))
    for table, ends in zip(tables, zip(low, high, strict=True), strict=True):
        assert ends == pytest.approx(tango_interval(*table), abs=1e-8)


def test_changes_apart_is_a_z_test_of_one_broken_and_one_fixed_example_more():
    """Reference: scipy's t test of the changes +1, 0 and -1, which divides by n - 1."""

    def examples(broken, fixed, n):
        return np.repeat([1.0, -1.0, 0.0], [broken + 1, fixed + 1, n - broken - fixed])

    one, other = (30, 10, 400), (12, 15, 400)
    t = stats.ttest_ind(examples(*one), examples(*other)).statistic
    z = t * math.sqrt(402 / 401)
    assert changes_apart_pvalue(one, other) == pytest.approx(2 * stats.norm.sf(abs(z)))
    assert changes_apart_pvalue((3, 3, 10), (0, 0, 0)) == 1.0
    with pytest.raises(ValueError, match="counts"):
        changes_apart_pvalue((6, 6, 10), (0, 0, 10))


def test_welch():
    """Reference: scipy.stats.ttest_ind(equal_var=False)."""
    random = np.random.default_rng(1)
    new, old = random.exponential(1.0, 40), random.exponential(1.5, 90)
    theirs = stats.ttest_ind(new, old, equal_var=False)
    ours = unpaired_mean_difference(new, old)
    assert (ours.statistic, ours.pvalue) == pytest.approx((theirs.statistic, theirs.pvalue))
    interval = theirs.confidence_interval(0.95)
    assert ours.interval == pytest.approx((interval.low, interval.high))


def test_groups_are_clusters():
    """Reference: statsmodels OLS on a constant with cluster-robust variance."""
    random = np.random.default_rng(2)
    groups = np.repeat(np.arange(30), random.integers(1, 12, 30))
    old = random.exponential(size=len(groups))
    new = old + random.normal(0.1, 0.5, 30)[groups] + random.normal(size=len(groups))
    theirs = OLS(new - old, np.ones(len(groups))).fit(
        cov_type="cluster", cov_kwds={"groups": groups}, use_t=True
    )
    ours = paired_mean_difference(new, old, groups=groups, resample=False)
    assert ours.effect == pytest.approx(theirs.params[0])
    assert ours.statistic == pytest.approx(theirs.tvalues[0])
    assert ours.pvalue == pytest.approx(theirs.pvalues[0])
    assert ours.interval == pytest.approx(tuple(theirs.conf_int()[0]))


def test_the_detectable_difference_of_means_and_rates():
    """Reference: statsmodels NormalIndPower; with ratio 0 it is of one sample."""
    z = stats.norm.ppf(0.975)
    interval = (-z * 0.02, z * 0.02)
    assert standard_error(interval) == pytest.approx(0.02)
    one = NormalIndPower().solve_power(nobs1=100, alpha=0.05, power=0.8, ratio=0)
    assert mde_mean(interval) == pytest.approx(one * 0.2, rel=1e-4)
    two = NormalIndPower().solve_power(nobs1=5_000, alpha=0.05, power=0.8, ratio=0.5)
    spread = math.sqrt(0.1 * 0.9)
    assert mde_unpaired(5_000, 2_500, 0.1) == pytest.approx(two * spread, rel=1e-4)


def test_equivalence_is_two_one_sided_tests():
    """Reference: statsmodels ttost_paired at 5 %, just inside its margin and just outside."""
    random = np.random.default_rng(3)
    new, old = random.normal(size=(2, 200))
    interval = paired_mean_difference(
        new, old, level=equivalence_level(0.05), resample=False
    ).interval
    edge = max(map(abs, interval))
    for margin in (1.001 * edge, 0.999 * edge):
        shown = ttost_paired(new, old, -margin, margin)[0] < 0.05
        assert inside(interval, margin) == shown == (margin > edge)


def test_an_interval_for_the_next_of_a_row():
    """Reference: statsmodels OLS on a constant; the prior counts for next to nothing here."""
    row = [3.50, 3.45, 3.62, 3.38, 3.55]
    theirs = OLS(row, np.ones(5)).fit().get_prediction([1.0]).conf_int(obs=True)[0]
    half = pooled_spread([row], 0.1, prior_weight=1e-9).half_width(1 + 1 / 5)
    assert np.mean(row) + np.array([-half, half]) == pytest.approx(theirs, rel=1e-6)


def test_the_nile_changed_in_1899():
    """Cobb 1978, Biometrika 65:243-251: the flow fell after 1898."""
    flow = nile.load_pandas().data
    assert flow["year"].iloc[date_change(flow["volume"])] == 1899


def test_mix_and_rate_are_the_two_parts_of_oaxaca_and_blinder():
    """Reference: statsmodels' two-fold split with equal weights, on dummies of the groups."""
    counts = {"new": ([40, 25, 35], [8, 10, 7]), "old": ([60, 30, 10], [6, 15, 1])}
    rows = [
        {"which": side == "new", "wrong": float(i < wrong), "b": group == 1, "c": group == 2}
        for side, (sizes, wrongs) in counts.items()
        for group, (size, wrong) in enumerate(zip(sizes, wrongs, strict=True))
        for i in range(size)
    ]
    table = pd.DataFrame(rows).astype(float)
    model = OaxacaBlinder(table["wrong"], table[["which", "b", "c"]], "which", hasconst=False)
    parts = model.two_fold(two_fold_type="self_submitted", submitted_weight=0.5).params
    ours = kitagawa_split(*counts["new"], *counts["old"])
    assert (ours.rate, ours.mix, ours.total) == pytest.approx(parts)


def test_label_shift_is_pearsons_chi_square():
    """Reference: scipy.stats.chi2_contingency without Yates's correction."""
    theirs = stats.chi2_contingency([[50, 30, 20], [80, 90, 30]], correction=False)
    ours = label_shift({"a": 50, "b": 30, "c": 20}, {"a": 80, "b": 90, "c": 30})
    assert (ours.statistic, ours.pvalue) == pytest.approx((theirs.statistic, theirs.pvalue))


def test_metrics_are_those_of_scikit_learn():
    """References: f1_score(average="macro"), r2_score, root_mean_squared_error."""
    random = np.random.default_rng(4)
    truth = random.integers(0, 4, 300)
    said = np.where(random.random(300) < 0.7, truth, random.integers(0, 4, 300))
    assert macro_f1_terms(truth, said).mean() == pytest.approx(
        f1_score(truth, said, average="macro")
    )
    values, errors = random.normal(size=(2, 300))
    guess = values + 0.5 * errors
    assert rmse_terms(guess - values).mean() == pytest.approx(
        root_mean_squared_error(values, guess)
    )
    assert r2_terms(values, guess - values).mean() == pytest.approx(r2_score(values, guess))


def test_the_calibration_error_is_that_of_the_calibration_curve():
    """Reference: sklearn's calibration_curve with 15 bins, weighted by their sizes."""
    random = np.random.default_rng(5)
    stated = random.uniform(0, 1, 2_000)
    right = random.random(2_000) < stated**2
    share, mean = calibration_curve(right, stated, n_bins=15)
    sizes = np.histogram(stated, np.linspace(0, 1, 16))[0]
    expected = sizes @ np.abs(share - mean) / 2_000
    assert expected_calibration_error(stated, right) == pytest.approx(expected)
    assert calibration_terms(stated, right).mean() == pytest.approx(expected)


@pytest.mark.parametrize("metric", ["f1", "r2", "rmse"])
def test_the_spread_of_terms_is_the_jackknife_of_the_metric(metric):
    """Reference: leaving out one example at a time, with scikit-learn's metrics."""
    random = np.random.default_rng(6)
    n = 120
    truth = random.integers(0, 3, n)
    said = np.where(random.random(n) < 0.8, truth, random.integers(0, 3, n))
    values, errors = random.normal(size=(2, n))
    terms, of = {
        "f1": (
            macro_f1_terms(truth, said),
            lambda rows: f1_score(truth[rows], said[rows], average="macro"),
        ),
        "r2": (
            r2_terms(values, errors),
            lambda rows: r2_score(values[rows], (values + errors)[rows]),
        ),
        "rmse": (
            rmse_terms(errors),
            lambda rows: root_mean_squared_error(np.zeros(n)[rows], errors[rows]),
        ),
    }[metric]
    without = np.array([of(np.delete(np.arange(n), i)) for i in range(n)])
    jackknife = math.sqrt((n - 1) / n * np.sum((without - without.mean()) ** 2))
    assert terms.std(ddof=1) / math.sqrt(n) == pytest.approx(jackknife, rel=0.05)


def test_shapley_weights_are_averages_over_all_orders():
    factors = ("a", "b", "c", "d")
    expected = dict.fromkeys(shapley_weights(factors, "b"), 0.0)
    for order in permutations(factors):
        before = frozenset(order[: order.index("b")])
        expected[before | {"b"}] += 1 / 24
        expected[before] -= 1 / 24
    assert shapley_weights(factors, "b") == pytest.approx(expected)


@pytest.mark.parametrize("scale", [1e-200, 1e200])
def test_means_of_any_size_are_compared(scale):
    """The same numbers in another unit: squares of these are 0 or infinite."""
    random = np.random.default_rng(7)
    new, old = random.exponential(1.0, 50), random.exponential(1.2, 50)
    for compare in (paired_mean_difference, unpaired_mean_difference):
        plain, scaled = compare(new, old), compare(scale * new, scale * old)
        assert scaled.pvalue == pytest.approx(plain.pvalue)
        assert scaled.interval == pytest.approx([scale * end for end in plain.interval])
