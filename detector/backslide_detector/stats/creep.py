"""Slow creep of a lineage: too little at each retrain for any comparison of two."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

RUN_LENGTH: Final = 500.0
"""Retrains between two false alarms, at least and on average."""

SHIFTS: Final = (0.25, 0.5, 1.0, 2.0)
"""Shifts in standard deviations that the detector mixes over."""

_FLAT: Final = 1e-12
"""Differences below this share of the values are rounding."""

_FARTHEST: Final = 8.0
"""Scores are cut here: a normal tail of 1e-15 is as far as two-sided arithmetic reaches."""


@dataclass(frozen=True, slots=True)
class Creep:
    """What the detector made of a lineage.

    Attributes:
        path: the detector after each value from the third on, shape (max(t - 2, 0),).
        alarm: index into the series of the first value at which it reached the run length;
            None if it never did.
    """

    path: NDArray[np.float64]
    alarm: int | None


def detect_creep(errors: ArrayLike, *, run_length: float = RUN_LENGTH) -> Creep:
    """Find an upward creep or step in the error rates of a lineage.

    Self-starting scores, held against a mixture of Shiryaev-Roberts detectors over `SHIFTS`:
    neither the level nor the noise of the lineage needs to be known. A drift that began with
    the lineage itself is taken for its noise; hold such a lineage against a fixed anchor too.

    Args:
        errors: in order of time, shape (t,).
        run_length: retrains between false alarms, on average.

    Raises:
        ValueError: values that are not finite, or a run length below 1.
    """
    if not run_length >= 1:
        raise ValueError(f"the run length must be at least 1, not {run_length}")
    path = shift_detector(self_starting(errors))
    over = np.flatnonzero(path >= run_length)
    return Creep(path, int(over[0]) + 2 if len(over) else None)


def self_starting(values: ArrayLike) -> NDArray[np.float64]:
    """Standardise each value by all earlier ones: independent N(0, 1) while nothing changes.

    U_t = Phi^-1(T_{t-2}(sqrt((t-1)/t) (x_t - mean) / s)) (Hawkins 1987, The Statistician
    36:299-315); exact for normal values of unknown mean and spread.

    Args:
        values: shape (t,), in order of time.

    Returns:
        shape (max(t - 2, 0),), from the third value on, within +-8; 0 where all values so far
        are equal.

    Raises:
        ValueError: values that are not finite.
    """
    x = np.asarray(values, dtype=np.float64)
    if x.ndim != 1 or not np.all(np.isfinite(x)):
        raise ValueError("the series must be one row of finite values")
    if len(x) < 3:
        return np.empty(0)
    t = np.arange(3, len(x) + 1)
    centred = x - x[0]
    mean = np.cumsum(centred)[1:-1] / (t - 1)
    squares = np.cumsum(centred**2)[1:-1]
    spread = np.sqrt(np.maximum(squares - (t - 1) * mean**2, 0.0) / (t - 2))
    distance = centred[2:] - mean

    rounding = _FLAT * np.max(np.abs(x))
    studentised = np.sqrt((t - 1) / t) * distance / np.maximum(spread, rounding or 1.0)
    size = np.minimum(stats.norm.isf(stats.t.sf(np.abs(studentised), t - 2)), _FARTHEST)
    size = np.where(np.abs(distance) <= rounding, 0.0, size)
    return np.asarray(np.copysign(size, distance), dtype=np.float64)


def shift_detector(
    scores: Sequence[float] | NDArray[np.float64], shifts: Sequence[float] = SHIFTS
) -> NDArray[np.float64]:
    """Mean of the Shiryaev-Roberts detectors of N(0, 1) scores for each shift, shape (t,)."""
    sizes = np.asarray(shifts, dtype=np.float64)
    detectors: NDArray[np.float64] | float = -np.inf
    path = np.empty((len(scores), len(sizes)))
    for i, score in enumerate(scores):
        path[i] = detectors = grown(detectors, sizes * score - sizes**2 / 2)
    log_mean = np.logaddexp.reduce(path, axis=1) - np.log(len(sizes))
    return np.asarray(np.exp(np.minimum(log_mean, 700.0)), dtype=np.float64)


def grown(
    log_detectors: NDArray[np.float64] | float, log_e_values: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Shiryaev-Roberts recursion R <- (1 + R) e in logarithms, elementwise."""
    return np.asarray(np.logaddexp(0.0, log_detectors) + log_e_values, dtype=np.float64)
