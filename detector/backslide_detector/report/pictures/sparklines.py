"""One small line a layer, under each other, with one scale for all."""

from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

from backslide_detector.evidence import Floats, Ints
from backslide_detector.report.pictures import svg
from backslide_detector.report.pictures.columns import columns
from backslide_detector.report.pictures.layers import LETTERS, shortened
from backslide_detector.report.pictures.scale import Scale

WIDTH, LEFT, RIGHT, TOP, HIGH = 620.0, 206.0, 470.0, 6.0, 26.0
_LEAST = 0.5  # decades: less than this is not blown up to look like much


@dataclass(frozen=True, slots=True)
class Spark:
    """One line.

    Attributes:
        name: of the layer.
        values: in decades, shape (s,); NaN where not measured.
        said: what stands to its right.
        since: step to mark.
        flagged: a finding points at the layer.
    """

    name: str
    values: Floats
    said: str
    since: float | None
    flagged: bool


def sparklines(title: str, sparks: list[Spark], steps: Ints) -> Markup:
    """Draws the lines over the same steps, each around its own median, equally high decades."""
    grid = columns(steps)
    lines = [grid.mean(spark.values) for spark in sparks]
    lines = [line - np.nanmedian(line) for line in lines]
    reach = max([_LEAST, *(float(np.nanmax(np.abs(line))) for line in lines)])
    across = Scale(float(grid.first), float(max(grid.last, grid.first + 1)), LEFT, RIGHT)
    ends = np.linspace(grid.first, grid.last, len(grid.spans) + 1)
    x = across.places((ends[1:] + ends[:-1]) / 2)
    bottom = TOP + HIGH * len(sparks)
    parts = []
    for row, (spark, line) in enumerate(zip(sparks, lines, strict=True)):
        top = TOP + HIGH * row
        middle = top + HIGH / 2
        up = Scale(-reach, reach, top + HIGH - 2, top + 2)
        parts += [
            svg.line(LEFT, middle, RIGHT, middle, "grid"),
            svg.polyline(x, up.places(line), "median new"),
            _name(spark, middle + 4),
            svg.words(RIGHT + 10, middle + 4, spark.said, "tick"),
        ]
        if spark.since is not None:
            mark = across(spark.since)
            parts.append(svg.line(mark, top + 2, mark, top + HIGH - 2, "mde"))
    parts += [
        svg.words(LEFT, bottom + 15, f"step {grid.first:,}"),
        svg.words(RIGHT, bottom + 15, f"{grid.last:,}", "tick", "end"),
        svg.words(RIGHT + 10, bottom + 15, f"a row: ±{reach:.1f} decades"),
    ]
    said = f"{title}: " + "; ".join(f"{spark.name} {spark.said}" for spark in sparks)
    return svg.drawing(WIDTH, bottom + 24, said, *parts, class_="wide")


def _name(spark: Spark, y: float) -> Markup:
    shown = shortened(("▲ " if spark.flagged else "") + shortened(spark.name, LETTERS - 2))
    text = [
        svg.tag("title", spark.name),
        svg.tag("tspan", shown, class_="flag" if spark.flagged else None),
    ]
    return svg.tag("text", *text, x=LEFT - 8, y=y, text_anchor="end", class_="row")
