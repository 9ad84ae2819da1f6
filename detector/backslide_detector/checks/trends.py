"""Layers whose gradients fade or grow over the run, as far as it can be told from chance."""

from dataclasses import dataclass
from typing import Final

import numpy as np

from backslide_detector.checks.layers import matrices
from backslide_detector.evidence import Floats, Ints, LayerHistory, Series
from backslide_detector.stats.mann_kendall import Answer, Trend, depth_slope, layer_trends

FEW_SNAPSHOTS: Final = 16


@dataclass(frozen=True, slots=True)
class Going:
    """The layer that goes furthest one way.

    Attributes:
        index: place of its tensor in the history.
        trend: of the logarithm (base 10) of its size.
        decades: change over the run, below zero where it falls: the smaller of what the slope
            amounts to and of what was measured between the first and the last tenth.
        since: step at which it began.
    """

    index: int
    trend: Trend
    decades: float
    since: int

    def words(self) -> str:
        """How fast, how surely, since when, and what was taken out."""
        low, high = (times(1_000 * bound) for bound in self.trend.interval)
        rate = ", beyond what the learning rate explains" if self.trend.adjusted else ""
        return (
            f"{times(1_000 * self.trend.slope)} every 1,000 steps "
            f"(95 % interval {low} to {high}) since step {self.since}{rate}"
        )


def furthest(history: LayerHistory, learning_rate: Series | None, *, up: bool) -> Going | None:
    """The weight matrix whose size grows most (or fades most), by the trends of all of them.

    At most 5 % of the layers called trending are not, whatever their number. None where no
    trend can be told, where it may only follow the learning rate, and where it ended out of
    range, which nan-or-inf tells.
    """
    chosen = matrices(history)
    if len(history.steps) < FEW_SNAPSHOTS or not chosen:
        return None
    if (history.nonfinite_fraction[:, chosen] > 0.0).any():
        return None
    pace = None if learning_rate is None else _decades(learning_rate.at(history.steps))
    sizes = _decades(history.rms[:, chosen])
    found = layer_trends(history.steps, sizes, pace)
    going = [
        Going(index, trend, _change(history.steps, column, trend.slope), round(trend.began))
        for index, column, trend in zip(chosen, sizes.T, found, strict=True)
        if trend.answer is Answer.TREND and trend.began is not None
        if (trend.slope > 0.0) is up
    ]
    return max(going, key=lambda each: abs(each.decades), default=None)


def across_depth(history: LayerHistory, sizes: Floats, like: int) -> Trend:
    """Slope of log10 size over the depth, among weight matrices of one kind of module.

    Args:
        history: whose tensors they are.
        sizes: of every tensor, shape (l,); others than positive ones are left out.
        like: a tensor of that kind.
    """
    same = [i for i in matrices(history) if history.kinds[i] == history.kinds[like]]
    return depth_slope(history.depth[same].astype(np.float64), sizes[same])


def times(decades: float) -> str:
    """`×0.32`: by what a size is multiplied."""
    return f"×{10.0 ** min(max(decades, -99.0), 99.0):.2g}"


def _change(steps: Ints, sizes: Floats, slope: float) -> float:
    """Decades from the first to the last tenth of the steps, no more than the slope gives."""
    span = float(steps[-1] - steps[0])
    known = np.isfinite(sizes)
    done = (steps - steps[0]) / span
    first, last = sizes[known & (done <= 0.1)], sizes[known & (done >= 0.9)]
    told = slope * span
    if not (len(first) and len(last)):
        return told
    seen = float(np.median(last) - np.median(first))
    return told if abs(told) < abs(seen) else float(np.copysign(seen, told))


def _decades(values: Floats) -> Floats:
    """log10; NaN where a value has none."""
    return np.log10(np.where(np.isfinite(values) & (values > 0.0), values, np.nan))
