"""How well concepts can be read from a layer: ridge regression on its code, four-fold.

What a linear probe can read is there to be used, which does not say that it is (Belinkov 2022,
arXiv 2102.12452).
"""

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

FOLDS: Final = 4
RIDGE: Final = 1e-4
"""Penalty as a share of the sum of squares of the code's largest coordinate."""


class Readability(NamedTuple):
    """Of several concepts in one layer.

    Attributes:
        r2: explained share of each concept's variance on examples left out, shape (concepts,);
            NaN for one that does not vary.
        accuracy: share of examples whose class is the best-read one; NaN without classes.
    """

    r2: Floats
    accuracy: float


def readability(code: Floats, concepts: Floats, labels: NDArray[np.int64]) -> Readability:
    """Reads concepts from a code.

    Args:
        code: shape (n, width).
        concepts: shape (n, concepts), NaN where not known.
        labels: of each example the column of its class, -1 where there is none.
    """
    known = np.isfinite(concepts)
    said = np.full(concepts.shape, np.nan)
    # Mostly everything is known, and sorting columns takes longer than reading them.
    for pattern in [known[:, 0]] if known.size and known.all() else np.unique(known, axis=1).T:
        columns = (known == pattern[:, None]).all(0)
        said[np.ix_(pattern, columns)] = _read(
            code[pattern], concepts[np.ix_(pattern, columns)]
        )
    mean = np.nansum(concepts, 0) / np.maximum(known.sum(0), 1)
    spread = np.nansum(np.square(concepts - mean), 0)
    left = np.nansum(np.square(concepts - said), 0)
    told = (spread > 0) & np.isfinite(said).any(0)
    r2 = np.where(told, 1.0 - left / np.where(told, spread, 1.0), np.nan)
    classed = labels >= 0
    classes = int(labels.max(initial=-1)) + 1
    if classes < 2 or not classed.any():
        return Readability(r2, float("nan"))
    scores = said[classed, :classes]
    if not np.isfinite(scores).all():
        return Readability(r2, float("nan"))
    return Readability(r2, float((scores.argmax(1) == labels[classed]).mean()))


def _read(code: Floats, concepts: Floats) -> Floats:
    """What each example's concepts look like from the examples in other folds."""
    rows = len(code)
    said = np.full(concepts.shape, np.nan)
    if rows < 2 * FOLDS:
        return said
    folds = np.random.default_rng(rows).permutation(rows) % FOLDS
    for fold in range(FOLDS):
        held = folds == fold
        seen, wanted = code[~held], concepts[~held]
        centre, level = seen.mean(0), wanted.mean(0)
        seen = seen - centre
        squares = seen.T @ seen
        penalty = RIDGE * float(squares.diagonal().max(initial=0.0))
        if penalty == 0.0:
            said[held] = level
            continue
        weights = np.linalg.solve(
            squares + penalty * np.eye(len(squares)), seen.T @ (wanted - level)
        )
        said[held] = (code[held] - centre) @ weights + level
    return said
