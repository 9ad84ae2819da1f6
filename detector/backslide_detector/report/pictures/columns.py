"""Many snapshots on few columns, and what a log-histogram says about magnitudes."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from backslide.contract import EXPONENT_MIN, MAGNITUDE_BINS, ZERO_BIN
from backslide_detector.evidence import Floats, Ints

MOST = 160
"""Columns of a picture at most: about what a screen shows as single columns."""


@dataclass(frozen=True, slots=True)
class Columns:
    """Which snapshots each column stands for.

    Columns are equally wide in steps. One without a snapshot of its own shows the latest
    before it, because a network keeps its state until it is changed.

    Attributes:
        first, last: steps at the ends.
        spans: (from, to) indices of the snapshots of each column, never empty.
    """

    first: int
    last: int
    spans: tuple[tuple[int, int], ...]

    def mean(self, values: Floats) -> Floats:
        """Columns of the mean over snapshots; (s, ...) to (columns, ...), NaN ignored."""
        return np.stack([_nanmean(values[a:b]) for a, b in self.spans])

    def highest(self, values: Floats) -> Floats:
        """Columns of the largest value, so that a peak of one snapshot is not lost."""
        return np.stack([_nanmax(values[a:b]) for a, b in self.spans])

    def total(self, counts: NDArray[np.int32]) -> Ints:
        """Columns of summed histograms."""
        return np.stack([counts[a:b].sum(axis=0, dtype=np.int64) for a, b in self.spans])


def columns(steps: Ints) -> Columns:
    """Spreads snapshots at `steps`, shape (s,), s >= 1, over at most `MOST` columns."""
    first, last = int(steps[0]), int(steps[-1])
    width = min(MOST, len(steps)) if last > first else 1
    edges = np.linspace(first, last, width + 1)
    stops = np.searchsorted(steps, edges[1:], side="left")
    stops[-1] = len(steps)
    stops = np.maximum(stops, 1)
    starts = np.concatenate([[0], stops[:-1]])
    starts = np.minimum(starts, stops - 1)  # an empty column holds the snapshot before it
    return Columns(first, last, tuple(zip(starts.tolist(), stops.tolist(), strict=True)))


def magnitudes(histogram: NDArray[np.integer]) -> Ints:
    """Counts by size alone, sign dropped; (..., HISTOGRAM_BINS) to (..., MAGNITUDE_BINS)."""
    below = histogram[..., ZERO_BIN - 1 :: -1]
    above = histogram[..., ZERO_BIN + 1 :]
    return below.astype(np.int64) + above


def median_exponent(histogram: NDArray[np.integer]) -> Floats:
    """log2 of the median magnitude of the non-zero elements, within a bin interpolated.

    Args:
        histogram: shape (..., HISTOGRAM_BINS).

    Returns:
        Shape (...); NaN where every element is zero or nothing was measured.
    """
    counts = magnitudes(histogram)
    total = counts.sum(axis=-1)
    reached = counts.cumsum(axis=-1)
    half = total[..., None] / 2
    at = np.minimum((reached < half).sum(axis=-1), MAGNITUDE_BINS - 1)
    inside = np.take_along_axis(counts, at[..., None], -1)[..., 0]
    before = np.take_along_axis(reached, at[..., None], -1)[..., 0] - inside
    share = (half[..., 0] - before) / np.maximum(inside, 1)
    return np.where(total > 0, EXPONENT_MIN + at + share, np.nan)


def _nanmean(values: Floats) -> Floats:
    known = np.isfinite(values)
    count = known.sum(axis=0)
    total = np.where(known, values, 0.0).sum(axis=0)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _nanmax(values: Floats) -> Floats:
    known = np.isfinite(values)
    top = np.where(known, values, -np.inf).max(axis=0)
    return np.where(known.any(axis=0), top, np.nan)
