"""One value against those of healthy runs, and how surprising it is."""

import math
from dataclasses import dataclass

import numpy as np
from scipy import stats

from backslide_detector.probe import Numbers

ENOUGH = 8
"""Healthy runs from which on their spread is known well enough for an alarm."""


@dataclass(frozen=True, slots=True)
class Surprise:
    """How far a value lies from healthy ones.

    Attributes:
        value: of the new run.
        mean, sd: of the n healthy runs; the deviation is not below its floor.
        z: (value - mean) / (sd sqrt(1 + 1/n)).
        pvalue: of so low a value, or of one so far away, by Student's t with n - 1 degrees.
    """

    value: float
    mean: float
    sd: float
    z: float
    pvalue: float
    n: int

    @property
    def usual(self) -> str:
        """What is usual, in words."""
        return f"in {self.n} healthy runs {self.mean:.2f} ± {self.sd:.2f}"


def surprise(
    value: float, healthy: Numbers, floor: float, *, both: bool = False
) -> Surprise | None:
    """A new value against the prediction interval of earlier ones.

    Source: Hahn and Meeker (1991), Statistical intervals, section 4.7: a single future
    observation of a normal population.

    Args:
        value: of the new run.
        healthy: of the healthy runs, shape (n,); those that are not finite are left out.
        floor: the least standard deviation to believe in.
        both: whether high values surprise as well.

    Returns:
        None with fewer than two healthy values, or when the value itself is not finite.
    """
    known = healthy[np.isfinite(healthy)]
    n = len(known)
    if n < 2 or not math.isfinite(value):
        return None
    mean, sd = float(known.mean()), max(float(known.std(ddof=1)), floor)
    z = (value - mean) / (sd * math.sqrt(1 + 1 / n))
    tail = float(stats.t.cdf(-abs(z) if both else z, n - 1))
    return Surprise(value, mean, sd, z, min(1.0, 2 * tail) if both else tail, n)
