"""McNemar's test: two models on the same examples."""

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from backslide_detector.stats.comparison import Comparison, require_counts
from backslide_detector.stats.tango import tango_interval

Alternative = Literal["two-sided", "greater", "less"]


def mcnemar(broken: int, fixed: int, n: int, *, level: float = 0.95) -> Comparison:
    """Compare two classifiers on `n` common examples by the mid-p McNemar test.

    Only examples on which the two models disagree carry information: under "no difference" each
    of them is newly wrong or newly right with probability one half. The mid-p version keeps the
    nominal level where the exact test stays far below it (Fagerland, Lydersen and Laake 2013,
    BMC Medical Research Methodology 13:91). It treats both models as fixed, so it says nothing
    about retraining.

    Args:
        broken: examples that the old model got right and the new one gets wrong.
        fixed: examples that the old model got wrong and the new one gets right.
        n: all common examples.
        level: of the Tango interval.

    Returns:
        effect (broken - fixed) / n, the change of the error rate; statistic: the standardised
        difference (broken - fixed) / sqrt(broken + fixed), 0 without discordant examples.

    Raises:
        ValueError: counts that cannot be.
    """
    interval = tango_interval(broken, fixed, n, level=level)
    discordant = broken + fixed
    return Comparison(
        statistic=(broken - fixed) / discordant**0.5 if discordant else 0.0,
        pvalue=float(midp_pvalue(broken, fixed)),
        effect=(broken - fixed) / n,
        interval=interval,
        n=n,
        method="mid-p McNemar test, Tango interval",
    )


def exact_pvalue(broken: int, fixed: int, alternative: Alternative = "two-sided") -> float:
    """Exact conditional McNemar p-value: never above its level, so fit for a ledger.

    Args:
        broken: newly wrong examples.
        fixed: newly right examples.
        alternative: "greater" asks whether more were broken than fixed.

    Raises:
        ValueError: a negative count.
    """
    require_counts(broken + fixed or 1, broken=broken, fixed=fixed)
    if broken + fixed == 0:
        return 1.0
    return float(stats.binomtest(broken, broken + fixed, 0.5, alternative=alternative).pvalue)


def exact_pvalues(broken: ArrayLike, fixed: ArrayLike) -> NDArray[np.float64]:
    """Exact one-sided p-values against "no more broken than fixed", elementwise.

    Raises:
        ValueError: a negative count.
    """
    b, c = np.asarray(broken), np.asarray(fixed)
    if np.any(b < 0) or np.any(c < 0):
        raise ValueError("counts must not be negative")
    return np.asarray(stats.binom.sf(b - 1, b + c, 0.5), dtype=np.float64)


def midp_pvalue(broken: ArrayLike, fixed: ArrayLike) -> NDArray[np.float64]:
    """Two-sided mid-p McNemar p-values, elementwise; 1 where nothing is discordant."""
    b, c = np.asarray(broken), np.asarray(fixed)
    if np.any(b < 0) or np.any(c < 0):
        raise ValueError("counts must not be negative")
    fewer, total = np.minimum(b, c), b + c
    point = stats.binom.pmf(fewer, total, 0.5)
    tails = 2 * stats.binom.cdf(fewer, total, 0.5) - point
    p = np.where(b == c, 1 - point / 2, tails)
    return np.asarray(np.where(total == 0, 1.0, np.clip(p, 0.0, 1.0)), dtype=np.float64)
