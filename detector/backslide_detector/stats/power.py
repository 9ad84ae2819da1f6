"""The smallest difference that a test set could have shown."""

import math
from typing import Literal

import numpy as np
from scipy import stats

from backslide_detector.stats.comparison import require_counts, require_share


def mde_paired(
    n: int,
    discordant: float,
    *,
    phi: float = 1.0,
    alpha: float = 0.05,
    power: float = 0.8,
    sides: Literal[1, 2] = 2,
) -> float:
    """Minimum detectable change of the error rate on `n` common examples, as a fraction.

    (z_alpha + z_power) sqrt(phi discordant / n), the normal approximation to McNemar's test
    (Miettinen 1968, Biometrics 24:339-352). A change of d makes at least a share d of the
    examples discordant, which bounds the answer from below when hardly any were.

    Args:
        n: common examples.
        discordant: share of examples on which the two models disagree about being right.
        phi: over-dispersion of the flips; 1 for two fixed models.
        alpha: level of the test.
        power: probability to detect the change.
        sides: of the test.

    Raises:
        ValueError: no examples, or a share outside its range.
    """
    require_counts(n)
    if not 0 <= discordant <= 1:
        raise ValueError(f"discordant must lie in [0, 1], not {discordant}")
    if not phi > 0:
        raise ValueError(f"phi must be positive, not {phi}")
    z = _z(alpha, power, sides)
    return min(max(z * math.sqrt(phi * discordant / n), phi * z * z / n), 1.0)


def mde_unpaired(
    n_new: int,
    n_old: int,
    rate: float,
    *,
    alpha: float = 0.05,
    power: float = 0.8,
    sides: Literal[1, 2] = 2,
) -> float:
    """Minimum detectable difference of two error rates on different examples, as a fraction.

    Args:
        n_new: examples of the new model.
        n_old: examples of the old model.
        rate: error rate around which the difference would lie (the pooled one).
        alpha: level of the test.
        power: probability to detect the difference.
        sides: of the test.

    Raises:
        ValueError: no examples, or a share outside its range.
    """
    require_counts(n_new)
    require_counts(n_old)
    if not 0 <= rate <= 1:
        raise ValueError(f"rate must lie in [0, 1], not {rate}")
    z = _z(alpha, power, sides)
    inverse = 1 / n_new + 1 / n_old
    # Rates near 0 or 1: a difference of d has itself a pooled rate of about d / 2.
    return min(max(z * math.sqrt(rate * (1 - rate) * inverse), z * z * inverse / 2), 1.0)


def mde_mean(
    interval: tuple[float, float],
    *,
    level: float = 0.95,
    alpha: float = 0.05,
    power: float = 0.8,
    sides: Literal[1, 2] = 2,
) -> float:
    """Minimum detectable difference of two means, from the width of its interval.

    Args:
        interval: of the difference, in its own unit; near enough normal.
        level: coverage of the interval.
        alpha: level of the test.
        power: probability to detect the difference.
        sides: of the test.

    Raises:
        ValueError: bounds in the wrong order or not finite, or a share outside its range.
    """
    return _z(alpha, power, sides) * standard_error(interval, level=level)


def standard_error(interval: tuple[float, float], *, level: float = 0.95) -> float:
    """Standard error that a normal interval of this width stands for.

    Raises:
        ValueError: bounds in the wrong order or not finite, or a level outside (0, 1).
    """
    require_share(level=level)
    width = interval[1] - interval[0]
    if not (math.isfinite(width) and width >= 0):
        raise ValueError(f"no interval: {interval}")
    return width / 2 / float(stats.norm.ppf((1 + level) / 2))


def mcnemar_power(
    n: int, discordant: float, difference: float, *, alpha: float = 0.05
) -> float:
    """Power of the one-sided exact McNemar test, computed without simulation.

    Args:
        n: common examples.
        discordant: share of discordant examples.
        difference: true change of the error rate, at most `discordant` in size.
        alpha: level of the one-sided test for a positive change.

    Raises:
        ValueError: impossible shares or no examples.
    """
    require_counts(n)
    require_share(discordant=discordant, alpha=alpha)
    if abs(difference) > discordant:
        raise ValueError(f"a change of {difference} needs at least as many discordant examples")
    spread = 12 * math.sqrt(n * discordant * (1 - discordant)) + 1
    low, high = max(int(n * discordant - spread), 0), min(int(n * discordant + spread), n)
    totals = np.arange(low, high + 1)
    weights = stats.binom.pmf(totals, n, discordant)
    # Smallest count of broken examples that rejects, for each number of discordant ones.
    critical = stats.binom.isf(alpha, totals, 0.5) + 1
    chance = (discordant + difference) / (2 * discordant)
    return float(np.sum(weights * stats.binom.sf(critical - 1, totals, chance)))


def _z(alpha: float, power: float, sides: int) -> float:
    """Sum of the two normal quantiles of a power calculation."""
    require_share(alpha=alpha, power=power)
    return float(stats.norm.isf(alpha / sides) + stats.norm.ppf(power))
