"""McNemar's test when retraining itself flips examples: over-dispersed flips."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, assert_never

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from backslide_detector.stats.comparison import Comparison, require_counts, require_share
from backslide_detector.stats.dispersion import carried_over
from backslide_detector.stats.mcnemar import Alternative
from backslide_detector.stats.tango import score_limits

PRIOR_PHI: Final = 1.5
"""Expected over-dispersion before any seed pair was seen: retrains of one recipe err nearly
independently across examples (Jordan 2023, arXiv 2304.01910), and caution above that."""
PRIOR_WEIGHT: Final = 2.0
"""Seed pairs that the prior counts for."""


@dataclass(frozen=True, slots=True)
class Overdispersion:
    """How much more the error moves between retrains than independent flips would make it.

    Attributes:
        phi: variance of (broken - fixed) / sqrt(broken + fixed) when only the seed changed; at
            least 1.
        df: degrees of freedom of the estimate, the prior's included.
    """

    phi: float
    df: float


def overdispersion(null_scores: Sequence[float]) -> Overdispersion:
    """Estimate phi from pairs in which nothing but the seed differs, of any lineage.

    Args:
        null_scores: (broken - fixed) / sqrt(broken + fixed) of each such pair; may be empty,
            then the prior is all there is.

    Raises:
        ValueError: a score that is not finite.
    """
    scores = np.asarray(null_scores, dtype=np.float64)
    if not np.all(np.isfinite(scores)):
        raise ValueError("scores of seed pairs must be finite")
    df = PRIOR_WEIGHT + len(scores)
    phi = (PRIOR_WEIGHT * PRIOR_PHI + float(np.sum(scores**2))) / df
    return Overdispersion(max(phi, 1.0), carried_over(df) if len(scores) else df)


def quasi_mcnemar(
    broken: int,
    fixed: int,
    n: int,
    dispersion: Overdispersion,
    *,
    level: float = 0.95,
) -> Comparison:
    """Compare two recipes, one trained model of each, on `n` common examples.

    (broken - fixed) / sqrt(phi (broken + fixed)) against Student's t: a quasi-likelihood test
    (McCullagh and Nelder 1989, Generalized Linear Models, section 4.5). The interval is Tango's
    with the same critical value. With phi = 1 and many degrees of freedom it is McNemar's test.

    Args:
        broken: newly wrong examples.
        fixed: newly right examples.
        n: all common examples.
        dispersion: from seed pairs of the lineage or the fleet.
        level: of the interval.

    Raises:
        ValueError: counts that cannot be, or a level outside (0, 1).
    """
    require_counts(n, broken=broken, fixed=fixed, discordant=broken + fixed)
    require_share(level=level)
    discordant = broken + fixed
    spread = math.sqrt(dispersion.phi * discordant)
    statistic = (broken - fixed) / spread if discordant else 0.0
    quantile = float(stats.t.ppf((1 + level) / 2, dispersion.df))
    return Comparison(
        statistic=statistic,
        pvalue=float(quasi_pvalue(broken, fixed, dispersion)),
        effect=(broken - fixed) / n,
        interval=score_limits(broken, fixed, n, quantile * math.sqrt(dispersion.phi)),
        n=n,
        method=f"quasi-McNemar test (phi {dispersion.phi:.2f}), inflated Tango interval",
    )


def quasi_pvalue(
    broken: ArrayLike,
    fixed: ArrayLike,
    dispersion: Overdispersion,
    alternative: Alternative = "two-sided",
) -> NDArray[np.float64]:
    """P-values alone, elementwise; "greater" asks whether more were broken than fixed.

    Raises:
        ValueError: a negative count.
    """
    b, c = np.asarray(broken), np.asarray(fixed)
    if np.any(b < 0) or np.any(c < 0):
        raise ValueError("counts must not be negative")
    statistic = (b - c) / np.sqrt(dispersion.phi * np.maximum(b + c, 1))
    match alternative:
        case "two-sided":
            p = 2 * stats.t.sf(np.abs(statistic), dispersion.df)
        case "greater":
            p = stats.t.sf(statistic, dispersion.df)
        case "less":
            p = stats.t.cdf(statistic, dispersion.df)
        case _:
            assert_never(alternative)
    return np.asarray(p, dtype=np.float64)
