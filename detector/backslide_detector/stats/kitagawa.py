"""A difference of error rates on two test sets, split into mix and rate."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike


@dataclass(frozen=True, slots=True)
class KitagawaSplit:
    """The two parts of a difference of rates; they add up to it.

    Attributes:
        mix: due to other shares of the groups: a matter of the test set, not of the model.
        rate: due to other error rates within the groups.
    """

    mix: float
    rate: float

    @property
    def total(self) -> float:
        """New minus old overall rate."""
        return self.mix + self.rate


def kitagawa_split(
    new_counts: ArrayLike, new_wrong: ArrayLike, old_counts: ArrayLike, old_wrong: ArrayLike
) -> KitagawaSplit:
    """Split the change of the overall error rate over groups (classes, slices).

    mix = sum(mean rate x change of share), rate = sum(mean share x change of rate) (Kitagawa
    1955, JASA 50:1168-1194). A group that is empty on one side has no rate there; the rate of
    the other side is taken, so that its appearance counts as mix.

    Args:
        new_counts: examples of each group in the new test set, shape (g,).
        new_wrong: wrong ones among them, shape (g,).
        old_counts: the same for the old test set.
        old_wrong: the same for the old test set.

    Raises:
        ValueError: shapes that differ, impossible counts or an empty test set.
    """
    columns = [
        np.asarray(column, dtype=np.float64)
        for column in (new_counts, new_wrong, old_counts, old_wrong)
    ]
    n_new, wrong_new, n_old, wrong_old = columns
    if any(column.shape != n_new.shape or column.ndim != 1 for column in columns):
        raise ValueError("all four columns must have one value a group")
    for count, wrong in ((n_new, wrong_new), (n_old, wrong_old)):
        if not (np.all(wrong >= 0) and np.all(wrong <= count) and count.sum() > 0):
            raise ValueError("each test set needs examples, and 0 <= wrong <= count")
    rate_new = np.divide(wrong_new, n_new, out=np.full_like(n_new, np.nan), where=n_new > 0)
    rate_old = np.divide(wrong_old, n_old, out=np.full_like(n_old, np.nan), where=n_old > 0)
    rate_new, rate_old = (
        np.nan_to_num(np.where(np.isnan(rate_new), rate_old, rate_new)),
        np.nan_to_num(np.where(np.isnan(rate_old), rate_new, rate_old)),
    )
    share_new, share_old = n_new / n_new.sum(), n_old / n_old.sum()
    return KitagawaSplit(
        mix=float(np.sum((rate_new + rate_old) / 2 * (share_new - share_old))),
        rate=float(np.sum((share_new + share_old) / 2 * (rate_new - rate_old))),
    )
