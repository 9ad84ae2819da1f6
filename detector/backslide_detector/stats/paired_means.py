"""Means of a loss or another continuous measure of two models on the same examples."""

from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from backslide_detector.stats.comparison import Comparison, require_share

RESAMPLES: Final = 2_000
MANY_UNITS: Final = 2_000
"""Beyond this many units the interval is Student's: a mean of so many is normal to within the
bootstrap's own error, and a verdict has milliseconds."""
_BATCH: Final = 200


def paired_mean_difference(
    new: ArrayLike,
    old: ArrayLike,
    *,
    groups: ArrayLike | None = None,
    level: float = 0.95,
    resample: bool = True,
) -> Comparison:
    """Compare mean losses on common examples, by bootstrap over examples or groups of them.

    The interval is the bias-corrected and accelerated bootstrap (Efron 1987, JASA 82:171-185;
    Student's beyond `MANY_UNITS` units), resampling whole groups where examples come in groups
    (a patient, a document). The p-value is of the paired t test, with cluster-robust variance
    for groups.

    Args:
        new: loss of each example under the new model, shape (n,).
        old: the same under the old model, shape (n,).
        groups: group of each example, shape (n,); None when examples are independent.
        level: coverage of the interval.
        resample: False for Student's interval at any size, where many are wanted at once.

    Raises:
        ValueError: different lengths, values that are not finite or have no difference that
            is, or fewer than two units.
    """
    require_share(level=level)
    ours, theirs = np.asarray(new, dtype=np.float64), np.asarray(old, dtype=np.float64)
    if ours.ndim != 1 or ours.shape != theirs.shape:
        raise ValueError(f"losses must have one equal length, not {ours.shape}, {theirs.shape}")
    if not (np.all(np.isfinite(ours)) and np.all(np.isfinite(theirs))):
        raise ValueError("losses must be finite; leave out examples without one")
    difference = ours - theirs
    if not np.all(np.isfinite(difference)):
        raise ValueError("losses are too large to be subtracted")
    scale = float(np.max(np.abs(difference), initial=0.0)) or 1.0  # squares must not overflow
    difference = difference / scale
    sums, counts = _units(difference, groups)
    if len(sums) < 2:
        raise ValueError("a paired comparison of means needs at least two examples or groups")

    effect = float(sums.sum() / counts.sum())
    residuals = sums - effect * counts
    units = len(sums)
    error = float(np.sqrt(units / (units - 1) * np.sum(residuals**2)) / counts.sum())
    # A constant difference has no spread but for rounding.
    constant = error <= 1e-12 * max(abs(effect), 1e-300)
    statistic = 0.0 if constant and effect == 0 else np.inf if constant else effect / error
    many = units > MANY_UNITS or not resample
    interval = (effect, effect)
    if not constant:
        half = float(stats.t.ppf((1 + level) / 2, units - 1)) * error
        interval = (effect - half, effect + half) if many else _bca(sums, counts, level)
    method = f"{'Student' if many else 'BCa bootstrap'} interval, paired t test"
    return Comparison(
        statistic=float(np.copysign(statistic, effect)) if constant else float(statistic),
        pvalue=float(2 * stats.t.sf(abs(statistic), units - 1)),
        effect=scale * effect,
        interval=(scale * interval[0], scale * interval[1]),
        n=len(difference),
        method=method if groups is None else f"{method}, by {units:,} groups",
    )


def _units(
    difference: NDArray[np.float64], groups: ArrayLike | None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Sum and number of examples of each unit that is resampled."""
    if groups is None:
        return difference, np.ones_like(difference)
    labels = np.asarray(groups)
    if labels.shape != difference.shape:
        raise ValueError(f"groups must have shape {difference.shape}, not {labels.shape}")
    codes = np.unique(labels, return_inverse=True)[1]
    return _sums(codes, difference), _sums(codes, np.ones_like(difference))


def _sums(codes: NDArray[np.int64], values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sum of the values of each code."""
    return np.asarray(np.bincount(codes, values), dtype=np.float64)


def _bca(
    sums: NDArray[np.float64], counts: NDArray[np.float64], level: float
) -> tuple[float, float]:
    """BCa interval of a ratio of sums over units; the random numbers are always the same.

    As `scipy.stats.bootstrap`, whose jackknife takes time with the square of the units: of a
    ratio of sums it has a closed form.
    """
    random = np.random.default_rng(0)
    units, observed = len(sums), sums.sum() / counts.sum()
    drawn, grouped = [], bool(np.any(counts != 1))
    for _ in range(RESAMPLES // _BATCH):
        rows = random.integers(0, units, (_BATCH, units), dtype=np.int32)
        size = counts[rows].sum(axis=1) if grouped else units
        drawn.append(sums[rows].sum(axis=1) / size)
    ratios = np.concatenate(drawn)
    below = np.count_nonzero(ratios < observed) + np.count_nonzero(ratios == observed) / 2
    bias = stats.norm.ppf(np.clip(below / RESAMPLES, 0.5 / RESAMPLES, 1 - 0.5 / RESAMPLES))
    left_out = (sums.sum() - sums) / np.maximum(counts.sum() - counts, 1.0)
    skew = left_out.mean() - left_out
    squares = float(np.sum(skew**2))
    acceleration = float(np.sum(skew**3)) / (6 * squares**1.5) if squares > 0 else 0.0
    z = bias + stats.norm.ppf([(1 - level) / 2, (1 + level) / 2])
    shares = stats.norm.cdf(bias + z / (1 - acceleration * z))
    low, high = np.quantile(ratios, shares)
    return float(low), float(high)
