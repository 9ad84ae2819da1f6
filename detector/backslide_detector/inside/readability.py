"""How well a linear reader gets something about each example out of a layer."""

import numpy as np
from numpy.typing import NDArray

from backslide_detector.probe import Numbers

FOLDS = 4
RIDGE = 1e-3
"""Penalty as a share of the mean variance of the code's components."""


def readability(code: NDArray[np.floating], values: Numbers) -> Numbers:
    """Cross-validated R squared of ridge regression on a code, one a concept.

    Four folds, always the same; closed form. It shows what can be read, not what the
    network uses.

    Source: Belinkov (2022), Probing classifiers, Computational Linguistics 48:207-219.

    Args:
        code: shape (n, r), n >= 8.
        values: concepts, shape (c, n).

    Returns:
        Shape (c,), at most 1; below 0 where the mean would have been the better guess, NaN for
        a concept that is the same in all examples.
    """
    y = np.asarray(values, np.float64).T
    said, guess = held_out(code, values)
    left, total = np.square(y - said).sum(axis=0), np.square(y - guess).sum(axis=0)
    known = (np.ptp(y, axis=0) > 0) & (total > 0)
    return np.where(known, 1 - left / np.where(known, total, 1.0), np.nan)


def read_accuracy(code: NDArray[np.floating], labels: Numbers) -> float:
    """Share of examples whose class is the best-read one.

    Args:
        code: shape (n, r), n >= 8.
        labels: one row of zeros and ones a class, shape (c, n), c >= 2.
    """
    said, _ = held_out(code, labels)
    return float((said.argmax(axis=1) == np.asarray(labels).argmax(axis=0)).mean())


def held_out(code: NDArray[np.floating], values: Numbers) -> tuple[Numbers, Numbers]:
    """What is read of each example by readers that never saw it, and the mean they knew.

    Returns:
        Two arrays of shape (n, c).
    """
    x, y = np.asarray(code, np.float64), np.asarray(values, np.float64).T
    # Not every fourth: batches that go round the classes would hide a class from each fold.
    fold = np.random.default_rng(0).permutation(len(x)) % FOLDS
    said, guess = np.empty_like(y), np.empty_like(y)
    for held in range(FOLDS):
        train, test = fold != held, fold == held
        centre, mean = x[train].mean(axis=0), y[train].mean(axis=0)
        known = x[train] - centre
        gram = known.T @ known
        # The last term keeps a layer that does not vary solvable.
        penalty = RIDGE * np.trace(gram) / len(gram) + 1e-30
        slope = np.linalg.solve(gram + penalty * np.eye(len(gram)), known.T @ (y[train] - mean))
        guess[test] = mean
        said[test] = mean + (x[test] - centre) @ slope
    return said, guess
