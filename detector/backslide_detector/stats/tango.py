"""Tango's score interval for the difference of two paired proportions."""

import math

from scipy import optimize, stats

from backslide_detector.stats.comparison import require_counts, require_share


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
