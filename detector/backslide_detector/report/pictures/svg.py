"""SVG as text: elements, attributes and escaping."""

from base64 import b64encode
from collections.abc import Iterable

import numpy as np
from markupsafe import Markup, escape
from numpy.typing import NDArray

from backslide_detector.evidence import Floats
from backslide_detector.report.phrases import plain
from backslide_detector.report.pictures import png

Attribute = str | float | None


def tag(name: str, *children: str, **attributes: Attribute) -> Markup:
    """One element; children that are not markup are escaped.

    Underscores in attribute names stand for hyphens, a trailing one is dropped (`class_`);
    attributes that are None are left out.
    """
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{_value(value)}"'
        for key, value in attributes.items()
        if value is not None
    )
    inside = "".join(
        child if isinstance(child, Markup) else escape(plain(child)) for child in children
    )
    # Every part is escaped above; nothing foreign reaches this constructor unescaped.
    return Markup(f"<{name}{written}>{inside}</{name}>" if inside else f"<{name}{written}/>")  # noqa: S704


def drawing(
    width: float,
    height: float,
    label: str,
    *children: str,
    class_: str,
    hover: str | None = None,
) -> Markup:
    """The outermost element; `label` is what a screen reader says in place of the picture.

    `hover` is what the page's script shows under the pointer: the left and right ends of the
    columns, then the text of each, parted by bars.
    """
    return tag(
        "svg",
        *children,
        viewBox=f"0 0 {coordinate(width)} {coordinate(height)}",
        role="img",
        aria_label=plain(label),
        class_=class_,
        data_hover=hover,
    )


def words(
    x: float, y: float, content: str, class_: str = "tick", anchor: str = "start"
) -> Markup:
    """Text with its baseline at (x, y)."""
    return tag("text", content, x=x, y=y, class_=class_, text_anchor=anchor)


def line(x1: float, y1: float, x2: float, y2: float, class_: str) -> Markup:
    """A straight line."""
    return tag("line", x1=x1, y1=y1, x2=x2, y2=y2, class_=class_)


def rectangle(x: float, y: float, width: float, height: float, class_: str) -> Markup:
    """A rectangle; negative sizes are drawn as none."""
    return tag("rect", x=x, y=y, width=max(width, 0.0), height=max(height, 0.0), class_=class_)


def polyline(x: Floats, y: Floats, class_: str) -> Markup:
    """A line through points, broken where a value is not finite; lone points become dots."""
    strokes = []
    for run in _finite_runs(x, y):
        first = f"M{coordinate(x[run[0]])} {coordinate(y[run[0]])}"
        rest = "".join(f"L{coordinate(x[i])} {coordinate(y[i])}" for i in run[1:])
        strokes.append(first + (rest or "h.01"))
    return tag("path", d="".join(strokes), class_=class_) if strokes else Markup()


def ribbon(x: Floats, low: Floats, high: Floats, class_: str) -> Markup:
    """The area between two lines, broken where either is not finite."""
    areas = []
    for run in _finite_runs(x, low + high):
        there = "L".join(f"{coordinate(x[i])} {coordinate(high[i])}" for i in run)
        back = "L".join(f"{coordinate(x[i])} {coordinate(low[i])}" for i in reversed(run))
        areas.append(f"M{there}L{back}Z")
    return tag("path", d="".join(areas), class_=class_) if areas else Markup()


def cells(
    missing: Iterable[tuple[int, int, int]], box: tuple[float, float, float, float]
) -> Markup:
    """Grid cells without a value, hatched: (row, first column, columns) at a time.

    Args:
        missing: runs of cells.
        box: x and y of the grid's corner, width and height of a cell.
    """
    left, top, wide, high = box
    path = "".join(
        f"M{coordinate(left + start * wide)} {coordinate(top + row * high)}"
        f"h{coordinate(count * wide)}v{coordinate(high)}h{coordinate(-count * wide)}Z"
        for row, start, count in missing
    )
    return tag("path", d=path, class_="missing") if path else Markup()


def stretches(marked: NDArray[np.bool_]) -> list[tuple[int, int, int]]:
    """(row, first column, columns) of every unbroken stretch of true cells."""
    found = []
    for row, flags in enumerate(marked):
        edges = np.flatnonzero(np.diff(np.concatenate([[0], flags.astype(np.int8), [0]])))
        ends = zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True)
        found += [(row, start, stop - start) for start, stop in ends]
    return found


def image(
    grid: NDArray[np.uint8],
    palette: list[png.Colour],
    box: tuple[float, float, float, float],
) -> Markup:
    """Palette indices, shape (rows, columns), stretched over (x, y, width, height)."""
    x, y, width, height = box
    return tag(
        "image",
        href=png.data_uri(grid, palette),
        x=x,
        y=y,
        width=width,
        height=height,
        preserveAspectRatio="none",
        class_="pixels",
    )


def picture(content: bytes, box: tuple[float, float, float, float]) -> Markup:
    """A PNG of somebody else, in its own proportions, inside (x, y, width, height)."""
    x, y, width, height = box
    return tag(
        "image",
        href="data:image/png;base64," + b64encode(content).decode("ascii"),
        x=x,
        y=y,
        width=width,
        height=height,
        class_="pixels",
    )


def coordinate(value: float) -> str:
    """A number with at most two digits behind the point."""
    text = f"{value:.2f}".rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


def _value(value: str | float) -> str:
    return str(escape(value)) if isinstance(value, str) else coordinate(value)


def _finite_runs(x: Floats, y: Floats) -> list[list[int]]:
    good = np.flatnonzero(np.isfinite(x) & np.isfinite(y))
    return [
        run.tolist()
        for run in np.split(good, np.flatnonzero(np.diff(good) > 1) + 1)
        if len(run)
    ]
