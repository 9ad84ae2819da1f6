"""A matrix of numbers as shaded cells."""

from collections.abc import Callable, Sequence

import numpy as np
from markupsafe import Markup

from backslide_detector.evidence import Floats
from backslide_detector.report.pictures import svg

LEFT, TOP, SIZE, LEAST = 116.0, 62.0, 38.0, 17.0
ROOM = 360.0
"""Width and height of the cells at most."""
NUMBERS_TO = 12
"""Columns up to which the numbers stand in the cells."""
DEEPEST = 0.62
"""Opacity at most: the numbers must stay readable on it, in light and dark."""


def matrix(
    title: str,
    names: tuple[Sequence[str], Sequence[str]],
    values: Floats,
    reach: tuple[float, float],
    write: Callable[[float], str],
    *,
    signed: str = "",
) -> Markup:
    """Draws one matrix.

    Args:
        title: for a screen reader.
        names: of rows and columns.
        values: shape (rows, columns); NaN is drawn as missing.
        reach: values of no colour and of the deepest one.
        write: the text of a value.
        signed: "low" where negative values are bad (red) and positive ones are not, "high"
            for the reverse; empty where there is one colour.
    """
    rows, columns = values.shape
    size = max(min(SIZE, ROOM / max(rows, columns, 1)), LEAST)
    parts = []
    for i, name in enumerate(names[0]):
        y = TOP + size * (i + 0.5) + 4
        parts.append(svg.words(LEFT - 6, y, _end(name, 16), "row tight", "end"))
    short = max((len(name) for name in names[1]), default=0) * 7 < size
    for j, name in enumerate(names[1]):
        x = LEFT + size * (j + 0.5)
        upright = svg.words(x, TOP - 8, name, "row tight", "middle")
        parts.append(upright if short else _turned(x + 3, TOP - 6, _end(name, 11)))
    parts.append(svg.rectangle(LEFT, TOP, size * columns - 1, size * rows - 1, "ground"))
    for i in range(rows):
        for j in range(columns):
            corner = (LEFT + size * j, TOP + size * i)
            parts.append(_cell(values[i, j], corner, size, reach, signed))
            if columns <= NUMBERS_TO and np.isfinite(values[i, j]) and write(values[i, j]):
                middle = (corner[0] + size / 2, corner[1] + size / 2 + 3.5)
                parts.append(svg.words(*middle, write(values[i, j]), "cell", "middle"))
    width, height = LEFT + size * columns + 8, TOP + size * rows + 8
    most = _strongest(names, values, write)
    least = max(width, 330.0)
    return svg.drawing(least, height, f"{title}; {most}", *parts, class_="panel")


def _cell(
    value: float,
    corner: tuple[float, float],
    size: float,
    reach: tuple[float, float],
    signed: str,
) -> Markup:
    if not np.isfinite(value):
        return svg.rectangle(*corner, size - 1, size - 1, "missing")
    depth = min(max((abs(value) - reach[0]) / ((reach[1] - reach[0]) or 1.0), 0.0), 1.0)
    bad = (signed == "low" and value < 0) or (signed == "high" and value > 0)
    return svg.tag(
        "rect",
        x=corner[0],
        y=corner[1],
        width=size - 1,
        height=size - 1,
        fill_opacity=round(depth * DEEPEST, 2),
        class_="heat bad" if bad else "heat good" if signed == "high" else "heat",
    )


def _turned(x: float, y: float, text: str) -> Markup:
    c = svg.coordinate
    return svg.tag(
        "text", text, x=x, y=y, class_="row tight", transform=f"rotate(-45 {c(x)} {c(y)})"
    )


def _strongest(
    names: tuple[Sequence[str], Sequence[str]], values: Floats, write: Callable[[float], str]
) -> str:
    known = np.where(np.isfinite(values), np.abs(values), -1.0)
    if not known.size or known.max() < 0:
        return "nothing known"
    i, j = divmod(int(known.argmax()), known.shape[1])
    return f"strongest: {names[0][i]} and {names[1][j]}, {write(values[i, j])}"


def _end(name: str, limit: int) -> str:
    return name if len(name) <= limit else "…" + name[-(limit - 1) :]
