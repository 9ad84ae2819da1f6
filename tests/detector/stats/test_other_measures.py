"""Over-dispersion, continuous losses, mixes, multiplicity, attribution, calibration, labels."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from sklearn.linear_model import Ridge
from sklearn.metrics import roc_auc_score
from statsmodels.stats.multitest import multipletests

from backslide_detector.stats.calibration_error import expected_calibration_error
from backslide_detector.stats.domain_classifier import domain_classifier
from backslide_detector.stats.kitagawa import kitagawa_split
from backslide_detector.stats.label_shift import label_shift
from backslide_detector.stats.mcnemar import mcnemar
from backslide_detector.stats.multiplicity import benjamini_hochberg, holm
from backslide_detector.stats.paired_means import MANY_UNITS, paired_mean_difference
from backslide_detector.stats.quasi_mcnemar import (
    Overdispersion,
    overdispersion,
    quasi_mcnemar,
)
from backslide_detector.stats.shapley import attribute, cells


def test_without_overdispersion_quasi_mcnemar_is_mcnemar():
    plain = mcnemar(175, 125, 10_000)
    quasi = quasi_mcnemar(175, 125, 10_000, Overdispersion(1.0, math.inf))
    assert quasi.interval == pytest.approx(plain.interval)
    assert quasi.pvalue == pytest.approx(2 * stats.norm.sf(50 / math.sqrt(300)))


def test_overdispersion_widens_and_the_prior_holds_alone():
    prior = overdispersion([])
    assert (prior.phi, prior.df) == (1.5, 2.0)
    assert overdispersion([0.1] * 50).phi == 1.0
    assert overdispersion([2.0, -2.0, 2.0]).phi == pytest.approx((2 * 1.5 + 12) / 5)
    wide = quasi_mcnemar(175, 125, 10_000, prior)
    plain = mcnemar(175, 125, 10_000)
    assert wide.interval[0] < plain.interval[0] < plain.interval[1] < wide.interval[1]
    assert wide.pvalue > plain.pvalue


def test_quasi_mcnemar_keeps_its_level_when_phi_was_measured():
    random = np.random.default_rng(6)
    phi, rejected = 2.0, []
    for _ in range(1_500):
        scores = random.normal(0, math.sqrt(phi), 20)
        z = random.normal(0, math.sqrt(phi))
        fixed = round(150 - z * math.sqrt(300) / 2)
        rejected.append(
            quasi_mcnemar(300 - fixed, fixed, 10_000, overdispersion(scores)).pvalue
        )
    level = np.mean(np.array(rejected) < 0.05)
    assert level < 0.05 + 4 * math.sqrt(0.05 * 0.95 / 1_500)


@pytest.mark.parametrize("flips", [(0, 0), (10**6, 0), (0, 5)])
def test_quasi_mcnemar_survives(flips):
    result = quasi_mcnemar(*flips, 10**6, overdispersion([]))
    assert -1 <= result.interval[0] <= result.effect <= result.interval[1] <= 1


def test_paired_mean_agrees_with_scipy():
    random = np.random.default_rng(7)
    old = random.exponential(1.0, 300)
    new = old + random.normal(0.05, 0.5, 300)
    ours = paired_mean_difference(new, old)
    theirs = stats.ttest_rel(new, old)
    assert ours.statistic == pytest.approx(theirs.statistic)
    assert ours.pvalue == pytest.approx(theirs.pvalue)
    bca = stats.bootstrap((new - old,), np.mean, n_resamples=9_999, rng=1).confidence_interval
    assert ours.interval == pytest.approx((bca.low, bca.high), abs=0.006)


def test_groups_are_resampled_as_wholes():
    random = np.random.default_rng(8)
    groups = np.repeat(np.arange(40), 25)
    shift = np.repeat(random.normal(0, 0.5, 40), 25)
    old = random.normal(0, 1, 1_000)
    new = old + shift + random.normal(0, 0.1, 1_000)
    alone = paired_mean_difference(new, old)
    grouped = paired_mean_difference(new, old, groups=groups)
    assert grouped.effect == pytest.approx(alone.effect)
    widths = [high - low for low, high in (alone.interval, grouped.interval)]
    assert 3.5 < widths[1] / widths[0] < 6.5  # sqrt(25) with equal groups


def test_many_examples_are_summed_up_in_blocks():
    random = np.random.default_rng(9)
    difference = random.exponential(1.0, 25 * MANY_UNITS) - 1
    result = paired_mean_difference(difference, np.zeros_like(difference))
    half = 1.96 * difference.std() / math.sqrt(len(difference))
    assert result.interval[1] - result.interval[0] == pytest.approx(2 * half, rel=0.1)


def test_constant_differences_and_bad_input():
    same = paired_mean_difference([1.0, 2.0], [1.0, 2.0])
    assert (same.effect, same.pvalue, same.interval) == (0.0, 1.0, (0.0, 0.0))
    shifted = paired_mean_difference([1.5, 2.5, 3.5], [1.0, 2.0, 3.0])
    assert (shifted.pvalue, shifted.interval) == (0.0, (0.5, 0.5))
    for new, old in (
        ([1.0], [1.0]),
        ([], []),
        ([1.0, math.nan], [1.0, 2.0]),
        ([1.0], [1.0, 2.0]),
    ):
        with pytest.raises(ValueError, match=r"."):
            paired_mean_difference(new, old)
    with pytest.raises(ValueError, match="groups"):
        paired_mean_difference([1.0, 2.0], [1.0, 3.0], groups=["a"])


counts = st.lists(
    st.tuples(st.integers(0, 50), st.integers(0, 50)).map(lambda p: (max(p), min(p))),
    min_size=3, max_size=3,
).filter(lambda rows: sum(n for n, _ in rows) > 0)  # fmt: skip


@given(counts, counts)
def test_mix_and_rate_add_up(new, old):
    (n_new, wrong_new), (n_old, wrong_old) = zip(*new, strict=True), zip(*old, strict=True)
    split = kitagawa_split(n_new, wrong_new, n_old, wrong_old)
    total = sum(wrong_new) / sum(n_new) - sum(wrong_old) / sum(n_old)
    assert split.total == pytest.approx(total, abs=1e-12)


def test_a_changed_mix_is_no_change_of_rates():
    # 10 % wrong among the easy, 50 % among the hard, in both; more hard ones now.
    split = kitagawa_split([50, 50], [5, 25], [90, 10], [9, 5])
    assert split.rate == pytest.approx(0.0)
    assert split.mix == pytest.approx(0.16)
    with pytest.raises(ValueError, match="wrong"):
        kitagawa_split([1], [2], [1], [1])
    with pytest.raises(ValueError, match="group"):
        kitagawa_split([1, 2], [1], [1], [1])


def test_multiplicity_on_the_example_of_benjamini_and_hochberg():
    # The 15 p-values of Benjamini and Hochberg 1995, section 4.
    pvalues = [0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344, 0.0459, 0.3240,
               0.4262, 0.5719, 0.6528, 0.7590, 1.0]  # fmt: skip
    bh = benjamini_hochberg(pvalues)
    assert bh[:4] == pytest.approx([0.0015, 0.0030, 0.0095, 0.035625])
    assert np.sum(bh <= 0.05) == 4
    assert np.sum(holm(pvalues) <= 0.05) == 3
    assert len(holm([])) == len(benjamini_hochberg([])) == 0
    for adjust in (holm, benjamini_hochberg):
        with pytest.raises(ValueError, match="p-values"):
            adjust([0.5, math.nan])


@pytest.mark.parametrize("seed", range(3))
def test_holm_agrees_with_statsmodels(seed):
    pvalues = np.random.default_rng(seed).random(30) ** 4
    assert holm(pvalues) == pytest.approx(multipletests(pvalues, method="holm")[1])


def cell(*names):
    return frozenset(names)


FACTORIAL = {
    cell(): 3.50, cell("data"): 3.85, cell("config"): 3.55, cell("code"): 3.40,
    cell("data", "config"): 4.10, cell("data", "code"): 3.70, cell("config", "code"): 3.45,
    cell("data", "config", "code"): 4.00,
}  # fmt: skip


def test_shapley_values():
    # By hand, averaging the six orders of the factors.
    effects = {c.factors: c.effect for c in attribute(FACTORIAL)}
    assert effects["data",] == pytest.approx(0.441667, abs=5e-7)
    assert effects["config",] == pytest.approx(0.166667, abs=5e-7)
    assert effects["code",] == pytest.approx(-0.108333, abs=5e-7)
    assert sum(e for names, e in effects.items() if len(names) == 1) == pytest.approx(0.50)


def test_a_pure_interaction_is_named_as_one():
    errors = {cell(): 3.0, cell("a"): 3.0, cell("b"): 3.0, cell("a", "b"): 3.5}
    effects = {c.factors: c.effect for c in attribute(errors)}
    assert effects == {("a",): 0.25, ("b",): 0.25, ("a", "b"): 0.5}


def test_the_interval_of_a_contribution_covers_it():
    random = np.random.default_rng(10)
    covered, sd = [], 0.122
    for _ in range(800):
        noisy = {c: e + random.normal(0, sd) for c, e in FACTORIAL.items()}
        data = next(c for c in attribute(noisy, seed_sd=sd) if c.factors == ("data",))
        covered.append(data.interval[0] <= 0.441667 <= data.interval[1])
    assert np.mean(covered) == pytest.approx(0.95, abs=4 * math.sqrt(0.05 * 0.95 / 800))


def test_shared_examples_cancel_in_a_contribution():
    random = np.random.default_rng(11)
    base = random.random(2_000) < 0.2
    wrong = {c: base.copy() for c in cells(("code", "data"))}
    for c, outcomes in wrong.items():
        if "data" in c:
            outcomes[:100] = True
    errors = {c: float(w.mean()) for c, w in wrong.items()}
    data = attribute(errors, wrong=wrong)[0]
    assert data.factors == ("data",)
    assert data.interval[0] > 0
    code = next(c for c in attribute(errors, wrong=wrong) if c.factors == ("code",))
    assert (code.effect, code.interval, code.pvalue) == (0.0, (0.0, 0.0), 1.0)


def test_an_incomplete_factorial_is_refused():
    for errors in {}, {cell(): 1.0}, {cell(): 1.0, cell("a", "b"): 2.0}:
        with pytest.raises(ValueError, match="factorial"):
            attribute(errors)
    with pytest.raises(ValueError, match="finite"):
        attribute({cell(): 1.0, cell("a"): math.nan})


def test_calibration_error():
    assert expected_calibration_error([0.8] * 10, [True] * 8 + [False] * 2) < 1e-12
    assert expected_calibration_error([1.0, 1.0], [False, False]) == 1.0
    random = np.random.default_rng(12)
    stated = random.uniform(0.5, 1.0, 50_000)
    honest = random.random(50_000) < stated
    assert expected_calibration_error(stated, honest) < 0.01
    boastful = random.random(50_000) < stated - 0.1
    assert expected_calibration_error(stated, boastful) == pytest.approx(0.1, abs=0.01)
    for confidence, correct in ([], []), ([1.5], [True]), ([0.5], [True, False]):
        with pytest.raises(ValueError, match="onfidence"):
            expected_calibration_error(confidence, correct)


def test_label_shift():
    # Pearson's chi-square of [[60, 40], [40, 60]] is 8 by hand.
    shift = label_shift({"a": 60, "b": 40}, {"a": 40, "b": 60})
    assert shift.statistic == pytest.approx(8.0)
    assert shift.pvalue == pytest.approx(stats.chi2.sf(8.0, 1))
    assert shift.distance == pytest.approx(0.2)
    assert label_shift({"a": 5}, {"a": 7}).pvalue == 1.0
    assert label_shift({"a": 5}, {"b": 7}).distance == 1.0
    for counts_new in {}, {"a": -1}, {"a": 0}:
        with pytest.raises(ValueError, match="class counts"):
            label_shift(counts_new, {"a": 1})


def test_the_domain_classifier_is_the_ridge_of_scikit_learn():
    """Reference: sklearn 1.9 Ridge, fold by fold, and roc_auc_score of what was held out."""
    random = np.random.default_rng(6)
    x = np.r_[random.normal(size=(60, 3)), random.normal(0.7, 1.4, size=(40, 3))]
    new = np.arange(100) >= 60
    fold = np.random.default_rng(0).permutation(100) % 5
    z = (x - x.mean(axis=0)) / x.std(axis=0)
    design = np.c_[z, z**2]
    above = pairs = 0.0
    for held in range(5):
        train, test = fold != held, fold == held
        # The intercept is left to the ranks: within a fold it moves all scores alike.
        inputs = design - design.mean(axis=0)
        wanted = 2.0 * new[train] - 1
        model = Ridge(alpha=6.0, fit_intercept=False).fit(inputs[train], wanted - wanted.mean())
        here = new[test].sum() * (~new[test]).sum()
        above += roc_auc_score(new[test], model.predict(inputs[test])) * here
        pairs += here
    found = domain_classifier(x, new, ~new, permutations=99)
    assert found.statistic == pytest.approx(above / pairs)
    assert found.pvalue == pytest.approx(0.01)
    assert found.n == 100


def test_shared_examples_count_on_both_sides():
    x = np.random.default_rng(7).normal(size=(200, 4))
    everywhere = np.ones(200, dtype=bool)
    same = domain_classifier(x, everywhere, everywhere, permutations=19)
    assert (same.statistic, same.pvalue) == (0.5, 1.0)
    moved = np.r_[x, x[:100] + 5]
    new, old = np.arange(300) >= 100, np.arange(300) < 200
    half = domain_classifier(moved, new, old, permutations=19)
    # Half of each set is shared: half of the pairs surely above, half by chance.
    assert half.statistic == pytest.approx(0.75, abs=0.03)
