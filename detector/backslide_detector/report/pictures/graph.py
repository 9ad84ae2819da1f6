"""The network as it ran: boxes in rows, skips beside them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from markupsafe import Markup

from backslide_detector.report.collapse import Box, Sketch
from backslide_detector.report.phrases import plain
from backslide_detector.report.pictures import svg
from backslide_detector.report.pictures.layout import Layout, layout

WIDE, HIGH, ACROSS, DOWN = 216.0, 40.0, 18.0, 20.0
EDGE, LANE = 10.0, 13.0
LEAST = 900.0
"""Width of the paper at least: about that of the page, so that few boxes do not grow large."""
LETTERS = 24
"""Letters of a title that fit beside a figure of average length."""

Mark = Literal["new", "changed"]


@dataclass(frozen=True, slots=True)
class State:
    """What the picture says of one box.

    Attributes:
        tone: good, warn or bad; "grey" when nothing was measured.
        short: the worst figure, beside the title.
        said: all figures, for the tooltip.
        mark: how it differs from the predecessor's.
    """

    tone: str = "grey"
    short: str = ""
    said: str = ""
    mark: Mark | None = None


def graph(sketch: Sketch, states: Mapping[str, State]) -> Markup:
    """Draws the boxes from input to output.

    Args:
        sketch: the collapsed graph.
        states: by key of a box; boxes without one are grey.
    """
    plan = layout([box.key for box in sketch.boxes], sketch.edges)
    columns = max((len(row) for row in plan.rows), default=1)
    body = columns * WIDE + (columns - 1) * ACROSS
    needed = EDGE + body + EDGE + LANE * (plan.lanes + 1)
    width = max(needed, LEAST)
    height = EDGE * 2 + len(plan.rows) * (HIGH + DOWN) - DOWN
    shift = (width - needed) / 2
    corner = _corners(plan, body, EDGE + shift)
    by_key = {box.key: box for box in sketch.boxes}
    parts = [_near(corner[a], corner[b]) for a, b in plan.near]
    right = EDGE + shift + body + EDGE
    parts += [_skip(corner[a], corner[b], right + lane * LANE) for (a, b), lane in plan.skips]
    parts += [
        _box(by_key[key], states.get(key, State()), *corner[key])
        for row in plan.rows
        for key in row
    ]
    return svg.drawing(width, height, _spoken(sketch, states), *parts, class_="graph")


def _corners(plan: Layout, body: float, edge: float) -> dict[str, tuple[float, float]]:
    """Upper left corner of every box; rows are centred."""
    found = {}
    for number, row in enumerate(plan.rows):
        left = edge + (body - len(row) * WIDE - (len(row) - 1) * ACROSS) / 2
        for column, key in enumerate(row):
            found[key] = (left + column * (WIDE + ACROSS), EDGE + number * (HIGH + DOWN))
    return found


def _near(start: tuple[float, float], end: tuple[float, float]) -> Markup:
    x1, y1 = start[0] + WIDE / 2, start[1] + HIGH
    x2, y2 = end[0] + WIDE / 2, end[1]
    c = svg.coordinate
    bend = DOWN / 2
    path = f"M{c(x1)} {c(y1)}C{c(x1)} {c(y1 + bend)} {c(x2)} {c(y2 - bend)} {c(x2)} {c(y2 - 4)}"
    return _arrow(path, x2, y2, "edge", down=True)


def _skip(start: tuple[float, float], end: tuple[float, float], lane: float) -> Markup:
    """Out of the side of a box, along a lane, into the side of another."""
    x1, y1 = start[0] + WIDE, start[1] + HIGH * 0.7
    x2, y2 = end[0] + WIDE, end[1] + HIGH * 0.3
    c = svg.coordinate
    turn = 8.0 if y2 >= y1 else -8.0
    path = (
        f"M{c(x1)} {c(y1)}H{c(lane - 8)}Q{c(lane)} {c(y1)} {c(lane)} {c(y1 + turn)}"
        f"V{c(y2 - turn)}Q{c(lane)} {c(y2)} {c(lane - 8)} {c(y2)}H{c(x2 + 5)}"
    )
    return _arrow(path, x2, y2, "edge skip", down=False)


def _arrow(path: str, x: float, y: float, class_: str, *, down: bool) -> Markup:
    c = svg.coordinate
    head = (
        f"M{c(x - 3.5)} {c(y - 6)}h7L{c(x)} {c(y)}Z"
        if down
        else f"M{c(x + 6)} {c(y - 3.5)}v7L{c(x)} {c(y)}Z"
    )
    return svg.tag("path", d=path, class_=class_) + svg.tag("path", d=head, class_="arrow")


def _box(box: Box, state: State, x: float, y: float) -> Markup:
    tone = "ghost" if box.ghost else state.tone
    short = "never called" if box.ghost else state.short
    mark = {"new": "+ ", "changed": "± ", None: ""}[state.mark]
    room = LETTERS if len(short) < 10 else LETTERS - (len(short) - 9)
    title = mark + _end(plain(box.title), room - len(mark))
    kind = _end(_kind(box), 31)
    parts = [
        svg.tag("title", f"{box.title}: {_kind(box)}{'; ' if state.said else ''}{state.said}"),
        svg.tag("rect", x=x, y=y, width=WIDE, height=HIGH, rx=6, class_=f"box {tone}"),
        svg.rectangle(x + 1, y + 7, 5, HIGH - 14, f"bar {tone}"),
        svg.words(x + 13, y + 17, title, "box-name"),
        svg.words(x + 13, y + 33, kind, "tick"),
    ]
    if short:
        parts.append(svg.words(x + WIDE - 8, y + 17, short, f"box-figure {tone}", "end"))
    return svg.tag("g", *parts)


def _kind(box: Box) -> str:
    node = box.node
    size = "×".join(str(n) for n in node.output[1:])
    if len(box.members) > 1:
        return f"{len(box.members)} steps {('→ ' + size) if size else ''}".strip()
    return f"{node.kind} {size}".strip()


def _end(text: str, limit: int) -> str:
    """The end of a name: qualified names differ there."""
    return text if len(text) <= limit else "…" + text[-(limit - 1) :]


def _spoken(sketch: Sketch, states: Mapping[str, State]) -> str:
    tones = [states.get(box.key, State()).tone for box in sketch.boxes]
    marked = [box.title for box in sketch.boxes if states.get(box.key, State()).mark]
    bad = [b.title for b, tone in zip(sketch.boxes, tones, strict=True) if tone == "bad"]
    said = f"Graph of the network from input to output, {len(sketch.boxes)} boxes"
    if bad:
        said += f"; red: {_some(bad)}"
    if marked:
        said += f"; unlike the predecessor: {_some(marked)}"
    return said


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - 6} more" if len(names) > 6 else ""
    return ", ".join(names[:6]) + more
