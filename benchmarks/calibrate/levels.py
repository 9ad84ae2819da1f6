"""Levels of tests and coverage of intervals, over test-set sizes and error rates."""

from bisect import bisect_left
from functools import lru_cache
from itertools import product

import numpy as np
from benchmarks.calibrate.rates import known, rate
from scipy import stats

from backslide_detector.stats.equivalence import inside
from backslide_detector.stats.mcnemar import exact_pvalue, midp_pvalue
from backslide_detector.stats.newcombe_paired import newcombe_paired_interval
from backslide_detector.stats.predictive import predictive_interval
from backslide_detector.stats.quasi_mcnemar import overdispersion, quasi_pvalue
from backslide_detector.stats.tango import tango_interval, tango_intervals
from backslide_detector.stats.unpaired import unpaired_difference

SIZES = (100, 1_000, 10_000)
ERRORS = (0.01, 0.03, 0.20)
TABLES = 3_000
NEARLY = 0.945
"""Score intervals keep 95 % on the average over tables and swing around it with the counts."""
# Boschloo's test costs tens of milliseconds a table.
TABLES_BOSCHLOO = 300


def paired():
    """Both models wrong together on half of their errors; no difference, and one of a third."""
    name = "Paired, on common examples"
    random = np.random.default_rng(100)
    newcombe = lru_cache(None)(newcombe_paired_interval)
    for n, error, change in product(SIZES, ERRORS, (0.0, 1 / 3)):
        half = error / 2
        shares = [half, half * (1 + change), half * (1 - change)]
        delta = shares[1] - shares[2]
        both, broken, fixed, right = random.multinomial(n, [*shares, 1 - sum(shares)], TABLES).T
        counts = [tuple(map(int, row)) for row in zip(both, broken, fixed, right, strict=True)]
        case = f"n {n:,}, error {100 * error:g} %, true change {100 * delta:.2g} points"
        if not change:
            yield known(name, case, "level, mid-p McNemar", level(n, error, midp_pvalue),
                        at_most=0.051)  # fmt: skip
            yield known(name, case, "level, exact McNemar", level(n, error, exact_pvalue),
                        at_most=0.05)  # fmt: skip
        covered = coverage(n, shares[1], shares[2])
        yield known(name, case, "coverage, Tango, over all tables", covered,
                    at_least=NEARLY)  # fmt: skip
        intervals = [newcombe(*row) for row in counts]
        hits = sum(low <= delta <= high for low, high in intervals)
        yield rate(name, case, "coverage, Newcombe paired", hits, TABLES, at_least=0.95)


def least():
    """Where Tango's interval covers least, over shares of flips up to 60 %."""
    name = "Tango's 95 % interval where it covers least, over all tables"
    for n in (20, 50, 100, 200, 1_000):
        worst, case = 1.0, ""
        for discordant, part in product(np.linspace(0.01, 0.60, 60), (0.0, 0.2, 0.5)):
            shares = discordant / 2 * (1 + part), discordant / 2 * (1 - part)
            covered = coverage(n, *shares)
            if covered < worst:
                worst = covered
                case = f"n {n:,}, {100 * shares[0]:.1f} % broken, {100 * shares[1]:.1f} % fixed"
        yield known(name, case, "coverage", worst)


def coverage(n, broken, fixed):
    """Coverage of Tango's interval by summing over all tables: no simulation error."""
    b, c = (flat.ravel() for flat in np.meshgrid(*(_likely(n, p) for p in (broken, fixed))))
    b, c = b[b + c <= n], c[b + c <= n]
    chances = stats.multinomial.pmf(
        np.column_stack([b, c, n - b - c]), n, [broken, fixed, 1 - broken - fixed]
    )
    low, high = tango_intervals(b, c, np.full(len(b), n))
    inside = (low <= broken - fixed) & (broken - fixed <= high)
    return float(chances @ inside / chances.sum())


def _likely(n, share):
    """Counts that come up more than once in some billions of tables."""
    spread = 6 * np.sqrt(n * share) + 6
    return np.arange(max(int(n * share - spread), 0), min(int(n * share + spread), n) + 1)


def level(n, discordant, pvalue):
    """Level of a test of flips at 5 %, by summing over all tables: no simulation error."""
    spread = 5 * np.sqrt(n * discordant) + 5
    low, high = max(int(n * discordant - spread), 0), min(int(n * discordant + spread), n)
    total = 0.0
    for size in range(low, high + 1):
        # P-values rise towards the middle, so that the rejected tables are the outermost ones.
        rejected = bisect_left(
            range(size // 2 + 1),
            0.05,
            key=lambda few, size=size: float(pvalue(few, size - few)),
        )
        tail = stats.binom.cdf(rejected - 1, size, 0.5)
        total += stats.binom.pmf(size, n, discordant) * 2 * tail
    return float(total)


def unpaired():
    """Two test sets of equal size."""
    name = "Unpaired, on different examples"
    random = np.random.default_rng(101)
    compare = lru_cache(None)(unpaired_difference)
    for n, error, change in product(SIZES, ERRORS, (0.0, 1 / 3)):
        tables = TABLES_BOSCHLOO if n == 100 else TABLES
        wrong_new = random.binomial(n, error * (1 + change), tables)
        wrong_old = random.binomial(n, error, tables)
        delta = error * change
        results = [
            compare(int(a), n, int(b), n) for a, b in zip(wrong_new, wrong_old, strict=True)
        ]
        case = f"n {n:,}, error {100 * error:g} %, true change {100 * delta:.2g} points"
        if not change:
            hits = sum(result.pvalue < 0.05 for result in results)
            what = f"level, {results[0].method.split(',')[0]}"
            yield rate(name, case, what, hits, tables, at_most=0.05)
        hits = sum(result.interval[0] <= delta <= result.interval[1] for result in results)
        yield rate(name, case, "coverage, Newcombe-Wilson", hits, tables, at_least=0.95)


def equivalence():
    """Two models that differ by exactly the margin must not be called equivalent."""
    name = "Equivalence at the edge of the margin"
    random = np.random.default_rng(102)
    interval = lru_cache(None)(tango_interval)
    for n, discordant, margin in ((1_000, 0.05, 0.02), (10_000, 0.03, 0.005)):
        shares = [(discordant + margin) / 2, (discordant - margin) / 2]
        flips = random.multinomial(n, [*shares, 1 - discordant], TABLES)
        hits = sum(inside(interval(int(b), int(c), n, level=0.9), margin) for b, c, _ in flips)
        case = f"n {n:,}, {100 * discordant:g} % discordant, margin {100 * margin:g} points"
        yield rate(name, case, "called equivalent", hits, TABLES, at_most=0.05)


def overdispersed():
    """Retrains that move more than independent flips, with 20 seed pairs and without any."""
    name = "Over-dispersed retrains, quasi-McNemar"
    random = np.random.default_rng(103)
    for phi, pairs in product((1.0, 1.33, 2.0, 4.0), (0, 20)):
        z = random.normal(0, np.sqrt(phi), 4_000)
        broken = np.rint(150 + z * np.sqrt(300) / 2).astype(int)
        hits = 0
        for b in broken:
            dispersion = overdispersion(random.normal(0, np.sqrt(phi), pairs))
            hits += int(quasi_pvalue(b, 300 - b, dispersion) < 0.05)
        # Without seed pairs the prior alone is known to fail for large phi.
        target = 0.05 if pairs else None
        yield rate(name, f"phi {phi:g}, {pairs} seed pairs", "level", hits, 4_000,
                   at_most=target)  # fmt: skip


def predictive():
    """The next retrain of an unchanged recipe, with a prior that is right or off by two."""
    name = "Predictive interval of the next retrain"
    random = np.random.default_rng(104)
    for history, prior in product((2, 5, 20), (0.06, 0.12, 0.24)):
        runs = random.normal(3.5, 0.12, (3_000, history + 1))
        hits = 0
        for row in runs:
            low, high = predictive_interval(row[:-1].tolist(), prior)
            hits += low <= row[-1] <= high
        target = 0.95 if prior >= 0.12 else None
        case = f"{history} retrains, spread 0.12, prior {prior:g} points"
        yield rate(name, case, "coverage", hits, 3_000, at_least=target)
