"""Whether the error rate changed by the same in two groups of examples."""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

Floats = NDArray[np.float64]


Changes = tuple[ArrayLike, ArrayLike, ArrayLike]
"""Examples newly wrong, newly right, and all common ones, of one group or of many."""


def changes_apart_pvalue(one: Changes, other: Changes) -> Floats:
    """Two-sided p-values of "the error changed by the same in both groups", elementwise.

    Each change is (broken - fixed) / n with the adjusted variance of Bonett and Price 2012
    (Journal of Educational and Behavioral Statistics 37:479-488): one more broken and one more
    fixed example, without which a group that has hardly any seems to be known exactly. The
    difference of the two is held against the normal distribution.

    Args:
        one: broken, fixed and n of a group; n of 0 gives a p-value of 1.
        other: the same of another group, which shares no example with it.

    Raises:
        ValueError: counts that cannot be.
    """
    (here, spread), (there, width) = _change(*one), _change(*other)
    z = (here - there) / np.sqrt(spread + width)
    empty = (np.asarray(one[2]) == 0) | (np.asarray(other[2]) == 0)
    return np.asarray(np.where(empty, 1.0, 2 * stats.norm.sf(np.abs(z))), dtype=np.float64)


def _change(broken: ArrayLike, fixed: ArrayLike, n: ArrayLike) -> tuple[Floats, Floats]:
    """The change of the error and its variance, both adjusted."""
    b, c, total = (np.asarray(counts, dtype=np.float64) for counts in (broken, fixed, n))
    if not np.all((b >= 0) & (c >= 0) & (b + c <= total)):
        raise ValueError("counts must not be negative, and no more than the examples")
    change = (b - c) / (total + 2)
    return change, ((b + c + 2) / (total + 2) - change**2) / (total + 2)
