"""How alike two layers order the same examples: linear CKA, from codes."""

from collections.abc import Sequence

import numpy as np

from backslide_detector.probe import Numbers, ProbedLayer


def cka(one: ProbedLayer, other: ProbedLayer) -> float:
    """Linear centred kernel alignment of two layers on the same examples, in [0, 1].

    From 32 principal components in place of all features, and random sums of what they leave
    out, by which the number is right on average; without those it counts as unlike. The norms
    are exact. Alone the number says little: untrained layers reach 0.98. Only differences
    between retrains do.

    Source: Kornblith et al. (2019), Similarity of neural network representations revisited.

    Returns:
        NaN for layers that do not vary over the examples, and for other numbers of examples.
    """
    norms = one.gram_norm * other.gram_norm
    if not norms > 0 or len(one.code) != len(other.code):
        return float("nan")
    cross = one.sketch.T.astype(np.float64) @ other.sketch
    return min(float(np.square(cross).sum()) / norms, 1.0)


def matrix(rows: Sequence[ProbedLayer], columns: Sequence[ProbedLayer]) -> Numbers:
    """CKA of every layer of one run with every layer of another, shape (rows, columns)."""
    return np.array([[cka(row, column) for column in columns] for row in rows])


def between_classes(layer: ProbedLayer, targets: Numbers) -> float:
    """Share of a layer's variance that lies between classes (eta squared), in [0, 1].

    Args:
        layer: whose code is looked at.
        targets: class of each example as one row of zeros and ones a class, shape (c, n).
    """
    code = layer.code.astype(np.float64)
    total = np.square(code - code.mean(axis=0)).sum()
    count = targets.sum(axis=1)
    if not total > 0 or not (count > 0).any():
        return float("nan")
    means = (targets @ code)[count > 0] / count[count > 0, None]
    return float((count[count > 0, None] * np.square(means - code.mean(axis=0))).sum() / total)
