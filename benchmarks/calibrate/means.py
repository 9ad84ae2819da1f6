"""Coverage of the intervals of means and of metrics that are none, and levels of what else."""

from itertools import product

import numpy as np
from benchmarks.calibrate.levels import ERRORS, SIZES
from benchmarks.calibrate.rates import rate
from scipy import stats

from backslide_detector.stats.label_shift import label_shift
from backslide_detector.stats.linearised import (
    calibration_terms,
    macro_f1_terms,
    r2_terms,
    rmse_terms,
)
from backslide_detector.stats.mcnemar import mcnemar
from backslide_detector.stats.paired_means import paired_mean_difference
from backslide_detector.stats.power import mde_mean, mde_paired, mde_unpaired
from backslide_detector.stats.unpaired import fisher_midp_pvalue
from backslide_detector.stats.unpaired_means import unpaired_mean_difference

TIMES = 400
WELCH = 4_000


def heavy(random, n):
    """Log-normal, as cross-entropies come: most near 0, few very large."""
    return random.lognormal(0, 2, n)


def spoilt(random, n):
    """One example in a thousand costs ten more, all others a little less."""
    old = random.exponential(1, n)
    return old + np.where(random.random(n) < 0.001, 10.0, 0.0) - 0.01, old


LOSSES = {
    # Names, and the losses of both models, whose means are equal.
    "exponential": lambda random, n: (random.exponential(1, n), random.exponential(1, n)),
    "log-normal, sigma 2": lambda random, n: (heavy(random, n), heavy(random, n)),
    "new one log-normal, sigma 1": lambda random, n: (
        random.lognormal(0, 1, n), np.full(n, np.exp(0.5))),
    "new one log-normal, sigma 2": lambda random, n: (
        heavy(random, n), np.full(n, np.exp(2.0))),
    "one in 1,000 spoilt by the new": spoilt,
}  # fmt: skip
EASY = ("exponential", "log-normal, sigma 2")


def paired():
    """BCa up to 2,000 examples, Student beyond; heavy tails on both sides, and on one alone."""
    name = "Mean loss of two models on common examples"
    random = np.random.default_rng(108)
    for (case, losses), n in product(LOSSES.items(), SIZES):
        results = [paired_mean_difference(*losses(random, n)) for _ in range(TIMES)]
        hits = sum(result.interval[0] <= 0 <= result.interval[1] for result in results)
        what = f"coverage, {results[0].method.split(',')[0]}"
        goal = 0.95 if case in EASY else None
        yield rate(name, f"n {n:,}, {case}", what, hits, TIMES, at_least=goal)
        false = sum(result.pvalue < 0.05 for result in results)
        goal = 0.05 if case in EASY else None
        yield rate(name, f"n {n:,}, {case}", "level, paired t test", false, TIMES, at_most=goal)
    for units, size in ((50, 10), (1_000, 10)):
        hits = 0
        for _ in range(TIMES):
            groups = np.repeat(np.arange(units), random.integers(1, 2 * size, units))
            shift = random.normal(0, 0.5, units)[groups]
            old = random.exponential(1, len(groups))
            new = random.exponential(1, len(groups)) + shift
            low, high = paired_mean_difference(new, old, groups=groups).interval
            hits += low <= 0 <= high
        yield rate(name, f"{units:,} groups of 1 to {2 * size - 1}",
                   "coverage, BCa bootstrap interval", hits, TIMES, at_least=0.95)  # fmt: skip


def unpaired():
    """Welch's interval on different examples, one test set three times the other."""
    name = "Mean loss of two models on different examples"
    random = np.random.default_rng(109)
    for case, n in product(EASY, SIZES):
        hits = false = 0
        for _ in range(WELCH):
            found = unpaired_mean_difference(
                LOSSES[case](random, n)[0], LOSSES[case](random, 3 * n)[1]
            )
            hits += found.interval[0] <= 0 <= found.interval[1]
            false += found.pvalue < 0.05
        where = f"n {n:,} and {3 * n:,}, {case}"
        goals = {"at_least": 0.95}, {"at_most": 0.05}
        if case != "exponential":
            goals = {}, {}  # unequal numbers of heavy tails: known to fail when they are few
        yield rate(name, where, "coverage, Welch", hits, WELCH, **goals[0])
        yield rate(name, where, "level, Welch", false, WELCH, **goals[1])


def linearised():
    """Macro F1, calibration error, RMSE and R2, whose true difference is none."""
    name = "Metrics that are no means, linearised, on common examples"
    random = np.random.default_rng(110)
    for n, error in product(SIZES, ERRORS):
        hits = dict.fromkeys(("macro F1", "calibration error"), 0)
        for _ in range(TIMES // 2):
            truth = random.choice(5, n, p=[0.4, 0.3, 0.15, 0.1, 0.05])
            f1, ece = [], []
            for _ in range(2):
                said, stated, right = _answers(random, truth, error)
                f1.append(macro_f1_terms(truth, said))
                ece.append(calibration_terms(stated, right))
            for metric, terms in (("macro F1", f1), ("calibration error", ece)):
                hits[metric] += _covers(*terms)
        for metric, covered in hits.items():
            case = f"n {n:,}, error {100 * error:g} %"
            yield rate(name, case, f"coverage, {metric}", covered, TIMES // 2, at_least=0.95)
    for n in SIZES:
        hits = dict.fromkeys(("RMSE", "R2"), 0)
        for _ in range(TIMES // 2):
            truth = random.normal(size=n)
            errors = [random.laplace(size=n) for _ in range(2)]
            hits["RMSE"] += _covers(*map(rmse_terms, errors))
            hits["R2"] += _covers(*(r2_terms(truth, wrong) for wrong in errors))
        for metric, covered in hits.items():
            case = f"n {n:,}, Laplace errors"
            yield rate(name, case, f"coverage, {metric}", covered, TIMES // 2, at_least=0.95)


def _answers(random, truth, error):
    """Answers of one model, the confidences it states, and whether it is right.

    It states 4 points more than it should.
    """
    sure = 1 - np.clip(random.exponential(error, len(truth)), 0.0, 0.9)
    right = random.random(len(truth)) < sure - 0.04
    said = np.where(right, truth, (truth + random.integers(1, 5, len(truth))) % 5)
    return said, sure, right


def _covers(new, old):
    low, high = paired_mean_difference(new, old).interval
    return low <= 0 <= high


def labels():
    """Class counts of two data sets, drawn alike and with one class a tenth more common."""
    name = "Class shares of two data sets, ten classes, chi-square test"
    random = np.random.default_rng(111)
    rare = np.r_[0.005, np.full(9, 0.995 / 9)]
    for n, (case, shares) in product(SIZES, (("equal", np.full(10, 0.1)), ("one rare", rare))):
        hits = 0
        for _ in range(TIMES):
            counts = [
                dict(enumerate(map(int, random.multinomial(n, shares)))) for _ in range(2)
            ]
            hits += label_shift(*counts).pvalue < 0.05
        yield rate(name, f"n {n:,}, shares {case}", "level", hits, TIMES, at_most=0.05)


def detectable():
    """What a minimum detectable difference promises: found with 80 % power when it is there."""
    name = "Power at the minimum detectable difference, promised 80 %"
    random = np.random.default_rng(112)
    for n, error in product(SIZES, ERRORS):
        size = mde_paired(n, error)
        flipped = max(error, size)
        shares = [(flipped + size) / 2, (flipped - size) / 2]
        flips = random.multinomial(n, [*shares, 1 - sum(shares)], TIMES)
        hits = sum(mcnemar(int(b), int(c), n).pvalue < 0.05 for b, c, _ in flips)
        case = f"n {n:,}, {100 * error:g} % discordant"
        yield rate(name, case, "power, mid-p McNemar", hits, TIMES)
        size = mde_unpaired(n, n, error)
        wrong = (random.binomial(n, min(error + size / 2, 1), TIMES),
                 random.binomial(n, max(error - size / 2, 0), TIMES))  # fmt: skip
        hits = sum(fisher_midp_pvalue(int(a), n, int(b), n) < 0.05
                   for a, b in zip(*wrong, strict=True))  # fmt: skip
        yield rate(
            name, f"n {n:,}, error {100 * error:g} %", "power, mid-p Fisher", hits, TIMES
        )
    for n in SIZES:
        half = stats.t.ppf(0.975, n - 1) * np.sqrt(2 / n)
        size = mde_mean((-half, half))
        hits = 0
        for _ in range(TIMES):
            new, old = random.exponential(1, n), random.exponential(1, n)
            hits += paired_mean_difference(new + size, old, resample=False).pvalue < 0.05
        yield rate(name, f"n {n:,}, exponential losses", "power, paired t test", hits, TIMES)
