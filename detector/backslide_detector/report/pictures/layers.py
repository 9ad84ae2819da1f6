"""One number a layer over training: layers from input to output, steps from left to right."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

from backslide_detector.evidence import Floats
from backslide_detector.report.pictures import png, svg

WIDTH, LEFT, RIGHT, TOP = 620.0, 206.0, 616.0, 8.0
LETTERS = 29
"""Letters that fit beside the grid."""
KEY = 130.0
"""Width of the colour scale."""


@dataclass(frozen=True, slots=True)
class Colours:
    """A colour scale and what its ends mean.

    Attributes:
        palette: `png.LEVELS` colours.
        low, high: values at its ends.
        write: the text of a value.
    """

    palette: list[png.Colour]
    low: float
    high: float
    write: Callable[[float], str]


def layer_map(
    title: str,
    names: list[tuple[str, str, bool]],
    values: Floats,
    ends: tuple[int, int],
    colours: Colours,
) -> Markup:
    """Draws a grid of colours with its scale.

    Args:
        title: what the colours mean.
        names: (layer, kind, flagged) of each row.
        values: shape (columns, rows); NaN (not measured) is hatched; infinity (values that
            were not finite) and minus infinity (all exactly zero) get their own colours.
        ends: steps at the left and right ends.
        colours: the scale.
    """
    wide, rows = values.shape
    high = 18.0 if rows <= 24 else 13.0
    bottom = TOP + high * rows
    cell = ((RIGHT - LEFT) / wide, high)
    levels = png.levels(np.where(np.isinf(values), np.nan, values), colours.low, colours.high)
    levels[np.isposinf(values)] = png.LEVELS + 1
    levels[np.isneginf(values)] = png.LEVELS + 2
    palette = [*colours.palette, png.NOTHING, png.NOT_FINITE, png.ALL_ZERO]
    parts = [
        svg.rectangle(LEFT, TOP, RIGHT - LEFT, bottom - TOP, "ground"),
        svg.cells(svg.stretches(np.isnan(values).T), (LEFT, TOP, *cell)),
        svg.image(levels.T, palette, (LEFT, TOP, RIGHT - LEFT, bottom - TOP)),
        *_rows(names, high),
        svg.words(LEFT, bottom + 15, f"step {ends[0]:,}"),
        svg.words(RIGHT, bottom + 15, f"{ends[1]:,}", "tick", "end"),
        *_key(title, colours, bottom + 30),
        *_special(values, bottom + 30),
    ]
    said = f"{title}, {rows} layers from input (top) to output, steps {ends[0]} to {ends[1]}"
    return svg.drawing(WIDTH, bottom + 62, said, *parts, class_="wide")


def _rows(names: list[tuple[str, str, bool]], high: float) -> list[Markup]:
    parts = []
    for row, (name, kind, flagged) in enumerate(names):
        shown = shortened(("▲ " if flagged else "") + shortened(name, LETTERS - 2))
        text = [
            svg.tag("title", name),
            svg.tag("tspan", shown, class_="flag" if flagged else None),
        ]
        if kind and len(shown) + len(kind) < LETTERS:
            text.append(svg.tag("tspan", kind, class_="soft", dx=4))
        parts.append(
            svg.tag(
                "text",
                *text,
                x=LEFT - 8,
                y=TOP + high * (row + 0.5) + 4,
                text_anchor="end",
                class_="row" if high > 15 else "row tight",
            )
        )
    return parts


def shortened(name: str, limit: int = LETTERS) -> str:
    """The end of a name: qualified names differ there."""
    return name if len(name) <= limit else "…" + name[-(limit - 1) :]


def _key(title: str, colours: Colours, top: float) -> list[Markup]:
    ramp = np.arange(png.LEVELS, dtype=np.uint8)[None, :]
    return [
        svg.rectangle(LEFT, top, KEY, 10, "ground"),
        svg.image(ramp, colours.palette, (LEFT, top, KEY, 10)),
        svg.words(LEFT, top + 23, colours.write(colours.low)),
        svg.words(LEFT + KEY, top + 23, colours.write(colours.high), "tick", "end"),
        svg.words(LEFT - 8, top + 9, title, "tick", "end"),
    ]


def _special(values: Floats, top: float) -> list[Markup]:
    """The keys of the cells off the scale, those that occur."""
    kinds = (
        (np.isnan(values), "missing", "not measured", 104),
        (np.isneginf(values), "allzero", "all exactly zero", 114),
        (np.isposinf(values), "notfinite", "NaN or infinite", 0),
    )
    parts, at = [], LEFT + KEY + 16
    for cells, class_, meaning, width in kinds:
        if cells.any():
            parts += [
                svg.rectangle(at, top, 16, 10, class_),
                svg.words(at + 21, top + 9, meaning),
            ]
            at += width
    return parts
