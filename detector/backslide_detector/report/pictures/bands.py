"""Values in rows, each beside what it was before and what is usual."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

from backslide_detector.report.phrases import shorten
from backslide_detector.report.pictures import svg
from backslide_detector.report.pictures.scale import Scale

WIDTH, TOP, HIGH = 620.0, 26.0, 20.0
LEFT, RIGHT, NUMBERS = 190.0, 560.0, 568.0
LETTERS = 28


@dataclass(frozen=True, slots=True)
class Row:
    """One value.

    Attributes:
        name: what was measured.
        value: now; NaN is drawn as missing.
        before: of the predecessor, None without one.
        band: lowest and highest of healthy runs, None without any.
        bad: a finding says so.
    """

    name: str
    value: float
    before: float | None = None
    band: tuple[float, float] | None = None
    bad: bool = False


def bands(
    title: str,
    rows: Sequence[Row],
    ends: tuple[float, float],
    write: Callable[[float], str],
) -> Markup:
    """Draws one row a value on a common axis.

    Args:
        title: what all of them are, for a screen reader.
        rows: from top to bottom.
        ends: of the axis; values outside stand at its ends.
        write: the text of a value.
    """
    bottom = TOP + HIGH * len(rows)
    across = Scale(ends[0], ends[1], LEFT, RIGHT)
    parts = []
    for tick in across.ticks(5):
        parts.append(svg.line(across(tick), TOP - 4, across(tick), bottom, "grid"))
        parts.append(svg.words(across(tick), TOP - 9, write(tick), "tick", "middle"))
    for number, row in enumerate(rows):
        parts += _row(row, TOP + HIGH * (number + 0.5), across, write)
    said = "; ".join(_spoken(row, write) for row in rows[:40])
    return svg.drawing(WIDTH, bottom + 6, f"{title}: {said}", *parts, class_="wide")


def _row(row: Row, y: float, across: Scale, write: Callable[[float], str]) -> list[Markup]:
    flag = "▲ " if row.bad else ""
    name = flag + _end(row.name, LETTERS - len(flag))
    parts = [
        svg.tag("title", f"{row.name}: {_spoken(row, write)}"),
        svg.words(LEFT - 10, y + 4, name, "row flag" if row.bad else "row", "end"),
    ]
    if row.band is not None and np.isfinite(row.band).all():
        low, high = (_inside(v, across) for v in row.band)
        parts.append(svg.rectangle(low - 1.5, y - 6, high - low + 3, 12, "band"))
    if not np.isfinite(row.value):
        return [svg.tag("g", *parts), svg.words(NUMBERS, y + 4, "–", "tick")]
    x = _inside(row.value, across)
    if row.before is not None and np.isfinite(row.before):
        then = _inside(row.before, across)
        parts.append(svg.line(then, y, x, y, "edge"))
        parts.append(svg.tag("circle", cx=then, cy=y, r=4.5, class_="ring"))
    parts.append(svg.tag("circle", cx=x, cy=y, r=4.5, class_="dot bad" if row.bad else "dot"))
    class_ = "tick flag" if row.bad else "tick"
    return [svg.tag("g", *parts), svg.words(NUMBERS, y + 4, write(row.value), class_)]


def _inside(value: float, across: Scale) -> float:
    return across(min(max(value, across.low), across.high))


def _spoken(row: Row, write: Callable[[float], str]) -> str:
    said = (
        f"{shorten(row.name, 60)} {write(row.value) if np.isfinite(row.value) else 'unknown'}"
    )
    if row.before is not None and np.isfinite(row.before):
        said += f", before {write(row.before)}"
    if row.band is not None and np.isfinite(row.band).all():
        said += f", healthy runs {write(row.band[0])} to {write(row.band[1])}"
    return said


def _end(name: str, limit: int) -> str:
    return name if len(name) <= limit else "…" + name[-(limit - 1) :]
