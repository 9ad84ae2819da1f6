"""Layers whose gradients fade or grow over the run, as far as it can be told from chance."""

from dataclasses import dataclass
from typing import Final

import numpy as np

from backslide_detector.checks.layers import matrices, typical
from backslide_detector.evidence import Floats, Ints, LayerHistory, Series
from backslide_detector.stats.mann_kendall import Answer, Trend, depth_slope, layer_trends

FEW_SNAPSHOTS: Final = 16


@dataclass(frozen=True, slots=True)
class Going:
    """The layer that goes furthest one way.

    Attributes:
        index: place of its tensor in the history.
        trend: of the logarithm (base 10) of its size.
        decades: change over the run, below zero where it fades: the smaller of what the slope
            amounts to and of what was measured between the first and the last tenth.
        since: step at which it began.
    """

    index: int
    trend: Trend
    decades: float
    since: int

    @property
    def confounded(self) -> bool:
        """The learning rate went the same way throughout: either may be the cause."""
        return self.trend.answer is Answer.CONFOUNDED

    @property
    def numbers(self) -> dict[str, float]:
        """Decades in all, and every 1,000 steps with their 95 % interval."""
        slope, (low, high) = self.trend.slope, self.trend.interval
        return {
            "decades": self.decades,
            "decades_per_1000_steps": 1_000 * slope,
            "low": 1_000 * low,
            "high": 1_000 * high,
            "pvalue": self.trend.pvalue,
        }

    def words(self) -> str:
        """How fast, how surely, since when, and what was taken out."""
        low, high = (times(1_000 * bound) for bound in self.trend.interval)
        rate = ", beyond what the learning rate explains" if self.trend.adjusted else ""
        if self.confounded:
            rate = ", confounded with the learning rate, which goes the same way"
        return (
            f"{times(1_000 * self.trend.slope)} every 1,000 steps "
            f"(95 % interval {low} to {high}) since step {self.since}{rate}"
        )


def furthest(
    history: LayerHistory,
    learning_rate: Series | None,
    least: float,
    *,
    against_others: bool = False,
) -> Going | None:
    """The weight matrix whose size changes most in one direction, by the trends of all of them.

    At most 5 % of the layers called trending are not, whatever their number. One that may only
    follow the learning rate is given where there is no other. None where no trend can be told,
    and where it ended out of range, which nan-or-inf tells.

    Args:
        history: of gradients, for instance.
        learning_rate: what follows its logarithm is taken out.
        least: decades over the run that count; below zero for layers that fade.
        against_others: sizes are held against the median of all layers at the same step.
    """
    chosen = matrices(history)
    if len(history.steps) < FEW_SNAPSHOTS or not chosen:
        return None
    if (history.nonfinite_fraction[:, chosen] > 0.0).any():
        return None
    sizes = _decades(history.rms[:, chosen])
    if against_others:
        sizes -= typical(sizes.T)[:, None]
    seen = _change(history.steps, sizes)
    far = np.flatnonzero(seen / least >= 1.0)
    if not len(far):
        return None
    pace = None if learning_rate is None else _decades(learning_rate.at(history.steps))
    # Layers that hardly changed have no part in it but count among those that were looked at.
    looked = np.zeros_like(sizes)
    looked[:, far] = sizes[:, far]
    found = layer_trends(history.steps, looked, pace)
    span = float(history.steps[-1] - history.steps[0])
    going = [
        Going(chosen[i], found[i], min(seen[i] / least, told) * least, round(began))
        for i in far.tolist()
        if (began := found[i].began) is not None
        if (told := found[i].slope * span / least) >= 1.0
    ]
    return max(going, key=lambda g: (not g.confounded, abs(g.decades)), default=None)


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


def _change(steps: Ints, sizes: Floats) -> Floats:
    """Decades from the first to the last tenth of the steps, (s, l) to (l,); 0 if not known."""
    done = (steps - steps[0]) / max(float(steps[-1] - steps[0]), 1.0)
    return np.nan_to_num(typical(sizes[done >= 0.9]) - typical(sizes[done <= 0.1]))


def _decades(values: Floats) -> Floats:
    """log10; NaN where a value has none."""
    return np.log10(np.where(np.isfinite(values) & (values > 0.0), values, np.nan))
