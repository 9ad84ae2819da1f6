"""Means of a loss or another continuous measure of two models on different examples."""

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from backslide_detector.stats.comparison import Comparison, require_share


def unpaired_mean_difference(
    new: ArrayLike, old: ArrayLike, *, level: float = 0.95
) -> Comparison:
    """Compare mean losses on different examples by Welch's t test and interval.

    Welch 1947, Biometrika 34:28-35. `paired_mean_difference` needs far fewer examples, but
    common ones.

    Args:
        new: loss of each example of the new model, shape (n,).
        old: loss of each example of the old model, shape (m,).
        level: coverage of the interval.

    Raises:
        ValueError: fewer than two values on a side, or values that are not finite.
    """
    require_share(level=level)
    ours, theirs = np.asarray(new, dtype=np.float64), np.asarray(old, dtype=np.float64)
    if ours.ndim != 1 or theirs.ndim != 1 or min(len(ours), len(theirs)) < 2:
        raise ValueError("an unpaired comparison of means needs two values on each side")
    if not (np.all(np.isfinite(ours)) and np.all(np.isfinite(theirs))):
        raise ValueError("losses must be finite; leave out examples without one")
    scale = float(max(np.abs(ours).max(), np.abs(theirs).max())) or 1.0  # squares: no overflow
    ours, theirs = ours / scale, theirs / scale
    effect = float(ours.mean() - theirs.mean())
    parts = ours.var(ddof=1) / len(ours), theirs.var(ddof=1) / len(theirs)
    variance = float(sum(parts))
    if variance == 0.0:
        statistic = float(np.copysign(np.inf, effect)) if effect else 0.0
        df, half = float(len(ours) + len(theirs) - 2), 0.0
    else:
        statistic = effect / variance**0.5
        shares = [float(part) / variance for part in parts]
        df = 1 / (shares[0] ** 2 / (len(ours) - 1) + shares[1] ** 2 / (len(theirs) - 1))
        half = float(stats.t.ppf((1 + level) / 2, df)) * variance**0.5
    return Comparison(
        statistic=statistic,
        pvalue=float(2 * stats.t.sf(abs(statistic), df)),
        effect=scale * effect,
        interval=(scale * (effect - half), scale * (effect + half)),
        n=min(len(ours), len(theirs)),
        method="Welch's t test and interval, unpaired",
    )
