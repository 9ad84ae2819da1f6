"""From a few numbers a tensor to summary rows: arithmetic on the host, in float64."""

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

from backslide.contract import EXPONENT_MAX, EXPONENT_MIN, HISTOGRAM_BINS, ZERO_BIN
from backslide.measure.entries import Frame, frame

Floats = NDArray[np.float64]

KEYS: Final = 512
"""Sign and exponent of a float32: nine bits."""

SHIFT: Final = 64
"""Samples are scaled by 2**SHIFT before their exponents are read: subnormal numbers become
normal ones and only zeros keep exponent 0."""

BIAS: Final = 127 + SHIFT

TINY: Final = 1e-30
"""Mean squares below this may have lost elements whose squares float32 can't hold."""


@dataclass(frozen=True, eq=False)
class Rows:
    """Summaries of the tensors of one step, as columns of length n.

    Attributes:
        keys: names of the rows, ascending; the same array as long as the same tensors come.
        count: elements.
        mean, std, rms, abs_max, zero_fraction, nonfinite_fraction: as in the layers table, in
            float64.
        square_sum: sum of squares; not finite when an element is not.
        clipped: what clipping left of it, as a factor; 1 where nothing was clipped.
        histogram: int32, shape (n, HISTOGRAM_BINS).
        active: where units can be dead: by key and unit, whether it was active in this step.
        unsaturated: the same where units can saturate.
    """

    keys: NDArray[np.int64]
    count: NDArray[np.int64]
    mean: Floats
    std: Floats
    rms: Floats
    abs_max: Floats
    zero_fraction: Floats
    nonfinite_fraction: Floats
    square_sum: Floats
    clipped: Floats
    histogram: NDArray[np.int32]
    active: dict[int, NDArray[np.bool_]]
    unsaturated: dict[int, NDArray[np.bool_]]


_NONE = np.empty(0)
NO_ROWS: Final = Rows(
    _NONE.astype(np.int64),
    _NONE.astype(np.int64),
    *(_NONE,) * 8,
    np.empty((0, HISTOGRAM_BINS), np.int32),
    {},
    {},
)
"""What a step without any tensor leaves."""


@dataclass(frozen=True, eq=False)
class Pieces:
    """Results of one device on the host, one item an entry.

    Attributes:
        mould: what is known about each.
        values: shape (n, 4): sum, sum of squares, smallest and largest element.
        histogram: int32, shape (n, HISTOGRAM_BINS).
        samples: the samples, one after the other.
        active: activity of units, by entry that has some.
        clipped: what clipping left, as a factor, shape (n,).
    """

    mould: Frame
    values: Floats
    histogram: NDArray[np.int32]
    samples: NDArray[np.float32]
    active: dict[int, NDArray[np.bool_]]
    clipped: Floats

    def unscaled(self, contexts: Floats, context: list[int]) -> "Pieces":
        """Divides by the scales of mixed precision, leaves skipped steps out, notes clipping.

        Args:
            contexts: shape (c, 3): scale, above zero for a skipped step, what clipping left.
            context: for each entry a row of `contexts`, or -1.
        """
        plain = [1.0, 0.0, 1.0]  # position -1
        scale, skipped, clipped = np.vstack([contexts, plain])[context].T
        mould = self.mould
        scale[mould.whole] = 1.0  # samples are divided when they are taken
        kept = np.flatnonzero(skipped == 0).tolist()
        samples = [self.samples[: mould.ends[0]]] + [
            self.samples[start:end] for start, end in pairwise(mould.ends)
        ]
        return Pieces(
            frame(tuple(mould.entries[index] for index in kept)),
            (self.values / np.stack([scale, scale**2, scale, scale], 1))[kept],
            self.histogram[kept],
            np.concatenate([samples[index] for index in kept] or [_NONE.astype(np.float32)]),
            {place: self.active[i] for place, i in enumerate(kept) if i in self.active},
            clipped[kept],
        )


def pieces(
    mould: Frame,
    *,
    sums: NDArray[np.float32],
    ranges: NDArray[np.float32],
    largest: NDArray[np.float32],
    smallest: NDArray[np.float32],
    exponents: NDArray[np.int64],
    samples: NDArray[np.float32],
) -> Pieces:
    """Puts what arrived from a device in its places.

    Args:
        mould: what is known about each tensor.
        sums: sum and sum of squares of the large ones.
        ranges: smallest and largest element of those of them that have no units to tell it.
        largest: largest elements of units; of bounded ones, whether they move.
        smallest: smallest elements of units, where these come too.
        exponents: occurrences by sign and exponent, shape (n * KEYS,).
        samples: the samples.
    """
    entries = mould.entries
    values = np.empty((len(entries), 4))
    values[mould.large, :2] = sums.reshape(-1, 2)
    values[mould.ranged, 2:] = ranges.reshape(-1, 2)
    active = {}
    if mould.united.size:
        moving = largest != 0  # not a number is not zero: it keeps a unit active
        moving[mould.both] |= smallest != 0
        for index, start in zip(mould.united.tolist(), mould.unit_starts.tolist(), strict=True):
            active[index] = moving[start : start + entries[index].units]
        lowest = largest.copy()
        lowest[mould.both] = smallest
        spread = mould.united[mould.spread]
        values[spread, 2] = np.minimum.reduceat(lowest, mould.unit_starts)[mould.spread]
        values[spread, 3] = np.maximum.reduceat(largest, mould.unit_starts)[mould.spread]
    if mould.whole.size:
        with np.errstate(invalid="ignore", over="ignore"):  # mended in `merge`
            elements = samples[mould.whole_elements].astype(np.float64)
            starts = mould.whole_starts
            values[mould.whole, 0] = np.add.reduceat(elements, starts)
            values[mould.whole, 2] = np.minimum.reduceat(elements, starts)
            values[mould.whole, 3] = np.maximum.reduceat(elements, starts)
            values[mould.whole, 1] = np.add.reduceat(np.square(elements, out=elements), starts)
    histogram, whole = fold(exponents.reshape(-1, KEYS)), np.ones(len(entries))
    return Pieces(mould, values, histogram, samples, active, whole)


def merge(several: list[Pieces]) -> Rows:
    """The rows of all devices.

    Several entries of one key (the calls of a module within one step) add up, each with the
    weight of its elements.
    """
    several = [each for each in several if each.mould.entries]
    if not several:
        return NO_ROWS
    everything = several[0] if len(several) == 1 else _joined(several)
    mould, values = everything.mould, everything.values
    entries = mould.entries
    order, first, count = mould.order, mould.first, mould.count
    values[:, :2] *= mould.share[:, None]
    with np.errstate(invalid="ignore", over="ignore"):  # what is not finite is mended below
        total, square_sum = np.add.reduceat(values[order, :2], first).T
        extent = np.maximum(np.abs(values[:, 2]), np.abs(values[:, 3]))
        abs_max = np.maximum.reduceat(extent[order], first)
        histogram = np.add.reduceat(everything.histogram[order], first)
        mean = total / count
        mean_square = square_sum / count
        variance = mean_square - mean**2
        std, rms = np.sqrt(np.maximum(variance, 0.0)), np.sqrt(mean_square)
        trusted = (variance >= mould.precision * mean_square) & (mean_square >= TINY)
    trusted = (trusted | (abs_max == 0)) & np.isfinite(variance) & np.isfinite(abs_max)
    rows = Rows(
        mould.keys,
        count,
        mean,
        std,
        rms,
        abs_max,
        histogram[:, ZERO_BIN] / np.maximum(np.add.reduce(histogram, 1), 1),
        np.zeros(len(mould.keys)),
        square_sum.copy(),
        everything.clipped[order[first]],
        histogram,
        _active(everything, bounded=False),
        _active(everything, bounded=True),
    )
    ends = np.append(first, len(entries))
    for index in np.flatnonzero(~trusted).tolist():
        calls = order[ends[index] : ends[index + 1]].tolist()
        _read_sample(
            rows,
            index,
            [
                everything.samples[mould.ends[call] - entries[call].sampled : mould.ends[call]]
                for call in calls
            ],
        )
    return rows


def _joined(several: list[Pieces]) -> Pieces:
    active: dict[int, NDArray[np.bool_]] = {}
    place = 0
    for each in several:
        active |= {place + index: flags for index, flags in each.active.items()}
        place += len(each.mould.entries)
    return Pieces(
        frame(tuple(entry for each in several for entry in each.mould.entries)),
        np.concatenate([each.values for each in several]),
        np.concatenate([each.histogram for each in several]),
        np.concatenate([each.samples for each in several]),
        active,
        np.concatenate([each.clipped for each in several]),
    )


def fold(keys: NDArray[np.int64]) -> NDArray[np.int32]:
    """Occurrences of negative, then positive exponents by row, in the bins of the contract."""
    first, last = EXPONENT_MIN + BIAS, EXPONENT_MAX + BIAS
    bins = np.zeros((len(keys), HISTOGRAM_BINS), np.int32)
    bins[:, ZERO_BIN] = keys[:, 0] + keys[:, KEYS // 2]
    positive, negative = bins[:, ZERO_BIN + 1 :], bins[:, ZERO_BIN - 1 :: -1]
    for side, half in (negative, keys[:, : KEYS // 2]), (positive, keys[:, KEYS // 2 :]):
        side[:, 0] = np.add.reduce(half[:, 1 : first + 1], 1)
        side[:, 1:-1] = half[:, first + 1 : last]
        side[:, -1] = np.add.reduce(half[:, last:], 1)
    return bins


def _active(everything: Pieces, *, bounded: bool) -> dict[int, NDArray[np.bool_]]:
    """By key, units that were active in any call; none where the calls differ in units."""
    active: dict[int, NDArray[np.bool_]] = {}
    for index, calls in everything.active.items():
        entry = everything.mould.entries[index]
        if entry.bounded == bounded:
            known = active.get(entry.key, calls)
            active[entry.key] = known | calls if known.shape == calls.shape else calls[:0]
    return active


def _read_sample(rows: Rows, index: int, samples: list[NDArray[np.float32]]) -> None:
    """Corrects a row from its sample, in float64 over the finite elements.

    It is wanted where elements are not finite, where float32 sums of squares over- or
    underflowed, and where a large mean drowns the spread.
    """
    sample = np.concatenate(samples).astype(np.float64)
    fine = np.isfinite(sample)
    finite = sample[fine]
    rows.std[index] = finite.std() if finite.size else math.nan
    if math.isfinite(rows.abs_max[index]) and TINY <= rows.rms[index] ** 2 < math.inf:
        return  # only the spread was in doubt
    rows.mean[index] = finite.mean() if finite.size else math.nan
    rows.rms[index] = math.sqrt(np.square(finite).mean()) if finite.size else math.nan
    if math.isfinite(rows.abs_max[index]):
        rows.square_sum[index] = rows.rms[index] ** 2 * rows.count[index]
        return
    rows.abs_max[index] = np.abs(finite).max() if finite.size else math.nan
    # At least one element is not finite, whether or not the sample met it.
    share = 1.0 - finite.size / sample.size
    rows.nonfinite_fraction[index] = max(share, 1.0 / rows.count[index])
    rows.zero_fraction[index] = np.count_nonzero(sample == 0) / sample.size
    rows.square_sum[index] = math.nan
    negative = int(np.signbit(sample[~fine]).sum())
    rows.histogram[index, 0] -= negative
    rows.histogram[index, -1] -= sample.size - finite.size - negative
