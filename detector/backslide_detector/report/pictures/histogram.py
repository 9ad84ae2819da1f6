"""How large one tensor's elements are, over training."""

import math
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from backslide.contract import EXPONENT_MIN, MAGNITUDE_BINS, ZERO_BIN
from backslide_detector.evidence import Floats, Ints
from backslide_detector.report.phrases import magnitude, power
from backslide_detector.report.pictures import png, svg
from backslide_detector.report.pictures.columns import (
    Columns,
    columns,
    magnitudes,
    median_exponent,
)
from backslide_detector.report.pictures.scale import Scale

WIDTH, HEIGHT, LEFT, RIGHT, STRIP, TOP, BOTTOM = 250.0, 150.0, 38.0, 246.0, 3.0, 12.0, 132.0
_DENSITY = [*png.fade(37, 99, 235), png.NOTHING]
_ZEROS = [*png.fade(120, 128, 140), png.NOTHING]
HOVERS = 24
"""Columns at most whose numbers the page's script can show."""
POINTS = 80
"""Points of a line at most."""
_LOG10_2 = math.log10(2)


@dataclass(frozen=True, slots=True)
class Track:
    """One tensor's histograms: steps of shape (s,), counts of shape (s, HISTOGRAM_BINS)."""

    steps: Ints
    counts: NDArray[np.int32]


def span(tracks: list[Track]) -> tuple[int, int]:
    """Exponents (low, high) of the bins that any of the tensors uses, the rare tails aside.

    A bin counts when it holds a ten-thousandth of the elements: one stray value would
    otherwise squeeze everything else into a few lines.
    """
    total = sum(
        (magnitudes(track.counts).sum(axis=0) for track in tracks), np.zeros(MAGNITUDE_BINS)
    )
    used = np.flatnonzero(total > total.sum() * 1e-4)
    if not len(used):
        return EXPONENT_MIN, EXPONENT_MIN + MAGNITUDE_BINS
    return EXPONENT_MIN + max(int(used[0]) - 1, 0), EXPONENT_MIN + int(used[-1]) + 1


def histogram(
    name: str, new: Track, old: Track | None, reach: tuple[int, int], last_step: int
) -> Markup:
    """Draws one tensor: the darker, the more elements have that size.

    The line is the median of the non-zero elements, the dashed one the predecessor's; the
    strip on top shows the share of exact zeros.

    Args:
        name: what a screen reader calls the tensor.
        new: the judged run.
        old: the predecessor.
        reach: exponents of two at the bottom and the top, the same in all panels.
        last_step: right end of the axis, the same in all panels.
    """
    across = Scale(0.0, max(last_step, 1), LEFT, RIGHT)
    up = Scale(reach[0], reach[1], BOTTOM, TOP)
    grid = columns(new.steps)
    counts = grid.total(new.counts)
    left, right = across(grid.first), max(across(grid.last), across(grid.first) + 2)
    parts = [
        svg.rectangle(LEFT, TOP, RIGHT - LEFT, BOTTOM - TOP, "ground"),
        _unmeasured(counts, left, right),
        svg.image(
            png.levels(_density(counts, reach), 0.0, 1.0),
            _DENSITY,
            (left, TOP, right - left, BOTTOM - TOP),
        ),
        svg.image(
            png.levels(_zeros(counts), 0.0, 1.0), _ZEROS, (left, STRIP, right - left, 6.0)
        ),
        svg.rectangle(left, STRIP, right - left, 6.0, "outline"),
        *_axes(up, last_step),
    ]
    if old is not None:
        parts.append(_median(old, across, up, "median old"))
    middle = (np.arange(len(grid.spans)) + 0.5) / len(grid.spans) * (right - left) + left
    parts.append(_line(middle, up.places(median_exponent(counts)), "median new"))
    hover = _hover(grid, counts, (left, right))
    return svg.drawing(WIDTH, HEIGHT, name, *parts, class_="small", hover=hover)


def _hover(grid: Columns, counts: Ints, ends: tuple[float, float]) -> str:
    """The numbers of some columns, for the page's script."""
    chosen = np.unique(np.linspace(0, len(counts) - 1, min(len(counts), HOVERS)).round())
    steps = np.linspace(grid.first, grid.last, len(counts))
    sizes = median_exponent(counts)
    zeros = _zeros(counts)[0]
    said = [f"{svg.coordinate(ends[0])} {svg.coordinate(ends[1])}"]
    for column in chosen.astype(int).tolist():
        known = np.isfinite(zeros[column])
        size = "all zero" if np.isnan(sizes[column]) else magnitude(2.0 ** sizes[column])
        numbers = f"median {size}, zeros {zeros[column]:.0%}" if known else "not measured"
        said.append(f"step {steps[column]:,.0f}: {numbers}")
    return "|".join(said)


def _density(counts: Ints, reach: tuple[int, int]) -> NDArray[np.float64]:
    sizes = magnitudes(counts).astype(np.float64)
    measured = counts.sum(axis=1)
    share = sizes / np.maximum(measured, 1)[:, None]
    share[measured == 0] = np.nan
    shown = share[:, reach[0] - EXPONENT_MIN : reach[1] - EXPONENT_MIN]
    top = np.nanmax(shown) if np.isfinite(shown).any() else 1.0
    shade: NDArray[np.float64] = np.sqrt(shown.T[::-1] / (top or 1.0))
    return shade


def _zeros(counts: Ints) -> NDArray[np.float64]:
    measured = counts.sum(axis=1)
    share = counts[:, ZERO_BIN] / np.maximum(measured, 1)
    return np.where(measured > 0, share, np.nan)[None, :]


def _unmeasured(counts: Ints, left: float, right: float) -> Markup:
    columns = svg.stretches((counts.sum(axis=1) == 0)[None, :])
    return svg.cells(columns, (left, TOP, (right - left) / len(counts), BOTTOM - TOP))


def _median(track: Track, across: Scale, up: Scale, class_: str) -> Markup:
    grid = columns(track.steps)
    steps = np.linspace(grid.first, grid.last, len(grid.spans))
    inside = np.where(steps <= across.high, steps, np.nan)
    return _line(
        across.places(inside), up.places(median_exponent(grid.total(track.counts))), class_
    )


def _line(x: Floats, y: Floats, class_: str) -> Markup:
    """A line through at most `POINTS` of the points: a picture of 200 pixels shows no more."""
    stride = -(-len(x) // POINTS)
    return svg.polyline(x[::stride].round(1), y[::stride].round(1), class_)


def _axes(up: Scale, last_step: int) -> list[Markup]:
    low, high = math.ceil(up.low * _LOG10_2), math.floor(up.high * _LOG10_2)
    stride = max(1, math.ceil((high - low + 1) / 4))
    parts = []
    for exponent in range(low, high + 1, stride):
        y = up(exponent / _LOG10_2)
        parts.append(svg.line(LEFT - 3, y, LEFT, y, "axis"))
        parts.append(svg.words(LEFT - 5, y + 4, power(exponent), "tick", "end"))
    parts.append(svg.words(LEFT, BOTTOM + 14, "step 0", "tick"))
    parts.append(svg.words(RIGHT, BOTTOM + 14, f"{last_step:,}", "tick", "end"))
    return parts
