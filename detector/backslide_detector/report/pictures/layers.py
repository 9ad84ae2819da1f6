"""One number a layer over training: layers from input to output, steps from left to right."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

from backslide_detector.evidence import Floats
from backslide_detector.report.phrases import shorten
from backslide_detector.report.pictures import png, svg

WIDTH, LEFT, RIGHT, TOP = 720.0, 196.0, 704.0, 8.0


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
        values: shape (columns, rows); NaN is hatched, infinity gets its own colour.
        ends: steps at the left and right ends.
        colours: the scale.
    """
    wide, rows = values.shape
    high = 18.0 if rows <= 24 else 13.0
    bottom = TOP + high * rows
    cell = ((RIGHT - LEFT) / wide, high)
    levels = png.levels(np.where(np.isinf(values), np.nan, values), colours.low, colours.high)
    levels[np.isinf(values)] = png.LEVELS + 1
    image = png.data_uri(levels.T, [*colours.palette, png.NOTHING, png.NOT_FINITE])
    parts = [
        svg.rectangle(LEFT, TOP, RIGHT - LEFT, bottom - TOP, "ground"),
        svg.cells(_runs(np.isnan(values).T), (LEFT, TOP, *cell)),
        svg.tag(
            "image",
            href=image,
            x=LEFT,
            y=TOP,
            width=RIGHT - LEFT,
            height=bottom - TOP,
            preserveAspectRatio="none",
            class_="pixels",
        ),
        *_rows(names, high),
        svg.words(LEFT, bottom + 15, f"step {ends[0]:,}"),
        svg.words(RIGHT, bottom + 15, f"{ends[1]:,}", "tick", "end"),
        *_key(
            title,
            colours,
            bottom + 30,
            hatched=bool(np.isnan(values).any()),
            infinite=bool(np.isinf(values).any()),
        ),
    ]
    said = f"{title}, {rows} layers from input (top) to output, steps {ends[0]} to {ends[1]}"
    return svg.drawing(WIDTH, bottom + 62, said, *parts, class_="wide")


def _rows(names: list[tuple[str, str, bool]], high: float) -> list[Markup]:
    parts = []
    for row, (name, kind, flagged) in enumerate(names):
        y = TOP + high * (row + 0.5) + 4
        text = [
            svg.tag(
                "tspan",
                ("▲ " if flagged else "") + shorten(name, 26),
                class_="flag" if flagged else None,
            )
        ]
        room = 28 - len(name)
        if kind and room > 3:
            text.append(svg.tag("tspan", " " + shorten(kind, room), class_="soft", dx=4))
        parts.append(
            svg.tag(
                "text",
                *text,
                x=LEFT - 8,
                y=y,
                text_anchor="end",
                class_="row" if high > 15 else "row tight",
            )
        )
    return parts


def _key(
    title: str, colours: Colours, top: float, *, hatched: bool, infinite: bool
) -> list[Markup]:
    width = 160.0
    ramp = np.arange(png.LEVELS, dtype=np.uint8)[None, :]
    parts = [
        svg.rectangle(LEFT, top, width, 10, "ground"),
        svg.tag(
            "image",
            href=png.data_uri(ramp, [*colours.palette]),
            x=LEFT,
            y=top,
            width=width,
            height=10,
            preserveAspectRatio="none",
            class_="pixels",
        ),
        svg.words(LEFT, top + 23, colours.write(colours.low)),
        svg.words(LEFT + width, top + 23, colours.write(colours.high), "tick", "end"),
        svg.words(LEFT - 8, top + 9, shorten(title, 32), "tick", "end"),
    ]
    at = LEFT + width + 20
    if hatched:
        parts += [
            svg.rectangle(at, top, 18, 10, "missing"),
            svg.words(at + 23, top + 9, "not measured"),
        ]
        at += 125
    if infinite:
        parts += [
            svg.rectangle(at, top, 18, 10, "notfinite"),
            svg.words(at + 23, top + 9, "NaN or infinite values"),
        ]
    return parts


def _runs(missing: np.ndarray) -> list[tuple[int, int, int]]:
    """(row, first column, columns) of every stretch of true cells; shape (rows, columns)."""
    runs = []
    for row, cells in enumerate(missing):
        edges = np.flatnonzero(np.diff(np.concatenate([[0], cells.astype(np.int8), [0]])))
        runs += [
            (row, int(a), int(b - a)) for a, b in zip(edges[::2], edges[1::2], strict=True)
        ]
    return runs
