"""A noisy series in a few robust numbers: where it began, where it is, how far it came down."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.stats import kendalltau

from backslide_detector.evidence import Floats, Ints, Series

BLOCKS: Final = 40
"""At most as many windows as a curve is cut into; Theil-Sen on more would cost seconds."""
_FIRST: Final = 5
_RECENT: Final = 0.1
_LATER: Final = 40
_GONE: Final = 30.0
_FEW_VALUES: Final = 5
_BY_CHANCE: Final = 0.01
_SINCE: Final = 3
_POINTS: Final = 0.05
_HUGE: Final = 1.7e308  # MLflow stores infinity as 1.797e308


def is_finite(values: Floats) -> NDArray[np.bool_]:
    """False for NaN, for infinities, and for what MLflow writes in their place."""
    return np.isfinite(values) & (np.abs(values) < _HUGE)


def trailing_nonfinite(series: Series) -> int:
    """How many of the newest values in a row are not finite."""
    finite = is_finite(series.values)[::-1]
    return int(finite.argmax()) if finite.any() else len(finite)


def latest(series: Series | None) -> float | None:
    """Median of the last three finite values; None without any."""
    values = np.empty(0) if series is None else series.values[is_finite(series.values)]
    return float(np.median(values[-3:])) if len(values) else None


def running_median(values: Floats) -> Floats:
    """Of three neighbours, shape (n,): a single lucky evaluation is no best one."""
    padded = np.concatenate([values[:1], values, values[-1:]])
    windows = np.lib.stride_tricks.sliding_window_view(padded, 3)
    return np.asarray(np.median(windows, axis=1), dtype=np.float64)


def falls(values: Floats) -> bool:
    """Do at least five values come down steadily, beyond chance (Kendall's tau, one-sided 1 %)?

    Args:
        values: finite, shape (n,), oldest first.
    """
    if len(values) < _FEW_VALUES:
        return False
    trend = kendalltau(np.arange(len(values)), values, alternative="less")
    return bool(trend.pvalue < _BY_CHANCE)


@dataclass(frozen=True, slots=True)
class Rise:
    """How a share of errors came up again.

    Attributes:
        lowest, step: the lowest of its running medians, and where.
        now: median of the newest quarter since then, at least three values.
    """

    lowest: float
    step: int
    now: float


def rise(series: Series) -> Rise | None:
    """The rise since the lowest point; None below five in a hundred, or where it may be chance.

    More than three values must have come since, with a trend (Kendall's tau, one-sided 1 %).
    """
    finite = is_finite(series.values)
    values, steps = series.values[finite], series.steps[finite]
    if len(values) < 2 * _SINCE:
        return None
    levels = running_median(values)
    best = int(levels.argmin())
    after, lowest = values[best:], float(levels[best])
    if len(after) <= _SINCE:
        return None
    now = float(np.median(after[-max(_SINCE, len(after) // 4) :]))
    trend = kendalltau(np.arange(len(after)), after, alternative="greater")
    if trend.pvalue >= _BY_CHANCE or now - lowest < _POINTS:
        return None
    return Rise(lowest, int(steps[best]), now)


@dataclass(frozen=True)
class Curve:
    """The finite part of a series.

    Attributes:
        n: number of finite values.
        initial: median of the first five values; the very first where the others have already
            shot up, which a single step can do.
        final: median of the last tenth (at least five values, where there are as many).
        levels: medians of consecutive windows, shape (b,), b at most `BLOCKS`.
        steps: last step of each window, shape (b,).
        noise: typical distance of a value from its window's median (scaled median absolute
            deviation, so that it estimates a standard deviation).
    """

    n: int
    initial: float
    final: float
    levels: Floats
    steps: Ints
    noise: float

    @property
    def span(self) -> int:
        """Steps from the first window to the last."""
        return int(self.steps[-1] - self.steps[0])

    @property
    def best(self) -> float:
        """Lowest level."""
        return float(self.levels.min())

    @property
    def best_step(self) -> int:
        """Step at the end of the lowest window."""
        return int(self.steps[int(self.levels.argmin())])


def curve(series: Series) -> Curve | None:
    """Summarises a series; None without a finite value."""
    finite = is_finite(series.values)
    values, steps = series.values[finite], series.steps[finite]
    n = len(values)
    if not n:
        return None
    windows = np.array_split(np.arange(n), min(BLOCKS, max(1, n // _FIRST)) if n > 40 else n)
    levels = np.array([np.median(values[w]) for w in windows])
    around = np.concatenate([values[w] - m for w, m in zip(windows, levels, strict=True)])
    noise = float(1.4826 * np.median(np.abs(around)))
    initial = float(np.median(values[:_FIRST]))
    rise = initial - values[0]
    # What shot up for good is noisy too, but no later value comes near the first again.
    gone = n > _LATER and values[1 : _LATER + 1].min() > _GONE * abs(values[0])
    if gone or rise > max(0.5 * abs(values[0]), 6.0 * noise):
        initial = float(values[0])
    recent = min(n, max(_FIRST, int(n * _RECENT)))
    return Curve(
        n=n,
        initial=initial,
        final=float(np.median(values[-recent:])),
        levels=levels,
        steps=steps[[w[-1] for w in windows]],
        noise=noise,
    )
