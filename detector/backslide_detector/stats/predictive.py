"""Where the next retrain of the same kind should fall, from a short history."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy import stats

from backslide_detector.stats.comparison import require_share

PRIOR_WEIGHT: Final = 4.0
"""Observations that the prior standard deviation counts for. Set by hand: with less, the spread
of two or three retrains swings the interval wildly."""


@dataclass(frozen=True, slots=True)
class Spread:
    """A standard deviation known from few observations and a prior.

    Attributes:
        sd: standard deviation of a single observation.
        df: degrees of freedom, the prior's included.
    """

    sd: float
    df: float

    def half_width(self, inverse_n: float, level: float = 0.95) -> float:
        """Quantile of t times sd sqrt(inverse_n); `inverse_n` is 1/m + 1/k for two means."""
        require_share(level=level)
        quantile = float(stats.t.ppf((1 + level) / 2, self.df))
        return quantile * self.sd * math.sqrt(inverse_n)

    def pvalue(self, effect: float, inverse_n: float) -> float:
        """Two-sided p-value of a difference of means of `effect`."""
        if self.sd == 0.0:
            return 1.0 if effect == 0.0 else 0.0
        return float(2 * stats.t.sf(abs(effect) / (self.sd * math.sqrt(inverse_n)), self.df))


def pooled_spread(
    groups: Sequence[Sequence[float]], prior_sd: float, prior_weight: float = PRIOR_WEIGHT
) -> Spread:
    """Spread within groups of repeats, shrunk towards a prior.

    s^2 = (nu0 prior_sd^2 + SS_within) / (nu0 + df_within): the posterior scale under a
    conjugate scaled inverse chi-square prior (Gelman et al., Bayesian Data Analysis, 3rd ed.,
    section 3.3).

    Args:
        groups: repeats of the same thing; a group of one adds nothing.
        prior_sd: the spread expected beforehand.
        prior_weight: observations that it counts for.

    Raises:
        ValueError: values that are not finite, a negative prior, or one without weight.
    """
    if not prior_weight > 0:
        raise ValueError(f"the prior must count for something, not {prior_weight}")
    if not (math.isfinite(prior_sd) and prior_sd >= 0):
        raise ValueError(f"prior_sd must be a finite number >= 0, not {prior_sd}")
    squares, df = 0.0, 0
    for group in groups:
        values = np.asarray(group, dtype=np.float64)
        if not np.all(np.isfinite(values)):
            raise ValueError("the history must be finite")
        if len(values) > 1:
            squares += float(np.sum((values - values.mean()) ** 2))
            df += len(values) - 1
    total = prior_weight + df
    return Spread(sd=math.sqrt((prior_weight * prior_sd**2 + squares) / total), df=total)


def predictive_interval(
    history: Sequence[float], prior_sd: float, *, level: float = 0.95
) -> tuple[float, float]:
    """Interval in which the next value falls with probability `level`, if nothing changed.

    mean +- t s sqrt(1 + 1/n), s shrunk to the prior; assumes independent, normal values.

    Args:
        history: earlier values, at least one.
        prior_sd: the spread expected beforehand; with one value it is all there is.
        level: coverage, in (0, 1).

    Raises:
        ValueError: an empty or not finite history, or a level outside (0, 1).
    """
    if len(history) == 0:
        raise ValueError("a predictive interval needs at least one earlier value")
    spread = pooled_spread([history], prior_sd)
    mean = float(np.mean(history))
    half = spread.half_width(1 + 1 / len(history), level)
    return mean - half, mean + half
