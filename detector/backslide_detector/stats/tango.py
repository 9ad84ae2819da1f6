"""Tango's score interval for the difference of two paired proportions."""

import math
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import optimize, stats

from backslide_detector.stats.comparison import require_counts, require_share

_Floats = NDArray[np.float64]
_HALVINGS: Final = 32
"""Of an interval of at most 2: the limits are right to 1e-9."""


def tango_interval(
    broken: int, fixed: int, n: int, *, level: float = 0.95
) -> tuple[float, float]:
    """Interval of (broken - fixed) / n, the change of the error rate on common examples.

    The set of differences that a score test of paired proportions does not reject. It keeps its
    coverage with few discordant examples, where Wald intervals collapse (Tango 1998, Statistics
    in Medicine 17:891-908).

    Args:
        broken: examples newly wrong.
        fixed: examples newly right.
        n: all common examples.
        level: coverage, in (0, 1).

    Raises:
        ValueError: counts that cannot be, or a level outside (0, 1).
    """
    require_counts(n, broken=broken, fixed=fixed, discordant=broken + fixed)
    require_share(level=level)
    return score_limits(broken, fixed, n, float(stats.norm.ppf((1 + level) / 2)))


def tango_intervals(
    broken: ArrayLike, fixed: ArrayLike, n: ArrayLike, *, level: float = 0.95
) -> tuple[_Floats, _Floats]:
    """The same for many tables at once: lower and upper limits, shape (tables,) each.

    Raises:
        ValueError: counts that cannot be, or a level outside (0, 1).
    """
    require_share(level=level)
    b, c, total = (np.asarray(counts, dtype=np.float64) for counts in (broken, fixed, n))
    if np.any(b < 0) or np.any(c < 0) or np.any(total < 1) or np.any(b + c > total):
        raise ValueError("counts must not be negative, and no more than the examples")
    critical = float(stats.norm.ppf((1 + level) / 2))
    estimate = (b - c) / total
    ends = np.ones_like(estimate)
    lower = _crossing((b, c, total), critical, (-ends, estimate))
    upper = _crossing((b, c, total), -critical, (estimate, ends))
    return np.where(c == total, -1.0, lower), np.where(b == total, 1.0, upper)


def _crossing(
    table: tuple[_Floats, _Floats, _Floats], level: float, bracket: tuple[_Floats, _Floats]
) -> _Floats:
    """Where the score, which falls in delta, crosses `level` inside the bracket: by halving."""
    broken, fixed, n = table
    low, high = bracket
    for _ in range(_HALVINGS):
        delta = (low + high) / 2
        distance = broken - fixed - n * delta
        linear = -broken - fixed + (2 * n - broken + fixed) * delta
        constant = -fixed * delta * (1 - delta)
        share = (np.sqrt(np.maximum(linear**2 - 8 * n * constant, 0.0)) - linear) / (4 * n)
        variance = np.maximum(n * (2 * share + delta * (1 - delta)), 0.0)
        # The score is above the level, without dividing by a variance of zero.
        above = distance > level * np.sqrt(variance)
        low, high = np.where(above, delta, low), np.where(above, high, delta)
    return np.asarray((low + high) / 2, dtype=np.float64)


def score_limits(broken: int, fixed: int, n: int, critical: float) -> tuple[float, float]:
    """Differences whose score statistic lies within +-critical, for any critical value >= 0."""
    estimate = (broken - fixed) / n

    def low(delta: float) -> float:
        return _score(broken, fixed, n, delta) - critical

    def high(delta: float) -> float:
        return _score(broken, fixed, n, delta) + critical

    # The score falls strictly in delta, is 0 at the estimate and unbounded only towards +-1.
    tolerance = 1e-12
    lower = -1.0 if fixed == n else optimize.brentq(low, -1.0, estimate, xtol=tolerance)
    upper = 1.0 if broken == n else optimize.brentq(high, estimate, 1.0, xtol=tolerance)
    return float(lower), float(upper)


def _score(broken: int, fixed: int, n: int, delta: float) -> float:
    """Standardised distance between the data and a true difference of `delta`."""
    distance = broken - fixed - n * delta
    if distance == 0.0:
        return 0.0
    # The share of "fixed" most likely under this delta solves a quadratic equation (eq. 4).
    linear = -broken - fixed + (2 * n - broken + fixed) * delta
    constant = -fixed * delta * (1 - delta)
    share = (math.sqrt(max(linear**2 - 8 * n * constant, 0.0)) - linear) / (4 * n)
    variance = n * (2 * share + delta * (1 - delta))
    return distance / math.sqrt(variance) if variance > 0 else math.copysign(math.inf, distance)
