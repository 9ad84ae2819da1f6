"""Whether two data sets come from one distribution: can a classifier tell them apart?"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

FOLDS: Final = 5
AT_ONCE: Final = 250
"""Permutations in hand at a time, which bounds the memory."""
FARTHEST: Final = 5.0
"""Standard deviations beyond which an example pulls no more, lest tails rule the squares."""


@dataclass(frozen=True, slots=True)
class DomainShift:
    """How well a classifier tells two data sets apart.

    Attributes:
        statistic: area under the ROC curve on held-out examples; 0.5 is chance.
        pvalue: one-sided, of "both sets are drawn alike".
        n: distinct examples of both sets together.
        method: the test by its name in the literature.
    """

    statistic: float
    pvalue: float
    n: int
    method: str = "classifier two-sample test, ridge on values and squares, permutation p"


def domain_classifier(
    features: ArrayLike,
    in_new: ArrayLike,
    in_old: ArrayLike,
    *,
    permutations: int = 499,
    seed: int = 0,
) -> DomainShift:
    """Cross-validated AUC of "is it new?", with a permutation p-value.

    The classifier two-sample test (Lopez-Paz and Oquab 2017, ICLR; permutations as in Kim et
    al. 2021, Annals of Statistics 49:411-434). The unit is a distinct example, and what is
    permuted is where it occurs: in the new set, in the old one, or in both. So examples that
    the sets share make neither the classifier trivial nor the p-value too small: a shared one
    counts on both sides, and never lies in a training and a test fold at once. Ridge regression
    rather than a larger model because all permutations are then one solution.

    Args:
        features: shape (n, m), finite.
        in_new: whether each example occurs in the new set, shape (n,).
        in_old: the same for the old set; every example is in one of the two.
        permutations: the smallest p-value is 1 / (permutations + 1).
        seed: of folds and permutations.

    Raises:
        ValueError: shapes that do not fit, values that are not finite, or fewer than two
            examples in a set.
    """
    values = np.asarray(features, dtype=np.float64)
    new, old = np.asarray(in_new, dtype=bool), np.asarray(in_old, dtype=bool)
    if values.ndim != 2 or not new.shape == old.shape == values.shape[:1]:
        raise ValueError("features must have one row for each example")
    if not np.isfinite(values).all():
        raise ValueError("features must be finite")
    if min(new.sum(), old.sum()) < 2 or not (new | old).all():
        raise ValueError("each set needs two examples, and each example a set")
    if permutations < 1:
        raise ValueError("at least one permutation is needed")
    design = _design(values)
    random = np.random.default_rng(seed)
    fold = random.permutation(len(values)) % FOLDS
    observed = float(_aucs(design, fold, new[:, None], old[:, None])[0])
    reached, left = 1, permutations
    while left > 0:
        count = min(left, AT_ONCE)
        left -= count
        order = random.permuted(np.tile(np.arange(len(values)), (count, 1)), axis=1).T
        drawn = _aucs(design, fold, new[order], old[order])
        reached += int(np.count_nonzero(drawn >= observed - 1e-12))
    return DomainShift(observed, reached / (permutations + 1), len(values))


def _design(values: Floats) -> Floats:
    """Standardised values and their squares, without what never varies."""
    largest = np.abs(values).max(axis=0, initial=0.0)
    scaled = values / np.where(largest > 0, largest, 1.0)  # so that squares stay finite
    spread = scaled.std(axis=0)
    varying = spread > 1e-9
    z = (scaled[:, varying] - scaled[:, varying].mean(axis=0)) / spread[varying]
    z = np.clip(z, -FARTHEST, FARTHEST)
    both: Floats = np.concatenate([z, z**2], axis=1)
    both -= both.mean(axis=0)
    return both


def _aucs(
    design: Floats, fold: NDArray[np.int64], new: NDArray[np.bool_], old: NDArray[np.bool_]
) -> Floats:
    """One AUC for each column of memberships, shape (p,)."""
    above = np.zeros(new.shape[1])
    pairs = np.zeros(new.shape[1])
    target = new.astype(np.float64) - old
    for held in range(FOLDS):
        train, test = fold != held, fold == held
        inputs, wanted = design[train], target[train]
        # As much shrinkage as if one observation spoke against each coefficient.
        gram = inputs.T @ inputs + design.shape[1] * np.eye(design.shape[1])
        scores = design[test] @ np.linalg.solve(gram, inputs.T @ (wanted - wanted.mean(axis=0)))
        # Not by rank: a few equal scores are cheaper to leave to the order of the examples,
        # which knows nothing of the sets, than to share out.
        order = np.argsort(scores, axis=0, kind="stable")
        ours = np.take_along_axis(new[test], order, axis=0)
        theirs = np.take_along_axis(old[test], order, axis=0).astype(np.float64)
        above += (ours * (np.cumsum(theirs, axis=0) - theirs / 2)).sum(axis=0)
        pairs += ours.sum(axis=0) * theirs.sum(axis=0)
    told: Floats = np.divide(above, pairs, out=np.full_like(above, 0.5), where=pairs > 0)
    return told
