"""What went with the error over the retrains of a lineage: a regression, and no proof."""

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import linalg
from statsmodels.regression.linear_model import OLS

Floats = NDArray[np.float64]

FEWEST_SPARE: Final = 8
"""Retrains beyond the coefficients, below which the noise between them is not known."""

SLIGHT: Final = 1e-10
"""Of numbers that are at most about 1: rounding."""
LARGEST: Final = 1e150
"""Of a number whose square is one as well."""


@dataclass(frozen=True, slots=True)
class Coefficient:
    """One factor with all others held equal.

    Attributes:
        effect: change of the error with one unit of the factor.
        interval: confidence interval, (low, high).
        pvalue: two-sided, not adjusted.
    """

    effect: float
    interval: tuple[float, float]
    pvalue: float


def history_regression(
    errors: ArrayLike, factors: ArrayLike, *, level: float = 0.95
) -> tuple[Coefficient | None, ...]:
    """Least squares of the error on factors, from retrain to retrain and over all of them.

    The noise of a retrain is its own, and what nobody logged stays: errors are noise around a
    wandering level. Regressing the values alone finds spurious company between two wanderers
    (Granger and Newbold 1974, Journal of Econometrics 2:111-120), regressing the differences
    alone takes noise that turns back at once for news. So both are done, with a drift, and the
    less certain one of them is the answer; where they differ in sign, nothing is shown.

    Args:
        errors: of the retrains in their order, shape (n,).
        factors: value of each factor in each retrain, shape (n, p).
        level: coverage of the intervals.

    Returns:
        One coefficient a factor; None where the history cannot tell it from the others or
        from the passing of time.

    Raises:
        ValueError: values that are huge or no numbers, different lengths, or fewer retrains
            than coefficients and `FEWEST_SPARE`.
    """
    y, x = np.asarray(errors, dtype=np.float64), np.asarray(factors, dtype=np.float64)
    if y.ndim != 1 or x.ndim != 2 or len(x) != len(y):
        raise ValueError(f"{len(y)} retrains need a table of as many rows, not {x.shape}")
    if not (np.all(np.abs(y) <= LARGEST) and np.all(np.abs(x) <= LARGEST)):
        raise ValueError(f"errors and factors must be numbers of at most {LARGEST:g}")
    if len(y) < fewest_retrains(x.shape[1]):
        raise ValueError(
            f"{x.shape[1]} factors need {fewest_retrains(x.shape[1])} retrains, not {len(y)}"
        )
    # What is told from nothing, and one column from another, is told by its size.
    height, widths = float(np.ptp(y)) or 1.0, np.ptp(x, axis=0)
    widths[widths == 0] = 1.0
    y, x = (y - y[0]) / height, (x - x[0]) / widths
    views = (
        _fitted(np.diff(y), np.diff(x, axis=0), level),
        _fitted(y, np.column_stack([x, np.arange(len(y))]), level)[:-1],
    )
    return tuple(
        None if factor is None else _rescaled(factor, height / width)
        for factor, width in zip(map(_less_certain, *views), widths.tolist(), strict=True)
    )


def fewest_retrains(factors: int) -> int:
    """Retrains that a regression on so many factors needs: differences, and one drift."""
    return factors + 2 + FEWEST_SPARE


def _fitted(y: Floats, x: Floats, level: float) -> list[Coefficient | None]:
    """Coefficients of all columns, beside a constant; None where not told from the others."""
    design = np.column_stack([x, np.ones(len(y))])
    # A coefficient is told where no combination of columns that adds up to nothing holds it.
    free = np.abs(linalg.null_space(design)) > SLIGHT
    by_size = linalg.qr(design, mode="r", pivoting=True)[1]
    kept = np.sort(by_size[: design.shape[1] - free.shape[1]])
    fit = OLS(y, design[:, kept]).fit()
    bounds = fit.conf_int(1 - level)
    exact = fit.ssr <= SLIGHT**2 * max(float(y @ y), SLIGHT**2)  # no noise, but for rounding
    found: list[Coefficient | None] = [None] * x.shape[1]
    for place, column in enumerate(kept.tolist()):
        if column == x.shape[1] or free[column].any():
            continue
        effect = float(fit.params[place])
        pvalue = float(abs(effect) <= SLIGHT) if exact else float(fit.pvalues[place])
        low, high = map(float, bounds[place])
        found[column] = Coefficient(effect, (low, high), pvalue)
    return found


def _less_certain(one: Coefficient | None, other: Coefficient | None) -> Coefficient | None:
    if one is None or other is None:
        return None
    less = max(one, other, key=lambda view: view.pvalue)
    return replace(less, pvalue=1.0) if one.effect * other.effect < 0 else less


def _rescaled(found: Coefficient, scale: float) -> Coefficient:
    low, high = found.interval
    return Coefficient(found.effect * scale, (low * scale, high * scale), found.pvalue)
