"""From a few numbers a tensor to summary rows: arithmetic on the host, in float64."""

import math
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from backslide.contract import EXPONENT_MAX, EXPONENT_MIN, HISTOGRAM_BINS, ZERO_BIN

Floats = NDArray[np.float64]

KEYS: Final = 512
"""Sign and exponent of a float32: nine bits."""

SHIFT: Final = 64
"""Samples are scaled by 2**SHIFT before their exponents are read: subnormal numbers become
normal ones and only zeros keep exponent 0."""

BIAS: Final = 127 + SHIFT

TINY: Final = 1e-30
"""Mean squares below this may have lost elements whose squares float32 can't hold."""


class Entry(NamedTuple):
    """What is known on the host about one queued tensor.

    Attributes:
        key: the caller's name for the row that it adds to.
        elements: elements it stands for.
        reduced: elements the moments were taken over (fewer than `elements` for a sample).
        sampled: elements of the histogram.
        units: number of units, 0 when they are not told apart.
        bounded: whether inactive means saturated instead of dead.
    """

    key: int
    elements: int
    reduced: int
    sampled: int
    units: int
    bounded: bool


@dataclass(frozen=True, eq=False)
class Rows:
    """Summaries of the tensors of one step, as columns of length n.

    Attributes:
        keys: names of the rows, ascending.
        count: elements.
        mean, std, rms, abs_max, zero_fraction, nonfinite_fraction: as in the layers table, in
            float64.
        square_sum: sum of squares; not finite when an element is not.
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
    histogram: NDArray[np.int32]
    active: dict[int, NDArray[np.bool_]]
    unsaturated: dict[int, NDArray[np.bool_]]


_NONE = np.empty(0)
NO_ROWS: Final = Rows(
    _NONE.astype(np.int64),
    _NONE.astype(np.int64),
    *(_NONE,) * 7,
    np.empty((0, HISTOGRAM_BINS), np.int32),
    {},
    {},
)
"""What a step without any tensor leaves."""


@dataclass(frozen=True, eq=False)
class Pieces:
    """Results of one device on the host, one item an entry.

    Attributes:
        entries: what is known about each.
        values: shape (n, 4): sum, sum of squares, smallest and largest element.
        histogram: int32, shape (n, HISTOGRAM_BINS).
        samples: the samples.
        active: activity of units, empty where there are none.
    """

    entries: list[Entry]
    values: Floats
    histogram: NDArray[np.int32]
    samples: list[NDArray[np.float32]]
    active: list[NDArray[np.bool_]]

    def unscaled(self, contexts: Floats, context: list[int]) -> "Pieces":
        """Divides by the scales of mixed precision and leaves skipped steps out.

        Args:
            contexts: shape (c, 2): scale, and above zero for a skipped step.
            context: for each entry a row of `contexts`, or -1.
        """
        plain = [1.0, 0.0]  # position -1
        scale, skipped = np.vstack([contexts, plain])[context].T
        kept = np.flatnonzero(skipped == 0)
        return Pieces(
            [self.entries[index] for index in kept],
            (self.values / np.stack([scale, scale**2, scale, scale], 1))[kept],
            self.histogram[kept],
            [self.samples[index] for index in kept],
            [self.active[index] for index in kept],
        )


def merge(pieces: list[Pieces]) -> Rows:
    """The rows of all devices.

    Several entries of one key (the calls of a module within one step) add up, each with the
    weight of its elements.
    """
    entries = [entry for piece in pieces for entry in piece.entries]
    if not entries:
        return NO_ROWS
    values = np.concatenate([piece.values for piece in pieces])
    calls = np.concatenate([piece.histogram for piece in pieces])
    names = np.array([entry.key for entry in entries], np.int64)
    order = np.argsort(names, kind="stable")
    keys, first = np.unique(names[order], return_index=True)
    elements = np.array([entry.elements for entry in entries], np.int64)
    share = np.array([entry.elements / entry.reduced for entry in entries])
    values[:, :2] *= share[:, None]
    with np.errstate(invalid="ignore", over="ignore"):  # what is not finite is mended below
        count = np.add.reduceat(elements[order], first)
        total, square_sum = np.add.reduceat(values[order, :2], first).T
        abs_max = np.maximum.reduceat(np.abs(values[order, 2:]).max(1), first)
        histogram = np.add.reduceat(calls[order], first)
        mean = total / count
        mean_square = square_sum / count
        variance = mean_square - mean**2
        std, rms = np.sqrt(np.maximum(variance, 0.0)), np.sqrt(mean_square)
        trusted = (variance >= 1e-3 * mean_square) & (mean_square >= TINY)
    trusted = (trusted | (abs_max == 0)) & np.isfinite(variance) & np.isfinite(abs_max)
    flags = [units for piece in pieces for units in piece.active]
    rows = Rows(
        keys,
        count,
        mean,
        std,
        rms,
        abs_max,
        histogram[:, ZERO_BIN] / np.maximum(histogram.sum(1), 1),
        np.zeros(len(keys)),
        square_sum.copy(),
        histogram,
        _active(entries, flags, bounded=False),
        _active(entries, flags, bounded=True),
    )
    samples = [sample for piece in pieces for sample in piece.samples]
    for index in np.flatnonzero(~trusted).tolist():
        _read_sample(
            rows, index, [samples[call] for call in np.flatnonzero(names == keys[index])]
        )
    return rows


def fold(keys: NDArray[np.int32]) -> NDArray[np.int32]:
    """Occurrences by sign and exponent, shape (n, KEYS), in the bins of the contract."""
    first, last = EXPONENT_MIN + BIAS, EXPONENT_MAX + BIAS
    bins = np.zeros((len(keys), HISTOGRAM_BINS), np.int32)
    bins[:, ZERO_BIN] = keys[:, 0] + keys[:, KEYS // 2]
    positive, negative = bins[:, ZERO_BIN + 1 :], bins[:, ZERO_BIN - 1 :: -1]
    for side, half in (positive, keys[:, : KEYS // 2]), (negative, keys[:, KEYS // 2 :]):
        side[:, 0] = half[:, 1 : first + 1].sum(1)
        side[:, 1:-1] = half[:, first + 1 : last]
        side[:, -1] = half[:, last:].sum(1)
    return bins


def _active(
    entries: list[Entry], flags: list[NDArray[np.bool_]], *, bounded: bool
) -> dict[int, NDArray[np.bool_]]:
    """By key, units that were active in any call; none where the calls differ in units."""
    active: dict[int, NDArray[np.bool_]] = {}
    for entry, calls in zip(entries, flags, strict=True):
        if entry.units and entry.bounded == bounded:
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
