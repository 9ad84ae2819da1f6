"""From values to places on the paper, and where to write numbers beside them."""

import math
from dataclasses import dataclass

import numpy as np

from backslide_detector.evidence import Floats
from backslide_detector.report.phrases import power


@dataclass(frozen=True, slots=True)
class Scale:
    """An axis.

    Attributes:
        low, high: ends of the values; low < high, and low > 0 on a log axis.
        start, end: ends of the paper.
        log: whether equal factors, not equal differences, are equally far apart.
    """

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        """Place of one value."""
        return float(self.places(np.array([value]))[0])

    def places(self, values: Floats) -> Floats:
        """Places of many values; NaN where a value has none (zero on a log axis, infinity)."""
        low, high = self.low, self.high
        if self.log:
            values = np.log10(np.where(values > 0, values, np.nan))
            low, high = math.log10(low), math.log10(high)
        share = (values - low) / (high - low)
        share = np.where(np.isfinite(share), share, np.nan)
        return self.start + share * (self.end - self.start)

    def ticks(self, count: int = 5) -> list[float]:
        """About `count` round values."""
        return (
            _decades(self.low, self.high, count)
            if self.log
            else _round(self.low, self.high, count)
        )


def fitted(values: Floats, start: float, end: float, *, zero: bool = False) -> Scale:
    """An axis that holds all finite values; logarithmic where they span two decades or more.

    Args:
        values: any shape; at least one finite.
        start: paper coordinate of the low end.
        end: paper coordinate of the high end.
        zero: keep the axis linear and let it begin at zero.
    """
    finite = values[np.isfinite(values)]
    low, high = float(finite.min()), float(finite.max())
    positive = finite[finite > 0]
    if not zero and len(positive) == len(finite) and high >= 100 * low:
        return Scale(low / 1.2, high * 1.2, start, end, log=True)
    low = 0.0 if zero or (0 <= low < 0.5 * high) else low
    room = (high - low) * 0.06 or abs(high) * 0.1 or 1.0
    return Scale(low if low == 0 else low - room, high + room, start, end)


def label(value: float, scale: Scale) -> str:
    """The number beside a tick."""
    if scale.log:
        return power(math.log10(value))
    if value == 0:
        return "0"
    step = (scale.high - scale.low) / 5
    places = min(8, max(0, math.ceil(-math.log10(step))))
    if abs(value) >= 1e5 or step < 1e-6:
        return f"{value:.3g}".replace("-", "−")
    return f"{value:,.{places}f}".replace("-", "−")


def _round(low: float, high: float, count: int) -> list[float]:
    rough = (high - low) / max(count, 1)
    size = 10.0 ** math.floor(math.log10(rough))
    step = next(size * factor for factor in (1, 2, 5, 10) if size * factor >= rough)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(i * step, 12) for i in range(first, last + 1)]


def _decades(low: float, high: float, count: int) -> list[float]:
    first, last = math.ceil(math.log10(low) - 1e-9), math.floor(math.log10(high) + 1e-9)
    stride = max(1, math.ceil((last - first + 1) / count))
    return [10.0**exponent for exponent in range(first, last + 1, stride)]
