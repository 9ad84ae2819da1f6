"""One value against those of healthy runs, and how surprising it is."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np
from scipy import stats

from backslide_detector.probe import Numbers
from backslide_detector.stats.multiplicity import holm

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


class Judged(Protocol):
    """Something that was held against healthy runs."""

    @property
    def surprise(self) -> Surprise | None:
        """None where it could not be."""


_Judged = TypeVar("_Judged", bound=Judged)


def surprising(all_: Sequence[_Judged], *, level: float, far: float) -> list[_Judged]:
    """Those whose value is lower than healthy ones explain, by Holm's adjustment over all.

    Args:
        all_: what was judged together.
        level: of the adjusted p-value.
        far: the z below which a value counts as far as well.
    """
    judged = [(each, each.surprise) for each in all_ if each.surprise is not None]
    adjusted = holm([told.pvalue for _, told in judged])
    return [
        each
        for (each, told), pvalue in zip(judged, adjusted, strict=True)
        if pvalue < level and told.z < far
    ]
