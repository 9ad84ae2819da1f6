"""How far stated confidence is from being right that often."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

BINS = 15


def expected_calibration_error(confidence: ArrayLike, correct: ArrayLike) -> float:
    """Mean distance between confidence and accuracy over 15 bins of equal width, as a fraction.

    Guo et al. 2017 (arXiv 1706.04599). Biased upwards by about sqrt(bins / n), so compare it
    between models on the same examples only.

    Args:
        confidence: probability given to the predicted class, shape (n,).
        correct: whether it was right, shape (n,).

    Raises:
        ValueError: empty, different shapes, or confidences outside [0, 1].
    """
    bins, distance = bins_of(confidence, correct)
    return float(np.abs(np.bincount(bins, distance)).sum() / len(bins))


def bins_of(
    confidence: ArrayLike, correct: ArrayLike
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Bin of each example, and its confidence minus whether it was right; shape (n,) each.

    Raises:
        ValueError: as above.
    """
    stated = np.asarray(confidence, dtype=np.float64)
    right = np.asarray(correct, dtype=np.float64)
    if stated.ndim != 1 or stated.shape != right.shape or len(stated) == 0:
        raise ValueError("confidence and correctness must have one equal length above 0")
    if not np.all((stated >= 0) & (stated <= 1)):
        raise ValueError("confidence must lie between 0 and 1")
    bins = np.minimum((stated * BINS).astype(np.int64), BINS - 1)
    return bins, stated - right
