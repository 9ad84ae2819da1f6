"""A lineage: the error of each retrain, what was expected of it, and the creep detector."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

from backslide.contract import Measure, Verdict
from backslide_detector.evidence import Floats
from backslide_detector.lineage import Course, Expectation, Retrain
from backslide_detector.report import phrases
from backslide_detector.report.pictures import svg
from backslide_detector.report.pictures.scale import Scale, label

WIDTH, LEFT, RIGHT = 760.0, 62.0, 748.0
TOP, BOTTOM = 34.0, 262.0
"""The errors."""
LOWER_TOP, LOWER_BOTTOM = 306.0, 376.0
"""The creep detector."""
WIDE_RANGE = 6.0
"""From this factor between the largest and the smallest error on, the axis is logarithmic."""
FAR = 2.0
"""A refused retrain beyond this multiple of the largest accepted error is drawn at the edge."""
LABEL = 130.0
"""Room for what is written at a change."""
LEAST_CREEP = 0.1
"""The detector is drawn from here up: below, nothing speaks for a creep."""


@dataclass(frozen=True, slots=True)
class _Plot:
    """The errors on the paper."""

    course: Course
    across: Scale
    up: Scale
    measure: Measure

    @property
    def unit(self) -> float:
        """Shares are drawn in percent, losses as they are."""
        return _unit(self.measure)

    def y(self, error: float) -> float:
        """Place of an error, at the edge where it lies beyond."""
        return self.up(min(max(error * self.unit, self.up.low), self.up.high))


def lineage(course: Course, measure: Measure, threshold: float | None) -> Markup:
    """Draws the retrains in order of time, evenly spaced, and a place for the next one.

    Args:
        course: of the lineage, the judged run last.
        measure: shares, drawn in percent, or losses.
        threshold: what the creep detector alarms at; None leaves the lower panel out.
    """
    count = len(course.retrains)
    across = Scale(-0.6, count + 0.6, LEFT, RIGHT)
    plot = _Plot(course, across, _axis(course, _unit(measure)), measure)
    parts = [*_frame(plot, "%" if measure == "error" else "")]
    parts += _expectations(plot)
    parts += _level(plot)
    parts += _changes(plot, LOWER_BOTTOM if threshold else BOTTOM)
    radius = min(6.0, (RIGHT - LEFT) / (count + 1.2) / 2.6)
    for place, retrain in enumerate(course.retrains):
        parts += _retrain(plot, place, retrain, radius)
    height = BOTTOM + 40
    if threshold:
        parts += _detector(course, across, threshold)
        height = LOWER_BOTTOM + 40
    last = LOWER_BOTTOM if threshold else BOTTOM
    parts.append(
        svg.words((LEFT + RIGHT) / 2, last + 33, "retrain, oldest first", "tick", "middle")
    )
    parts += _numbers(plot, last + 16)
    return svg.drawing(WIDTH, height, _spoken(course, measure), *parts, class_="wide")


def _axis(course: Course, unit: float) -> Scale:
    """Holds all that was accepted, and else what does not lie far away."""
    accepted = [retrain.error * unit for retrain in course.retrains if retrain.accepted]
    usual = accepted or [retrain.error * unit for retrain in course.retrains]
    near = [each for each in course.retrains if each.error * unit <= FAR * max(usual)]
    errors = [*usual, *(retrain.error * unit for retrain in near)]
    low, high = min(errors), max(errors)
    ends = [end for each in (course.expected, course.next) if each for end in each.interval]
    ends += [end for retrain in near for end in retrain.interval or ()]
    wide = low > 0 and high > WIDE_RANGE * low
    floor, ceiling = (low / 2, high * 1.5) if wide else (low - high, 2 * high)
    reach = [low, high, *(min(max(end * unit, floor), ceiling) for end in ends)]
    if wide:
        return Scale(min(reach) / 1.1, max(reach) * 1.1, BOTTOM, TOP, log=True)
    room = 0.06 * (max(reach) - min(reach)) or 0.1 * abs(high) or 1.0
    return Scale(max(min(reach) - room, 0.0), max(reach) + room, BOTTOM, TOP)


def _frame(plot: _Plot, mark: str) -> Iterator[Markup]:
    up = plot.up
    for tick in _levels(up):
        yield svg.line(LEFT, up(tick), RIGHT, up(tick), "grid")
        written = f"{tick:g}" if up.log else label(tick, up)
        yield svg.words(LEFT - 6, up(tick) + 4, f"{written} {mark}".strip(), "tick", "end")
    yield svg.line(LEFT, BOTTOM, RIGHT, BOTTOM, "axis")


def _levels(up: Scale) -> list[float]:
    """Ticks; on a logarithmic axis of few decades also those between them."""
    if not up.log:
        return up.ticks(5)
    first, last = math.floor(math.log10(up.low)), math.ceil(math.log10(up.high))
    every = [m * 10.0**e for e in range(first, last + 1) for m in (1, 2, 5)]
    return [tick for tick in every if up.low <= tick <= up.high]


def _numbers(plot: _Plot, y: float) -> Iterator[Markup]:
    count, across = len(plot.course.retrains), plot.across
    stride = max(1, math.ceil(count / 20))
    for place in range(0, count, stride):
        yield svg.words(
            across(place), y, f"{plot.course.earlier + place + 1}", "tick", "middle"
        )
    yield svg.words(across(count), y, "next", "tick", "middle")


def _expectations(plot: _Plot) -> Iterator[Markup]:
    """What was expected of this retrain, and what is of the next."""
    course, count = plot.course, len(plot.course.retrains)
    for place, expected in ((count - 1, course.expected), (count, course.next)):
        if expected is None:
            continue
        bottom, top = (plot.y(end) for end in expected.interval)
        left, right = plot.across(place - 0.42), plot.across(place + 0.42)
        kind = "expected" if place < count else "expected next"
        yield svg.rectangle(left, top, right - left, bottom - top, kind)


def _level(plot: _Plot) -> Iterator[Markup]:
    """The error of the fixed anchor, from there on."""
    for place, retrain in enumerate(plot.course.retrains):
        if retrain.run_id == plot.course.anchor:
            y = plot.y(retrain.error)
            yield svg.line(plot.across(place), y, RIGHT, y, "anchored")


def _changes(plot: _Plot, bottom: float) -> Iterator[Markup]:
    """Where the lineage changed, between the last retrain before and the first after."""
    course, across = plot.course, plot.across
    order = {retrain.run_id: place for place, retrain in enumerate(course.retrains)}
    written = -LABEL
    for change in course.changes:
        if change.run_id not in order:
            continue
        x = across(order[change.run_id] - 0.5)
        yield svg.line(x, TOP - 12, x, bottom, "changed")
        if x - written < LABEL:
            continue  # the sentences below name them all
        end = x > RIGHT - LABEL
        written = x - LABEL if end else x
        shift = phrases.change(change.shift, plot.measure)
        said = f"{shift} from {course.earlier + order[change.run_id] + 1} on"
        anchor, gap = ("end", -5) if end else ("start", 5)
        yield svg.words(x + gap, TOP - 18, said, "tick changed-name", anchor)


def _retrain(plot: _Plot, place: int, retrain: Retrain, radius: float) -> Iterator[Markup]:
    """One point with its interval and what it is to the others."""
    course, x, y = plot.course, plot.across(place), plot.y(retrain.error)
    this = retrain is course.retrains[-1]
    kind = "this" if this else "past"
    if retrain.verdict is Verdict.REGRESSED:
        kind += " bad"
    elif not retrain.accepted:
        kind += " refused"
    if retrain.interval is not None:
        low, high = (plot.y(end) for end in retrain.interval)
        yield svg.line(x, low, x, high, f"span {kind}")
    if retrain.run_id == course.reference:
        yield svg.tag("circle", cx=x, cy=y, r=radius + 4.5, class_="reference")
    if retrain.run_id == course.anchor:
        side = 2 * radius + 3
        yield svg.rectangle(x - side / 2, y - side / 2, side, side, "anchor")
    title = svg.tag("title", f"{retrain.name}: {phrases.fine(retrain.error, plot.measure)}")
    size = radius + 1.5 if this else radius
    yield svg.tag("circle", title, cx=x, cy=y, r=size, class_=f"point {kind}")
    if retrain.error * plot.unit > plot.up.high:
        level = f"{phrases.level(retrain.error, plot.measure)} ↑"
        left = x > RIGHT - LABEL
        edge, end = (x - 12, "end") if left else (x + 12, "start")
        yield svg.words(edge, y + 4, level, "value halo", end)
    if retrain.signal is not None:
        sign = "▲" if retrain.signal == "worse" else "▼"
        yield svg.words(x, TOP + 2, sign, f"signal {retrain.signal}", "middle")


def _detector(course: Course, across: Scale, threshold: float) -> Iterator[Markup]:
    """The creep detector after each retrain, on its way to the threshold."""
    values = np.array([_known(retrain.creep) for retrain in course.retrains])
    up = Scale(LEAST_CREEP, 10 * threshold, LOWER_BOTTOM, LOWER_TOP, log=True)
    for tick in (0.1, 1.0, 10.0, 100.0):
        yield svg.line(LEFT, up(tick), RIGHT, up(tick), "grid")
        yield svg.words(LEFT - 6, up(tick) + 4, f"{tick:g}", "tick", "end")
    known = values[np.isfinite(values)]
    now = f", stands at {phrases.magnitude(float(known[-1]))}" if len(known) else ""
    head = f"Creep detector: alarms at {threshold:,.0f}{now}"
    yield svg.words(LEFT, LOWER_TOP - 10, head, "head")
    yield svg.line(LEFT, LOWER_BOTTOM, RIGHT, LOWER_BOTTOM, "axis")
    yield svg.line(LEFT, up(threshold), RIGHT, up(threshold), "threshold")
    seen = np.isfinite(values)  # refused runs are left out of the series
    shown: Floats = np.clip(values, LEAST_CREEP, up.high)
    places = across.places(np.arange(len(values), dtype=np.float64))
    yield svg.polyline(places[seen], up.places(shown[seen]), "curve new")


def _known(value: float | None) -> float:
    return math.nan if value is None else value


def _unit(measure: Measure) -> float:
    return 100.0 if measure == "error" else 1.0


def _spoken(course: Course, measure: Measure) -> str:
    """What the picture shows, for those who cannot see it."""
    this = course.retrains[-1]
    said = f"Course of the lineage over {len(course.retrains)} retrains, ending at "
    said += phrases.fine(this.error, measure)
    if course.next is not None:
        said += f"; {_ends(course.next, measure)} expected of the next"
    named: Sequence[str] = [
        f"{'worse' if change.shift > 0 else 'better'} from {change.name} on"
        for change in course.changes
    ]
    return "; ".join([said, *named])


def _ends(expected: Expectation, measure: Measure) -> str:
    low, high = (phrases.fine(end, measure) for end in expected.interval)
    return f"{low} to {high}"
