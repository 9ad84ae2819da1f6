"""Paired and unpaired comparisons against published figures.

Sources named beside the numbers: "contingencytables" is the test suite of that Python package
(tables of Fagerland, Lydersen and Laake, Statistical Analysis of Contingency Tables, 2017);
"ratesci" is the test suite of that R package.
"""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar as statsmodels_mcnemar

from backslide_detector.stats.equivalence import equivalence_level, inside
from backslide_detector.stats.mcnemar import exact_pvalue, mcnemar, midp_pvalue
from backslide_detector.stats.newcombe_paired import newcombe_paired_interval
from backslide_detector.stats.power import mcnemar_power, mde_paired, mde_unpaired
from backslide_detector.stats.predictive import pooled_spread, predictive_interval
from backslide_detector.stats.tango import _score, tango_interval
from backslide_detector.stats.unpaired import (
    boschloo_pvalue,
    fisher_midp_pvalue,
    newcombe_interval,
    unpaired_difference,
)

tables = st.tuples(st.integers(0, 400), st.integers(0, 400), st.integers(0, 5_000)).filter(sum)


def test_mcnemar_on_the_airway_hyper_responsiveness_table():
    # [[59, 6], [16, 80]], contingencytables.
    assert exact_pvalue(6, 16) == pytest.approx(0.052479, abs=5e-7)
    assert midp_pvalue(6, 16) == pytest.approx(0.034690, abs=5e-7)
    assert tango_interval(6, 16, 161) == pytest.approx((-0.12402, -0.005433), abs=5e-6)
    assert newcombe_paired_interval(59, 6, 16, 80) == pytest.approx(
        (-0.11862, -0.004625), abs=5e-6
    )


def test_mcnemar_on_a_small_table():
    # [[1, 1], [7, 12]]: Bentur et al. 2009, in Fagerland et al. 2013; interval: ratesci.
    assert exact_pvalue(1, 7) == pytest.approx(0.0703125)
    assert midp_pvalue(1, 7) == pytest.approx(0.0390625)
    assert tango_interval(1, 7, 21) == pytest.approx((-0.51723, -0.02600), abs=5e-6)


@pytest.mark.parametrize(
    ("broken", "fixed", "n", "level", "expected"),
    [
        (0, 1, 44, 0.90, (-0.095662, 0.036517)),  # ratesci
        (9, 3, 32, 0.95, (-0.027090, 0.38970)),  # ratesci
        (40, 20, 160, 0.95, (0.030865, 0.21806)),  # example of PropCIs::scoreci.mp
    ],
)
def test_tango_interval(broken, fixed, n, level, expected):
    assert tango_interval(broken, fixed, n, level=level) == pytest.approx(expected, abs=6e-6)


@given(tables)
def test_exact_mcnemar_agrees_with_statsmodels(table):
    broken, fixed, _ = table
    theirs = statsmodels_mcnemar([[0, broken], [fixed, 0]], exact=True).pvalue
    assert exact_pvalue(broken, fixed) == pytest.approx(min(theirs, 1.0), rel=1e-9)


@given(tables)
def test_swapping_the_models_flips_the_sign(table):
    broken, fixed, rest = table
    n = sum(table)
    ours, swapped = mcnemar(broken, fixed, n), mcnemar(fixed, broken, n)
    assert ours.effect == -swapped.effect
    assert ours.pvalue == pytest.approx(swapped.pvalue)
    assert ours.interval == pytest.approx(
        (-swapped.interval[1], -swapped.interval[0]), abs=1e-9
    )
    assert ours.interval[0] <= ours.effect <= ours.interval[1]
    a, b = newcombe_paired_interval(rest // 2, broken, fixed, rest - rest // 2)
    assert -1 <= a <= ours.effect <= b <= 1


@given(tables)
def test_the_midp_lies_between_zero_and_the_exact_pvalue(table):
    broken, fixed, _ = table
    assert 0 <= midp_pvalue(broken, fixed) <= exact_pvalue(broken, fixed)


def test_midp_pvalues_of_many_tables_at_once():
    broken, fixed = np.array([6, 0, 1]), np.array([16, 0, 7])
    assert midp_pvalue(broken, fixed) == pytest.approx([0.034690, 1.0, 0.0390625], abs=5e-7)


def test_the_tango_interval_holds_exactly_what_the_score_test_does_not_reject():
    # At the ends of the interval the score statistic equals the normal quantile.
    low, high = tango_interval(125, 175, 10_000)
    z = stats.norm.ppf(0.975)
    assert _score(125, 175, 10_000, low) == pytest.approx(z, abs=1e-6)
    assert _score(125, 175, 10_000, high) == pytest.approx(-z, abs=1e-6)


def test_unpaired_intervals_and_tests():
    # 5/56 against 0/29: ratesci.
    assert newcombe_interval(5, 56, 0, 29) == pytest.approx((-0.038137, 0.19256), abs=6e-6)
    # [[74, 31], [43, 32]]: example of scipy.stats.boschloo_exact (job satisfaction, 0.0355...).
    assert boschloo_pvalue(74, 117, 31, 63) == pytest.approx(0.071128, abs=5e-6)


def test_the_interval_stays_away_from_the_faulty_score_method():
    # Independent constrained-likelihood root-finding gives (.0528, .3382) for 56/70 v 48/80,
    # statsmodels 0.15.0 method="score" gives (.0526, .3440).
    low, high = newcombe_interval(56, 70, 48, 80)
    assert (low, high) == pytest.approx((0.0528, 0.3382), abs=0.006)
    assert high < 0.3400


@given(
    st.integers(0, 300), st.integers(300, 2_000), st.integers(0, 300), st.integers(300, 2_000)
)
def test_fisher_midp_lies_below_fisher_exact(wrong_new, n_new, wrong_old, n_old):
    midp = fisher_midp_pvalue(wrong_new, n_new, wrong_old, n_old)
    table = [[wrong_new, wrong_old], [n_new - wrong_new, n_old - wrong_old]]
    one_sided = min(
        stats.fisher_exact(table, alternative=side).pvalue for side in ("less", "greater")
    )
    assert 0 <= midp <= min(2 * one_sided, 1) + 1e-9


def test_the_article_example_unpaired():
    # 3.0 % instead of 3.5 % of 10,000: Newcombe interval of the reference computation.
    result = unpaired_difference(300, 10_000, 350, 10_000)
    assert result.interval == pytest.approx((-0.00993, -0.00008), abs=5e-6)
    assert result.pvalue == pytest.approx(0.047, abs=0.001)
    assert result.n == 10_000


def test_detectable_differences():
    # Normal-approximation figures, one-sided 5 %, power 80 %, 3 % discordant or 3.25 % wrong.
    sizes = (1_000, 10_000, 50_000, 100_000)
    paired = [100 * mde_paired(n, 0.03, sides=1) for n in sizes]
    unpaired = [100 * mde_unpaired(n, n, 0.0325, sides=1) for n in sizes]
    assert paired == pytest.approx([1.362, 0.431, 0.193, 0.136], abs=5e-4)
    assert unpaired == pytest.approx([1.972, 0.624, 0.279, 0.197], abs=5e-4)


def test_a_detectable_difference_is_detected_with_the_stated_power():
    n, discordant = 10_000, 0.03
    size = mde_paired(n, discordant, alpha=0.05, power=0.8, sides=1)
    assert mcnemar_power(n, discordant, size, alpha=0.05) == pytest.approx(0.8, abs=0.02)


def test_exact_power():
    # Computed by summing the exact test over all tables; cross-checked by simulation below.
    power = mcnemar_power(10_000, 0.03, 0.005, alpha=0.05)
    assert power == pytest.approx(0.883702, abs=2e-6)
    random = np.random.default_rng(1)
    flips = random.multinomial(10_000, [0.0175, 0.0125, 0.97], size=4_000)
    rejected = [exact_pvalue(int(b), int(c), "greater") <= 0.05 for b, c, _ in flips]
    assert np.mean(rejected) == pytest.approx(power, abs=4 * np.sqrt(0.88 * 0.12 / 4_000))


def test_without_flips_the_detectable_difference_is_not_zero():
    assert mde_paired(1_000, 0.0) == pytest.approx(7.849 / 1_000, rel=1e-3)


def test_equivalence_by_inclusion():
    assert equivalence_level(0.05) == pytest.approx(0.90)
    assert inside((-0.004, 0.004), 0.005)
    assert not inside((-0.004, 0.006), 0.005)
    assert not inside((-0.005, 0.004), 0.005)


def test_smallest_provable_margin():
    # n = 10,000, 3 % discordant: (z.05 + z.10) sqrt(disc / n) = 0.507 points at 80 % power.
    z = stats.norm.isf(0.05) + stats.norm.isf(0.10)
    margin = z * np.sqrt(0.03 / 10_000)
    assert margin == pytest.approx(0.00507, abs=5e-6)
    random = np.random.default_rng(2)
    flips = random.multinomial(10_000, [0.015, 0.015, 0.97], size=600)
    shown = [
        inside(tango_interval(int(b), int(c), 10_000, level=0.9), margin) for b, c, _ in flips
    ]
    assert np.mean(shown) == pytest.approx(0.8, abs=4 * np.sqrt(0.16 / 600))


def test_predictive_interval_of_a_short_history():
    # Error rates in points; t with 4 + 4 degrees of freedom, by hand.
    interval = predictive_interval([3.50, 3.45, 3.62, 3.38, 3.55], 0.12)
    assert interval == pytest.approx((3.230, 3.770), abs=5e-4)


def test_one_earlier_value_leaves_the_prior():
    low, high = predictive_interval([3.5], 0.12)
    assert (high - low) / 2 == pytest.approx(stats.t.ppf(0.975, 4) * 0.12 * np.sqrt(2))


def test_repeats_are_pooled_within_their_groups():
    spread = pooled_spread([[1.0, 3.0], [10.0, 12.0], [5.0]], prior_sd=0.0)
    assert spread.df == 6
    assert spread.sd == pytest.approx(np.sqrt(4 / 6))
