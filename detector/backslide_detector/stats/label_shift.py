"""Whether two data sets hold their classes in the same shares."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy import stats


@dataclass(frozen=True, slots=True)
class LabelShift:
    """A difference of class shares.

    Attributes:
        statistic: Pearson's chi-square.
        pvalue: of "the same shares".
        distance: total variation between the shares: the part of the examples that would have
            to change class, in [0, 1].
        n: examples of both sets together.
        method: the test by its name in the literature.
    """

    statistic: float
    pvalue: float
    distance: float
    n: int
    method: str = "Pearson chi-square test of homogeneity"


def label_shift(new: Mapping[str, int], old: Mapping[str, int]) -> LabelShift:
    """Compare class counts of two data sets.

    Args:
        new: examples of each class in the new data.
        old: the same for the old data; a class that is missing has none.

    Raises:
        ValueError: a negative count or an empty data set.
    """
    classes = sorted(new.keys() | old.keys())
    table = np.array([[side.get(name, 0) for name in classes] for side in (new, old)])
    if np.any(table < 0) or np.any(table.sum(axis=1) == 0) or not classes:
        raise ValueError("class counts must not be negative, and each data set needs examples")
    table = table[:, table.sum(axis=0) > 0]
    shares = table / table.sum(axis=1, keepdims=True)
    result = stats.chi2_contingency(table, correction=False)
    return LabelShift(
        statistic=float(result.statistic),
        pvalue=float(result.pvalue),
        distance=float(np.abs(shares[0] - shares[1]).sum() / 2),
        n=int(table.sum()),
    )
