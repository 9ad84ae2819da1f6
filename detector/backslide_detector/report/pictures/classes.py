"""The error of each class before and now, and what was fixed and what broke."""

from collections.abc import Sequence

from markupsafe import Markup

from backslide_detector.report.outcomes import ClassOutcome
from backslide_detector.report.phrases import percent, shorten
from backslide_detector.report.pictures import svg
from backslide_detector.report.pictures.scale import Scale, label

WIDTH, TOP, ROW = 620.0, 40.0, 24.0
NAMES, ERRORS, BARS = 96.0, (106.0, 350.0), (385.0, 616.0)


def classes(rows: Sequence[ClassOutcome]) -> Markup:
    """One row a class: error before (ring) and now (dot), fixed and newly wrong (bars)."""
    paired = any(row.fixed is not None for row in rows)
    bottom = TOP + ROW * len(rows)
    worst = max((row.new_error for row in rows), default=0.0)
    before = max((row.old_error or 0.0 for row in rows), default=0.0)
    end = ERRORS[1] if paired else BARS[1]
    errors = Scale(0.0, max(worst, before, 0.01) * 108, ERRORS[0], end)
    parts = [svg.words(ERRORS[0], 14, "error of the class", "head")]
    for tick in errors.ticks(4):
        parts.append(svg.line(errors(tick), TOP - 8, errors(tick), bottom, "grid"))
        text = label(tick, errors) + " %"
        parts.append(svg.words(errors(tick), TOP - 12, text, "tick", "middle"))
    most = max((max(row.fixed or 0, row.broken or 0) for row in rows), default=0) or 1
    counts = Scale(-float(most), float(most), BARS[0] + 24, BARS[1] - 24)
    if paired:
        parts.append(svg.words(counts(0) - 8, 14, "fixed", "head good", "end"))
        parts.append(svg.words(counts(0) + 8, 14, "newly wrong", "head bad"))
        parts.append(svg.line(counts(0), TOP - 8, counts(0), bottom, "axis"))
    for index, row in enumerate(rows):
        parts += _row(row, TOP + ROW * (index + 0.5), errors, counts)
    said = "; ".join(_spoken(row) for row in rows)
    return svg.drawing(WIDTH, bottom + 6, said, *parts, class_="wide")


def _row(row: ClassOutcome, y: float, errors: Scale, counts: Scale) -> list[Markup]:
    parts = [svg.words(NAMES, y + 4, shorten(row.label, 16), "row", "end")]
    now = errors(row.new_error * 100)
    if row.old_error is not None:
        then = errors(row.old_error * 100)
        worse = row.new_error > row.old_error
        kind = "bad" if worse else "good"
        if row.new_error != row.old_error:
            parts.append(svg.line(then, y, now, y, f"whisker {kind}"))
        parts.append(svg.tag("circle", cx=then, cy=y, r=4.5, class_="ring"))
    parts.append(svg.tag("circle", cx=now, cy=y, r=4.5, class_="dot new"))
    if row.fixed:
        x = counts(-row.fixed)
        parts.append(svg.rectangle(x, y - 7, counts(0) - x, 14, "bar good"))
        parts.append(svg.words(x - 5, y + 4, f"{row.fixed}", "tick", "end"))
    if row.broken:
        x = counts(row.broken)
        parts.append(svg.rectangle(counts(0), y - 7, x - counts(0), 14, "bar bad"))
        parts.append(svg.words(x + 5, y + 4, f"{row.broken}", "tick"))
    return parts


def _spoken(row: ClassOutcome) -> str:
    said = f"class {row.label}: {percent(row.new_error)}"
    if row.old_error is not None:
        said += f", before {percent(row.old_error)}"
    if row.fixed is not None:
        said += f", {row.fixed} fixed, {row.broken} newly wrong"
    return said
