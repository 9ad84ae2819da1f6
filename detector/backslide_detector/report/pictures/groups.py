"""Groups of channels: the examples they answer to most, and where."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from backslide_detector.report.pictures import png, svg

WIDTH, LEFT, TILE, GAP, HIGH = 620.0, 150.0, 46.0, 11.0, 64.0
EXAMPLES = 8
_HEAT = [
    *((217, 72, 15, round(150 * (i / (png.LEVELS - 1)) ** 1.5)) for i in range(png.LEVELS)),
    png.NOTHING,
]
"""Thin, and for the strongest places only: the example must be seen through it."""


@dataclass(frozen=True, slots=True)
class Tile:
    """One example: its label, and its PNG and the group's map on it where there are any."""

    label: str
    thumbnail: bytes | None
    heat: NDArray[np.uint8] | None


@dataclass(frozen=True, slots=True)
class GroupRow:
    """One group: its name, what is said below it, its strongest examples."""

    name: str
    aside: str
    tiles: tuple[Tile, ...]
    bad: bool = False


def groups(rows: Sequence[GroupRow]) -> Markup:
    """One row a group; the warmer a place of an example, the more the group fires there."""
    parts = []
    for number, row in enumerate(rows):
        top = 4 + HIGH * number
        parts.append(svg.words(0, top + 18, row.name, "row flag" if row.bad else "row"))
        parts.append(svg.words(0, top + 34, row.aside, "tick"))
        for column, tile in enumerate(row.tiles[:EXAMPLES]):
            parts.append(_tile(tile, LEFT + column * (TILE + GAP), top))
    said = "; ".join(
        f"{row.name}: {', '.join(tile.label for tile in row.tiles[:EXAMPLES])}" for row in rows
    )
    label = f"Groups and the classes of the examples they answer to most: {said}"
    return svg.drawing(WIDTH, 4 + HIGH * len(rows), label, *parts, class_="wide")


def _tile(tile: Tile, x: float, y: float) -> Markup:
    parts = [svg.tag("title", tile.label), svg.rectangle(x, y, TILE, TILE, "ground")]
    if tile.thumbnail is not None:
        parts.append(svg.picture(tile.thumbnail, (x, y, TILE, TILE)))
    if tile.heat is not None:
        side = round(len(tile.heat) ** 0.5)
        shade = png.levels(tile.heat.reshape(side, side).astype(np.float64), 0.0, 255.0)
        parts.append(svg.image(shade, _HEAT, (x, y, TILE, TILE)))
    parts.append(svg.rectangle(x, y, TILE, TILE, "outline"))
    parts.append(svg.words(x + TILE / 2, y + TILE + 11, tile.label[:8], "tick", "middle"))
    return svg.tag("g", *parts)
