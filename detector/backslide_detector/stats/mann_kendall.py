"""Does a noisy, autocorrelated series go up or down? Mann-Kendall on block means.

Successive values of a training run resemble each other, which makes the plain test find a trend
in every third trendless series, and its popular corrections in 9 to 83 %. Means of blocks that
are longer than the memory of the series are nearly independent, so the plain test is right for
them. Where fewer than eight such blocks fit, the answer is "too short" and no p-value.

A run is sampled densely at its start and sparsely later. Blocks of equally many samples would
then be short where the memory is long, so the samples are first put on an even grid of steps.

Mann 1945, Econometrica 13:245-259; Kendall 1938, Biometrika 30:81-93; slope and its interval by
Theil 1950 and Sen 1968, Journal of the American Statistical Association 63:1379-1389. A
covariate is taken out of values and time alike (Frisch and Waugh 1933, Econometrica 1:387-401).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import kendalltau, theilslopes

from backslide_detector.stats.multiplicity import benjamini_hochberg

FEW_BLOCKS: Final = 8
MOST_BLOCKS: Final = 12
FEW_LAYERS: Final = 5
"""Layers of one type; the 120 orders of five are the fewest of which one has p below 0.05."""
_MOST_CELLS: Final = 200
_FILLED: Final = 0.9
_MEMORIES: Final = 1.5
"""Length of a block in units of the series' memory (integrated autocorrelation time)."""
_CLOSE: Final = 0.9
"""Beyond this correlation with time, a covariate leaves too little of a trend to be seen."""
_COLLINEAR: Final = 0.98
"""Beyond this one, it leaves nothing."""
_CONSTANT: Final = 1e-9

_Floats = NDArray[np.float64]


class Answer(StrEnum):
    """What can be said about a trend."""

    TREND = "trend"
    NONE = "none"
    CONFOUNDED = "confounded"
    """There is one, but the covariate goes the same way throughout: either may cause it."""
    TOO_SHORT = "too short"


@dataclass(frozen=True, slots=True)
class Trend:
    """A trend over time, or why none can be told.

    Attributes:
        answer: at the level asked for.
        tau: Kendall's rank correlation of the block means with time, in [-1, 1].
        pvalue: two-sided; 1 where the series is too short.
        slope: Theil-Sen, units of the values a step.
        interval: 95 % confidence interval of the slope.
        blocks: block means that it rests on.
        adjusted: a covariate varied, and slope and p-value are of what it leaves over.
        began: step at which the series left its first level; None without a trend.
    """

    answer: Answer
    tau: float = 0.0
    pvalue: float = 1.0
    slope: float = 0.0
    interval: tuple[float, float] = (0.0, 0.0)
    blocks: int = 0
    adjusted: bool = False
    began: float | None = None


def mann_kendall(
    steps: ArrayLike,
    values: ArrayLike,
    covariate: ArrayLike | None = None,
    *,
    level: float = 0.05,
) -> Trend:
    """Tests one series for a monotone trend.

    Args:
        steps: shape (n,), ascending; they need not be evenly spaced.
        values: shape (n,); those that are not finite are left out.
        covariate: shape (n,), what may move the values beside time (the logarithm of the
            learning rate); taken out where it varies.
        level: of the two-sided test.

    Raises:
        ValueError: the lengths differ.
    """
    series = _Evenly.spaced(steps, values, covariate)
    if series is None:
        return Trend(Answer.TOO_SHORT)
    cause, when = series.covariate, series.steps
    if cause is None or not _varies(cause):
        return _on_blocks(when, when, series.values, _blocks(series.values), level)
    left = _without(cause, series.values)
    blocks = _blocks(left)  # a schedule in steps is no memory
    found = _on_blocks(when, _without(cause, when), left, blocks, level)
    close = abs(_correlation(cause, when))
    if close > _CLOSE and (close > _COLLINEAR or found.answer is Answer.NONE):
        plain = _on_blocks(when, when, series.values, blocks, level)
        if close > _COLLINEAR or plain.answer is Answer.TREND:
            return _confounded(plain)
    return replace(found, adjusted=True)


def layer_trends(
    steps: ArrayLike,
    values: ArrayLike,
    covariate: ArrayLike | None = None,
    *,
    level: float = 0.05,
) -> tuple[Trend, ...]:
    """Tests many series at once, such that at most `level` of those called trends are none.

    Benjamini-Hochberg over all series that are long enough; the p-values are the adjusted ones.

    Args:
        steps: shape (n,).
        values: shape (n, layers).
        covariate: shape (n,).
        level: false discovery rate.

    Raises:
        ValueError: the shapes do not fit.
    """
    table = np.asarray(values, np.float64)
    if table.ndim != 2:
        raise ValueError("values must be a table, one column a layer")
    found = [mann_kendall(steps, column, covariate, level=level) for column in table.T]
    told = [index for index, trend in enumerate(found) if trend.answer is not Answer.TOO_SHORT]
    adjusted = benjamini_hochberg([found[index].pvalue for index in told])
    for index, pvalue in zip(told, adjusted, strict=True):
        kept = pvalue <= level
        found[index] = replace(
            found[index],
            answer=found[index].answer if kept else Answer.NONE,
            pvalue=float(pvalue),
            began=found[index].began if kept else None,
        )
    return tuple(found)


def depth_slope(depths: Sequence[float] | _Floats, sizes: Sequence[float] | _Floats) -> Trend:
    """How fast a size grows with depth: decades a layer, by Theil-Sen.

    For layers of one type only; their sizes must be positive. The interval takes the layers for
    independent.

    Args:
        depths: shape (layers,).
        sizes: shape (layers,), for instance each layer's gradient RMS.

    Raises:
        ValueError: the lengths differ.
    """
    where, size = np.asarray(depths, np.float64), np.asarray(sizes, np.float64)
    if where.shape != size.shape or where.ndim != 1:
        raise ValueError("depths and sizes must be lists of one length")
    known = np.isfinite(where) & np.isfinite(size) & (size > 0.0)
    where, size = where[known], np.log10(size[known])
    if len(np.unique(where)) < FEW_LAYERS:
        return Trend(Answer.TOO_SHORT, blocks=len(where))
    return _ranked(where, size, 0.05)


@dataclass(frozen=True, slots=True)
class _Evenly:
    """A series on an even grid of steps: means of the samples in each cell that has any."""

    steps: _Floats
    values: _Floats
    covariate: _Floats | None

    @classmethod
    def spaced(
        cls, steps: ArrayLike, values: ArrayLike, covariate: ArrayLike | None
    ) -> Self | None:
        """As fine a grid as leaves a tenth of its cells empty; None where it is too coarse."""
        columns = [np.asarray(steps, np.float64), np.asarray(values, np.float64)]
        columns += [] if covariate is None else [np.asarray(covariate, np.float64)]
        if any(x.ndim != 1 or x.shape != columns[0].shape for x in columns):
            raise ValueError("steps, values and covariate must be lists of one length")
        table = np.stack(columns)
        with np.errstate(over="ignore"):
            table = table[:, np.isfinite(table * table).all(axis=0)]
        if table.shape[1] < 2 * FEW_BLOCKS or np.ptp(table[0]) <= 0.0:
            return None
        place = (table[0] - table[0, 0]) / np.ptp(table[0])
        for count in _grids(table.shape[1]):
            cell = np.minimum((place * count).astype(np.int64), count - 1)
            size = np.bincount(cell, minlength=count)
            full = size > 0
            if full.sum() >= _FILLED * count:
                sums = [np.bincount(cell, column, count) for column in table]
                means = [total[full] / size[full] for total in sums]
                return cls(means[0], means[1], None if covariate is None else means[2])
        return None


def _grids(samples: int) -> list[int]:
    """Numbers of cells to try, the finest first, each about 6 % coarser than the last."""
    finest = min(samples, _MOST_CELLS)
    sizes = np.geomspace(2 * FEW_BLOCKS, finest, 40).round().astype(int)
    return [int(size) for size in np.unique(sizes)[::-1]]


def _blocks(series: _Floats) -> int:
    """How many blocks of nearly independent means there are."""
    return min(MOST_BLOCKS, int(len(series) / max(2.0, _MEMORIES * _memory(series))))


def _on_blocks(
    steps: _Floats, time: _Floats, series: _Floats, blocks: int, level: float
) -> Trend:
    """Tests means of blocks; `time` is what the values are held against, in order of steps."""
    if blocks < FEW_BLOCKS:
        return Trend(Answer.TOO_SHORT, blocks=blocks)
    found = _ranked(_means(time, blocks), _means(series, blocks), level)
    if found.answer is not Answer.TREND:
        return found
    # What was taken out of time is put back, so that a straight trend is straight over steps.
    return replace(found, began=_left(steps, series + found.slope * (steps - time)))


def _means(values: _Floats, blocks: int) -> _Floats:
    return np.array([part.mean() for part in np.array_split(values, blocks)])


def _memory(series: _Floats) -> float:
    """Integrated autocorrelation time of what a parabola leaves over, as of an AR(1), >= 1.

    The lag-1 correlation is corrected for the bias that fitting brings, and taken one standard
    error up, so that a short series is called too short and not independent.
    """
    n = len(series)
    time = np.linspace(-1.0, 1.0, n)
    rest = series - np.polyval(np.polyfit(time, series, 2), time)
    power = float(np.dot(rest, rest))
    if power <= _CONSTANT**2 * float(np.dot(series, series)):
        return 1.0
    lag = float(np.dot(rest[1:], rest[:-1])) / power
    lag = min(max(lag + (2.0 + 3.0 * lag) / n + 1.0 / math.sqrt(n), 0.0), 0.999)
    return (1.0 + lag) / (1.0 - lag)


def _ranked(when: _Floats, series: _Floats, level: float) -> Trend:
    """Kendall's test and the Theil-Sen slope of independent values."""
    if not _varies(series):
        return Trend(Answer.NONE, blocks=len(series))
    rank, fit = kendalltau(when, series), theilslopes(series, when)
    return Trend(
        Answer.TREND if rank.pvalue <= level else Answer.NONE,
        float(rank.statistic),
        float(rank.pvalue),
        float(fit.slope),
        (float(fit.low_slope), float(fit.high_slope)),
        len(series),
    )


def _left(steps: _Floats, series: _Floats) -> float:
    """The step up to which a level, and from which a straight line, fit best together."""
    bends = np.maximum(steps[None, :] - steps[:-1, None], 0.0)
    bends -= bends.mean(axis=1, keepdims=True)
    explained = (bends @ series) ** 2 / np.square(bends).sum(axis=1)
    return float(steps[int(explained.argmax())])


def _without(cause: _Floats, values: _Floats) -> _Floats:
    """What a straight line in the cause leaves of the values."""
    centred = cause - cause.mean()
    slope = np.dot(centred, values - values.mean()) / np.dot(centred, centred)
    return np.asarray(values - values.mean() - slope * centred, np.float64)


def _confounded(plain: Trend) -> Trend:
    """The trend as it is seen, which the covariate may cause."""
    if plain.answer is not Answer.TREND:
        return plain
    return replace(plain, answer=Answer.CONFOUNDED)


def _varies(values: _Floats) -> bool:
    return bool(np.ptp(values) > _CONSTANT * np.abs(values).max()) if len(values) else False


def _correlation(one: _Floats, other: _Floats) -> float:
    return float(np.corrcoef(one, other)[0, 1])
