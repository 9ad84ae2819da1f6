"""Both questions as intervals around "no difference"."""

import math
from typing import TypeGuard

from markupsafe import Markup

from backslide.contract import Measure
from backslide_detector.estimand import Estimand
from backslide_detector.report import phrases
from backslide_detector.report.pictures import svg
from backslide_detector.report.pictures.scale import Scale, label

WIDTH, LEFT, RIGHT, TOP, ROW = 620.0, 140.0, 608.0, 26.0, 54.0


def intervals(
    answers: tuple[tuple[str, Estimand], ...],
    margin: float | None,
    mde: float | None,
    measure: Measure = "error",
) -> Markup:
    """Draws each answered question as a point with its 95 % interval; worse is to the right.

    Args:
        answers: ("This model against that model", answer) from top to bottom.
        margin: half-width of the band in which a difference does not matter.
        mde: smallest difference the test set could have shown.
        measure: shares, drawn in percentage points, or losses, drawn as they are.
    """
    unit = _unit(measure)
    bottom = TOP + ROW * len(answers)
    axis = _axis(answers, margin, mde, measure)
    parts = [
        svg.words(axis(0) - 10, 14, "← better", "tick good", "end"),
        svg.words(axis(0) + 10, 14, "worse →", "tick bad"),
    ]
    if _possible(margin, measure):
        left, right = axis(-margin * unit), axis(margin * unit)
        parts.append(svg.rectangle(left, TOP, right - left, bottom - TOP, "margin"))
    for tick in axis.ticks(6):
        parts.append(svg.line(axis(tick), TOP, axis(tick), bottom, "grid"))
        written = ("+" if tick > 0 else "") + label(tick, axis)
        parts.append(svg.words(axis(tick), bottom + 18, written, "tick", "middle"))
    if _possible(mde, measure):
        ends = (axis(-mde * unit), axis(mde * unit))
        parts += [svg.line(end, TOP, end, bottom, "mde") for end in ends]
    parts.append(svg.line(axis(0), TOP - 4, axis(0), bottom + 4, "zero"))
    for row, (question, answer) in enumerate(answers):
        parts += _answer(question, answer, axis, TOP + ROW * row, measure)
    title = f"difference of the {phrases.MEASURES[measure]}, new minus old"
    title += ", in percentage points" if measure == "error" else ""
    parts.append(svg.words((LEFT + RIGHT) / 2, bottom + 36, title, "tick", "middle"))
    said = "; ".join(
        f"{question}: {phrases.estimate(answer, measure)}" for question, answer in answers
    )
    return svg.drawing(WIDTH, bottom + 44, said, *parts, class_="wide")


def _axis(
    answers: tuple[tuple[str, Estimand], ...],
    margin: float | None,
    mde: float | None,
    measure: Measure,
) -> Scale:
    """With room for all that is drawn and some on each side of zero."""
    ends = [-each for each in (margin, mde) if each is not None] + [margin, mde]
    for _, answer in answers:
        ends += [answer.effect, *(answer.interval or ())]
    known = [end * _unit(measure) for end in ends if _possible(end, measure)]
    least = 1e-4
    if measure != "error":  # in whatever unit the loss is
        least = max((abs(end) for end in known), default=1.0) * 1e-3 or 1.0
    low, high = min([*known, -least]), max([*known, least])
    room = 0.18 * (high - low)
    return Scale(min(low * 1.1, -room), max(high * 1.1, room), LEFT, RIGHT)


def _answer(
    question: str, answer: Estimand, axis: Scale, top: float, measure: Measure
) -> list[Markup]:
    middle, unit = top + 33, _unit(measure)
    subject, _, other = question.partition(" against ")
    parts = [
        svg.words(0, middle - 3, subject, "name"),
        svg.words(0, middle + 13, f"against {other}"),
    ]
    if not _possible(answer.effect, measure):
        return [
            *parts,
            svg.words(LEFT + 8, middle + 4, "cannot tell from these runs", "tick halo"),
        ]
    kind = _direction(answer)
    if answer.interval is not None and all(_possible(end, measure) for end in answer.interval):
        low, high = (axis(bound * unit) for bound in answer.interval)
        parts.append(svg.line(low, middle, high, middle, f"whisker {kind}"))
        parts += [
            svg.line(x, middle - 7, x, middle + 7, f"whisker {kind}") for x in (low, high)
        ]
    at = axis(answer.effect * unit)
    parts.append(svg.tag("circle", cx=at, cy=middle, r=6, class_=f"dot {kind}"))
    value = phrases.change(answer.effect, measure)
    return [*parts, svg.words(at, middle - 12, value, "value halo", "middle")]


def _unit(measure: Measure) -> float:
    """Shares are drawn in percentage points, losses as they are."""
    return 100.0 if measure == "error" else 1.0


def _possible(difference: float | None, measure: Measure) -> TypeGuard[float]:
    """Differences of two shares lie between −1 and 1; of losses anywhere; NaN nowhere."""
    most = 1.0 if measure == "error" else phrases.INFINITE
    return difference is not None and abs(difference) <= most


def _direction(answer: Estimand) -> str:
    low, high = answer.interval or (-math.inf, math.inf)
    return "bad" if low > 0 else "good" if high < 0 else "plain"
