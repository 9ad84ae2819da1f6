"""Many p-values at once: adjusted so that they can be read against one level."""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats


def holm(pvalues: ArrayLike) -> NDArray[np.float64]:
    """Holm-adjusted p-values: any false one at all in at most 5 % of tables read at 0.05.

    Holm 1979, Scandinavian Journal of Statistics 6:65-70; valid under any dependence.

    Raises:
        ValueError: a value outside [0, 1].
    """
    values = _checked(pvalues)
    # statsmodels' multipletests collects garbage at every call: longer than a whole verdict.
    order = np.argsort(values)
    factors = np.arange(len(values), 0, -1)
    adjusted = np.empty_like(values)
    adjusted[order] = np.minimum(np.maximum.accumulate(factors * values[order]), 1.0)
    return adjusted


def benjamini_hochberg(pvalues: ArrayLike) -> NDArray[np.float64]:
    """Benjamini-Hochberg-adjusted p-values: at most 5 % false among those below 0.05.

    Benjamini and Hochberg 1995, Journal of the Royal Statistical Society B 57:289-300.

    Raises:
        ValueError: a value outside [0, 1].
    """
    values = _checked(pvalues)
    if values.size == 0:
        return values
    return np.asarray(stats.false_discovery_control(values, method="bh"), dtype=np.float64)


def _checked(pvalues: ArrayLike) -> NDArray[np.float64]:
    """The p-values as one array."""
    values = np.asarray(pvalues, dtype=np.float64)
    if values.ndim != 1 or not np.all((values >= 0) & (values <= 1)):
        raise ValueError("p-values must be a list of numbers between 0 and 1")
    return values
