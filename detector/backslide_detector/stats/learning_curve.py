"""What more data would bring: a power law through the errors of retrains on different amounts.

The error on n examples is taken as a + b n^-c, with a floor a of at least zero and an exponent
c between those seen in practice (Hestness et al. 2017, arXiv:1712.00409: 0.07 to 0.35) and 1.
Two amounts of data cannot tell a, b and c apart, and three hardly do, so the quantity of
interest is made the parameter: what doubling the data brings. Its interval is the set of values
that some exponent reconciles with the errors (profile likelihood), and so takes what is not
known of the exponent into account. Curve: Cortes et al. 1993, Learning Curves, NIPS 6.
Interval: Venzon and Moolgavkar 1988, Applied Statistics 37:87-94.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

EXPONENTS: Final = (0.05, 1.0)
FEW_REPEATS: Final = 3
"""Degrees of freedom among repeats from which their spread is taken as measured."""
_GRID: Final = 96
_REACH: Final = 6.0  # times the standard error of a slope, beyond which nothing is looked for

_Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class LearningCurve:
    """How the error goes with the amount of data.

    Attributes:
        gain: fall of the error when the data are doubled, from `at` on; in units of the errors.
        interval: 95 % confidence interval of the gain.
        at: number of examples that doubling starts from.
        smallest, largest: amounts of data the curve rests on.
        n: retrains it rests on.
    """

    gain: float
    interval: tuple[float, float]
    at: float
    smallest: float
    largest: float
    n: int


def learning_curve(
    sizes: ArrayLike, errors: ArrayLike, variances: ArrayLike, *, at: float
) -> LearningCurve:
    """Fits the curve to retrains that differ in nothing but the amount of data.

    Args:
        sizes: training examples of each retrain, shape (n,), of at least two amounts.
        errors: shape (n,).
        variances: of each error, shape (n,). Where retrains on equal amounts show the spread
            themselves, with three degrees of freedom or more, that takes their place.
        at: number of examples that the doubling starts from.

    Raises:
        ValueError: the lengths differ, there are not two sizes, or numbers out of range.
    """
    size, error, variance = (np.asarray(x, np.float64) for x in (sizes, errors, variances))
    if size.ndim != 1 or not size.shape == error.shape == variance.shape:
        raise ValueError("sizes, errors and variances must be lists of one length")
    if len(np.unique(size)) < 2:
        raise ValueError("a learning curve needs at least two amounts of data")
    good = np.isfinite(size * error * variance).all() and (variance > 0.0).all()
    if not (good and (size >= 1.0).all() and 1.0 <= at < np.inf):
        raise ValueError("sizes must be at least 1, errors finite and variances positive")
    if not np.abs(error).max() < 1e100:
        raise ValueError("errors beyond all bounds")
    variance, limit = _spread(size, error, variance)
    exponents = np.linspace(*EXPONENTS, _GRID)
    # What one unit of gain at `at` means for the error at each size, shape (exponents, n).
    powers = (size / at) ** -exponents[:, None] / (1.0 - 2.0 ** -exponents[:, None])
    slopes, errors_of = _least_squares(powers, error, 1.0 / variance)
    reach = _REACH * errors_of.max()
    gains = np.linspace(slopes.min() - reach, slopes.max() + reach, 4 * _GRID)
    misfit = _misfit(gains, powers, error, 1.0 / variance)
    best = misfit.min(axis=0)
    inside = gains[best <= best.min() + limit]
    return LearningCurve(
        gain=float(gains[int(best.argmin())]),
        interval=(float(inside.min()), float(inside.max())),
        at=float(at),
        smallest=float(size.min()),
        largest=float(size.max()),
        n=len(size),
    )


def _spread(size: _Floats, error: _Floats, variance: _Floats) -> tuple[_Floats, float]:
    """Variances to weigh with, and how much the misfit may grow within the interval."""
    _, group, counts = np.unique(size, return_inverse=True, return_counts=True)
    freedom = len(size) - len(counts)
    means = np.bincount(group, error) / counts
    within = float(np.square(error - means[group]).sum())
    if freedom < FEW_REPEATS or within <= 0.0:
        return variance, float(stats.chi2.ppf(0.95, 1))
    return np.full(len(size), within / freedom), float(stats.f.ppf(0.95, 1, freedom))


def _least_squares(powers: _Floats, error: _Floats, weight: _Floats) -> tuple[_Floats, _Floats]:
    """Gain that fits best for each exponent, and its standard error, shape (exponents,)."""
    total = weight.sum()
    centred = powers - (powers @ weight / total)[:, None]
    square = np.square(centred) @ weight
    return centred @ (weight * (error - error @ weight / total)) / square, square**-0.5


def _misfit(gains: _Floats, powers: _Floats, error: _Floats, weight: _Floats) -> _Floats:
    """Chi-square for each exponent and gain, with the best floor, shape (exponents, gains)."""
    left = error - gains[None, :, None] * powers[:, None, :]
    floor = np.maximum(left @ weight / weight.sum(), 0.0)
    return np.asarray(np.square(left - floor[..., None]) @ weight, np.float64)
