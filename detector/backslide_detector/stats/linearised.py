"""Metrics that are no means, written as means: one term an example.

Each function returns terms whose mean is the metric itself and whose spread is that of the
metric to first order: the metric plus each example's influence on it (Deville 1999, Survey
Methodology 25:193-203; the infinitesimal jackknife). So two models are compared on common
examples by the paired mean of their terms, with its interval, also by groups.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from backslide_detector.stats.calibration_error import bins_of

Floats = NDArray[np.float64]


def macro_f1_terms(targets: ArrayLike, predictions: ArrayLike) -> Floats:
    """F1 averaged over the classes among the targets, shape (n,).

    Args:
        targets: class of each example as an integer >= 0, shape (n,).
        predictions: class that the model gave it, likewise; may be one that no target has.

    Raises:
        ValueError: empty, different lengths, or no class numbers.
    """
    truth, said = np.asarray(targets), np.asarray(predictions)
    if truth.ndim != 1 or truth.shape != said.shape or not len(truth):
        raise ValueError("targets and predictions must have one equal length above 0")
    if truth.dtype.kind not in "iu" or said.dtype.kind not in "iu":
        raise ValueError("classes must be given as integers")
    if min(truth.min(), said.min()) < 0 or max(truth.max(), said.max()) >= 10 * len(truth):
        raise ValueError("classes must be numbered from 0, without large gaps")
    size = int(max(truth.max(), said.max())) + 1
    right = truth == said
    actual = np.bincount(truth, minlength=size)
    hits = np.bincount(truth[right], minlength=size)
    # F1 = 2 hits / (actual + predicted); its share of the mean is 1 / classes.
    both = np.maximum(actual + np.bincount(said, minlength=size), 1) / len(truth)
    f1 = 2 * hits / len(truth) / both
    counted = actual > 0
    weight = np.where(counted, 1 / both, 0.0) / np.count_nonzero(counted)
    terms = 2 * weight[truth] * right - (weight * f1)[truth] - (weight * f1)[said]
    return np.asarray(f1[counted].mean() + terms, dtype=np.float64)


def rmse_terms(errors: ArrayLike) -> Floats:
    """Root mean squared error, shape (n,); errors are prediction minus target.

    Raises:
        ValueError: empty, or errors that are not finite.
    """
    squares = _finite(errors) ** 2
    root = float(np.sqrt(squares.mean()))
    if root == 0.0:
        return np.zeros_like(squares)
    return np.asarray(root + (squares - root**2) / (2 * root), dtype=np.float64)


def r2_terms(targets: ArrayLike, errors: ArrayLike) -> Floats:
    """Share of the targets' variance that the model explains, shape (n,).

    Raises:
        ValueError: empty, different lengths, values that are not finite, or constant targets.
    """
    truth, squares = _finite(targets), _finite(errors) ** 2
    if truth.shape != squares.shape:
        raise ValueError("targets and errors must have one length")
    around = (truth - truth.mean()) ** 2
    variance = float(around.mean())
    if variance == 0.0:
        raise ValueError("constant targets have no variance to explain")
    left = float(squares.mean()) / variance
    return np.asarray(1 - left - (squares - left * around) / variance, dtype=np.float64)


def auc_terms(positive: ArrayLike, scores: ArrayLike) -> Floats:
    """Area under the ROC curve, shape (n,), by DeLong's placements.

    Each positive example counts by the share of negatives that it outranks, ties half, and each
    negative likewise (DeLong, DeLong and Clarke-Pearson 1988, Biometrics 44:837-845), so the
    spread of the terms is theirs but for a factor of 1 + O(1/n).

    Args:
        positive: whether each example belongs to the positive class, shape (n,).
        scores: larger for what is rather positive, shape (n,).

    Raises:
        ValueError: different lengths, scores that are not finite, or only one class.
    """
    truth, ranked = np.asarray(positive, dtype=np.bool_), _finite(scores)
    if truth.shape != ranked.shape:
        raise ValueError("classes and scores must have one length")
    above, below = np.flatnonzero(truth), np.flatnonzero(~truth)
    if not (len(above) and len(below)):
        raise ValueError("an area under the ROC curve needs examples of both classes")
    above, below = above[np.argsort(ranked[above])], below[np.argsort(ranked[below])]
    up, down = ranked[above], ranked[below]
    beaten = (np.searchsorted(down, up) + np.searchsorted(down, up, "right")) / (2 * len(down))
    lost = (np.searchsorted(up, down) + np.searchsorted(up, down, "right")) / (2 * len(up))
    area = float(beaten.mean())
    terms = np.empty(len(ranked))
    terms[above] = area + (beaten - area) * len(ranked) / len(up)
    terms[below] = area + (1 - lost - area) * len(ranked) / len(down)
    return terms


def calibration_terms(confidence: ArrayLike, correct: ArrayLike) -> Floats:
    """Expected calibration error, shape (n,): each example's distance, signed as its bin's.

    Exact where bins are off by more than their noise; elsewhere intervals come out too wide.

    Raises:
        ValueError: empty, different shapes, or confidences outside [0, 1].
    """
    bins, distance = bins_of(confidence, correct)
    return np.asarray(np.sign(np.bincount(bins, distance))[bins] * distance, dtype=np.float64)


def _finite(values: ArrayLike) -> Floats:
    """One row of finite numbers."""
    row = np.asarray(values, dtype=np.float64)
    if row.ndim != 1 or not len(row) or not np.all(np.isfinite(row)):
        raise ValueError("a metric needs one row of finite values")
    return row
