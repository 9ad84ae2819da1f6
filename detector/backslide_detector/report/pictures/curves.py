"""One quantity over training, against the predecessor."""

from dataclasses import dataclass

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from backslide_detector.evidence import Floats, Series
from backslide_detector.report.phrases import INFINITE, number, percent
from backslide_detector.report.pictures import svg
from backslide_detector.report.pictures.scale import Scale, fitted, label

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 400.0, 220.0, 52.0, 390.0, 12.0, 186.0
POINTS = 120
"""Points of a line at most."""


@dataclass(frozen=True, slots=True)
class Line:
    """A series thinned to at most `POINTS` points.

    Attributes:
        steps: mean step of each point, shape (k,).
        middle, low, high: mean, smallest and largest finite value, shape (k,); NaN where none.
        broken: steps at which values were not finite, shape (m,).
    """

    steps: Floats
    middle: Floats
    low: Floats
    high: Floats
    broken: Floats


def finite(values: Floats) -> NDArray[np.bool_]:
    """Which values are numbers; MLflow stores infinity as 1.8e308."""
    return np.abs(values) < INFINITE


def thinned(series: Series) -> Line:
    """Groups neighbouring points; the range of each group is kept beside its mean."""
    groups = np.array_split(np.arange(len(series)), min(POINTS, len(series)))
    values = np.where(finite(series.values), series.values, np.nan)
    parts = [values[group][~np.isnan(values[group])] for group in groups]
    none = np.nan

    def each(reduce: str) -> Floats:
        return np.array([getattr(part, reduce)() if len(part) else none for part in parts])

    return Line(
        steps=np.array([series.steps[group].mean() for group in groups]),
        middle=each("mean"),
        low=each("min"),
        high=each("max"),
        broken=series.steps[np.isnan(values)].astype(np.float64),
    )


def curve(
    title: str,
    new: Series,
    old: Series | None,
    last_step: int,
    *,
    share: bool = False,
    since: int | None = None,
) -> Markup:
    """Draws one quantity of both runs over the same steps.

    Args:
        title: the quantity.
        new: the judged run's series, not empty.
        old: the predecessor's, not empty.
        last_step: right end of the axis, the same in all panels.
        share: the values are shares of one, shown in percent from zero.
        since: step to mark: where the worst finding began.
    """
    lines = [("old", thinned(old))] if old is not None else []
    lines.append(("new", thinned(new)))
    unit = 100.0 if share else 1.0
    reach = np.concatenate([np.concatenate([each.low, each.high]) for _, each in lines]) * unit
    across = Scale(0.0, max(last_step, 1), LEFT, RIGHT)
    shown = reach if np.isfinite(reach).any() else np.array([0.0, 1.0])
    up = fitted(shown, BOTTOM, TOP, zero=share)
    parts = [*_frame(across, up, "%" if share else "")]
    if since is not None:
        parts.append(svg.line(across(since), TOP, across(since), BOTTOM, "since"))
    for who, each in lines:
        x = across.places(each.steps)
        low, middle, high = (up.places(v * unit) for v in (each.low, each.middle, each.high))
        if who == "new" and (each.high > each.low).any():
            parts.append(svg.ribbon(x, low, high, f"range {who}"))
        parts.append(svg.polyline(x, middle, f"curve {who}"))
        if len(each.broken):
            ends = (across(each.broken.min()), across(each.broken.max()))
            parts.append(svg.line(ends[0], TOP + 2, ends[1] + 2, TOP + 2, f"broken {who}"))
    return svg.drawing(
        WIDTH, HEIGHT, _spoken(title, new, old, share=share), *parts, class_="panel"
    )


def _frame(across: Scale, up: Scale, unit: str) -> list[Markup]:
    parts = []
    for tick in up.ticks(5):
        parts.append(svg.line(LEFT, up(tick), RIGHT, up(tick), "grid"))
        text = label(tick, up) + (f" {unit}" if unit else "")
        parts.append(svg.words(LEFT - 6, up(tick) + 4, text, "tick", "end"))
    parts += [
        svg.words(across(tick), BOTTOM + 16, label(tick, across), "tick", "middle")
        for tick in across.ticks(4)
    ]
    parts.append(svg.line(LEFT, BOTTOM, RIGHT, BOTTOM, "axis"))
    scale = "step" + (" (vertical axis logarithmic)" if up.log else "")
    parts.append(svg.words((LEFT + RIGHT) / 2, BOTTOM + 31, scale, "tick", "middle"))
    return parts


def _spoken(title: str, new: Series, old: Series | None, *, share: bool) -> str:
    write = percent if share else number
    said = f"{title} over training: ends at {write(new.last)}"
    return said + (f", the predecessor at {write(old.last)}" if old is not None else "")
