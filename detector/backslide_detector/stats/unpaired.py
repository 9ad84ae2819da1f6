"""Two error rates on different examples."""

import warnings
from typing import Final

from scipy import stats
from statsmodels.stats.proportion import confint_proportions_2indep

from backslide_detector.stats.comparison import Comparison, require_counts, require_share

BOSCHLOO_TABLES: Final = 101 * 101
"""Boschloo's test looks at every possible table; beyond this many (100 examples a side) the
mid-p Fisher test has the same level and costs nothing."""


def unpaired_difference(
    wrong_new: int, n_new: int, wrong_old: int, n_old: int, *, level: float = 0.95
) -> Comparison:
    """Compare the error rates of two models that were tested on different examples.

    Small test sets get Boschloo's exact unconditional test, larger ones Fisher's mid-p; both
    keep the nominal level where Fisher's exact test stays far below it (Lydersen, Fagerland and
    Laake 2009, Statistics in Medicine 28:1159-1175). The interval is Newcombe's hybrid of two
    Wilson intervals. statsmodels 0.15.0 also offers `method="score"`, which is wrong for
    differences (its issue 10269) and not used.

    Args:
        wrong_new: wrong predictions of the new model.
        n_new: examples the new model was tested on.
        wrong_old: wrong predictions of the old model.
        n_old: examples the old model was tested on.
        level: coverage of the interval.

    Returns:
        effect: new minus old error rate; statistic: odds ratio (inf or nan at the edge);
        n: the smaller of the two test sets.

    Raises:
        ValueError: counts that cannot be, or a level outside (0, 1).
    """
    require_counts(n_new, wrong_new=wrong_new)
    require_counts(n_old, wrong_old=wrong_old)
    right_new, right_old = n_new - wrong_new, n_old - wrong_old
    small = (n_new + 1) * (n_old + 1) <= BOSCHLOO_TABLES
    test = boschloo_pvalue if small else fisher_midp_pvalue
    name = "Boschloo's test" if small else "mid-p Fisher test"
    numerator, denominator = wrong_new * right_old, right_new * wrong_old
    return Comparison(
        statistic=numerator / denominator
        if denominator
        else (float("inf") if numerator else float("nan")),
        pvalue=test(wrong_new, n_new, wrong_old, n_old),
        effect=wrong_new / n_new - wrong_old / n_old,
        interval=newcombe_interval(wrong_new, n_new, wrong_old, n_old, level=level),
        n=min(n_new, n_old),
        method=f"{name}, Newcombe-Wilson interval",
    )


def newcombe_interval(
    wrong_new: int, n_new: int, wrong_old: int, n_old: int, *, level: float = 0.95
) -> tuple[float, float]:
    """Newcombe-Wilson interval of the difference new minus old (Newcombe 1998, method 10).

    Raises:
        ValueError: counts that cannot be, or a level outside (0, 1).
    """
    require_counts(n_new, wrong_new=wrong_new)
    require_counts(n_old, wrong_old=wrong_old)
    require_share(level=level)
    low, high = confint_proportions_2indep(
        wrong_new, n_new, wrong_old, n_old, method="newcomb", compare="diff", alpha=1 - level
    )
    return float(low), float(high)


def boschloo_pvalue(wrong_new: int, n_new: int, wrong_old: int, n_old: int) -> float:
    """Two-sided p-value of Boschloo's exact unconditional test."""
    if wrong_new + wrong_old in (0, n_new + n_old):
        return 1.0
    table = [[wrong_new, wrong_old], [n_new - wrong_new, n_old - wrong_old]]
    with warnings.catch_warnings():
        # Fisher's p-values inside scipy overflow harmlessly at the corners of the table.
        warnings.simplefilter("ignore", RuntimeWarning)
        return min(float(stats.boschloo_exact(table, alternative="two-sided").pvalue), 1.0)


def fisher_midp_pvalue(wrong_new: int, n_new: int, wrong_old: int, n_old: int) -> float:
    """Two-sided mid-p of Fisher's test: twice the smaller tail, the observed table halved."""
    null = stats.hypergeom(n_new + n_old, wrong_new + wrong_old, n_new)
    half = null.pmf(wrong_new) / 2
    tail = min(null.cdf(wrong_new), null.sf(wrong_new - 1)) - half
    return float(min(max(2 * tail, 0.0), 1.0))
